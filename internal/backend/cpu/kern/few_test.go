package kern

import (
	"fmt"
	"math"
	"testing"

	"weir/internal/weights"
)

// few multiplies c's rows, as many as MultiplyFew takes, with its weights.
func (c *integerCase) few(t *testing.T) []float32 {
	t.Helper()
	size := len(c.w) / c.n
	elems, bytes := c.typ.Block()
	panel := make([]byte, c.l.IntegerPanelBytes(IntegerCols))
	acc := make([]float32, 16*c.rows*c.l.IntegerWeights())
	for i := range acc {
		acc[i] = float32(math.NaN())
	}
	return c.alone(t, func(out []float32, ldo int) {
		for at := 0; at < c.cols; at += IntegerCols {
			width := min(IntegerCols, c.cols-at)
			c.l.IntegerPanel(c.typ, &Convert{X: &c.w[at/elems*bytes], Y: &panel[0], Cols: int64(width), Rows: int64(c.n), LdX: int64(size)})
			a := Integers{X: &c.packed[c.l.IntegerBytes(at)], W: &panel[0], Out: &out[0], Acc: &acc[0], Blocks: int64(width / 32),
				Rows: int64(c.rows), N: int64(c.n), LdX: int64(c.ld()), LdO: int64(ldo)}
			if at == 0 {
				a.First = 1
			}
			if at+width == c.cols {
				a.Last = 1
			}
			c.l.MultiplyFew(c.typ, &a)
		}
	})
}

func eachFew(t *testing.T, f func(*testing.T, Level, weights.Type)) {
	t.Helper()
	if Best().FewRows() == 0 {
		t.Skip("needs level avx512 or above: others have no panels for decode rows")
	}
	for _, l := range Levels() {
		for _, typ := range weights.Types() {
			if l.FewRows() > 0 && !isFloat(typ) {
				t.Run(fmt.Sprintf("%v/%v", l, typ), func(t *testing.T) { f(t, l, typ) })
			}
		}
	}
}

// TestFewHasDecodesBits: a row has the same bits alone and among others.
func TestFewHasDecodesBits(t *testing.T) {
	eachFew(t, func(t *testing.T, l Level, typ weights.Type) {
		rng := newRand(t)
		elems, _ := typ.Block()
		for range 40 {
			rows, n := l.FewRows()+rng.IntN(DecodeRows-l.FewRows()+1), 1+rng.IntN(l.IntegerWeights())
			cols := elems * (1 + rng.IntN(max(4, 1800/elems)))
			w, x := blocks(rng, typ, n, cols), random(rng, rows*cols, false)
			extreme(rng, x, rng.IntN(5))
			got := newIntegers(l, typ, w, x, rows, n, cols).few(t)
			quantized := make([]byte, QuantizedBytes(cols))
			for r := range rows {
				want := make([]float32, n)
				l.Quantize(&Convert{X: &floatBytes(x)[4*r*cols], Y: &quantized[0], Cols: int64(cols), Rows: 1, LdX: 4 * int64(cols), LdY: int64(len(quantized))})
				l.Decode(typ, &Decode{W: &w[0], X: &quantized[0], Out: &want[0], Cols: int64(cols), Rows: 1, N: int64(n),
					LdW: int64(len(w) / n), LdX: int64(len(quantized)), LdO: int64(n)})
				for i, v := range want {
					if g := got[r*n+i]; !sameBits(g, v) {
						t.Fatalf("%d rows, %d weights, %d columns: row %d, weight %d: %v (%#x), alone %v (%#x)", rows, n, cols, r, i,
							g, math.Float32bits(g), v, math.Float32bits(v))
					}
				}
			}
		}
	})
}
