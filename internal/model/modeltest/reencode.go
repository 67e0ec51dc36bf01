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
			if _, err := t.RowBytes(s.Cols()); err != nil {
				return nil, fmt.Errorf("re-encode tensor %q: %w", s.Name, err)
			}
			s = s.As(t)
		}
		tensors = append(tensors, s)
	}
	var b bytes.Buffer
	if err := weights.WriteGGUF(&b, f.Meta().KVs(), tensors); err != nil {
		return nil, fmt.Errorf("re-encode as %v: %w", t, err)
	}
	return b.Bytes(), nil
}
