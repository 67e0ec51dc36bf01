//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// stream implements backend.Stream. Operations are queued as they are called; the
// first that fails makes the others do nothing, and Wait returns its error.
type stream struct {
	backend *Backend
	device  *device
	launch  *launcher
	plan    backend.Plan
	batch   batch
	kv      *kvCache
	acts    []act
	err     error
	locked  bool
	result  backend.Result

	// On the device.
	arena      pointer // activations, logits, what products need
	size       int64
	logits     pointer // [LogitRows, Vocab] f32
	best       pointer // [LogitRows] the highest logit's id
	wide       pointer // decoded weights, bf16: made when first needed
	wideLen    int64
	blockX     pointer // tokens as blocks.h takes them
	blockScale pointer
	work       pointer // where parts of sums meet
	counts     pointer // zeros
	meta       pointer
	metaLen    int
	slots      pointer // [Slots] token ids
	copies     pointer // for CopyKV
	copiesLen  int
	ropes      map[*backend.Rope]pointer
	maps       map[mapKey]kern.TensorMap
	paired     map[[2]pointer]paired

	// Pinned, on the host.
	hostLogits []byte

	// Draws, and steps that are begun while another runs.
	drawings      [2]drawing
	begun, waited int  // steps
	computing     bool // Compute has been called of the one that is being queued
	drawInput     pointer
	drawInputLen  int
	lists         []int32 // of the rows that are being packed
	drawHeads     pointer // [LogitRows] kern.DrawHead
	drawTops      pointer // [LogitRows, MaxTop] kern.DrawTop
	weighed       pointer // [LogitRows] of kern.WeighedBytes

	graphs graphs
	host   hostActs
	wait   waiting
	// attended: the kernel that was started last is attention of tokens that it turned itself.
	attended bool

	besideFrom float64 // besideLeast, but in tests
}

// act is an activation's two places. half holds rows of ld 16-bit numbers, and
// E4M3 products read eight holding the same in 8 bits.
type act struct {
	spec  backend.ActSpec
	rows  int
	full  pointer // f32 [rows, cols]
	half  pointer // bf16 or f16 [rows, ld]
	eight pointer // E4M3 [rows, ld]
	scale pointer // [rows], of eight
	ld    int
	kind  int32 // where the value is: kern.F32, BF16 or F16
	fresh bool  // eight holds it too
	// halved: half holds an approximation of what full holds.
	halved bool
}

type mapKey struct {
	at   pointer
	box  int
	cols int
}

// workBytes is the room for parts of sums. Kernels are given no more parts than
// fit, so that it bounds speed alone.
const (
	workBytes  = 64 << 20
	countSlots = 1 << 16
	// minRows: kernels for few tokens read up to four rows, whatever the batch.
	minRows = 16
)

func newStream(b *Backend, plan backend.Plan) (*stream, error) {
	if plan.Rows <= 0 || plan.Seqs <= 0 || plan.LogitRows < 0 || plan.Vocab < 0 {
		return nil, fmt.Errorf("plan for %d rows of %d sequences, %d logits rows of %d: internal error", plan.Rows, plan.Seqs, plan.LogitRows, plan.Vocab)
	}
	l, err := newLauncher(b.module)
	if err != nil {
		return nil, err
	}
	s := &stream{backend: b, device: b.device, launch: l, plan: plan, batch: batch{plan: plan, perKV: 1},
		ropes: map[*backend.Rope]pointer{}, maps: map[mapKey]kern.TensorMap{}, paired: map[[2]pointer]paired{}}
	s.layout(0)
	if s.arena, err = b.device.allocate(s.size); err != nil {
		return nil, errors.Join(fmt.Errorf("activations for %d rows: %w", plan.Rows, err), l.close())
	}
	s.layout(s.arena)
	// What pads rows must be zeros: a product multiplies it with the weights' zeros.
	if err := s.clear(s.arena, s.size); err != nil {
		return nil, err
	}
	if s.hostLogits, err = b.device.pinned(plan.LogitRows * plan.Vocab * 4); err != nil {
		return nil, err
	}
	if err := s.newDrawings(); err != nil {
		return nil, err
	}
	s.result.Logits = make([][]float32, 0, plan.LogitRows)
	s.graphs.eager, s.besideFrom = b.options.Eager, besideLeast
	return s, s.launch.wait()
}

