//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// Embed looks up the rows' tokens.
func (s *stream) Embed(dst backend.Act, table backend.Weight, scale float32) {
	d := s.act(dst, "Embed")
	w := matrix(table, d.spec.Cols, "Embed")
	s.settle()
	s.writes(d)
	a := kern.Embed{M: w.matrix(), Dst: d.become(kern.F32).At, Meta: uint64(s.meta), Slots: uint64(s.slots), Ld: int32(d.spec.Cols), Scale: scale}
	s.checkTokens(w)
	s.run("embed", s.rowsOf(d), 1, 1, 256, 0, args(&a), unsafe.Sizeof(a))
}

// checkTokens panics for an id that is not in the table: the device would read
// beyond it.
func (s *stream) checkTokens(w *weight) {
	at := int(s.batch.meta[kern.MetaToken])
	for r, id := range s.batch.meta[at : at+s.batch.rows] {
		if id < 0 || int(id) >= w.rows {
			panic(fmt.Sprintf("cuda: Embed: row %d has token %d, tensor %q %d rows", r, id, w.name, w.rows))
		}
	}
}

// RMSNorm normalises the rows of x.
func (s *stream) RMSNorm(dst, x backend.Act, w backend.Weight, eps float32) {
	s.norm("RMSNorm", s.act(dst, "RMSNorm"), s.act(x, "RMSNorm"), nil, w, eps)
}

// AddRMSNorm adds delta to x and normalises that.
func (s *stream) AddRMSNorm(dst, x, delta backend.Act, w backend.Weight, eps float32) {
	s.norm("AddRMSNorm", s.act(dst, "AddRMSNorm"), s.act(x, "AddRMSNorm"), s.act(delta, "AddRMSNorm"), w, eps)
}

func (s *stream) norm(op string, d, x, delta *act, w backend.Weight, eps float32) {
	same(op, d, x)
	s.fours(op, d)
	if delta != nil {
		same(op, d, delta)
		s.reads(delta)
	}
	if d != x {
		s.reads(x)
		s.writes(d) // what it held is no longer waited for
	}
	if delta != nil && s.takeResidual(x, delta) {
		delta = nil
	}
	s.settle()
	a := kern.Norm{X: x.now(), W: vector(w, d.spec.Cols, op), Count: s.count(d.spec.Gathered), Cols: int32(d.spec.Cols), Eps: eps}
	if delta != nil {
		a.Delta, a.Add = delta.now(), 1
		s.writes(x)
		x.fresh, x.halved = false, false // x changes in place
	}
	s.reads(x)
	s.writes(d)
	s.reads(s.wait.made) // one waits at a time
	a.Dst = d.become(kern.BF16)
	s.wait.made, s.wait.isGate, s.wait.norm, s.wait.rows = d, false, a, s.rowsOf(d)
	s.wait.operand = [3]*act{x, delta}
}

// fours panics for a width that the kernels' vectors of four do not divide.
func (s *stream) fours(op string, a *act) {
	if a.spec.Cols%4 != 0 {
		panic(fmt.Sprintf("cuda: %s: %d columns are no multiple of 4", op, a.spec.Cols))
	}
}

// Add adds delta to x.
func (s *stream) Add(x, delta backend.Act) {
	v, y := s.act(x, "Add"), s.act(delta, "Add")
	if s.takeResidual(v, y) {
		return
	}
	s.settle()
	s.reads(v, y)
	s.writes(v)
	a := s.pair("Add", v, v, y, kern.PairAdd)
	a.Dst = v.become(v.kind)
	s.run("pairwise", s.rowsOf(v), (v.spec.Cols+1023)/1024, 1, 256, 0, args(&a), unsafe.Sizeof(a))
}

// Gate multiplies the activated gate with up.
func (s *stream) Gate(dst, gate, up backend.Act, f backend.Activation) {
	what := int32(kern.PairSiLU)
	switch f {
	case backend.SiLU:
	case backend.GELUTanh:
		what = kern.PairGELU
	default:
		panic(fmt.Sprintf("cuda: Gate: activation %d is not one of SiLU, GELUTanh", f))
	}
	d, x, y := s.act(dst, "Gate"), s.act(gate, "Gate"), s.act(up, "Gate")
	if s.takeGate(d, x, y, what) {
		return
	}
	s.settle()
	s.reads(x, y)
	s.writes(d)
	s.reads(s.wait.made) // one waits at a time
	a := s.pair("Gate", d, x, y, what)
	a.Dst = d.become(kern.BF16)
	s.wait.made, s.wait.isGate, s.wait.gate, s.wait.rows = d, true, a, s.rowsOf(d)
	s.wait.operand = [3]*act{x, y}
}

