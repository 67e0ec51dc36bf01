//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// startWide starts a product: its maps are made before.
func (b *bench) startWide(name string, a *kern.Hopper, tokens int) {
	b.Helper()
	k := b.kernel(name, wideShared)
	room, err := b.room(k, 384, wideShared)
	b.must(err)
	b.must(b.launch(k, wideCluster*min(room, wideJobs(int(a.Tiles), tokens)), 1, 1, 384, wideShared, unsafe.Pointer(a)))
}

func (b *bench) wideSpeed(a []kern.Hopper, x pointer, rows, bytes, tokens int, fp8 bool) string {
	for i := range a {
		var err error
		a[i].X, err = b.tensorMap(x, tokens, bytes, bytes, 256/wideCluster)
		b.must(err)
		a[i].Tiles = int32((rows + 127) / 128)
	}
	k, kind := bytes, "e4m3"
	if !fp8 {
		k, kind = bytes/2, "bf16"
	}
	ms := b.time(20, func(i int) { b.startWide("wide_"+kind, &a[i%len(a)], tokens) })
	return fmt.Sprintf("  wide %.1fus %.0fT", ms*1e3, 2*float64(rows)*float64(k)*float64(tokens)/ms/1e9)
}

// wideProduct is a product on the device that wide.h takes.
type wideProduct struct {
	tokens, k int
	rows      []int
	fp8       bool
	args      kern.Hopper
	x         pointer
	w         []pointer
	kind      string
}

// free gives back what has been made since the bench had so much.
func (b *bench) freeTo(keep int) {
	for _, p := range b.mine[keep:] {
		b.must(b.free(p))
	}
	b.mine = b.mine[:keep]
}

func (b *bench) wideProduct(tokens, k int, rows []int, fp8 bool) *wideProduct {
	p := &wideProduct{tokens: tokens, k: k, rows: rows, fp8: fp8, kind: "bf16"}
	if fp8 {
		p.kind = "e4m3"
	}
	p.x, _, _ = b.fewMatrix(tokens, k, padded(k), fp8)
	p.args = kern.Hopper{Tokens: uint64(put(b, []int32{int32(tokens)})), N: int32(len(rows)), Steps: int32((k*p.size() + 127) / 128)}
	if fp8 {
		p.args.XScale = uint64(put(b, b.floats(tokens, 0.5, 1.5)))
	}
	for i, n := range rows {
		w, _, scale := b.fewMatrix(n, k, padded(k), fp8)
		p.w = append(p.w, w)
		p.args.Tiles += int32(n / 128)
		p.args.Out[i] = kern.Out{W: uint64(w), Scale: uint64(put(b, scale)), Bias: uint64(put(b, b.floats(n, -1, 1))), Rows: int32(n), LdD: int32(n), Type: kern.BF16, Tiles: p.args.Tiles}
	}
	return p
}

func (p *wideProduct) size() int {
	if p.fp8 {
		return 1
	}
	return 2
}

func (p *wideProduct) stride() int { return padded(p.k) * p.size() }

// maps describes tokens in boxes of so many, and weights.
func (p *wideProduct) maps(b *bench, tokens int) {
	var err error
	p.args.X, err = b.tensorMap(p.x, p.tokens, p.k*p.size(), p.stride(), tokens)
	b.must(err)
	for i, w := range p.w {
		p.args.W[i], err = b.tensorMap(w, p.rows[i], p.k*p.size(), p.stride(), 128)
		b.must(err)
	}
}

func (b *bench) floats(n int, from, to float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = from + (to-from)*b.rng.Float32()
	}
	return x
}

// results gives the matrices new places for so many tokens, poisoned, and reads them after f.
func (p *wideProduct) results(b *bench, f func()) (got [][]uint16) {
	for i, n := range p.rows {
		p.args.Out[i].Dst = uint64(poison(b, (p.tokens*n+1)/2))
	}
	f()
	b.must(b.wait())
	for i, n := range p.rows {
		got = append(got, get[uint16](b, pointer(p.args.Out[i].Dst), p.tokens*n))
	}
	return got
}

// stored is what the product gives without anything taken along.
func (p *wideProduct) stored(b *bench) [][]uint16 {
	p.maps(b, 256/wideCluster)
	return p.results(b, func() { b.startWide("wide_"+p.kind, &p.args, p.tokens) })
}

func onHopper(t *testing.T, f func(*testing.T, *bench)) {
	eachTarget(t, func(t *testing.T, b *bench) {
		if b.target != kern.SM90a {
			t.Skip("needs an NVIDIA GPU and the kernels of sm_90a")
		}
		f(t, b)
	})
}

