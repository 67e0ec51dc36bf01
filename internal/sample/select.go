package sample

import (
	"math"

	"weir/internal/exact"
)

// How survivors are found without sorting the vocabulary. Every truncation but
// min_p keeps a prefix of some order of preference, so it is a threshold in
// that order. cut finds the threshold by quickselect on a copy, in expected
// linear time, and filters the original, which stays in ascending order of id.
// Whole blocks of the row whose greatest logit is too low are not looked at.
// Before that, what can be told from the logits alone is dropped in one pass
// that needs no exponential:
//
//   - top_k: logits at or under the k-th best so far (topK);
//   - min_p: logits under the peak by more than min_p allows;
//   - top_p: the pass that sums the weights does so by ranges of logits, so
//     that the range in which the sum reaches top_p is known, and what lies
//     under it is dropped (nucleus).
//
// Plain sampling keeps everything and needs no list: drawAll.

// cand is a token that may be drawn.
type cand struct {
	key    float64 // preference: higher is better, the lower id among equals
	weight float64 // probability, relative to the peak's
	id     int32
}

func (c *cand) better(d *cand) bool {
	return c.key > d.key || c.key == d.key && c.id < d.id
}

// dist is a row of logits as a distribution: token i has the weight
// exp((logits[i]-peak)*scale), so that the peak's is exactly 1.
type dist struct {
	logits []float32
	peak   float64
	scale  float64
}

// x is the logarithm of a token's weight; NaN for a NaN logit.
func (d *dist) x(logit float32) float64 {
	return float64((float64(logit) - d.peak) * d.scale)
}

// Weights are multiples of unit, rounded to the nearest, so that any sum of them is
// exact: the same in whatever order and on whatever device it is made. What is less
// probable than the most probable token by a factor of 2^35 can't be drawn.
const (
	unit    = 0x1p-34
	perUnit = 0x1p34
	// A number below 2^17 that this is added to has multiples of unit for last place.
	onUnits = 0x1.8p18
	// lowestX is a log weight under which a weight is rounded to zero.
	lowestX = -25
)

// inUnits rounds a weight.
func inUnits(w float64) float64 { return w + onUnits - onUnits }

// unitsFor is the least sum of weights that is at least need.
func unitsFor(need float64) float64 { return math.Ceil(need*perUnit) * unit }

// target is the sum of weights that those up to the token drawn are the first to
// exceed, for a random number in [0, 1).
func target(u, total float64) float64 {
	return min(math.Floor(float64(u*total)*perUnit)*unit, total-unit)
}

// weight is that of a token; 0 for a NaN logit.
func (d *dist) weight(logit float32) float64 {
	x := d.x(logit)
	if !(x >= lowestX) {
		return 0
	}
	return inUnits(exact.Exp(x))
}

// under returns a logit below every logit whose log weight is at least x, by a
// margin that rounding cannot bridge.
func (d *dist) under(x float64) float32 {
	v := d.peak + x/d.scale
	v -= float64(1e-6*math.Max(math.Abs(v), math.Abs(d.peak))) + 1e-30
	if !(v > -math.MaxFloat32) {
		return float32(math.Inf(-1))
	}
	return float32(v)
}

// logOf is the logarithm of a weight that under may be asked for.
func logOf(weight float64) float64 { return max(exact.Log(weight), lowestX) }

// survivors leaves in c.cands what the sampler's truncations keep, with
// weights, ascending by id.
func (c *Scratch) survivors(d dist, s *Sampler) {
	n, total := len(d.logits), 0.
	switch {
	case s.topK > 0 && s.topK < n:
		c.topK(d.logits, s.topK)
	case s.minP > 0:
		c.gather(d.logits, d.under(logOf(s.minP)))
	case s.topP < 1:
		var floor float32
		total, floor = c.nucleus(d, s.topP)
		c.gather(d.logits, floor)
	default:
		c.gather(d.logits, float32(math.Inf(-1)))
	}
	c.setWeights(d, s.minP)
	if s.topP < 1 {
		if total == 0 {
			total = c.total()
		}
		c.cut(float64(s.topP * total))
	}
	if s.typP < 1 {
		c.preferTypical(d)
		c.cut(float64(s.typP * c.total()))
	}
}

const (
	ranges     = 512 // of log weights
	rangeWidth = 1. / 8
)

// nucleus sums the weights of the row, and returns besides a logit under which
// no token belongs to the most probable ones that have a share of the sum.
// Range i holds the log weights x with i <= -x/rangeWidth < i+1, the last one
// all below, too.
func (c *Scratch) nucleus(d dist, share float64) (total float64, floor float32) {
	clear(c.ranges[:])
	for i := range c.maxima {
		part := block(d.logits, i)
		for j, w := range c.weigh(&d, part) {
			if w = inUnits(w); w > 0 {
				total += w
				c.ranges[min(int(d.x(part[j])*(-1/rangeWidth)), ranges-1)] += w
			}
		}
	}
	sum, need := 0., float64(share*total)
	for i, w := range c.ranges[:ranges-1] {
		if sum += w; sum >= need && sum > 0 {
			return total, d.under(-float64(i+1) * rangeWidth)
		}
	}
	return total, float32(math.Inf(-1))
}

