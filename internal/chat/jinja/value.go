package jinja

import (
	"math/big"
	"strings"
	"unicode/utf8"
)

// Value is what a template computes with. Its Go types, with Python's names:
//
//	None, bool, int64, float64, string    NoneType, bool, int, float, str
//	*big.Int                              int beyond 64 bits, from JSON only
//	*text                                 str that is being built, or Markup
//	*List, *Tuple, *Dict, *Range          list, tuple, dict, range
//	*dictView, *lazy                      views of a dict; generators and iterators
//	*Undefined, *Namespace, *Func, ...    Jinja's own objects
//
// A Go nil is never a value: in a slot it marks a name that has none.
type Value any

type noneType struct{}

// None is Python's None, JSON's null.
var None Value = noneType{}

// text is a string with more to it than its bytes.
type text struct {
	s string
	// buf, if not nil, is where s lies: appending to a string that ends where
	// its buffer ends costs the appended bytes only, so that a template that
	// collects its output in a variable takes linear time. Strings that
	// share a buffer never change: bytes are only added behind them.
	buf *strings.Builder
	// safe marks a Markup, to which other strings are escaped when joined.
	safe bool
}

// List is a Python list. Templates cannot change it.
type List struct{ items []Value }

// NewList returns a list of the items, which it keeps.
func NewList(items ...Value) *List { return &List{items} }

// Items returns the list's items, which must not be changed.
func (l *List) Items() []Value { return l.items }

// Tuple is a Python tuple; names, if not nil, name the fields of a named tuple.
type Tuple struct {
	items []Value
	names []string
}

// Range is Python's range(start, stop, step).
type Range struct{ start, stop, step int64 }

func (r *Range) len() int {
	switch {
	case r.step > 0 && r.start < r.stop:
		return int((uint64(r.stop)-uint64(r.start)-1)/uint64(r.step)) + 1
	case r.step < 0 && r.start > r.stop:
		return int((uint64(r.start)-uint64(r.stop)-1)/uint64(-r.step)) + 1
	}
	return 0
}

func (r *Range) at(i int) Value { return r.start + int64(i)*r.step }

// lazy is a generator or another one-shot iterator.
type lazy struct {
	kind string // Python's name of its type
	next func(*state) (Value, bool, error)
}

// Namespace is Jinja's namespace object, whose attributes can be set.
type Namespace struct{ attrs *Dict }

// Func is a callable that is not written in the template.
type Func struct {
	name string
	kind string // Python's name of its type; "function" if empty
	call func(*state, *args) (Value, error)
}

// asString returns the bytes of a str value.
func asString(v Value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case *text:
		return v.s, true
	}
	return "", false
}

func isMarkup(v Value) bool {
	t, ok := v.(*text)
	return ok && t.safe
}

// asInt returns the value of an int or bool.
func asInt(v Value) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// typeName returns Python's name of a value's type.
func typeName(v Value) string {
	switch v := v.(type) {
	case noneType:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case *text:
		if v.safe {
			return "Markup"
		}
		return "str"
	case *List:
		return "list"
	case *Tuple:
		if v.names != nil {
			return "_GroupTuple"
		}
		return "tuple"
	case *Dict:
		return "dict"
	}
	return objectTypeName(v)
}

func objectTypeName(v Value) string {
	switch v := v.(type) {
	case *Range:
		return "range"
	case *dictView:
		return v.kind.name()
	case *lazy:
		return v.kind
	case *Undefined:
		return "Undefined"
	case *Namespace:
		return "Namespace"
	case *macro:
		return "Macro"
	case *loopContext:
		return "LoopContext"
	case *cycler:
		return "Cycler"
	case *joiner:
		return "Joiner"
	case *method:
		return "builtin_function_or_method"
	case *Func:
		if v.kind != "" {
			return v.kind
		}
		return "function"
	}
	return "object"
}

// truth is Python's bool(v).
func (st *state) truth(v Value) (bool, error) {
	switch v := v.(type) {
	case noneType, *Undefined:
		return false, nil
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case float64:
		return v != 0, nil
	case string:
		return v != "", nil
	case *text:
		return v.s != "", nil
	case *List:
		return len(v.items) > 0, nil
	case *Tuple:
		return len(v.items) > 0, nil
	case *Dict:
		return len(v.keys) > 0, nil
	case *dictView:
		return len(v.dict.keys) > 0, nil
	case *Range:
		return v.len() > 0, nil
	case *loopContext:
		n, err := v.length(st)
		return n > 0, err
	}
	return true, nil
}

// length is Python's len(v).
func (st *state) length(v Value) (int, error) {
	if s, ok := asString(v); ok {
		return st.runes(s)
	}
	switch v := v.(type) {
	case *List:
		return len(v.items), nil
	case *Tuple:
		return len(v.items), nil
	case *Dict:
		return len(v.keys), nil
	case *dictView:
		return len(v.dict.keys), nil
	case *Range:
		return v.len(), nil
	case *Undefined:
		return 0, nil
	case *loopContext:
		return v.length(st)
	}
	return 0, typeError("object of type '%s' has no len()", typeName(v))
}

// runes counts the code points of s.
func (st *state) runes(s string) (int, error) {
	if err := st.walk(len(s)); err != nil {
		return 0, err
	}
	return utf8.RuneCountInString(s), nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// same is Python's a is b: constants are compared by value, as CPython keeps
// one object of each it meets in a template, others by address.
func same(a, b Value) bool { return a == b }

// concat is the sum of two strings.
func (st *state) concat(a Value, b string) (Value, error) {
	const buffered = 512 // below this, copying costs less than a buffer
	s, _ := asString(a)
	if b == "" {
		return a, nil
	}
	if t, ok := a.(*text); ok && t.buf != nil && t.buf.Len() == len(s) {
		if err := st.alloc(2 * len(b)); err != nil { // twice: the buffer grows in leaps
			return nil, err
		}
		t.buf.WriteString(b)
		return &text{s: t.buf.String(), buf: t.buf}, nil
	}
	if len(s) < buffered {
		if err := st.alloc(len(s) + len(b)); err != nil {
			return nil, err
		}
		return s + b, nil
	}
	if err := st.alloc(2 * (len(s) + len(b))); err != nil {
		return nil, err
	}
	buf := new(strings.Builder)
	buf.Grow(len(s) + 2*len(b))
	buf.WriteString(s)
	buf.WriteString(b)
	return &text{s: buf.String(), buf: buf}, nil
}
