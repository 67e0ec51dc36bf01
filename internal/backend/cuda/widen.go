//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"runtime"
	"sync"

	"weir/internal/weights"
)

// loadOther stores blocks that no kernel reads: as Q8_0 or Q6_K where these hold the same numbers,
// else as bf16, or E4M3 if the options ask for it.
func (b *Backend) loadOther(w *weight, t weights.Tensor) error {
	if !t.Type.Supported() {
		return fmt.Errorf("is %v, which weir does not compute with: %w", t.TypeName(), ErrUnsupported)
	}
	wide := widen(t)
	if wide.Type != weights.BF16 {
		b.widened += int64(len(wide.Data) - len(t.Data))
		return b.loadBlocks(w, wide)
	}
	size := len(wide.Data)
	if b.options.Weights == AsE4M3 && t.Name != embedding(t.Name) {
		size /= 2
	}
	b.widened += int64(size - len(t.Data))
	return b.loadPlain(w, wide)
}

// widen writes a matrix of blocks as what the kernels read.
func widen(t weights.Tensor) weights.Tensor {
	to, exact := weights.Exact(t.Type)
	rows, cols := t.Rows(), t.Cols()
	if !exact {
		to = weights.BF16
	}
	from, size := rowBytes(t.Type, cols), rowBytes(to, cols)
	data := make([]byte, rows*size)
	shareRows(rows, func(first, end int) {
		numbers := make([]float32, cols)
		for r := first; r < end; r++ {
			src, dst := t.Data[r*from:(r+1)*from], data[r*size:(r+1)*size]
			if exact {
				weights.RewriteRow(t.Type, dst, src)
				continue
			}
			weights.DequantizeRow(t.Type, numbers, src)
			weights.QuantizeRow(to, dst, numbers)
		}
	})
	t.Type, t.Data = to, data
	return t
}

// rowBytes is what a row takes, of a type and of columns that load has looked at.
func rowBytes(t weights.Type, cols int) int {
	n, err := t.RowBytes(cols)
	if err != nil {
		panic(fmt.Sprintf("cuda: %v", err))
	}
	return n
}

// shareRows has as many goroutines as there are processors do a part of the rows each.
func shareRows(rows int, do func(first, end int)) {
	var all sync.WaitGroup
	n := min(rows, runtime.GOMAXPROCS(0))
	for i := range n {
		all.Go(func() { do(i*rows/n, (i+1)*rows/n) })
	}
	all.Wait()
}

// Widened is how many bytes the weights loaded so far take more than in the file, for types that
// no kernel reads: a model that does not fit for their sake may fit on the CPU.
func (b *Backend) Widened() int64 { return b.widened }

// tooWide adds to an error for want of memory what wide types have to do with it: the CPU computes
// with the file's own.
func (b *Backend) tooWide(err error) error {
	if b.widened <= 0 || !isOutOfMemory(err) {
		return err
	}
	or := "--gpu-weights fp8, or "
	if b.options.Weights == AsE4M3 {
		or = ""
	}
	return fmt.Errorf("%w; some of the file's types are wider on a GPU, by %d MiB until here, and take their own size on the CPU: %w, or %sa file of Q4_K, Q6_K or Q8_0 (such as Q4_K_M)", err, b.widened>>20, ErrUnsupported, or)
}
