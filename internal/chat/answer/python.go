package answer

import (
	"encoding/json"
	"strconv"
	"strings"
)

// readPython reads a call as Llama 3 writes those of built-in tools:
// name.call(key="value", other=3). Values are Python's literals of strings,
// numbers, booleans and None.
func readPython(text string) (c call, ok bool) {
	text = strings.TrimSpace(text)
	name, rest, ok := strings.Cut(text, ".call(")
	if !ok || !strings.HasSuffix(rest, ")") || strings.ContainsAny(name, " \n(") {
		return c, false
	}
	rest = strings.TrimSpace(strings.TrimSuffix(rest, ")"))
	args := []byte{'{'}
	for rest != "" {
		key, after, ok := strings.Cut(rest, "=")
		if key = strings.TrimSpace(key); !ok || key == "" || strings.ContainsAny(key, `"' ,(`) {
			return c, false
		}
		value, left, ok := pythonValue(strings.TrimSpace(after))
		if !ok {
			return c, false
		}
		if len(args) > 1 {
			args = append(args, ", "...)
		}
		k, _ := json.Marshal(key) // a string always marshals
		args = append(append(append(args, k...), ": "...), value...)
		rest = strings.TrimSpace(left)
		if rest == "" {
			break
		}
		if rest[0] != ',' {
			return c, false
		}
		rest = strings.TrimSpace(rest[1:])
	}
	return call{name: name, args: string(append(args, '}'))}, true
}

// pythonValue reads a literal and writes it as JSON.
func pythonValue(text string) (value []byte, rest string, ok bool) {
	if text == "" {
		return nil, "", false
	}
	if q := text[0]; q == '"' || q == '\'' {
		return pythonString(text[1:], q)
	}
	end := strings.IndexByte(text, ',')
	if end < 0 {
		end = len(text)
	}
	word := strings.TrimSpace(text[:end])
	switch word {
	case "True", "False":
		return []byte(strings.ToLower(word)), text[end:], true
	case "None":
		return []byte("null"), text[end:], true
	}
	if _, err := strconv.ParseFloat(word, 64); err != nil || !json.Valid([]byte(word)) {
		return nil, "", false
	}
	return []byte(word), text[end:], true
}

// pythonString reads a string's rest, up to its quote. Templates write values
// between quotes without escaping any, so a quote ends the string only before a
// comma or the end.
func pythonString(text string, quote byte) (value []byte, rest string, ok bool) {
	for i := range len(text) {
		if text[i] != quote {
			continue
		}
		after := strings.TrimSpace(text[i+1:])
		if after == "" || after[0] == ',' && strings.Contains(after, "=") {
			v, err := json.Marshal(text[:i])
			return v, text[i+1:], err == nil
		}
	}
	return nil, "", false
}
