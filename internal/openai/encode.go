package openai

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// Responses are written by appending to a byte slice, not with encoding/json:
// a stream sends a chunk for every token of every client, and this costs no
// allocation. It also keeps the order of keys, on which golden tests and the
// legacy top_logprobs (a map in order of probability) rest.

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD. U+2028 and U+2029 are escaped, for those who paste JSON into
// JavaScript.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = appendEscape(append(dst, s[start:i]...), c)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && n == 1) || r == '\u2028' || r == '\u2029' {
			dst = append(append(dst, s[start:i]...), `\u`...)
			for shift := 12; shift >= 0; shift -= 4 {
				dst = append(dst, hexDigits[r>>shift&15])
			}
			start = i + n
		}
		i += n
	}
	return append(append(dst, s[start:]...), '"')
}

// appendEscape appends the ASCII character c, which a JSON string cannot hold
// as it is.
func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendLogprob appends a log probability. JSON has no infinity: what cannot
// happen is -9999, as OpenAI and vLLM have it.
func appendLogprob(dst []byte, f float64) []byte {
	if math.IsNaN(f) || f < -9999 {
		f = -9999
	}
	switch {
	case f >= 0: // rounding may put a certainty above 0
		return append(dst, '0')
	case f > -1e-6:
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

func appendInts[T int | int32 | byte](dst []byte, list []T) []byte {
	dst = append(dst, '[')
	for i, n := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	return append(dst, ']')
}

// appendKey appends a key of an object, with the comma before it unless it is
// the object's first.
func appendKey(dst []byte, key string) []byte {
	if len(dst) > 0 && dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}
