package kern

import (
	"math"
	"testing"

	"weir/internal/exact"
)

func TestMaxima(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 200 {
			x := random(rng, 1+rng.IntN(1500), true)
			if rng.IntN(3) == 0 { // a block of NaNs
				for i := range x[:min(len(x), MaximaBlock)] {
					x[i] = float32(math.NaN())
				}
			}
			n := (len(x) + MaximaBlock - 1) / MaximaBlock
			got, check := guarded(t, make([]float32, n))
			l.Maxima(MaximaOf(x, got))
			check()
			for i, v := range got {
				want := float32(math.Inf(-1))
				for _, u := range x[i*MaximaBlock : min(len(x), (i+1)*MaximaBlock)] {
					if u > want {
						want = u
					}
				}
				if v != want {
					t.Fatalf("block %d of %d numbers: %v, want %v", i, len(x), v, want)
				}
			}
		}
	})
}

func TestWeighHasTheBitsOfExact(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		table, steps := exact.ExpSteps()
		for range 500 {
			n := 1 + rng.IntN(MaximaBlock)
			x := random(rng, n, rng.IntN(2) == 0)
			peak, scale := math.Inf(-1), []float64{1, 1.25, 0.5, 300}[rng.IntN(4)]
			for i := range x {
				x[i] *= []float32{1, 10, 100}[rng.IntN(3)]
				if x[i] <= math.MaxFloat32 {
					peak = max(peak, float64(x[i]))
				} else {
					x[i] = 0
					peak = max(peak, 0)
				}
			}
			y := make([]float64, n+2)
			y[n], y[n+1] = -7, -7
			l.Weigh(&Weigh{X: &x[0], Y: &y[0], Table: table, N: int64(n), Peak: peak, Scale: scale, Steps: steps})
			if y[n] != -7 || y[n+1] != -7 {
				t.Fatal("Weigh wrote behind its end")
			}
			for i, v := range x {
				want, e := 0., float64((float64(v)-peak)*scale)
				if e >= -700 {
					want = exact.Exp(e)
				}
				if math.Float64bits(y[i]) != math.Float64bits(want) {
					t.Fatalf("e^%v = %v, want %v", e, y[i], want)
				}
			}
		}
	})
}
