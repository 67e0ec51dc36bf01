package answer

import (
	"encoding/json"
	"strings"
)

// call is a complete call.
type call struct{ name, id, args string }

// scanner follows JSON that arrives in pieces: it tells where a value ends. It
// does not check the value, which valid does once it is whole.
type scanner struct {
	depth  int
	inText bool // within a string
	escape bool
	begun  bool
}

// value returns the length of the JSON object or array at the beginning of text,
// 0 if it is not complete, -1 if there is none.
func value(text string) int {
	var s scanner
	n, ok := s.scan(text)
	switch {
	case text != "" && text[0] != '{' && text[0] != '[':
		return -1
	case !ok:
		return 0
	}
	return n
}

// scan goes on through text; it reports how much of it belongs to the value and
// whether the value is complete.
func (s *scanner) scan(text string) (n int, whole bool) {
	for i := range len(text) {
		c := text[i]
		switch {
		case s.escape:
			s.escape = false
		case s.inText && c == '\\':
			s.escape = true
		case c == '"':
			s.inText = !s.inText
		case s.inText:
		case c == '{' || c == '[':
			s.depth++
			s.begun = true
		case c == '}' || c == ']':
			if s.depth--; s.depth <= 0 {
				return i + 1, true
			}
		}
	}
	return len(text), false
}

// readCall reads {"name": …, "arguments": …} with the keys in any order;
// "parameters" is the arguments' other name.
func readCall(text string) (c call, ok bool) {
	var fields struct {
		Name       *string         `json:"name"`
		Arguments  json.RawMessage `json:"arguments"`
		Parameters json.RawMessage `json:"parameters"`
		ID         string          `json:"id"`
		Function   json.RawMessage `json:"function"`
	}
	if json.Unmarshal([]byte(text), &fields) != nil {
		return c, false
	}
	if fields.Name == nil && len(fields.Function) > 0 { // OpenAI's own shape
		inner, ok := readCall(string(fields.Function))
		if inner.id == "" {
			inner.id = fields.ID
		}
		return inner, ok
	}
	if fields.Name == nil {
		return c, false
	}
	args := fields.Arguments
	if args == nil {
		args = fields.Parameters
	}
	c = call{name: *fields.Name, id: fields.ID}
	c.args, ok = arguments(string(args))
	return c, ok
}

// arguments takes a call's arguments: an object, or its JSON as a string, as
// templates that print a string with tojson make models write it. None are {}.
func arguments(text string) (string, bool) {
	text = strings.TrimSpace(text)
	if text == "" || text == "null" {
		return "{}", true
	}
	if text[0] == '"' {
		var inner string
		if json.Unmarshal([]byte(text), &inner) != nil {
			return "", false
		}
		text = strings.TrimSpace(inner)
	}
	return text, strings.HasPrefix(text, "{") && json.Valid([]byte(text))
}

// readCalls reads a list of calls, or one.
func readCalls(text string) (list []call, ok bool) {
	if !strings.HasPrefix(text, "[") {
		c, ok := readCall(text)
		return []call{c}, ok
	}
	var items []json.RawMessage
	if json.Unmarshal([]byte(text), &items) != nil || len(items) == 0 {
		return nil, false
	}
	for _, raw := range items {
		c, ok := readCall(string(raw))
		if !ok {
			return nil, false
		}
		list = append(list, c)
	}
	return list, true
}

// Head is how a call begins that a grammar writes, up to its arguments.
func Head(name, key string) string {
	quoted, _ := json.Marshal(name) // a string always marshals
	return `{"name": ` + string(quoted) + `, "` + key + `": `
}

// head looks whether text begins like a call of a tool that a grammar wrote. It
// reports the name and how long the head is; 0 if it is not complete, -1 if the
// text is none.
func (r *Reader) head(text, key string) (name string, n int) {
	n = -1
	for _, tool := range r.o.Tools {
		h := Head(tool, key)
		if strings.HasPrefix(text, h) {
			return tool, len(h)
		}
		if strings.HasPrefix(h, text) {
			n = 0
		}
	}
	return "", n
}

// leadingString reads a JSON string; n is 0 if it is not complete, -1 if there is
// none.
func leadingString(text string) (s string, n int) {
	if text == "" {
		return "", 0
	}
	if text[0] != '"' {
		return "", -1
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			if json.Unmarshal([]byte(text[:i+1]), &s) != nil {
				return "", -1
			}
			return s, i + 1
		}
	}
	return "", 0
}
