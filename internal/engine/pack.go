package engine

import (
	"weir/internal/backend"
	"weir/internal/sched"
	"weir/internal/spec"
)

// want says what a wanted row of logits is for.
type want struct {
	item int // of the plan
	pos  int // the row's position
	node int // of the draft; spec.Root for a known token's row
}

// pack lays the planned rows of a step out for the device. A token that the step before
// draws is in a slot there.
func (l *loop) pack(f *flight, p *sched.Plan) {
	b := &l.batch
	b.Reset(l.cache.Groups())
	f.plan, f.wanted, f.decodeOnly = p, f.wanted[:0], true
	l.paths = l.paths[:0]
	for _, c := range p.Copies {
		l.copies = append(l.copies, backend.Copy{Group: c.Group, From: c.From, To: c.To})
	}
	for _, s := range p.Admitted {
		l.of(s).req.started.Store(true)
	}
	for i, item := range p.Items {
		q := l.of(item.Seq)
		l.packTable(item)
		f.decodeOnly = f.decodeOnly && item.From >= q.Prompt
		for pos := item.From; pos < item.To; pos++ {
			r := row{pos: pos, cell: pos}
			if pos < q.Length {
				r.token = q.tokens[pos]
			} else {
				r.slot = q.slot
			}
			l.packRow(q, i, r)
			if wantsLogits(q, pos) {
				l.want(f, want{item: i, pos: pos, node: spec.Root})
				q.slot = int32(len(f.wanted))
			}
		}
		l.packDraft(f, q, i, item)
	}
}

// packDraft adds the rows of the nodes that were granted. Node n takes the cell of
// position To+n. In a chain that is its place for good; in any other tree what
// comes true is copied there afterwards.
func (l *loop) packDraft(f *flight, q *sequence, i int, item sched.Item) {
	t := &q.guess.ask.Draft
	t.Cut(item.Draft)
	if t.Len() == 0 {
		return
	}
	if !q.guess.sure {
		l.drafted += t.Len()
	}
	b := &l.batch
	root, chain := b.Rows()-1, t.Chain()
	if !chain {
		b.Tree[root] = emptyPath
	}
	for n, token := range t.Token {
		r := row{token: token, pos: item.To - 1 + int(t.Depth[n]), cell: item.To + n}
		if !chain {
			r.path = l.path(t, n, root)
		}
		l.packRow(q, i, r)
		l.want(f, want{item: i, pos: r.pos, node: n})
	}
}

// emptyPath is that of a draft's root: it has no ancestors, but it is in a tree.
var emptyPath = []int32{}

// path lists the rows of a node's ancestors; root is the row that they follow.
func (l *loop) path(t *spec.Tree, node, root int) []int32 {
	parent := int(t.Parent[node])
	begin := len(l.paths)
	if parent >= 0 {
		l.paths = append(l.paths, l.batch.Tree[root+1+parent]...)
	}
	l.paths = append(l.paths, int32(root+1+parent))
	return l.paths[begin:len(l.paths):len(l.paths)]
}

func (l *loop) want(f *flight, w want) {
	l.batch.Want = append(l.batch.Want, int32(l.batch.Rows()-1))
	f.wanted = append(f.wanted, w)
}

// wantsLogits: the last known token's row gives the next token; with prompt log
// probabilities each prompt token's row gives that of the token after it. (Each
// guessed one's gives the token after it.)
func wantsLogits(q *sequence, pos int) bool {
	return pos >= q.Length-1 || q.AllLogits && pos < q.Prompt-1
}

// row is a row to be packed.
type row struct {
	token int32
	slot  int32 // 1 + the device's slot that has the token, which nobody knows yet
	pos   int
	cell  int     // the position whose cell takes its keys and values
	path  []int32 // of a draft tree's node; nil: it is in a chain
}

func (l *loop) packRow(q *sequence, seq int, r row) {
	b := &l.batch
	b.Token = append(b.Token, r.token)
	b.Slot = append(b.Slot, r.slot)
	b.Pos = append(b.Pos, int32(r.pos))
	b.Seq = append(b.Seq, int32(seq))
	b.Class = append(b.Class, classOf(q, r.pos))
	b.Tree = append(b.Tree, r.path)
	for g := range b.Cell {
		b.Cell[g] = append(b.Cell[g], l.cache.Cell(&q.KV, g, r.cell))
	}
}

// classOf follows the token's role, never the batch: see package backend.
func classOf(q *sequence, pos int) backend.Class {
	if pos < q.Prompt {
		return backend.Prefill
	}
	return backend.Decode
}

// packTable appends an item's block tables, reusing the memory of earlier steps.
func (l *loop) packTable(item sched.Item) {
	b := &l.batch
	n := len(b.Seqs)
	if n < cap(b.Seqs) {
		b.Seqs = b.Seqs[:n+1]
	} else {
		b.Seqs = append(b.Seqs, backend.SeqTable{})
	}
	t := &b.Seqs[n]
	t.Pages, t.First, t.Stored = t.Pages[:0], t.First[:0], int32(item.From)
	for g := range l.cache.Groups() {
		table := item.Seq.KV.Table(g)
		t.Pages = append(t.Pages, table.Pages)
		t.First = append(t.First, int32(table.First))
	}
}
