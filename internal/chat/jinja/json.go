package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of JSON that is read.
const maxJSONDepth = maxValueDepth - 50

// FromJSON reads a JSON value as Python's json.loads does: objects keep the
// order of their keys (a repeated one keeps its first place and last value),
// numbers without fraction or exponent are integers of any size.
func FromJSON(raw []byte) (Value, error) {
	d := &jsonReader{s: string(raw)}
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if d.space(); d.i < len(d.s) {
		return nil, d.fail("more text after the value")
	}
	return v, nil
}

type jsonReader struct {
	s string // strings without escapes are parts of it: nothing is copied
	i int
}

func (d *jsonReader) fail(format string, args ...any) error {
	return fmt.Errorf("JSON, byte %d: %s", d.i, fmt.Sprintf(format, args...))
}

func (d *jsonReader) space() {
	for d.i < len(d.s) && (d.s[d.i] == ' ' || d.s[d.i] == '\n' || d.s[d.i] == '\t' || d.s[d.i] == '\r') {
		d.i++
	}
}

func (d *jsonReader) take(c byte) bool {
	if d.i < len(d.s) && d.s[d.i] == c {
		d.i++
		return true
	}
	return false
}

var jsonWords = []struct {
	word string
	v    Value
}{
	{"true", true}, {"false", false}, {"null", None},
	{"NaN", math.NaN()}, {"Infinity", math.Inf(1)}, {"-Infinity", math.Inf(-1)},
}

func (d *jsonReader) value(depth int) (Value, error) {
	if depth > maxJSONDepth {
		return nil, d.fail("nested more than %d levels deep", maxJSONDepth)
	}
	d.space()
	if d.i >= len(d.s) {
		return nil, d.fail("a value is missing")
	}
	switch d.s[d.i] {
	case '{':
		return d.object(depth)
	case '[':
		return d.array(depth)
	case '"':
		s, err := d.str()
		return s, err
	}
	for _, w := range jsonWords {
		if strings.HasPrefix(d.s[d.i:], w.word) {
			d.i += len(w.word)
			return w.v, nil
		}
	}
	return d.number()
}

func (d *jsonReader) object(depth int) (Value, error) {
	d.i++
	out := NewDict()
	d.space()
	if d.take('}') {
		return out, nil
	}
	for {
		d.space()
		if d.i >= len(d.s) || d.s[d.i] != '"' {
			return nil, d.fail("a key in double quotes is missing")
		}
		key, err := d.str()
		if err != nil {
			return nil, err
		}
		if d.space(); !d.take(':') {
			return nil, d.fail("a colon is missing")
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out.put(key, key, v)
		d.space()
		if d.take('}') {
			return out, nil
		}
		if !d.take(',') {
			return nil, d.fail("a comma or } is missing")
		}
	}
}

func (d *jsonReader) array(depth int) (Value, error) {
	d.i++
	out := &List{}
	d.space()
	if d.take(']') {
		return out, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, v)
		d.space()
		if d.take(']') {
			return out, nil
		}
		if !d.take(',') {
			return nil, d.fail("a comma or ] is missing")
		}
	}
}

func (d *jsonReader) number() (Value, error) {
	start := d.i
	d.take('-')
	whole := d.digits()
	if whole == 0 || whole > 1 && d.s[d.i-whole] == '0' {
		d.i = start
		return nil, d.fail("no value starts like this")
	}
	isFloat := false
	if d.i+1 < len(d.s) && d.s[d.i] == '.' && isDecimal(d.s[d.i+1]) {
		d.i++
		d.digits()
		isFloat = true
	}
	if end := exponentEnd(d.s, d.i); end > d.i {
		d.i = end
		isFloat = true
	}
	digits := d.s[start:d.i]
	if isFloat {
		f, _ := strconv.ParseFloat(digits, 64) // out of range: infinite, as in Python
		return f, nil
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return n, nil
	}
	if len(digits) > maxDigits {
		return nil, d.fail("an integer has more than %d digits", maxDigits)
	}
	n, _ := new(big.Int).SetString(digits, 10)
	return n, nil
}

func (d *jsonReader) digits() int {
	start := d.i
	for d.i < len(d.s) && isDecimal(d.s[d.i]) {
		d.i++
	}
	return d.i - start
}

