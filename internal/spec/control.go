package spec

import "math"

const (
	// MaxDepth is the longest path of a draft.
	MaxDepth = 16
	// MaxNodes is the most nodes of a draft.
	MaxNodes = 64
	// MaxRank is how many children of a node are told apart.
	MaxRank = 8
)

// Control decides the shape of one sequence's drafts, from how they have fared.
// The zero value starts with the expectation that about half come true.
type Control struct {
	// Prior is what a sequence of which nothing is known is expected to be like;
	// nil: half of all guesses come true.
	Prior *Control
	rates [MaxDepth][MaxRank]rate
	sure  [len(leads) + 1]rate // by class of lead
	off   bool
	poor  bool // what pays could lose more than there is
	pause int  // steps until the next trial, while off
	next  int  // the pause before that
	vain  int  // drafts in a row of which nothing came true
	cand  []candidate
	// chances are the rates, while a shape grows, by rank and depth.
	chances [MaxRank][MaxDepth]float32
}

// Confident is the experience of a proposer that has mostly been right: a prior for one
// that knows rather than guesses.
func Confident() Control {
	const seen = 8 // so that a few failures outweigh it
	var c Control
	for d := range c.rates {
		c.rates[d][0] = rate{seen, seen}
	}
	return c
}

// rate is how often a place in the tree came true, given that its parent had:
// sums that forget.
type rate struct{ n, held float32 }

const (
	keep       = 0.94 // of what is known, at each new observation
	faith      = 2    // how many observations the expectation counts as
	firstPause = 8    // steps without a draft after it stopped paying
	lastPause  = 256
	trialDepth = 2
	// least is the gain under which it is left: an estimate is no promise.
	least = 1.03
)

// Observe records the fate of a draft: path lists the nodes that came true, from
// the root down, and after the last of them none of its children did.
func (c *Control) Observe(t *Tree, path []int32) {
	if len(path) > 0 {
		c.vain = 0
	} else {
		c.vain++
	}
	switch {
	case c.off && len(path) > 0:
		c.forgive()
	case c.off:
		c.wait()
	}
	at, step := Root, 0
	for {
		hit := None
		if step < len(path) {
			hit = int(path[step])
		}
		rank := 0
		for n := max(at, 0); n < t.Len(); n++ {
			if int(t.Parent[n]) == at {
				c.note(int(t.Depth[n]), rank, n == hit)
				rank++
			}
		}
		if hit == None {
			return
		}
		at, step = hit, step+1
	}
}

func (c *Control) note(depth, rank int, held bool) {
	if depth > MaxDepth || rank >= MaxRank {
		return
	}
	r := &c.rates[depth-1][rank]
	r.n, r.held = r.n*keep+1, r.held*keep
	if held {
		r.held++
	}
}

// Rate is the estimated chance that the child of a rank comes true at a depth
// (from 1), given that its parent has. What has not been seen is expected to be
// much like what is one level up.
func (c *Control) Rate(depth, rank int) float64 {
	rates := c.expect(rank)
	return float64(rates[min(depth, MaxDepth)-1])
}

// expect lists the rates of a rank by depth.
func (c *Control) expect(rank int) (rates [MaxDepth]float32) {
	rank = min(rank, MaxRank-1)
	expected := float32(0.5)
	if rank > 0 {
		expected = 0.3 / float32(rank+1)
	}
	var prior [MaxDepth]float32
	if c.Prior != nil {
		prior = c.Prior.expect(rank)
	}
	for d := range rates {
		if c.Prior != nil {
			expected = prior[d]
		}
		r := c.rates[d][rank]
		expected = min((r.held+faith*expected)/(r.n+faith), 0.995)
		rates[d] = expected
	}
	return rates
}

// hope lists the rates of a rank by depth as they may well be, for all that is known:
// the less that is, the more is hoped. Being wrong is bounded elsewhere.
func (c *Control) hope(rank int) [MaxDepth]float32 {
	rates := c.expect(rank)
	for d, p := range rates {
		n := c.rates[d][rank].n + faith
		if c.Prior != nil {
			n += min(c.Prior.rates[d][rank].n, 3*faith)
		}
		rates[d] = min(p+0.5*float32(math.Sqrt(float64(p*(1-p)/n))), 0.995)
	}
	return rates
}

// Load is what a step looks like without the draft at hand.
type Load struct {
	Rows     int   // that the step has, the sequence's own among them
	Cost     *Cost // of the step's rows
	Drafting *Cost // of drafting, by depth
	Width    int   // most children that the proposer can make at a node
	Depth    int   // longest path that it can make; 0: MaxDepth
	// Allowed are the shape's possible nodes; nil: any.
	Allowed *Tree
	// Room is the most nodes; it bounds the depth, too.
	Room int

	// Left and Own are what the engine and the sequence may lose; no draft costs
	// more should all of it fail.
	Left, Own float64
	// Reading is what it costs to let the proposer catch up with the sequence before
	// it can guess. It pays over the Length tokens that are expected to come; what
	// the engine has earned before is to lose.
	Reading float64
	Length  float64
}

// Risk is what a draft costs, in seconds, should all of it fail.
func (l *Load) Risk(t *Tree) float64 {
	plain := l.Cost.Of(l.Rows)
	with := l.Cost.AtWorst(l.Rows+t.Len(), plain/float64(l.Rows))
	return max(0, with-plain) + l.Drafting.Of(t.MaxDepth())
}

