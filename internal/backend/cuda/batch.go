//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math/bits"
	"slices"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// maxGroups is the most KV groups of a model.
const maxGroups = 8

// batch is a step's metadata on the way to the device, and what the host needs to
// know of it to pick kernels.
type batch struct {
	plan backend.Plan
	meta []int32 // as the device gets it: see ops.h

	rows, wants, seqs int
	trees             bool // a row belongs to a draft tree
	decode            bool // each sequence has one row: the step can be a graph
	few, many         int  // spans of attend_few, tiles of attend_many
	fewQueries        int  // the most queries a KV head of a span of attend_few
	depth             int  // of how many positions a span of attend_few sees in the mean: see depthOf
	perKV             int  // queries that a row has for a KV head
	single            bool // the rows of a sequence are one span
}

// A span of at most fewRows queries a KV head goes to attend_few; the tiles of
// attend_many have manyRows.
const (
	fewRows  = 16
	manyRows = 128
	maxDepth = 3
)

// set packs src.
func (b *batch) set(src *backend.Batch, kv backend.KVSpec) {
	b.check(src, kv)
	b.rows, b.wants, b.seqs = len(src.Token), len(src.Want), len(src.Seqs)
	b.meta = append(b.meta[:0], make([]int32, kern.MetaGroups+kern.GroupInts*maxGroups)...)
	b.meta[kern.MetaRows], b.meta[kern.MetaWants], b.meta[kern.MetaSeqs] = int32(b.rows), int32(b.wants), int32(b.seqs)
	b.field(kern.MetaToken, src.Token)
	b.field(kern.MetaPos, src.Pos)
	b.field(kern.MetaSeq, src.Seq)
	b.field(kern.MetaWant, src.Want)
	b.meta[kern.MetaSlot] = b.here()
	for r := range src.Token {
		b.meta = append(b.meta, slotOf(src, r))
	}
	b.meta[kern.MetaStored] = b.here()
	for i := range src.Seqs {
		b.meta = append(b.meta, src.Seqs[i].Stored)
	}
	b.setTree(src)
	b.setSpans()
	for g := range kv.Groups {
		b.setGroup(src, g)
	}
}

func slotOf(src *backend.Batch, r int) int32 {
	if len(src.Slot) == 0 {
		return 0
	}
	return src.Slot[r]
}

// here is where the next field begins.
func (b *batch) here() int32 { return int32(len(b.meta)) }

func (b *batch) field(at int, v []int32) {
	b.meta[at] = b.here()
	b.meta = append(b.meta, v...)
}

// setTree stores where a row's path begins, -1 for a row of a chain.
func (b *batch) setTree(src *backend.Batch) {
	b.trees = false
	start := b.here()
	b.meta[kern.MetaTreeStart] = start
	for range b.rows + 1 {
		b.meta = append(b.meta, -1)
	}
	tree := b.here()
	b.meta[kern.MetaTree] = tree
	for r := range src.Token {
		if len(src.Tree) > 0 && src.Tree[r] != nil {
			b.trees = true
			b.meta[int(start)+r] = b.here() - tree
			b.meta = append(b.meta, src.Tree[r]...)
		}
	}
}

// setSpans lists runs of adjacent rows of one sequence: short ones for attend_few,
// tiles of the others for attend_many.
func (b *batch) setSpans() {
	b.few, b.many, b.fewQueries, b.decode = 0, 0, 0, true
	b.meta[kern.MetaFew] = b.here()
	spans := 0
	b.eachSpan(func(row, n int) {
		spans++
		b.decode = b.decode && n == 1
		if n*b.perKV <= fewRows {
			b.meta = append(b.meta, int32(row), int32(n))
			b.few, b.fewQueries = b.few+1, max(b.fewQueries, n*b.perKV)
		}
	})
	b.meta[kern.MetaFewCount] = int32(b.few)
	b.meta[kern.MetaMany] = b.here()
	b.eachSpan(func(row, n int) {
		for first := 0; n*b.perKV > fewRows && first < n*b.perKV; first += manyRows {
			b.meta = append(b.meta, int32(row), int32(n), int32(first))
			b.many++
		}
	})
	b.meta[kern.MetaManyCount] = int32(b.many)
	b.depth = depthOf(b.attention(0).positions / max(b.few, 1))
	b.sortTiles()
	b.single = spans <= b.seqs
	b.decode = b.decode && b.single && !b.trees && b.many == 0
}

// depthOf is the power of two times a thousand of positions, 0 of less than two thousand, at most
// maxDepth.
func depthOf(positions int) int { return min(bits.Len(uint(positions/depthUnit)), maxDepth) }

const depthUnit = 2048

