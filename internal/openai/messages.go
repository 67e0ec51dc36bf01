package openai

import (
	"encoding/json"
	"strings"
)

// messages checks a list of messages. They stay as they were sent: templates
// differ in what they take, so package chat adapts messages to the template.
func (v value) messages() (json.RawMessage, error) {
	if _, err := v.list("give at least one message"); err != nil {
		return nil, err
	}
	return v.raw, eachElement(v.raw, func(i int, raw []byte) error {
		return v.element(i, raw).message()
	})
}

// message checks one message.
func (v value) message() error {
	role, content := "", false
	err := v.fields(func(key string, e value) (err error) {
		switch {
		case key == "role":
			role, err = e.text()
		case e.null():
		case key == "content":
			content = true
			err = e.content()
		case key == "function_call":
			err = e.unsupported("functions were replaced by tool_calls")
		case key == "audio":
			err = e.unsupported("weir reads text alone")
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case role == "":
		return missing(v.path + ".role")
	case !content && role != "assistant": // whose message may be tool calls alone
		return missing(v.path + ".content")
	}
	return nil
}

// content checks a message's content: a string, or parts that are text.
func (v value) content() error {
	if v.is('"') {
		return nil
	}
	if !v.is('[') {
		return v.wrongType("a string or an array of parts")
	}
	return eachElement(v.raw, func(i int, raw []byte) error {
		return v.element(i, raw).part()
	})
}

// part checks a content part.
func (v value) part() error {
	var typ, text value
	err := v.fields(func(key string, e value) error {
		switch key {
		case "type":
			typ = e
		case "text":
			text = e
		}
		return nil
	})
	if err != nil {
		return err
	}
	if typ.raw == nil {
		return missing(v.path + ".type")
	}
	name, err := typ.text()
	switch {
	case err != nil:
		return err
	case name != "text":
		return typ.unsupported("a content part of type %.40q: weir reads parts of type \"text\" alone", name)
	case text.raw == nil:
		return missing(v.path + ".text")
	}
	_, err = text.text()
	return err
}

// lastMessage gives the role and text of the last of checked messages.
func lastMessage(messages []byte) (role, content string) {
	var last []byte
	_ = eachElement(messages, func(_ int, raw []byte) error { // never fails
		last = raw
		return nil
	})
	if last == nil {
		return "", ""
	}
	_ = eachField(last, func(key string, raw []byte) error { // never fails
		switch {
		case key == "role":
			role = unquote(raw)
		case key == "content" && raw[0] == '"':
			content = unquote(raw)
		case key == "content" && raw[0] == '[':
			content = partsText(raw)
		}
		return nil
	})
	return role, content
}

// partsText joins the texts of checked content parts, as package chat does.
func partsText(parts []byte) string {
	var texts []string
	_ = eachElement(parts, func(_ int, part []byte) error { // never fails
		return eachField(part, func(key string, raw []byte) error {
			if key == "text" {
				texts = append(texts, unquote(raw))
			}
			return nil
		})
	})
	return strings.Join(texts, "\n")
}
