package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"weir/internal/llm"
)

// maxDepth bounds the nesting of a request's JSON. Tool schemas nest a dozen
// levels; what nests a hundred is an attack on somebody's recursion.
const maxDepth = 100

// checkJSON tells whether b is one well-formed JSON value in valid UTF-8 and of
// bounded depth. The walking functions below rely on it.
func checkJSON(b []byte) error {
	if len(bytes.TrimLeft(b, " \t\r\n")) == 0 {
		return bodyError("the body is empty: send a JSON object")
	}
	if i := invalidUTF8(b); i >= 0 {
		return bodyError("the body is not UTF-8 at %s: send JSON in UTF-8", position(b, i))
	}
	if i := tooDeep(b); i >= 0 {
		return bodyError("the body nests deeper than %d levels at %s", maxDepth, position(b, i))
	}
	if json.Valid(b) {
		return nil
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(b, new(json.RawMessage)); errors.As(err, &syntax) {
		return bodyError("the body is not valid JSON at %s: %v", position(b, int(syntax.Offset)-1), syntax)
	}
	return bodyError("the body is not valid JSON")
}

func bodyError(format string, args ...any) error {
	e := llm.Invalidf("", format, args...)
	e.Code = "invalid_json"
	return e
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// tooDeep returns the offset where nesting passes maxDepth, or -1.
func tooDeep(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = skipString(b, i) - 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return i
			}
		case '}', ']':
			depth--
		}
	}
	return -1
}

// position gives an offset in b as people count, from 1.
func position(b []byte, offset int) string {
	offset = max(0, min(offset, len(b)))
	line := 1 + bytes.Count(b[:offset], []byte{'\n'})
	column := offset - bytes.LastIndexByte(b[:offset], '\n')
	return fmt.Sprintf("line %d, column %d", line, column)
}

// The functions below walk JSON that checkJSON has passed; on anything else
// they may give nonsense, but never run past the end.

// skipString returns the offset after the string that opens at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// skipValue returns the offset after the value that starts at i.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		default:
			if depth > 0 { // numbers, literals, separators inside
				i++
				continue
			}
			for i < len(b) && !strings.ContainsRune(" \t\r\n,]}", rune(b[i])) {
				i++
			}
		}
		if depth <= 0 {
			return i
		}
	}
	return len(b)
}

// eachField calls f with the fields of an object, in order.
func eachField(b []byte, f func(key string, val []byte) error) error {
	i := skipSpace(b, 0) + 1
	for {
		i = skipSpace(b, i)
		if i >= len(b) || b[i] == '}' {
			return nil
		}
		end := skipString(b, i)
		key := unquote(b[i:end])
		i = skipSpace(b, skipSpace(b, end)+1) // over the colon
		end = skipValue(b, i)
		if err := f(key, b[i:end]); err != nil {
			return err
		}
		if i = skipSpace(b, end); i < len(b) && b[i] == ',' {
			i++
		}
	}
}

// eachElement calls f with the elements of an array, in order.
func eachElement(b []byte, f func(i int, val []byte) error) error {
	i := skipSpace(b, 0) + 1
	for n := 0; ; n++ {
		i = skipSpace(b, i)
		if i >= len(b) || b[i] == ']' {
			return nil
		}
		end := skipValue(b, i)
		if err := f(n, b[i:end]); err != nil {
			return err
		}
		if i = skipSpace(b, end); i < len(b) && b[i] == ',' {
			i++
		}
	}
}

// unquote gives the text of a JSON string.
func unquote(b []byte) string {
	if len(b) >= 2 && bytes.IndexByte(b, '\\') < 0 {
		return string(b[1 : len(b)-1])
	}
	var s string
	if json.Unmarshal(b, &s) != nil {
		return ""
	}
	return s
}

// kind names what a value is, for messages.
func kind(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	switch b[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
