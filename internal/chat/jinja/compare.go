package jinja

import (
	"math"
	"math/big"
	"slices"
	"strings"
)

// equal is Python's a == b.
func (st *state) equal(a, b Value) (bool, error) { return st.equalAt(a, b, 0) }

func (st *state) equalAt(a, b Value, depth int) (bool, error) {
	if err := descend(depth); err != nil {
		return false, err
	}
	if err := st.tick(1); err != nil {
		return false, err
	}
	if s, ok := asString(a); ok {
		o, ok := asString(b)
		if !ok || len(s) != len(o) {
			return false, nil
		}
		return s == o, st.scan(len(s))
	}
	if isNumber(a) && isNumber(b) {
		c, ordered := compareNumbers(a, b)
		return ordered && c == 0, nil
	}
	switch x := a.(type) {
	case *List:
		y, ok := b.(*List)
		if !ok {
			return false, nil
		}
		return st.equalSlices(x.items, y.items, depth)
	case *Tuple:
		y, ok := b.(*Tuple)
		if !ok {
			return false, nil
		}
		return st.equalSlices(x.items, y.items, depth)
	case *Dict:
		y, ok := b.(*Dict)
		if !ok {
			return false, nil
		}
		return st.equalDicts(x, y, depth)
	case *Range:
		y, ok := b.(*Range)
		return ok && equalRanges(x, y), nil
	case *dictView:
		y, ok := b.(*dictView)
		if !ok || x.kind == valuesView || y.kind == valuesView {
			return a == b, nil
		}
		return st.equalViews(x, y, depth)
	case *Undefined:
		_, ok := b.(*Undefined)
		return ok, nil
	}
	return a == b, nil
}

