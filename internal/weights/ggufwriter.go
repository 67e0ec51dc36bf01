package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// KV is one key-value for a GGUF. Value is a bool, string, or number of a fixed
// width ([u]int8 to [u]int64, float32, float64), or a slice of one of those.
type KV struct {
	Key   string
	Value any
}

// WriteGGUF writes a GGUF version 3 with these key-values and tensors, in order.
func WriteGGUF(w io.Writer, meta []KV, tensors []Tensor) error {
	gw, err := NewWriter(w, meta, tensors)
	if err != nil {
		return err
	}
	for _, t := range tensors {
		if err := gw.WriteData(t.Data); err != nil {
			return err
		}
	}
	return gw.Close()
}

// Writer writes a GGUF a tensor at a time, for models whose data is not all in
// memory at once.
type Writer struct {
	w     io.Writer
	align int
	infos []Tensor // those whose data is still to come
}

// NewWriter writes the header of a GGUF. Of the tensors it uses name, type and
// shape; WriteData is to be called for each in order, then Close.
func NewWriter(w io.Writer, meta []KV, tensors []Tensor) (*Writer, error) {
	gw := &Writer{w: w, align: defaultAlignment, infos: tensors}
	b := append([]byte("GGUF"), 3, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(meta)))
	seen := map[string]bool{}
	for _, kv := range meta {
		var err error
		if b, err = appendValue(appendString(b, kv.Key), kv.Value); err != nil {
			return nil, fmt.Errorf("write GGUF: key %q: %w", kv.Key, err)
		}
		if seen[kv.Key] {
			return nil, fmt.Errorf("write GGUF: key %q is there twice", kv.Key)
		}
		seen[kv.Key] = true
		if kv.Key == keyAlignment {
			a, ok := kv.Value.(uint32)
			if !ok || bits.OnesCount32(a) != 1 {
				return nil, fmt.Errorf("write GGUF: %s must be a uint32 that is a power of two, not %v", keyAlignment, kv.Value)
			}
			gw.align = int(a)
		}
	}
	b, err := gw.appendInfos(b, tensors)
	if err != nil {
		return nil, fmt.Errorf("write GGUF: %w", err)
	}
	return gw, gw.writePadded(b)
}

// appendInfos appends the description of every tensor.
func (gw *Writer) appendInfos(b []byte, tensors []Tensor) ([]byte, error) {
	seen := map[string]bool{}
	offset := 0
	for _, t := range tensors {
		size, err := dataBytes(t.Type, t.Shape)
		switch {
		case err != nil:
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		case size == 0 || len(t.Shape) == 0 || len(t.Shape) > maxGGUFDims:
			return nil, fmt.Errorf("tensor %q: shape %v is not 1 to %d dimensions above zero", t.Name, t.Shape, maxGGUFDims)
		case t.Type == F8E4M3:
			return nil, fmt.Errorf("tensor %q: GGUF has no %v", t.Name, t.Type)
		case seen[t.Name] || t.Name == "":
			return nil, fmt.Errorf("tensor %q is there twice or has no name", t.Name)
		}
		seen[t.Name] = true
		b = binary.LittleEndian.AppendUint32(appendString(b, t.Name), uint32(len(t.Shape)))
		for i := len(t.Shape) - 1; i >= 0; i-- {
			b = binary.LittleEndian.AppendUint64(b, uint64(t.Shape[i]))
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Type))
		b = binary.LittleEndian.AppendUint64(b, uint64(offset))
		offset += size + -size&(gw.align-1)
	}
	return b, nil
}

// WriteData writes the data of the next tensor.
func (gw *Writer) WriteData(data []byte) error {
	if len(gw.infos) == 0 {
		return errors.New("write GGUF: data for a tensor that is not in the header")
	}
	t := gw.infos[0]
	if want, err := dataBytes(t.Type, t.Shape); err != nil || len(data) != want {
		return fmt.Errorf("write GGUF: tensor %q takes %d bytes, got %d", t.Name, want, len(data))
	}
	gw.infos = gw.infos[1:]
	return gw.writePadded(data)
}

// Close reports an error when data of some tensor was not written. It does not
// close the underlying writer.
func (gw *Writer) Close() error {
	if len(gw.infos) > 0 {
		return fmt.Errorf("write GGUF: tensor %q has no data", gw.infos[0].Name)
	}
	return nil
}

// writePadded writes b and zeros up to the alignment. Every piece before it was
// padded too, so the length of b alone decides.
func (gw *Writer) writePadded(b []byte) error {
	if _, err := gw.w.Write(b); err != nil {
		return fmt.Errorf("write GGUF: %w", err)
	}
	if _, err := gw.w.Write(make([]byte, -len(b)&(gw.align-1))); err != nil {
		return fmt.Errorf("write GGUF: %w", err)
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value's type and bytes.
func appendValue(b []byte, v any) ([]byte, error) {
	typ, array, n := typeOf(v)
	if typ == vArray {
		return nil, fmt.Errorf("a %T cannot be written: use a bool, string, a number of fixed width or a slice of one", v)
	}
	if array {
		b = binary.LittleEndian.AppendUint32(b, uint32(vArray))
		b = binary.LittleEndian.AppendUint32(b, uint32(typ))
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(typ))
	}
	switch v := v.(type) {
	case string:
		return appendString(b, v), nil
	case []string:
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	}
	return binary.Append(b, binary.LittleEndian, v)
}

// typeOf returns the GGUF type of v or of its elements; vArray for what GGUF
// cannot hold.
func typeOf(v any) (typ valueType, array bool, n int) {
	switch v := v.(type) {
	case uint8:
		return vUint8, false, 1
	case []uint8:
		return vUint8, true, len(v)
	case int8:
		return vInt8, false, 1
	case []int8:
		return vInt8, true, len(v)
	case uint16:
		return vUint16, false, 1
	case []uint16:
		return vUint16, true, len(v)
	case int16:
		return vInt16, false, 1
	case []int16:
		return vInt16, true, len(v)
	case uint32:
		return vUint32, false, 1
	case []uint32:
		return vUint32, true, len(v)
	case int32:
		return vInt32, false, 1
	case []int32:
		return vInt32, true, len(v)
	case uint64:
		return vUint64, false, 1
	case []uint64:
		return vUint64, true, len(v)
	case int64:
		return vInt64, false, 1
	case []int64:
		return vInt64, true, len(v)
	case float32:
		return vFloat32, false, 1
	case []float32:
		return vFloat32, true, len(v)
	case float64:
		return vFloat64, false, 1
	case []float64:
		return vFloat64, true, len(v)
	case bool:
		return vBool, false, 1
	case []bool:
		return vBool, true, len(v)
	case string:
		return vString, false, 1
	case []string:
		return vString, true, len(v)
	}
	return vArray, false, 0
}