// BreakEven is how often the first guess must come true for a draft of one token to
// give as many tokens for its time as none.
func (l *Load) BreakEven() float64 {
	with := l.Cost.Of(l.Rows+1) + l.Drafting.Of(1)
	return float64(l.Rows) * (with/l.Cost.Of(l.Rows) - 1)
}

// Shape sets t to the draft that pays best, as far as it may fail; empty: none does.
func (c *Control) Shape(t *Tree, l Load) {
	t.Reset()
	c.poor = false
	if l.Room < 1 {
		return
	}
	if c.off && c.pause > 0 {
		c.pause--
		return
	}
	saved := c.grow(t, l)
	pays := t.Len() > 0
	switch {
	case pays:
		c.off, c.next = false, 0
	case !c.off:
		c.off = true
		c.wait()
		return
	default:
		t.SetChain(min(trialDepth, l.Room))
	}
	if l.Reading > l.Left && (!pays || l.Left <= 0 || l.Reading > saved*l.Length) {
		t.Reset()
	}
	for t.Len() > 0 && l.Risk(t) > min(l.Own, l.Left) {
		t.Cut(t.Len() - 1)
	}
	c.poor = pays && t.Len() == 0
}

// wait sets the steps until the next trial: ever more while they fail. A trial for
// which the proposer had no guess has cost little and tells nothing, and is repeated.
// The first comes the later the more drafts have failed for others.
func (c *Control) wait() {
	first := firstPause
	if c.Prior != nil {
		first = min(first*(1+c.Prior.vain), lastPause/8)
	}
	c.next = min(max(2*c.next, first), lastPause)
	c.pause = c.next
}

// Off tells whether drafting did not pay when it was last looked at.
func (c *Control) Off() bool { return c.off || c.poor }

// Poor tells whether it might pay, but has lost as much as it may.
func (c *Control) Poor() bool { return c.poor }

// Idle tells that the next step will have no draft.
func (c *Control) Idle() bool { return c.off && c.pause > 0 }

// forgive makes the past count for less, as a trial that went well does, and has
// the next one at once.
func (c *Control) forgive() {
	c.pause, c.next = 0, 0
	for d := range c.rates {
		for r := range c.rates[d] {
			c.rates[d][r].n *= 0.5
			c.rates[d][r].held *= 0.5
		}
	}
}

// candidate is a node that the shape may have next.
type candidate struct {
	parent, rank int
	value        float64 // chance that the walk comes by
}

// grow adds nodes, the likeliest first, and keeps as many as give the step most
// tokens for its time. It returns the seconds that this is expected to save a token.
func (c *Control) grow(t *Tree, l Load) float64 {
	for rank := range min(max(l.Width, 1), MaxRank) {
		c.chances[rank] = c.hope(rank)
	}
	plain := float64(l.Rows) / l.Cost.Of(l.Rows)
	best, size, worth := plain*least, 0, float64(l.Rows)
	var values [MaxNodes]float64
	c.cand = append(c.cand[:0], candidate{Root, 0, float64(c.chances[0][0])})
	for t.Len() < min(l.Room, MaxNodes) && len(c.cand) > 0 {
		next := c.take()
		if next.value < 0.01 {
			break
		}
		n := t.Add(next.parent, int32(next.rank))
		values[n] = next.value
		worth += next.value
		cost := l.Cost.Of(l.Rows+n+1) + l.Drafting.Of(t.MaxDepth())
		if speed := worth / cost; speed > best {
			best, size = speed, n+1
		}
		above := 1.0
		if next.parent >= 0 {
			above = values[next.parent]
		}
		depth := int(t.Depth[n])
		c.offer(t, l, candidate{next.parent, next.rank + 1, above}, depth)
		c.offer(t, l, candidate{n, 0, next.value}, depth+1)
	}
	t.Cut(size)
	return 1/plain - 1/best
}

// offer lists a candidate, which has its parent's value, if the shape is allowed.
func (c *Control) offer(t *Tree, l Load, d candidate, depth int) {
	if depth > MaxDepth || l.Depth > 0 && depth > l.Depth || d.rank >= min(l.Width, MaxRank) || !l.allows(t, d) {
		return
	}
	d.value *= float64(c.chances[d.rank][depth-1])
	c.cand = append(c.cand, d)
}

// allows looks for the candidate's path among the allowed ones.
func (l *Load) allows(t *Tree, d candidate) bool {
	return l.Allowed == nil || l.Allowed.Child(l.find(t, d.parent), int32(d.rank)) >= 0
}

// find is the allowed node of the path that leads to node n of t.
func (l *Load) find(t *Tree, n int) int {
	if n < 0 {
		return Root
	}
	return l.Allowed.Child(l.find(t, int(t.Parent[n])), t.Token[n])
}

// take removes the candidate of most value, of equal ones the first.
func (c *Control) take() candidate {
	best := 0
	for i := range c.cand {
		if c.cand[i].value > c.cand[best].value {
			best = i
		}
	}
	d := c.cand[best]
	c.cand = append(c.cand[:best], c.cand[best+1:]...)
	return d
}
