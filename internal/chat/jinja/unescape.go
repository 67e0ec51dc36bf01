package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var plainEscapes = map[byte]string{
	'\n': "", '\\': "\\", '\'': "'", '"': "\"",
	'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

// unescape reads the escapes of a string literal as Python does; those it
// does not know stay as they are. A non-empty msg says what is wrong.
func unescape(s string) (out, msg string) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, ""
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		i++ // the lexer lets no literal end in a lone backslash
		c := s[i]
		plain, isPlain := plainEscapes[c]
		switch {
		case isPlain:
			b.WriteString(plain)
			i++
		case c >= '0' && c <= '7':
			i = octal(&b, s, i)
		case c == 'x' || c == 'u' || c == 'U':
			if i, msg = hexEscape(&b, s, i); msg != "" {
				return "", msg
			}
		case c == 'N':
			return "", `escapes by name (\N{...}) are not supported: write the character itself, or \u and its number`
		case c >= utf8.RuneSelf:
			// Jinja escapes such a character before it reads the escapes: what
			// comes out is the backslash with the character's escape.
			r, n := utf8.DecodeRuneInString(s[i:])
			writeEscaped(&b, r)
			i += n
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), ""
}

func octal(b *strings.Builder, s string, i int) int {
	n := 0
	for k := 0; k < 3 && i < len(s) && s[i] >= '0' && s[i] <= '7'; k++ {
		n = n*8 + int(s[i]-'0')
		i++
	}
	b.WriteRune(rune(n))
	return i
}

// hexEscape reads the escape whose letter is s[i].
func hexEscape(b *strings.Builder, s string, i int) (next int, msg string) {
	width := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
	r, ok := hexDigits(s, i+1, width)
	if !ok {
		return 0, fmt.Sprintf("truncated \\%c%s escape", s[i], strings.Repeat("X", width))
	}
	if r > utf8.MaxRune {
		return 0, "illegal Unicode character"
	}
	i += 1 + width
	if utf16.IsSurrogate(r) && strings.HasPrefix(s[i:], `\u`) {
		if low, ok := hexDigits(s, i+2, 4); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			b.WriteRune(utf16.DecodeRune(r, low))
			return i + 6, ""
		}
	}
	b.WriteRune(r) // a lone surrogate has no UTF-8: it becomes U+FFFD
	return i, ""
}

func hexDigits(s string, i, n int) (rune, bool) {
	if i+n > len(s) {
		return 0, false
	}
	v, err := strconv.ParseUint(s[i:i+n], 16, 32)
	return rune(v), err == nil && s[i] != '+' && s[i] != '-'
}