func (s *stream) pair(op string, d, x, y *act, what int32) kern.Pair {
	same(op, d, x, y)
	s.fours(op, d)
	return kern.Pair{X: x.now(), Y: y.now(), Count: s.count(d.spec.Gathered), Cols: int32(d.spec.Cols), What: what}
}

// Gather copies the wanted rows.
func (s *stream) Gather(dst, x backend.Act) {
	d, v := s.act(dst, "Gather"), s.act(x, "Gather")
	if v.spec.Gathered || !d.spec.Gathered || d.spec.Cols != v.spec.Cols {
		panic(fmt.Sprintf("cuda: Gather from %d to %d columns: wants a row activation and a gathered one of its width", v.spec.Cols, d.spec.Cols))
	}
	s.fours("Gather", d)
	s.settle()
	s.reads(v)
	s.writes(d)
	a := kern.Gather{X: v.now(), Meta: uint64(s.meta), Cols: int32(d.spec.Cols)}
	a.Dst = d.become(kern.F32)
	s.run("gather", s.rowsOf(d), 1, 1, 256, 0, args(&a), unsafe.Sizeof(a))
}

// RopeWrite normalises and rotates the heads of q and k and stores k and v.
func (s *stream) RopeWrite(q, k, v backend.Act, layer backend.Layer, r *backend.Rope, n backend.HeadNorm) {
	const op = "RopeWrite"
	aq, ak, av := s.act(q, op), s.act(k, op), s.act(v, op)
	s.settle()
	s.reads(aq, ak, av)
	s.writes(aq)
	c := s.kv.cache(layer)
	dim := int(c.Dim)
	if aq.spec.Cols%dim != 0 || ak.spec.Cols != int(c.Heads)*dim || av.spec.Cols != ak.spec.Cols || aq.spec.Gathered {
		panic(fmt.Sprintf("cuda: %s: q of %d and k of %d columns for %d KV heads of %d", op, aq.spec.Cols, ak.spec.Cols, c.Heads, dim))
	}
	a := kern.Rope{Q: aq.now(), K: ak.now(), V: av.now(), Cache: c, Meta: uint64(s.meta), Heads: int32(aq.spec.Cols / dim), Eps: n.Eps,
		QNorm: vector(n.Q, dim, op), KNorm: vector(n.K, dim, op)}
	if r != nil {
		if r.Dim%2 != 0 || r.Dim > dim || len(r.Freq) != r.Dim/2 {
			panic(fmt.Sprintf("cuda: %s: rope turns %d of %d elements by %d frequencies", op, r.Dim, dim, len(r.Freq)))
		}
		a.Turns, a.Rotated, a.Scale = s.turns(r), int32(r.Dim), r.Scale
		if r.Interleaved {
			a.Interleaved = 1
		}
	}
	a.QOut = aq.become(queryKind(c.Type))
	s.wait.turn = rope{args: a, q: aq, layer: layer, rows: s.rowsOf(aq), heads: int(a.Heads + 2*c.Heads)}
	s.wait.rope = &s.wait.turn
}

