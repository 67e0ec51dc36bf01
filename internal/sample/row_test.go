package sample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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

// naiveBar is bar token by token.
func naiveBar(logits []float32, mask []uint64) {
	for i := range logits {
		if i/64 >= len(mask) || mask[i/64]>>(i%64)&1 == 0 {
			logits[i] = float32(math.Inf(-1))
		}
	}
}

// TestBar compares masks of all densities, and rows that end within a word or beyond
// the mask, with the plain loop.
func TestBar(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 400 {
		n := rng.IntN(400)
		row := rowOf(rng, n, false)
		mask := maskOf(rng, max(0, (n+63)/64+rng.IntN(3)-1), float64(i%11)/10)
		want, got := slices.Clone(row), slices.Clone(row)
		naiveBar(want, mask)
		bar(got, mask)
		if !slices.Equal(got, want) {
			t.Fatalf("a row of %d under %x: %v, want %v", n, mask, got, want)
		}
	}
}

// maskOf has each bit set with a chance.
func maskOf(rng *rand.Rand, words int, chance float64) []uint64 {
	mask := make([]uint64, words)
	for i := range mask {
		for b := range 64 {
			if rng.Float64() < chance {
				mask[i] |= 1 << b
			}
		}
	}
	return mask
}

func BenchmarkBar(b *testing.B) {
	const vocab = 128_256
	for _, chance := range []float64{0, 0.02, 0.3, 0.5, 0.9, 0.99, 1} {
		rng := rand.New(rand.NewPCG(5, 6))
		row, mask := rowOf(rng, vocab, false), maskOf(rng, vocab/64, chance)
		b.Run(fmt.Sprint(chance), func(b *testing.B) {
			for b.Loop() {
				bar(row, mask)
			}
		})
	}
}
