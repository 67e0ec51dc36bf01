package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// spec is how one value is to be formatted, by % or by str.format.
type spec struct {
	left, plus, space, alt, zero bool
	fill                         rune
	align                        byte // '<', '>', '^', '=' or 0
	group                        byte // ',' or '_' or 0
	width                        int
	precision                    int // -1: none
	conv                         byte
}

// percent is Python's format % operand.
func (st *state) percent(format string, safe bool, operand Value) (Value, error) {
	p := &percentFormat{st: st, safe: safe, operand: operand, rest: []Value{operand}}
	if t, ok := operand.(*Tuple); ok {
		p.rest = t.items
	}
	if err := p.run(format); err != nil {
		return nil, err
	}
	if p.used < len(p.rest) && !subscriptable(operand) {
		return nil, typeError("not all arguments converted during string formatting")
	}
	if safe {
		return &text{s: p.b.String(), safe: true}, nil
	}
	return p.b.String(), nil
}

// subscriptable is what % takes for a mapping, of which not all needs to be used.
func subscriptable(v Value) bool {
	switch v.(type) {
	case *Dict, *List, *Range, *Undefined:
		return true
	}
	return false
}

type percentFormat struct {
	st      *state
	safe    bool
	operand Value
	rest    []Value
	used    int
	at      int // code points before the conversion, for messages
	b       strings.Builder
}

func (p *percentFormat) put(s string) error {
	if err := p.st.alloc(2 * len(s)); err != nil {
		return err
	}
	p.b.WriteString(s)
	return nil
}

func (p *percentFormat) next() (Value, error) {
	if p.used >= len(p.rest) {
		return nil, typeError("not enough arguments for format string")
	}
	p.used++
	return p.rest[p.used-1], nil
}

func (p *percentFormat) run(format string) error {
	for format != "" {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			return p.put(format)
		}
		if err := p.put(format[:i]); err != nil {
			return err
		}
		p.at += utf8.RuneCountInString(format[:i+1])
		n, err := p.conversion(format[i+1:])
		if err != nil {
			return err
		}
		p.at += utf8.RuneCountInString(format[i+1 : i+1+n])
		format = format[i+1+n:]
	}
	return nil
}

// conversion handles what stands behind a percent sign, and returns its length.
func (p *percentFormat) conversion(f string) (int, error) {
	i := 0
	s := spec{fill: ' ', precision: -1}
	var v Value
	if strings.HasPrefix(f, "(") {
		var err error
		if v, i, err = p.mapping(f); err != nil {
			return 0, err
		}
	}
	for ; i < len(f) && s.flag(f[i]); i++ {
	}
	var err error
	if s.width, i, err = p.count(f, i, 0); err != nil {
		return 0, err
	}
	if s.width < 0 {
		s.left, s.width = true, -s.width
	}
	if i < len(f) && f[i] == '.' {
		if s.precision, i, err = p.count(f, i+1, 0); err != nil {
			return 0, err
		}
		s.precision = max(0, s.precision)
	}
	for i < len(f) && (f[i] == 'h' || f[i] == 'l' || f[i] == 'L') {
		i++
	}
	if i >= len(f) {
		return 0, valueError("incomplete format")
	}
	s.conv = f[i]
	if s.conv == '%' {
		return i + 1, p.put("%")
	}
	if v == nil {
		if v, err = p.next(); err != nil {
			return 0, err
		}
	}
	out, err := p.convert(&s, v, f[:i])
	if err != nil {
		return 0, err
	}
	return i + 1, p.put(out)
}

func (s *spec) flag(c byte) bool {
	switch c {
	case '-':
		s.left = true
	case '+':
		s.plus = true
	case ' ':
		s.space = true
	case '#':
		s.alt = true
	case '0':
		s.zero = true
	default:
		return false
	}
	return true
}