// Attend computes the rows' attention over the cells that they see.
func (s *stream) Attend(dst, q backend.Act, layer backend.Layer, at backend.Attention) {
	const op = "Attend"
	d, v := s.act(dst, op), s.act(q, op)
	same(op, d, v)
	s.flush()
	s.reads(v)
	s.writes(d)
	c := s.kv.cache(layer)
	if at.Heads%int(c.Heads) != 0 || v.spec.Cols != at.Heads*int(c.Dim) || dst.Index() == q.Index() {
		panic(fmt.Sprintf("cuda: %s: q of %d columns for %d heads of %d over %d KV heads", op, v.spec.Cols, at.Heads, c.Dim, c.Heads))
	}
	if v.kind != queryKind(c.Type) {
		panic("cuda: " + op + ": RopeWrite has not prepared q")
	}
	a := kern.Attend{Q: v.now(), Cache: c, Meta: uint64(s.meta), Sinks: vector(at.Sinks, at.Heads, op), Heads: int32(at.Heads),
		Scale: at.Scale, Softcap: at.Softcap, Work: uint64(s.work), Counts: uint64(s.counts)}
	a.Dst = d.become(kern.BF16)
	perKV := at.Heads / int(c.Heads)
	fast := c.Type != kern.F32 && (c.Dim == 64 || c.Dim == 128) && at.Softcap == 0 && !s.batch.trees && perKV <= fewRows
	if fast {
		s.learn(perKV)
	}
	if !fast || perKV != s.batch.perKV {
		s.settle()
		s.run("attend_any", s.rowsOf(v), at.Heads, 1, 128, 0, args(&a), unsafe.Sizeof(a))
		return
	}
	s.attendFast(&a, v, layer)
}

// queryKind is how queries are that meet a cache of a type.
func queryKind(cache int32) int32 {
	if cache == kern.F32 {
		return kern.F32
	}
	return kern.F16
}

// learn takes note of how many queries a row has for a KV head, which decides
// the attention that spans go to. A model has one such number (or pays for it), so
// that this happens in its first step.
func (s *stream) learn(perKV int) {
	if s.batch.perKV != 1 || perKV == 1 {
		return
	}
	s.batch.perKV = perKV
	if s.err == nil {
		s.fail(s.launch.wait()) // the copy of the metadata that was
	}
	s.batch.setSpans()
	s.sendMeta()
	s.graphs.restart(s)
}

// turnName is the kernel that turns queries and keys itself: there is one for a token a sequence,
// of what products for few tokens make.
func turnName(t *kern.Turn, decode bool) string {
	c, r := &t.Attend.Cache, &t.Rope
	f32 := r.Q.Type == kern.F32 && r.K.Type == kern.F32 && r.V.Type == kern.F32
	if decode && f32 && t.Attend.Heads/c.Heads <= fewAtOnce && (r.Turns == 0 || r.Rotated == c.Dim) {
		return fmt.Sprintf("attend_one_%d", c.Dim)
	}
	return fmt.Sprintf("attend_turn_%d", c.Dim)
}

// turnLeast is how many positions a part has at least (attend_turn, attend_one).
const turnLeast = 256

// turnShared is the shared memory of attend_turn: 16 queries, and for each of four warps some
// blocks of 16 keys and values, where in the end the warps' results meet. On Hopper it lies beside
// products for few tokens (ring.h) and so has a block less for each warp. attend_one needs no more: two
// blocks of 32 positions a warp, eight queries.
func turnShared(dim int, target kern.Target) int {
	stages := 3
	if target == kern.SM90a {
		stages = 2
	}
	rowset := 16 * dim * 2
	return max(rowset+4*stages*2*rowset, 4*4*(16*dim+32)) + 1024
}

// turnBlocks is into how many blocks a processor attend_turn is divided: as many as its launch
// bounds leave registers for at once, on Hopper, as it was measured, twice as many, which take turns.
func turnBlocks(target kern.Target) int {
	if target == kern.SM90a {
		return 4
	}
	return 2
}

// turnFits tells whether attend_turn can be started where a block may have so much shared
// memory: most cards but those of data centres allow 99 KB.
func turnFits(dim int, target kern.Target, shared int) bool {
	return turnShared(dim, target)+ownShared <= shared
}

func (s *stream) attendFast(a *kern.Attend, q *act, layer backend.Layer) {
	wide := wideName(s.launch.target, a)
	if s.batch.few > 0 && s.batch.many > 0 && wide != "" && s.attendBeside(a, wide) {
		return
	}
	if few := s.graphs.rows(s, s.batch.few); s.batch.few > 0 {
		s.attendFew(a, q, layer, few)
	}
	s.settle()
	if s.batch.many == 0 {
		return
	}
	c, dim := &a.Cache, int(a.Cache.Dim)
	if wide != "" {
		s.startWideAttend(a, wide, s.device.processors)
		return
	}
	rowset, stages := 16*dim*2, 2 // MANY_STAGES of attend.h
	if s.launch.target == kern.SM90a {
		stages = 3
	}
	shared := 8*rowset + stages*8*rowset + 1024
	s.run(fmt.Sprintf("attend_%smany_%d", keptName(c), dim), s.batch.many, int(c.Heads), 1, 256, shared, args(a), unsafe.Sizeof(*a))
}

