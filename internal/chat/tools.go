package chat

import (
	"encoding/json"
	"fmt"
	"strings"

	"weir/internal/chat/jinja"
)

// Templates that know no tools would show a model none of them. Then they are told
// in a message, with how to call them, and calls and results of earlier turns
// become text.

// toolNeedle is a name that no template has by itself.
const toolNeedle = "wEiRtOoL"

// showsTools tells whether a template prints the tools that it is given. One that
// has its own way to write calls is left alone: a model that it is for knows another
// than the one that it would be told.
func (t *Template) showsTools() bool {
	if strings.Contains(t.Source(), "tool_calls") {
		return true
	}
	if !strings.Contains(t.Source(), "tools") {
		return false
	}
	shown, _ := t.Render(Input{ // a refusal shows nothing
		Messages: json.RawMessage(`[{"role":"user","content":"q"}]`), AddGenerationPrompt: true, BOSToken: "<s>", EOSToken: "</s>",
		Tools: json.RawMessage(`[{"type":"function","function":{"name":"` + toolNeedle + `","description":"d","parameters":{"type":"object","properties":{}}}}]`),
	})
	return strings.Contains(shown, toolNeedle)
}

// toldTools is what a model is told of tools.
func toldTools(tools json.RawMessage) string {
	var list []json.RawMessage
	_ = json.Unmarshal(tools, &list) // a list, as its reader has checked
	var b strings.Builder
	b.WriteString("You can call these functions, which are described by JSON:\n")
	for _, t := range list {
		fmt.Fprintf(&b, "%s\n", t)
	}
	b.WriteString(`To call one, answer with nothing but {"name": "FUNCTION", "arguments": {…}}. Otherwise answer in text.`)
	return b.String()
}

// withTools puts tools into the messages: into the system's, or as asUser into the
// first one of the user's, for templates that take no system message.
func withTools(list *jinja.List, tools json.RawMessage, asUser bool) *jinja.List {
	told := toldTools(tools)
	var out []jinja.Value
	done := false
	for _, v := range list.Items() {
		m, ok := v.(*jinja.Dict)
		if !ok {
			out = append(out, v)
			continue
		}
		role, _ := m.Get("role")
		if m = asText(m); !done && (role == "system" && !asUser || role == "user" && asUser) {
			m, done = withText(m, told), true
		}
		out = append(out, m)
	}
	if !done && !asUser {
		system := jinja.NewDict()
		system.Set("role", "system")
		system.Set("content", told)
		out = append([]jinja.Value{system}, out...)
	}
	return jinja.NewList(out...)
}

// withText puts text behind a system message's content, or before a user's.
func withText(m *jinja.Dict, text string) *jinja.Dict {
	content, _ := m.Get("content")
	said, ok := content.(string)
	if !ok {
		return m
	}
	m = m.Copy()
	if role, _ := m.Get("role"); role == "system" {
		m.Set("content", said+"\n\n"+text)
	} else {
		m.Set("content", text+"\n\n"+said)
	}
	return m
}

// asText turns an assistant's calls, and a tool's result, into messages that any
// template takes.
func asText(m *jinja.Dict) *jinja.Dict {
	role, _ := m.Get("role")
	content, _ := m.Get("content")
	if role == "tool" {
		out := jinja.NewDict()
		out.Set("role", "user")
		out.Set("content", fmt.Sprintf("The function's result: %v", content))
		return out
	}
	calls, _ := m.Get("tool_calls")
	list, ok := calls.(*jinja.List)
	if !ok {
		return m
	}
	var said []string
	if text, ok := content.(string); ok && text != "" {
		said = append(said, text)
	}
	for _, v := range list.Items() {
		if text, ok := callText(v); ok {
			said = append(said, text)
		}
	}
	out := jinja.NewDict()
	out.Set("role", role)
	out.Set("content", strings.Join(said, "\n"))
	return out
}

// callText writes a call as the model is told to.
func callText(v jinja.Value) (string, bool) {
	call, ok := v.(*jinja.Dict)
	if !ok {
		return "", false
	}
	f, _ := call.Get("function")
	fn, ok := f.(*jinja.Dict)
	if !ok {
		return "", false
	}
	name, _ := fn.Get("name")
	args, _ := fn.Get("arguments")
	text, ok := args.(string)
	if !ok {
		text = "{}"
	}
	quoted, err := json.Marshal(name)
	return fmt.Sprintf(`{"name": %s, "arguments": %s}`, quoted, text), err == nil
}