func (st *state) equalSlices(a, b []Value, depth int) (bool, error) {
	if len(a) != len(b) {
		return false, nil
	}
	for i := range a {
		if same(a[i], b[i]) { // as Python does; it keeps shared structure cheap
			continue
		}
		if eq, err := st.equalAt(a[i], b[i], depth+1); !eq || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (st *state) equalDicts(a, b *Dict, depth int) (bool, error) {
	if a == b {
		return true, nil
	}
	if len(a.keys) != len(b.keys) {
		return false, nil
	}
	for i, k := range a.keys {
		v, ok, err := st.lookup(b, k)
		if !ok || err != nil {
			return false, err
		}
		if same(a.vals[i], v) {
			continue
		}
		if eq, err := st.equalAt(a.vals[i], v, depth+1); !eq || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (st *state) equalViews(a, b *dictView, depth int) (bool, error) {
	if a.kind != b.kind || len(a.dict.keys) != len(b.dict.keys) {
		return false, nil
	}
	if a.kind == itemsView {
		return st.equalDicts(a.dict, b.dict, depth)
	}
	for _, k := range a.dict.keys {
		if _, ok, err := st.lookup(b.dict, k); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func equalRanges(a, b *Range) bool {
	n := a.len()
	if n != b.len() {
		return false
	}
	return n == 0 || a.start == b.start && (n == 1 || a.step == b.step)
}

func isNumber(v Value) bool {
	switch v.(type) {
	case bool, int64, float64, *big.Int:
		return true
	}
	return false
}

// compareNumbers orders two numbers exactly; ordered is false for NaN.
func compareNumbers(a, b Value) (c int, ordered bool) {
	x, xInt := asInt(a)
	y, yInt := asInt(b)
	if xInt && yInt {
		return cmpInt(x, y), true
	}
	f, fFloat := a.(float64)
	g, gFloat := b.(float64)
	if fFloat && math.IsNaN(f) || gFloat && math.IsNaN(g) {
		return 0, false
	}
	if fFloat && gFloat {
		return cmpFloat(f, g), true
	}
	if fFloat && math.IsInf(f, 0) {
		return cmpFloat(f, 0), true
	}
	if gFloat && math.IsInf(g, 0) {
		return cmpFloat(0, g), true
	}
	return exact(a).Cmp(exact(b)), true
}

func exact(v Value) *big.Rat {
	switch v := v.(type) {
	case float64:
		return new(big.Rat).SetFloat64(v)
	case *big.Int:
		return new(big.Rat).SetInt(v)
	}
	n, _ := asInt(v)
	return new(big.Rat).SetInt64(n)
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// order compares for <, <=, > and >=; op is named in errors. ordered is
// false where every comparison is false (NaN).
func (st *state) order(a, b Value, op string) (c int, ordered bool, err error) {
	return st.orderAt(a, b, op, 0)
}

func (st *state) orderAt(a, b Value, op string, depth int) (int, bool, error) {
	if err := descend(depth); err != nil {
		return 0, false, err
	}
	if err := st.tick(1); err != nil {
		return 0, false, err
	}
	for _, v := range []Value{a, b} {
		if u, ok := v.(*Undefined); ok {
			return 0, false, u.fail(st)
		}
	}
	if isNumber(a) && isNumber(b) {
		c, ordered := compareNumbers(a, b)
		return c, ordered, nil
	}
	if s, ok := asString(a); ok {
		if o, ok := asString(b); ok {
			return strings.Compare(s, o), true, st.scan(min(len(s), len(o)))
		}
	}
	if x, ok := a.(*List); ok {
		if y, ok := b.(*List); ok {
			return st.orderSlices(x.items, y.items, op, depth)
		}
	}
	if x, ok := a.(*Tuple); ok {
		if y, ok := b.(*Tuple); ok {
			return st.orderSlices(x.items, y.items, op, depth)
		}
	}
	return 0, false, typeError("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
}

func (st *state) orderSlices(a, b []Value, op string, depth int) (int, bool, error) {
	for i := range min(len(a), len(b)) {
		if same(a[i], b[i]) {
			continue
		}
		eq, err := st.equalAt(a[i], b[i], depth+1)
		if err != nil {
			return 0, false, err
		}
		if !eq {
			return st.orderAt(a[i], b[i], op, depth+1)
		}
	}
	return cmpInt(int64(len(a)), int64(len(b))), true, nil
}

// contains is Python's item in v.
func (st *state) contains(v, item Value) (bool, error) {
	if s, ok := asString(v); ok {
		sub, ok := asString(item)
		if !ok {
			return false, typeError("'in <string>' requires string as left operand, not %s", typeName(item))
		}
		return strings.Contains(s, sub), st.scan(len(s))
	}
	switch v := v.(type) {
	case *Dict:
		_, ok, err := st.lookup(v, item)
		return ok, err
	case *dictView:
		if v.kind == keysView {
			_, ok, err := st.lookup(v.dict, item)
			return ok, err
		}
	case *Range:
		if n, ok := asInt(item); ok {
			i := (n - v.start) / v.step
			return i >= 0 && i < int64(v.len()) && v.at(int(i)) == Value(n), nil
		}
	}
	it, err := st.iterate(v)
	if err != nil {
		if isFault(err, "TypeError") {
			return false, typeError("argument of type '%s' is not iterable", typeName(v))
		}
		return false, err
	}
	for {
		x, ok, err := it.next(st)
		if !ok || err != nil {
			return false, err
		}
		if same(x, item) {
			return true, nil
		}
		if eq, err := st.equal(x, item); eq || err != nil {
			return eq, err
		}
	}
}

// sorted returns vs in ascending (or, if reversed, descending) order of
// key(v), stably.
func (st *state) sorted(vs []Value, reversed bool, key func(Value) (Value, error)) ([]Value, error) {
	type pair struct{ key, val Value }
	if err := st.alloc(product(len(vs), 3*bytesPerValue)); err != nil {
		return nil, err
	}
	pairs := make([]pair, len(vs))
	for i, v := range vs {
		k, err := key(v)
		if err != nil {
			return nil, err
		}
		pairs[i] = pair{k, v}
	}
	var fault error
	slices.SortStableFunc(pairs, func(a, b pair) int {
		if fault != nil {
			return 0
		}
		c, _, err := st.order(a.key, b.key, "<")
		if err != nil {
			fault = err
		}
		if reversed {
			c = -c
		}
		return c
	})
	if fault != nil {
		return nil, fault
	}
	out := make([]Value, len(pairs))
	for i, p := range pairs {
		out[i] = p.val
	}
	return out, nil
}