// startWideAttend starts attention of prompts on Hopper, on so many processors at most.
func (s *stream) startWideAttend(a *kern.Attend, name string, processors int) {
	s.run(name, min(s.batch.many*int(a.Cache.Heads), processors), 1, 1, 384, attendWideShared, args(a), unsafe.Sizeof(*a))
}

// attendWideShared is the shared memory of attend90.h: a tile of queries and three each of keys
// and values (or two, and as much of E4M3 as it came), barriers and what the job is.
const attendWideShared = 7*128*128*2 + 256 + 1024

// wideName is the kernel for prompts on Hopper, where the case is one that it takes.
func wideName(target kern.Target, a *kern.Attend) string {
	switch {
	case target != kern.SM90a || a.Cache.Dim != 128 || a.Scale <= 0:
	case a.Cache.Type == kern.F16:
		return "attend_wide_128"
	case a.Cache.Type == kern.KeptE4M3:
		return "attend_wide8_128"
	}
	return ""
}

func keptName(c *kern.Cache) string {
	if c.Type != kern.F16 {
		return "kept_"
	}
	return ""
}

// fewAtOnce is how many queries of a KV head a block of attention for few queries has.
const fewAtOnce = 8

// fewBlocks is how many such blocks share a processor (FEW_BLOCKS of decode.h).
func fewBlocks(target kern.Target) int {
	if target == kern.SM90a {
		return 4
	}
	return 3
}

// fewKernels are the kernels for heads of 64 and 128, by what the cache keeps, and those that
// have sixteen queries at once.
var fewKernels = [...][4]string{
	kern.F16:      {"attend_few_f16_64", "attend_few_f16_128", "attend_few16_f16_64", "attend_few16_f16_128"},
	kern.BF16:     {"attend_few_bf16_64", "attend_few_bf16_128", "attend_few16_bf16_64", "attend_few16_bf16_128"},
	kern.KeptE4M3: {"attend_few_e4m3_64", "attend_few_e4m3_128"},
	kern.KeptQ8:   {"attend_few_q8_64", "attend_few_q8_128"},
}

// fewLaunch is how attention of few queries is started.
type fewLaunch struct {
	name                   string
	groups, blocks, shared int // of a KV head's queries; a processor; for each of four warps a ring of three times a unit's keys or values
	least                  int // positions of a part
}

// fewKernel is what starts attention of at most so many queries of a KV head over a cache (decode.h).
func fewKernel(target kern.Target, c *kern.Cache, queries int) fewLaunch {
	dim := int(c.Dim)
	row, unit, scales := dim, 32, 0
	switch {
	case c.Type == kern.KeptQ8:
		scales = dim / 32 * 2
	case c.Type != kern.KeptE4M3:
		row = 2 * dim
	}
	if row == 256 {
		unit = 16
	}
	l := fewLaunch{groups: (queries + fewAtOnce - 1) / fewAtOnce, blocks: fewBlocks(target), shared: 4*3*unit*(row+scales) + 1024, least: 8 * unit}
	which := dim / 128
	if l.groups > 1 && row > dim {
		which, l.groups, l.blocks = which+2, 1, l.blocks-1
		if c.Type == kern.BF16 && dim == 128 {
			l.blocks = 2
		}
	}
	l.name = fewKernels[c.Type][which]
	return l
}

// attendFew is the attention of a token or a few of each of few sequences.
func (s *stream) attendFew(a *kern.Attend, q *act, layer backend.Layer, few int) {
	c := &a.Cache
	if t, ok := s.takeRope(a, q, layer); ok {
		dim, target := int(c.Dim), s.launch.target
		s.run(turnName(&t, s.batch.decode), int(c.Heads), few, s.attendParts(c, few, turnBlocks(target), turnLeast), 128, turnShared(dim, target), args(&t), unsafe.Sizeof(t))
		s.attended = true
		return
	}
	s.settle()
	s.startFew(a, few)
}

