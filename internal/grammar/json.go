package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// value is a JSON value that keeps the order of its fields: objects are generated
// in the order in which a schema lists their properties.
type value struct {
	kind byte     // one of { [ " 0 t f n
	text string   // of a string or a number
	keys []string // of an object
	list []*value // of an object or array
	path string   // JSON pointer
	same string   // what equal values have alike; empty: not made yet
}

// maxDepth bounds the nesting of a schema.
const maxDepth = 100

// parseJSON reads one value.
func parseJSON(src []byte) (*value, error) {
	if !utf8.Valid(src) {
		return nil, errors.New("the schema is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	v, err := decodeValue(d, "", 0)
	if err != nil {
		return nil, fmt.Errorf("the schema is not valid JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the schema is followed by something else")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, path string, depth int) (*value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	v := &value{path: path}
	switch t := t.(type) {
	case nil:
		v.kind = 'n'
	case bool:
		v.kind = "ft"[choose(t, 1, 0)]
	case string:
		v.kind, v.text = '"', t
	case json.Number:
		v.kind, v.text = '0', t.String()
	case json.Delim:
		v.kind = byte(t)
		for d.More() {
			if err := v.decodeMember(d, depth); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
	}
	return v, err
}

func (v *value) decodeMember(d *json.Decoder, depth int) error {
	key := strconv.Itoa(len(v.list))
	if v.kind == '{' {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key = t.(string)
	}
	m, err := decodeValue(d, v.path+"/"+pointerEscape(key), depth+1)
	if err != nil {
		return err
	}
	if v.kind == '{' {
		if len(v.keys) < 64 { // more are not searched one by one
			if i := slices.Index(v.keys, key); i >= 0 {
				v.list[i] = m
				return nil
			}
		}
		v.keys = append(v.keys, key)
	}
	v.list = append(v.list, m)
	return nil
}

func pointerEscape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

func pointerUnescape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
}

// get returns a field, nil if there is none.
func (v *value) get(key string) *value {
	if v == nil || v.kind != '{' {
		return nil
	}
	if i := slices.Index(v.keys, key); i >= 0 {
		return v.list[i]
	}
	return nil
}

// at follows the parts of a JSON pointer.
func (v *value) at(pointer string) *value {
	if pointer == "" {
		return v
	}
	for _, part := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		part = pointerUnescape(part)
		if v == nil {
			return nil
		}
		if v.kind == '[' {
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v.list) {
				return nil
			}
			v = v.list[i]
			continue
		}
		v = v.get(part)
	}
	return v
}

// rat is the exact value of a number; nil if it is none, or would take
// thousands of digits.
func (v *value) rat() *big.Rat {
	if v == nil || v.kind != '0' {
		return nil
	}
	if i := strings.IndexAny(v.text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(v.text[i+1:]); err != nil || e > 400 || e < -400 {
			return nil
		}
	}
	r, ok := new(big.Rat).SetString(v.text)
	if !ok || len(v.text) > 400 {
		return nil
	}
	return r
}

// write appends the value as JSON: strings in the one spelling that constrained
// strings use, and after commas and colons what is given.
func (v *value) write(out []byte, comma, colon string) []byte {
	switch v.kind {
	case 'n':
		return append(out, "null"...)
	case 't':
		return append(out, "true"...)
	case 'f':
		return append(out, "false"...)
	case '0':
		return append(out, v.text...)
	case '"':
		return append(append(append(out, '"'), spelled(v.text)...), '"')
	}
	end := byte(']')
	if v.kind == '{' {
		end = '}'
	}
	out = append(out, v.kind)
	for i, m := range v.list {
		if i > 0 {
			out = append(out, comma...)
		}
		if v.kind == '{' {
			out = append(append(append(out, '"'), spelled(v.keys[i])...), '"')
			out = append(out, colon...)
		}
		out = m.write(out, comma, colon)
	}
	return append(out, end)
}

// equal compares as JSON Schema does: numbers by value, objects without order.
func (v *value) equal(w *value) bool { return v.kind == w.kind && v.identity() == w.identity() }

// identity is a text that equal values have in common, and others have not.
func (v *value) identity() string {
	if v.same != "" {
		return v.same
	}
	switch v.kind {
	case '"':
		v.same = strconv.Quote(v.text)
	case '0':
		v.same = v.text
		if r := v.rat(); r != nil {
			v.same = r.RatString()
		}
	default:
		parts := make([]string, len(v.list))
		for i, m := range v.list {
			if parts[i] = m.identity(); v.kind == '{' {
				parts[i] = strconv.Quote(v.keys[i]) + parts[i]
			}
		}
		if v.kind == '{' {
			slices.Sort(parts)
		}
		v.same = string(v.kind) + strings.Join(parts, ",") + "]"
	}
	return v.same
}

// among makes a test of whether a value is in a list.
func among(list []*value) func(*value) bool {
	if len(list) < 8 {
		return func(v *value) bool { return slices.ContainsFunc(list, v.equal) }
	}
	set := make(map[string]bool, len(list))
	for _, v := range list {
		set[v.identity()] = true
	}
	return func(v *value) bool { return set[v.identity()] }
}
