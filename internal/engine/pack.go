package engine

import (
	"weir/internal/backend"
	"weir/internal/sched"
)

// want says what a wanted row of logits is for.
type want struct {
	item  int   // of the plan
	pos   int   // the row's position
	token int32 // and what it was computed from
}

// pack lays the planned rows out for the device.
func (l *loop) pack(p *sched.Plan) {
	b := &l.batch
	b.Reset(l.cache.Groups())
	l.wanted, l.decodeOnly = l.wanted[:0], true
	for _, c := range p.Copies {
		l.copies = append(l.copies, backend.Copy{Group: c.Group, From: c.From, To: c.To})
	}
	for i, item := range p.Items {
		q := l.owner[item.Seq]
		l.packTable(item)
		l.decodeOnly = l.decodeOnly && item.From >= q.Prompt
		for pos := item.From; pos < item.To+item.Draft; pos++ {
			l.packRow(q, i, pos)
			if wantsLogits(q, pos) {
				b.Want = append(b.Want, int32(b.Rows()-1))
				l.wanted = append(l.wanted, want{item: i, pos: pos, token: q.at(pos)})
			}
		}
	}
}

// at is the token at a position: known, or guessed.
func (q *sequence) at(pos int) int32 {
	if pos < len(q.tokens) {
		return q.tokens[pos]
	}
	return q.draft[pos-len(q.tokens)]
}

// wantsLogits: the last known token's row gives the next token, and
// each guessed one's the token after it; with prompt log
// probabilities each prompt token's row gives that of the token after it.
func wantsLogits(q *sequence, pos int) bool {
	return pos >= q.Length-1 || q.AllLogits && pos < q.Prompt-1
}

func (l *loop) packRow(q *sequence, seq, pos int) {
	b := &l.batch
	b.Token = append(b.Token, q.at(pos))
	b.Slot = append(b.Slot, 0)
	b.Pos = append(b.Pos, int32(pos))
	b.Seq = append(b.Seq, int32(seq))
	b.Class = append(b.Class, classOf(q, pos))
	b.Tree = append(b.Tree, nil)
	for g := range b.Cell {
		b.Cell[g] = append(b.Cell[g], l.cache.Cell(&q.KV, g, pos))
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
