package draft

import (
	"math"

	"weir/internal/backend"
)

var lowest = float32(math.Inf(-1))

// best is the first of the highest logits, or -1 if all are -Inf.
func best(logits []float32) int32 {
	at, top := -1, lowest
	for i, v := range logits {
		if v > top {
			at, top = i, v
		}
	}
	return int32(at)
}

// beside is the highest logit of the other tokens.
func beside(logits []float32, id int32) float32 {
	top := lowest
	for i, v := range logits {
		if v > top && int32(i) != id {
			top = v
		}
	}
	return top
}

// begin empties the batch.
func (m *Model) begin() { m.batch.Reset(m.cache.Groups()) }

// add appends rows that follow what the sequence has, which has cells for them.
func (m *Model) add(st *state, tokens []int32, class backend.Class, wantLast bool) {
	b, seq, from := &m.batch, int32(len(m.batch.Seqs)), len(st.tokens)
	t := backend.SeqTable{Stored: int32(from)}
	for g := range m.cache.Groups() {
		table := st.kv.Table(g)
		t.Pages, t.First = append(t.Pages, table.Pages), append(t.First, int32(table.First))
	}
	b.Seqs = append(b.Seqs, t)
	for i, id := range tokens {
		b.Token = append(b.Token, id)
		b.Pos = append(b.Pos, int32(from+i))
		b.Seq = append(b.Seq, seq)
		b.Class = append(b.Class, class)
		for g := range b.Cell {
			b.Cell[g] = append(b.Cell[g], m.cache.Cell(&st.kv, g, from+i))
		}
	}
	if wantLast {
		b.Want = append(b.Want, int32(b.Rows()-1))
	}
	st.tokens = append(st.tokens, tokens...)
}

// forward computes the batch and returns the wanted logits.
func (m *Model) forward() [][]float32 {
	if m.batch.Rows() == 0 {
		return nil
	}
	m.stream.Begin(&m.batch, m.store)
	m.stream.CopyKV(m.copies)
	m.copies = m.copies[:0]
	m.model.Forward(m.stream)
	r, err := m.stream.Wait()
	if err != nil {
		m.err = err
		m.jobs = m.jobs[:0]
		return nil
	}
	return r.Logits
}
