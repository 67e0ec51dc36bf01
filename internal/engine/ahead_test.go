package engine

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"weir/internal/backend"
	"weir/internal/llm"
	"weir/internal/sample"
	"weir/internal/weights"
)

// drawingBackend is a CPU that draws tokens by itself and keeps them in slots, as a
// GPU does.
type drawingBackend struct{ backend.Backend }

func (b drawingBackend) NewStream(p backend.Plan) (backend.Stream, error) {
	s, err := b.Backend.NewStream(p)
	if err != nil {
		return nil, err
	}
	return &drawingStream{Stream: s, HostActs: s.(backend.HostActs), slots: make([]int32, p.Slots)}, nil
}

type drawingStream struct {
	backend.Stream
	backend.HostActs
	slots []int32
	asked []backend.SampleRow
	steps []finished // begun, and not waited for
}

type finished struct {
	result *backend.Result
	err    error
}

func (s *drawingStream) Begin(b *backend.Batch, kv backend.KV) {
	if len(s.steps) > 1 {
		panic("two steps have not been waited for")
	}
	own := *b
	own.Token, own.Slot = slices.Clone(b.Token), nil
	for r, slot := range b.Slot {
		if slot > 0 {
			own.Token[r] = s.slots[slot-1]
		}
	}
	s.asked = nil
	s.Stream.Begin(&own, kv)
}

func (s *drawingStream) Sample(rows []backend.SampleRow) {
	s.asked = slices.Clone(rows)
	for i := range s.asked {
		r := &s.asked[i]
		r.Bias, r.Ban, r.Seen, r.Mask = slices.Clone(r.Bias), slices.Clone(r.Ban), slices.Clone(r.Seen), slices.Clone(r.Mask)
	}
}

func (s *drawingStream) Launch() {
	r, err := s.Stream.Wait()
	f := finished{err: err}
	if err == nil {
		f.result = &backend.Result{Logits: slices.Clone(r.Logits)}
		for i := range s.asked {
			row := &s.asked[i]
			d := sample.DrawFor(row, slices.Clone(r.Logits[row.Logits]))
			s.slots[row.Slot] = max(d.ID, 0)
			f.result.Drawn = append(f.result.Drawn, d)
			f.result.Logits[row.Logits] = nil
		}
	}
	s.steps = append(s.steps, f)
}

func (s *drawingStream) Wait() (*backend.Result, error) {
	if len(s.steps) == 0 {
		s.Launch()
	}
	f := s.steps[0]
	s.steps = s.steps[1:]
	return f.result, f.err
}

// Steps are begun before the one ahead is settled, and requests that end meanwhile,
// by an end token, a stop string or their client, leave nothing behind.
func TestStepsAhead(t *testing.T) {
	c := usual
	c.device, c.running, c.pageSize = true, 4, 4
	e := startTiny(t, c)
	rng := rand.New(rand.NewPCG(3, 4))
	var wg sync.WaitGroup
	for i := range 24 {
		r := randomRequest(rng, i)
		r.Params.Logprobs, r.Params.MaxTokens, r.Params.IgnoreEOS = nil, ptr(60), i%3 != 0
		ctx, cancel := context.WithCancel(t.Context())
		tokens := 0
		wg.Go(func() {
			defer cancel()
			for ev, err := range e.Generate(ctx, r) {
				if err != nil {
					return
				}
				if tokens += len(ev.Tokens); i%4 == 1 && tokens > 5 {
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if s := counted(t, e); s.Ahead == 0 || s.Ahead >= s.Steps {
		t.Errorf("%d of %d steps were begun ahead", s.Ahead, s.Steps)
	}
}

// A request alone, which draws and forgets, has all of its steps but the first two and
// the last begun ahead.
func TestAloneAhead(t *testing.T) {
	c := usual
	c.device = true
	e := startTiny(t, c)
	p := llm.DefaultParams()
	p.MaxTokens, p.IgnoreEOS, p.Seed, p.TopK = ptr(20), true, ptr(uint64(5)), 7
	got := mustCollect(t, e, &llm.Request{ID: "a", Prompt: llm.Tokens{1, 2, 3}, Params: p})
	if s := counted(t, e); s.Ahead != 19 || s.Steps != 20 {
		t.Errorf("%d of %d steps were begun ahead, of 20 tokens", s.Ahead, s.Steps)
	}
	c.device = false
	wants(t, startTiny(t, c), &llm.Request{ID: "a", Prompt: llm.Tokens{1, 2, 3}, Params: p}, got)
}

// Structures, log probabilities and limits on a device that draws.
func TestStructuresAreDrawnThere(t *testing.T) {
	c := usual
	c.weights = weights.F32
	host := startTiny(t, c)
	c.device = true
	there := startTiny(t, c)
	for i, s := range []llm.Structure{{Regex: "[a-z]{3,9} [0-9]+"}, {Choice: []string{"yes", "no", "maybe"}}, {Regex: "(ab|cd)*x"}} {
		for _, n := range []int{2, 6, 30} {
			for told := range 2 {
				p := llm.DefaultParams()
				p.MaxTokens, p.Seed, p.Structure = ptr(n), ptr(uint64(i)), &s
				if told > 0 {
					p.Logprobs = ptr(3)
				}
				r := &llm.Request{ID: "s", Prompt: llm.Tokens{5, 6, 7}, Params: p}
				want := mustCollect(t, host, r)
				want.usage.Guesses = nil // of forced text, as it pays
				wants(t, there, r, want)
			}
		}
	}
}
