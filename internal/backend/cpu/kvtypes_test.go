package cpu

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// Every level stores the bytes that the portable code stores.
func TestKeepStoresTheSameBytes(t *testing.T) {
	rng := newRand(t)
	specials := []float32{0, float32(math.Copysign(0, -1)), 1e-45, -1e-8, 6e-8, 1e-5, 65504, -70000, 1e6, 8e6, 1e30, math.MaxFloat32, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	for _, typ := range backend.KVTypes() {
		for range 300 {
			l := &kvLayer{typ: typ, heads: 1 + rng.IntN(4), headDim: 1 + rng.IntN(140)}
			l.size = typ.HeadBytes(l.headDim)
			x := uniform(rng, l.heads*l.headDim, []float32{1, 1e-4, 1e-7, 1e4, 300}[rng.IntN(5)])
			for range rng.IntN(4) {
				at := rng.IntN(len(x))
				x[at] = specials[rng.IntN(len(specials))]
				if at > 0 {
					x[at-1] = -x[at] // as great, of the other sign
				}
			}
			want := make([]byte, l.heads*l.size+8)
			arith{level: kern.Portable}.keep(l, want[:l.heads*l.size], x)
			for _, level := range kern.Levels()[1:] {
				got := make([]byte, len(want))
				arith{level: level}.keep(l, got[:l.heads*l.size], x)
				if (typ == backend.KVF16 || typ == backend.KVBF16) && hasNaN(x) {
					continue // its payload may differ
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("%v, %d heads of %d: %v stores %v, want %v, for %v", typ, l.heads, l.headDim, level, got, want, x)
				}
			}
		}
	}
}

func hasNaN(x []float32) bool {
	for _, v := range x {
		if v != v {
			return true
		}
	}
	return false
}

// What is stored is what was given, within half a step of the block's scale (and
// the scale's own rounding).
func TestKeptValues(t *testing.T) {
	rng := newRand(t)
	for _, typ := range backend.KVTypes() {
		for range 100 {
			l := &kvLayer{typ: typ, heads: 1, headDim: 1 + rng.IntN(140)}
			l.size = typ.HeadBytes(l.headDim)
			x := uniform(rng, l.headDim, 5)
			b, got := make([]byte, l.size), make([]float32, l.headDim)
			arith{level: kern.Best()}.keep(l, b, x)
			got = l.load(got, b)
			for i, v := range got {
				var most float64
				for _, u := range x[i/32*32 : min(i/32*32+32, len(x))] {
					most = max(most, math.Abs(float64(u)))
				}
				bound := map[backend.KVType]float64{backend.KVF16: math.Abs(float64(x[i])) / 2048, backend.KVBF16: math.Abs(float64(x[i])) / 256,
					backend.KVQ8: most / 253, backend.KVQ4: most / 7.9}[typ] + 1e-7
				if typ == backend.KVQ4 && math.Abs(float64(v-x[i])) <= most/15.9 {
					bound = 1 // the greatest of the sign that has 7 steps only may be a whole step off
				}
				if !(math.Abs(float64(v-x[i])) <= bound) {
					t.Fatalf("%v: %v became %v; the greatest of its block is %v", typ, x[i], v, most)
				}
			}
		}
	}
}

func TestKeepBlocksSpreadWhatIsNotFinite(t *testing.T) {
	for _, typ := range []backend.KVType{backend.KVQ8, backend.KVQ4} {
		l := &kvLayer{typ: typ, heads: 1, headDim: 64, size: typ.HeadBytes(64)}
		x, b := make([]float32, 64), make([]byte, l.size)
		x[40] = float32(math.Inf(1))
		arith{level: kern.Best()}.keep(l, b, x)
		for i, v := range l.load(make([]float32, 64), b) {
			if (v != v) != (i >= 32) {
				t.Errorf("%v: element %d is %v", typ, i, v)
			}
		}
	}
}

// The blocks are those of the weight types, so that what reads those reads these.
func TestBlocksAreThoseOfWeights(t *testing.T) {
	rng := newRand(t)
	for typ, as := range map[backend.KVType]weights.Type{backend.KVQ8: weights.Q8_0, backend.KVQ4: weights.Q4_0} {
		l := &kvLayer{typ: typ, heads: 1, headDim: 96, size: typ.HeadBytes(96)}
		b, want := make([]byte, l.size), make([]float32, 96)
		arith{level: kern.Best()}.keep(l, b, uniform(rng, 96, 2))
		weights.DequantizeRow(as, want, b)
		sameBits(t, fmt.Sprint(typ), l.load(make([]float32, 96), b), want)
	}
}
