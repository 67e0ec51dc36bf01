package grammar

import (
	"math/big"
	"slices"
)

// types is a set of JSON's types.
type types uint8

const (
	typeNull types = 1 << iota
	typeBool
	typeNumber
	typeString
	typeArray
	typeObject
	allTypes = typeNull | typeBool | typeNumber | typeString | typeArray | typeObject
)

func typeOf(v *value) types {
	switch v.kind {
	case 'n':
		return typeNull
	case 't', 'f':
		return typeBool
	case '0':
		return typeNumber
	case '"':
		return typeString
	case '[':
		return typeArray
	}
	return typeObject
}

// shape is a conjunction of constraints: a schema is a list of shapes, of which
// any will do. Shapes are immutable. What is said twice stands there once: by way of
// $ref a schema may say the same thing a billion times.
type shape struct {
	types types
	enum  []*value // nil: any value; else one of these
	bars  []*value // none of these
	num   bounds

	minLength, maxLength int
	patterns             []pattern

	minItems, maxItems int
	items              []*itemLayer
	contains           []*schema

	minProps, maxProps int
	props              []*propLayer
	required, barred   []string
	names              []*schema
}

// pattern is a constraint on a string's characters.
type pattern struct {
	src    string // a regular expression or, as format, the format's name
	format bool
	not    bool
}

// itemLayer is what one schema says of items.
type itemLayer struct {
	prefix []*schema
	rest   *schema // nil: anything
}

// propLayer is what one schema says of properties: a name that is listed, or
// matches patterns, is of those schemas; another of rest.
type propLayer struct {
	names    []string
	values   []*schema
	patterns []string
	matching []*schema
	rest     *schema // nil: anything

	index map[string]int // of names, once it was asked for
}

// find gives the place of a listed name.
func (l *propLayer) find(name string) (int, bool) {
	if l.index == nil {
		l.index = make(map[string]int, len(l.names))
		for i, n := range l.names {
			l.index[n] = i
		}
	}
	i, ok := l.index[name]
	return i, ok
}

func anyShape() shape {
	return shape{types: allTypes, maxLength: endless, maxItems: endless, maxProps: endless}
}

// merged is what is of both shapes.
func (a *shape) merged(b *shape) shape {
	s := *a
	s.types &= b.types
	s.num = a.num.merged(&b.num)
	s.minLength, s.maxLength = max(a.minLength, b.minLength), min(a.maxLength, b.maxLength)
	s.minItems, s.maxItems = max(a.minItems, b.minItems), min(a.maxItems, b.maxItems)
	s.minProps, s.maxProps = max(a.minProps, b.minProps), min(a.maxProps, b.maxProps)
	s.bars = union(a.bars, b.bars)
	s.items, s.props = union(a.items, b.items), union(a.props, b.props)
	s.contains, s.names = union(a.contains, b.contains), union(a.names, b.names)
	s.patterns = union(a.patterns, b.patterns)
	s.required, s.barred = union(a.required, b.required), union(a.barred, b.barred)
	switch {
	case a.enum == nil:
		s.enum = b.enum
	case b.enum != nil:
		s.enum = []*value{}
		listed := among(b.enum)
		for _, v := range a.enum {
			if listed(v) {
				s.enum = append(s.enum, v)
			}
		}
	}
	s.tidy()
	return s
}

// tidy drops types that constraints rule out.
func (s *shape) tidy() {
	drop := func(t types, when bool) {
		if when {
			s.types &^= t
		}
	}
	drop(typeString, s.minLength > s.maxLength)
	drop(typeArray, s.minItems > s.maxItems)
	drop(typeObject, s.minProps > s.maxProps || len(s.required) > s.maxProps)
	drop(typeObject, slices.ContainsFunc(s.required, func(r string) bool { return slices.Contains(s.barred, r) }))
	drop(typeNumber, s.num.impossible())
	if s.enum != nil {
		var have types
		kept, barred := []*value{}, among(s.bars)
		for _, v := range s.enum {
			if t := typeOf(v); t&s.types != 0 && !barred(v) && s.admitsScalar(v) {
				kept = append(kept, v)
				have |= t
			}
		}
		s.enum = kept
		s.types &= have
	}
	if s.barsBoth() {
		s.types &^= typeBool
	}
	if slices.ContainsFunc(s.bars, func(v *value) bool { return v.kind == 'n' }) {
		s.types &^= typeNull
	}
}

