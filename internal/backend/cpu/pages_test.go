package cpu

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"weir/internal/backend"
)

// Pages that were carried to another cache, and to other places there, hold what
// attention reads in the first; and each page is carried alone.
func TestPagesAsBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, typ := range []backend.KVType{backend.KVF32, backend.KVF16} {
		spec := backend.KVSpec{Type: typ, PageSize: 4, Pages: []int{3, 2}, Groups: []backend.KVGroup{
			{Layers: []int{0, 2}, Heads: 2, HeadDim: 8}, {Layers: []int{1}, Heads: 1, HeadDim: 16}}}
		from, to := filled(t, spec, rng), filled(t, spec, rng)
		for g, pages := range spec.Pages {
			for p := range pages {
				page, moved := make([]byte, from.PageBytes(g)), int32((p+1)%pages)
				from.ReadPage(g, int32(p), page)
				to.WritePage(g, moved, page)
				back := make([]byte, len(page))
				to.ReadPage(g, moved, back)
				if !bytes.Equal(page, back) {
					t.Fatalf("%v: group %d page %d came back changed", typ, g, p)
				}
			}
			for l := range from.layers[g] {
				a, b := from.layers[g][l], to.layers[g][l]
				for cell := range pages * spec.PageSize {
					other := (cell + spec.PageSize) % (pages * spec.PageSize)
					for h := range a.heads {
						if !sameFloats(a, b, cell, other, h) {
							t.Fatalf("%v: group %d layer %d cell %d head %d differs", typ, g, l, cell, h)
						}
					}
				}
			}
		}
	}
}

func sameFloats(a, b *kvLayer, cell, other, head int) bool {
	x, y := make([]float32, a.headDim), make([]float32, a.headDim)
	for _, read := range []func(*kvLayer, []float32, int) []float32{
		func(l *kvLayer, s []float32, c int) []float32 { return l.key(s, c, head) },
		func(l *kvLayer, s []float32, c int) []float32 { return l.value(s, c, head) },
	} {
		for i, v := range read(a, x, cell) {
			if v != read(b, y, other)[i] {
				return false
			}
		}
	}
	return true
}

// filled makes a cache of random numbers.
func filled(t *testing.T, spec backend.KVSpec, rng *rand.Rand) *kvCache {
	c, err := newKV(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for g, pages := range spec.Pages {
		for _, l := range c.layers[g] {
			n := l.heads * l.headDim
			k, v := make([]float32, n), make([]float32, n)
			for cell := range pages * spec.PageSize {
				for i := range n {
					k[i], v[i] = rng.Float32(), rng.Float32()
				}
				l.put(arith{}, int32(cell), k, v)
			}
		}
	}
	return c
}
