package model

import (
	"math"

	"weir/internal/backend"
	"weir/internal/exact"
)

// NewRope computes the angles of a configuration that has been validated.
// divisors is the rope_freqs tensor, [HeadDim/2], or nil where there is none.
//
// All in float64: Transformers keeps frequencies in float32, which at position
// 100 000 is already a hundredth of a radian off.
func NewRope(c Config, divisors []float32) *backend.Rope {
	freq := make([]float64, c.HeadDim/2)
	for i := range freq {
		freq[i] = exact.Pow(c.RopeTheta, -2*float64(i)/float64(c.HeadDim))
		if divisors != nil {
			freq[i] /= float64(divisors[i])
		}
	}
	rope := &backend.Rope{Dim: c.HeadDim, Interleaved: c.Interleaved, Freq: freq, Scale: 1}
	switch s := c.Scaling; s.Type {
	case ScalingLinear:
		for i := range freq {
			freq[i] /= s.Factor
		}
	case ScalingLlama3:
		scaleLlama3(freq, s)
	case ScalingYaRN:
		scaleYaRN(freq, s, c.RopeTheta)
		rope.Scale = float32(s.Attention)
	}
	return rope
}

// scaleLlama3 keeps the frequencies that turn often within the original
// context, divides those that hardly turn by the factor, and blends between the
// two by the number of turns (as Meta released with Llama 3.1).
func scaleLlama3(freq []float64, s Scaling) {
	for i, f := range freq {
		turns := float64(s.OriginalContext) * f / (2 * math.Pi)
		keep := clamp01((turns - s.LowFreq) / (s.HighFreq - s.LowFreq))
		freq[i] = float64(keep*f) + (1-keep)*f/s.Factor
	}
}

// scaleYaRN does the same with the blend linear in the pair's index (Peng et
// al. 2023, "YaRN", section 3.2; the range is rounded outwards and kept within
// the head as their code does).
func scaleYaRN(freq []float64, s Scaling, theta float64) {
	dim := float64(2 * len(freq))
	pairTurning := func(times float64) float64 {
		return dim * exact.Log(float64(s.OriginalContext)/(times*2*math.Pi)) / (2 * exact.Log(theta))
	}
	first, last := pairTurning(s.BetaFast), pairTurning(s.BetaSlow)
	if !s.Fractional {
		first, last = math.Floor(first), math.Ceil(last)
	}
	first, last = max(first, 0), min(last, dim-1)
	if first == last {
		last += 0.001
	}
	for i, f := range freq {
		stretch := clamp01((float64(i) - first) / (last - first))
		freq[i] = float64((1-stretch)*f) + stretch*f/s.Factor
	}
}

// yarnAttention is YaRN's sharpening of the attention for a factor, weighted as
// DeepSeek's mscale does; the paper's own has weight 1.
func yarnAttention(factor, weight float64) float64 {
	if factor <= 1 {
		return 1
	}
	return float64(0.1*weight*exact.Log(factor)) + 1
}

func clamp01(x float64) float64 { return max(0, min(1, x)) }
