package openai

import (
	"encoding/json"
	"strings"
)

// messages checks a list of messages and gives it in the form that chat
// templates are written for, which differs from the API's in two places:
//
//   - Content given as parts becomes one string, the texts joined with a
//     newline, as vLLM and llama.cpp do for templates that know strings alone.
//   - The arguments of an assistant's tool calls, a string of JSON in the API,
//     become the object that the string holds: templates print them with
//     tojson. What is no object (a model's botched call, sent back to it as
//     history) stays a string.
//
// Everything else, unknown fields and their order included, stays as it was sent.
func (v value) messages() (json.RawMessage, error) {
	if _, err := v.list(); err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(v.raw))
	err := eachElement(v.raw, func(i int, raw []byte) error {
		var err error
		if out = append(out, ','); i == 0 {
			out[0] = '['
		}
		out, err = v.element(i, raw).appendMessage(out)
		return err
	})
	return append(out, ']'), err
}

// appendMessage checks the message v and appends its template form.
func (v value) appendMessage(out []byte) ([]byte, error) {
	role, content := "", false
	open := byte('{')
	err := v.fields(func(key string, e value) (err error) {
		out = appendString(append(out, open), key)
		out = append(out, ':')
		open = ','
		switch {
		case key == "role":
			role, err = e.text()
		case key == "content" && !e.null():
			content = true
			out, err = e.appendContent(out)
			return err
		case key == "tool_calls" && e.is('['):
			out, err = e.appendCalls(out)
			return err
		case key == "function_call" && !e.null():
			return e.unsupported("functions were replaced by tool_calls")
		case key == "audio" && !e.null():
			return e.unsupported("weir reads text alone")
		}
		out = append(out, e.raw...)
		return err
	})
	switch {
	case err != nil:
	case role == "":
		err = missing(v.path + ".role")
	case !content && role != "assistant":
		err = missing(v.path + ".content")
	}
	return append(out, '}'), err
}

// appendContent appends a message's content as one string.
func (v value) appendContent(out []byte) ([]byte, error) {
	if v.is('"') {
		return append(out, v.raw...), nil
	}
	if !v.is('[') {
		return out, v.wrongType("a string or an array of parts")
	}
	var text strings.Builder
	err := eachElement(v.raw, func(i int, raw []byte) error {
		part, err := v.element(i, raw).part()
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(part)
		return err
	})
	return appendString(out, text.String()), err
}

// part gives the text of a content part.
func (v value) part() (string, error) {
	if v.is('"') { // vLLM takes a bare string for a text part
		return v.text()
	}
	var text, typ value
	err := v.fields(func(key string, e value) error {
		switch key {
		case "text":
			text = e
		case "type":
			typ = e
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if typ.raw == nil {
		return "", missing(v.path + ".type")
	}
	name, err := typ.text()
	if err != nil {
		return "", err
	}
	if name != "text" {
		return "", typ.unsupported("a content part of type %.40q: weir reads parts of type \"text\" alone", name)
	}
	if text.raw == nil {
		return "", missing(v.path + ".text")
	}
	return text.text()
}

// appendCalls appends tool calls with their arguments as objects.
func (v value) appendCalls(out []byte) ([]byte, error) {
	open := byte('[')
	err := eachElement(v.raw, func(i int, raw []byte) error {
		var err error
		out = append(out, open)
		open = ','
		out, err = v.element(i, raw).appendFields(out, "function", func(out []byte, f value) ([]byte, error) {
			return f.appendFields(out, "arguments", appendArguments)
		})
		return err
	})
	if open == '[' {
		out = append(out, '[')
	}
	return append(out, ']'), err
}

// appendFields appends the object v, its field name through f.
func (v value) appendFields(out []byte, name string, f func([]byte, value) ([]byte, error)) ([]byte, error) {
	open := byte('{')
	err := v.fields(func(key string, e value) (err error) {
		out = appendString(append(out, open), key)
		out = append(out, ':')
		open = ','
		if key == name {
			out, err = f(out, e)
			return err
		}
		out = append(out, e.raw...)
		return nil
	})
	if open == '{' {
		out = append(out, '{')
	}
	return append(out, '}'), err
}

func appendArguments(out []byte, v value) ([]byte, error) {
	if !v.is('"') {
		return append(out, v.raw...), nil
	}
	text := strings.TrimSpace(unquote(v.raw))
	if text == "" {
		return append(out, "{}"...), nil
	}
	if text[0] != '{' || checkJSON([]byte(text)) != nil {
		return append(out, v.raw...), nil
	}
	return append(out, text...), nil
}
