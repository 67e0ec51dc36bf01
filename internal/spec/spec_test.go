package spec

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func newRand(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 6))
}

// naive looks for the earlier place that agrees longest with the end, the last
// such, among the last maxPlaces.
func naive(tokens []int32, limit int) []int32 {
	n := len(tokens)
	best, at, seen := 0, 0, 0
	for end := n - 1; end >= order && seen < maxPlaces; end-- {
		if l := agree(tokens[:end], tokens); l >= order {
			seen++
			if l > best {
				best, at = l, end
			}
		}
	}
	if best == 0 {
		return nil
	}
	return tokens[at:min(at+limit, n)]
}

func TestNGramAgainstSearch(t *testing.T) {
	rng := newRand(t)
	found := 0
	for range 200 {
		var g NGram
		var tokens []int32
		for range 60 {
			for range 1 + rng.IntN(4) { // several may have been accepted at once
				tokens = append(tokens, int32(rng.IntN(3)))
			}
			limit := 1 + rng.IntN(MaxDepth)
			var draft, shape Tree
			shape.SetChain(limit)
			g.Guess(&draft, &shape, tokens)
			var want []int32
			if len(tokens) >= order {
				want = naive(tokens, limit)
			}
			if !slices.Equal(draft.Token, want) || !draft.Chain() {
				t.Fatalf("%v limit %d: got %v, want %v", tokens, limit, draft, want)
			}
			found += draft.Len()
		}
	}
	if found == 0 {
		t.Error("nothing was ever proposed")
	}
}

func TestNGramBranches(t *testing.T) {
	var g NGram
	var draft, shape Tree
	shape.SetChain(3)
	shape.Add(shape.Add(Root, 1), 0)
	tokens := []int32{1, 2, 3, 40, 41, 42, 1, 2, 3, 50, 51, 52, 9, 1, 2, 3}
	g.Guess(&draft, &shape, tokens)
	if want := []int32{50, 51, 52, 40, 41}; !slices.Equal(draft.Token, want) {
		t.Errorf("got %v, want %v", draft.Token, want)
	}
	if want := []int32{Root, 0, 1, Root, 3}; !slices.Equal(draft.Parent, want) {
		t.Errorf("got parents %v, want %v", draft.Parent, want)
	}
}

func TestTree(t *testing.T) {
	var d Tree
	a := d.Add(Root, 7)
	b := d.Add(a, 8)
	c := d.Add(Root, 9)
	e := d.Add(c, 8)
	if d.Add(Root, 9) != c || d.Len() != 4 {
		t.Error("an equal sibling was added again")
	}
	if d.Child(Root, 9) != c || d.Child(c, 8) != e || d.Child(a, 8) != b || d.Child(b, 8) != None {
		t.Error("children are not found")
	}
	if d.Chain() || d.MaxDepth() != 2 || d.Rank(c) != 1 || d.Rank(e) != 0 {
		t.Errorf("chain %v, depth %d, ranks %d, %d", d.Chain(), d.MaxDepth(), d.Rank(c), d.Rank(e))
	}
	d.Cut(2)
	if !d.Chain() || d.Child(Root, 9) != None {
		t.Error("the first two nodes are a chain")
	}
}

// play lets drafts of a shape come true with chance p a node, until n are seen.
func play(c *Control, p float64, n int) {
	rng := rand.New(rand.NewPCG(1, uint64(p*100)))
	var chain Tree
	chain.SetChain(4)
	for range n {
		var path []int32
		for len(path) < 4 && rng.Float64() < p {
			path = append(path, int32(len(path)))
		}
		c.Observe(&chain, path)
	}
}

// load is that of a step of so many rows, a further one of which costs a fifth of
// the first.
func load(rows int) Load {
	cost := NewCost()
	return Load{Rows: rows, Cost: &cost, Drafting: &Cost{}, Width: 1, Room: MaxNodes, Left: 100, Own: 100}
}

func TestShapeFollowsAcceptanceAndLoad(t *testing.T) {
	size := func(p float64, rows int) int {
		var c Control
		var shape Tree
		play(&c, p, 300)
		c.Shape(&shape, load(rows))
		if !shape.Chain() {
			t.Errorf("acceptance %.1f: a tree of a proposer that makes chains", p)
		}
		return shape.Len()
	}
	if d := size(0.9, 1); d < 4 {
		t.Errorf("acceptance 0.9 alone: depth %d, want at least 4", d)
	}
	if d := size(0.1, 1); d != 0 {
		t.Errorf("acceptance 0.1 alone: depth %d, want 0", d)
	}
	if d := size(0.5, 64); d != 0 {
		t.Errorf("acceptance 0.5 beside 63 others: depth %d, want 0", d)
	}
	var c Control
	play(&c, 0.7, 300)
	if got := c.Rate(1, 0); math.Abs(got-0.7) > 0.2 {
		t.Errorf("acceptance 0.7 is taken for %.2f", got)
	}
}

func TestShapeCountsDrafting(t *testing.T) {
	var c Control
	var free, dear Tree
	play(&c, 0.6, 300)
	l := load(1)
	c.Shape(&free, l)
	drafting := Cost{}
	for range 20 {
		drafting.Observe(1, 0.5)
		drafting.Observe(4, 2)
	}
	l.Drafting = &drafting
	c.Shape(&dear, l)
	if free.Len() == 0 || dear.Len() >= free.Len() {
		t.Errorf("%d nodes where drafting is free, %d where a level costs half a step", free.Len(), dear.Len())
	}
}