func (d *jsonReader) str() (string, error) {
	d.i++
	start := d.i
	for d.i < len(d.s) {
		switch c := d.s[d.i]; {
		case c == '"':
			d.i++
			return strings.ToValidUTF8(d.s[start:d.i-1], "\uFFFD"), nil
		case c == '\\':
			return d.escaped(start)
		case c < ' ':
			return "", d.fail("a control character stands in a string: write it as an escape")
		}
		d.i++
	}
	return "", d.fail("a string does not end")
}

// escaped reads the rest of a string from its first escape on.
func (d *jsonReader) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(d.s[start:d.i])
	for d.i < len(d.s) {
		c := d.s[d.i]
		switch {
		case c == '"':
			d.i++
			return strings.ToValidUTF8(b.String(), "\uFFFD"), nil
		case c < ' ':
			return "", d.fail("a control character stands in a string: write it as an escape")
		case c != '\\':
			b.WriteByte(c)
			d.i++
		default:
			if err := d.escape(&b); err != nil {
				return "", err
			}
		}
	}
	return "", d.fail("a string does not end")
}

var jsonEscapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (d *jsonReader) escape(b *strings.Builder) error {
	d.i++
	if d.i >= len(d.s) {
		return d.fail("a string does not end")
	}
	if plain, ok := jsonEscapes[d.s[d.i]]; ok {
		b.WriteByte(plain)
		d.i++
		return nil
	}
	r, ok := hexDigits(d.s, d.i+1, 4)
	if d.s[d.i] != 'u' || !ok {
		return d.fail("an escape is not one of JSON's")
	}
	d.i += 5
	if utf16.IsSurrogate(r) && strings.HasPrefix(d.s[d.i:], `\u`) {
		if low, ok := hexDigits(d.s, d.i+2, 4); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			r = utf16.DecodeRune(r, low)
			d.i += 6
		}
	}
	b.WriteRune(r) // half a pair has no UTF-8: it becomes U+FFFD
	return nil
}

// doToJSON is Transformers' tojson: json.dumps, without escapes for HTML.
func doToJSON(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("tojson", 0, "ensure_ascii", "indent", "separators", "sort_keys")
	if err != nil {
		return nil, err
	}
	w := &jsonWriter{st: st, item: ", ", key: ": "}
	if w.ascii, err = st.flag(vs[0]); err != nil {
		return nil, err
	}
	if w.sort, err = st.flag(vs[3]); err != nil {
		return nil, err
	}
	if vs[1] != nil && vs[1] != None {
		w.item, w.pretty = ",", true
		if text, ok := asString(vs[1]); ok {
			w.indent = text
		} else {
			n, err := intOr(vs[1], 0)
			if err != nil {
				return nil, err
			}
			if err := st.alloc(max(0, n)); err != nil {
				return nil, err
			}
			w.indent = strings.Repeat(" ", max(0, n))
		}
	}
	if vs[2] != nil && vs[2] != None {
		if err := w.separators(vs[2]); err != nil {
			return nil, err
		}
	}
	if err := w.value(in, 0); err != nil {
		return nil, err
	}
	return w.b.String(), nil
}

type jsonWriter struct {
	st     *state
	b      strings.Builder
	ascii  bool
	sort   bool
	pretty bool
	indent string
	item   string // between items
	key    string // between key and value
}

func (w *jsonWriter) separators(v Value) error {
	pair, err := w.st.unpack(v, 2)
	if err != nil {
		return err
	}
	var ok [2]bool
	w.item, ok[0] = asString(pair[0])
	w.key, ok[1] = asString(pair[1])
	if !ok[0] || !ok[1] {
		return typeError("separators must be two strings")
	}
	return nil
}

func (w *jsonWriter) put(s string) error {
	if err := w.st.alloc(2 * len(s)); err != nil {
		return err
	}
	w.b.WriteString(s)
	return nil
}

func (w *jsonWriter) value(v Value, depth int) error {
	if err := descend(depth); err != nil {
		return err
	}
	if err := w.st.tick(1); err != nil {
		return err
	}
	if s, ok := asString(v); ok {
		return w.str(s)
	}
	switch v := v.(type) {
	case noneType:
		return w.put("null")
	case bool:
		return w.put(strconv.FormatBool(v))
	case int64, *big.Int:
		return w.put(scalarRepr(v))
	case float64:
		return w.put(jsonFloat(v))
	case *List:
		return w.array(v.items, depth)
	case *Tuple:
		return w.array(v.items, depth)
	case *Dict:
		return w.object(v, depth)
	}
	return typeError("Object of type %s is not JSON serializable", typeName(v))
}

func jsonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return floatRepr(f)
}

// line starts a new line if the layout has lines.
func (w *jsonWriter) line(depth int) error {
	if !w.pretty {
		return nil
	}
	if err := w.st.alloc(2 * product(depth, len(w.indent))); err != nil {
		return err
	}
	w.b.WriteByte('\n')
	for range depth {
		w.b.WriteString(w.indent)
	}
	return nil
}

func (w *jsonWriter) array(items []Value, depth int) error {
	if len(items) == 0 {
		return w.put("[]")
	}
	if err := w.put("["); err != nil {
		return err
	}
	for i, v := range items {
		if i > 0 {
			if err := w.put(w.item); err != nil {
				return err
			}
		}
		if err := w.line(depth + 1); err != nil {
			return err
		}
		if err := w.value(v, depth+1); err != nil {
			return err
		}
	}
	if err := w.line(depth); err != nil {
		return err
	}
	return w.put("]")
}

func (w *jsonWriter) object(d *Dict, depth int) error {
	if len(d.keys) == 0 {
		return w.put("{}")
	}
	order, err := w.order(d)
	if err != nil {
		return err
	}
	if err := w.put("{"); err != nil {
		return err
	}
	for n := range d.keys {
		i := n
		if order != nil {
			i = order[n]
		}
		if n > 0 {
			if err := w.put(w.item); err != nil {
				return err
			}
		}
		if err := w.line(depth + 1); err != nil {
			return err
		}
		name, err := jsonKey(d.keys[i])
		if err != nil {
			return err
		}
		if err := w.str(name); err != nil {
			return err
		}
		if err := w.put(w.key); err != nil {
			return err
		}
		if err := w.value(d.vals[i], depth+1); err != nil {
			return err
		}
	}
	if err := w.line(depth); err != nil {
		return err
	}
	return w.put("}")
}

// order returns the places of the keys in sorted order, nil if they stay as they are.
func (w *jsonWriter) order(d *Dict) ([]int, error) {
	if !w.sort {
		return nil, nil
	}
	places := make([]Value, len(d.keys))
	for i := range places {
		places[i] = int64(i)
	}
	sorted, err := w.st.sorted(places, false, func(v Value) (Value, error) { return d.keys[v.(int64)], nil })
	if err != nil {
		return nil, err
	}
	order := make([]int, len(sorted))
	for i, v := range sorted {
		order[i] = int(v.(int64))
	}
	return order, nil
}

func jsonKey(k Value) (string, error) {
	if s, ok := asString(k); ok {
		return s, nil
	}
	switch k := k.(type) {
	case noneType:
		return "null", nil
	case bool:
		return strconv.FormatBool(k), nil
	case int64, *big.Int:
		return scalarRepr(k), nil
	case float64:
		return jsonFloat(k), nil
	}
	return "", typeError("keys must be str, int, float, bool or None, not %s", typeName(k))
}

// str writes a string in quotes. Only what JSON demands is escaped, or all
// but printable ASCII.
func (w *jsonWriter) str(s string) error {
	if err := w.st.alloc(2*len(s) + 4); err != nil {
		return err
	}
	before := w.b.Len()
	w.b.WriteByte('"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && (!w.ascii || c < 0x7f) {
			i++
			continue
		}
		w.b.WriteString(s[done:i])
		r, n := rune(c), 1
		if c >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		writeJSONEscape(&w.b, r)
		i += n
		done = i
	}
	w.b.WriteString(s[done:])
	w.b.WriteByte('"')
	return w.st.alloc(max(0, w.b.Len()-before-2*len(s)-4))
}

func writeJSONEscape(b *strings.Builder, r rune) {
	switch r {
	case '"', '\\':
		b.WriteByte('\\')
		b.WriteRune(r)
	case '\n':
		b.WriteString(`\n`)
	case '\r':
		b.WriteString(`\r`)
	case '\t':
		b.WriteString(`\t`)
	case '\b':
		b.WriteString(`\b`)
	case '\f':
		b.WriteString(`\f`)
	default:
		if r >= 0x10000 {
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
			return
		}
		fmt.Fprintf(b, `\u%04x`, r)
	}
}