// sortTiles puts the tiles that see most last: those are computed first, so that what
// ends the kernel is short.
func (b *batch) sortTiles() {
	if b.many == 0 {
		return
	}
	pos := b.meta[b.meta[kern.MetaPos]:]
	tiles := unsafe.Slice((*[3]int32)(unsafe.Pointer(&b.meta[b.meta[kern.MetaMany]])), b.many)
	seen := func(t [3]int32) int32 { return pos[t[0]] + min(t[1]-1, (t[2]+manyRows-1)/int32(b.perKV)) }
	slices.SortStableFunc(tiles, func(x, y [3]int32) int { return int(seen(x) - seen(y)) })
}

// eachSpan finds the runs of adjacent rows that are neighbours in a sequence.
func (b *batch) eachSpan(f func(row, n int)) {
	seq, pos := int(b.meta[kern.MetaSeq]), int(b.meta[kern.MetaPos])
	for r := 0; r < b.rows; {
		n := 1
		for r+n < b.rows && b.meta[seq+r+n] == b.meta[seq+r] && b.meta[pos+r+n] == b.meta[pos+r]+int32(n) {
			n++
		}
		f(r, n)
		r += n
	}
}

func (b *batch) setGroup(src *backend.Batch, g int) {
	at := kern.MetaGroups + g*kern.GroupInts
	b.field(at+kern.GroupCell, src.Cell[g])
	b.meta[at+kern.GroupFirst] = b.here()
	for i := range src.Seqs {
		b.meta = append(b.meta, src.Seqs[i].First[g])
	}
	table := b.here()
	b.meta[at+kern.GroupTable] = table
	for range src.Seqs {
		b.meta = append(b.meta, 0)
	}
	pages := b.here()
	b.meta[at+kern.GroupPages] = pages
	for i := range src.Seqs {
		b.meta[int(table)+i] = b.here() - pages
		b.meta = append(b.meta, src.Seqs[i].Pages[g]...)
	}
}

// check panics about mistakes of the engine; no request can cause them. On the
// device each would read or write memory that is not the row's.
func (b *batch) check(src *backend.Batch, kv backend.KVSpec) {
	n := len(src.Token)
	if n == 0 || n > b.plan.Rows || len(src.Seqs) > b.plan.Seqs || len(src.Want) > b.plan.LogitRows {
		panic(fmt.Sprintf("cuda: Begin: %d rows of %d sequences, %d wanted; the plan allows 1 to %d, %d, %d",
			n, len(src.Seqs), len(src.Want), b.plan.Rows, b.plan.Seqs, b.plan.LogitRows))
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
		panic("cuda: Begin: the batch's arrays differ in length")
	}
	last := int32(-1)
	for _, r := range src.Want {
		if r <= last || int(r) >= n {
			panic(fmt.Sprintf("cuda: Begin: wanted rows %v of %d are not ascending", src.Want, n))
		}
		last = r
	}
	for r := range src.Token {
		b.checkRow(src, kv, r)
	}
}

// checkRow panics unless the row can see what it is to see.
func (b *batch) checkRow(src *backend.Batch, kv backend.KVSpec, r int) {
	fail := func(why string) {
		panic(fmt.Sprintf("cuda: Begin: row %d at position %d: %s", r, src.Pos[r], why))
	}
	pos, seq := int(src.Pos[r]), src.Seq[r]
	if seq < 0 || int(seq) >= len(src.Seqs) || pos < 0 {
		fail(fmt.Sprintf("sequence %d of %d", seq, len(src.Seqs)))
	}
	if slot := slotOf(src, r); slot < 0 || int(slot) > b.plan.Slots {
		fail(fmt.Sprintf("token slot %d of %d", slot-1, b.plan.Slots))
	}
	end := pos + 1
	if len(src.Tree) > 0 && src.Tree[r] != nil {
		end = int(src.Seqs[seq].Stored)
		if pos != end+len(src.Tree[r]) {
			fail(fmt.Sprintf("%d ancestors after %d stored positions", len(src.Tree[r]), end))
		}
		for _, a := range src.Tree[r] {
			if a < 0 || int(a) >= r || src.Seq[a] != seq {
				fail(fmt.Sprintf("ancestor %d is not an earlier row of its sequence", a))
			}
		}
	}
	for g, group := range kv.Groups {
		if c := src.Cell[g][r]; c < 0 || int(c) >= kv.Pages[g]*kv.PageSize {
			fail(fmt.Sprintf("cell %d is not in group %d", c, g))
		}
		begin := 0
		if group.Window > 0 {
			begin = max(0, pos-group.Window+1)
		}
		first, pages := int(src.Seqs[seq].First[g]), src.Seqs[seq].Pages[g]
		if begin < end && (begin/kv.PageSize < first || (end-1)/kv.PageSize >= first+len(pages)) {
			fail(fmt.Sprintf("positions [%d, %d) are not all in the pages of group %d", begin, end, g))
		}
	}
}
