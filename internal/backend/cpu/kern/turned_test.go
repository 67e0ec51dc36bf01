package kern

import (
	"math"
	"testing"

	"weir/internal/weights"
)

// TestDecodeTurnedHasTheBitsOfDecode: a row has the same bits alone and among others, by what is
// fast on whichever maker's processors.
func TestDecodeTurnedHasTheBitsOfDecode(t *testing.T) {
	own := decodeAhead
	t.Cleanup(func() { decodeAhead = own })
	for _, decodeAhead = range []ahead{{far: 6144}, {near: 3072, far: 12288}} {
		testTurned(t)
	}
}

func testTurned(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		for _, typ := range weights.Types() {
			if l.TurnedRows(!isFloat(typ)) > 0 {
				t.Run(typ.String(), func(t *testing.T) { testDecodeTurned(t, l, typ) })
			}
		}
	})
}

// TestWeightsTogetherHaveTheBitsOfOne: rows of 256 columns may be multiplied by twos, which
// must not be seen.
func TestWeightsTogetherHaveTheBitsOfOne(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		for _, typ := range weights.Types() {
			if isFloat(typ) {
				continue
			}
			rng := newRand(t)
			for range 30 {
				rows, n, cols := 1+rng.IntN(4), 1+rng.IntN(9), 256
				if rng.IntN(4) == 0 {
					cols = 768
				}
				x := random(rng, rows*cols, rng.IntN(4) == 0)
				if rng.IntN(4) == 0 {
					x[rng.IntN(len(x))] = float32(math.Inf(1))
				}
				w, o := blocks(rng, typ, n, cols), newOperand(l, typ, x, rows, cols)
				got := decodeAll(t, l, typ, w, o, rows, n, cols)
				for i := range n {
					one := make([]float32, rows)
					l.Decode(typ, &Decode{W: &w[i*len(w)/n], X: &o.data[0], Out: &one[0], Cols: int64(cols), Rows: int64(rows), N: 1,
						LdW: int64(len(w) / n), LdX: int64(o.ld), LdO: 1})
					for r, v := range one {
						if g := got[r*n+i]; !sameBits(g, v) {
							t.Fatalf("%v, %v, %d rows, %d weights, %d columns: row %d, weight %d: %v (%#x), alone %v (%#x)", l, typ, rows, n, cols, r, i,
								g, math.Float32bits(g), v, math.Float32bits(v))
						}
					}
				}
			}
		}
	})
}

func testDecodeTurned(t *testing.T, l Level, typ weights.Type) {
	rng := newRand(t)
	elems, _ := typ.Block()
	for range 60 {
		if isFloat(typ) && rng.IntN(4) > 0 {
			elems = 32 // what models have; others are decoded as by Decode
		}
		rows, n, cols := 2+rng.IntN(DecodeRows-1), 1+rng.IntN(12), elems*(1+rng.IntN(max(4, 1800/elems)))
		if rng.IntN(4) == 0 {
			cols = 256
		}
		x := random(rng, rows*cols, rng.IntN(5) == 0)
		extreme(rng, x, rng.IntN(6))
		w, o := blocks(rng, typ, n, cols), newOperand(l, typ, x, rows, cols)
		ldo := n + 3
		scratch := make([]float32, l.TurnedFloats()+16)
		shift := rng.IntN(16)
		for i := range scratch {
			scratch[i] = -77
		}
		got := make([]float32, rows*ldo+1)
		for i := range got {
			got[i] = -77
		}
		want := make([]float32, rows*n)
		for r := range rows {
			l.Decode(typ, &Decode{W: &w[0], X: &o.data[r*o.ld], Out: &want[r*n], Cols: int64(cols), Rows: 1, N: int64(n),
				LdW: int64(len(w) / n), LdX: int64(o.ld), LdO: int64(n)})
		}
		if !isFloat(typ) {
			l.Turn(&Convert{Y: &o.data[0], Cols: int64(cols), Rows: int64(rows), LdY: int64(o.ld)})
		}
		l.DecodeTurned(typ, &Decode{W: &w[0], X: &o.data[0], Out: &got[0], Cols: int64(cols), Rows: int64(rows), N: int64(n),
			LdW: int64(len(w) / n), LdX: int64(o.ld), LdO: int64(ldo), Scratch: &scratch[shift]})
		for i, v := range scratch {
			if (i < shift || i >= shift+l.TurnedFloats()) && v != -77 {
				t.Fatalf("%d rows, %d weights, %d columns: scratch[%d] was written", rows, n, cols, i-shift)
			}
		}
		for i, v := range got {
			if r, j := i/ldo, i%ldo; r < rows && j < n {
				if w := want[r*n+j]; !sameBits(v, w) {
					t.Fatalf("%d rows, %d weights, %d columns: row %d, weight %d: %v (%#x), alone %v (%#x)", rows, n, cols, r, j,
						v, math.Float32bits(v), w, math.Float32bits(w))
				}
			} else if v != -77 {
				t.Fatalf("%d rows, %d weights, %d columns: out[%d] was written", rows, n, cols, i)
			}
		}
	}
}