// barsBoth tells whether true and false are both barred.
func (s *shape) barsBoth() bool {
	has := func(k byte) bool { return slices.ContainsFunc(s.bars, func(v *value) bool { return v.kind == k }) }
	return has('t') && has('f')
}

// admitsScalar checks a listed value against the bounds that need no automaton.
func (s *shape) admitsScalar(v *value) bool {
	switch v.kind {
	case '0':
		r := v.rat()
		return r != nil && s.num.admits(r)
	case '"':
		n := len([]rune(v.text))
		return s.minLength <= n && n <= s.maxLength
	case '[':
		return s.minItems <= len(v.list) && len(v.list) <= s.maxItems
	case '{':
		for _, r := range s.required {
			if v.get(r) == nil {
				return false
			}
		}
		for _, r := range s.barred {
			if v.get(r) != nil {
				return false
			}
		}
		return s.minProps <= len(v.list) && len(v.list) <= s.maxProps
	}
	return true
}

func (b *bounds) admits(r *big.Rat) bool {
	if b.integer && !r.IsInt() || b.fractional && r.IsInt() {
		return false
	}
	if b.lo != nil {
		if c := r.Cmp(b.lo); c < 0 || c == 0 && b.loOut {
			return false
		}
	}
	if b.hi != nil {
		if c := r.Cmp(b.hi); c > 0 || c == 0 && b.hiOut {
			return false
		}
	}
	for _, m := range b.multiples {
		if m.Sign() <= 0 || !new(big.Rat).Quo(r, m).IsInt() {
			return false
		}
	}
	return true
}

func (b *bounds) merged(c *bounds) bounds {
	out := *b
	out.integer, out.fractional = b.integer || c.integer, b.fractional || c.fractional
	out.multiples = union(b.multiples, c.multiples)
	if c.lo != nil {
		if out.lo == nil || c.lo.Cmp(out.lo) > 0 {
			out.lo, out.loOut = c.lo, c.loOut
		} else if c.lo.Cmp(out.lo) == 0 {
			out.loOut = out.loOut || c.loOut
		}
	}
	if c.hi != nil {
		if out.hi == nil || c.hi.Cmp(out.hi) < 0 {
			out.hi, out.hiOut = c.hi, c.hiOut
		} else if c.hi.Cmp(out.hi) == 0 {
			out.hiOut = out.hiOut || c.hiOut
		}
	}
	return out
}

func (b *bounds) impossible() bool {
	if b.integer && b.fractional {
		return true
	}
	if b.lo == nil || b.hi == nil {
		return false
	}
	c := b.lo.Cmp(b.hi)
	return c > 0 || c == 0 && (b.loOut || b.hiOut)
}

// size is about how much there is to a shape, for what merging it takes.
func (s *shape) size() int {
	return len(s.enum) + len(s.bars) + len(s.patterns) + len(s.items) + len(s.contains) + len(s.props) + len(s.required) + len(s.barred) + len(s.names) +
		len(s.num.multiples)
}

// union is a and what of b is not in it.
func union[T comparable](a, b []T) []T {
	out := slices.Clone(a)
	if len(a)+len(b) < 64 {
		for _, x := range b {
			if !slices.Contains(out, x) {
				out = append(out, x)
			}
		}
		return out
	}
	have := make(map[T]bool, len(a)+len(b))
	for _, x := range a {
		have[x] = true
	}
	for _, x := range b {
		if !have[x] {
			have[x] = true
			out = append(out, x)
		}
	}
	return out
}
