package spec

import "testing"

func TestSureness(t *testing.T) {
	last := uint8(0)
	for lead := float32(-2); lead < 12; lead += 0.25 {
		class := Sureness(lead)
		if class < last || class > last+1 {
			t.Fatalf("a lead of %v is of class %d, a lesser one of %d", lead, class, last)
		}
		last = class
	}
	if Sureness(-1) != 0 || int(last) != len(leads) {
		t.Errorf("classes from %d to %d", Sureness(-1), last)
	}
}

// A class's chance becomes what was seen of it; the others', and what a new sequence
// expects of them, stay.
func TestChanceIsLearnt(t *testing.T) {
	var all Control
	c := Control{Prior: &all}
	var chain Tree
	for i := range 3 {
		chain.Add(i-1, int32(i))
	}
	before := c.Chance(7)
	for range 40 { // the second of each draft, of class 2, never holds
		for _, to := range []*Control{&c, &all} {
			to.Learn(&chain, []uint8{5, 2, 7}, []int32{0})
		}
	}
	if p := c.Chance(2); p > 0.1 {
		t.Errorf("what never held is expected with %.2f", p)
	}
	if p := c.Chance(5); p < 0.95 {
		t.Errorf("what always held is expected with %.2f", p)
	}
	if p := c.Chance(7); p != before {
		t.Errorf("what was never reached is expected with %.2f, before with %.2f", p, before)
	}
	if fresh := (&Control{Prior: &all}); fresh.Chance(2) > 0.2 {
		t.Errorf("another sequence expects %.2f of what never held", fresh.Chance(2))
	}
	if p := c.Chance(Unsure); p != 1 {
		t.Errorf("what nothing is known of has a chance of %.2f", p)
	}
}

// A branch is no part of the likeliest path, and what has no class is not learnt from.
func TestLearnFollowsThePath(t *testing.T) {
	var c Control
	var wide Tree
	wide.Add(Root, 1)
	wide.Add(Root, 2)
	wide.Add(0, 3)
	c.Learn(&wide, []uint8{3, Unsure, 4}, []int32{1}) // the branch came true
	if c.sure[3].n != 1 || c.sure[3].held != 0 || c.sure[4].n != 0 {
		t.Errorf("learnt %v", c.sure)
	}
	c.Learn(&wide, nil, []int32{0, 2})
	if c.sure[3].n != 1 {
		t.Errorf("learnt %v of nodes without a class", c.sure)
	}
}

// The dearer rows and passes are, and the faster tokens come otherwise, the more must
// be expected of a node.
func TestWorth(t *testing.T) {
	cost, drafting := NewCost(), Cost{}
	for range 8 {
		cost.Observe(1, 1)
		cost.Observe(5, 1.4)
		drafting.Observe(4, 0.4)
	}
	l := Load{Rows: 1, Cost: &cost, Drafting: &drafting}
	w := l.Worth(4, 2)
	if w.Row < 0.15 || w.Row > 0.25 || w.Pass < w.Row+0.15 || w.Pass > w.Row+0.25 {
		t.Errorf("rows of 0.1 and passes of 0.1 at 2 tokens are worth %+v", w)
	}
	if w := l.Worth(4, 50); w.Row > mostWorth || w.Pass > mostWorth {
		t.Errorf("%+v leaves no draft at all", w)
	}
	if w := l.Worth(0, 2); w != (Worth{}) {
		t.Errorf("no draft is worth %+v", w)
	}
}

// A sequence pays for guessing that came to nothing.
func TestVainGuessesAreCharged(t *testing.T) {
	l := NewLedger()
	var own Budget
	for i := range 100 {
		if i > 10 {
			l.Guessed(1, 0, 0.2)
		}
		b, ok := l.Settle(Step{Seqs: 2, Rows: 2, Seconds: 1 + 0.2*float64(min(1, i/11))})
		if !ok {
			t.Fatal("no bill")
		}
		if i > 10 {
			b.SettleVain(&own, 2)
		}
	}
	if own.Left() > -4 {
		t.Errorf("of 18 s that guessing took for two, one has %.2f s left to lose", own.Left())
	}
	if saved := l.Saved(); saved > -15 {
		t.Errorf("the engine has saved %.2f s", saved)
	}
}
