package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/internal/llm"
)

// Support says what becomes of a field of a request.
type Support string

// The ways a field is treated.
const (
	Supported Support = "supported"
	Accepted  Support = "accepted" // it never changes the output, so nothing need be done
	Limited   Support = "limited"  // refused but for values that ask for nothing special
	Rejected  Support = "rejected" // 400, code unsupported_parameter
)

// Field describes a field of a request, for the documentation.
type Field struct {
	Name    string
	Support Support
	Note    string
}

// entry is a field with what reads it into a request of type T. A null never
// reaches read: it is as if the field were absent.
type entry[T any] struct {
	Field
	read func(*T, value) error
}

// table is the fields of a request, in the order in which docs/api.md has them.
type table[T any] struct {
	entries []entry[T]
	byName  map[string]*entry[T]
	names   []string
}

func newTable[T any](entries ...[]entry[T]) table[T] {
	t := table[T]{byName: make(map[string]*entry[T])}
	for _, list := range entries {
		t.entries = append(t.entries, list...)
	}
	for i := range t.entries {
		e := &t.entries[i]
		t.byName[e.Name] = e
		t.names = append(t.names, e.Name)
	}
	return t
}

// Fields lists the table for the documentation.
func (t table[T]) fields() []Field {
	list := make([]Field, len(t.entries))
	for i, e := range t.entries {
		list[i] = e.Field
	}
	return list
}

// decode reads body, a JSON object, into r.
func decode[T any](body []byte, t table[T], r *T) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	body = body[skipSpace(body, 0):]
	if body[0] != '{' {
		return bodyError("the body is %s: send a JSON object", kind(body))
	}
	return value{raw: body}.fields(func(key string, v value) error {
		e, ok := t.byName[key]
		switch {
		case !ok:
			return unknown(v, key, t.names)
		case v.null():
			return nil
		}
		return e.read(r, v)
	})
}

// unknown refuses a field that no table has. The first sentence is OpenAI's own,
// which programs look for.
func unknown(v value, key string, names []string) error {
	hint := "see docs/api.md for those that exist"
	if n := nearest(key, names); n != "" {
		hint = "did you mean " + n + "?"
	}
	e := llm.Invalidf(v.path, "Unrecognized request argument supplied: %s; %s", v.path, hint)
	e.Code = "unknown_parameter"
	return e
}

// lift makes entries of U out of entries of T, which U contains.
func lift[T, U any](entries []entry[T], part func(*U) *T) []entry[U] {
	list := make([]entry[U], len(entries))
	for i, e := range entries {
		list[i] = entry[U]{e.Field, func(u *U, v value) error { return e.read(part(u), v) }}
	}
	return list
}

// The functions below make entries.

func toggle[T any](name, note string, to func(*T) *bool) entry[T] {
	return entry[T]{Field{name, Supported, note}, func(r *T, v value) (err error) {
		*to(r), err = v.boolean()
		return err
	}}
}

func optionalToggle[T any](name, note string, to func(*T) **bool) entry[T] {
	return entry[T]{Field{name, Supported, note}, func(r *T, v value) error {
		b, err := v.boolean()
		*to(r) = &b
		return err
	}}
}

func count[T any](name string, lo, hi int64, note string, to func(*T) **int) entry[T] {
	is := fmt.Sprintf("integer in [%d, %d]. ", lo, hi)
	if hi == maxInt {
		is = fmt.Sprintf("integer, at least %d. ", lo)
	}
	return entry[T]{Field{name, Supported, is + note}, func(r *T, v value) error {
		i, err := v.whole(lo, hi)
		n := int(i)
		*to(r) = &n
		return err
	}}
}

func number[T any](name string, in interval, note string, to func(*T) **float64) entry[T] {
	return entry[T]{Field{name, Supported, "number in " + in.String() + ". " + note}, func(r *T, v value) error {
		f, err := v.number(in)
		*to(r) = &f
		return err
	}}
}

func text[T any](name, note string, to func(*T) *string) entry[T] {
	return entry[T]{Field{name, Supported, note}, func(r *T, v value) (err error) {
		*to(r), err = v.text()
		return err
	}}
}

