package spec

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// naive looks for the last earlier place of the latest tokens.
func naive(tokens []int32, limit int) []int32 {
	n := len(tokens)
	for end := n - 1; end >= order; end-- {
		if slices.Equal(tokens[end-order:end], tokens[n-order:]) {
			return tokens[end:min(end+limit, n)]
		}
	}
	return nil
}

func TestNGramAgainstSearch(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 6))
	found := 0
	for range 200 {
		var g NGram
		var tokens []int32
		for range 60 {
			for range 1 + rng.IntN(4) { // several may have been accepted at once
				tokens = append(tokens, int32(rng.IntN(3)))
			}
			limit := 1 + rng.IntN(MaxDepth)
			got := g.Propose(nil, tokens, limit)
			var want []int32
			if len(tokens) >= order {
				want = naive(tokens, limit)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%v limit %d: got %v, want %v", tokens, limit, got, want)
			}
			found += len(got)
		}
	}
	if found == 0 {
		t.Error("nothing was ever proposed")
	}
}

func TestDepthFollowsAcceptanceAndLoad(t *testing.T) {
	run := func(p float64) *Control {
		c := &Control{}
		rng := rand.New(rand.NewPCG(1, uint64(p*100)))
		for range 300 {
			held := 0
			for held < 4 && rng.Float64() < p {
				held++
			}
			c.Observe(4, held)
		}
		return c
	}
	var cost Cost // a further row costs a fifth of the first
	if d := run(0.9).Depth(cost, 1); d < 4 {
		t.Errorf("acceptance 0.9 alone: depth %d, want at least 4", d)
	}
	if d := run(0.1).Depth(cost, 1); d != 0 {
		t.Errorf("acceptance 0.1 alone: depth %d, want 0", d)
	}
	if d := run(0.5).Depth(cost, 64); d != 0 {
		t.Errorf("acceptance 0.5 beside 63 others: depth %d, want 0", d)
	}
	if got := run(0.7).Acceptance(); math.Abs(got-0.7) > 0.2 {
		t.Errorf("acceptance 0.7 is taken for %.2f", got)
	}
}

func TestOffTriesAgain(t *testing.T) {
	var c Control
	var cost Cost
	c.Observe(400, 0)
	for range 50 {
		c.Observe(8, 0)
	}
	if c.Depth(cost, 1) != 0 {
		t.Fatal("still on after nothing came true")
	}
	for range 200 {
		if c.Depth(cost, 1) > 0 {
			return
		}
	}
	t.Error("never tried again")
}

func TestCostFitsALine(t *testing.T) {
	var c Cost
	rng := rand.New(rand.NewPCG(3, 3))
	for range 500 {
		rows := 1 + rng.IntN(8)
		c.Observe(rows, (10+0.5*float64(rows))*(0.95+0.1*rng.Float64()))
	}
	if ratio := c.Of(8) / c.Of(1); math.Abs(ratio-14.0/10.5) > 0.08 {
		t.Errorf("8 rows cost %.2f times one, want %.2f", ratio, 14.0/10.5)
	}
	var same Cost
	for range 100 {
		same.Observe(1, 5)
	}
	if r := same.Of(2) / same.Of(1); math.Abs(r-1.2) > 0.01 {
		t.Errorf("steps of one size alone: a second row costs %.2f", r)
	}
}
