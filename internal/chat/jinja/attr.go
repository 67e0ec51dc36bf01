package jinja

import (
	"strings"
	"unicode/utf8"
)

// methodFunc is a method of a built-in type.
type methodFunc func(st *state, self Value, a *args) (Value, error)

// method is a method bound to its object.
type method struct {
	self Value
	name string
	fn   methodFunc
}

// methodTable holds the methods of the built-in types. A rendering carries it,
// for methods that look up methods (str.format).
type methodTable struct{ str, dict, list, tuple map[string]methodFunc }

var methods = methodTable{strMethods, dictMethods, listMethods, tupleMethods}

// of finds a method that templates may call, nil if there is none.
func (m *methodTable) of(v Value, name string) methodFunc {
	switch v.(type) {
	case string, *text:
		return m.str[name]
	case *Dict:
		return m.dict[name]
	case *List:
		return m.list[name]
	case *Tuple, *Range:
		return m.tuple[name]
	}
	return nil
}

// changing are the methods the immutable sandbox withholds.
func changing(v Value, name string) bool {
	switch v.(type) {
	case *Dict:
		switch name {
		case "clear", "pop", "popitem", "setdefault", "update":
			return true
		}
	case *List:
		switch name {
		case "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort":
			return true
		}
	}
	return false
}

// private are the names every Python object has; the sandbox withholds them.
var private = map[string]bool{
	"__class__": true, "__delattr__": true, "__dir__": true, "__doc__": true, "__eq__": true,
	"__format__": true, "__ge__": true, "__getattribute__": true, "__getstate__": true, "__gt__": true,
	"__hash__": true, "__init__": true, "__init_subclass__": true, "__le__": true, "__lt__": true,
	"__ne__": true, "__new__": true, "__reduce__": true, "__reduce_ex__": true, "__repr__": true,
	"__setattr__": true, "__sizeof__": true, "__str__": true, "__subclasshook__": true,
}

// container are the private names of strings, lists, tuples and dictionaries.
var container = map[string]bool{
	"__contains__": true, "__getitem__": true, "__iter__": true, "__len__": true,
	"__add__": true, "__mul__": true, "__rmul__": true,
}

func hasPrivate(v Value, name string) bool {
	if !strings.HasPrefix(name, "__") {
		return false
	}
	if private[name] {
		return true
	}
	switch v.(type) {
	case string, *text, *List, *Tuple:
		return container[name]
	case *Dict:
		return container[name] && name != "__add__" && !strings.HasSuffix(name, "mul__")
	case *Func, *macro:
		return name == "__call__" || name == "__globals__" || name == "__code__" || name == "__dict__" || name == "__module__"
	}
	return false
}

// attribute is Python's getattr(v, name), nil if there is none.
func (st *state) attribute(v Value, name string) (Value, error) {
	if u, ok := v.(*Undefined); ok && !(strings.HasPrefix(name, "__") && strings.HasSuffix(name, "__")) {
		return nil, u.fail(st)
	}
	if m := st.methods.of(v, name); m != nil {
		return &method{v, name, m}, nil
	}
	if changing(v, name) || hasPrivate(v, name) {
		return unsafeAttr(v, name), nil
	}
	switch v := v.(type) {
	case *Namespace:
		if x, ok := v.attrs.Get(name); ok {
			if strings.HasPrefix(name, "_") {
				return unsafeAttr(v, name), nil
			}
			return x, nil
		}
	case *loopContext:
		return v.attr(st, name)
	case *macro:
		return v.attr(name), nil
	case *cycler:
		return v.attr(name), nil
	case *Range:
		switch name {
		case "start":
			return v.start, nil
		case "stop":
			return v.stop, nil
		case "step":
			return v.step, nil
		}
	case *Tuple:
		if i := indexOf(v.names, name); i >= 0 {
			return v.items[i], nil
		}
	case int64, bool, float64:
		return numberAttr(v, name), nil
	}
	return nil, nil
}

func numberAttr(v Value, name string) Value {
	n, isInt := asInt(v)
	switch name {
	case "real":
		if isInt {
			return n
		}
		return v
	case "imag":
		if isInt {
			return int64(0)
		}
		return 0.0
	case "numerator":
		if isInt {
			return n
		}
	case "denominator":
		if isInt {
			return int64(1)
		}
	case "is_integer":
		if f, ok := v.(float64); ok {
			return &Func{name: name, kind: "builtin_function_or_method", call: func(*state, *args) (Value, error) {
				return f == float64(int64(f)), nil
			}}
		}
	}
	return nil
}

// subscript is Python's v[key]; ok is false where that is a TypeError or
// LookupError.
func (st *state) subscript(v, key Value) (out Value, ok bool, err error) {
	switch v := v.(type) {
	case *Dict:
		out, ok, err := st.lookup(v, key)
		if isFault(err, "TypeError") {
			err = nil
		}
		return out, ok, err
	case *Undefined:
		return nil, false, v.fail(st)
	}
	i, isInt := asInt(key)
	if !isInt {
		return nil, false, nil
	}
	switch v := v.(type) {
	case *List:
		out, ok = elementAt(v.items, i)
	case *Tuple:
		out, ok = elementAt(v.items, i)
	case *Range:
		if i, ok = wrapIndex(i, v.len()); ok {
			out = v.at(int(i))
		}
	case string:
		return st.runeAt(v, i)
	case *text:
		return st.runeAt(v.s, i)
	}
	return out, ok, nil
}

func wrapIndex(i int64, n int) (int64, bool) {
	if i < 0 {
		i += int64(n)
	}
	return i, i >= 0 && i < int64(n)
}

