package jinja

import (
	"math/big"
	"strings"
	"unicode/utf8"
)

// strFormat is str.format.
func strFormat(st *state, self Value, a *args) (Value, error) {
	named := NewDict()
	for i, name := range a.names {
		if err := st.setItem(named, name, a.vals[i]); err != nil {
			return nil, err
		}
	}
	return st.formatWith(self, a.pos, named)
}

// strFormatMap is str.format_map.
func strFormatMap(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("format_map", 1, 1); err != nil {
		return nil, err
	}
	named, ok := a.pos[0].(*Dict)
	if !ok {
		return nil, typeError("'%s' object is not a mapping", typeName(a.pos[0]))
	}
	return st.formatWith(self, nil, named)
}

func (st *state) formatWith(self Value, pos []Value, named *Dict) (Value, error) {
	f := &formatter{st: st, pos: pos, named: named, safe: isMarkup(self)}
	s, _ := asString(self)
	out, err := f.format(s, 0)
	return like(self, out), err
}

type formatter struct {
	st    *state
	pos   []Value
	named *Dict
	safe  bool
	auto  int // the next field without a number
	// numbering is 'a' once a field went without a number, 'm' once one had one.
	numbering byte
}

// maxFormatDepth bounds fields in the specifications of fields.
const maxFormatDepth = 3

func (f *formatter) format(s string, depth int) (string, error) {
	if depth >= maxFormatDepth {
		return "", valueError("Max string recursion exceeded")
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			i = len(s)
		}
		part, rest := s[:i], ""
		if i < len(s) {
			if i+1 < len(s) && s[i+1] == s[i] { // a doubled brace stands for itself
				part, rest = s[:i+1], s[i+2:]
			} else {
				field, after, err := fieldAt(s, i)
				if err != nil {
					return "", err
				}
				if err := f.st.alloc(2 * i); err != nil {
					return "", err
				}
				b.WriteString(part)
				if part, err = f.field(field, depth); err != nil {
					return "", err
				}
				rest = after
			}
		}
		if err := f.st.alloc(2 * len(part)); err != nil {
			return "", err
		}
		b.WriteString(part)
		s = rest
	}
	return b.String(), nil
}

// fieldAt returns what stands between the brace at s[i] and its counterpart.
func fieldAt(s string, i int) (field, after string, err error) {
	if s[i] == '}' {
		return "", "", valueError("Single '}' encountered in format string")
	}
	depth := 0
	for j := i; j < len(s); j++ {
		switch s[j] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[i+1 : j], s[j+1:], nil
			}
		}
	}
	if i+1 == len(s) {
		return "", "", valueError("Single '{' encountered in format string")
	}
	return "", "", valueError("expected '}' before end of string")
}

// field formats one field: name, !conversion, :specification.
func (f *formatter) field(s string, depth int) (string, error) {
	name, how := s, ""
	inBrackets := false
	for i := range len(s) {
		if s[i] == '[' {
			inBrackets = true
		}
		if s[i] == ']' {
			inBrackets = false
		}
		if !inBrackets && (s[i] == '!' || s[i] == ':') {
			name, how = s[:i], s[i:]
			break
		}
	}
	v, err := f.lookup(name)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(how, "!") {
		if len(how) < 2 {
			return "", valueError("end of string while looking for conversion specifier")
		}
		if strings.IndexByte("sra", how[1]) < 0 {
			return "", valueError("Unknown conversion specifier %c", how[1])
		}
		converted, err := f.st.convertText(how[1], v)
		if err != nil {
			return "", err
		}
		v = converted
		how = how[2:]
		if how != "" && how[0] != ':' {
			return "", valueError("expected ':' after conversion specifier")
		}
	}
	specText, err := f.format(strings.TrimPrefix(how, ":"), depth+1)
	if err != nil {
		return "", err
	}
	out, err := f.st.formatValue(v, specText)
	if err == nil && f.safe && !isMarkup(v) {
		out = escapeHTML(out)
	}
	return out, err
}

// lookup resolves a field's name: an argument, then attributes and items.
func (f *formatter) lookup(name string) (Value, error) {
	end := strings.IndexAny(name, ".[")
	if end < 0 {
		end = len(name)
	}
	v, err := f.argument(name[:end], name == "")
	for rest := name[end:]; rest != "" && err == nil; {
		if rest[0] == '.' {
			next := strings.IndexAny(rest[1:], ".[") + 1
			if next == 0 {
				next = len(rest)
			}
			v, err = f.st.getAttr(v, rest[1:next])
			rest = rest[next:]
			continue
		}
		next := strings.IndexByte(rest, ']')
		if rest[0] != '[' || next < 0 {
			return nil, valueError("Missing ']' in format string")
		}
		var key Value = rest[1:next]
		if all(rest[1:next], isDigit) {
			key, _ = parseInt(rest[1:next], 10)
		}
		v, err = f.st.getItem(v, key)
		rest = rest[next+1:]
	}
	return v, err
}

