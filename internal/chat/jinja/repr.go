package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// str is Python's str(v): what printing gives.
func (st *state) str(v Value) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case *text:
		return v.s, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case *Undefined:
		return "", nil
	}
	return st.repr(v)
}

// repr is Python's repr(v).
func (st *state) repr(v Value) (string, error) {
	w := &reprWriter{st: st}
	if err := w.value(v, 0); err != nil {
		return "", err
	}
	return w.b.String(), nil
}

// quote is Python's repr of a short string, for messages.
func quote(s string) string {
	var b strings.Builder
	writeQuoted(&b, s)
	return b.String()
}

type reprWriter struct {
	st *state
	b  strings.Builder
}

func (w *reprWriter) put(s string) error {
	if err := w.st.alloc(len(s)); err != nil {
		return err
	}
	w.b.WriteString(s)
	return nil
}

func (w *reprWriter) value(v Value, depth int) error {
	if err := descend(depth); err != nil {
		return err
	}
	if err := w.st.tick(1); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		return w.quoted(v)
	case *text:
		if !v.safe {
			return w.quoted(v.s)
		}
		if err := w.put("Markup("); err != nil {
			return err
		}
		if err := w.quoted(v.s); err != nil {
			return err
		}
		return w.put(")")
	case *List:
		return w.sequence("[", v.items, "]", depth)
	case *Tuple:
		if len(v.items) == 1 {
			return w.sequence("(", v.items, ",)", depth)
		}
		return w.sequence("(", v.items, ")", depth)
	case *Dict:
		return w.dict(v, depth)
	case *dictView:
		items := make([]Value, len(v.dict.keys))
		for i := range items {
			items[i] = v.at(i)
		}
		return w.sequence(v.kind.name()+"([", items, "])", depth)
	case *Namespace:
		if err := w.put("<Namespace "); err != nil {
			return err
		}
		if err := w.dict(v.attrs, depth+1); err != nil {
			return err
		}
		return w.put(">")
	case *loopContext:
		n, err := v.length(w.st)
		if err != nil {
			return err
		}
		return w.put(fmt.Sprintf("<LoopContext %d/%d>", v.index0+1, n))
	}
	return w.put(scalarRepr(v))
}

func (w *reprWriter) quoted(s string) error {
	if err := w.st.alloc(len(s) + 2); err != nil {
		return err
	}
	n := w.b.Len()
	writeQuoted(&w.b, s)
	return w.st.alloc(max(0, w.b.Len()-n-len(s)))
}

func (w *reprWriter) sequence(left string, items []Value, right string, depth int) error {
	if err := w.put(left); err != nil {
		return err
	}
	for i, item := range items {
		if i > 0 {
			if err := w.put(", "); err != nil {
				return err
			}
		}
		if err := w.value(item, depth+1); err != nil {
			return err
		}
	}
	return w.put(right)
}

func (w *reprWriter) dict(d *Dict, depth int) error {
	if err := w.put("{"); err != nil {
		return err
	}
	for i, k := range d.keys {
		if i > 0 {
			if err := w.put(", "); err != nil {
				return err
			}
		}
		if err := w.value(k, depth+1); err != nil {
			return err
		}
		if err := w.put(": "); err != nil {
			return err
		}
		if err := w.value(d.vals[i], depth+1); err != nil {
			return err
		}
	}
	return w.put("}")
}

// scalarRepr is the repr of what holds no other values.
func scalarRepr(v Value) string {
	switch v := v.(type) {
	case noneType:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case *big.Int:
		return v.String()
	case float64:
		return floatRepr(v)
	case *Range:
		if v.step == 1 {
			return fmt.Sprintf("range(%d, %d)", v.start, v.stop)
		}
		return fmt.Sprintf("range(%d, %d, %d)", v.start, v.stop, v.step)
	case *Undefined:
		return "Undefined"
	case *macro:
		if v.decl.name == "" {
			return "<Macro anonymous>"
		}
		return "<Macro " + quote(v.decl.name) + ">"
	case *Func:
		if v.kind == "type" {
			return "<class '" + v.name + "'>"
		}
		return "<function " + v.name + ">"
	case *method:
		return "<built-in method " + v.name + " of " + typeName(v.self) + " object>"
	}
	// Python prints the address here, which nobody can rely on.
	return "<" + typeName(v) + " object>"
}

// floatRepr is the shortest text that reads back as f, laid out as Python does.
func floatRepr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:])
	if exp < -4 || exp >= 16 {
		return s
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// writeQuoted writes s as Python's repr does: in single quotes, unless
// that would need escapes that double quotes spare.
func writeQuoted(b *strings.Builder, s string) {
	q := byte('\'')
	if strings.IndexByte(s, '\'') >= 0 && strings.IndexByte(s, '"') < 0 {
		q = '"'
	}
	b.WriteByte(q)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == rune(q) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x7f || unicode.IsPrint(r):
			b.WriteString(s[i : i+n])
		default:
			writeEscaped(b, r)
		}
		i += n
	}
	b.WriteByte(q)
}

// writeEscaped writes a code point as a Python escape.
func writeEscaped(b *strings.Builder, r rune) {
	switch {
	case r < 0x100:
		fmt.Fprintf(b, `\x%02x`, r)
	case r < 0x10000:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}
