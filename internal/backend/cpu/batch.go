package cpu

import (
	"fmt"
	"math"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
)

// batch is a stream's own copy of a backend.Batch.
type batch struct {
	limits backend.Plan
	groups int

	token, pos, seq []int32
	cell            [][]int32 // [group][row]
	tree            [][]int32 // [row]
	want            []int32
	byRow, byWant   classes
	tables          []table // [seq][group]
	stored          []int32 // [seq]
	spans           []span
	ints            []int32 // what tables and tree lie in
}

// table is a sequence's block table in one group.
type table struct {
	pages []int32
	first int32 // position of pages[0], in pages
}

// span is a run of adjacent rows that attend together: rows of one sequence and class, all
// in a chain or all in a tree.
type span struct {
	begin, end int32
	class      backend.Class
}

// spanRows is the most rows of a span: they share the decoding of a key.
const spanRows = 16

func (b *batch) init(p backend.Plan) {
	*b = batch{
		limits: p,
		token:  make([]int32, 0, p.Rows),
		pos:    make([]int32, 0, p.Rows),
		seq:    make([]int32, 0, p.Rows),
		tree:   make([][]int32, 0, p.Rows),
		want:   make([]int32, 0, p.LogitRows),
		stored: make([]int32, 0, p.Seqs),
		spans:  make([]span, 0, p.Rows),
		ints:   make([]int32, 0, 1),
		byRow:  newClasses(p.Rows),
		byWant: newClasses(p.LogitRows),
	}
}

// table returns the block table of a row's sequence.
func (b *batch) table(row, group int) *table {
	return &b.tables[int(b.seq[row])*b.groups+group]
}

// cellAt returns where t's sequence has a position.
func (t *table) cellAt(pos, pageSize int) int {
	return int(t.pages[pos/pageSize-int(t.first)])*pageSize + pos%pageSize
}

// set copies src and checks it. What it panics about are mistakes of the
// engine; no request can cause them.
func (b *batch) set(src *backend.Batch, kv backend.KVSpec) {
	b.checkSizes(src, kv)
	b.groups = len(kv.Groups)
	b.token = append(b.token[:0], src.Token...)
	b.pos = append(b.pos[:0], src.Pos...)
	b.seq = append(b.seq[:0], src.Seq...)
	b.want = append(b.want[:0], src.Want...)
	for len(b.cell) < b.groups {
		b.cell = append(b.cell, make([]int32, 0, b.limits.Rows))
	}
	for g := range b.groups {
		b.cell[g] = append(b.cell[g][:0], src.Cell[g]...)
	}
	b.reserve(src)
	b.setTables(src)
	b.setTree(src)
	b.setSpans(src)
	b.byRow.set(len(b.token), func(i int) backend.Class { return classOf(src, i) })
	b.byWant.set(len(b.want), func(i int) backend.Class { return classOf(src, int(b.want[i])) })
	for r := range b.token {
		b.checkRow(r, kv)
	}
}

func (b *batch) checkSizes(src *backend.Batch, kv backend.KVSpec) {
	n := len(src.Token)
	fits := n > 0 && n <= b.limits.Rows && len(src.Seqs) <= b.limits.Seqs && len(src.Want) <= b.limits.LogitRows
	if !fits {
		panic(fmt.Sprintf("cpu: Begin: %d rows of %d sequences, %d wanted; the plan allows 1 to %d, %d, %d",
			n, len(src.Seqs), len(src.Want), b.limits.Rows, b.limits.Seqs, b.limits.LogitRows))
	}
	optional := func(have int) bool { return have == 0 || have == n }
	ok := len(src.Pos) == n && len(src.Seq) == n && len(src.Cell) == len(kv.Groups) &&
		optional(len(src.Slot)) && optional(len(src.Class)) && optional(len(src.Tree))
	for g := range src.Cell {
		ok = ok && len(src.Cell[g]) == n
	}
	for _, t := range src.Seqs {
		ok = ok && len(t.Pages) == len(kv.Groups) && len(t.First) == len(kv.Groups)
	}
	if !ok {
		panic("cpu: Begin: the batch's arrays differ in length")
	}
	for r, slot := range src.Slot {
		if slot != 0 {
			panic(fmt.Sprintf("cpu: Begin: row %d takes its token from slot %d: the CPU has no token slots", r, slot-1))
		}
	}
	last := int32(-1)
	for _, r := range src.Want {
		if r <= last || int(r) >= n {
			panic(fmt.Sprintf("cpu: Begin: wanted rows %v of %d are not ascending", src.Want, n))
		}
		last = r
	}
}

// reserve makes room for the tables and trees of src. It allocates only when a batch
// holds longer sequences than any before.
func (b *batch) reserve(src *backend.Batch) {
	n := 1
	for _, s := range src.Seqs {
		for _, p := range s.Pages {
			n += len(p)
		}
	}
	for _, t := range src.Tree {
		n += len(t)
	}
	if n > cap(b.ints) {
		b.ints = make([]int32, 0, 2*n)
	}
	b.ints = b.ints[:0]
}

