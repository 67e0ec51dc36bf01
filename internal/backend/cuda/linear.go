//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// blocksRows is up to how many rows GGUF's blocks are multiplied as they lie: to decode them
// all takes as long as to do so for every 64 rows of 128.
const blocksRows = 128

// product is one call of Linear or Logits, of matrices that are stored alike.
type product struct {
	x    *act
	rows int // of x that the kernels are to be picked for
	w    []*weight
	out  []kern.Out
	dst  []*act
	late bool // the kernel ahead writes the weights
}

// Linear multiplies x by each matrix of the group.
func (s *stream) Linear(x backend.Act, group ...backend.Projection) {
	const op = "Linear"
	v := s.act(x, op)
	rows := s.rowsOf(v)
	if rows == 0 {
		return
	}
	s.settle()
	for i := range group {
		s.writes(s.act(group[i].Dst, op))
	}
	// What few tokens give is added up and rotated in float32; of many it would be
	// most of the traffic, and bf16 is what they are trained in.
	kind := int32(kern.F32)
	if rows > 128 {
		kind = kern.BF16
	}
	for begin := 0; begin < len(group); {
		p := product{x: v, rows: rows}
		var ws [kern.Group]*weight
		var outs [kern.Group]kern.Out
		var dsts [kern.Group]*act
		p.w, p.out, p.dst = ws[:0], outs[:0], dsts[:0]
		for ; begin < len(group) && len(p.w) < kern.Group; begin++ {
			g := &group[begin]
			w := matrix(g.W, v.spec.Cols, op)
			if len(p.w) > 0 && w.kind != p.w[0].kind {
				break
			}
			d := s.act(g.Dst, op)
			if d == v || d.spec.Cols != w.rows || d.spec.Gathered != v.spec.Gathered {
				panic(fmt.Sprintf("cuda: %s: tensor %q [%d, %d] takes %d columns to %d", op, w.name, w.rows, w.cols, v.spec.Cols, d.spec.Cols))
			}
			to := d.become(kind)
			p.w, p.dst = append(p.w, w), append(p.dst, d)
			p.out = append(p.out, kern.Out{W: uint64(w.at), Scale: uint64(w.scales), Bias: vector(g.Bias, w.rows, op), Dst: to.At, Rows: int32(w.rows), LdD: to.Ld, Type: to.Type})
		}
		s.multiply(&p)
	}
	s.spent(v)
}

// Logits multiplies the gathered rows by the output matrix.
func (s *stream) Logits(x backend.Act, bw backend.Weight, scale, softcap float32) {
	const op = "Logits"
	v := s.act(x, op)
	w := matrix(bw, v.spec.Cols, op)
	if !v.spec.Gathered || w.rows != s.plan.Vocab {
		panic(fmt.Sprintf("cuda: %s: wants a gathered activation and a matrix of %d rows; tensor %q has %d", op, s.plan.Vocab, w.name, w.rows))
	}
	rows := s.rowsOf(v)
	s.settle()
	s.setLogits()
	if rows == 0 {
		return
	}
	out := [1]kern.Out{{W: uint64(w.at), Scale: uint64(w.scales), Dst: uint64(s.logits), Rows: int32(w.rows), LdD: int32(w.rows), Type: kern.F32}}
	ws := [1]*weight{w}
	s.multiply(&product{x: v, rows: rows, w: ws[:], out: out[:]})
	s.settle()
	if scale != 1 || softcap != 0 {
		s.cap(rows, scale, softcap)
	}
	a := kern.Pick{X: uint64(s.logits), Best: uint64(s.best), Count: s.count(true), Cols: int32(s.plan.Vocab)}
	s.run("pick", rows, 1, 1, 1024, 0, args(&a), unsafe.Sizeof(a))
}

func (s *stream) cap(rows int, scale, softcap float32) {
	a := kern.Cap{X: uint64(s.logits), Count: s.count(true), Cols: int32(s.plan.Vocab), Factor: scale, Softcap: softcap}
	s.run("cap", 64, rows, 1, 256, 0, args(&a), unsafe.Sizeof(a))
}

// multiply picks the kernel: by how the matrices are stored and how many rows
// there are.
func (s *stream) multiply(p *product) {
	if s.needHalf(p); p.x.kind != kern.BF16 && !p.x.halved {
		panic("cuda: Linear: its input is a query")
	}
	s.flush()
	if s.fewFits(p) {
		s.hold(p)
		return
	}
	kind := p.w[0].kind
	if kind == kern.TypeE4M3 && s.launch.target == kern.SM90a {
		s.hopper(p, true)
		return
	}
	s.reads(p.x)
	switch {
	case kind == kern.TypeBF16:
		s.manyTokens(p)
	case p.rows <= blocksRows && kind != kern.TypeE4M3:
		s.blocks(p)
	default:
		s.decoded(p)
	}
}

// slots is 1, 2 or 4: a kernel's number of rows.
func slots(rows int) int {
	switch {
	case rows <= 1:
		return 1
	case rows <= 2:
		return 2
	}
	return 4
}

// tiles counts tiles of 128 rows.
func (p *product) tiles() int {
	n := int32(0)
	for i := range p.out {
		n += (p.out[i].Rows + 127) / 128
		p.out[i].Tiles = n
	}
	return int(n)
}

