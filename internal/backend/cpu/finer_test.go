package cpu

import (
	"fmt"
	"math"
	"testing"

	"weir/internal/backend"
	"weir/internal/weights"
)

// TestKeys: keys of BF16 weights have nearly the bits of float32 products, also at
// levels that round the operands of prompts, with any rows beside them.
func TestKeys(t *testing.T) { eachFast(t, testKeys) }

func testKeys(t *testing.T, o Options) {
	rng := newRand(t)
	for _, c := range []struct{ rows, in, out, threads int }{{1, 1, 1, 1}, {3, 31, 13, 2}, {40, 64, 70, 2}, {5, 520, 33, 3}, {600, 40, 32, 2}} {
		t.Run(fmt.Sprintf("%dx%dx%d", c.rows, c.in, c.out), func(t *testing.T) {
			plan := backend.Plan{Rows: c.rows + 2, Seqs: c.rows}
			x, y, z := plan.Act("x", c.in), plan.Act("y", c.out), plan.Act("z", c.out)
			o.Threads = c.threads
			g := newRigOf(t, o, plan)
			w, wv := g.load(rng, weights.BF16, c.out, c.in)
			bias, bv := g.load(rng, weights.F32, c.out)
			in := uniform(rng, c.rows*c.in, 2)
			project := func(rows []float32) []float32 {
				g.set(x, rows)
				g.s.Linear(x, backend.Projection{Dst: z, W: w}, backend.Projection{Dst: y, W: w, Bias: bias, Keys: true})
				return g.get(y)
			}
			want, tol := naiveLinear(in, wv, bv, c.rows, c.in, c.out)
			for i := range tol {
				tol[i] *= 16
				for j, v := range in[i/c.out*c.in:][:c.in] {
					tol[i] += math.Abs(float64(v)*float64(wv[i%c.out*c.in+j])) * 0x1p-16
				}
			}
			g.beginMixed(rng, c.rows)
			near(t, "keys of both classes", project(in), want, tol)
			g.begin(c.rows)
			all := append([]float32(nil), project(in)...)
			near(t, "keys of prompts", all, want, tol)
			g.poison()
			g.begin(1)
			r := rng.IntN(c.rows)
			sameBits(t, "a row by itself", project(in[r*c.in:][:c.in]), all[r*c.out:][:c.out])
		})
	}
}

// TestLeave: what rounding takes from a number is exact, and nothing is left of
// what has no sum of two parts.
func TestLeave(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, v := range []float32{inf, -inf, math.MaxFloat32, -math.MaxFloat32} {
		if got := leave1(v); got != 0 {
			t.Errorf("of %g is left %g, want 0", v, got)
		}
	}
	rng := newRand(t)
	for range 10_000 {
		v := math.Float32frombits(rng.Uint32())
		if float32(math.Abs(float64(v))) < 0x1.ffp127 {
			if got := leave1(v); v-got != weights.BF16ToF32(weights.F32ToBF16(v)) {
				t.Fatalf("of %x is left %x, which with its rounding to bf16, %x, does not make it", v, got, weights.BF16ToF32(weights.F32ToBF16(v)))
			}
		}
	}
}

func leave1(v float32) float32 {
	var out [1]float32
	leave(out[:], []float32{v})
	return out[0]
}
