package sample

import (
	"math"
	"sort"

	"weir/internal/llm"
)

// naive computes what package comment says, in the most direct way: sort
// everything, at every step. It returns the probability of each token.
func naive(logits []float32, p llm.Params, eog, prompt, output []int32) []float64 {
	l := adjustNaive(logits, p, eog, prompt, output)
	order := make([]int, len(l))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return l[order[a]] > l[order[b]] })
	peak := l[order[0]]
	probs := make([]float64, len(l))
	if p.Temperature < 1e-5 {
		probs[order[0]] = 1
		return probs
	}
	for i, v := range l {
		probs[i] = math.Exp((v - peak) / p.Temperature)
	}
	for i, w := range probs {
		if w < p.MinP || w < unit/2 {
			probs[i] = 0
		}
	}
	if p.TopK > 0 && p.TopK < len(l) {
		for _, i := range order[p.TopK:] {
			probs[i] = 0
		}
	}
	keepShare(probs, order, p.TopP)
	if p.TypicalP < 1 {
		normalise(probs)
		entropy := 0.
		for _, q := range probs {
			if q > 0 {
				entropy -= q * math.Log(q)
			}
		}
		sort.Ints(order)
		off := func(i int) float64 { return math.Abs(-math.Log(probs[i]) - entropy) }
		sort.SliceStable(order, func(a, b int) bool { return off(order[a]) < off(order[b]) })
		keepShare(probs, order, p.TypicalP)
	}
	normalise(probs)
	return probs
}

func adjustNaive(logits []float32, p llm.Params, eog, prompt, output []int32) []float64 {
	l := make([]float64, len(logits))
	for i, v := range logits {
		l[i] = float64(v)
	}
	for id, add := range p.LogitBias {
		l[id] += add
	}
	if len(output) < p.MinTokens {
		for _, id := range append(append([]int32{}, eog...), p.StopTokens...) {
			l[id] = math.Inf(-1)
		}
	}
	for id := range l {
		count := occurrences(output, int32(id))
		if count+occurrences(prompt, int32(id)) > 0 {
			if l[id] > 0 {
				l[id] /= p.RepetitionPenalty
			} else {
				l[id] *= p.RepetitionPenalty
			}
		}
		if count > 0 {
			l[id] -= p.FrequencyPenalty*float64(count) + p.PresencePenalty
		}
	}
	return l
}

func occurrences(ids []int32, id int32) int {
	n := 0
	for _, i := range ids {
		if i == id {
			n++
		}
	}
	return n
}

// keepShare zeroes what comes after the shortest prefix of order that has at
// least the share of the total.
func keepShare(probs []float64, order []int, share float64) {
	if share >= 1 {
		return
	}
	total := 0.
	for _, q := range probs {
		total += q
	}
	sum := 0.
	for n, i := range order {
		if n > 0 && sum >= share*total {
			probs[i] = 0
			continue
		}
		sum += probs[i]
	}
}

func normalise(probs []float64) {
	total := 0.
	for _, q := range probs {
		total += q
	}
	for i := range probs {
		probs[i] /= total
	}
}