// gather lists the tokens whose logit is above floor.
func (c *Scratch) gather(logits []float32, floor float32) {
	c.cands = c.cands[:0]
	for i, most := range c.maxima {
		if !(most > floor) {
			continue
		}
		for j, v := range block(logits, i) {
			if v > floor {
				c.cands = append(c.cands, cand{key: float64(v), id: int32(i*blockSize + j)})
			}
		}
	}
}

// topK lists the k tokens of highest logit. The list may hold twice as many
// before it is cut back to k, so that each token costs constant time on
// average even if the logits ascend.
func (c *Scratch) topK(logits []float32, k int) {
	room := max(2*k, 64)
	floor := math.Inf(-1)
	c.cands = c.cands[:0]
	for i, most := range c.maxima {
		if !(float64(most) > floor) {
			continue
		}
		for j, v := range block(logits, i) {
			if !(float64(v) > floor) { // an equal one has the higher id: it loses
				continue
			}
			c.cands = append(c.cands, cand{key: float64(v), weight: 1, id: int32(i*blockSize + j)})
			if len(c.cands) == room {
				floor = c.cut(float64(k)).key
			}
		}
	}
	if len(c.cands) > k {
		c.cut(float64(k))
	}
}

// setWeights gives the candidates their weights and drops those under least,
// and those too improbable to be drawn.
func (c *Scratch) setWeights(d dist, least float64) {
	kept := c.cands[:0]
	for _, t := range c.cands {
		t.weight = d.weight(float32(t.key))
		if t.weight > 0 && t.weight >= least {
			kept = append(kept, t)
		}
	}
	c.cands = kept
}

func (c *Scratch) total() float64 {
	sum := 0.
	for i := range c.cands {
		sum += c.cands[i].weight
	}
	return sum
}

// preferTypical makes tokens the better the nearer their surprise is to the
// entropy H. With weights w = e^x of sum S, -ln p = ln S - x and
// H = ln S - sum(w*x)/S: the distance is that of x from its mean.
func (c *Scratch) preferTypical(d dist) {
	sum, total := 0., 0.
	for i := range c.cands {
		t := &c.cands[i]
		t.key = float64((t.key - d.peak) * d.scale)
		sum += float64(t.weight * t.key)
		total += t.weight
	}
	mean := sum / total
	for i := range c.cands {
		c.cands[i].key = -math.Abs(c.cands[i].key - mean)
	}
}

// cut keeps the fewest of the best candidates whose weights sum to need, but at
// least one and at most all, and returns the worst of them. There must be one.
func (c *Scratch) cut(need float64) cand {
	c.order = append(c.order[:0], c.cands...)
	worst := threshold(c.order, unitsFor(need))
	kept := c.cands[:0]
	for _, t := range c.cands {
		if !worst.better(&t) {
			kept = append(kept, t)
		}
	}
	c.cands = kept
	return worst
}

// threshold finds cut's result by weighted quickselect; part is rearranged.
// Pivots are picked at hashed places, so that no order of logits is a bad one.
func threshold(part []cand, need float64) cand {
	var worst cand
	for round := uint64(0); len(part) > 0; round++ {
		p, above := partition(part, int(mix64(round)%uint64(len(part))))
		worst = part[p]
		switch {
		case p > 0 && above >= need:
			part = part[:p]
		case above+worst.weight >= need:
			return worst
		default:
			need -= above + worst.weight
			part = part[p+1:]
		}
	}
	return worst
}

// partition puts the candidates better than the pivot before it and the others
// after it. It returns the pivot's new place and the weight before it.
func partition(part []cand, pivot int) (p int, above float64) {
	last := len(part) - 1
	part[pivot], part[last] = part[last], part[pivot]
	for i := range part[:last] {
		if part[i].better(&part[last]) {
			above += part[i].weight
			part[i], part[p] = part[p], part[i]
			p++
		}
	}
	part[p], part[last] = part[last], part[p]
	return p, above
}

// drawOf inverts the cumulative distribution of the candidates at u in [0, 1).
func drawOf(cands []cand, u float64) int32 {
	total := 0.
	for i := range cands {
		total += cands[i].weight
	}
	goal, sum := target(u, total), 0.
	for i := range cands {
		if sum += cands[i].weight; sum > goal {
			return cands[i].id
		}
	}
	panic("sample: internal error: the weights sum to less than themselves")
}

// drawAll inverts the cumulative distribution of the whole row at u in [0, 1).
// It notes the weights of blocks and computes those of the block that is hit
// once more, rather than keep one for every token.
func (c *Scratch) drawAll(d dist, u float64) int32 {
	c.sums = c.sums[:0]
	total := 0.
	for i := range c.maxima {
		sum := c.sum(&d, block(d.logits, i))
		total += sum
		c.sums = append(c.sums, sum)
	}
	goal, hit := target(u, total), 0
	for c.sums[hit] <= goal {
		goal -= c.sums[hit]
		hit++
	}
	start := hit * blockSize
	return int32(start + d.find(block(d.logits, hit), goal))
}

// find returns the index in part at which the sum of weights exceeds goal.
func (d *dist) find(part []float32, goal float64) int {
	sum := 0.
	for i, v := range part {
		if sum += d.weight(v); sum > goal {
			return i
		}
	}
	panic("sample: internal error: a block's weights sum to less than themselves")
}
