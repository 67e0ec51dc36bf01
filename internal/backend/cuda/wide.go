//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

// wide is a product for prompts (wide.h) that is yet to start.
type wide struct {
	args kern.Hopper
	kind string // of the weights, in kernels' names
	at   pointer
	x    *act
	w    [kern.Group]*weight
	dst  [kern.Group]*act
	rows int // of the tokens
}

// wideCluster is how many blocks a cluster of wide.h has (PAIR), side by side: they share tokens,
// and have neighbouring tiles of rows.
const wideCluster = 2

// wideJobs is how many times a cluster's tiles make up a product.
func wideJobs(tiles, tokens int) int { return tiles / wideCluster * ((tokens + 255) / 256) }

// paired is two matrices that lie in tiles together; first is 1 where the second comes first.
type paired struct {
	tiles kern.TensorMap
	first int32
}

// wideShared is what wide.h takes: a ring of four tiles, room for 64 tokens of each
// warpgroup's rows, barriers.
const wideShared = 4*(128+256)*128 + 2*8192 + 8*8 + 1024

// wideFits tells whether wide.h takes a product: whole tiles in bf16, enough of them
// for all processors, as many for each block of a cluster.
func (s *stream) wideFits(p *product) bool {
	if p.rows <= 128 {
		return false
	}
	for i := range p.out {
		if p.out[i].Type != kern.BF16 || p.out[i].Rows%128 != 0 || p.out[i].LdD%8 != 0 {
			return false
		}
	}
	tiles := p.tiles()
	return tiles%wideCluster == 0 && tiles*((p.rows+255)/256) >= s.device.processors
}

// holdWide makes p the product that waits, unless its weights are only there until the next is
// decoded.
func (s *stream) holdWide(p *product, a *kern.Hopper, at pointer, kind string) {
	w := &s.wait.prompts
	*w = wide{args: *a, kind: kind, at: at, x: p.x, rows: p.rows}
	w.args.Tiles = int32(p.tiles())
	copy(w.args.Out[:], p.out)
	copy(w.w[:], p.w)
	copy(w.dst[:], p.dst)
	if s.wait.wide = w; p.late {
		s.flush()
	}
}

// startWide starts the product that waits: wide_ stores what it gives, wide_gate_ what a gate
// makes of it.
func (s *stream) startWide(w *wide, prefix string) {
	s.wait.wide = nil
	a := &w.args
	k, size := w.x.spec.Cols, w.w[0].size()
	a.X = s.tiles(w.at, w.x.rows, k*size, w.x.ld*size, 256/wideCluster)
	for i, m := range w.w[:a.N] {
		a.W[i] = m.tiles
	}
	if prefix == "wide_gate_" {
		p := s.interleaved(w.w[0], w.w[1])
		a.W[0], a.First = p.tiles, p.first
	}
	if s.err != nil {
		return
	}
	name := prefix + w.kind
	room, err := s.launch.room(s.launch.kernel(name, wideShared), 384, wideShared)
	s.fail(err)
	blocks := wideCluster * min(room, wideJobs(int(a.Tiles), w.rows))
	s.run(name, blocks, 1, 1, 384, wideShared, args(a), unsafe.Sizeof(*a))
}

// wideGate is takeGate for the product for prompts that waits.
func (s *stream) wideGate(d, gate, up *act, what int32) bool {
	w := s.wait.wide
	if w.args.N != 2 || w.dst[0] != gate || w.dst[1] != up || w.w[0].rows != w.w[1].rows || d.spec.Gathered != gate.spec.Gathered {
		return false
	}
	same("Gate", d, gate, up)
	if s.writes(d); s.wait.wide != w {
		return false
	}
	to, a := d.become(kern.BF16), &w.args
	a.Gate = what
	a.Out[0].Dst, a.Out[0].LdD = to.At, to.Ld
	s.startWide(w, "wide_gate_")
	return true
}

// interleaved describes tiles of two matrices of one shape.
func (s *stream) interleaved(a, b *weight) paired {
	key := [2]pointer{a.at, b.at}
	p, ok := s.paired[key]
	if !ok && s.err == nil {
		size := a.size()
		var err error
		p.tiles, p.first, err = s.device.pairMap(a.at, b.at, a.rows, a.cols*size, a.ld*size)
		s.fail(err)
		s.paired[key] = p
	}
	return p
}
