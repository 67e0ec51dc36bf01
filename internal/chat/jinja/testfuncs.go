package jinja

import (
	"math/big"
	"unicode"
)

// testFunc is a test: what stands right of "is".
type testFunc func(st *state, v Value, a *args) (bool, error)

var tests = map[string]testFunc{
	"boolean":   kindTest(func(v Value) bool { _, ok := v.(bool); return ok }),
	"callable":  kindTest(isCallable),
	"defined":   kindTest(func(v Value) bool { _, ok := v.(*Undefined); return !ok }),
	"undefined": kindTest(func(v Value) bool { _, ok := v.(*Undefined); return ok }),
	"escaped":   kindTest(isMarkup),
	"false":     kindTest(func(v Value) bool { return v == false }),
	"true":      kindTest(func(v Value) bool { return v == true }),
	"float":     kindTest(func(v Value) bool { _, ok := v.(float64); return ok }),
	"integer":   kindTest(isInteger),
	"iterable":  kindTest(isIterable),
	"mapping":   kindTest(func(v Value) bool { _, ok := v.(*Dict); return ok }),
	"none":      kindTest(func(v Value) bool { return v == None }),
	"number":    kindTest(isNumber),
	"sequence":  kindTest(isSequenceTest),
	"string":    kindTest(func(v Value) bool { _, ok := asString(v); return ok }),

	"even":        parity(0),
	"odd":         parity(1),
	"divisibleby": divisibleBy,
	"lower":       caseTest(func(s string) bool { return hasCase(s, unicode.IsLower, unicode.IsUpper) }),
	"upper":       caseTest(func(s string) bool { return hasCase(s, unicode.IsUpper, unicode.IsLower) }),
	"filter":      named(func(st *state, name string) bool { return st.filters[name] != nil }),
	"test":        named(func(st *state, name string) bool { return st.tests[name] != nil }),
	"sameas":      binary(func(_ *state, v, other Value) (bool, error) { return same(v, other), nil }),
	"in":          binary(func(st *state, v, seq Value) (bool, error) { return st.contains(seq, v) }),

	"==": comparing("=="), "eq": comparing("=="), "equalto": comparing("=="),
	"!=": comparing("!="), "ne": comparing("!="),
	"<": comparing("<"), "lt": comparing("<"), "lessthan": comparing("<"),
	"<=": comparing("<="), "le": comparing("<="),
	">": comparing(">"), "gt": comparing(">"), "greaterthan": comparing(">"),
	">=": comparing(">="), "ge": comparing(">="),
}

func kindTest(is func(Value) bool) testFunc {
	return func(_ *state, v Value, a *args) (bool, error) {
		if _, err := a.bind("test", 0); err != nil {
			return false, err
		}
		return is(v), nil
	}
}

func binary(f func(st *state, v, other Value) (bool, error)) testFunc {
	return func(st *state, v Value, a *args) (bool, error) {
		vs, err := a.bind("test", 1, "other")
		if err != nil {
			return false, err
		}
		return f(st, v, vs[0])
	}
}

func comparing(op string) testFunc {
	return binary(func(st *state, v, other Value) (bool, error) { return st.compare(op, v, other) })
}

func isCallable(v Value) bool {
	switch v.(type) {
	case *macro, *method, *Func, *loopContext, *joiner, *Undefined: // Undefined has a __call__, which fails
		return true
	}
	return false
}

func isInteger(v Value) bool {
	switch v.(type) {
	case int64, *big.Int:
		return true
	}
	return false
}

func isIterable(v Value) bool {
	switch v.(type) {
	case string, *text, *List, *Tuple, *Dict, *dictView, *Range, *lazy, *loopContext, *Undefined:
		return true
	}
	return false
}

// isSequenceTest: whatever has a length and elements; Undefined claims both.
func isSequenceTest(v Value) bool {
	switch v.(type) {
	case string, *text, *List, *Tuple, *Dict, *Range, *Undefined:
		return true
	}
	return false
}

func parity(want int64) testFunc {
	return func(st *state, v Value, a *args) (bool, error) {
		if _, err := a.bind("test", 0); err != nil {
			return false, err
		}
		rest, err := st.arithmetic("%", v, int64(2))
		if err != nil {
			return false, err
		}
		return st.equal(rest, want)
	}
}

func divisibleBy(st *state, v Value, a *args) (bool, error) {
	vs, err := a.bind("test_divisibleby", 1, "num")
	if err != nil {
		return false, err
	}
	rest, err := st.arithmetic("%", v, vs[0])
	if err != nil {
		return false, err
	}
	return st.equal(rest, int64(0))
}

func caseTest(is func(string) bool) testFunc {
	return func(st *state, v Value, a *args) (bool, error) {
		if _, err := a.bind("test", 0); err != nil {
			return false, err
		}
		s, err := st.str(v)
		if err != nil {
			return false, err
		}
		return is(s), st.scan(len(s))
	}
}

func named(has func(st *state, name string) bool) testFunc {
	return func(st *state, v Value, a *args) (bool, error) {
		if _, err := a.bind("test", 0); err != nil {
			return false, err
		}
		name, ok := asString(v)
		return ok && has(st, name), nil
	}
}
