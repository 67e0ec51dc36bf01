package grammar

import (
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
)

// UnsupportedError names what a schema or grammar asks for that is not supported,
// or not understood.
type UnsupportedError struct {
	Keyword string // "uniqueItems"; empty where it is the whole
	Path    string // JSON pointer to it
	Reason  string
	err     error
}

var errLoop = errors.New("a loop")

// ErrNothing says that a schema has no value at all.
var ErrNothing = errors.New("no value can match it")

// Unwrap returns the cause, if it has a name.
func (e *UnsupportedError) Unwrap() error { return e.err }

func (e *UnsupportedError) Error() string {
	at := e.Path
	if at == "" {
		at = "the root"
	}
	if e.Keyword == "" {
		return fmt.Sprintf("schema at %s: %s", at, e.Reason)
	}
	return fmt.Sprintf("schema keyword %q at %s: %s", e.Keyword, at, e.Reason)
}

// schema is a schema of the document, or the negation of one.
type schema struct {
	id    int
	v     *value
	of    *schema // what this is the negation of; v is then nil
	neg   *schema // its negation, once it was asked for
	busy  bool    // being expanded: to meet it again is a loop of $refs
	ready []shape
	done  bool
}

// schemas reads the schemas of a document.
type schemas struct {
	root    *value
	byValue map[*value]*schema
	byID    map[string]*value // $id and $anchor
	count   int
	m       *meter
	strings map[string]*chars
}

func newSchemas(root *value, m *meter) *schemas {
	s := &schemas{root: root, byValue: map[*value]*schema{}, byID: map[string]*value{}, m: m, strings: map[string]*chars{}}
	s.index(root)
	return s
}

// index finds the schemas that have names.
func (s *schemas) index(v *value) {
	for i, m := range v.list {
		if v.kind == '{' && m.kind == '"' {
			switch v.keys[i] {
			case "$id", "id":
				s.byID[m.text] = v
			case "$anchor":
				s.byID["#"+m.text] = v
			}
		}
		s.index(m)
	}
}

func (s *schemas) of(v *value) *schema {
	c := s.byValue[v]
	if c == nil {
		c = &schema{id: s.count, v: v}
		s.count++
		s.byValue[v] = c
	}
	return c
}

func (s *schemas) not(c *schema) *schema {
	switch {
	case c.of != nil:
		return c.of
	case c.neg == nil:
		c.neg = &schema{id: s.count, of: c}
		s.count++
	}
	return c.neg
}

func unsupported(v *value, keyword, format string, args ...any) error {
	return &UnsupportedError{Keyword: keyword, Path: v.path, Reason: fmt.Sprintf(format, args...)}
}

// mostShapes bounds the alternatives of one schema when conditions multiply.
const mostShapes = 512

// expand gives the shapes of a schema.
func (s *schemas) expand(c *schema) ([]shape, error) {
	if c.done {
		return c.ready, nil
	}
	if c.busy {
		if c.v == nil {
			return nil, &UnsupportedError{Keyword: "not", Path: c.of.v.path, Reason: "the schema negates itself", err: errLoop}
		}
		return nil, &UnsupportedError{Keyword: "$ref", Path: c.v.path, Reason: "the reference leads back to itself", err: errLoop}
	}
	c.busy = true
	defer func() { c.busy = false }()
	var err error
	if c.of != nil {
		var list []shape
		if list, err = s.expand(c.of); err == nil {
			c.ready = s.negated(list, mostShapes)
		}
	} else {
		c.ready, err = s.read(c.v)
	}
	c.done = err == nil
	return c.ready, err
}

// all gives the shapes of what is of every schema of a list.
func (s *schemas) all(list []*schema) ([]shape, error) {
	shapes := []shape{anyShape()}
	for _, c := range list {
		more, err := s.expand(c)
		if err != nil {
			return nil, err
		}
		if shapes, err = s.product(shapes, more); err != nil {
			if c.v != nil {
				err = unsupported(c.v, "allOf", "%v", err)
			}
			return nil, err
		}
	}
	return shapes, nil
}

// product is the shapes of what is of one of a and one of b.
func (s *schemas) product(a, b []shape) ([]shape, error) {
	var out []shape
	for i := range a {
		for j := range b {
			if err := s.m.step(8 + a[i].size() + b[j].size()); err != nil {
				return nil, err
			}
			if m := a[i].merged(&b[j]); m.types != 0 {
				out = append(out, m)
			}
		}
	}
	if len(out) > mostShapes {
		return nil, fmt.Errorf("its alternatives multiply to more than %d", mostShapes)
	}
	return out, nil
}

// reader reads one schema object.
type reader struct {
	s     *schemas
	v     *value
	shape shape
	alts  []shape // of the keywords that offer alternatives
}

