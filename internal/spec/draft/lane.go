package draft

import (
	"errors"
	"fmt"

	"weir/internal/backend"
)

// lane computes heads: rows that attend to nothing, each fed by the host.
type lane struct {
	stream backend.Stream
	host   backend.HostActs
	store  backend.KV
	batch  backend.Batch
	one    []float32
}

// newLane allocates a stream of the plan, which must have been made for as many
// sequences as rows.
func newLane(b backend.Backend, p backend.Plan) (*lane, error) {
	s, err := b.NewStream(p)
	if err != nil {
		return nil, fmt.Errorf("allocating scratch memory of the heads: %w", err)
	}
	host, ok := s.(backend.HostActs)
	if !ok {
		s.Close()
		return nil, fmt.Errorf("the %s backend does not show hidden states, which these heads guess from: use another --speculate", b.Info().Name)
	}
	// A batch's rows have a cell each, used or not.
	store, err := b.NewKV(backend.KVSpec{Type: backend.KVF32, PageSize: 1, Pages: []int{p.Rows},
		Groups: []backend.KVGroup{{Layers: []int{0}, Heads: 1, HeadDim: 4}}})
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("allocating cells of the heads: %w", err)
	}
	return &lane{stream: s, host: host, store: store}, nil
}

// begin makes a batch of n rows whose logits are all wanted.
func (l *lane) begin(n int) backend.Stream {
	b := &l.batch
	b.Reset(1)
	for i := range int32(n) {
		b.Token, b.Pos, b.Seq = append(b.Token, 0), append(b.Pos, 0), append(b.Seq, i)
		b.Class, b.Want, b.Cell[0] = append(b.Class, backend.Decode), append(b.Want, i), append(b.Cell[0], i)
		b.Seqs = append(b.Seqs, backend.SeqTable{Pages: [][]int32{{i}}, First: []int32{0}})
	}
	l.stream.Begin(b, l.store)
	return l.stream
}

// ones is a row of them.
func (l *lane) ones(n int) []float32 {
	for len(l.one) < n {
		l.one = append(l.one, 1)
	}
	return l.one[:n]
}

func (l *lane) close() error {
	if l == nil {
		return nil
	}
	return errors.Join(l.stream.Close(), l.store.Close())
}
