package engine

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/llm"
)

var loadFor = flag.Duration("load", 3*time.Second, "how long TestLoad keeps 64 streams busy")

// TestLoad keeps 64 streams busy with random requests, cancels some at random
// places and lets pages run out. Every request must end in its own way, those
// that are not cancelled with exactly what they return alone, and when all is
// over nothing may be held.
func TestLoad(t *testing.T) {
	requests := randomRequests(60)
	want := alone(t, usual, requests)
	c := usual
	c.running, c.batchTokens, c.sequences, c.pageSize, c.threads, c.drawers = 32, 64, 2, 4, 2, 2
	e := startTiny(t, c)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var served, cancelled atomic.Int64
	start := time.Now()
	// A slow machine goes on until it has seen what the load is for.
	more := func() bool {
		ran := time.Since(start)
		return ran < *loadFor || ran < *loadFor+2*time.Minute && (served.Load() == 0 || cancelled.Load() == 0 || e.Stats().Preemptions == 0)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for more() && !t.Failed() {
				n := rng.IntN(len(requests))
				if rng.IntN(4) == 0 {
					cancelSomewhere(t, e, requests[n], rng, &cancelled)
					continue
				}
				wants(t, e, requests[n], want[n])
				served.Add(1)
			}
		})
	}
	wg.Wait()
	s := counted(t, e)
	t.Logf("%d served, %d cancelled, %d steps, %d preemptions", served.Load(), cancelled.Load(), s.Steps, s.Preemptions)
	if served.Load() == 0 || cancelled.Load() == 0 || s.Preemptions == 0 {
		t.Error("the load did not do what it is for")
	}
}

// cancelSomewhere ends a request after a random number of events, by its
// context or by not listening any more.
func cancelSomewhere(t *testing.T, e *Engine, r *llm.Request, rng *rand.Rand, cancelled *atomic.Int64) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	left, leave := rng.IntN(20), rng.IntN(2) == 0
	if left == 0 {
		cancel()
	}
	for ev, err := range e.Generate(ctx, r) {
		var le *llm.Error
		switch {
		case errors.As(err, &le) && le.Kind == llm.Canceled:
			cancelled.Add(1)
			return
		case err != nil:
			t.Errorf("%s: %v", r.ID, err)
			return
		}
		if left -= len(ev.Tokens); left <= 0 {
			if leave {
				cancelled.Add(1)
				return
			}
			cancel()
		}
	}
}