// read gives the shapes of a schema of the document.
func (s *schemas) read(v *value) ([]shape, error) {
	if err := s.m.rule(1); err != nil {
		return nil, err
	}
	switch v.kind {
	case 't':
		return []shape{anyShape()}, nil
	case 'f':
		return nil, nil
	case '{':
	default:
		return nil, unsupported(v, "", "a schema must be an object, true or false")
	}
	r := &reader{s: s, v: v, shape: anyShape(), alts: []shape{anyShape()}}
	for i, k := range v.keys {
		if err := r.keyword(k, v.list[i]); err != nil {
			return nil, err
		}
	}
	for _, part := range []func() error{r.objects, r.arrays, r.conditions, r.format} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	r.shape.tidy()
	return s.product([]shape{r.shape}, r.alts)
}

// keyword reads what stands by itself; keywords that belong together are read
// by objects, arrays and conditions.
func (r *reader) keyword(k string, v *value) error {
	switch k {
	case "type":
		return r.types(v)
	case "nullable":
		return nil // with type
	case "enum":
		if v.kind != '[' {
			return unsupported(v, k, "must be an array")
		}
		r.shape.enum = append([]*value{}, v.list...)
	case "const":
		r.shape.enum = []*value{v}
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
		return r.number(k, v)
	case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties":
		return r.count(k, v)
	case "pattern":
		if v.kind != '"' {
			return unsupported(v, k, "must be a string")
		}
		r.shape.patterns = append(r.shape.patterns, pattern{src: v.text})
	case "$ref", "allOf", "anyOf", "oneOf", "not":
		return r.combination(k, v)
	case "uniqueItems":
		if v.kind == 't' {
			return r.unique(v)
		}
	default:
		return r.other(k, v)
	}
	return nil
}

// read elsewhere, or nothing that a value is held to.
var quiet = map[string]bool{
	"properties": true, "patternProperties": true, "additionalProperties": true, "required": true, "propertyNames": true,
	"dependencies": true, "dependentRequired": true, "dependentSchemas": true,
	"items": true, "prefixItems": true, "additionalItems": true, "contains": true, "minContains": true, "maxContains": true,
	"if": true, "then": true, "else": true, "format": true,

	"$schema": true, "$id": true, "id": true, "$anchor": true, "$comment": true, "$defs": true, "definitions": true, "$vocabulary": true,
	"title": true, "description": true, "default": true, "example": true, "examples": true, "deprecated": true, "readOnly": true, "writeOnly": true,
	"contentEncoding": true, "contentMediaType": true, "contentSchema": true,
	"strict": true,
}

// foreign are keywords of JSON Schema that constrain and are not supported.
var foreign = map[string]bool{"unevaluatedProperties": true, "unevaluatedItems": true, "$dynamicRef": true, "$dynamicAnchor": true,
	"$recursiveRef": true, "$recursiveAnchor": true, "extends": true, "disallow": true, "divisibleBy": true,
	// of widespread validators
	"formatMinimum": true, "formatMaximum": true, "formatExclusiveMinimum": true, "formatExclusiveMaximum": true, "uniqueItemProperties": true, "patternRequired": true}

func (r *reader) other(k string, v *value) error {
	switch {
	case quiet[k]:
		return nil
	case foreign[k]:
		return unsupported(r.v, k, "not supported")
	}
	// JSON Schema lets everybody add keywords that annotate. One that is written
	// almost as a constraint is a mistake, though.
	if near := misspelled(k); near != "" {
		return unsupported(r.v, k, "not a keyword of JSON Schema; did you mean %s?", near)
	}
	return nil
}

func (r *reader) types(v *value) error {
	names := []*value{v}
	if v.kind == '[' {
		names = v.list
	}
	r.shape.types = 0
	integers := false
	for _, n := range names {
		t, ok := map[string]types{"null": typeNull, "boolean": typeBool, "number": typeNumber, "integer": typeNumber, "string": typeString,
			"array": typeArray, "object": typeObject, "any": allTypes}[n.text]
		if n.kind != '"' || !ok {
			return unsupported(v, "type", "%.40q is not a type", n.text)
		}
		if n.text == "integer" {
			integers = true
		}
		if n.text == "number" {
			integers = false
			r.shape.types |= typeNumber
			continue
		}
		r.shape.types |= t
	}
	hasNumber := slices.ContainsFunc(names, func(n *value) bool { return n.text == "number" || n.text == "any" })
	r.shape.num.integer = integers && !hasNumber
	if n := r.v.get("nullable"); n != nil && n.kind == 't' {
		r.shape.types |= typeNull
	}
	return nil
}

func (r *reader) number(k string, v *value) error {
	if v.kind == 't' || v.kind == 'f' { // draft 4: exclusiveMinimum: true
		return r.exclusive(k, v)
	}
	n := v.rat()
	if n == nil {
		return unsupported(v, k, "must be a number of a few hundred digits at most")
	}
	b := bounds{}
	switch k {
	case "minimum":
		b.lo, b.loOut = n, r.flag("exclusiveMinimum")
	case "maximum":
		b.hi, b.hiOut = n, r.flag("exclusiveMaximum")
	case "exclusiveMinimum":
		b.lo, b.loOut = n, true
	case "exclusiveMaximum":
		b.hi, b.hiOut = n, true
	case "multipleOf":
		if n.Sign() <= 0 {
			return unsupported(v, k, "must be positive")
		}
		b.multiples = []*big.Rat{n}
	}
	r.shape.num = r.shape.num.merged(&b)
	return nil
}