func (s *stream) clear(p pointer, n int64) error {
	return s.device.call(cuMemsetD8Async, uintptr(p), 0, uintptr(n), s.launch.queue)
}

// layout gives every part its address, from at on.
func (s *stream) layout(at pointer) {
	begin := at
	take := func(n int64) pointer {
		p := at
		at += pointer((n + 255) / 256 * 256)
		return p
	}
	s.acts = s.acts[:0]
	widest, eights := 0, s.backend.multipliesE4M3()
	for _, spec := range s.plan.Acts {
		rows := s.plan.Rows
		if spec.Gathered {
			rows = s.plan.LogitRows
		}
		rows = max(rows, minRows)
		n, ld := int64(rows), padded(spec.Cols)
		a := act{spec: spec, rows: rows, ld: ld}
		a.full, a.half = take(4*n*int64(spec.Cols)), take(2*n*int64(ld))
		if eights {
			a.eight, a.scale = take(n*int64(ld)), take(4*n)
		}
		s.acts = append(s.acts, a)
		widest = max(widest, ld)
	}
	s.logits = take(4 * int64(max(s.plan.LogitRows, minRows)) * int64(s.plan.Vocab))
	s.best = take(4 * int64(max(s.plan.LogitRows, minRows)))
	s.blockX, s.blockScale = take(blocksRows*blockSteps(widest)*blocksRecord), take(4*blocksRows)
	s.work, s.counts = take(workBytes), take(4*countSlots)
	s.slots = take(4 * int64(s.plan.Slots+1))
	s.weighed = take(int64(s.plan.LogitRows * kern.WeighedBytes))
	s.drawHeads, s.drawTops = take(int64(s.plan.LogitRows*drawHeadBytes)), take(int64(s.plan.LogitRows*drawTopBytes))
	s.size = int64(at - begin)
}

// Begin makes b the current batch.
func (s *stream) Begin(b *backend.Batch, kv backend.KV) {
	c, ok := kv.(*kvCache)
	if !ok {
		panic(fmt.Sprintf("cuda: Begin: KV of type %T was not made by this backend", kv))
	}
	if s.begun-s.waited > 1 {
		panic("cuda: Begin: two steps have not been waited for")
	}
	s.kv, s.err, s.computing = c, nil, false
	d := s.now()
	d.rows, d.copied, d.told, d.err = 0, 0, false, nil
	s.result.Logits = s.result.Logits[:0]
	s.host.begin(s)
	s.wait = waiting{}
	s.batch.set(b, c.spec)
	s.enter()
	s.sendMeta()
	s.graphs.begin(s)
}

// enter keeps the thread and makes the device its own, until leave.
func (s *stream) enter() {
	if s.locked {
		return
	}
	runtime.LockOSThread()
	s.locked = true
	s.fail(s.device.call(cuCtxSetCurrent, s.device.context))
}

func (s *stream) leave() {
	if s.locked {
		s.locked = false
		runtime.UnlockOSThread()
	}
}

// fail keeps the first error.
func (s *stream) fail(err error) {
	if err != nil && s.err == nil {
		s.err = err
	}
}

// sendMeta copies the batch to the device.
func (s *stream) sendMeta() {
	if s.err != nil {
		return
	}
	data := bytesOf(s.batch.meta)
	if len(data) > s.metaLen {
		s.fail(s.growMeta(2 * len(data)))
	}
	if s.err != nil {
		return
	}
	host := s.now().hostMeta
	copy(host, data)
	s.fail(s.device.call(cuMemcpyHtoDAsync, uintptr(s.meta), uintptr(unsafe.Pointer(&host[0])), uintptr(len(data)), s.launch.queue))
}

// growMeta makes room for longer metadata. Recorded steps read the old place, so
// they are dropped.
func (s *stream) growMeta(n int) error {
	errs := []error{s.launch.wait()} // a step that was begun reads it
	s.graphs.drop(s.device)
	errs = append(errs, s.device.free(s.meta))
	for i := range s.drawings {
		d := &s.drawings[i]
		errs = append(errs, s.device.unpin(d.hostMeta))
		d.hostMeta = nil
	}
	s.meta, s.metaLen = 0, 0
	if err := errors.Join(errs...); err != nil {
		return err
	}
	n = max(n, 64<<10)
	var err error
	if s.meta, err = s.device.allocate(int64(n)); err != nil {
		return err
	}
	for i := range s.drawings {
		if s.drawings[i].hostMeta, err = s.device.pinned(n); err != nil {
			return err
		}
	}
	s.metaLen = n
	return nil
}

