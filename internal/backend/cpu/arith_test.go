package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// eachFast runs f with the fast kernels of every level.
func eachFast(t *testing.T, f func(*testing.T, Options)) {
	levels := kern.Levels()[1:]
	if len(levels) == 0 {
		t.Skip("needs a processor level with kernels: this machine has the portable one only")
	}
	for _, l := range levels {
		t.Run(l.String(), func(t *testing.T) { f(t, Options{Level: l}) })
	}
}

// beginMixed begins a batch of rows of random classes; it returns them.
func (g *rig) beginMixed(rng *rand.Rand, rows int) []backend.Class {
	var b backend.Batch
	b.Reset(1)
	for r := range int32(rows) {
		b.Token, b.Pos, b.Seq = append(b.Token, r), append(b.Pos, 0), append(b.Seq, r)
		b.Class = append(b.Class, backend.Class(rng.IntN(2)))
		b.Cell[0] = append(b.Cell[0], r)
		b.Seqs = append(b.Seqs, backend.SeqTable{Pages: [][]int32{{r}}, First: []int32{0}})
	}
	spec := backend.KVSpec{Type: backend.KVF32, PageSize: 1, Groups: []backend.KVGroup{{Layers: []int{0}, Heads: 1, HeadDim: 2}}, Pages: []int{rows}}
	g.s.Begin(&b, g.kv(spec))
	return b.Class
}

// fastTolerance bounds the error of a fast product over that of float32 sums.
// Decode, and prefill where it multiplies integers, round x to 1/127 of its block's
// greatest number; prefill, at levels that round prompts, rounds both operands to 8 bits.
func fastTolerance(l kern.Level, class backend.Class, typ weights.Type, x, w []float32) float64 {
	var bound float64
	if class == backend.Prefill && !l.IntegersFor(typ) {
		if l.RoundsPrompts() {
			for i := range x {
				bound += math.Abs(float64(x[i])*float64(w[i])) * 0x1.02p-7
			}
		}
	} else if !isFloat(typ) {
		for b := 0; b < len(x); b += 32 {
			var most, sum float64
			for i := b; i < b+32; i++ {
				most, sum = max(most, math.Abs(float64(x[i]))), sum+math.Abs(float64(w[i]))
			}
			bound += most / 254 * sum * 1.001
		}
	}
	return bound
}

func TestFastLinearOfEveryType(t *testing.T) { eachFast(t, testFastLinear) }

func testFastLinear(t *testing.T, o Options) {
	rng := newRand(t)
	for _, typ := range weights.Types() {
		block, _ := typ.Block()
		for _, c := range []struct{ rows, in, out, threads int }{
			{1, block, 1, 1}, {1, 3 * block, 13, 2}, {5, 2 * block, 40, 3}, {40, block, 70, 2},
		} {
			t.Run(fmt.Sprintf("%v_%dx%dx%d", typ, c.rows, c.in, c.out), func(t *testing.T) {
				plan := backend.Plan{Rows: c.rows + 2, Seqs: c.rows}
				x, y, z := plan.Act("x", c.in), plan.Act("y", c.out), plan.Act("z", 2*c.out)
				o.Threads = c.threads
				g := newRigOf(t, o, plan)
				w, wv := g.load(rng, typ, c.out, c.in)
				// Another type in the same group.
				u, uv := g.load(rng, weights.F32, 2*c.out, c.in)
				bias, bv := g.load(rng, weights.F32, c.out)
				in := uniform(rng, c.rows*c.in, 2)
				classes := g.beginMixed(rng, c.rows)
				g.set(x, in)
				g.s.Linear(x, backend.Projection{Dst: y, W: w, Bias: bias}, backend.Projection{Dst: z, W: u})
				check := func(name string, got, wv, bias []float32, typ weights.Type, out int) {
					want, tol := naiveLinear(in, wv, bias, c.rows, c.in, out)
					for i := range tol {
						r, j := i/out, i%out
						tol[i] = 16*tol[i] + fastTolerance(o.Level, classes[r], typ, in[r*c.in:(r+1)*c.in], wv[j*c.in:(j+1)*c.in])
					}
					near(t, name, got, want, tol)
				}
				check("y", g.get(y), wv, bv, typ, c.out)
				check("z", g.get(z), uv, nil, weights.F32, 2*c.out)
				sameBits(t, "x", g.get(x), in)
			})
		}
	}
}

