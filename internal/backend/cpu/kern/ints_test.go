package kern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"weir/internal/weights"
)

// eachInteger runs f with every level and type that has integer products of prompts.
func eachInteger(t *testing.T, f func(*testing.T, Level, weights.Type)) {
	found := false
	for _, l := range Levels()[1:] {
		for _, typ := range weights.Types() {
			if l.IntegersFor(typ) {
				found = true
				t.Run(fmt.Sprintf("%v/%v", l, typ), func(t *testing.T) { f(t, l, typ) })
			}
		}
	}
	if !found {
		t.Skip("needs level avx2 or above: others have no integer products of prompts")
	}
}

// integerCase is packed rows and the weights that they meet.
type integerCase struct {
	l             Level
	typ           weights.Type
	rows, n, cols int
	x             []float32
	packed        []byte
	w             []byte
}

const integerGuard = 64

func newIntegers(l Level, typ weights.Type, w []byte, x []float32, rows, n, cols int) *integerCase {
	c := &integerCase{l: l, typ: typ, rows: rows, n: n, cols: cols, x: x, w: w}
	c.packed = make([]byte, rows*c.ld())
	for i := range c.packed {
		c.packed[i] = 0xa5
	}
	l.PackIntegers(&Convert{X: &floatBytes(x)[0], Y: &c.packed[0], Cols: int64(cols), Rows: int64(rows), LdX: 4 * int64(cols), LdY: int64(c.ld())})
	for r := range rows {
		for _, v := range c.packed[(r+1)*c.ld()-integerGuard : (r+1)*c.ld()] {
			if v != 0xa5 {
				panic("PackIntegers wrote behind a row")
			}
		}
	}
	return c
}

func (c *integerCase) ld() int { return c.l.IntegerBytes(c.cols) + integerGuard }

// run multiplies rows [r, r+rows) with weights [i, i+n), n up to IntegerWeights.
func (c *integerCase) run(out []float32, ldo, r, rows, i, n int) {
	size := len(c.w) / c.n
	elems, bytes := c.typ.Block()
	room := c.l.IntegerPanelBytes(IntegerCols)
	panel := make([]byte, room+integerGuard)
	acc := make([]float32, rows*c.l.IntegerWeights())
	for k := range acc {
		acc[k] = float32(math.NaN())
	}
	for at := 0; at < c.cols; at += IntegerCols {
		width := min(IntegerCols, c.cols-at)
		for k := range panel {
			panel[k] = 0xff
		}
		c.l.IntegerPanel(c.typ, &Convert{X: &c.w[i*size+at/elems*bytes], Y: &panel[0], Cols: int64(width), Rows: int64(n), LdX: int64(size)})
		for _, v := range panel[room:] {
			if v != 0xff {
				panic("IntegerPanel wrote behind its end")
			}
		}
		a := Integers{X: &c.packed[r*c.ld()+c.l.IntegerBytes(at)], W: &panel[0], Out: &out[0], Acc: &acc[0], Blocks: int64(width / 32),
			Rows: int64(rows), N: int64(n), LdX: int64(c.ld()), LdO: int64(ldo)}
		if at == 0 {
			a.First = 1
		}
		if at+width == c.cols {
			a.Last = 1
		}
		c.l.MultiplyIntegers(c.typ, &a)
	}
}

// all multiplies all rows with all weights, and fails if something else is written.
func (c *integerCase) all(t *testing.T) []float32 {
	t.Helper()
	return c.alone(t, func(out []float32, ldo int) { c.run(out, ldo, 0, c.rows, 0, c.n) })
}

// alone gives the products that run writes, rows ldo apart, and fails if it writes
// something else.
func (c *integerCase) alone(t *testing.T, run func(out []float32, ldo int)) []float32 {
	t.Helper()
	const untouched = -77
	ldo := c.n + 3
	out := make([]float32, c.rows*ldo+1)
	for i := range out {
		out[i] = untouched
	}
	run(out, ldo)
	var got []float32
	for i, v := range out {
		if i/ldo < c.rows && i%ldo < c.n {
			got = append(got, v)
		} else if v != untouched {
			t.Fatalf("out[%d] was written", i)
		}
	}
	return got
}

