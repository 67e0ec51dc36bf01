package engine

import (
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/weights"
)

// watching is a CPU backend whose streams record every batch.
type watching struct {
	*cpu.Backend
	seen []backend.Batch
}

func (w *watching) NewStream(p backend.Plan) (backend.Stream, error) {
	s, err := w.Backend.NewStream(p)
	return &watched{s, w}, err
}

type watched struct {
	backend.Stream
	w *watching
}

func (s *watched) Begin(b *backend.Batch, kv backend.KV) {
	s.w.seen = append(s.w.seen, backend.Batch{
		Pos: append([]int32(nil), b.Pos...), Class: append([]backend.Class(nil), b.Class...),
	})
	s.Stream.Begin(b, kv)
}

// TestClassFollowsRole: prompt tokens are Prefill and generated ones Decode, in
// every batch, also when a preempted sequence is computed again.
func TestClassFollowsRole(t *testing.T) {
	f, err := weights.OpenBytes("tiny", tinyGGUF(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := &watching{Backend: dev}
	c := usual
	c.pageSize, c.sequences, c.batchTokens, c.noPrefixCache = 4, 1, 32, true
	e := newTiny(t, f, w, c)
	const prompt = 50
	done := make(chan answer)
	for range 5 { // five sequences of 170 where 270 fit
		go func() {
			r := textRequest(string(make([]byte, prompt)), nil)
			r.Params.MaxTokens = ptr(120)
			done <- mustCollect(t, e, r)
		}()
	}
	for range 5 {
		<-done
	}
	if counted(t, e).Preemptions == 0 {
		t.Error("no preemption happened: the test does not test it")
	}
	e.Close()
	again := 0
	for _, b := range w.seen {
		for i, pos := range b.Pos {
			if (b.Class[i] == backend.Prefill) != (pos < prompt) {
				t.Fatalf("position %d of a prompt of %d is of class %d", pos, prompt, b.Class[i])
			}
			if pos >= prompt && i > 0 && b.Pos[i-1] == pos-1 {
				again++
			}
		}
	}
	if again == 0 {
		t.Error("no generated token was computed again in a chunk")
	}
	dev.Close()
	f.Close()
}
