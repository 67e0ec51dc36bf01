package engine

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/llm"
	"weir/internal/spec"
)

// A paced backend computes in no time, and its clock says that steps take what a
// table says: speeds without a machine.
type paced struct {
	backend.Backend
	now  atomic.Int64
	cost func(rows int) time.Duration
}

func (p *paced) NewStream(plan backend.Plan) (backend.Stream, error) {
	s, err := p.Backend.NewStream(plan)
	return &pacedStream{Stream: s, p: p}, err
}

func (p *paced) clock() time.Duration { return time.Duration(p.now.Load()) }

type pacedStream struct {
	backend.Stream
	p    *paced
	rows int
}

func (s *pacedStream) Begin(b *backend.Batch, kv backend.KV) {
	s.rows = b.Rows()
	s.Stream.Begin(b, kv)
}

func (s *pacedStream) Wait() (*backend.Result, error) {
	s.p.now.Add(int64(s.p.cost(s.rows)))
	return s.Stream.Wait()
}

// foreseeing guesses what a request will say, each token with a chance to be right,
// and takes its time for a level of a draft.
type foreseeing struct {
	spec.Proposer
	p      *paced
	chance float64
	takes  time.Duration
	answer map[*llm.Request][]int32
	rng    *rand.Rand
}

func (f *foreseeing) Propose(asks []*spec.Ask) {
	depth := 0
	for _, a := range asks {
		depth = max(depth, a.Shape.MaxDepth())
		at := spec.Root
		for d := 0; d < a.Shape.MaxDepth() && a.Said()+d < len(f.answer[a.Request]); d++ {
			id := f.answer[a.Request][a.Said()+d]
			if f.rng.Float64() >= f.chance {
				id = (id + 1) % tinyVocab
			}
			at = a.Draft.Add(at, id)
		}
	}
	f.p.now.Add(int64(depth) * int64(f.takes))
}

// pace runs the requests, one after the other, and tells how long that took on the
// paced clock.
func pace(t *testing.T, p *paced, proposer spec.Proposer, requests []*llm.Request) (time.Duration, map[*llm.Request][]int32, Stats) {
	t.Helper()
	f := openedBytes(t, tinyGGUF(t, 0))
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { dev.Close(); f.Close() }()
	o := LoadOptions{ID: "tiny", Backend: dev, Budget: 1 << 30, PageSize: 16, Limits: schedLimits(usual), MaxQueue: 10, StallAfter: time.Hour, PrefixCache: true}
	o.Limits.LogitRows = spec.MaxNodes
	o.Speculation = Speculation{Proposer: proposer, Options: DraftOptions{Width: 1}}
	p.Backend = dev
	e, err := load(f, o, func(_ MemoryPlan, eo *Options) { eo.Backend, eo.Clock = p, p.clock })
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	began, answers := p.clock(), map[*llm.Request][]int32{}
	for _, r := range requests {
		answers[r] = mustCollect(t, e, r).choices[0].ids()
	}
	return p.clock() - began, answers, counted(t, e)
}

// What the simulations of package spec say of budgets, the engine does: guessing costs
// under 3 % of the time of what can't be guessed, and doubles the speed of what can.
func TestSpeculationPaysOrCostsLittle(t *testing.T) {
	var requests []*llm.Request
	for i := range 24 {
		p := llm.DefaultParams()
		p.MaxTokens, p.IgnoreEOS, p.Seed = ptr(100), true, ptr(uint64(i))
		requests = append(requests, &llm.Request{ID: fmt.Sprint(i), Prompt: llm.Tokens{int32(i), 1, 2, 3, 4, 5, 6}, Params: p})
	}
	flat := func(rows int) time.Duration { return time.Duration(1000+50*(rows-1)) * time.Microsecond }
	dear := func(rows int) time.Duration { return time.Duration(300+700*rows) * time.Microsecond }
	_, answers, _ := pace(t, &paced{cost: flat}, nil, requests)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, c := range []struct {
		name   string
		cost   func(int) time.Duration
		chance float64
		takes  time.Duration
		least  float64 // speed over plain decoding's
	}{
		{"nothing holds", flat, 0, 0, 0.97}, {"nothing holds, rows are dear", dear, 0, 0, 0.97},
		{"a tenth holds", flat, 0.1, 300 * time.Microsecond, 0.97}, {"a tenth holds, rows are dear", dear, 0.1, 100 * time.Microsecond, 0.97},
		{"nine tenths hold", flat, 0.9, 50 * time.Microsecond, 2}, {"all holds, rows are dear", dear, 1, 0, 1.1},
	} {
		plain, _, _ := pace(t, &paced{cost: c.cost}, nil, requests)
		p := &paced{cost: c.cost}
		f := &foreseeing{spec.Each("", nil), p, c.chance, c.takes, answers, rand.New(rand.NewPCG(seed, 1))}
		took, _, stats := pace(t, p, f, requests)
		credit := time.Duration(spec.All.Credit) * c.cost(1) // once in an engine's life
		speed := float64(plain) / float64(took-credit)
		t.Logf("%s: %.3f times as fast (without the credit %.3f); %d of %d guesses held", c.name, speed, float64(plain)/float64(took), stats.Held, stats.Guessed)
		if speed < c.least || stats.Guessed == 0 {
			t.Errorf("%s: %.3f times as fast, %d guesses; want %.2f", c.name, speed, stats.Guessed, c.least)
		}
	}
}
