package sched

import (
	"math/rand/v2"
	"slices"
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

// TestAhead: what a step is that is begun before the one ahead of it is settled.
func TestAhead(t *testing.T) {
	limits := Limits{BatchTokens: 8, Running: 2, LogitRows: 2}
	var next Plan
	w := newAhead(100, limits)
	a, b := w.add(1, 3), w.add(2, 3)
	p := w.s.Next()
	wants := func(what string, items ...Item) {
		t.Helper()
		if !w.ahead(p, &next) || !slices.Equal(next.Items, items) {
			t.Errorf("%s: %+v, wants %+v", what, next.Items, items)
		}
	}
	wants("after both prompts", Item{Seq: a, From: 3, To: 4}, Item{Seq: b, From: 3, To: 4})
	w.ends[b] = true
	wants("b ends", Item{Seq: a, From: 3, To: 4})
	w.ends[b] = false
	c := w.add(3, 20)
	wants("somebody waits, for whom there is no place", Item{Seq: a, From: 3, To: 4}, Item{Seq: b, From: 3, To: 4})
	w.ends[b] = true
	wants("somebody takes b's place", Item{Seq: a, From: 3, To: 4}, Item{Seq: c, From: 0, To: 7})
	w.settle(p)
	w.s.Remove(b)
	p, next = &Plan{Items: slices.Clone(next.Items)}, Plan{}
	wants("a prompt goes on", Item{Seq: a, From: 4, To: 5}, Item{Seq: c, From: 7, To: 14})
	w.s.Remove(c)
	wants("a sequence of the step is gone", Item{Seq: a, From: 4, To: 5})
	w.ends[a] = true
	d := w.add(4, 2)
	wants("nobody else goes on", Item{Seq: d, From: 0, To: 2})
}

func TestAheadRefuses(t *testing.T) {
	var next Plan
	w := newAhead(2, Limits{BatchTokens: 8, Running: 2, LogitRows: 2})
	q := w.add(1, 8)
	p := w.s.Next()
	charged := q.account.charged
	if w.ahead(p, &next) || q.account.charged != charged {
		t.Errorf("there is no page for the next token: %+v", p.Items)
	}
	w.ends[q] = true
	if w.ahead(p, &next) {
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

// Who would compute what the step at hand computes waits for it, ahead as well.
func TestAheadAwaits(t *testing.T) {
	s, _ := caching(4, 100, Limits{BatchTokens: 100, Running: 4, LogitRows: 4})
	w := &aheadWorld{s: s, ends: map[*Seq]bool{}}
	first := &Seq{Tokens: counted(0, 60), Arrival: 1, Length: 60, Prompt: 60}
	s.Add(first)
	p := s.Next()
	second := &Seq{Tokens: append(counted(0, 56), 7, 7, 7, 7), Arrival: 2, Length: 60, Prompt: 60}
	s.Add(second)
	var next Plan
	if !w.ahead(p, &next) || len(next.Items) != 1 || len(next.Admitted) != 0 {
		t.Fatalf("%+v", next)
	}
	w.settle(p)
	var after Plan
	if !w.ahead(&next, &after) || len(after.Items) != 2 || after.Items[1].From < 56 {
		t.Fatalf("%+v", after)
	}
}

// Steps settled late compute every token once and in order, and leave the pages as steps
// settled at once do, whoever ends when.
func TestAheadRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	never := 0
	for range 200 {
		l := Limits{BatchTokens: 4 + rng.IntN(12), Running: 3, LogitRows: 3}
		r := aheadRun{aheadWorld: newAhead(6+rng.IntN(20), l), t: t, rng: rng, limits: l, live: map[*Seq]bool{}, next: map[*Seq]int{}}
		for i := range 60 {
			r.step(uint64(i + 1))
		}
		if r.aheads == 0 {
			never++
		}
	}
	// A world may be so short of pages that somebody waits at every step.
	if never > 20 {
		t.Errorf("in %d of 200 worlds no step was begun ahead: the test does not test it", never)
	}
}

type aheadRun struct {
	*aheadWorld
	t      *testing.T
	rng    *rand.Rand
	limits Limits
	live   map[*Seq]bool
	next   map[*Seq]int // position that is to be computed next
	due    int64        // charges
	steps  [2]Plan
	aheads int
}

// step plans one step, and as many ahead as there may be.
func (r *aheadRun) step(arrival uint64) {
	r.come(arrival)
	p := r.s.Next()
	for _, q := range p.Preempted {
		r.next[q] = 0
	}
	r.planned(p)
	for flip := 0; r.ahead(p, &r.steps[flip]); flip ^= 1 {
		r.planned(&r.steps[flip])
		r.settle(p)
		r.end(p)
		r.check()
		p = &r.steps[flip]
		r.aheads++
		if r.rng.IntN(4) == 0 { // somebody's client has left, or it was an end token
			r.leave(p.Items[0].Seq)
		}
		r.come(1000*arrival + uint64(r.aheads))
	}
	r.settle(p)
	r.end(p)
	r.check()
}

func (r *aheadRun) come(arrival uint64) {
	if len(r.live) < 5 && r.rng.IntN(3) == 0 {
		r.live[r.add(arrival, 1+r.rng.IntN(9))] = true
	}
}

func (r *aheadRun) leave(q *Seq) {
	r.s.Remove(q)
	delete(r.live, q)
}

// end removes the sequences that are 18 tokens long, which Ahead was told of half the time.
func (r *aheadRun) end(p *Plan) {
	for _, i := range p.Items {
		if i.Seq.Length >= 18 {
			r.leave(i.Seq)
		} else if i.Seq.Length == 17 && r.rng.IntN(2) == 0 {
			r.ends[i.Seq] = true
		}
	}
}

func (r *aheadRun) planned(p *Plan) {
	rows, logits := 0, 0
	for _, i := range p.Items {
		known := i.Seq.Length
		if i.From == known {
			known++ // it is being drawn
		}
		if !r.live[i.Seq] || i.From != r.next[i.Seq] || i.To <= i.From || i.To > known || i.Seq.KV.Cells() < i.To {
			r.t.Fatalf("%+v is planned after position %d", i, r.next[i.Seq])
		}
		r.next[i.Seq] = i.To
		decoded := i.To - max(i.From, min(i.To, i.Seq.Prompt))
		r.due += chargeUnit * int64(prefillCharge*(i.To-i.From-decoded)+decodeCharge*decoded)
		rows += i.To - i.From
		if i.To == known {
			logits++
		}
	}
	if rows > r.limits.BatchTokens || logits > r.limits.LogitRows || len(p.Items) > r.limits.Running {
		r.t.Fatalf("%d rows, %d wanted, of %d sequences", rows, logits, len(p.Items))
	}
	r.charged()
}

// charged tells that rows that are planned have been charged for once, and no others: not
// those of a step that could not be begun ahead, nor of who gave way.
func (r *aheadRun) charged() {
	if a := r.s.accounts[""]; a != nil && a.charged != r.due {
		r.t.Fatalf("%d is charged, %d is due", a.charged/chargeUnit, r.due/chargeUnit)
	}
}

func (r *aheadRun) check() {
	var holders []*kv.Seq
	for q := range r.live {
		holders = append(holders, &q.KV)
	}
	if err := r.cache.Check(holders); err != nil {
		r.t.Fatal(err)
	}
}

// Who gives way in a step that it has a row in already is not charged for that row.
func TestGivingWayCostsNothing(t *testing.T) {
	w := newAhead(9, Limits{BatchTokens: 3, Running: 2, LogitRows: 2})
	slow := &Seq{Caller: "b", Arrival: 2, Length: 24, Prompt: 24}
	q := &Seq{Caller: "a", Arrival: 1, Priority: 1, Length: 2, Prompt: 2}
	w.s.Add(q)
	w.settle(w.s.Next())
	w.s.Add(slow)
	for range 24 {
		before := q.account.charged
		p := w.s.Next()
		if len(p.Preempted) > 0 {
			if p.Preempted[0] != q || q.account.charged != before {
				t.Errorf("%d is charged for nothing", q.account.charged-before)
			}
			return
		}
		w.settle(p)
	}
	t.Error("nobody gave way: the test does not test it")
}