// rows and wants are where the device finds how many rows there are.
func (s *stream) count(gathered bool) uint64 {
	if gathered {
		return uint64(s.meta) + 4*kern.MetaWants
	}
	return uint64(s.meta) + 4*kern.MetaRows
}

// run queues a kernel.
func (s *stream) run(name string, gx, gy, gz, threads, shared int, a unsafe.Pointer, size uintptr) {
	if s.err != nil || gx <= 0 || gy <= 0 {
		return
	}
	s.attended = false
	k := s.launch.kernel(name, shared)
	s.fail(s.graphs.launch(s, k, gx, gy, gz, threads, shared, a, size))
}

// setLogits points the result at where Wait copies the logits to.
func (s *stream) setLogits() {
	s.result.Logits = s.result.Logits[:0]
	if s.batch.wants == 0 {
		return
	}
	all := unsafe.Slice((*float32)(unsafe.Pointer(&s.hostLogits[0])), s.batch.wants*s.plan.Vocab)
	for i := range s.batch.wants {
		s.result.Logits = append(s.result.Logits, all[i*s.plan.Vocab:(i+1)*s.plan.Vocab:(i+1)*s.plan.Vocab])
	}
}

// Close frees what the stream has.
func (s *stream) Close() error {
	if s.launch == nil {
		return nil
	}
	done, err := s.device.use()
	if err != nil {
		return err
	}
	defer done()
	return s.release()
}

func (s *stream) release() error {
	if s.launch == nil {
		return nil
	}
	s.leave()
	errs := []error{s.launch.wait()}
	s.graphs.drop(s.device)
	for _, p := range []pointer{s.arena, s.wide, s.meta, s.copies} {
		errs = append(errs, s.device.free(p))
	}
	for _, p := range s.ropes {
		errs = append(errs, s.device.free(p))
	}
	errs = append(errs, s.freeDrawings())
	for _, h := range [][]byte{s.hostLogits, s.host.pinned} {
		errs = append(errs, s.device.unpin(h))
	}
	errs = append(errs, s.launch.close())
	*s = stream{}
	return errors.Join(errs...)
}

// act is an activation that an operation reads or writes.
func (s *stream) act(a backend.Act, op string) *act {
	if !a.Present() {
		panic("cuda: " + op + ": an activation is missing")
	}
	return &s.acts[a.Index()]
}

// rowsOf is how many rows of a the batch uses.
func (s *stream) rowsOf(a *act) int {
	if a.spec.Gathered {
		return s.graphs.rows(s, s.batch.wants)
	}
	return s.graphs.rows(s, s.batch.rows)
}

// now is where a's value is.
func (a *act) now() kern.Act {
	if a.kind == kern.F32 {
		return kern.Act{At: uint64(a.full), Ld: int32(a.spec.Cols), Type: kern.F32}
	}
	return kern.Act{At: uint64(a.half), Ld: int32(a.ld), Type: a.kind}
}

// become is where a's next value goes.
func (a *act) become(kind int32) kern.Act {
	a.kind, a.fresh, a.halved = kind, false, false
	return a.now()
}

// same panics unless the activations have one shape.
func same(op string, a *act, others ...*act) {
	for _, o := range others {
		if o.spec.Cols != a.spec.Cols || o.spec.Gathered != a.spec.Gathered {
			panic(fmt.Sprintf("cuda: %s: activations of %d and %d columns", op, a.spec.Cols, o.spec.Cols))
		}
	}
}

// turns are a rope's angles a position, in turns, on the device.
func (s *stream) turns(r *backend.Rope) uint64 {
	if p, ok := s.ropes[r]; ok {
		return uint64(p)
	}
	t := make([]float64, len(r.Freq))
	for i, f := range r.Freq {
		t[i] = f / (2 * math.Pi)
	}
	p, err := s.device.allocate(int64(8 * len(t)))
	s.fail(err)
	if s.err == nil {
		s.ropes[r] = p
		s.fail(s.device.upload(p, bytesOf(t)))
	}
	return uint64(p)
}