// keep copies v into the reserved room. The copy of an empty slice is not nil.
func (b *batch) keep(v []int32) []int32 {
	begin := len(b.ints)
	b.ints = append(b.ints, v...)
	return b.ints[begin:len(b.ints):len(b.ints)]
}

func (b *batch) setTables(src *backend.Batch) {
	b.tables, b.stored = b.tables[:0], b.stored[:0]
	for _, s := range src.Seqs {
		b.stored = append(b.stored, s.Stored)
		for g, pages := range s.Pages {
			b.tables = append(b.tables, table{b.keep(pages), s.First[g]})
		}
	}
}

func (b *batch) setTree(src *backend.Batch) {
	b.tree = b.tree[:0]
	for r := range src.Token {
		if len(src.Tree) == 0 || src.Tree[r] == nil {
			b.tree = append(b.tree, nil)
		} else {
			b.tree = append(b.tree, b.keep(src.Tree[r]))
		}
	}
}

func (b *batch) setSpans(src *backend.Batch) {
	b.spans = b.spans[:0]
	for r := 0; r < len(b.token); {
		end, class := r+1, classOf(src, r)
		for end < len(b.token) && end-r < spanRows && (b.tree[r] == nil) == (b.tree[end] == nil) && b.seq[end] == b.seq[r] && classOf(src, end) == class {
			end++
		}
		b.spans = append(b.spans, span{int32(r), int32(end), class})
		r = end
	}
}

// shared is the number of positions that the rows of a span see alike: of a tree's
// rows, those before the tree. Of a chain's rows it is all.
func (b *batch) shared(sp span) int {
	if b.tree[sp.begin] == nil {
		return math.MaxInt
	}
	return int(b.stored[b.seq[sp.begin]])
}

// checkRow panics unless the row can see what it is to see.
func (b *batch) checkRow(r int, kv backend.KVSpec) {
	fail := func(why string) {
		panic(fmt.Sprintf("cpu: Begin: row %d at position %d: %s", r, b.pos[r], why))
	}
	if b.seq[r] < 0 || int(b.seq[r]) >= len(b.stored) || b.pos[r] < 0 {
		fail(fmt.Sprintf("sequence %d of %d", b.seq[r], len(b.stored)))
	}
	end := int(b.pos[r]) + 1 // of the positions read through the table
	if b.tree[r] != nil {
		end = int(b.stored[b.seq[r]])
		if int(b.pos[r]) != end+len(b.tree[r]) {
			fail(fmt.Sprintf("%d ancestors after %d stored positions", len(b.tree[r]), end))
		}
		for _, a := range b.tree[r] {
			if a < 0 || int(a) >= r || b.seq[a] != b.seq[r] {
				fail(fmt.Sprintf("ancestor %d is not an earlier row of its sequence", a))
			}
		}
	}
	for g, group := range kv.Groups {
		if c := b.cell[g][r]; c < 0 || int(c) >= kv.Pages[g]*kv.PageSize {
			fail(fmt.Sprintf("cell %d is not in group %d", c, g))
		}
		t := b.table(r, g)
		begin := firstSeen(int(b.pos[r]), group.Window)
		if begin >= end {
			continue
		}
		if begin/kv.PageSize < int(t.first) || (end-1)/kv.PageSize >= int(t.first)+len(t.pages) {
			fail(fmt.Sprintf("positions [%d, %d) are not all in the pages of group %d", begin, end, g))
		}
		if b.tree[r] == nil && t.cellAt(int(b.pos[r]), kv.PageSize) != int(b.cell[g][r]) {
			fail(fmt.Sprintf("its cell in group %d is not the one that its sequence's table has", g))
		}
	}
}

// firstSeen is the first position that a row sees through a window; 0: all.
func firstSeen(pos, window int) int {
	if window == 0 {
		return 0
	}
	return max(0, pos-window+1)
}

// classes lists rows by the arithmetic that they get.
type classes struct {
	prefill []int32 // ascending
	decode  []span  // of at most kern.DecodeRows
}

func newClasses(rows int) classes {
	return classes{make([]int32, 0, rows), make([]span, 0, rows)}
}

func (c *classes) set(n int, class func(int) backend.Class) {
	c.prefill, c.decode = c.prefill[:0], c.decode[:0]
	for i := range int32(n) {
		if class(int(i)) == backend.Prefill {
			c.prefill = append(c.prefill, i)
		} else if last := len(c.decode) - 1; last >= 0 && c.decode[last].end == i && i-c.decode[last].begin < kern.DecodeRows {
			c.decode[last].end++
		} else {
			c.decode = append(c.decode, span{i, i + 1, backend.Decode})
		}
	}
}

func classOf(b *backend.Batch, row int) backend.Class {
	if len(b.Class) == 0 {
		return backend.Prefill
	}
	return b.Class[row]
}