// vanishing is the kind of extreme whose products vanish.
const vanishing = 3

// extreme makes some of x, or all, what products go wrong with; kinds beyond vanishing
// leave it alone.
func extreme(rng *rand.Rand, x []float32, kind int) {
	switch kind {
	case 0:
		clear(x[:min(len(x), 64)])
	case 1:
		x[rng.IntN(len(x))] = []float32{float32(math.NaN()), float32(math.Inf(1)), 1e30, 1e-45}[rng.IntN(4)]
	case 2: // the greatest sums that there are
		for i := range x {
			x[i] = 127
		}
	case vanishing:
		for i := range x {
			x[i] *= 0x1p-110
		}
	}
}

// TestIntegers compares with float64 products of the rounded activations, as TestDecode
// does. A result is one float32 sum of a term or three for every block, and of its terms
// those that subtract an offset may each be some times what is left of them.
func TestIntegers(t *testing.T) {
	eachInteger(t, func(t *testing.T, l Level, typ weights.Type) {
		rng := newRand(t)
		elems, _ := typ.Block()
		for range 30 {
			rows, n, cols := 1+rng.IntN(20), 1+rng.IntN(l.IntegerWeights()), elems*(1+rng.IntN(max(4, 1500/elems)))
			w, x := blocks(rng, typ, n, cols), random(rng, rows*cols, false)
			if kind := rng.IntN(4); kind != vanishing {
				extreme(rng, x, kind)
			}
			c := newIntegers(l, typ, w, x, rows, n, cols)
			c.check(t, c.all(t))
		}
	})
}

func (c *integerCase) check(t *testing.T, got []float32) {
	t.Helper()
	row, size := make([]float32, c.cols), len(c.w)/c.n
	for i := range c.n {
		weights.DequantizeRow(c.typ, row, c.w[i*size:(i+1)*size])
		for r := range c.rows {
			var want, sum float64
			x := quantized(c.x[r*c.cols : (r+1)*c.cols])
			for k, v := range row {
				want += float64(v) * x[k]
				sum += math.Abs(float64(v)) * math.Abs(x[k])
			}
			v := float64(got[r*c.n+i])
			bound := 4*sum*float64(c.cols/32+8)*0x1p-24 + 1e-36
			if want != want {
				if v == v {
					t.Fatalf("row %d of x has a NaN, out[%d] = %v", r, i, v)
				}
			} else if math.Abs(v-want) > bound {
				t.Fatalf("%d rows, %d weights, %d columns: out[%d][%d] = %v, want %v: off by %.3g, bound %.3g", c.rows, c.n, c.cols, r, i, v, want, math.Abs(v-want), bound)
			}
		}
	}
}

// TestIntegersOfExtremes: every product and its sums are as large as they can be, where
// sums of 16 bits would overflow if they were made of one product more.
func TestIntegersOfExtremes(t *testing.T) {
	eachInteger(t, func(t *testing.T, l Level, typ weights.Type) {
		_, bytes := typ.Block()
		for _, fill := range []byte{0x00, 0x7f, 0x80, 0xff} {
			for _, sign := range []float32{1, -1} {
				const rows, cols = 19, 1024
				n := l.IntegerWeights()
				size, _ := typ.RowBytes(cols)
				w := make([]byte, n*size)
				for i := range w {
					w[i] = fill
				}
				for b := 0; b < len(w); b += bytes {
					for _, at := range scaleOffsets(typ) {
						w[b+at], w[b+at+1] = 0, 0x3c // 1
					}
				}
				x := make([]float32, rows*cols)
				for i := range x {
					x[i] = sign
				}
				c := newIntegers(l, typ, w, x, rows, n, cols)
				c.check(t, c.all(t))
			}
		}
	})
}