// startFew starts attention of queries that are turned already.
func (s *stream) startFew(a *kern.Attend, few int) {
	c := &a.Cache
	l := fewKernel(s.launch.target, c, s.batch.fewQueries)
	s.run(l.name, int(c.Heads)*l.groups, few, s.attendParts(c, few*l.groups, l.blocks, l.least), 128, l.shared, args(a), unsafe.Sizeof(*a))
}

// attendParts is into how many parts positions are divided: so that there are as many
// blocks a processor as are wanted; where sequences are long so many blocks that the processors
// have several after each other, and end together; and no more than can have least positions.
func (s *stream) attendParts(c *kern.Cache, few, wanted, least int) int {
	const after = 3
	blocks, slots := few*int(c.Heads), wanted*s.device.processors
	part := 4 * (16*int(c.Dim) + 32)
	parts := max(1, slots/blocks, min((after*slots+blocks/2)/blocks, 1<<s.batch.depth))
	if d := s.batch.depth; d < maxDepth {
		parts = min(parts, few*depthUnit<<d/least)
	}
	return max(1, min(parts, 32, workBytes/(part*blocks)))
}

// Reduce does nothing: there is one rank.
func (s *stream) Reduce(backend.Act) {}

// Mixture is not among what the GPU computes: no family that weir runs has one.
func (s *stream) Mixture(backend.Act, backend.Act, *backend.Mixture) {
	panic("cuda: Mixture: mixtures of experts are computed on the CPU only")
}

// CopyKV does the copies in their order, before the rows of this batch are written. It
// does not wait for a step that still runs: each of two has its own place on the host, and
// what lies on the device is read before it is written again.
func (s *stream) CopyKV(copies []backend.Copy) {
	d := s.now()
	if s.err == nil && 8*len(copies) > min(len(d.copies)-d.copied, s.copiesLen-d.copied) {
		s.fail(s.growCopies(d, 16*len(copies)))
	}
	for g := range s.kv.layers {
		s.copyGroup(d, g, copies)
	}
}

func (s *stream) copyGroup(d *drawing, g int, copies []backend.Copy) {
	s.lists = s.lists[:0]
	for _, c := range copies {
		if c.Group == g {
			s.lists = append(s.lists, c.From, c.To)
		}
	}
	if len(s.lists) == 0 || s.err != nil {
		return
	}
	data, host, at := bytesOf(s.lists), d.copies[d.copied:], s.copies+pointer(d.copied)
	d.copied += copy(host, data)
	s.fail(s.device.call(cuMemcpyHtoDAsync, uintptr(at), uintptr(unsafe.Pointer(&host[0])), uintptr(len(data)), s.launch.queue))
	a := kern.CopyCells{Layers: uint64(s.kv.table[g]), Copies: uint64(at), N: int32(len(s.lists) / 2), Bytes: int32(s.kv.cellBytes(g))}
	if s.err == nil {
		s.fail(s.launch.launch(s.launch.kernel("copy_cells", 0), len(s.kv.layers[g]), 2, 1, 256, 0, args(&a)))
	}
	if n := s.kv.scaleBytes(g); n > 0 && s.err == nil {
		a.Layers, a.Bytes = a.Layers+uint64(16*len(s.kv.layers[g])), int32(n)
		s.fail(s.launch.launch(s.launch.kernel("copy_cells", 0), len(s.kv.layers[g]), 2, 1, 256, 0, args(&a)))
	}
}

// growCopies makes room for longer lists, on both sides, when nothing reads there.
func (s *stream) growCopies(d *drawing, n int) error {
	n = max(n, 16<<10)
	err := errors.Join(s.launch.wait(), s.device.unpin(d.copies))
	d.copies, d.copied = nil, 0
	if err != nil {
		return err
	}
	if d.copies, err = s.device.pinned(n); err != nil || n <= s.copiesLen {
		return err
	}
	err = s.device.free(s.copies)
	s.copies, s.copiesLen = 0, 0
	if err != nil {
		return err
	}
	if s.copies, err = s.device.allocate(int64(n)); err == nil {
		s.copiesLen = n
	}
	return err
}
