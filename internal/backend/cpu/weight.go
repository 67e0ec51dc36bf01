package cpu

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// littleEndian: numbers in files can be read where they lie.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// weight is a tensor as the file has it, and may be compact, too.
type weight struct {
	name       string
	typ        weights.Type
	rows, cols int
	rowBytes   int
	data       []byte // [rows, rowBytes]
	// plain holds the elements where no decoding is needed: those of vectors,
	// decoded at Load, and those of F32 matrices, in place. nil for others.
	plain  []float32
	vector bool
	// compact is nil until the matrix has been made so, while others may be reading it (compact.go).
	compact atomic.Pointer[compacted]
}

func (w *weight) Rows() int          { return w.rows }
func (w *weight) Cols() int          { return w.cols }
func (w *weight) Type() weights.Type { return w.typ }

// Bytes is what a step reads.
func (w *weight) Bytes() int64 {
	if c := w.compact.Load(); c != nil {
		return int64(w.rows * c.rowBytes)
	}
	return int64(len(w.data))
}

// newWeight checks t and prepares it.
func newWeight(t weights.Tensor) (*weight, error) {
	w := &weight{name: t.Name, typ: t.Type, rows: 1, data: t.Data}
	switch len(t.Shape) {
	case 1:
		w.cols, w.vector = int(t.Shape[0]), true
	case 2:
		w.rows, w.cols = int(t.Shape[0]), int(t.Shape[1])
	default:
		return nil, fmt.Errorf("tensor %q has shape %v: only vectors and matrices can be loaded; slice it first", t.Name, t.Shape)
	}
	if !t.Type.Supported() {
		return nil, fmt.Errorf("tensor %q is stored as %v, which the CPU does not compute with: use one of %v", t.Name, t.Type, weights.Types())
	}
	var err error
	if w.rowBytes, err = t.Type.RowBytes(w.cols); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if w.rows <= 0 || len(t.Data)%w.rowBytes != 0 || len(t.Data)/w.rowBytes != w.rows {
		return nil, fmt.Errorf("tensor %q of shape %v has %d bytes, not the %d a row that %v takes", t.Name, t.Shape, len(t.Data), w.rowBytes, t.Type)
	}
	switch {
	case w.vector:
		w.plain = make([]float32, w.cols)
		weights.DequantizeRow(w.typ, w.plain, w.data)
	case w.typ == weights.F32 && littleEndian && uintptr(unsafe.Pointer(&w.data[0]))%4 == 0:
		w.plain = floats(w.data)
	}
	return w, nil
}

// row decodes row i into dst [cols].
func (w *weight) row(dst []float32, i int) {
	if w.plain != nil {
		copy(dst[:w.cols], w.plain[i*w.cols:])
		return
	}
	if c := w.compact.Load(); c != nil {
		c.tile(w.cols, dst, i, i+1)
		return
	}
	weights.DequantizeRow(w.typ, dst[:w.cols], w.data[i*w.rowBytes:(i+1)*w.rowBytes])
}

// tile returns rows [lo, hi) as [hi-lo, cols]: in place where that is possible,
// else decoded into scratch.
func (w *weight) tile(a arith, scratch []float32, lo, hi int) []float32 {
	if w.plain != nil {
		return w.plain[lo*w.cols : hi*w.cols]
	}
	if c := w.compact.Load(); c != nil {
		return c.tile(w.cols, scratch, lo, hi)
	}
	if a.level > kern.Portable {
		a.level.Dequantize(w.typ, &kern.Convert{X: w.at(lo), Y: bytesOf(scratch), Cols: int64(w.cols), Rows: int64(hi - lo),
			LdX: int64(w.rowBytes), LdY: 4 * int64(w.cols)})
		return scratch[:(hi-lo)*w.cols]
	}
	for i := lo; i < hi; i++ {
		w.row(scratch[(i-lo)*w.cols:(i-lo+1)*w.cols], i)
	}
	return scratch[:(hi-lo)*w.cols]
}

// at is where row i begins.
func (w *weight) at(i int) *byte { return &w.data[i*w.rowBytes] }

// cell is where column c of row i begins; c is a multiple of the type's block.
func (w *weight) cell(i, c int) *byte {
	elems, bytes := w.typ.Block()
	return &w.data[i*w.rowBytes+c/elems*bytes]
}

// matrix returns the weight behind bw, which must have cols columns.
func matrix(bw backend.Weight, cols int, op string) *weight {
	w, ok := bw.(*weight)
	if !ok {
		panic(fmt.Sprintf("cpu: %s: weight of type %T was not loaded by this backend", op, bw))
	}
	if w.cols != cols {
		panic(fmt.Sprintf("cpu: %s: tensor %q has %d columns, the activation %d", op, w.name, w.cols, cols))
	}
	return w
}

// vector returns the elements of bw, which must be a vector of n.
func vector(bw backend.Weight, n int, op string) []float32 {
	w := matrix(bw, n, op)
	if !w.vector {
		panic(fmt.Sprintf("cpu: %s: tensor %q is a matrix where a vector belongs", op, w.name))
	}
	return w.plain
}

// floats views bytes, aligned to 4, as float32 in the machine's order.
func floats(b []byte) []float32 {
	if len(b) < 4 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// bytesOf is where x lies, for a kernel.
func bytesOf(x []float32) *byte { return (*byte)(unsafe.Pointer(&x[0])) }

// halves views bytes, aligned to 2, as 16-bit numbers in the machine's order.
func halves(b []byte) []uint16 {
	if len(b) < 2 {
		return nil
	}
	return unsafe.Slice((*uint16)(unsafe.Pointer(&b[0])), len(b)/2)
}
