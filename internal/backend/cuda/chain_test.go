//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// startChain starts products in a row; most bounds the ring's depth.
func (b *bench) startChain(products []kern.Few, tokens, bytes, most int, fp8 bool, ahead ...int32) {
	b.Helper()
	if b.meeting == 0 {
		b.meeting = put(b, []uint32{0})
	}
	stages := min(most, chainStages(tokens, bytes, b.shared))
	c := kern.Chain{Meeting: uint64(b.meeting), N: int32(len(products)), Stages: int32(stages), XBytes: int32(bytes), Ahead: int32(min(chainAhead, stages))}
	if len(ahead) > 0 {
		c.Ahead = min(ahead[0], int32(stages))
	}
	copy(c.At[:], products)
	for i, p := range products {
		for j := range p.N {
			c.W[i][j] = b.piecesOf(p.Out[j], int(p.LdW), fp8)
		}
	}
	name, shared := fmt.Sprintf("chain_%s_%d", map[bool]string{true: "e4m3", false: "bf16"}[fp8], tokens), chainShared(tokens, bytes, stages)
	b.must(b.launch(b.kernel(name, shared), b.processors, 1, 1, 288, shared, unsafe.Pointer(&c)))
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

// Whole passes with products in chains agree with the CPU's as those without do, and
// recorded steps give their bits.
func TestGPUChainParity(t *testing.T) {
	b := openGPU(t, Options{})
	runs := kern.SM90a.Runs(b.device.capability)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if !runs {
		t.Skip("needs an NVIDIA GPU that runs sm_90a")
	}
	rng := newRand(t)
	for _, c := range toyConfigs() {
		testParity(t, rng, c, Options{Target: "sm_90a", Eager: rng.IntN(4) == 0, Chain: true})
	}
	testParity(t, rng, toyConfig{heads: 4, kvHeads: 2, dim: 64, width: 96, hidden: 160, types: []weights.Type{weights.BF16}, page: 16, float8: true}, Options{Chain: true})
}

// The same steps give the same bits with chains, and steps of one to four rows are
// chains indeed.
func TestGPUChainDeterminism(t *testing.T) {
	rng := newRand(t)
	for _, as := range []Weights{AsStored, AsE4M3} {
		c := toyConfigs()[10]
		c.weights = as
		m := newToy(t, rng, c, Options{Chain: true})
		s := m.sides[1].s.(*stream)
		if s.launch.target != kern.SM90a {
			m.close()
			t.Skip("needs an NVIDIA GPU that runs sm_90a")
		}
		for _, n := range []int{1, 2, 4} {
			chainBits(t, m, rng, n)
			name := fmt.Sprintf("chain_%s_%d", map[Weights]string{AsStored: "bf16", AsE4M3: "e4m3"}[as], n)
			if s.launch.found[name] == nil {
				t.Errorf("%v: decode of %d did not run %s", c, n, name)
			}
		}
		m.close()
	}
}

func chainBits(t *testing.T, m *toy, rng *rand.Rand, n int) {
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

// How fast layers of Llama 3.1 8B's shape go through chains: whole, by product, and with
// rings of less depth.
func TestGPUChainSpeed(t *testing.T) {
	if os.Getenv("WEIR_GPU_SPEED") == "" {
		t.Skip("needs an NVIDIA GPU that nobody else uses, and WEIR_GPU_SPEED=1")
	}
	eachTarget(t, func(t *testing.T, b *bench) {
		if b.target != kern.SM90a {
			return
		}
		for _, fp8 := range []bool{true, false} {
			for _, tokens := range []int{1, 2, 4} {
				b.chainSpeed(tokens, fp8)
			}
		}
	})
}

const chainLayers = 4 // more than the L2 cache holds

func (b *bench) chainSpeed(tokens int, fp8 bool) {
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
	var layers [chainLayers][4]kern.Few
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
	xs := chainXs(tokens, hidden, fp8)
	show := func(what string, bytes int, f func(i int)) {
		ms := b.time(40, f)
		fmt.Printf("chain fp8 %v, %d tokens, %s: %.1f us %.0f GB/s\n", fp8, tokens, what, ms*1e3, float64(bytes*size)/ms/1e6)
	}
	sizes := []int{width * width, 2 * hidden * width, hidden * width, (width + 2*kv) * width}
	all := sizes[0] + sizes[1] + sizes[2] + sizes[3]
	for _, ring := range [][2]int{{16, 16}, {16, 8}, {16, 6}, {16, 4}, {16, 3}, {16, 2}, {8, 3}, {5, 3}, {4, 2}} {
		show(fmt.Sprintf("a layer, ring of at most %d, %d on their way", ring[0], ring[1]), all, func(i int) {
			b.startChain(layers[i%chainLayers][:], tokens, xs, ring[0], fp8, int32(ring[1]))
		})
	}
	show("a layer, a kernel a product", all, func(i int) {
		for j := range 4 {
			b.startChain(layers[i%chainLayers][j:j+1], tokens, xs, chainMost, fp8)
		}
	})
	for j, what := range []string{"o", "gate and up", "down", "qkv"} {
		show(what, sizes[j], func(i int) { b.startChain(layers[i%chainLayers][j:j+1], tokens, xs, chainMost, fp8) })
	}
	for _, p := range b.mine[keep:] {
		b.must(b.free(p))
	}
	b.mine = b.mine[:keep]
}
