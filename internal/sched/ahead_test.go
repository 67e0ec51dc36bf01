package sched

import (
	"math/rand/v2"
	"testing"

	"weir/internal/kv"
)

// aheadWorld is a scheduler whose steps are settled one late where they may be.
type aheadWorld struct {
	s     *Scheduler
	cache *kv.Cache
	ends  map[*Seq]bool // with the token that is being drawn
}

func newAhead(pages int, l Limits) *aheadWorld {
	c := kv.New(4, []kv.Group{{Pages: pages}})
	return &aheadWorld{New(l, c), c, map[*Seq]bool{}}
}

func (w *aheadWorld) add(arrival uint64, n int) *Seq {
	q := &Seq{Arrival: arrival, Length: n, Prompt: n}
	w.s.Add(q)
	return q
}

func (w *aheadWorld) ahead(p, next *Plan) bool {
	return w.s.Ahead(p, next, func(q *Seq) bool { return w.ends[q] })
}

// settle is what the engine does when a step's tokens are known.
func (w *aheadWorld) settle(p *Plan) {
	for _, i := range p.Items {
		if !i.Seq.Running() {
			continue
		}
		w.s.Advance(i)
		if i.To == i.Seq.Length {
			i.Seq.Length++
		}
	}
}

// TestAhead: when a step may be begun before the one ahead of it is settled.
func TestAhead(t *testing.T) {
	limits := Limits{BatchTokens: 8, Running: 2, LogitRows: 2}
	var next Plan
	w := newAhead(100, limits)
	a, b := w.add(1, 3), w.add(2, 3)
	p := w.s.Next()
	if !w.ahead(p, &next) || len(next.Items) != 2 || next.Items[0] != (Item{Seq: a, From: 3, To: 4}) || next.Items[1] != (Item{Seq: b, From: 3, To: 4}) {
		t.Fatalf("after both prompts: %+v", next.Items)
	}
	w.ends[b] = true
	if !w.ahead(p, &next) || len(next.Items) != 1 || next.Items[0].Seq != a {
		t.Errorf("b ends: %+v", next.Items)
	}
	w.add(3, 3)
	if w.ahead(p, &next) {
		t.Error("somebody waits for b's place")
	}
	w.ends[b] = false
	if !w.ahead(p, &next) {
		t.Error("somebody waits, for whom there is no place")
	}
	w.s.Remove(b)
	if w.ahead(p, &next) {
		t.Error("a sequence of the step is gone")
	}
}

func TestAheadRefuses(t *testing.T) {
	var next Plan
	w := newAhead(100, Limits{BatchTokens: 8, Running: 2, LogitRows: 2})
	w.add(1, 20)
	if p := w.s.Next(); w.ahead(p, &next) {
		t.Errorf("a prompt is not done: %+v", p.Items)
	}
	w = newAhead(2, Limits{BatchTokens: 8, Running: 2, LogitRows: 2})
	q := w.add(1, 8)
	if p := w.s.Next(); w.ahead(p, &next) {
		t.Errorf("there is no page for the next token: %+v", p.Items)
	}
	w.ends[q] = true
	if p := w.s.Next(); w.ahead(p, &next) {
		t.Errorf("nothing goes on: %+v", p.Items)
	}
	w = newAhead(100, Limits{BatchTokens: 8, Running: 2, LogitRows: 4})
	q = w.add(1, 2)
	w.settle(w.s.Next())
	q.Draft = 2
	if p := w.s.Next(); p.Items[0].Draft != 2 || w.ahead(p, &next) {
		t.Errorf("guesses are not settled: %+v", p.Items)
	}
}

// Steps settled late leave the pages as steps settled at once do, whoever ends when.
func TestAheadRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	never := 0
	for range 200 {
		w := newAhead(6+rng.IntN(20), Limits{BatchTokens: 4 + rng.IntN(12), Running: 3, LogitRows: 3})
		live, aheads := map[*Seq]bool{}, 0
		var steps [2]Plan
		for i := range 60 {
			if len(live) < 5 && rng.IntN(3) == 0 {
				live[w.add(uint64(i+1), 1+rng.IntN(9))] = true
			}
			p := w.s.Next()
			for flip := 0; w.ahead(p, &steps[flip]); flip ^= 1 {
				w.settle(p)
				p = &steps[flip]
				p.Charge()
				aheads++
				if rng.IntN(4) == 0 { // somebody's client has left, or it was an end token
					w.s.Remove(p.Items[0].Seq)
					delete(live, p.Items[0].Seq)
				}
			}
			w.settle(p)
			var holders []*kv.Seq
			for q := range live {
				if q.Length > 18 {
					w.s.Remove(q)
					delete(live, q)
					continue
				}
				holders = append(holders, &q.KV)
			}
			if err := w.cache.Check(holders); err != nil {
				t.Fatal(err)
			}
		}
		if aheads == 0 {
			never++
		}
	}
	// A world may be so short of pages that somebody waits at every step.
	if never > 20 {
		t.Errorf("in %d of 200 worlds no step was begun ahead: the test does not test it", never)
	}
}