func (r *reader) flag(k string) bool {
	v := r.v.get(k)
	return v != nil && v.kind == 't'
}

func (r *reader) exclusive(k string, v *value) error {
	if k != "exclusiveMinimum" && k != "exclusiveMaximum" {
		return unsupported(v, k, "must be a number")
	}
	return nil // minimum and maximum look at it
}

func (r *reader) count(k string, v *value) error {
	n := v.rat()
	if n == nil || !n.IsInt() || n.Sign() < 0 {
		return unsupported(v, k, "must be a whole number, at least 0")
	}
	c := endless
	if n.Num().IsInt64() && n.Num().Int64() < endless {
		c = int(n.Num().Int64())
	}
	if strings.HasPrefix(k, "min") && c == endless {
		return unsupported(v, k, "%s is more than can be generated", v.text)
	}
	switch k {
	case "minLength":
		r.shape.minLength = c
	case "maxLength":
		r.shape.maxLength = c
	case "minItems":
		r.shape.minItems = c
	case "maxItems":
		r.shape.maxItems = c
	case "minProperties":
		r.shape.minProps = c
	case "maxProperties":
		r.shape.maxProps = c
	}
	return nil
}

// unique takes uniqueItems where at most one item is possible.
func (r *reader) unique(v *value) error {
	if n := r.v.get("maxItems"); n != nil && (n.text == "1" || n.text == "0") {
		return nil
	}
	return unsupported(r.v, "uniqueItems", "not supported: that items differ is not a property of a grammar; list the possible arrays, or leave it out and check afterwards")
}

func (r *reader) combination(k string, v *value) error {
	if k == "not" {
		list, err := r.s.expand(r.s.not(r.s.of(v)))
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return unsupported(r.v, k, "nothing that is certain not to match it can be generated")
		}
		return r.and(k, list)
	}
	if k == "$ref" {
		to, err := r.resolve(v)
		if err != nil {
			return err
		}
		list, err := r.s.expand(r.s.of(to))
		if err != nil {
			return err
		}
		return r.and(k, list)
	}
	if v.kind != '[' || len(v.list) == 0 {
		return unsupported(v, k, "must be an array of schemas")
	}
	var parts [][]shape
	for _, p := range v.list {
		list, err := r.s.expand(r.s.of(p))
		if err != nil {
			return err
		}
		parts = append(parts, list)
	}
	switch k {
	case "allOf":
		for _, p := range parts {
			if err := r.and(k, p); err != nil {
				return err
			}
		}
		return nil
	case "oneOf":
		return r.oneOf(v, parts)
	}
	return r.and(k, slices.Concat(parts...))
}

// and takes on a further list of shapes.
func (r *reader) and(k string, list []shape) error {
	out, err := r.s.product(r.alts, list)
	if err != nil {
		return unsupported(r.v, k, "%v", err)
	}
	r.alts = out
	return nil
}

// resolve finds what a $ref refers to.
func (r *reader) resolve(v *value) (*value, error) {
	if v.kind != '"' {
		return nil, unsupported(r.v, "$ref", "must be a string")
	}
	ref := v.text
	if to := r.s.byID[ref]; to != nil && ref != "#" {
		return to, nil
	}
	base, fragment, _ := strings.Cut(ref, "#")
	root := r.s.root
	if base != "" {
		if root = r.s.byID[base]; root == nil {
			root = r.s.byID[base+"#"]
		}
		if root == nil {
			return nil, unsupported(r.v, "$ref", "%.120q is not in the schema: bring what it refers to into $defs", ref)
		}
	}
	if text, err := url.PathUnescape(fragment); err == nil {
		fragment = text
	}
	if fragment != "" && !strings.HasPrefix(fragment, "/") {
		return nil, unsupported(r.v, "$ref", "%.120q names no $id or $anchor of the schema", ref)
	}
	to := root.at(fragment)
	if to == nil {
		return nil, unsupported(r.v, "$ref", "%.120q leads to nothing", ref)
	}
	return to, nil
}

// format reads format when the type is known.
func (r *reader) format() error {
	v := r.v.get("format")
	if v == nil {
		return nil
	}
	if v.kind != '"' {
		return unsupported(v, "format", "must be a string")
	}
	if b, ok := intBounds()[v.text]; ok {
		if r.shape.num.integer {
			lo, _ := new(big.Rat).SetString(b[0])
			hi, _ := new(big.Rat).SetString(b[1])
			r.shape.num = r.shape.num.merged(&bounds{lo: lo, hi: hi})
		}
		return nil
	}
	if _, ok := formats()[v.text]; ok {
		r.shape.patterns = append(r.shape.patterns, pattern{src: v.text, format: true})
		return nil
	}
	if annotations()[v.text] || r.shape.types&typeString == 0 {
		return nil
	}
	return unsupported(r.v, "format", "%.60q is not supported", v.text)
}