func elementAt(vs []Value, i int64) (Value, bool) {
	i, ok := wrapIndex(i, len(vs))
	if !ok {
		return nil, false
	}
	return vs[i], true
}

// runeAt returns the i-th code point of s.
func (st *state) runeAt(s string, i int64) (Value, bool, error) {
	n, err := st.runes(s)
	if err != nil {
		return nil, false, err
	}
	i, ok := wrapIndex(i, n)
	if !ok {
		return nil, false, nil
	}
	if n == len(s) {
		return s[i : i+1], true, nil
	}
	at := byteOffset(s, int(i))
	_, size := utf8.DecodeRuneInString(s[at:])
	return s[at : at+size], true, nil
}

// byteOffset returns where the n-th code point of s begins.
func byteOffset(s string, n int) int {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return at
}

// getAttr is what v.name means: the attribute, else the item.
func (st *state) getAttr(v Value, name string) (Value, error) {
	if d, ok := v.(*Dict); ok { // messages: the usual case
		if st.methods.dict[name] == nil && !changing(v, name) {
			if x, ok := d.Get(name); ok && !hasPrivate(v, name) {
				return x, nil
			}
		}
	}
	x, err := st.attribute(v, name)
	if x != nil || err != nil {
		return x, err
	}
	x, ok, err := st.subscript(v, name)
	if ok || err != nil {
		return x, err
	}
	return undefinedAttr(v, name), nil
}

// getItem is what v[key] means: the item, else the attribute.
func (st *state) getItem(v, key Value) (Value, error) {
	x, ok, err := st.subscript(v, key)
	if ok || err != nil {
		return x, err
	}
	if name, isName := asString(key); isName {
		x, err := st.attribute(v, name)
		if x != nil || err != nil {
			return x, err
		}
	}
	return undefinedAttr(v, key), nil
}

// slice is Python's v[start:stop:step].
func (st *state) slice(v Value, bounds [3]Value) (Value, error) {
	if u, ok := v.(*Undefined); ok {
		return nil, u.fail(st)
	}
	n := 0
	switch v.(type) {
	case string, *text, *List, *Tuple, *Range:
		var err error
		if n, err = st.length(v); err != nil {
			return nil, err
		}
	case *Dict:
		return nil, typeError("unhashable type: 'slice'")
	default:
		return nil, typeError("'%s' object is not subscriptable", typeName(v))
	}
	start, step, count, err := sliceRange(bounds, n)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case *List:
		items, err := st.pick(v.items, start, step, count)
		return &List{items}, err
	case *Tuple:
		items, err := st.pick(v.items, start, step, count)
		return &Tuple{items: items}, err
	case *Range:
		return &Range{v.start + int64(start)*v.step, v.start + int64(start+count*step)*v.step, v.step * int64(step)}, nil
	}
	s, _ := asString(v)
	out, err := st.pickRunes(s, n, start, step, count)
	if err != nil {
		return nil, err
	}
	if isMarkup(v) {
		return &text{s: out, safe: true}, nil
	}
	return out, nil
}

// sliceRange turns a slice's bounds into a first place, a step and a count
// in a sequence of n.
func sliceRange(bounds [3]Value, n int) (start, step, count int, err error) {
	at := func(v Value, absent, low, high int) (int, error) {
		if v == None {
			return absent, nil
		}
		i, ok := asInt(v)
		if !ok {
			return 0, typeError("slice indices must be integers or None or have an __index__ method")
		}
		if i < 0 {
			i += int64(n)
		}
		return int(min(max(i, int64(low)), int64(high))), nil
	}
	step = 1
	if bounds[2] != None {
		i, ok := asInt(bounds[2])
		if !ok {
			return 0, 0, 0, typeError("slice indices must be integers or None or have an __index__ method")
		}
		if i == 0 {
			return 0, 0, 0, valueError("slice step cannot be zero")
		}
		step = int(min(max(i, -int64(n)-1), int64(n)+1))
	}
	low, high, first, last := 0, n, 0, n
	if step < 0 {
		low, high, first, last = -1, n-1, n-1, -1
	}
	if start, err = at(bounds[0], first, low, high); err != nil {
		return 0, 0, 0, err
	}
	stop, err := at(bounds[1], last, low, high)
	if err != nil {
		return 0, 0, 0, err
	}
	if step > 0 && stop > start {
		count = (stop-start-1)/step + 1
	}
	if step < 0 && stop < start {
		count = (start-stop-1)/-step + 1
	}
	return start, step, count, nil
}

// pick takes elements; a plain run shares the original's array, since nothing
// can change it: templates that look at messages[i:] in a loop stay linear.
func (st *state) pick(vs []Value, start, step, count int) ([]Value, error) {
	if count <= 0 {
		return nil, nil
	}
	if step == 1 {
		return vs[start : start+count : start+count], nil
	}
	if err := st.alloc(product(count, bytesPerValue)); err != nil {
		return nil, err
	}
	out := make([]Value, count)
	for i := range out {
		out[i] = vs[start+i*step]
	}
	return out, nil
}

// pickRunes takes code points of a string that has n of them.
func (st *state) pickRunes(s string, n, start, step, count int) (string, error) {
	if count <= 0 {
		return "", nil
	}
	if step == 1 {
		if n == len(s) {
			return s[start : start+count], nil
		}
		s = s[byteOffset(s, start):]
		return s[:byteOffset(s, count)], nil
	}
	if err := st.alloc(4*len(s) + 4*count); err != nil {
		return "", err
	}
	runes := []rune(s)
	out := make([]rune, count)
	for i := range out {
		out[i] = runes[start+i*step]
	}
	return string(out), nil
}
