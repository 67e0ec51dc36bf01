package weights

import (
	"encoding/binary"
	"fmt"
	"math"
)

// valueType is the type of a GGUF key-value.
type valueType uint32

const (
	vUint8 valueType = iota
	vInt8
	vUint16
	vInt16
	vUint32
	vInt32
	vFloat32
	vBool
	vString
	vArray
	vUint64
	vInt64
	vFloat64
)

// size returns the bytes of a value of fixed size, 0 for strings, arrays and
// types that do not exist.
func (t valueType) size() uint64 {
	switch t {
	case vUint8, vInt8, vBool:
		return 1
	case vUint16, vInt16:
		return 2
	case vUint32, vInt32, vFloat32:
		return 4
	case vUint64, vInt64, vFloat64:
		return 8
	}
	return 0
}

// minSize returns the least bytes that an element takes: a string's are those
// of its length. A type that does not exist is refused once it is met.
func (t valueType) minSize() uint64 {
	if t == vString {
		return 8
	}
	return max(t.size(), 1)
}

// entry is one key-value, its bytes still as they stand in the file: a
// vocabulary of 256 000 strings costs nothing until somebody asks for it.
type entry struct {
	key   string
	array bool
	typ   valueType // of the value, or of the array's elements
	n     int       // elements; 1 for a scalar
	raw   []byte    // the elements: strings with their lengths, numbers packed
}

// Metadata is the key-values of a GGUF. Values are decoded when they are asked
// for, and what is returned is a copy that outlives the file. The nil and the
// zero Metadata are empty.
type Metadata struct {
	entries []entry
	index   map[string]int // key -> index into entries
}

// metadata reads n key-values.
func (c *cursor) metadata(n int) *Metadata {
	m := &Metadata{index: map[string]int{}}
	for i := 0; i < n && c.err == nil; i++ {
		e := entry{key: c.str("a metadata key"), n: 1}
		e.typ = valueType(c.u32("a metadata type"))
		if e.typ == vArray {
			e.array = true
			e.typ = valueType(c.u32("an array's type"))
			e.n = c.count(fmt.Sprintf("elements of %.100q", e.key), e.typ.minSize())
		}
		e.raw = c.elements(&e)
		if _, dup := m.index[e.key]; dup {
			c.fail("key %.100q is there twice: %s", e.key, damaged)
		}
		m.index[e.key] = len(m.entries)
		m.entries = append(m.entries, e)
	}
	return m
}

// elements reads e.n elements of e.typ.
func (c *cursor) elements(e *entry) []byte {
	what := fmt.Sprintf("the value of %.100q", e.key)
	start := c.at
	switch {
	case c.err != nil:
		return nil
	case e.typ == vString:
		for i := 0; i < e.n && c.err == nil; i++ {
			c.take(c.u64(what), what)
		}
		return c.b[start:c.at]
	case e.typ == vArray:
		c.fail("key %.100q holds an array of arrays, which no model uses and weir does not read: %s", e.key, damaged)
	case e.typ.size() == 0:
		c.fail("key %.100q has the unknown value type %d: %s", e.key, e.typ, damaged)
	}
	return c.take(uint64(e.n)*e.typ.size(), what)
}

// find returns the entry of key if it is an array or scalar, as asked.
func (m *Metadata) find(key string, array bool) *entry {
	if m == nil {
		return nil
	}
	if i, ok := m.index[key]; ok && m.entries[i].array == array {
		return &m.entries[i]
	}
	return nil
}

// Has reports whether key is there, whatever it holds.
func (m *Metadata) Has(key string) bool {
	return m.find(key, false) != nil || m.find(key, true) != nil
}

// Keys returns the keys in file order.
func (m *Metadata) Keys() []string {
	if m == nil {
		return nil
	}
	keys := make([]string, len(m.entries))
	for i := range m.entries {
		keys[i] = m.entries[i].key
	}
	return keys
}

// Len returns the number of elements of the array at key without decoding it.
func (m *Metadata) Len(key string) (int, bool) {
	if e := m.find(key, true); e != nil {
		return e.n, true
	}
	return 0, false
}

// String returns the string at key.
func (m *Metadata) String(key string) (string, bool) {
	if e := m.find(key, false); e != nil && e.typ == vString {
		return string(e.raw[8:]), true
	}
	return "", false
}