// argument is what a field's name begins with; next means that it has none.
func (f *formatter) argument(name string, next bool) (Value, error) {
	if !next && !all(name, isDigit) {
		v, ok := f.named.Get(name)
		if !ok {
			return nil, classError("KeyError", "%s", quote(name))
		}
		return v, nil
	}
	kind := byte('m')
	if next {
		kind = 'a'
	}
	if f.numbering != 0 && f.numbering != kind {
		return nil, valueError("cannot switch from manual field specification to automatic field numbering")
	}
	f.numbering = kind
	n := int64(f.auto)
	if next {
		f.auto++
	} else if parsed, ok := parseInt(name, 10); ok {
		n, ok = parsed.(int64)
		if !ok {
			return nil, valueError("Too many decimal digits in format string")
		}
	}
	if n >= int64(len(f.pos)) {
		return nil, classError("IndexError", "tuple index out of range")
	}
	return f.pos[n], nil
}

// formatValue is Python's format(v, spec).
func (st *state) formatValue(v Value, specText string) (string, error) {
	if specText == "" {
		return st.str(v)
	}
	s, err := parseSpec(specText)
	if err != nil {
		return "", err
	}
	if text, ok := asString(v); ok {
		if s.conv != 0 && s.conv != 's' {
			return "", valueError("Unknown format code '%c' for object of type 'str'", s.conv)
		}
		if s.zero && s.align == 0 {
			s.fill = '0'
		}
		s.conv = 0
		return st.layText(&s, text)
	}
	if !isNumber(v) {
		return "", typeError("unsupported format string passed to %s.__format__", typeName(v))
	}
	if f, ok := v.(float64); ok {
		return st.formatFloat(&s, f)
	}
	n, _ := toBig(v)
	return st.formatInt(&s, n)
}

func (st *state) formatInt(s *spec, n *big.Int) (string, error) {
	switch s.conv {
	case 'e', 'E', 'f', 'F', 'g', 'G', '%':
		f, _ := toFloat(shrink(n))
		return st.formatFloat(s, f)
	case 'c':
		if !n.IsInt64() || n.Int64() < 0 || n.Int64() > utf8.MaxRune {
			return "", classError("OverflowError", "%%c arg not in range(0x110000)")
		}
		s.conv = 0
		return st.layText(s, string(rune(n.Int64())))
	case 0, 'd', 'n', 'b', 'o', 'x', 'X':
	default:
		return "", valueError("Unknown format code '%c' for object of type 'int'", s.conv)
	}
	if s.precision >= 0 {
		return "", valueError("Precision not allowed in integer format specifier")
	}
	if s.conv == 0 || s.conv == 'n' {
		s.conv = 'd'
	}
	return st.layInt(s, n)
}

func (st *state) formatFloat(s *spec, f float64) (string, error) {
	switch s.conv {
	case 'e', 'E', 'f', 'F', 'g', 'G', '%':
		return st.layFloat(s, f)
	case 'n':
		s.conv = 'g'
		return st.layFloat(s, f)
	case 0:
	default:
		return "", valueError("Unknown format code '%c' for object of type 'float'", s.conv)
	}
	if s.precision >= 0 {
		s.conv = 'g'
		out := floatBody(s, max(f, -f), s.precision)
		if !strings.ContainsAny(out, ".en") {
			out += ".0"
		}
		return st.layNumber(s, s.sign(f < 0), out)
	}
	body := strings.TrimPrefix(floatRepr(f), "-")
	return st.layNumber(s, s.sign(f < 0), body)
}

// parseSpec reads [[fill]align][sign][#][0][width][group][.precision][type].
func parseSpec(t string) (spec, error) {
	s := spec{fill: ' ', precision: -1}
	isAlign := func(i int) bool { return i < len(t) && strings.IndexByte("<>=^", t[i]) >= 0 }
	first, n := utf8.DecodeRuneInString(t)
	i := 0
	switch {
	case isAlign(n):
		s.fill, s.align = first, t[n]
		i = n + 1
	case isAlign(0):
		s.align = t[0]
		i = 1
	}
	if i < len(t) && strings.IndexByte("+- ", t[i]) >= 0 {
		s.plus, s.space = t[i] == '+', t[i] == ' '
		i++
	}
	if i < len(t) && t[i] == '#' {
		s.alt = true
		i++
	}
	if i < len(t) && t[i] == '0' {
		s.zero = true
		i++
	}
	var err error
	if s.width, i, err = digitsAt(t, i, 0); err != nil {
		return s, err
	}
	if i < len(t) && (t[i] == ',' || t[i] == '_') {
		s.group = t[i]
		i++
	}
	if i < len(t) && t[i] == '.' {
		if s.precision, i, err = digitsAt(t, i+1, -1); err != nil {
			return s, err
		}
		if s.precision < 0 {
			return s, valueError("Format specifier missing precision")
		}
	}
	if i < len(t) {
		s.conv = t[i]
		i++
	}
	if i < len(t) {
		return s, valueError("Invalid format specifier")
	}
	return s, nil
}
