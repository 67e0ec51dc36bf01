package weights

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A row rewritten as the type that Exact names decodes to the same bits, whatever its blocks say.
func TestRewriteRow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, typ := range []Type{Q4_0, Q5_0, IQ4_NL, Q3_K} {
		to, ok := Exact(typ)
		if !ok {
			t.Fatalf("%v can't be rewritten", typ)
		}
		const n = 256 * 40
		elems, size := typ.Block()
		src := make([]byte, n/elems*size)
		for i := range src {
			src[i] = byte(rng.Uint32())
		}
		_, wide := to.Block()
		toElems, _ := to.Block()
		dst := make([]byte, n/toElems*wide)
		for i := range dst {
			dst[i] = 0xee // what was there must not show
		}
		rewriteRow(typ, dst, src)
		want, got := make([]float32, n), make([]float32, n)
		DequantizeRow(typ, want, src)
		DequantizeRow(to, got, dst)
		for i := range want {
			if math.Float32bits(want[i]) != math.Float32bits(got[i]) && !(want[i] != want[i] && got[i] != got[i]) {
				t.Fatalf("%v as %v: element %d is %v, was %v", typ, to, i, got[i], want[i])
			}
		}
	}
}

// Types without an exact one are named so, and can't be rewritten by mistake.
func TestExactNone(t *testing.T) {
	for _, typ := range []Type{Q4_1, Q5_1, Q2_K, Q4_K, Q5_K, Q6_K, Q8_0, IQ4_XS, F32, F16, BF16} {
		if to, ok := Exact(typ); ok {
			t.Errorf("%v has %v", typ, to)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("rewriting Q4_1 did not panic")
		}
	}()
	rewriteRow(Q4_1, make([]byte, 34), make([]byte, 20))
}
