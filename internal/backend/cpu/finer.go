package cpu

import (
	"weir/internal/backend"
	"weir/internal/weights"
)

// Keys of prompts at levels that round prompts to bf16 (kern.Level.RoundsPrompts).
//
// Scores are large and go through an exponential, so that of all a layer's products
// those that make keys spread an error of their operand furthest: rounding
// theirs makes over half of the distance between a BF16 model's logits and those in
// float32, and theirs are the cheapest. So x meets BF16 weights of keys in two parts
// that together have 16 bits and more: as it is rounded, with the group, and
// what that leaves, added to the sums.

// finer adds what rounding left of x to a projection that is to be exact.
func (s *stream) finer(x backend.Act, p backend.Projection) {
	if !p.Keys || !s.arith.fast() || !s.arith.level.RoundsPrompts() {
		return
	}
	c, w := s.classesOf(x), matrix(p.W, x.Cols(), "Linear")
	if w.typ != weights.BF16 || len(c.prefill) == 0 {
		return
	}
	t := &s.linear
	s.prompts.prefill = c.prefill
	t.reset(s, s.act(x, "Linear"), &s.prompts)
	t.left = true
	t.add(w, nil, s.act(p.Dst, "Linear"))
	s.runLinear()
}

// leave sets dst to what rounding x to bf16 takes from it: to zeros where x is
// infinite, or becomes so.
func leave(dst, x []float32) {
	const infinity = 0x7f80
	dst = dst[:len(x)]
	for i, v := range x {
		h := weights.F32ToBF16(v)
		if h&infinity == infinity {
			dst[i] = 0
			continue
		}
		dst[i] = v - weights.BF16ToF32(h)
	}
}

// take copies a prompt's row of x, or what rounding leaves of it.
func (t *linearTask) take(dst, x []float32) {
	if t.left {
		leave(dst, x)
	} else {
		copy(dst, x)
	}
}

// put sets a prompt's row of outputs, or adds to it what rounding left.
func (t *linearTask) put(dst, sums []float32) {
	if t.left {
		add(dst, sums[:len(dst)])
	} else {
		copy(dst, sums)
	}
}
