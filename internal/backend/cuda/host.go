//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// hostActs is what the host reads and sets of activations: for heads that guess
// from a model's hidden states.
type hostActs struct {
	shown  map[int][]float32 // by activation, of the step that ended last
	raw    []byte
	pinned []byte // what SetAct was given, until the step is done
	used   int
	lost   error // a read that failed: the next step's error
}

// begin forgets the step before.
func (h *hostActs) begin(s *stream) {
	clear(h.shown)
	h.used = 0
	s.fail(h.lost)
	h.lost = nil
}

// ReadAct implements backend.HostActs. The first read of an activation after a step
// brings all of its rows: who reads one mostly reads the others, too.
func (s *stream) ReadAct(a backend.Act, i int) []float32 {
	v := s.act(a, "ReadAct")
	if !s.plan.Shown {
		panic("cuda: ReadAct: the plan does not say that activations are shown")
	}
	all, ok := s.host.shown[a.Index()]
	if !ok {
		all = s.show(v)
		if s.host.shown == nil {
			s.host.shown = map[int][]float32{}
		}
		s.host.shown[a.Index()] = all
	}
	return all[i*v.spec.Cols : (i+1)*v.spec.Cols]
}

// show brings the batch's rows of v to the host, as zeros if that fails.
func (s *stream) show(v *act) []float32 {
	rows := s.batch.rows
	if v.spec.Gathered {
		rows = s.batch.wants
	}
	out := make([]float32, rows*v.spec.Cols)
	done, err := s.device.use()
	if err == nil {
		defer done()
		err = errors.Join(s.makeLate(v), s.bring(out, v, rows))
	}
	if err != nil {
		s.host.lost = errors.Join(s.host.lost, fmt.Errorf("reading activation %q: %w", v.spec.Name, err))
	}
	return out
}

// makeLate starts what makes v, which no operation of the step that ended has read.
func (s *stream) makeLate(v *act) error {
	if v != s.wait.made {
		return nil
	}
	s.graphs.mode = direct
	s.make(v)
	return errors.Join(s.err, s.launch.wait())
}

func (s *stream) bring(out []float32, v *act, rows int) error {
	if v.kind == kern.F32 {
		return s.device.download(bytesOf(out), v.full)
	}
	n := 2 * rows * v.ld
	if n > len(s.host.raw) {
		s.host.raw = make([]byte, n)
	}
	if err := s.device.download(s.host.raw[:n], v.half); err != nil {
		return err
	}
	for r := range rows {
		halves(out[r*v.spec.Cols:(r+1)*v.spec.Cols], s.host.raw[2*r*v.ld:], v.kind)
	}
	return nil
}

// halves widens 16-bit numbers.
func halves(out []float32, raw []byte, kind int32) {
	widen := weights.F16ToF32
	if kind == kern.BF16 {
		widen = weights.BF16ToF32
	}
	for i := range out {
		out[i] = widen(uint16(raw[2*i]) | uint16(raw[2*i+1])<<8)
	}
}

// SetAct implements backend.HostActs. All rows of the batch are set, or none: the
// activation is float32 from then on.
func (s *stream) SetAct(a backend.Act, i int, v []float32) {
	const op = "SetAct"
	d := s.act(a, op)
	if !s.plan.Varied {
		panic("cuda: " + op + ": the plan does not say that steps vary")
	}
	if len(v) != d.spec.Cols || i < 0 || i >= s.rowsOf(d) {
		panic(fmt.Sprintf("cuda: %s: %d values for row %d of %d, %d columns", op, len(v), i, s.rowsOf(d), d.spec.Cols))
	}
	s.settle()
	s.writes(d)
	d.become(kern.F32)
	s.place(d.full+pointer(4*i*d.spec.Cols), bytesOf(v))
}

// place queues the copy of a row, from memory that stays as it is until the step is done.
func (s *stream) place(to pointer, row []byte) {
	h := &s.host
	if h.used+len(row) > len(h.pinned) {
		s.fail(s.growPlaced(len(row)))
	}
	if s.err != nil {
		return
	}
	from := h.pinned[h.used : h.used+len(row)]
	copy(from, row)
	h.used += (len(row) + 15) / 16 * 16
	s.fail(s.device.call(cuMemcpyHtoDAsync, uintptr(to), uintptr(unsafe.Pointer(&from[0])), uintptr(len(row)), s.launch.queue))
}

// growPlaced waits for the copies that are on their way and makes more room for others.
func (s *stream) growPlaced(n int) (err error) {
	h := &s.host
	if err := s.launch.wait(); err != nil {
		return err
	}
	h.used = 0
	if n = max(n, 1<<20); n <= len(h.pinned) {
		return nil
	}
	if err := s.device.unpin(h.pinned); err != nil {
		return err
	}
	h.pinned, err = s.device.pinned(n)
	return err
}

// CopyAct implements backend.HostActs.
func (s *stream) CopyAct(dst, x backend.Act) {
	d, v := s.act(dst, "CopyAct"), s.act(x, "CopyAct")
	s.settle()
	s.reads(v)
	s.writes(d)
	a := s.pair("CopyAct", d, v, v, kern.PairCopy)
	a.Dst = d.become(kern.F32)
	s.run("pairwise", s.rowsOf(d), (d.spec.Cols+1023)/1024, 1, 256, 0, args(&a), unsafe.Sizeof(a))
}

// needHalf makes a copy in bf16 of an activation in float32, which products read; its value stays.
func (s *stream) needHalf(p *product) {
	if p.x.kind != kern.F32 || p.x.halved {
		return
	}
	s.fours("Linear", p.x)
	s.flush()
	v := p.x.now()
	a := kern.Pair{X: v, Y: v, Count: s.count(p.x.spec.Gathered), Cols: int32(p.x.spec.Cols), What: kern.PairCopy,
		Dst: kern.Act{At: uint64(p.x.half), Ld: int32(p.x.ld), Type: kern.BF16}}
	s.run("pairwise", p.rows, (p.x.spec.Cols+1023)/1024, 1, 256, 0, args(&a), unsafe.Sizeof(a))
	p.x.halved, p.x.fresh = true, false
}