// decoded multiplies with weights that are brought to bf16 first, one matrix at a
// time.
func (s *stream) decoded(p *product) {
	for i, w := range p.w {
		ld := padded(w.cols)
		s.needWide(2 * int64(w.rows) * int64(ld))
		d := kern.Decode{M: w.matrix(), To: uint64(s.wide), Ld: int32(ld)}
		s.run("decode", min(w.rows, 16*s.device.processors), 1, 1, 256, 0, args(&d), unsafe.Sizeof(d))
		one := weight{name: w.name, kind: kern.TypeBF16, rows: w.rows, cols: w.cols, ld: ld, at: s.wide}
		out := [1]kern.Out{p.out[i]}
		out[0].W, out[0].Scale = uint64(s.wide), 0
		if s.launch.target == kern.SM90a && s.err == nil {
			var err error
			one.tiles, err = s.device.tensorMap(s.wide, w.rows, w.cols*2, ld*2, 128)
			s.fail(err)
		}
		ws := [1]*weight{&one}
		s.manyTokens(&product{x: p.x, rows: p.rows, w: ws[:], out: out[:], late: true})
	}
}

// needWide makes room for a decoded matrix. Recorded steps name the old place.
func (s *stream) needWide(n int64) {
	if n <= s.wideLen || s.err != nil {
		return
	}
	s.fail(s.launch.wait())
	s.graphs.restart(s)
	s.fail(s.device.free(s.wide))
	s.wide, s.wideLen = 0, 0
	p, err := s.device.allocate(n)
	s.fail(err)
	if err == nil {
		s.wide, s.wideLen = p, n
	}
}

func (s *stream) manyTokens(p *product) {
	if s.launch.target == kern.SM90a {
		s.hopper(p, false)
		return
	}
	nt, stages := 128, 3
	switch {
	case p.rows <= 16:
		nt, stages = 16, 4
	case p.rows <= 96:
		nt, stages = 64, 4
	}
	tiles, ty := p.tiles(), (p.rows+nt-1)/nt
	k := p.x.ld
	parts := s.parts(tiles*ty, k/64, nt)
	a := kern.Gemm{X: uint64(p.x.half), Tokens: s.count(p.x.spec.Gathered), Work: uint64(s.work), Counts: uint64(s.counts),
		N: int32(len(p.w)), K: int32(k), LdX: int32(p.x.ld), LdW: int32(p.w[0].ld)}
	copy(a.Out[:], p.out)
	shared := stages*(128+nt)*128 + 1024
	s.run(fmt.Sprintf("gemm_%d", nt), ty, tiles, parts, 256, shared, args(&a), unsafe.Sizeof(a))
}

// parts is over how many blocks K is split: enough to give each processor one.
func (s *stream) parts(blocks, steps, nt int) int {
	if blocks >= countSlots {
		return 1
	}
	n := 1
	for n < 8 && 2*n*blocks <= s.device.processors+s.device.processors/4 && steps/(2*n) >= 4 {
		n *= 2
	}
	for n > 1 && n*blocks*nt*128*4 > workBytes {
		n /= 2
	}
	return n
}

// hopper multiplies on wgmma.
func (s *stream) hopper(p *product, e4m3 bool) {
	nt, stages := hopperTile(p.rows)
	size, name, at := 2, "bf16", p.x.half
	a := kern.Hopper{Tokens: s.count(p.x.spec.Gathered), Work: uint64(s.work), Counts: uint64(s.counts), N: int32(len(p.w))}
	if e4m3 {
		s.makeEight(p.x)
		size, name, at, a.XScale = 1, "e4m3", p.x.eight, uint64(p.x.scale)
	}
	k := p.x.spec.Cols
	a.Steps = int32((k*size + 127) / 128)
	if p.late {
		a.Late = 1
	}
	if s.wideFits(p) {
		s.holdWide(p, &a, at, name)
		return
	}
	a.X = s.tiles(at, p.x.rows, k*size, p.x.ld*size, nt)
	for i, w := range p.w {
		a.W[i] = w.tiles
	}
	tiles, ty := p.tiles(), (p.rows+nt-1)/nt
	copy(a.Out[:], p.out)
	parts := s.parts(tiles*ty, int(a.Steps), nt)
	shared := stages*((128+nt)*128+16) + 1024
	s.run(fmt.Sprintf("hopper_%s_%d", name, nt), ty, tiles, parts, 384, shared, args(&a), unsafe.Sizeof(a))
}

// hopperTile is how many tokens a block takes, and the depth of its ring.
func hopperTile(rows int) (nt, stages int) {
	switch {
	case rows <= 16:
		return 16, 8
	case rows <= 32:
		return 32, 8
	case rows <= 64:
		return 64, 8
	case rows <= 128:
		return 128, 6
	}
	return 256, 4
}

// tiles describes rows of activations to the copy engine.
func (s *stream) tiles(at pointer, rows, bytes, stride, box int) kern.TensorMap {
	key := mapKey{at, box, bytes}
	m, ok := s.maps[key]
	if !ok && s.err == nil {
		var err error
		m, err = s.device.tensorMap(at, rows, bytes, stride, box)
		s.fail(err)
		s.maps[key] = m
	}
	return m
}
