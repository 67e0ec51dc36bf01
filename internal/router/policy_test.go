package router

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var epoch = time.Unix(1_000_000, 0)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func TestDecide(t *testing.T) {
	one := rules{loaded: 1, patience: 10 * time.Second}
	for name, c := range map[string]struct {
		now    int
		models []view
		r      rules
		want   step
	}{
		"nothing to do": {0, []view{{state: Unloaded}, {state: Loaded}}, one, step{}},
		"room":          {0, []view{{state: Unloaded, waiting: 2}}, one, step{load: []int{0}}},
		"who waits longest": {5, []view{{state: Unloaded, waiting: 1, since: at(4)}, {state: Unloaded, waiting: 1, since: at(3)}}, one,
			step{load: []int{1}, leave: nil}},
		"the unused one leaves": {5, []view{{state: Loaded, users: 1}, {state: Loaded}, {state: Unloaded, waiting: 1}}, rules{loaded: 2, patience: time.Second},
			step{leave: []int{1}}},
		"the one unused for longest leaves": {9, []view{{state: Loaded, used: at(3)}, {state: Loaded, used: at(2)}, {state: Unloaded, waiting: 1}}, rules{loaded: 2},
			step{leave: []int{1}}},
		"its room is waited for":     {5, []view{{state: Leaving, users: 1}, {state: Unloaded, waiting: 1}}, one, step{}},
		"and while it is given back": {5, []view{{state: Unloading}, {state: Unloaded, waiting: 1}}, one, step{}},
		"a busy one is let go on":    {5, []view{{state: Loaded, users: 1, loaded: at(0)}, {state: Unloaded, waiting: 1, since: at(2)}}, one, step{again: at(12)}},
		"for a time":                 {12, []view{{state: Loaded, users: 1, loaded: at(0)}, {state: Unloaded, waiting: 1, since: at(2)}}, one, step{leave: []int{0}}},
		"counted from its load":      {12, []view{{state: Loaded, users: 1, loaded: at(4)}, {state: Unloaded, waiting: 1, since: at(2)}}, one, step{again: at(14)}},
		"the one loaded first":       {50, []view{{state: Loaded, users: 1, loaded: at(2)}, {state: Loaded, users: 1, loaded: at(1)}, {state: Unloaded, waiting: 1}}, rules{loaded: 2}, step{leave: []int{1}}},
		"idle":                       {50, []view{{state: Loaded, used: at(10)}, {state: Loaded, used: at(40)}, {state: Loaded, users: 1}}, rules{loaded: 3, idle: 30 * time.Second}, step{leave: []int{0}, again: at(70)}},
		"two are waited for": {50, []view{{state: Loaded, used: at(1)}, {state: Loaded, used: at(2)}, {state: Unloaded, waiting: 1, since: at(3)}, {state: Unloaded, waiting: 1, since: at(4)}},
			rules{loaded: 2}, step{leave: []int{0, 1}}},
	} {
		got := decide(at(c.now), c.models, c.r)
		if name == "who waits longest" {
			got.again = time.Time{} // nothing is loaded yet that could be asked to leave
		}
		if !slices.Equal(got.load, c.want.load) || !slices.Equal(got.leave, c.want.leave) || !got.again.Equal(c.want.again) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

// TestNoModelWaitsForEver plays the policy with models that are always asked for,
// each by a user of its own: each must get its turns, and no more be loaded than may
// be.
func TestNoModelWaitsForEver(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		models := make([]view, 2+rng.IntN(4))
		for i := range models {
			models[i] = view{state: Unloaded}
		}
		r := rules{loaded: 1 + rng.IntN(len(models)), patience: time.Duration(1+rng.IntN(5)) * time.Second, idle: time.Duration(rng.IntN(3)) * time.Second}
		turns := make([]int, len(models))
		for second := range 300 {
			play(at(second), models, r, turns, rng)
		}
		want := 2
		if r.loaded == len(models) {
			want = 1 // it may stay
		}
		if slices.Min(turns) < want {
			t.Fatalf("%d models, %+v: turns %v of 300 seconds: one waited for ever", len(models), r, turns)
		}
	}
}

// play moves every model on by a second.
func play(now time.Time, models []view, r rules, turns []int, rng *rand.Rand) {
	for i := range models {
		m := &models[i]
		switch m.state {
		case Loading:
			m.state, m.loaded, m.used = Loaded, now, now
			m.users, m.waiting = m.waiting, 0
			turns[i]++
		case Loaded: // somebody always asks
			m.users = 1
		case Leaving:
			if m.users = 0; rng.IntN(2) == 0 {
				m.state = Unloading
			}
		case Unloading:
			m.state = Unloaded
		}
		if m.state != Loaded && m.waiting == 0 {
			m.waiting, m.since = 1, now
		}
	}
	do := decide(now, models, r)
	for _, i := range do.leave {
		models[i].state = Leaving
	}
	for _, i := range do.load {
		models[i].state = Loading
	}
	in := 0
	for _, m := range models {
		if m.state != Unloaded {
			in++
		}
	}
	if in > r.loaded {
		panic("more models in memory than may be")
	}
}