func (p *percentFormat) mapping(f string) (v Value, n int, err error) {
	depth := 0
	for i := range len(f) {
		switch f[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth > 0 {
			continue
		}
		d, ok := p.operand.(*Dict)
		if !ok {
			return nil, 0, typeError("format requires a mapping")
		}
		v, ok, err := p.st.lookup(d, f[1:i])
		if err == nil && !ok {
			err = classError("KeyError", "%s", quote(f[1:i]))
		}
		return v, i + 1, err
	}
	return nil, 0, valueError("incomplete format key")
}

// count reads a width or precision: digits, or a star that takes an argument.
func (p *percentFormat) count(f string, i, absent int) (n, next int, err error) {
	if i < len(f) && f[i] == '*' {
		v, err := p.next()
		if err != nil {
			return 0, 0, err
		}
		w, ok := asInt(v)
		if !ok {
			return 0, 0, typeError("* wants int")
		}
		return int(min(max(w, -1<<40), 1<<40)), i + 1, nil
	}
	return digitsAt(f, i, absent)
}

func digitsAt(f string, i, absent int) (n, next int, err error) {
	start := i
	for i < len(f) && isDecimal(f[i]) {
		i++
	}
	if i == start {
		return absent, i, nil
	}
	n, convErr := strconv.Atoi(f[start:i])
	if convErr != nil || n > 1<<40 {
		return 0, 0, valueError("width too big")
	}
	return n, i, nil
}

// convert formats v; before is what stands between the percent sign and the
// conversion.
func (p *percentFormat) convert(s *spec, v Value, before string) (string, error) {
	switch s.conv {
	case 's', 'r', 'a':
		out, err := p.st.convertText(s.conv, v)
		if err != nil {
			return "", err
		}
		if p.safe && !isMarkup(v) {
			out = escapeHTML(out)
		}
		return p.st.layText(s, out)
	case 'c':
		if n, ok := asInt(v); ok {
			if n < 0 || n > utf8.MaxRune {
				return "", classError("OverflowError", "%%c arg not in range(0x110000)")
			}
			return p.st.layText(s, string(rune(n)))
		}
		if c, ok := asString(v); ok && utf8.RuneCountInString(c) == 1 {
			return p.st.layText(s, c)
		}
		return "", typeError("%%c requires int or char")
	case 'd', 'i', 'u', 'o', 'x', 'X':
		return p.integer(s, v)
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if !isNumber(v) {
			if u, ok := v.(*Undefined); ok {
				return "", u.fail(p.st)
			}
			return "", typeError("must be real number, not %s", typeName(v))
		}
		f, _ := toFloat(v)
		return p.st.layFloat(s, f)
	}
	return "", valueError("unsupported format character '%c' (%#x) at index %d", s.conv, s.conv, p.at+utf8.RuneCountInString(before))
}

func (p *percentFormat) integer(s *spec, v Value) (string, error) {
	if f, ok := v.(float64); ok && (s.conv == 'd' || s.conv == 'i' || s.conv == 'u') && !math.IsInf(f, 0) && !math.IsNaN(f) {
		v = truncateFloat(f)
	}
	n, ok := toBig(v)
	if !ok {
		if s.conv == 'd' || s.conv == 'i' || s.conv == 'u' {
			return "", typeError("%%%c format: a real number is required, not %s", s.conv, typeName(v))
		}
		return "", typeError("%%%c format: an integer is required, not %s", s.conv, typeName(v))
	}
	if s.conv == 'i' || s.conv == 'u' {
		s.conv = 'd'
	}
	return p.st.layInt(s, n)
}

func toBig(v Value) (*big.Int, bool) {
	if n, ok := v.(*big.Int); ok {
		return n, true
	}
	n, ok := asInt(v)
	return big.NewInt(n), ok
}

// convertText is str(v), repr(v) or ascii(v).
func (st *state) convertText(conv byte, v Value) (string, error) {
	if conv == 's' {
		return st.str(v)
	}
	out, err := st.repr(v)
	if err != nil || conv == 'r' {
		return out, err
	}
	if err := st.alloc(10 * len(out)); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range out {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			writeEscaped(&b, r)
		}
	}
	return b.String(), nil
}

// layText cuts text to the precision and pads it to the width.
func (st *state) layText(s *spec, text string) (string, error) {
	if s.precision >= 0 {
		text = text[:byteOffset(text, s.precision)]
	}
	return st.layOut(s, "", text, '<')
}

// layOut pads a sign and a body to the width. natural is the alignment of
// the value's type, for str.format; % aligns to the right.
func (st *state) layOut(s *spec, sign, body string, natural byte) (string, error) {
	gap := s.width - utf8.RuneCountInString(sign) - utf8.RuneCountInString(body)
	if gap <= 0 {
		return sign + body, nil
	}
	if err := st.alloc(product(gap, utf8.RuneLen(s.fill)) + len(body)); err != nil {
		return "", err
	}
	pad := strings.Repeat(string(s.fill), gap)
	align := s.align
	switch {
	case align != 0:
	case s.left:
		align = '<'
	case s.conv != 0 && natural == '<':
		align = '>' // the percent sign's text
	default:
		align = natural
	}
	switch align {
	case '<':
		return sign + body + pad, nil
	case '^':
		half := strings.Repeat(string(s.fill), gap/2)
		return half + sign + body + pad[len(half):], nil
	case '=':
		return sign + pad + body, nil
	}
	return pad + sign + body, nil
}

