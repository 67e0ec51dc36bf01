package modeltest

import (
	"bytes"
	"fmt"

	"weir/internal/weights"
)

// Reencode copies a GGUF with its matrices in type t; those that have it
// already stay as they are.
func Reencode(f *weights.File, t weights.Type) ([]byte, error) {
	var tensors []weights.Tensor
	for _, s := range f.Tensors() {
		if len(s.Shape) == 2 && s.Type != t {
			data, err := encode(t, s)
			if err != nil {
				return nil, fmt.Errorf("re-encode tensor %q: %w", s.Name, err)
			}
			s = weights.Tensor{Name: s.Name, Type: t, Shape: s.Shape, Data: data}
		}
		tensors = append(tensors, s)
	}
	var b bytes.Buffer
	if err := weights.WriteGGUF(&b, f.Meta().KVs(), tensors); err != nil {
		return nil, fmt.Errorf("re-encode as %v: %w", t, err)
	}
	return b.Bytes(), nil
}

func encode(t weights.Type, s weights.Tensor) ([]byte, error) {
	size, err := t.RowBytes(s.Cols())
	if err != nil {
		return nil, err
	}
	data, row := make([]byte, s.Rows()*size), make([]float32, s.Cols())
	for i := range s.Rows() {
		weights.DequantizeRow(s.Type, row, s.Row(i))
		weights.QuantizeRow(t, data[i*size:(i+1)*size], row)
	}
	return data, nil
}