func TestShapeWidth(t *testing.T) {
	var c Control
	var wide Tree
	for n := Root; wide.Len() < 3; {
		wide.Add(n, int32(wide.Len()))
	}
	for i := range 300 { // the likeliest is right half of the time, the next nearly always else
		c.Observe(&wide, [][]int32{{0}, {1}}[i%2])
	}
	l := load(1)
	l.Width = 3
	var shape Tree
	c.Shape(&shape, l)
	if shape.Child(Root, 0) < 0 || shape.Child(Root, 1) < 0 || shape.Child(Root, 2) >= 0 {
		t.Errorf("shape %+v: want the two that come true", shape)
	}
	var allowed Tree
	allowed.Add(Root, 0)
	l.Allowed = &allowed
	if c.Shape(&shape, l); shape.Len() != 1 {
		t.Errorf("shape %+v is more than what is allowed", shape)
	}
}

// What never pays is tried ever more rarely; what pays again is noticed.
func TestOffTriesAgain(t *testing.T) {
	var c Control
	var shape Tree
	play(&c, 0, 50)
	trials := 0
	for range 2000 {
		if c.Shape(&shape, load(1)); shape.Len() > 0 {
			trials++
			c.Observe(&shape, nil)
		}
	}
	if trials == 0 || trials > 20 || !c.Off() {
		t.Errorf("%d trials in 2000 steps where nothing comes true; off: %v", trials, c.Off())
	}
	for range 3000 {
		if c.Shape(&shape, load(1)); shape.Len() > 0 {
			path := make([]int32, shape.Len())
			for i := range path {
				path[i] = int32(i)
			}
			c.Observe(&shape, path)
		}
	}
	if c.Off() {
		t.Error("still off after everything came true")
	}
}

func TestPriorIsExpected(t *testing.T) {
	var all Control
	play(&all, 0.05, 300)
	c := Control{Prior: &all}
	var shape Tree
	if c.Shape(&shape, load(1)); shape.Len() != 0 {
		t.Error("a new sequence guesses where others' guesses fail")
	}
}

// A sequence that is easier than those before it is noticed within a few steps.
func TestTurnsOnSoon(t *testing.T) {
	var all Control
	play(&all, 0.05, 300)
	c := Control{Prior: &all}
	var shape Tree
	for step := range 40 {
		if c.Shape(&shape, load(1)); shape.Len() == 0 {
			continue
		}
		path := make([]int32, shape.Len())
		for i := range path {
			path[i] = int32(i)
		}
		c.Observe(&shape, path)
		if step > 36 && c.Off() {
			t.Errorf("still off at step %d although all came true", step)
		}
	}
	if c.Off() {
		t.Error("still off after 40 steps in which all came true")
	}
}

func TestCostFitsALine(t *testing.T) {
	c := NewCost()
	rng := rand.New(rand.NewPCG(3, 3))
	for range 500 {
		rows := 1 + rng.IntN(8)
		c.Observe(rows, (10+0.5*float64(rows))*(0.95+0.1*rng.Float64()))
	}
	if ratio := c.Of(8) / c.Of(1); math.Abs(ratio-14.0/10.5) > 0.08 {
		t.Errorf("8 rows cost %.2f times one, want %.2f", ratio, 14.0/10.5)
	}
	if ratio := c.Of(100) / c.Of(1); math.Abs(ratio-60/10.5) > 1 {
		t.Errorf("100 rows cost %.2f times one, want %.2f", ratio, 60/10.5)
	}
	same := NewCost()
	for range 100 {
		same.Observe(1, 5)
	}
	if r := same.Of(2) / same.Of(1); math.Abs(r-1.2) > 0.01 {
		t.Errorf("steps of one size alone: a second row costs %.2f", r)
	}
	var none Cost
	if none.Of(3) != 0 {
		t.Error("what has not been seen to cost anything costs something")
	}
}

// A size whose steps are dearer than the line says is known for it.
func TestCostKnowsSteps(t *testing.T) {
	c := NewCost()
	for i := range 400 {
		rows := 1 + i%8
		seconds := 1.0
		if rows > 4 {
			seconds = 2
		}
		c.Observe(rows, seconds)
	}
	if r := c.Of(5) / c.Of(4); r < 1.4 {
		t.Errorf("a fifth row doubles the step, but the estimate grows by %.2f", r)
	}
}

// What a proposer reads before it can guess makes no draft look dear, and what is
// known of steps is not what drafting took.
func TestReadingIsNotDrafting(t *testing.T) {
	l := NewLedger()
	for l.Probe(1) {
		l.Settle(Step{Seqs: 1, Rows: 1, Seconds: 0.008})
	}
	for range 8 {
		l.Guessed(4, 0, 0.002)
		l.Settle(Step{Seqs: 1, Rows: 5, Drafted: 4, Held: 2, Seconds: 0.012})
	}
	l.Guessed(4, l.Behind(500), 0.1)
	l.Settle(Step{Seqs: 1, Rows: 5, Drafted: 4, Held: 2, Seconds: 0.11})
	if d := l.Drafting.Of(4); math.Abs(d-0.002) > 1e-9 {
		t.Errorf("a draft is taken to cost %v s after a long reading, before it 0.002", d)
	}
	if k := l.Cost.Of(5); math.Abs(k-0.01) > 1e-9 {
		t.Errorf("a step of five rows is taken to cost %v s, want 0.01", k)
	}
	if r := l.Reading(l.Behind(500), 1); math.Abs(r-0.098) > 1e-9 {
		t.Errorf("reading 500 tokens is taken to cost %v s, want 0.098", r)
	}
	if want := 9*(2*0.008-0.002-0.002) - 0.098; math.Abs(l.Saved()-want) > 1e-9 {
		t.Errorf("%v s are saved, want %v", l.Saved(), want)
	}
	if l.Behind(littleBehind) != 0 {
		t.Error("what is read in the ordinary course counts as reading")
	}
}
