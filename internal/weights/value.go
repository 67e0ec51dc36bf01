package weights

import (
	"bytes"
	"encoding/binary"
)

// NewMetadata returns the Metadata that a GGUF with these key-values has.
func NewMetadata(kvs []KV) (*Metadata, error) {
	var b bytes.Buffer
	if err := WriteGGUF(&b, kvs, nil); err != nil {
		return nil, err
	}
	m, _, err := parseGGUF("metadata", b.Bytes())
	return m, err
}

// KVs returns every key-value in file order, decoded: what a tool needs to
// write them again.
func (m *Metadata) KVs() []KV {
	var kvs []KV
	for _, key := range m.Keys() {
		v, _ := m.Value(key)
		kvs = append(kvs, KV{key, v})
	}
	return kvs
}

// Value returns the value at key as the Go type that [KV] writes it from, so
// an int32 for a GGUF int32 and a []string for an array of strings.
func (m *Metadata) Value(key string) (any, bool) {
	if e := m.find(key, true); e != nil {
		return e.value(), true
	}
	e := m.find(key, false)
	if e == nil {
		return nil, false
	}
	return e.value(), true
}

// value decodes the entry by the size and kind of its elements.
func (e *entry) value() any {
	switch e.typ {
	case vUint8:
		return elements[uint8](e)
	case vInt8:
		return elements[int8](e)
	case vUint16:
		return elements[uint16](e)
	case vInt16:
		return elements[int16](e)
	case vUint32:
		return elements[uint32](e)
	case vInt32:
		return elements[int32](e)
	case vUint64:
		return elements[uint64](e)
	case vInt64:
		return elements[int64](e)
	case vFloat32:
		return elements[float32](e)
	case vFloat64:
		return elements[float64](e)
	case vBool:
		return elements[bool](e)
	}
	s := e.strings()
	if e.array {
		return s
	}
	return s[0]
}

// elements decodes the entry's fixed-size elements: a []T, or a T for a scalar.
func elements[T any](e *entry) any {
	out := make([]T, e.n)
	if _, err := binary.Decode(e.raw, binary.LittleEndian, out); err != nil {
		panic("weights: internal error: " + err.Error()) // the parser took exactly n elements
	}
	if e.array {
		return out
	}
	return out[0]
}
