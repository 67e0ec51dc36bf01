package weights

import (
	"fmt"
	"math/bits"
)

// Tensor is one named array of a model file.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int // outermost first: [rows, cols] for a matrix, [n] for a vector
	// Data holds the tensor's blocks, rows in order. It aliases the file's
	// memory: read only, gone after File.Close, and (from safetensors) at any
	// alignment, so numbers are to be read byte-wise as DequantizeRow does.
	Data []byte

	file  string // the file it came from, for error messages
	dtype string // the file's word for a Foreign type
}

// Rows is the product of all dimensions but the last: 1 for a vector.
func (t Tensor) Rows() int {
	n := 1
	for _, d := range t.Shape[:max(len(t.Shape)-1, 0)] {
		n *= d
	}
	return n
}

// Cols is the last dimension: a row's length. A scalar has one column.
func (t Tensor) Cols() int {
	if len(t.Shape) == 0 {
		return 1
	}
	return t.Shape[len(t.Shape)-1]
}

// Row returns the blocks of row i. Like Data, it is read only.
func (t Tensor) Row(i int) []byte {
	n := len(t.Data) / t.Rows()
	return t.Data[i*n : (i+1)*n : (i+1)*n]
}

// Float32s returns a decoded copy of the whole tensor, rows in order. It panics
// when the type is not supported, as DequantizeRow does.
func (t Tensor) Float32s() []float32 {
	x := make([]float32, t.Rows()*t.Cols())
	DequantizeRow(t.Type, x, t.Data)
	return x
}

// TypeName is the type as the file names it: Type.String, or for a Foreign type
// the safetensors dtype.
func (t Tensor) TypeName() string {
	if t.Type == Foreign {
		return t.dtype
	}
	return t.Type.String()
}

// unsupported is the error of a tensor whose type weir does not compute with.
func (t Tensor) unsupported() error {
	return fmt.Errorf("%s: tensor %.100q is %s, which weir does not read: it reads %s; use a file converted to one of those",
		t.file, t.Name, t.TypeName(), supportedNames())
}

// dataBytes returns the bytes that a tensor of this type and shape takes.
func dataBytes(t Type, shape []int) (int, error) {
	rows, cols := 1, 1
	for i, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		if i == len(shape)-1 {
			cols = d
		} else if rows = mul(rows, d); rows < 0 {
			return 0, fmt.Errorf("shape %v overflows", shape)
		}
	}
	if rows == 0 || cols == 0 {
		return 0, nil
	}
	row, err := t.RowBytes(cols)
	if err != nil {
		return 0, err
	}
	n := mul(rows, row)
	if n < 0 {
		return 0, fmt.Errorf("shape %v overflows", shape)
	}
	return n, nil
}

// mul returns a*b for a, b >= 0, or a negative number when it overflows.
func mul(a, b int) int {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi != 0 || lo > uint64(maxInt) {
		return -1
	}
	return int(lo)
}
