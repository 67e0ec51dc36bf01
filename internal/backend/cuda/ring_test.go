//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

// startRing starts a product of tokens that take so many bytes.
func (b *bench) startRing(p *kern.Few, tokens, bytes int, fp8 bool) {
	b.Helper()
	var maps [kern.Group]kern.TensorMap
	for j := range p.N {
		maps[j] = b.piecesOf(p.Out[j], int(p.LdW), fp8)
	}
	a := ringArgs(p, maps, tokens, bytes, b.shared, fp8)
	name, shared := fmt.Sprintf("ring_%s_%d", map[bool]string{true: "e4m3", false: "bf16"}[fp8], tokens), ringShared(tokens, bytes, int(a.Stages))
	b.must(b.launch(b.kernel(name, shared), b.processors, 1, 1, ringThreads(tokens), shared, unsafe.Pointer(&a)))
}

func (b *bench) piecesOf(o kern.Out, ldw int, fp8 bool) kern.TensorMap {
	if !fp8 {
		ldw *= 2
	}
	key := mapKey{pointer(o.W), int(o.Rows), ldw}
	m, ok := b.maps[key]
	if !ok {
		var err error
		m, err = b.pieceMap(pointer(o.W), int(o.Rows), ldw)
		b.must(err)
		if b.maps == nil {
			b.maps = map[mapKey]kern.TensorMap{}
		}
		b.maps[key] = m
	}
	return m
}

// The same steps give the same bits, recorded or not, and steps of one to four rows are
// rings indeed.
func TestGPURings(t *testing.T) {
	rng := newRand(t)
	for _, as := range []Weights{AsStored, AsE4M3} {
		c := toyConfigs()[10]
		c.weights = as
		m := newToy(t, rng, c, Options{})
		s := m.sides[1].s.(*stream)
		if s.launch.target != kern.SM90a {
			m.close()
			t.Skip("needs an NVIDIA GPU that runs sm_90a")
		}
		for _, n := range []int{1, 2, 4} {
			ringBits(t, m, rng, n)
			name := fmt.Sprintf("ring_%s_%d", map[Weights]string{AsStored: "bf16", AsE4M3: "e4m3"}[as], n)
			if s.launch.found[name] == nil {
				t.Errorf("%v: decode of %d did not run %s", c, n, name)
			}
		}
		m.close()
	}
}

func ringBits(t *testing.T, m *toy, rng *rand.Rand, n int) {
	w := newToyWorld(m, rng, 24)
	w.batch.Reset(1)
	for i := range n {
		w.add(i, 1+rng.IntN(60))
	}
	m.forward(1, &w.batch, nil)
	w.batch.Reset(1)
	for i := range n {
		w.add(i, 1)
	}
	want := m.forward(1, &w.batch, nil)
	for range 50 {
		for i, row := range m.forward(1, &w.batch, nil) {
			for j := range row {
				if row[j] != want[i][j] {
					t.Fatalf("%v: decode of %d, row %d, logit %d: %v and %v", m.c, n, i, j, row[j], want[i][j])
				}
			}
		}
	}
}

// How fast layers of Llama 3.1 8B's shape are read: whole, by product.
func TestGPURingSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		for _, fp8 := range []bool{true, false} {
			for _, tokens := range []int{1, 2, 4} {
				b.ringSpeed(tokens, fp8)
			}
		}
	})
}

const ringLayers = 4 // more than the L2 cache holds

func (b *bench) ringSpeed(tokens int, fp8 bool) {
	const width, hidden, kv = 4096, 14336, 1024
	keep, size := len(b.mine), 2
	if fp8 {
		size = 1
	}
	tk := uint64(put(b, []int32{int32(tokens)}))
	x, a, h := uint64(b.random(4*width*4, false)), uint64(b.random(4*width*2, false)), uint64(b.random(4*hidden*2, false))
	norm, to, scale := uint64(b.random(width*4, false)), uint64(b.alloc(4*hidden*4)), uint64(b.random(hidden*4, false))
	out := func(f *kern.Few, rows, k int, dst uint64, kind int32) {
		f.Units += int32(rows) / 16
		f.Out[f.N] = kern.Out{W: uint64(b.random(rows*k*size, fp8)), Scale: scale, Dst: dst, Rows: int32(rows), LdD: int32(rows), Type: kind, Tiles: f.Units}
		f.N++
	}
	var layers [ringLayers][4]kern.Few
	for i := range layers {
		l := &layers[i]
		l[0] = kern.Few{X: a, Residual: x, LdR: width, Tokens: tk, Cols: width, LdX: width, LdW: width}
		out(&l[0], width, width, to, kern.F32)
		l[1] = kern.Few{X: x, Norm: norm, Tokens: tk, Cols: width, LdX: width, LdW: width, Gate: kern.PairSiLU, Eps: 1e-5}
		out(&l[1], hidden, width, h, kern.BF16)
		out(&l[1], hidden, width, h, kern.BF16)
		l[2] = kern.Few{X: h, Residual: x, LdR: width, Tokens: tk, Cols: hidden, LdX: hidden, LdW: hidden}
		out(&l[2], width, hidden, to, kern.F32)
		l[3] = kern.Few{X: x, Norm: norm, Tokens: tk, Cols: width, LdX: width, LdW: width, Eps: 1e-5}
		out(&l[3], width, width, to, kern.F32)
		out(&l[3], kv, width, to, kern.F32)
		out(&l[3], kv, width, to, kern.F32)
	}
	show := func(what string, bytes int, f func(i int)) {
		ms := b.time(40, f)
		fmt.Printf("ring fp8 %v, %d tokens, %s: %.1f us %.0f GB/s\n", fp8, tokens, what, ms*1e3, float64(bytes*size)/ms/1e6)
	}
	sizes := []int{width * width, 2 * hidden * width, hidden * width, (width + 2*kv) * width}
	all := sizes[0] + sizes[1] + sizes[2] + sizes[3]
	start := func(layer, j int) {
		l := &layers[layer%ringLayers][j]
		b.startRing(l, tokens, ringXs(tokens, int(l.LdW), fp8), fp8)
	}
	show("a layer", all, func(i int) {
		for j := range 4 {
			start(i, j)
		}
	})
	for j, what := range []string{"o", "gate and up", "down", "qkv"} {
		show(what, sizes[j], func(i int) { start(i, j) })
	}
	// What is left where memory does not matter.
	show("o, all in the cache", sizes[0], func(int) { start(0, 0) })
	b.freeTo(keep)
}
