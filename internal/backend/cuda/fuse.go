//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// An operation that another one may take along is not started at once:
//
//   - a norm or a gate, until it is known what reads it: a product for few tokens
//     normalises by itself, one in E4M3 wants its input in 8 bits and nothing else;
//   - a product for few tokens, until it is known whether a residual takes its result,
//     or a gate;
//   - a product for prompts on Hopper (wide.h), until it is known whether a gate takes it;
//   - a rotation, until it is known whether attention does it.
//
// Every operation begins with reads and writes, which start what it depends on, and
// with settle, unless it may take along what waits. What is left waiting when a step ends
// was read by nobody.
type waiting struct {
	made    *act // whose value is waiting; nil: none
	isGate  bool
	norm    kern.Norm // of made
	gate    kern.Pair
	operand [3]*act // what making it reads
	rows    int

	product *few
	wide    *wide
	rope    *rope
	room    few // where product lies, so that a step allocates nothing
	prompts wide
	turn    rope
}

// few is a product for a few tokens that is yet to start.
type few struct {
	args   kern.Few
	pieces [kern.Group]kern.TensorMap // on Hopper
	name   string
	shared int
	unit   int32 // rows of a matrix
	warps  int   // of a kernel of gemv.h
	e4m3   bool  // the weights
	dst    [kern.Group]*act
	rows   int // of the tokens
}

// rope is a rotation that is yet to start.
type rope struct {
	args  kern.Rope
	q     *act
	layer backend.Layer
	rows  int
	heads int
}

// ropeRows is from how many rows on a block a row is faster than a warp a head, and
// attention faster without turning.
const ropeRows = 64

// onlyTurns tells whether rope_rows does it.
func (r *rope) onlyTurns() bool {
	a := &r.args
	kept := a.Cache.Type == kern.F16 || a.Cache.Type == kern.BF16 || a.Cache.Type == kern.KeptE4M3
	return r.rows >= ropeRows && kept && a.Turns != 0 && a.Rotated == a.Cache.Dim && a.Cache.Dim%8 == 0 && a.QNorm == 0 && a.KNorm == 0
}

// reads starts what makes a's values.
func (s *stream) reads(as ...*act) {
	for _, a := range as {
		if a == s.wait.made && a != nil {
			s.make(a)
		}
	}
}

// writes is called before the values of as change.
func (s *stream) writes(as ...*act) {
	for _, a := range as {
		if a == s.wait.made {
			s.wait.made = nil // nobody will read it any more
		}
		for _, o := range s.wait.operand {
			if o == a && s.wait.made != nil {
				s.make(s.wait.made)
			}
		}
	}
}

// make starts the norm or the gate that gives a its value, in 16 bits.
func (s *stream) make(a *act) {
	w := &s.wait
	w.made = nil
	s.flush()
	if w.isGate {
		s.run("pairwise", w.rows, (a.spec.Cols+1023)/1024, 1, 256, 0, args(&w.gate), unsafe.Sizeof(w.gate))
		return
	}
	s.run("norm", w.rows, 1, 1, normThreads(a), 0, args(&w.norm), unsafe.Sizeof(w.norm))
}

func normThreads(a *act) int { return min(256, (a.spec.Cols/4+31)/32*32) }

// eightRows is up to how many rows a norm or a gate and its copy in 8 bits are better
// made by kernels of their own: one for both has a block a row.
const eightRows = 32

// makeEight gives a its value in 8 bits. Where it waits, it goes on waiting in 16.
func (s *stream) makeEight(a *act) {
	w := &s.wait
	if a == w.made && w.rows <= eightRows {
		s.make(a)
	}
	to, scales, ld := uint64(a.eight), uint64(a.scale), int32(a.ld)
	switch {
	case a.fresh:
		return
	case a != w.made:
		e := kern.E4M3{From: uint64(a.half), To: to, Scales: scales, Count: s.count(a.spec.Gathered), Ld: ld}
		name, threads, shared := toE4M3(a.ld, s.launch.target)
		s.run(name, s.rowsOf(a), 1, 1, threads, shared, args(&e), unsafe.Sizeof(e))
	case w.isGate:
		g := kern.GateE4M3{Pair: w.gate, To: to, Scales: scales, Ld: ld}
		name, threads, shared := gateE4M3(&g, s.launch.target)
		s.run(name, w.rows, 1, 1, threads, shared, args(&g), unsafe.Sizeof(g))
	default:
		n := kern.NormE4M3{Norm: w.norm, To: to, Scales: scales, Ld: ld}
		s.run(normE4M3(&n), w.rows, 1, 1, 256, 0, args(&n), unsafe.Sizeof(n))
		w.norm.Add = 0 // x has it now
		w.operand[1] = nil
	}
	a.fresh = true
}

