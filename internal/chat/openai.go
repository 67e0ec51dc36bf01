package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"weir/internal/chat/jinja"
)

// Templates are written for conversations as Transformers' users build them,
// which differ from what OpenAI's clients send: a tool call's arguments are
// an object there and its text here; content may come in parts here, which
// most templates would print as a Python list. And templates differ from
// each other in both. So each is asked, once, by rendering small
// conversations with it; its answers decide how messages are adapted.

// habits is what a template does with a conversation.
type habits struct {
	readsParts    bool // it prints the text of content that comes in parts
	readsText     bool // it prints content that is a string
	textArguments bool // it needs a tool call's arguments as text
	showsTools    bool // it prints the tools that it is given
	readsSystem   bool // it prints a system message
}

const needle = "wEiRnEeDlE"

// probe finds out a template's habits.
func (t *Template) probe() habits {
	text := t.ask(`[{"role":"user","content":"` + needle + `"}]`)
	parts := t.ask(`[{"role":"user","content":[{"type":"text","text":"` + needle + `"}]}]`)
	h := habits{
		readsText:  strings.Contains(text, needle),
		readsParts: strings.Contains(parts, needle) && !strings.Contains(parts, "'text'"),
	}
	if !h.readsParts {
		h.readsText = true
	}
	h.showsTools = t.showsTools()
	h.readsSystem = strings.Contains(t.ask(`[{"role":"system","content":"`+needle+`"},{"role":"user","content":"q"}]`), needle)
	asObject := t.ask(toolCall(`{"` + needle + `":"x"}`))
	asText := t.ask(toolCall(`"{\"` + needle + `\":\"x\"}"`))
	h.textArguments = !strings.Contains(asObject, needle) && strings.Contains(asText, needle)
	return h
}

func toolCall(arguments string) string {
	return `[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"abcdefghi","type":"function",` +
		`"function":{"name":"f","arguments":` + arguments + `}}]},{"role":"tool","tool_call_id":"abcdefghi","name":"f","content":"r"},` +
		`{"role":"assistant","content":"a"},{"role":"user","content":"q"}]`
}

// ask renders a conversation; what the template refuses gives no text.
func (t *Template) ask(messages string) string {
	tools := `[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{}}}}]`
	out, err := t.Render(Input{Messages: json.RawMessage(messages), Tools: json.RawMessage(tools),
		AddGenerationPrompt: true, BOSToken: "<s>", EOSToken: "</s>", Now: time.Unix(0, 0)})
	if err != nil {
		out, err = t.Render(Input{Messages: json.RawMessage(messages), BOSToken: "<s>", EOSToken: "</s>", Now: time.Unix(0, 0)})
	}
	if err != nil {
		return ""
	}
	return out
}

// adapt returns the messages as the template wants them.
func (h habits) adapt(list *jinja.List) (*jinja.List, error) {
	out := make([]jinja.Value, len(list.Items()))
	for i, v := range list.Items() {
		m, err := h.message(v.(*jinja.Dict))
		if err != nil {
			return nil, fmt.Errorf("messages: item %d: %w", i, err)
		}
		out[i] = m
	}
	return jinja.NewList(out...), nil
}

func (h habits) message(m *jinja.Dict) (*jinja.Dict, error) {
	content, has := m.Get("content")
	switch c := content.(type) {
	case *jinja.List:
		if h.readsParts {
			break
		}
		text, err := joinParts(c)
		if err != nil {
			return nil, err
		}
		m = m.Copy()
		m.Set("content", text)
	case string:
		if h.readsText {
			break
		}
		part := jinja.NewDict()
		part.Set("type", "text")
		part.Set("text", c)
		m = m.Copy()
		m.Set("content", jinja.NewList(part))
	case nil:
		if !has { // optional beside tool calls; templates look for null
			m = m.Copy()
			m.Set("content", jinja.None)
		}
	}
	calls, _ := m.Get("tool_calls")
	list, ok := calls.(*jinja.List)
	if !ok || h.textArguments {
		return m, nil
	}
	return withObjects(m, list), nil
}

// joinParts puts each part's text on lines of its own.
func joinParts(parts *jinja.List) (string, error) {
	var texts []string
	for _, v := range parts.Items() {
		part, ok := v.(*jinja.Dict)
		if !ok {
			return "", errors.New("a content part is not an object")
		}
		text, _ := part.Get("text")
		s, ok := text.(string)
		if !ok {
			kind, _ := part.Get("type")
			return "", fmt.Errorf("content parts of type %q are not supported by this model's chat template: send parts of type \"text\"", fmt.Sprint(kind))
		}
		texts = append(texts, s)
	}
	return strings.Join(texts, "\n"), nil
}

// withObjects returns a copy of a message whose tool calls have their
// arguments as objects. Text that is no JSON object stays as it is.
func withObjects(m *jinja.Dict, calls *jinja.List) *jinja.Dict {
	out := append([]jinja.Value(nil), calls.Items()...)
	for i, v := range out {
		call, ok := v.(*jinja.Dict)
		if !ok {
			continue
		}
		f, _ := call.Get("function")
		fn, ok := f.(*jinja.Dict)
		if !ok {
			continue
		}
		a, _ := fn.Get("arguments")
		text, ok := a.(string)
		if !ok {
			continue
		}
		parsed, err := jinja.FromJSON([]byte(text))
		if _, isObject := parsed.(*jinja.Dict); err != nil || !isObject {
			continue
		}
		fn, call = fn.Copy(), call.Copy()
		fn.Set("arguments", parsed)
		call.Set("function", fn)
		out[i] = call
	}
	m = m.Copy()
	m.Set("tool_calls", jinja.NewList(out...))
	return m
}
