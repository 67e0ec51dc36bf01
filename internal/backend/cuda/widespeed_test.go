//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

// wideLayer is what products and rows' kernels of a layer of Llama 3.1 8B's shape work on: 2048 tokens,
// E4M3 weights.
type wideLayer struct {
	qkv, out, gateUp, down wideTimed
	norm                   kern.NormE4M3
	gate                   kern.GateE4M3
	eightA, eightH         kern.E4M3
}

// wideTimed is a product, and of two matrices the same with a gate in it.
type wideTimed struct {
	rows, k     int
	args, gated kern.Hopper
}

const wideTokens = 2048

func (b *bench) wideTimed(rows []int, k int, count, scale, scales uint64, from pointer, dst ...kern.Act) (p wideTimed) {
	a := kern.Hopper{Tokens: count, XScale: scales, N: int32(len(rows)), Steps: int32(k / 128), Gate: kern.PairSiLU}
	var ws []pointer
	for i, r := range rows {
		ws = append(ws, b.random(r*k, true))
		a.Tiles += int32(r / 128)
		a.Out[i] = kern.Out{W: uint64(ws[i]), Scale: scale, Dst: dst[i].At, Rows: int32(r), LdD: dst[i].Ld, Type: kern.BF16, Tiles: a.Tiles}
		p.rows += r
	}
	p.k = k
	var err error
	a.X, err = b.tensorMap(from, wideTokens, k, k, 256/wideCluster)
	b.must(err)
	for i, w := range ws {
		a.W[i], err = b.tensorMap(w, rows[i], k, k, 128)
		b.must(err)
	}
	p.args, p.gated = a, a
	if len(ws) == 2 {
		p.gated.W[0], p.gated.First, err = b.pairMap(ws[0], ws[1], rows[0], k, k)
		b.must(err)
	}
	return p
}

func (b *bench) wideLayers(n int) []wideLayer {
	const width, hidden = 4096, 14336
	count := uint64(put(b, []int32{wideTokens}))
	scale, scales := uint64(b.random(4*hidden, false)), uint64(b.random(4*wideTokens, false))
	half := func(cols int) kern.Act {
		return kern.Act{At: uint64(b.random(wideTokens*cols*2, false)), Ld: int32(cols), Type: kern.BF16}
	}
	x := kern.Act{At: uint64(put(b, b.floats(wideTokens*width, -1, 1))), Ld: width, Type: kern.F32}
	delta, a, q, g, u := half(width), half(width), half(6144), half(hidden), half(hidden)
	e, eh := b.random(wideTokens*width, true), b.random(wideTokens*hidden, true)
	layers := make([]wideLayer, n)
	for i := range layers {
		l := &layers[i]
		l.qkv = b.wideTimed([]int{6144}, width, count, scale, scales, e, q)
		l.out = b.wideTimed([]int{width}, width, count, scale, scales, e, delta)
		l.gateUp = b.wideTimed([]int{hidden, hidden}, width, count, scale, scales, e, g, u)
		l.down = b.wideTimed([]int{width}, hidden, count, scale, scales, eh, delta)
		l.norm = kern.NormE4M3{Norm: kern.Norm{X: x, Delta: delta, W: scale, Count: count, Cols: width, Add: 1, Eps: 1e-5}, To: uint64(e), Scales: scales, Ld: width}
		l.gate = kern.GateE4M3{Pair: kern.Pair{X: g, Y: u, Count: count, Cols: hidden, What: kern.PairSiLU}, To: uint64(eh), Scales: scales, Ld: hidden}
		l.eightA = kern.E4M3{From: a.At, To: uint64(e), Scales: scales, Count: count, Ld: width}
		l.eightH = kern.E4M3{From: g.At, To: uint64(eh), Scales: scales, Count: count, Ld: hidden}
	}
	return layers
}

// wideVariant is something to be timed.
type wideVariant struct {
	name  string
	flops float64
	f     func(l *wideLayer)
	ms    []float64
}

// How fast the products of prompts are, alone and in a layer without attention, all by turns:
// what power allows wanders.
func TestGPUWideSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		layers := b.wideLayers(4)
		eight := func(e *kern.E4M3) {
			name, threads, shared := toE4M3(int(e.Ld), b.target)
			b.must(b.launch(b.kernel(name, shared), wideTokens, 1, 1, threads, shared, unsafe.Pointer(e)))
		}
		norm := func(l *wideLayer) {
			b.must(b.launch(b.kernel(normE4M3(&l.norm), 0), wideTokens, 1, 1, 256, 0, unsafe.Pointer(&l.norm)))
		}
		gate := func(l *wideLayer) {
			name, threads, shared := gateE4M3(&l.gate, b.target)
			b.must(b.launch(b.kernel(name, shared), wideTokens, 1, 1, threads, shared, unsafe.Pointer(&l.gate)))
		}
		var all []*wideVariant
		add := func(name string, p *wideTimed, f func(*wideLayer)) {
			all = append(all, &wideVariant{name: name, flops: 2 * float64(p.rows) * float64(p.k) * wideTokens, f: f})
		}
		l := &layers[0]
		store := func(p *wideTimed) { b.startWide("wide_e4m3", &p.args, wideTokens) }
		gated := func(p *wideTimed) { b.startWide("wide_gate_e4m3", &p.gated, wideTokens) }
		add("q, k, v", &l.qkv, func(l *wideLayer) { store(&l.qkv) })
		add("output", &l.out, func(l *wideLayer) { store(&l.out) })
		add("gate and up", &l.gateUp, func(l *wideLayer) { store(&l.gateUp) })
		add("the same, gated", &l.gateUp, func(l *wideLayer) { gated(&l.gateUp) })
		add("down", &l.down, func(l *wideLayer) { store(&l.down) })
		whole := wideTimed{rows: 6144 + 4096 + 28672 + 14336, k: 4096}
		for _, along := range []bool{false, true} {
			add(fmt.Sprintf("layer, gated %v", along), &whole, func(l *wideLayer) {
				store(&l.qkv)
				eight(&l.eightA)
				store(&l.out)
				norm(l)
				if along {
					gated(&l.gateUp)
					eight(&l.eightH)
				} else {
					store(&l.gateUp)
					gate(l)
				}
				store(&l.down)
				norm(l)
			})
		}
		none := &wideTimed{}
		add("norm", none, norm)
		add("gate in 8 bits", none, gate)
		add("8 bits of 14336", none, func(l *wideLayer) { eight(&l.eightH) })
		add("8 bits of 14336 by to_e4m3_rows", none, func(l *wideLayer) {
			b.must(b.launch(b.kernel("to_e4m3_rows", 0), wideTokens, 1, 1, 256, 0, unsafe.Pointer(&l.eightH)))
		})
		add("8 bits of 4096", none, func(l *wideLayer) { eight(&l.eightA) })
		for round := range 8 {
			for _, v := range all {
				ms := b.time(24, func(i int) { v.f(&layers[i%len(layers)]) })
				if round > 0 {
					v.ms = append(v.ms, ms)
				}
			}
		}
		for _, v := range all {
			slices.Sort(v.ms)
			mid := v.ms[len(v.ms)/2]
			fmt.Printf("%s: %.1f us (%.1f - %.1f), %.0f TFLOP/s\n", v.name, mid*1e3, v.ms[0]*1e3, v.ms[len(v.ms)-1]*1e3, v.flops/mid/1e9)
		}
	})
}
