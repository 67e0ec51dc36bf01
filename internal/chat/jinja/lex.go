package jinja

import (
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kinds of tokens. Operators are their own kind, by their text.
const (
	tokEOF        = "end of template"
	tokData       = "template data / text"
	tokBlockBegin = "begin of statement block"
	tokBlockEnd   = "end of statement block"
	tokVarBegin   = "begin of print statement"
	tokVarEnd     = "end of print statement"
	tokName       = "name"
	tokString     = "string"
	tokInteger    = "integer"
	tokFloat      = "float"
)

type token struct {
	line int
	kind string
	text string // a name, a string's value, data
	num  Value  // an integer's or float's value
}

// describe names a token in messages.
func (t token) describe() string {
	if t.kind == tokName {
		return t.text
	}
	return t.kind
}

func (t token) isName(name string) bool { return t.kind == tokName && t.text == name }

// lexer splits a template into tokens, on demand: so of two mistakes the
// one that stands first in the template is reported.
//
// White space around tags follows Jinja with trim_blocks and lstrip_blocks:
// the newline after a block's or comment's end tag is dropped; spaces between
// a line's start and a block's or comment's begin tag are dropped; a minus
// sign inside a tag drops all white space on that side, a plus sign keeps it.
type lexer struct {
	src       string
	pos       int
	line      int
	end       string // closes the tag that pos is in: "%}", "}}", or "" outside of tags
	open      []byte // brackets to be closed before the tag may end
	lineStart bool   // nothing but tags and what they dropped stands before pos on its line
	pending   []token
}

func newLexer(source string) *lexer {
	if strings.Contains(source, "\r") {
		source = strings.ReplaceAll(source, "\r\n", "\n")
		source = strings.ReplaceAll(source, "\r", "\n")
	}
	source = strings.TrimSuffix(source, "\n") // one newline, as Jinja does
	return &lexer{src: source, line: 1, lineStart: true}
}

func (l *lexer) next() (token, error) {
	for {
		if len(l.pending) > 0 {
			t := l.pending[0]
			l.pending = l.pending[1:]
			return t, nil
		}
		if l.pos >= len(l.src) {
			return token{line: l.line, kind: tokEOF}, nil
		}
		if l.end != "" {
			t, ok, err := l.inTag()
			if ok || err != nil {
				return t, err
			}
			continue
		}
		if err := l.outside(); err != nil {
			return token{}, err
		}
	}
}

// advance moves pos to end, counting lines.
func (l *lexer) advance(end int) {
	l.line += strings.Count(l.src[l.pos:end], "\n")
	l.lineStart = end > l.pos && l.src[end-1] == '\n'
	l.pos = end
}

// emitText queues template text of which stripped remains.
func (l *lexer) emitText(end int, stripped string) {
	if stripped != "" {
		l.pending = append(l.pending, token{line: l.line, kind: tokData, text: stripped})
	}
	l.advance(end)
}

// outside lexes text up to the next tag, and the tag's beginning.
func (l *lexer) outside() error {
	i := l.pos
	for {
		j := strings.IndexByte(l.src[i:], '{')
		if j < 0 || i+j+1 >= len(l.src) {
			l.emitText(len(l.src), l.src[l.pos:])
			return nil
		}
		i += j
		if c := l.src[i+1]; c == '{' || c == '%' || c == '#' {
			break
		}
		i++
	}
	kind := l.src[i+1]
	sign := signAt(l.src, i+2)
	l.emitText(i, l.stripBefore(l.src[l.pos:i], sign, kind != '{'))
	tag := i + 2
	if sign != 0 {
		tag++
	}
	switch kind {
	case '{':
		return l.begin(tag, tokVarBegin, "}}")
	case '#':
		return l.comment(tag)
	}
	if body, ok := rawBegin(l.src, tag); ok {
		return l.raw(body)
	}
	return l.begin(tag, tokBlockBegin, "%}")
}

func (l *lexer) begin(pos int, kind, end string) error {
	l.pending = append(l.pending, token{line: l.line, kind: kind})
	l.advance(pos)
	l.end = end
	return nil
}

func signAt(s string, i int) byte {
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		return s[i]
	}
	return 0
}

// stripBefore drops white space between text and a tag with the given sign.
func (l *lexer) stripBefore(text string, sign byte, isBlock bool) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, isSpace)
	}
	if sign == '+' || !isBlock {
		return text
	}
	start := strings.LastIndexByte(text, '\n') + 1
	if start == 0 && !l.lineStart {
		return text
	}
	if strings.TrimLeftFunc(text[start:], isSpace) == "" {
		return text[:start]
	}
	return text
}

