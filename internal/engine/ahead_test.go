package engine

import (
	"context"
	"fmt"
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

func (s *drawingStream) Compute() {}

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

// What a request returns does not depend on what was begun before the step ahead was
// settled: prompts in pieces, requests that are admitted and that end meanwhile, prefixes
// shared and pages short.
func TestSameTokensAhead(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	requests := randomRequests(60)
	for i, r := range requests {
		if p := &r.Params; i%15 != 7 { // those that are settled first are few
			p.PromptLogprobs, p.N = nil, 1
		}
		if i%20 == 11 {
			r.Params.Structure = &llm.Structure{Regex: "[a-z]{3,9} [0-9]+"}
		}
		if i%2 > 0 { // it begins like another
			r.Prompt = append(slices.Clone(requests[rng.IntN(i)].Prompt.(llm.Tokens)), llm.Tokens{int32(i), 7, 7}...)
		}
	}
	for _, window := range []int{0, 24} {
		base := usual
		base.window = window
		want := alone(t, base, requests)
		for i := range want {
			want[i].usage.Guesses = nil // of a structure's text, as it pays
		}
		base.device = true
		for _, v := range []variant{
			{name: "usual", config: base},
			{name: "small chunks", config: with(base, func(c *config) { c.batchTokens, c.running, c.pageSize = 11, 7, 4 })},
			{name: "pages short", config: with(base, func(c *config) { c.sequences, c.running, c.pageSize = 1.2, 16, 4 })},
		} {
			t.Run(fmt.Sprint(v.name, ", window ", window), func(t *testing.T) {
				e := startTiny(t, v.config)
				leaving, leave := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for i, r := range requests {
					wg.Go(func() { wants(t, e, r, want[i]) })
					if i%6 == 0 { // and somebody who leaves early
						wg.Go(func() {
							for range e.Generate(leaving, requests[(i+1)%len(requests)]) {
								leave()
							}
						})
					}
				}
				wg.Wait()
				leave()
				s := counted(t, e)
				t.Logf("%d of %d steps were begun ahead", s.Ahead, s.Steps)
				if s.Ahead == 0 || v.sequences > 2 && s.Ahead < s.Steps/2 {
					t.Errorf("%d of %d steps were begun ahead: the test does not test it", s.Ahead, s.Steps)
				}
			})
		}
	}
}

func with(c config, change func(*config)) config {
	change(&c)
	return c
}

// A request alone has all of its steps but the first two and
// the last begun ahead.
func TestAloneAhead(t *testing.T) {
	c := usual
	c.device = true
	e := startTiny(t, c)
	p := llm.DefaultParams()
	p.MaxTokens, p.IgnoreEOS, p.Seed, p.TopK = ptr(20), true, ptr(uint64(5)), 7
	c.device = false
	host := startTiny(t, c)
	for i := range 2 {
		r := &llm.Request{ID: "a", Prompt: llm.Tokens{1, 2, 3}, Params: p}
		if i == 1 { // its draws depend on the tokens before
			r.Params.RepetitionPenalty, r.Params.PresencePenalty = 1.3, 0.5
		}
		got := mustCollect(t, e, r)
		if s := counted(t, e); s.Ahead != int64(19*(i+1)) || s.Steps != int64(20*(i+1)) {
			t.Errorf("%d of %d steps were begun ahead, of 20 tokens each time", s.Ahead, s.Steps)
		}
		wants(t, host, r, got)
	}
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