// gateE4M3 is the kernel for a gate in 8 bits, its threads and its shared memory. Three blocks
// of the one that copies rows share a processor.
func gateE4M3(g *kern.GateE4M3, target kern.Target) (name string, threads, shared int) {
	cols, p := int(g.Pair.Cols), &g.Pair
	if target == kern.SM90a && p.X.Type == kern.BF16 && p.Y.Type == kern.BF16 && cols%8 == 0 && 4*cols <= 72<<10 {
		return "gate_e4m3_copied", 512, 4*cols + 1024
	}
	return "gate_e4m3", 256, 0
}

// toE4M3 is the kernel that gives rows of bf16 in 8 bits, its threads and its shared memory. Four
// blocks of the one that copies rows share a processor.
func toE4M3(ld int, target kern.Target) (name string, threads, shared int) {
	if target == kern.SM90a && ld > 4096 && 2*ld <= 54<<10 {
		return "to_e4m3_copied", 512, 2*ld + 1024
	}
	return "to_e4m3_rows", 256, 0
}

// normE4M3 is the kernel for a norm in 8 bits.
func normE4M3(n *kern.NormE4M3) string {
	if n.Norm.Cols <= 4096 {
		return "norm_e4m3_4096"
	}
	return "norm_e4m3"
}

// spent forgets what waits where its only reader has read it in 8 bits.
func (s *stream) spent(a *act) {
	if a.spec.Once && a == s.wait.made && a.fresh {
		s.wait.made = nil
	}
}

// settle starts the products and the rotation that wait.
func (s *stream) settle() {
	s.flush()
	if r := s.wait.rope; r != nil {
		s.wait.rope = nil
		if r.onlyTurns() {
			s.run("rope_rows", r.rows, 1, 1, 256, 0, args(&r.args), unsafe.Sizeof(r.args))
			return
		}
		s.run("rope_write", r.rows, (r.heads+7)/8, 1, 256, 0, args(&r.args), unsafe.Sizeof(r.args))
	}
}

// flush starts the product that waits.
func (s *stream) flush() {
	if w := s.wait.wide; w != nil {
		s.startWide(w, "wide_")
	}
	p := s.wait.product
	if p == nil {
		return
	}
	s.wait.product = nil
	switch {
	case p.warps > 0:
		s.startGemv(p)
		return
	case s.launch.target == kern.SM90a:
		s.startRing(p)
		return
	}
	a := &p.args
	s.run(p.name, min(int(a.Units), 2*s.device.processors), 1, 1, 256, p.shared, args(a), unsafe.Sizeof(*a))
}

// ownShared is more than what any kernel has of shared memory of its own, beside what it is
// started with.
const ownShared = 640

// fewShared is the shared memory that few.h takes.
func fewShared(tokens, ldw int, e4m3 bool) int {
	const stages = 3 // FEW_STAGES
	return 8*stages*2048 + fewBytes(tokens, ldw, e4m3) + fewSums(tokens)
}

// fewBytes is what the tokens take of it, fewSums what the warps' sums take.
func fewBytes(tokens, ldw int, e4m3 bool) int {
	size, pad := 2, 64
	if e4m3 {
		size, pad = 1, 16
	}
	steps := (ldw*size + 127) / 128
	return tokens * (steps*128/size*2 + pad)
}

func fewSums(tokens int) int { return 8 * 8 * tokens * 16 * 4 }

// fewFits tells whether a product is one for few.h, on Hopper for ring.h, or of GGUF's blocks for gemv.h.
func (s *stream) fewFits(p *product) bool {
	kind := p.w[0].kind
	switch {
	case p.rows > gemvRows || p.late:
		return false
	case blockNames[kind] != "":
		warps, _ := gemvFit(kind, slots(p.rows), p.x.spec.Cols, s.device.shared)
		return warps > 0
	case s.launch.target == kern.SM90a:
		return p.w[0].pieced && ringStages(slots(p.rows), ringXs(slots(p.rows), p.w[0].ld, kind == kern.TypeE4M3), s.device.shared) >= ringLeast(slots(p.rows))
	}
	return fewShared(slots(p.rows), p.w[0].ld, kind == kern.TypeE4M3)+ownShared <= s.device.shared
}

