package sample

import (
	"cmp"
	"math"
	"slices"

	"weir/internal/exact"
	"weir/internal/llm"
)

// Logprob returns the natural log probability of a token under the
// distribution of a row of logits [vocab], -Inf if it has none, and the top
// most probable tokens (without Bytes), most probable first, the lower id
// first among equals. Prompt log probabilities are made of it.
func Logprob(logits []float32, id int32, top int) (float64, []llm.Alt) {
	return new(Scratch).logprob(logits, id, top)
}

func (c *Scratch) logprob(logits []float32, id int32, top int) (float64, []llm.Alt) {
	_, peak := c.argmax(logits)
	switch {
	case math.IsInf(peak, -1):
		return peak, nil
	case math.IsInf(peak, 1):
		logits = slices.Clone(logits)
		peak = clampInf(logits)
	}
	d := dist{logits: logits, peak: peak, scale: 1}
	total := 0.
	for i := range c.maxima {
		total = c.addTo(total, &d, block(logits, i))
	}
	norm := exact.Log(total)
	lp := math.Inf(-1)
	if inRow(logits, id) && logits[id] > float32(lp) {
		lp = d.x(logits[id]) - norm
	}
	return lp, c.alternatives(d, norm, top)
}

// alternatives lists the top most probable tokens. The list is the caller's.
func (c *Scratch) alternatives(d dist, norm float64, top int) []llm.Alt {
	if top <= 0 {
		return nil
	}
	c.topK(d.logits, min(top, len(d.logits)))
	slices.SortFunc(c.cands, func(a, b cand) int {
		return cmp.Or(cmp.Compare(b.key, a.key), cmp.Compare(a.id, b.id))
	})
	alts := make([]llm.Alt, len(c.cands))
	for i, t := range c.cands {
		alts[i] = llm.Alt{ID: t.id, Logprob: t.key - d.peak - norm}
	}
	return alts
}