// Strings returns the array of strings at key.
func (m *Metadata) Strings(key string) ([]string, bool) {
	e := m.find(key, true)
	if e == nil || e.typ != vString {
		return nil, false
	}
	return e.strings(), true
}

// strings decodes an array of strings. They share one copy of the array's
// bytes: one allocation instead of one a string.
func (e *entry) strings() []string {
	all, out := string(e.raw), make([]string, e.n)
	at := 0
	for i := range out {
		n := int(binary.LittleEndian.Uint64(e.raw[at:])) // in range: the parser walked it
		at += 8
		out[i] = all[at : at+n]
		at += n
	}
	return out
}

// Uint returns the integer at key, of whatever width, if it is not negative.
func (m *Metadata) Uint(key string) (uint64, bool) {
	if e := m.find(key, false); e != nil {
		v, negative, ok := e.integer(0)
		return v, ok && !negative
	}
	return 0, false
}

// Int returns the integer at key, of whatever width, if it fits.
func (m *Metadata) Int(key string) (int64, bool) {
	if e := m.find(key, false); e != nil {
		return e.signed(0)
	}
	return 0, false
}

// Float returns the number at key, a float or an integer.
func (m *Metadata) Float(key string) (float64, bool) {
	if e := m.find(key, false); e != nil {
		return e.float(0)
	}
	return 0, false
}

// Bool returns the truth value at key.
func (m *Metadata) Bool(key string) (v, ok bool) {
	if e := m.find(key, false); e != nil && e.typ == vBool {
		return e.raw[0] != 0, true
	}
	return false, false
}

// Int32s returns the array of integers at key, of whatever width, if every
// one fits.
func (m *Metadata) Int32s(key string) ([]int32, bool) {
	return numbers(m.find(key, true), func(e *entry, i int) (int32, bool) {
		v, ok := e.signed(i)
		return int32(v), ok && v == int64(int32(v))
	})
}

// Float32s returns the array of numbers at key, doubles rounded to float32.
func (m *Metadata) Float32s(key string) ([]float32, bool) {
	return numbers(m.find(key, true), func(e *entry, i int) (float32, bool) {
		v, ok := e.float(i)
		return float32(v), ok
	})
}

// Bools returns the array of truth values at key.
func (m *Metadata) Bools(key string) ([]bool, bool) {
	return numbers(m.find(key, true), func(e *entry, i int) (bool, bool) {
		return e.raw[i] != 0, e.typ == vBool
	})
}

// numbers decodes an array element by element, giving up at the first that
// does not fit.
func numbers[T any](e *entry, at func(*entry, int) (T, bool)) ([]T, bool) {
	if e == nil || e.typ == vString {
		return nil, false
	}
	out := make([]T, e.n)
	for i := range out {
		v, ok := at(e, i)
		if !ok {
			return nil, false
		}
		out[i] = v
	}
	return out, true
}

// integer returns element i, sign extended, if e holds integers.
func (e *entry) integer(i int) (v uint64, negative, ok bool) {
	p, le := e.raw[uint64(i)*e.typ.size():], binary.LittleEndian
	switch e.typ {
	case vUint8:
		return uint64(p[0]), false, true
	case vUint16:
		return uint64(le.Uint16(p)), false, true
	case vUint32:
		return uint64(le.Uint32(p)), false, true
	case vUint64:
		return le.Uint64(p), false, true
	case vInt8:
		v = uint64(int8(p[0]))
	case vInt16:
		v = uint64(int16(le.Uint16(p)))
	case vInt32:
		v = uint64(int32(le.Uint32(p)))
	case vInt64:
		v = le.Uint64(p)
	default:
		return 0, false, false
	}
	return v, int64(v) < 0, true
}

// signed returns element i if e holds integers and it fits.
func (e *entry) signed(i int) (int64, bool) {
	v, negative, ok := e.integer(i)
	return int64(v), ok && (negative || v <= math.MaxInt64)
}

// float returns element i if e holds numbers.
func (e *entry) float(i int) (float64, bool) {
	p := e.raw[uint64(i)*e.typ.size():]
	switch e.typ {
	case vFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(p))), true
	case vFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(p)), true
	}
	v, negative, ok := e.integer(i)
	if negative {
		return float64(int64(v)), ok
	}
	return float64(v), ok
}
