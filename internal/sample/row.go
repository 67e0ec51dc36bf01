package sample

import (
	"math"

	"weir/internal/backend/cpu/kern"
	"weir/internal/exact"
)

// What is done to every logit of a row goes by blocks, with the processor's
// kernels where it has some. Results have the same bits with and without.

// blockSize is how many logits have one maximum, and one sum in drawAll.
const blockSize = kern.MaximaBlock

// block is the part of a row with number i.
func block(logits []float32, i int) []float32 {
	return logits[i*blockSize : min((i+1)*blockSize, len(logits))]
}

// leastX is the log weight under which the kernels take a weight for zero.
const leastX = -700

// kernels is the level whose kernels are used.
func (c *Scratch) kernels() kern.Level {
	if c.level == 0 {
		c.level = kern.Best()
	}
	return c.level
}

// argmax returns the token of the highest logit, the lowest id among equals, or
// -1 if no logit is above -Inf. It leaves the maxima of the blocks in c.maxima.
func (c *Scratch) argmax(logits []float32) (id int32, peak float64) {
	c.findMaxima(logits)
	best, in := float32(math.Inf(-1)), -1
	for i, v := range c.maxima {
		if v > best {
			best, in = v, i
		}
	}
	if in < 0 {
		return -1, float64(best)
	}
	for i, v := range block(logits, in) {
		if v == best {
			return int32(in*blockSize + i), float64(best)
		}
	}
	panic("sample: internal error: a block lacks its maximum")
}

// findMaxima sets c.maxima to the greatest logit of each block; NaNs count as -Inf.
func (c *Scratch) findMaxima(logits []float32) {
	n := (len(logits) + blockSize - 1) / blockSize
	if cap(c.maxima) < n {
		c.maxima = make([]float32, n)
	}
	c.maxima = c.maxima[:n]
	if n == 0 {
		return
	}
	if l := c.kernels(); l > kern.Portable {
		l.Maxima(kern.MaximaOf(logits, c.maxima))
		return
	}
	for i := range c.maxima {
		best := float32(math.Inf(-1))
		for _, v := range block(logits, i) {
			if v > best {
				best = v
			}
		}
		c.maxima[i] = best
	}
}

// weigh returns the weights of a part of a row, of at most blockSize, before they are
// rounded to units. They are valid until the next call.
func (c *Scratch) weigh(d *dist, part []float32) []float64 {
	out := c.weights[:len(part)]
	if l := c.kernels(); l > kern.Portable && len(part) > 0 {
		table, steps := exact.ExpSteps()
		l.Weigh(&kern.Weigh{X: &part[0], Y: &out[0], Table: table, N: int64(len(part)), Peak: d.peak, Scale: d.scale, Steps: steps})
		return out
	}
	for i, v := range part {
		if x := d.x(v); x >= leastX {
			out[i] = exact.Exp(x)
		} else {
			out[i] = 0
		}
	}
	return out
}

// sum is that of the weights of a part of a row, which is exact.
func (c *Scratch) sum(d *dist, part []float32) float64 {
	w := c.weigh(d, part)
	var a, b float64
	for ; len(w) >= 2; w = w[2:] {
		a += inUnits(w[0])
		b += inUnits(w[1])
	}
	for _, w := range w {
		a += inUnits(w)
	}
	return a + b
}

// addTo adds the weights of a part of a row to sum, in order, not in units.
func (c *Scratch) addTo(sum float64, d *dist, part []float32) float64 {
	for _, w := range c.weigh(d, part) {
		sum += w
	}
	return sum
}
