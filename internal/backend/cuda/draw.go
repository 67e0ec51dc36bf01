//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// drawing is what a step has drawn: on its way to the device, and back. There are two,
// so that a step can be begun while the one before it still runs.
type drawing struct {
	rows   int
	told   bool // some rows tell their most probable tokens
	weighs bool // some are not greedy
	input  []byte
	used   int     // of input
	ended  uintptr // an event, recorded when the step's results are on their way
	err    error

	hostMeta, heads, tops []byte // pinned, as input is
	copies                []byte // CopyKV's
	copied                int    // of copies
}

// Sizes of what a row of draws takes.
const (
	drawRowBytes  = int(unsafe.Sizeof(kern.DrawRow{}))
	drawHeadBytes = int(unsafe.Sizeof(kern.DrawHead{}))
	drawTopBytes  = kern.MaxTop * int(unsafe.Sizeof(kern.DrawTop{}))
	entryInts     = 3
)

// newDrawings makes the host's side of draws.
func (s *stream) newDrawings() (err error) {
	for i := range s.drawings {
		d := &s.drawings[i]
		if d.heads, err = s.device.pinned(s.plan.LogitRows * drawHeadBytes); err != nil {
			return err
		}
		if d.tops, err = s.device.pinned(s.plan.LogitRows * drawTopBytes); err != nil {
			return err
		}
		const noTiming = 2
		if err := s.device.call(cuEventCreate, uintptr(unsafe.Pointer(&d.ended)), noTiming); err != nil {
			return err
		}
	}
	s.result.Drawn = make([]backend.Drawn, 0, s.plan.LogitRows)
	return nil
}

func (s *stream) freeDrawings() error {
	errs := []error{s.device.free(s.drawInput)}
	for i := range s.drawings {
		d := &s.drawings[i]
		for _, h := range [][]byte{d.hostMeta, d.heads, d.tops, d.input, d.copies} {
			errs = append(errs, s.device.unpin(h))
		}
		if d.ended != 0 {
			errs = append(errs, s.device.call(cuEventDestroy, d.ended))
		}
	}
	return errors.Join(errs...)
}

// now is the drawing of the step that is being queued.
func (s *stream) now() *drawing { return &s.drawings[s.begun%2] }

// Sample is part of backend.DeviceSampler.
func (s *stream) Sample(rows []backend.SampleRow) {
	s.enter()
	d := s.now()
	if len(rows) > s.batch.wants || len(s.result.Logits) == 0 && len(rows) > 0 {
		panic(fmt.Sprintf("cuda: Sample: %d rows of %d, or before Logits", len(rows), s.batch.wants))
	}
	size := 0
	for i := range rows {
		r := &rows[i]
		size += drawRowBytes + 4*(entryInts*(len(r.Bias)+len(r.Ban)+len(r.Seen))+2*len(r.Mask))
	}
	if size > len(d.input) {
		s.fail(s.growDraws(d, 2*size))
	}
	if s.err != nil || len(rows) == 0 {
		return
	}
	d.rows, d.told, d.weighs, d.used = len(rows), false, false, size
	table, last := unsafe.Slice((*kern.DrawRow)(unsafe.Pointer(&d.input[0])), len(rows)), -1
	s.lists = s.lists[:0]
	for i := range rows {
		r := &rows[i]
		if r.Logits <= last || r.Logits >= s.batch.wants || r.Slot >= s.plan.Slots || r.Vocab > s.plan.Vocab || r.Told > kern.MaxTop+1 {
			panic(fmt.Sprintf("cuda: Sample: row %d after %d of %d, slot %d, %d of %d tokens, %d told", r.Logits, last, s.batch.wants, r.Slot, r.Vocab, s.plan.Vocab, r.Told))
		}
		last = r.Logits
		d.told, d.weighs = d.told || r.Told > 1, d.weighs || !r.Greedy
		table[i], s.lists = packDraw(r, s.lists)
		s.result.Logits[r.Logits] = nil
	}
	copy(d.input[len(rows)*drawRowBytes:], bytesOf(s.lists))
}

// packDraw lays a row and its lists out as the kernel takes them.
func packDraw(r *backend.SampleRow, lists []int32) (kern.DrawRow, []int32) {
	k := kern.DrawRow{Scale: r.Scale, TopP: r.TopP, MinP: r.MinP, U: r.U, Repetition: r.Repetition, Frequency: r.Frequency, Presence: r.Presence,
		Row: int32(r.Logits), Slot: int32(r.Slot), TopK: int32(min(r.TopK, math.MaxInt32)), Vocab: int32(r.Vocab), Top: int32(r.Told - 1), Mask: -1}
	if r.Greedy {
		k.Greedy = 1
	}
	if r.Mask != nil {
		k.Mask, k.MaskWords = int32(len(lists)), int32(2*len(r.Mask))
		for _, w := range r.Mask {
			lists = append(lists, int32(uint32(w)), int32(uint32(w>>32)))
		}
	}
	k.Bias, k.Biases = int32(len(lists)), int32(len(r.Bias))
	for _, b := range r.Bias {
		lists = append(lists, b.ID, int32(math.Float32bits(b.Add)), 0)
	}
	k.Ban, k.Bans = int32(len(lists)), int32(len(r.Ban))
	for _, id := range r.Ban {
		lists = append(lists, id, 0, 0)
	}
	k.Seen, k.Seens = int32(len(lists)), int32(len(r.Seen))
	for _, t := range r.Seen {
		what := t.Count << 1
		if t.InPrompt {
			what |= 1
		}
		lists = append(lists, t.ID, what, 0)
	}
	return k, lists
}

