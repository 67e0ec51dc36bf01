//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"

	"weir/internal/weights"
)

// loadOther stores blocks that no kernel reads: as Q8_0 or Q6_K where these hold the same numbers,
// else as bf16, or E4M3 if the options ask for it.
func (b *Backend) loadOther(w *weight, t weights.Tensor) error {
	if !t.Type.Supported() {
		return fmt.Errorf("is %v, which weir does not compute with: %w", t.TypeName(), ErrUnsupported)
	}
	b.widened += b.held(t) - int64(len(t.Data)) // ahead: memory may end with this one
	wide := t.As(stored(t.Type))
	if wide.Type != weights.BF16 {
		return b.loadBlocks(w, wide)
	}
	return b.loadPlain(w, wide)
}

// stored is what a matrix of a type becomes, before the options make E4M3 of bf16: itself if kernels read
// it, what has the same numbers, or bf16.
func stored(t weights.Type) weights.Type {
	switch t {
	case weights.Q8_0, weights.Q6_K, weights.Q4_K:
		return t
	}
	if to, ok := weights.Exact(t); ok {
		return to
	}
	return weights.BF16
}

// TooWide adds to an error for want of memory, the device's or, with planned, that of a plan, what types that no kernel
// reads have to do with it: a model that does not fit for their sake may fit on the CPU, which computes with the file's own.
func (b *Backend) TooWide(err error, planned bool) error {
	if b.widened <= 0 || !planned && !isOutOfMemory(err) || errors.Is(err, ErrUnsupported) {
		return err
	}
	or := ""
	if b.halves {
		or = "--gpu-weights fp8, or "
	}
	return fmt.Errorf("%w; some of the file's types are wider on a GPU, by %d MiB so far, and take their own size on the CPU: %w, or %sa file of Q4_K, Q6_K or Q8_0 (such as Q4_K_M)", err, b.widened>>20, ErrUnsupported, or)
}