// wide.h, whose blocks share tokens, gives the bits of hopper.h.
func TestWide(t *testing.T) {
	onHopper(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			tokens, k int
			rows      []int
			fp8       bool
		}{{256, 64, []int{256}, false}, {300, 1000, []int{128, 384}, false}, {2048, 512, []int{1024, 256, 256}, true}, {129, 4096, []int{6144}, true}, {1111, 2048, []int{4096}, false}, {513, 14336, []int{4096}, true}} {
			keep := len(b.mine)
			p := b.wideProduct(c.tokens, c.k, c.rows, c.fp8)
			p.maps(b, 256)
			want := p.results(b, func() {
				shared := hopperStages[256]*((128+256)*128+16) + 1024
				b.must(b.launch(b.kernel("hopper_"+p.kind+"_256", shared), (p.tokens+255)/256, int(p.args.Tiles), 1, 384, shared, unsafe.Pointer(&p.args)))
			})
			got := p.stored(b)
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("%s, %d tokens, k %d: matrix %d differs", p.kind, p.tokens, p.k, i)
				}
			}
			b.freeTo(keep)
		}
	})
}

// A gate in the product has the bits of pairwise behind it, whichever matrix lies first.
func TestWideGate(t *testing.T) {
	onHopper(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			tokens, k, rows int
			fp8             bool
			what            int32
		}{{256, 64, 128, false, kern.PairSiLU}, {300, 1000, 256, true, kern.PairGELU}, {1111, 2048, 1024, false, kern.PairSiLU}, {2048, 4096, 1280, true, kern.PairSiLU}, {130, 576, 384, true, kern.PairSiLU}} {
			for _, swap := range []bool{false, true} {
				keep := len(b.mine)
				p := b.wideProduct(c.tokens, c.k, []int{c.rows, c.rows}, c.fp8)
				if swap {
					p.swap()
				}
				p.stored(b)
				dst := uint64(poison(b, (c.tokens+1)*c.rows/2))
				act := func(at uint64) kern.Act { return kern.Act{At: at, Ld: int32(c.rows), Type: kern.BF16} }
				pair := kern.Pair{Dst: act(dst), X: act(p.args.Out[0].Dst), Y: act(p.args.Out[1].Dst), Count: p.args.Tokens, Cols: int32(c.rows), What: c.what}
				b.must(b.launch(b.kernel("pairwise", 0), c.tokens, (c.rows+1023)/1024, 1, 256, 0, unsafe.Pointer(&pair)))
				b.must(b.wait())
				want := get[uint16](b, pointer(dst), (c.tokens+1)*c.rows)
				got := p.gated(b, c.what)
				for i, w := range want {
					if got[i] != w {
						t.Errorf("gate, %s, %d tokens, k %d, swapped %v: [%d, %d] of %d rows is %#x, want %#x", p.kind, c.tokens, c.k, swap, i/c.rows, i%c.rows, c.rows, got[i], w)
						break
					}
				}
				b.freeTo(keep)
			}
		}
	})
}

// swap makes the second matrix the first.
func (p *wideProduct) swap() {
	o := &p.args.Out
	o[0], o[1] = o[1], o[0]
	o[0].Tiles, o[1].Tiles = o[1].Tiles, o[0].Tiles
	p.w[0], p.w[1] = p.w[1], p.w[0]
}

// gated is what the product gives with a gate in it, and a row beyond the tokens.
func (p *wideProduct) gated(b *bench, what int32) []uint16 {
	p.maps(b, 256/wideCluster)
	a, rows := p.args, p.rows[0]
	var err error
	a.W[0], a.First, err = b.pairMap(p.w[0], p.w[1], rows, p.k*p.size(), p.stride())
	b.must(err)
	a.Gate, a.Out[0].Dst = what, uint64(poison(b, (p.tokens+1)*rows/2))
	b.startWide("wide_gate_"+p.kind, &a, p.tokens)
	b.must(b.wait())
	return get[uint16](b, pointer(a.Out[0].Dst), (p.tokens+1)*rows)
}

// A model whose prompts take it has the logits of the CPU's portable level.
func TestGPUWideParity(t *testing.T) {
	rng := newRand(t)
	for _, c := range []toyConfig{{weights: AsStored}, {weights: AsE4M3}, {weights: AsE4M3, gelu: true}} {
		c.heads, c.kvHeads, c.dim, c.width, c.hidden, c.page = 4, 2, 64, 256, 4352, 16
		c.types = []weights.Type{weights.BF16}
		m := newToy(t, rng, c, Options{})
		s := m.sides[1].s.(*stream)
		if s.launch.target != kern.SM90a {
			m.close()
			t.Skip("needs an NVIDIA GPU that runs sm_90a")
		}
		w := newToyWorld(m, rng, 24)
		w.batch.Reset(1)
		w.add(0, 300)
		t.Logf("%v: %.4f off", c, w.run("a long prompt"))
		found := false
		for name := range s.launch.found {
			found = found || strings.HasPrefix(name, "wide_gate_")
		}
		if !found {
			t.Errorf("%v: a prompt did not run wide_gate_*", c)
		}
		m.close()
	}
}