// custom is a supported field with a reader of its own.
func custom[T any](name, note string, read func(*T, value) error) entry[T] {
	return entry[T]{Field{name, Supported, note}, read}
}

// accepted is a field that never changes the output. want is its type, as kind
// has it, so that mistakes are still found.
func accepted[T any](name, want, note string) entry[T] {
	return entry[T]{Field{name, Accepted, note}, func(_ *T, v value) error {
		if kind(v.raw) != want {
			return v.wrongType(want)
		}
		return nil
	}}
}

// limited is a field that may only have the values given (as compact JSON).
func limited[T any](name, note string, only ...string) entry[T] {
	return entry[T]{Field{name, Limited, "only `" + strings.Join(only, "` or `") + "`: " + note}, func(_ *T, v value) error {
		var compact bytes.Buffer
		if json.Compact(&compact, v.raw) == nil && slices.Contains(only, compact.String()) {
			return nil
		}
		return v.unsupported("%s", note)
	}}
}

// rejected makes an entry for each name, all for the same reason.
func rejected[T any](note string, names ...string) []entry[T] {
	var list []entry[T]
	for _, name := range names {
		list = append(list, entry[T]{Field{name, Rejected, note}, func(_ *T, v value) error {
			return v.unsupported("%s", note)
		}})
	}
	return list
}

// readBias reads logit_bias: token ids, as strings, to numbers.
func readBias(r *Sampling, v value) error {
	r.LogitBias = make(map[int32]float64)
	return v.fields(func(key string, e value) error {
		if len(r.LogitBias) == MaxBias {
			return v.invalid("more than %d entries", MaxBias)
		}
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 {
			return e.invalid("the name is not a token id")
		}
		if _, twice := r.LogitBias[int32(id)]; twice {
			return e.invalid("token %d is given twice", id)
		}
		bias, err := e.number(interval{lo: -100, hi: 100})
		r.LogitBias[int32(id)] = bias
		return err
	})
}

func readStop(r *Sampling, v value) (err error) {
	if r.Stop, err = v.texts(MaxStops); err != nil {
		return err
	}
	for _, s := range r.Stop {
		if s == "" || len(s) > MaxStopBytes {
			return v.invalid("a stop string has %d bytes: 1 to %d are possible", len(s), MaxStopBytes)
		}
	}
	return nil
}

func readStopTokens(r *Sampling, v value) (err error) {
	r.StopTokenIDs, err = v.ids()
	if err == nil && len(r.StopTokenIDs) > MaxBias {
		err = v.invalid("more than %d ids", MaxBias)
	}
	return err
}

func readStreamOptions(r *Sampling, v value) error {
	r.StreamOptions = new(StreamOptions)
	return v.fields(func(key string, e value) (err error) {
		switch {
		case key == "include_usage" && !e.null():
			r.StreamOptions.IncludeUsage, err = e.boolean()
		case key == "continuous_usage_stats" && !e.null():
			r.StreamOptions.ContinuousUsage, err = e.boolean()
		case key == "include_obfuscation": // padding against eavesdroppers who count bytes
			if string(e.raw) != "false" && !e.null() {
				return e.unsupported("weir sends no padding; leave it out")
			}
		case key != "include_usage" && key != "continuous_usage_stats":
			return unknown(e, key, []string{"include_usage", "continuous_usage_stats"})
		}
		return err
	})
}

func readSeed(r *Sampling, v value) error {
	n, err := v.whole(math.MinInt64, math.MaxInt64)
	r.Seed = &n
	return err
}

func readPriority(r *Sampling, v value) error {
	n, err := v.whole(math.MinInt32, math.MaxInt32)
	r.Priority = int(n)
	return err
}

// reserved are the template variables that have fields of their own.
var reserved = map[string]bool{"messages": true, "tools": true, "documents": true,
	"add_generation_prompt": true, "continue_final_message": true}

func readKwargs(c *Conversation, v value) error {
	return v.fields(func(key string, e value) error {
		if reserved[key] {
			return e.invalid("the request has a field %s for it", key)
		}
		if c.Kwargs == nil {
			c.Kwargs = make(map[string]json.RawMessage)
		}
		c.Kwargs[key] = e.raw
		return nil
	})
}
