//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// Drawer draws from logits that the host has, and so without a model: tests hold it to
// package sample.
type Drawer struct {
	s     *stream
	count pointer
}

// NewDrawer makes one for so many rows of vocab logits. It ends with the backend.
func (b *Backend) NewDrawer(rows, vocab int) (*Drawer, error) {
	s, err := b.NewStream(backend.Plan{Rows: rows, Seqs: rows, LogitRows: rows, Slots: rows, Vocab: vocab})
	if err != nil {
		return nil, err
	}
	d := &Drawer{s: s.(*stream)}
	done, err := b.device.use()
	if err != nil {
		return nil, err
	}
	defer done()
	d.count, err = b.device.allocate(4)
	return d, err
}

// Close frees what the drawer has besides its stream.
func (d *Drawer) Close() error {
	done, err := d.s.device.use()
	if err != nil {
		return err
	}
	defer done()
	return d.s.device.free(d.count)
}

// Set makes logits the rows that Draw draws from, which changes them.
func (d *Drawer) Set(logits [][]float32) error {
	s := d.s
	done, err := s.device.use()
	if err != nil {
		return err
	}
	defer done()
	if len(logits) > s.plan.LogitRows {
		return fmt.Errorf("%d rows of logits where %d fit: internal error", len(logits), s.plan.LogitRows)
	}
	s.batch.wants = len(logits)
	errs := []error{s.device.upload(d.count, bytesOf([]int32{int32(len(logits))}))}
	for i, row := range logits {
		errs = append(errs, s.device.upload(s.logits+pointer(4*i*s.plan.Vocab), bytesOf(row[:s.plan.Vocab])))
	}
	return errors.Join(errs...)
}

// Draw is a step whose logits are those that were set. It returns its result, and what
// lies in the slots.
func (d *Drawer) Draw(rows []backend.SampleRow) (*backend.Result, []int32, error) {
	s := d.s
	s.enter()
	s.err, s.computing = nil, false
	n := s.now()
	n.rows, n.told, n.err = 0, false, nil
	s.setLogits()
	a := kern.Pick{X: uint64(s.logits), Best: uint64(s.best), Count: uint64(d.count), Cols: int32(s.plan.Vocab)}
	s.run("pick", s.batch.wants, 1, 1, 1024, 0, args(&a), unsafe.Sizeof(a))
	s.Sample(rows)
	r, err := s.Wait()
	if err != nil {
		return nil, nil, err
	}
	done, err := s.device.use()
	if err != nil {
		return nil, nil, err
	}
	defer done()
	slots := make([]int32, s.plan.Slots)
	return r, slots, s.device.download(bytesOf(slots), s.slots)
}