func (s *spec) sign(negative bool) string {
	switch {
	case negative:
		return "-"
	case s.plus:
		return "+"
	case s.space:
		return " "
	}
	return ""
}

func (st *state) layInt(s *spec, n *big.Int) (string, error) {
	base := map[byte]int{'o': 8, 'x': 16, 'X': 16, 'b': 2}[s.conv]
	if base == 0 {
		base = 10
	}
	body := new(big.Int).Abs(n).Text(base)
	if s.conv == 'X' {
		body = strings.ToUpper(body)
	}
	if s.precision > len(body) {
		if err := st.alloc(s.precision); err != nil {
			return "", err
		}
		body = strings.Repeat("0", s.precision-len(body)) + body
	}
	sign := s.sign(n.Sign() < 0)
	if s.alt && base != 10 {
		sign += "0" + string(s.conv)
	}
	return st.layNumber(s, sign, body)
}

func (st *state) layFloat(s *spec, f float64) (string, error) {
	precision := s.precision
	if precision < 0 {
		precision = 6
	}
	if precision > 100_000 {
		return "", valueError("precision too big")
	}
	if err := st.alloc(2*precision + 400); err != nil {
		return "", err
	}
	sign := s.sign(math.Signbit(f) && !math.IsNaN(f))
	f = math.Abs(f)
	body := ""
	switch {
	case math.IsInf(f, 0):
		body = "inf"
	case math.IsNaN(f):
		body = "nan"
	default:
		body = floatBody(s, f, precision)
	}
	if unicode.IsUpper(rune(s.conv)) {
		body = strings.ToUpper(body)
	}
	return st.layNumber(s, sign, body)
}

func floatBody(s *spec, f float64, precision int) string {
	switch s.conv | 0x20 {
	case 'f':
		return strconv.FormatFloat(f, 'f', precision, 64)
	case 'e':
		return strconv.FormatFloat(f, 'e', precision, 64)
	case '%':
		return strconv.FormatFloat(f*100, 'f', precision, 64) + "%"
	}
	// g: so many significant digits, without trailing zeros.
	precision = max(precision, 1)
	e := strconv.FormatFloat(f, 'e', precision-1, 64)
	at := strings.IndexByte(e, 'e')
	exp, _ := strconv.Atoi(e[at+1:])
	mantissa, tail := e[:at], e[at:]
	if exp >= -4 && exp < precision {
		mantissa, tail = strconv.FormatFloat(f, 'f', precision-1-exp, 64), ""
	}
	if !s.alt && strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	return mantissa + tail
}

func (st *state) layNumber(s *spec, sign, body string) (string, error) {
	if s.group != 0 {
		body = grouped(body, s.group, groupSize(s.conv))
	}
	if s.zero && !s.left && s.align == 0 {
		z := *s
		z.fill, z.align = '0', '='
		if s.group != 0 {
			return st.layGrouped(&z, sign, body)
		}
		return st.layOut(&z, sign, body, '=')
	}
	return st.layOut(s, sign, body, '>')
}

func groupSize(conv byte) int {
	switch conv {
	case 'b', 'o', 'x', 'X':
		return 4
	}
	return 3
}

// layGrouped fills up with zeros that are grouped as well.
func (st *state) layGrouped(s *spec, sign, body string) (string, error) {
	if err := st.alloc(2 * s.width); err != nil {
		return "", err
	}
	whole := body
	if at := strings.IndexAny(body, ".e%"); at >= 0 {
		whole = body[:at]
	}
	digits := strings.ReplaceAll(whole, string(s.group), "")
	tail := body[len(whole):]
	for need := s.width - len(sign) - len(tail); len(whole) < need; {
		digits = strings.Repeat("0", max(1, (need-len(whole))*3/4)) + digits
		whole = grouped(digits, s.group, groupSize(s.conv))
	}
	// The loop may have gone too far by a few digits.
	for len(digits) > 1 && digits[0] == '0' {
		shorter := grouped(digits[1:], s.group, groupSize(s.conv))
		if len(shorter) < s.width-len(sign)-len(tail) {
			break
		}
		digits, whole = digits[1:], shorter
	}
	return sign + whole + tail, nil
}

// grouped puts separators between groups of the digits before a point or exponent.
func grouped(body string, sep byte, size int) string {
	end := strings.IndexAny(body, ".e%")
	if end < 0 {
		end = len(body)
	}
	var b strings.Builder
	for i := range end {
		if i > 0 && (end-i)%size == 0 {
			b.WriteByte(sep)
		}
		b.WriteByte(body[i])
	}
	return b.String() + body[end:]
}
