package sample

import (
	"math"
	"math/rand/v2"
	"testing"

	"weir/internal/backend/cpu/kern"
	"weir/internal/llm"
)

// The kernels change no draw and no log probability.
func TestKernelsChangeNothing(t *testing.T) {
	if kern.Best() == kern.Portable {
		t.Skip("needs a processor level with kernels: this machine has the portable one only")
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 400 {
		vocab := 1 + rng.IntN(3000)
		row := make([]float32, vocab)
		for i := range row {
			row[i] = float32(rng.NormFloat64() * 8)
			if rng.IntN(40) == 0 {
				row[i] = []float32{float32(math.NaN()), float32(math.Inf(-1)), 60, -900, row[0]}[rng.IntN(5)]
			}
		}
		if rng.IntN(10) == 0 {
			row[rng.IntN(vocab)] = float32(math.Inf(1))
		}
		top := 3
		p := llm.Params{Temperature: []float64{0, 0.01, 0.8, 2}[rng.IntN(4)], TopP: []float64{1, 0.9, 0.999}[rng.IntN(3)], TopK: []int{0, 1, 40, 700}[rng.IntN(4)],
			MinP: []float64{0, 0, 0.05}[rng.IntN(3)], TypicalP: []float64{1, 1, 0.9}[rng.IntN(3)], RepetitionPenalty: 1, Logprobs: &top}
		var draws []Draw
		for _, level := range []kern.Level{kern.Portable, kern.Best()} {
			s := New(p, Options{Vocab: vocab, Seed: 5, Scratch: &Scratch{level: level}})
			draws = append(draws, s.Draw(append([]float32(nil), row...), 3))
		}
		a, b := draws[0], draws[1]
		if a.ID != b.ID || math.Float64bits(a.Logprob) != math.Float64bits(b.Logprob) || len(a.Top) != len(b.Top) {
			t.Fatalf("%+v: portable drew %+v, %v %+v", p, a, kern.Best(), b)
		}
		for i := range a.Top {
			if a.Top[i].ID != b.Top[i].ID || a.Top[i].Logprob != b.Top[i].Logprob {
				t.Fatalf("%+v: alternative %d is %+v, and %+v", p, i, a.Top[i], b.Top[i])
			}
		}
	}
}