// growDraws makes room for longer lists, on both sides.
func (s *stream) growDraws(d *drawing, n int) error {
	n = max(n, 64<<10)
	err := errors.Join(s.launch.wait(), s.device.unpin(d.input))
	d.input = nil
	if err != nil {
		return err
	}
	if d.input, err = s.device.pinned(n); err != nil || n <= s.drawInputLen {
		return err
	}
	err = s.device.free(s.drawInput)
	s.drawInput, s.drawInputLen = 0, 0
	if err != nil {
		return err
	}
	if s.drawInput, err = s.device.allocate(int64(n)); err == nil {
		s.drawInputLen = n
	}
	return err
}

// draw queues the draws of a step and the way of their results to the host.
func (s *stream) draw(d *drawing) {
	if s.err != nil || d.rows == 0 {
		return
	}
	s.fail(s.device.call(cuMemcpyHtoDAsync, uintptr(s.drawInput), uintptr(unsafe.Pointer(&d.input[0])), uintptr(d.used), s.launch.queue))
	a := kern.Draw{Rows: uint64(s.drawInput), Lists: uint64(s.drawInput) + uint64(d.rows*drawRowBytes), Logits: uint64(s.logits), Best: uint64(s.best),
		Slots: uint64(s.slots), Heads: uint64(s.drawHeads), Tops: uint64(s.drawTops), Weighed: uint64(s.weighed), Cols: int32(s.plan.Vocab)}
	if s.err == nil && d.weighs {
		s.fail(s.clear(s.weighed, int64(d.rows*kern.WeighedBytes)))
		s.fail(s.launch.launch(s.launch.kernel("draw_weigh", 0), kern.DrawParts, d.rows, 1, 256, 0, args(&a)))
	}
	if s.err == nil {
		s.fail(s.launch.launch(s.launch.kernel("draw", 0), d.rows, 1, 1, 1024, 0, args(&a)))
	}
	s.toHost(d.heads, s.drawHeads, d.rows*drawHeadBytes)
	if d.told {
		s.toHost(d.tops, s.drawTops, d.rows*drawTopBytes)
	}
}

// toHost queues a copy to pinned memory.
func (s *stream) toHost(to []byte, from pointer, n int) {
	if s.err == nil && n > 0 {
		s.fail(s.device.call(cuMemcpyDtoHAsync, uintptr(unsafe.Pointer(&to[0])), uintptr(from), uintptr(n), s.launch.queue))
	}
}

// drawn reads what has come of a step's draws.
func (s *stream) drawn(d *drawing) {
	s.result.Drawn = s.result.Drawn[:0]
	if d.rows == 0 {
		return
	}
	heads := unsafe.Slice((*kern.DrawHead)(unsafe.Pointer(&d.heads[0])), d.rows)
	tops := unsafe.Slice((*backend.TopLogit)(unsafe.Pointer(&d.tops[0])), d.rows*kern.MaxTop)
	for i, h := range heads {
		out := backend.Drawn{ID: h.ID, Logit: h.Logit, Peak: h.Peak, Total: h.Total}
		if d.told {
			out.Top = tops[i*kern.MaxTop:][:h.Tops:h.Tops]
		}
		s.result.Drawn = append(s.result.Drawn, out)
	}
}

// Compute is part of backend.DeviceSampler.
func (s *stream) Compute() {
	s.computing = true
	s.settle()
	if s.plan.Shown {
		s.reads(s.wait.made)
	}
	s.graphs.finish(s)
}

// Launch is part of backend.DeviceSampler.
func (s *stream) Launch() {
	s.enter() // the step before may have been waited for since Begin
	d := s.now()
	if !s.computing {
		s.Compute()
	}
	s.draw(d)
	s.sendLogits()
	if s.err == nil {
		s.fail(s.device.call(cuEventRecord, d.ended, s.launch.queue))
	}
	d.err = s.err
	s.begun++
}

// sendLogits queues the way of the logits that the host wants, rows that lie together
// at once.
func (s *stream) sendLogits() {
	rows, n := s.result.Logits, s.plan.Vocab*4
	for i := 0; i < len(rows); i++ {
		first := i
		for i < len(rows) && rows[i] != nil {
			i++
		}
		s.toHost(s.hostLogits[first*n:], s.logits+pointer(first*n), (i-first)*n)
	}
}

// Wait blocks until the oldest step that was begun is done.
func (s *stream) Wait() (*backend.Result, error) {
	s.enter()
	defer s.leave()
	if s.waited == s.begun {
		s.Launch()
	}
	d := &s.drawings[s.waited%2]
	s.waited++
	if s.begun-s.waited > 0 {
		s.result.Logits = s.result.Logits[:0] // the later step's
	}
	err := d.err
	if err == nil {
		err = s.device.call(cuEventSynchronize, d.ended)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.device.name, errors.Join(err, s.launch.wait()))
	}
	s.drawn(d)
	return &s.result, nil
}
