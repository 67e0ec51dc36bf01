package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"weir/internal/llm"
)

// value is a JSON value with its place in the request, for messages.
type value struct {
	raw  []byte
	path string
}

func (v value) is(first byte) bool { return len(v.raw) > 0 && v.raw[0] == first }
func (v value) null() bool         { return v.is('n') }

// fault makes an error about v.
func (v value) fault(code, format string, args ...any) error {
	e := llm.Invalidf(v.path, "%s: %s", v.path, fmt.Sprintf(format, args...))
	e.Code = code
	return e
}

func (v value) wrongType(want string) error {
	return v.fault("invalid_type", "expected %s, got %s", want, kind(v.raw))
}

func (v value) invalid(format string, args ...any) error {
	return v.fault("invalid_value", format, args...)
}

// unsupported says that v is known, but that weir does not do it.
func (v value) unsupported(format string, args ...any) error {
	return v.fault("unsupported_parameter", "not supported: "+format, args...)
}

func (v value) element(i int, raw []byte) value {
	return value{raw, v.path + "[" + strconv.Itoa(i) + "]"}
}

func (v value) field(key string, raw []byte) value {
	if len(key) > 64 { // it will be part of a message
		key = strings.ToValidUTF8(key[:64], "") + "..."
	}
	if v.path != "" {
		key = v.path + "." + key
	}
	return value{raw, key}
}

func (v value) boolean() (bool, error) {
	switch string(v.raw) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, v.wrongType("a boolean")
}

func (v value) text() (string, error) {
	if !v.is('"') {
		return "", v.wrongType("a string")
	}
	return unquote(v.raw), nil
}

// whole reads an integer of [lo, hi]. 3.0 and 1e2 are integers too: some
// languages write every number so.
func (v value) whole(lo, hi int64) (int64, error) {
	if kind(v.raw) != "a number" {
		return 0, v.wrongType("an integer")
	}
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(string(v.raw), 64)
		if err == nil && f != math.Trunc(f) {
			return 0, v.fault("invalid_type", "expected an integer, got %.40s", v.raw)
		}
		// Beyond 2^53 a float no longer says which integer was meant.
		if err != nil || math.Abs(f) > 1<<53 {
			return 0, v.invalid("%.40s is outside [%d, %d]", v.raw, lo, hi)
		}
		n = int64(f)
	}
	if n < lo || n > hi {
		return 0, v.invalid("%d is outside [%d, %d]", n, lo, hi)
	}
	return n, nil
}

// interval is what a number may be.
type interval struct {
	lo, hi float64
	openLo bool // lo itself is not allowed
}

func (r interval) String() string {
	open := "["
	if r.openLo {
		open = "("
	}
	return fmt.Sprintf("%s%g, %g]", open, r.lo, r.hi)
}

func (v value) number(in interval) (float64, error) {
	if kind(v.raw) != "a number" {
		return 0, v.wrongType("a number")
	}
	f, err := strconv.ParseFloat(string(v.raw), 64)
	if err != nil || f < in.lo || f > in.hi || (in.openLo && f == in.lo) {
		return 0, v.invalid("%.40s is outside %v", v.raw, in)
	}
	return f, nil
}

// ids reads an array of token ids.
func (v value) ids() ([]int32, error) {
	if !v.is('[') {
		return nil, v.wrongType("an array of token ids")
	}
	ids := make([]int32, 0, 1+bytes.Count(v.raw, []byte{','}))
	err := eachElement(v.raw, func(i int, raw []byte) error {
		// The fast path makes no element's path: prompts hold many ids.
		if n, err := strconv.ParseInt(string(raw), 10, 32); err == nil && n >= 0 {
			ids = append(ids, int32(n))
			return nil
		}
		n, err := v.element(i, raw).whole(0, math.MaxInt32)
		ids = append(ids, int32(n))
		return err
	})
	return ids, err
}

// texts reads a string, or an array of at most limit strings.
func (v value) texts(limit int) ([]string, error) {
	if v.is('"') {
		return []string{unquote(v.raw)}, nil
	}
	if !v.is('[') {
		return nil, v.wrongType("a string or an array of strings")
	}
	var list []string
	err := eachElement(v.raw, func(i int, raw []byte) error {
		if i >= limit {
			return v.invalid("more than %d strings", limit)
		}
		s, err := v.element(i, raw).text()
		list = append(list, s)
		return err
	})
	return list, err
}

// list checks that v is a non-empty array of objects and keeps it as it is.
// fill says what to do about an empty one.
func (v value) list(fill string) (json.RawMessage, error) {
	if !v.is('[') {
		return nil, v.wrongType("an array of objects")
	}
	n := 0
	err := eachElement(v.raw, func(i int, raw []byte) error {
		n++
		if e := v.element(i, raw); !e.is('{') {
			return e.wrongType("an object")
		}
		return nil
	})
	if err == nil && n == 0 {
		err = v.fault("empty_array", "the array is empty: %s", fill)
	}
	return json.RawMessage(v.raw), err
}

// fields calls f with the fields of the object v. A name that comes twice is an
// error: parsers disagree on which one counts.
func (v value) fields(f func(key string, e value) error) error {
	if !v.is('{') {
		return v.wrongType("an object")
	}
	seen := make(map[string]struct{})
	return eachField(v.raw, func(key string, raw []byte) error {
		e := v.field(key, raw)
		if _, twice := seen[key]; twice {
			return e.fault("duplicate_field", "given twice: keep one")
		}
		seen[key] = struct{}{}
		return f(key, e)
	})
}

// nearest returns the name of names most like s, or "" if none is close.
func nearest(s string, names []string) string {
	best, cost := "", 1+len(s)/3
	for _, n := range names {
		if d := distance(strings.ToLower(s), n, cost); d < cost {
			best, cost = n, d
		}
	}
	return best
}

// distance counts the edits from a to b; what is over limit may be given as limit.
func distance(a, b string, limit int) int {
	if len(a) > len(b)+limit || len(b) > len(a)+limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
