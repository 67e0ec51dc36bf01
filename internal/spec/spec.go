// Package spec guesses what a sequence will say next, so that the engine can
// compute several of its tokens in one pass, and decides how far a guess should
// reach. It is pure: no clock, no tensor.
//
// # How the engine uses it
//
// A proposer appends guessed tokens to a sequence's next rows. The engine draws
// a token at each row as it would without guesses, with the random number of
// that position, and keeps going while the draw equals the guess. So the output
// is the same, token for token, as without speculation, greedy or sampled; a
// wrong guess costs a row of work and nothing else.
//
// # When it pays
//
// A step of R rows takes about a + b*R. With acceptance p a guess of d tokens is
// worth (1 - p^(d+1)) / (1 - p) tokens instead of one. [Control] takes the depth
// that gives the step most tokens for its time; with many sequences in the
// batch b*R dominates, and it turns itself off.
package spec

import "math"

// Proposer guesses a sequence's next tokens. Each sequence has its own; the
// engine's loop owns it.
type Proposer interface {
	// Propose appends to dst at most limit tokens that may follow tokens, which
	// have only grown since the last call. It keeps neither slice.
	Propose(dst, tokens []int32, limit int) []int32
}

// NGram finds the last place where the sequence's latest tokens stood before,
// and guesses what followed there: prompt look-up. It needs no model and is good
// at whatever repeats: code, JSON, quotations, edits of a given text.
//
// The zero value is ready. Finding costs O(1) a token: a map from the hash of
// each run of order tokens to where it ended last.
type NGram struct {
	seen map[uint64]int32 // hash of order tokens -> index after them
	done int              // tokens of the sequence that are in seen
}

// order is how many tokens must agree before what followed them is guessed.
// Fewer guess more often and worse: with 2, ordinary prose is full of wrong
// guesses.
const order = 3

// Propose implements Proposer.
func (g *NGram) Propose(dst, tokens []int32, limit int) []int32 {
	if g.seen == nil {
		g.seen = map[uint64]int32{}
	}
	n := len(tokens)
	if n < order || limit <= 0 {
		return dst
	}
	at, ok := g.find(tokens)
	// What ends here is entered only now: it must not find itself.
	for end := max(g.done, order-1) + 1; end <= n; end++ {
		g.seen[hash(tokens[end-order:end])] = int32(end)
	}
	g.done = n
	if !ok {
		return dst
	}
	return append(dst, tokens[at:min(int(at)+limit, n)]...)
}

// find looks the latest tokens up among those before them.
func (g *NGram) find(tokens []int32) (int32, bool) {
	n := len(tokens)
	for end := max(g.done, order-1) + 1; end < n; end++ {
		g.seen[hash(tokens[end-order:end])] = int32(end)
	}
	g.done = max(g.done, n-1)
	at, ok := g.seen[hash(tokens[n-order:])]
	if !ok || int(at) >= n {
		return 0, false
	}
	for i := range order { // hashes may collide
		if tokens[int(at)-order+i] != tokens[n-order+i] {
			return 0, false
		}
	}
	return at, true
}

// hash is FNV-1a over whole ids.
func hash(ids []int32) uint64 {
	h := uint64(14695981039346656037)
	for _, id := range ids {
		h = (h ^ uint64(uint32(id))) * 1099511628211
	}
	return h
}

// MaxDepth is the longest guess.
const MaxDepth = 8

// Control decides how far the guesses of one sequence reach, from how they have
// fared. The zero value starts with the expectation that about half come true.
type Control struct {
	p       float64 // estimated acceptance; 0: nothing known yet
	Guessed int64
	Held    int64 // of them, those that came true
}

const (
	prior   = 0.5  // acceptance expected before anything is known
	weight  = 0.1  // of the newest guess in the estimate
	revival = 0.02 // how fast the estimate returns to the prior while off
)

// Observe records the fate of a guess: held of guessed tokens came true, the
// first that did not ending it.
func (c *Control) Observe(guessed, held int) {
	c.start()
	c.Guessed += int64(guessed)
	c.Held += int64(held)
	for i := range min(guessed, held+1) {
		came := 0.0
		if i < held {
			came = 1
		}
		c.p += weight * (came - c.p)
	}
	c.p = min(c.p, 0.99) // certain of nothing, and Depth divides by 1-p
}

func (c *Control) start() {
	if c.p == 0 {
		c.p = prior
	}
}

// Acceptance is the current estimate.
func (c *Control) Acceptance() float64 {
	c.start()
	return c.p
}

// Depth returns how many tokens to guess when the step has rows rows already,
// the sequence's own among them; 0: guessing would cost more than it gives.
func (c *Control) Depth(cost Cost, rows int) int {
	c.start()
	best, depth := 0.0, 0
	for d := 0; d <= MaxDepth; d++ {
		worth := float64(rows-1) + (1-math.Pow(c.p, float64(d+1)))/(1-c.p)
		if speed := worth / cost.Of(rows+d); speed > best*1.001 {
			best, depth = speed, d
		}
	}
	if depth == 0 {
		c.p += revival * (prior - c.p) // so that it is tried again
	}
	return depth
}

// Cost estimates what a step takes as a + b*rows, from the steps there were.
// The zero value assumes that a further row costs a fifth of the first.
type Cost struct {
	n, x, y, xx, xy float64 // sums that forget, weighted by newness
}

const forget = 0.98

// Observe records a step.
func (c *Cost) Observe(rows int, seconds float64) {
	r := float64(rows)
	c.n, c.x, c.y = forget*c.n+1, forget*c.x+r, forget*c.y+seconds
	c.xx, c.xy = forget*c.xx+r*r, forget*c.xy+r*seconds
}

// Of is the estimated cost of a step, in some unit.
func (c Cost) Of(rows int) float64 {
	a, b := c.line()
	return a + b*float64(rows)
}

// line fits a and b. Where the steps seen do not tell them apart (all of one
// size), the assumed proportion fills in.
func (c Cost) line() (a, b float64) {
	const further = 0.2
	spread := c.n*c.xx - c.x*c.x
	if c.n < 4 || spread < 0.05*c.n*c.n {
		return 1 - further, further
	}
	b = (c.n*c.xy - c.x*c.y) / spread
	a = (c.y - b*c.x) / c.n
	if total := a + b; !(a > 0.02*total) || !(b > 0.001*total) { // noise
		return 1 - further, further
	}
	return a, b
}
