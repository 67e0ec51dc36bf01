package kern

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// plainDot is the order of sums that exact kernels keep: 16 partial sums by
// column, folded in halves.
func plainDot(a, b []float32) float32 {
	var s [16]float32
	for i, x := range a {
		s[i%16] += float32(x * b[i])
	}
	for half := 8; half > 0; half /= 2 {
		for i := range half {
			s[i] += s[i+half]
		}
	}
	return s[0]
}

func eachLevel(t *testing.T, f func(*testing.T, Level)) {
	levels := Levels()[1:]
	if len(levels) == 0 {
		t.Skip("needs a processor level with kernels: this machine has the portable one only")
	}
	for _, l := range levels {
		t.Run(l.String(), func(t *testing.T) { f(t, l) })
	}
}

// lowest is the level that the others are compared with.
func lowest() Level { return Levels()[1] }

// withTiles runs f at the levels that have tile registers.
func withTiles(t *testing.T, f func(*testing.T, Level)) {
	levels := slices.DeleteFunc(Levels(), func(l Level) bool { return !l.Blocked() })
	if len(levels) == 0 {
		t.Skip("needs a processor with AMX, and a system that lets it be used")
	}
	for _, l := range levels {
		t.Run(l.String(), func(t *testing.T) { f(t, l) })
	}
}

func newRand(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 5))
}

// random gives n floats at an odd offset, extremes among them, between guards.
func random(rng *rand.Rand, n int, extremes bool) []float32 {
	v := make([]float32, n+1)[1:]
	for i := range v {
		v[i] = float32(rng.NormFloat64())
		if extremes && rng.IntN(50) == 0 {
			v[i] = []float32{0, float32(math.Copysign(0, -1)), 1e30, -1e-30, math.MaxFloat32, float32(math.Inf(1)), float32(math.NaN()), 1e-45}[rng.IntN(8)]
		}
	}
	return v
}

func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func TestDotsHasThePortableBits(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 400 {
			rows, n, cols := 1+rng.IntN(9), 1+rng.IntN(9), 1+rng.IntN(140)
			ldx, ldo := cols+rng.IntN(5), n+rng.IntN(5)
			extremes := rng.IntN(3) == 0
			x, w := random(rng, rows*ldx, extremes), random(rng, n*cols, extremes)
			out := make([]float32, rows*ldo+8)
			for i := range out {
				out[i] = -77
			}
			l.Dots(&Dots{X: &x[0], W: &w[0], Out: &out[0], Cols: int64(cols), Rows: int64(rows), N: int64(n), LdX: int64(ldx), LdO: int64(ldo)})
			for i, got := range out {
				want := float32(-77) // not to be written
				if r, c := i/ldo, i%ldo; r < rows && c < n {
					want = plainDot(x[r*ldx:r*ldx+cols], w[c*cols:])
				}
				if !sameBits(got, want) {
					t.Fatalf("rows %d n %d cols %d: out[%d] = %v, want %v", rows, n, cols, i, got, want)
				}
			}
		}
	})
}

func TestAxpyHasThePortableBits(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 400 {
			n := 1 + rng.IntN(140)
			x, y := random(rng, n, true), random(rng, n+8, true)
			f := float32(rng.NormFloat64())
			want := append([]float32(nil), y...)
			for i := range n {
				want[i] += float32(f * x[i])
			}
			l.Axpy(&Axpy{Y: &y[0], X: &x[0], N: int64(n), F: f})
			for i := range y {
				if !sameBits(y[i], want[i]) {
					t.Fatalf("n %d: y[%d] = %v, want %v", n, i, y[i], want[i])
				}
			}
		}
	})
}

func TestKernelsDoNotAllocate(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		x := make([]float32, 64)
		var out float32
		if a := testing.AllocsPerRun(100, func() {
			l.Dots(&Dots{X: &x[0], W: &x[0], Out: &out, Cols: 64, Rows: 1, N: 1, LdX: 64, LdO: 1})
		}); a != 0 {
			t.Fatalf("%v allocations a call", a)
		}
	})
}

func TestParseLevel(t *testing.T) {
	for _, l := range Levels() {
		if got, err := ParseLevel(l.String()); err != nil || got != l {
			t.Errorf("%v: %v, %v", l, got, err)
		}
	}
	if _, err := ParseLevel("mmx"); err == nil {
		t.Error("mmx is a level")
	}
}

func BenchmarkDots(b *testing.B) {
	for _, l := range Levels()[1:] {
		b.Run(l.String(), func(b *testing.B) {
			const cols, rows, n = 2048, 16, 8
			rng := rand.New(rand.NewPCG(1, 2))
			x, w, out := random(rng, rows*cols, false), random(rng, n*cols, false), make([]float32, rows*n)
			b.SetBytes(cols * rows * n)
			for b.Loop() {
				l.Dots(&Dots{X: &x[0], W: &w[0], Out: &out[0], Cols: cols, Rows: rows, N: n, LdX: cols, LdO: n})
			}
		})
	}
}