// tagEnd matches a tag's end at s[i:], and the white space it drops. It
// returns the place behind it, or -1.
func tagEnd(s string, i int, end string) int {
	sign := signAt(s, i)
	if sign != 0 && !(sign == '+' && end == "}}") {
		i++
	} else {
		sign = 0
	}
	if !strings.HasPrefix(s[i:], end) {
		return -1
	}
	i += len(end)
	switch {
	case sign == '-':
		return skipSpace(s, i)
	case sign == 0 && end != "}}" && strings.HasPrefix(s[i:], "\n"):
		return i + 1
	}
	return i
}

func skipSpace(s string, i int) int {
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !isSpace(r) {
			break
		}
		i += n
	}
	return i
}

// comment skips to behind the comment whose text begins at pos.
func (l *lexer) comment(pos int) error {
	line := l.line
	if pos >= len(l.src) {
		l.advance(len(l.src))
		return nil
	}
	j := strings.Index(l.src[pos:], "#}")
	if j < 0 {
		return syntaxError(line, "Missing end of comment tag")
	}
	j += pos
	if j > pos && signAt(l.src, j-1) != 0 {
		j--
	}
	l.advance(tagEnd(l.src, j, "#}"))
	return nil
}

// rawBegin matches "raw %}" at s[i:], and returns the place behind it.
func rawBegin(s string, i int) (int, bool) {
	i = skipSpace(s, i)
	if !strings.HasPrefix(s[i:], "raw") {
		return 0, false
	}
	i = skipSpace(s, i+len("raw"))
	if strings.HasPrefix(s[i:], "-%}") {
		return skipSpace(s, i+3), true
	}
	return i + 2, strings.HasPrefix(s[i:], "%}")
}

// raw takes the text from body up to the endraw tag as it stands.
func (l *lexer) raw(body int) error {
	line := l.line
	l.advance(body)
	for i := body; i < len(l.src); i += 2 {
		j := strings.Index(l.src[i:], "{%")
		if j < 0 {
			break
		}
		i += j
		sign := signAt(l.src, i+2)
		k := i + 2
		if sign != 0 {
			k++
		}
		k = skipSpace(l.src, k)
		if !strings.HasPrefix(l.src[k:], "endraw") {
			continue
		}
		end := tagEnd(l.src, skipSpace(l.src, k+len("endraw")), "%}")
		if end < 0 {
			continue
		}
		l.emitText(i, l.stripBefore(l.src[body:i], sign, true))
		l.advance(end)
		return nil
	}
	if body >= len(l.src) {
		return nil
	}
	return syntaxError(line, "Missing end of raw directive")
}

// inTag lexes one token of a tag; ok is false if it was white space.
func (l *lexer) inTag() (t token, ok bool, err error) {
	if len(l.open) == 0 {
		if end := tagEnd(l.src, l.pos, l.end); end >= 0 {
			t := token{line: l.line, kind: tokVarEnd}
			if l.end == "%}" {
				t.kind = tokBlockEnd
			}
			l.advance(end)
			l.end = ""
			return t, true, nil
		}
	}
	if end := skipSpace(l.src, l.pos); end > l.pos {
		l.advance(end)
		return token{}, false, nil
	}
	t = token{line: l.line}
	c, _ := utf8.DecodeRuneInString(l.src[l.pos:])
	switch {
	case c >= '0' && c <= '9':
		err = l.number(&t)
	case isNamePart(c):
		err = l.name(&t)
	case c == '"' || c == '\'':
		err = l.str(&t)
	default:
		err = l.operator(&t)
	}
	return t, true, err
}

func isNamePart(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r >= utf8.RuneSelf && (unicode.IsLetter(r) || unicode.In(r, unicode.Nd, unicode.Nl, unicode.Mn, unicode.Mc))
}

func (l *lexer) name(t *token) error {
	first, _ := utf8.DecodeRuneInString(l.src[l.pos:])
	i := l.pos
	for i < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[i:])
		if !isNamePart(r) {
			break
		}
		i += n
	}
	if first != '_' && !unicode.IsLetter(first) && !unicode.Is(unicode.Nl, first) {
		return syntaxError(l.line, "Invalid character in identifier")
	}
	t.kind, t.text = tokName, l.src[l.pos:i]
	l.advance(i)
	return nil
}

func (l *lexer) str(t *token) error {
	q := l.src[l.pos]
	for i := l.pos + 1; i < len(l.src); i++ {
		switch l.src[i] {
		case '\\':
			i++
		case q:
			s, msg := unescape(l.src[l.pos+1 : i])
			if msg != "" {
				return syntaxError(l.line, "%s", msg)
			}
			t.kind, t.text = tokString, s
			l.advance(i + 1)
			return nil
		}
	}
	return syntaxError(l.line, "unexpected char %s at %d", quote(string(q)), utf8.RuneCountInString(l.src[:l.pos]))
}

