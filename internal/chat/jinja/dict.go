package jinja

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Dict is a Python dict: it keeps the order in which keys first came.
type Dict struct {
	keys, vals []Value
	// index maps hashKey(key) to its place; nil while the dictionary is so
	// small that looking through the keys is faster.
	index map[any]int
}

const smallDict = 8

// NewDict returns an empty dictionary.
func NewDict() *Dict { return &Dict{} }

// Set sets a string key. It is for building the variables of a rendering.
func (d *Dict) Set(key string, v Value) { d.put(key, key, v) }

// Get returns the value of a string key.
func (d *Dict) Get(key string) (Value, bool) {
	i := d.find(key)
	if i < 0 {
		return nil, false
	}
	return d.vals[i], true
}

// Index returns the place of a string key in the order of keys, -1 if it has none.
func (d *Dict) Index(key string) int { return d.find(key) }

// Copy returns a dictionary with the same entries.
func (d *Dict) Copy() *Dict {
	out := NewDict()
	out.keys = append(out.keys, d.keys...)
	out.vals = append(out.vals, d.vals...)
	if d.index != nil {
		out.index = maps.Clone(d.index)
	}
	return out
}

// Len returns the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// find returns the place of a key given its hash, -1 if it has none.
func (d *Dict) find(hash any) int {
	if d.index != nil {
		if i, ok := d.index[hash]; ok {
			return i
		}
		return -1
	}
	want, isString := hash.(string)
	for i, k := range d.keys {
		if isString {
			if s, ok := asString(k); ok && s == want {
				return i
			}
		} else if _, ok := asString(k); !ok && simpleHash(k) == hash {
			return i
		}
	}
	return -1
}

// put sets the value of a key with the given hash. As in Python, a key that
// is there already stays as it is.
func (d *Dict) put(hash any, key, v Value) {
	if i := d.find(hash); i >= 0 {
		d.vals[i] = v
		return
	}
	_, isTuple := key.(*Tuple) // a tuple's hash is costly: look through none
	d.keys = append(d.keys, key)
	d.vals = append(d.vals, v)
	switch {
	case d.index != nil:
		d.index[hash] = len(d.keys) - 1
	case len(d.keys) > smallDict || isTuple:
		d.reindex()
		d.index[hash] = len(d.keys) - 1
	}
}

func (d *Dict) reindex() {
	d.index = make(map[any]int, 2*len(d.keys))
	for i, k := range d.keys {
		if _, isTuple := k.(*Tuple); !isTuple {
			d.index[simpleHash(k)] = i
		}
	}
}

type undefinedHash struct{}

// simpleHash returns what stands for a key that is not a tuple in an index:
// equal keys have equal hashes, whatever their types.
func simpleHash(k Value) any {
	switch k := k.(type) {
	case *text:
		return k.s
	case bool:
		n, _ := asInt(k)
		return n
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<62 {
			return int64(k)
		}
	case *big.Int:
		return bigHash(k.String())
	case *Undefined:
		return undefinedHash{}
	}
	return k
}

type bigHash string
type tupleHash string

// hashKey is simpleHash for any value; unhashable ones are an error.
func (st *state) hashKey(k Value) (any, error) {
	switch k := k.(type) {
	case string:
		return k, nil
	case *List, *Dict, *dictView:
		return nil, typeError("unhashable type: '%s'", typeName(k))
	case *Tuple:
		var b strings.Builder
		if err := st.hashTuple(&b, k, 0); err != nil {
			return nil, err
		}
		return tupleHash(b.String()), nil
	}
	return simpleHash(k), nil
}

func (st *state) hashTuple(b *strings.Builder, t *Tuple, depth int) error {
	if err := descend(depth); err != nil {
		return err
	}
	b.WriteString("(")
	for _, item := range t.items {
		if err := st.tick(4); err != nil {
			return err
		}
		if inner, ok := item.(*Tuple); ok {
			if err := st.hashTuple(b, inner, depth+1); err != nil {
				return err
			}
			continue
		}
		hash, err := st.hashKey(item)
		if err != nil {
			return err
		}
		s := fmt.Sprintf("%T %v", hash, hash)
		if isPointer(hash) {
			s = fmt.Sprintf("%T %p", hash, hash)
		}
		if err := st.alloc(len(s) + 8); err != nil {
			return err
		}
		b.WriteString(strconv.Itoa(len(s)))
		b.WriteString(":")
		b.WriteString(s)
	}
	b.WriteString(")")
	return nil
}

func isPointer(v any) bool {
	switch v.(type) {
	case string, int64, float64, noneType, undefinedHash, bigHash:
		return false
	}
	return true
}

// setItem sets any key.
func (st *state) setItem(d *Dict, k, v Value) error {
	hash, err := st.hashKey(k)
	if err != nil {
		return err
	}
	if err := st.alloc(bytesPerEntry); err != nil {
		return err
	}
	d.put(hash, k, v)
	return nil
}

// lookup finds any key.
func (st *state) lookup(d *Dict, k Value) (Value, bool, error) {
	hash, err := st.hashKey(k)
	if err != nil {
		return nil, false, err
	}
	if i := d.find(hash); i >= 0 {
		return d.vals[i], true, nil
	}
	return nil, false, nil
}

func (st *state) copyDict(d *Dict) (*Dict, error) {
	if err := st.alloc(product(len(d.keys), bytesPerEntry)); err != nil {
		return nil, err
	}
	return d.Copy(), nil
}

type viewKind int

const (
	keysView viewKind = iota
	valuesView
	itemsView
)

func (k viewKind) name() string { return [...]string{"dict_keys", "dict_values", "dict_items"}[k] }

// dictView is what keys(), values() and items() return.
type dictView struct {
	dict *Dict
	kind viewKind
}

func (v *dictView) at(i int) Value {
	switch v.kind {
	case keysView:
		return v.dict.keys[i]
	case valuesView:
		return v.dict.vals[i]
	}
	return &Tuple{items: []Value{v.dict.keys[i], v.dict.vals[i]}}
}
