package chat

import (
	"errors"
	"strings"
	"unicode"

	"weir/internal/chat/jinja"
)

// openTag marks the place up to which the last message is kept. Its trailing
// space shows whether the template trims messages. (Transformers' way; to
// look for the message's own text fails where a template changes it.)
const openTag = "CONTINUE_FINAL_MESSAGE_TAG "

var errNothingToContinue = errors.New("continue_final_message: the last message has no text to continue")

var errFinalDropped = errors.New("continue_final_message: the chat template does not print the end of the last message, " +
	"so there is nothing to continue: use add_generation_prompt, or another template")

// renderOpen renders a conversation up to the end of its last message's text.
func (t *Template) renderOpen(call jinja.Call) (string, error) {
	v, _ := call.Vars.Get("messages")
	list, ok := v.(*jinja.List)
	if !ok || len(list.Items()) == 0 {
		return "", errNothingToContinue
	}
	messages := append([]jinja.Value(nil), list.Items()...)
	last, ok := messages[len(messages)-1].(*jinja.Dict)
	if !ok {
		return "", errNothingToContinue
	}
	tagged, text, err := withTag(last)
	if err != nil {
		return "", err
	}
	messages[len(messages)-1] = tagged
	call.Vars.Set("messages", jinja.NewList(messages...))
	out, err := t.t.Render(call)
	if err != nil {
		return "", err
	}
	at := strings.LastIndex(out, strings.TrimSpace(openTag))
	if at < 0 || !strings.Contains(out, strings.TrimFunc(text, unicode.IsSpace)) {
		return "", errFinalDropped
	}
	if strings.HasPrefix(out[at:], openTag) {
		return out[:at], nil
	}
	return strings.TrimRightFunc(out[:at], unicode.IsSpace), nil
}

// withTag returns a copy of a message with the tag behind its text.
func withTag(message *jinja.Dict) (tagged *jinja.Dict, text string, err error) {
	tagged = message.Copy()
	content, _ := message.Get("content")
	switch content := content.(type) {
	case string:
		tagged.Set("content", content+openTag)
		return tagged, content, nil
	case *jinja.List:
		parts := append([]jinja.Value(nil), content.Items()...)
		for i := len(parts) - 1; i >= 0; i-- {
			part, ok := parts[i].(*jinja.Dict)
			if !ok {
				continue
			}
			v, _ := part.Get("text")
			text, ok := v.(string)
			if !ok {
				continue
			}
			part = part.Copy()
			part.Set("text", text+openTag)
			parts[i] = part
			tagged.Set("content", jinja.NewList(parts...))
			return tagged, text, nil
		}
	}
	return nil, "", errNothingToContinue
}
