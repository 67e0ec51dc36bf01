package chat

import (
	"encoding/json"
	"strings"
	"testing"
)

const plainTemplate = `{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}`

// A template that knows no tools tells of them all the same, and of earlier calls.
func TestToolsWhereATemplateKnowsNone(t *testing.T) {
	tools := json.RawMessage(`[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]`)
	conversation := `[%s{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}]},{"role":"tool","tool_call_id":"1","content":"r"}]`
	for _, c := range []struct{ template, before, want string }{
		{plainTemplate, "", `<system>You can call`},
		{plainTemplate, `{"role":"system","content":"Be kind."},`, "<system>Be kind.\n\nYou can call"},
		{`{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}` + plainTemplate, "", "<user>You can call"},
	} {
		parsed, err := Parse(c.template)
		if err != nil {
			t.Fatal(err)
		}
		text, err := parsed.Render(Input{Messages: json.RawMessage(strings.Replace(conversation, "%s", c.before, 1)), Tools: tools, OpenAI: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{c.want, `{"type":"function","function":{"name":"f"`, "q", `<assistant>{"name": "f", "arguments": {"a": 1}}`, "<user>The function's result: r"} {
			if !strings.Contains(text, part) {
				t.Errorf("%q is not in %q", part, text)
			}
		}
	}
	knows, err := Parse(`{{ tools | tojson }}` + plainTemplate)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := knows.Render(Input{Messages: json.RawMessage(`[{"role":"user","content":"q"}]`), Tools: tools, OpenAI: true}); err != nil || strings.Contains(text, "You can call") {
		t.Errorf("%q, %v", text, err)
	}
}