// TestIntegersAreTheSameHoweverSplit: a row's place, its neighbours, and which weights
// share a panel change no bit.
func TestIntegersAreTheSameHoweverSplit(t *testing.T) {
	eachInteger(t, func(t *testing.T, l Level, typ weights.Type) {
		rng := newRand(t)
		elems, _ := typ.Block()
		for range 10 {
			rows, n, cols := 1+rng.IntN(20), 1+rng.IntN(l.IntegerWeights()), elems*(1+rng.IntN(max(4, 1500/elems)))
			c := newIntegers(l, typ, blocks(rng, typ, n, cols), random(rng, rows*cols, false), rows, n, cols)
			want := c.all(t)
			r, i := rng.IntN(rows), rng.IntN(n)
			m, k := 1+rng.IntN(rows-r), 1+rng.IntN(n-i)
			got := make([]float32, m*k)
			c.run(got, k, r, m, i, k)
			for j, v := range got {
				if at := (r+j/k)*n + i + j%k; !sameBits(v, want[at]) {
					t.Fatalf("row %d, weight %d: %v, in a part %v", r+j/k, i+j%k, want[at], v)
				}
			}
		}
	})
}

// Levels lay and multiply in their own ways, but sum in one order.
func TestIntegersAreTheSameAtEveryLevel(t *testing.T) {
	eachInteger(t, func(t *testing.T, l Level, typ weights.Type) {
		rng := newRand(t)
		elems, _ := typ.Block()
		for range 10 {
			rows, n, cols := 1+rng.IntN(20), 1+rng.IntN(16), elems*(1+rng.IntN(2048/elems))
			w, x := blocks(rng, typ, n, cols), random(rng, rows*cols, false)
			want := newIntegers(lowest(), typ, w, x, rows, n, cols).all(t)
			for i, v := range newIntegers(l, typ, w, x, rows, n, cols).all(t) {
				if !sameBits(v, want[i]) {
					t.Fatalf("%d rows, %d weights, %d columns: result %d is %v at %v, %v here", rows, n, cols, i, want[i], lowest(), v)
				}
			}
		}
	})
}

// BenchmarkIntegers is a prompt of 256 against random weights, whose panels are made for
// each pass; "multiply" is the product alone.
func BenchmarkIntegers(b *testing.B) {
	const rows, cols = 256, 2048
	rng := rand.New(rand.NewPCG(1, 2))
	for _, l := range Levels()[1:] {
		for _, typ := range weights.Types() {
			if !l.IntegersFor(typ) {
				continue
			}
			n := l.IntegerWeights()
			c := newIntegers(l, typ, blocks(rng, typ, n, cols), random(rng, rows*cols, false), rows, n, cols)
			panel, acc, out := make([]byte, l.IntegerPanelBytes(cols)), make([]float32, rows*n), make([]float32, rows*n)
			lay := func() {
				l.IntegerPanel(typ, &Convert{X: &c.w[0], Y: &panel[0], Cols: IntegerCols, Rows: int64(n), LdX: int64(len(c.w) / n)})
			}
			multiply := func() {
				l.MultiplyIntegers(typ, &Integers{X: &c.packed[0], W: &panel[0], Out: &out[0], Acc: &acc[0], Blocks: IntegerCols / 32,
					Rows: rows, N: int64(n), LdX: int64(c.ld()), LdO: int64(n), First: 1, Last: 1})
			}
			lay()
			for _, part := range []struct {
				name string
				do   func()
			}{{"multiply", multiply}, {"panel", lay}} {
				b.Run(fmt.Sprintf("%v/%v/%s", l, typ, part.name), func(b *testing.B) {
					best := math.Inf(1)
					for b.Loop() {
						begin := time.Now()
						part.do()
						best = min(best, time.Since(begin).Seconds())
					}
					b.ReportMetric(float64(rows*n*IntegerCols)/best/1e9, "best-GMAC/s")
				})
			}
		}
	}
}