func TestLevelsThatCannotRun(t *testing.T) {
	if _, err := New(Options{Level: 99, Threads: 1}); err == nil {
		t.Error("New took level 99")
	}
}

// Every level computes the same model: the toy has every operation in it. As
// prompts, unless the level rounds them or multiplies them in integers, it is all float32
// and logits are equal but for rounding; other arithmetic has operands of 8 bits, which the toy, with its random
// weights of two bits and more, turns into some percent, and now and then into
// another choice of expert. A wrong head, position or scale moves nearly all
// logits by as much as their size.
func TestLevelsAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	texts := toyTexts(rng, 1, 140, 33)
	for _, prompt := range []bool{true, false} {
		logits := func(o Options) [][][]float32 {
			return newToy(t, o, 2, 180, len(texts)).logits(rng, texts, schedule{typ: backend.KVF16, pageSize: 16, chunk: fixed(1000), together: true, allPrompt: prompt})
		}
		want := logits(Options{Level: kern.Portable})
		eachFast(t, func(t *testing.T, o Options) {
			bound, most := 0.25, 0.1
			if prompt && !o.Level.RoundsPrompts() && !o.Level.IntegersFor(weights.Q8_0) {
				bound, most = 0.002, 0
			}
			got := logits(o)
			far, all := 0, 0
			for i := range want {
				for pos := range want[i] {
					all++
					if !(distance(got[i][pos], want[i][pos]) < bound) {
						far++
					}
				}
			}
			if float64(far) > most*float64(all) {
				t.Fatalf("prompt %v: %d of %d logits are off by %v of their size", prompt, far, all, bound)
			}
		})
	}
}

// distance is how far a is from b, in sizes of b.
func distance(a, b []float32) float64 {
	var off, size float64
	for i, v := range b {
		d := float64(a[i] - v)
		off, size = off+d*d, size+float64(v)*float64(v)
	}
	return math.Sqrt(off / size)
}

// TestTurned: which spans of rows meet weights by kern.DecodeTurned.
func TestTurned(t *testing.T) {
	for _, c := range []struct {
		level             kern.Level
		rows              int
		quantized, floats []bool
	}{
		{kern.Portable, 16, []bool{false}, []bool{false}},
		{kern.AVX2, 35, []bool{true, true, true}, []bool{true, true, true}},
		{kern.AVX2, 2, []bool{false}, []bool{true}},
		{kern.AVXVNNI, 3, []bool{true}, []bool{true}},
		{kern.AVXVNNI, 2, []bool{false}, []bool{true}},
		{kern.AVX512, 1, []bool{false}, []bool{false}},
		{kern.AVX512, 4, []bool{false}, []bool{true}},
		{kern.AVX512, 5, []bool{true}, []bool{true}},
		{kern.AVX512, 16, []bool{true}, []bool{true}},
		{kern.AVX512BF16, 35, []bool{true, true, false}, []bool{true, true, true}},
		{kern.AMX, 21, []bool{true, true}, []bool{true, true}},
		{kern.NEON, 16, []bool{false}, []bool{false}},
	} {
		var rows classes
		rows.set(c.rows, func(int) backend.Class { return backend.Decode })
		task := linearTask{arith: arith{level: c.level}, classes: &rows}
		var quantized, floats []bool
		for _, sp := range rows.decode {
			quantized, floats = append(quantized, task.turned(sp, true)), append(floats, task.turned(sp, false))
		}
		if !slices.Equal(quantized, c.quantized) || !slices.Equal(floats, c.floats) {
			t.Errorf("%v, %d rows: %v of quantised weights and %v of others, want %v and %v", c.level, c.rows, quantized, floats, c.quantized, c.floats)
		}
	}
}