// fewKernel is the kernel for a product of bf16 or E4M3.
func (s *stream) fewKernel(p *product) few {
	e4m3, tokens := p.w[0].kind == kern.TypeE4M3, slots(p.rows)
	name := "bf16"
	if e4m3 {
		name = "e4m3"
	}
	f := few{name: fmt.Sprintf("few_%s_%d", name, tokens), shared: fewShared(tokens, p.w[0].ld, e4m3), e4m3: e4m3, unit: 16}
	if s.launch.target == kern.SM90a {
		f.name, f.shared = fmt.Sprintf("ring_%s_%d", name, tokens), ringXs(tokens, p.w[0].ld, e4m3)
		for i, w := range p.w {
			f.pieces[i] = w.pieces
		}
	}
	return f
}

// hold makes p the product that waits.
func (s *stream) hold(p *product) {
	f := &s.wait.room
	if kind := p.w[0].kind; blockNames[kind] != "" {
		*f = gemv(kind, slots(p.rows), p.x.spec.Cols, s.device.shared)
	} else {
		*f = s.fewKernel(p)
	}
	f.rows = p.rows
	f.args = kern.Few{X: uint64(p.x.half), Tokens: s.count(p.x.spec.Gathered), N: int32(len(p.w)), Cols: int32(p.x.spec.Cols), LdX: int32(p.x.ld),
		LdW: int32(p.w[0].ld)}
	if n := &s.wait.norm; p.x == s.wait.made && !s.wait.isGate && n.Add == 0 && n.X.Type == kern.F32 {
		f.args.X, f.args.LdX, f.args.Norm, f.args.Eps = n.X.At, n.X.Ld, n.W, n.Eps
	} else {
		s.reads(p.x)
	}
	for i := range p.out {
		f.args.Units += (p.out[i].Rows + f.unit - 1) / f.unit
		p.out[i].Tiles = f.args.Units
	}
	copy(f.args.Out[:], p.out)
	copy(f.dst[:], p.dst)
	s.wait.product = f
}

// takeResidual adds delta to x in the product that gives delta, if that waits.
func (s *stream) takeResidual(x, delta *act) bool {
	p := s.wait.product
	if p == nil || p.args.N != 1 || p.dst[0] != delta || x.kind != kern.F32 || p.args.Out[0].Type != kern.F32 {
		return false
	}
	same("Add", x, delta)
	if s.writes(x); s.wait.product != p { // what reads x had to be made first
		return false
	}
	x.fresh, x.halved = false, false // x changes in place
	p.args.Residual, p.args.LdR = uint64(x.full), int32(x.spec.Cols)
	s.settle()
	return true
}

// takeGate applies the gate in the product that gives what it reads, if that waits.
func (s *stream) takeGate(d, gate, up *act, what int32) bool {
	if s.wait.wide != nil {
		return s.wideGate(d, gate, up, what)
	}
	p := s.wait.product
	if p == nil || p.args.N != 2 || p.dst[0] != gate || p.dst[1] != up || p.args.Out[0].Rows != p.args.Out[1].Rows || d.spec.Gathered != gate.spec.Gathered {
		return false
	}
	same("Gate", d, gate, up)
	if s.writes(d); s.wait.product != p {
		return false
	}
	to := d.become(kern.BF16)
	a := &p.args
	half := p.unit / 2 // a unit has rows of both
	a.Gate, a.Units = what, (a.Out[0].Rows+half-1)/half
	a.Out[0].Dst, a.Out[0].LdD, a.Out[0].Type = to.At, to.Ld, to.Type
	s.settle()
	return true
}

// takeRope turns queries and keys in the attention that reads them, if that waits and fits.
func (s *stream) takeRope(a *kern.Attend, q *act, layer backend.Layer) (kern.Turn, bool) {
	r := s.wait.rope
	if r == nil || r.rows >= ropeRows || a.Cache.Type != kern.F16 || r.q != q || r.layer != layer || s.batch.many > 0 || s.batch.few == 0 || !s.batch.single ||
		!turnFits(int(a.Cache.Dim), s.launch.target, s.device.shared) {
		return kern.Turn{}, false
	}
	s.wait.rope = nil
	return kern.Turn{Attend: *a, Rope: r.args}, true
}