func (l *lexer) operator(t *token) error {
	for n := 2; n > 0; n-- {
		if l.pos+n > len(l.src) {
			continue
		}
		switch op := l.src[l.pos : l.pos+n]; op {
		case "(", "[", "{":
			l.open = append(l.open, op[0]+closing[op[0]])
		case ")", "]", "}":
			if len(l.open) == 0 {
				return syntaxError(l.line, "unexpected '%s'", op)
			}
			if want := l.open[len(l.open)-1]; want != op[0] {
				return syntaxError(l.line, "unexpected '%s', expected '%c'", op, want)
			}
			l.open = l.open[:len(l.open)-1]
		case "//", "**", "==", "!=", ">=", "<=",
			"+", "-", "/", "*", "%", "~", ">", "<", "=", ".", ":", "|", ",", ";":
		default:
			continue
		}
		t.kind = l.src[l.pos : l.pos+n]
		l.advance(l.pos + n)
		return nil
	}
	r, _ := utf8.DecodeRuneInString(l.src[l.pos:])
	return syntaxError(l.line, "unexpected char %s at %d", quote(string(r)), utf8.RuneCountInString(l.src[:l.pos]))
}

// closing is the distance from an opening bracket to its closing one in ASCII.
var closing = map[byte]byte{'(': ')' - '(', '[': ']' - '[', '{': '}' - '{'}

// digits returns the place behind digits at s[i:], which underscores may part.
func digits(s string, i int, isDigit func(c byte) bool) int {
	end := i
	for i < len(s) {
		if s[i] == '_' && i > 0 {
			i++
		}
		if i >= len(s) || !isDigit(s[i]) {
			break
		}
		i++
		end = i
	}
	return end
}

func isDecimal(c byte) bool { return c >= '0' && c <= '9' }

func (l *lexer) number(t *token) error {
	start := l.pos
	end := digits(l.src, start, isDecimal)
	isFloat := false
	if start == 0 || l.src[start-1] != '.' {
		fraction := end
		if end+1 < len(l.src) && l.src[end] == '.' && isDecimal(l.src[end+1]) {
			fraction = digits(l.src, end+1, isDecimal)
		}
		exponent := exponentEnd(l.src, fraction)
		isFloat = exponent > end
		if isFloat {
			end = exponent
		}
	}
	if isFloat {
		f, _ := strconv.ParseFloat(strings.ReplaceAll(l.src[start:end], "_", ""), 64) // out of range: infinite, as in Python
		t.kind, t.num = tokFloat, f
	} else {
		end = integerEnd(l.src, start)
		t.kind, t.num = tokInteger, parseInteger(strings.ReplaceAll(l.src[start:end], "_", ""))
	}
	t.text = l.src[start:end]
	l.advance(end)
	return nil
}

// exponentEnd returns the place behind an exponent at s[i:], i if there is none.
func exponentEnd(s string, i int) int {
	if i >= len(s) || s[i] != 'e' && s[i] != 'E' {
		return i
	}
	j := i + 1
	if signAt(s, j) != 0 {
		j++
	}
	if j < len(s) && isDecimal(s[j]) {
		return digits(s, j, isDecimal)
	}
	return i
}

func integerEnd(s string, i int) int {
	if s[i] != '0' {
		return digits(s, i, isDecimal)
	}
	if i+2 < len(s) {
		var in func(byte) bool
		switch s[i+1] {
		case 'b', 'B':
			in = func(c byte) bool { return c == '0' || c == '1' }
		case 'o', 'O':
			in = func(c byte) bool { return c >= '0' && c <= '7' }
		case 'x', 'X':
			in = func(c byte) bool { return isDecimal(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
		}
		if in != nil {
			if end := digits(s, i+2, in); end > i+2 {
				return end
			}
		}
	}
	return digits(s, i, func(c byte) bool { return c == '0' })
}

// parseInteger reads digits that are known to be well formed.
func parseInteger(s string) Value {
	base := 10
	if len(s) > 1 && s[1] > '9' {
		base = 0
	}
	if n, err := strconv.ParseInt(s, base, 64); err == nil {
		return n
	}
	if len(s) > maxDigits {
		s = s[:maxDigits]
	}
	n, _ := new(big.Int).SetString(s, base)
	return n
}

// maxDigits is the length of the longest integer Python reads.
const maxDigits = 4300

// isSpace is what str.strip() and the regular expression \s take for white space.
func isSpace(r rune) bool {
	switch {
	case r == ' ' || r >= '\t' && r <= '\r' || r >= 0x1c && r <= 0x1f:
		return true
	case r < 0x80:
		return false
	}
	return unicode.IsSpace(r)
}
