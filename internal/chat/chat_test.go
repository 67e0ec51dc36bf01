package chat

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

const chatML = `{%- for m in messages -%}
{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\n' }}
{%- endif -%}`

func mustParse(t testing.TB, source string) *Template {
	t.Helper()
	tmpl, err := Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func TestRender(t *testing.T) {
	cases := []struct {
		name, source string
		in           Input
		want         string
	}{
		{"chat", chatML, Input{Messages: raw(`[{"role":"user","content":"Hi"}]`), AddGenerationPrompt: true},
			"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
		{"no prompt", chatML, Input{Messages: raw(`[{"role":"user","content":"Hi"}]`)}, "<|im_start|>user\nHi<|im_end|>\n"},
		{"absent things are none", "{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ bos_token is defined }} {{ eos_token is defined }}",
			Input{Messages: raw(`[]`)}, "None None False False False"},
		{"empty lists are none", "{{ tools }} {{ documents }}", Input{Messages: raw(`[]`), Tools: raw(`[]`), Documents: raw(`null`)}, "None None"},
		{"tokens", "{{ bos_token }}{{ eos_token }}", Input{Messages: raw(`[]`), BOSToken: "<s>", EOSToken: "</s>"}, "<s></s>"},
		{"keys stay in order", "{{ tools[0] | tojson }} {{ documents }}",
			Input{Messages: raw(`[]`), Tools: raw(`[{"z":1,"a":{"c":"é<","b":null}}]`), Documents: raw(`[{"title":"t"}]`)},
			`{"z": 1, "a": {"c": "é<", "b": null}} [{'title': 't'}]`},
		{"extra", "{{ enable_thinking }} {{ o }} {{ bos_token }}", Input{Messages: raw(`[]`), BOSToken: "<s>",
			Extra: map[string]json.RawMessage{"enable_thinking": raw("false"), "o": raw(`{"b":1,"a":[1.0]}`), "bos_token": raw(`"<b>"`)}},
			"False {'b': 1, 'a': [1.0]} <b>"},
		{"clock", "{{ strftime_now('%d %b %Y %H:%M') }}", Input{Messages: raw(`[]`), Now: time.Date(2024, 7, 26, 9, 30, 0, 0, time.UTC)}, "26 Jul 2024 09:30"},
	}
	for _, c := range cases {
		got, err := mustParse(t, c.source).Render(c.in)
		if got != c.want || err != nil {
			t.Errorf("%s:\n got %q, %v\nwant %q", c.name, got, err, c.want)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	hi := raw(`[{"role":"user","content":"Hi"}]`)
	cases := []struct {
		name string
		in   Input
		want string // a part of the error
	}{
		{"no messages", Input{}, "messages: JSON, byte 0: a value is missing"},
		{"no list", Input{Messages: raw(`{"role":"user"}`)}, "messages: a list of message objects is needed"},
		{"no objects", Input{Messages: raw(`["Hi"]`)}, "messages: item 0 is not an object"},
		{"broken", Input{Messages: raw(`[{"role":`)}, "messages: JSON, byte 9"},
		{"tools", Input{Messages: hi, Tools: raw(`{"a":1}`)}, "tools: a list is needed"},
		{"extra", Input{Messages: hi, Extra: map[string]json.RawMessage{"x": raw("{")}}, "chat_template_kwargs: x: JSON"},
		{"reserved", Input{Messages: hi, Extra: map[string]json.RawMessage{"messages": raw("[]")}}, "chat_template_kwargs cannot set messages"},
		{"reserved flag", Input{Messages: hi, Extra: map[string]json.RawMessage{"add_generation_prompt": raw("true")}}, "chat_template_kwargs cannot set add_generation_prompt"},
		{"both ends", Input{Messages: hi, AddGenerationPrompt: true, ContinueFinal: true}, "exclude each other"},
		{"limit", Input{Messages: hi, Limits: Limits{Output: 3}}, "chat template, line 2: the rendered text would exceed 3 bytes"},
	}
	tmpl := mustParse(t, chatML)
	for _, c := range cases {
		if got, err := tmpl.Render(c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, error %v, want %q", c.name, got, err, c.want)
		}
	}
	_, err := tmpl.Render(cases[len(cases)-1].in)
	if !errors.Is(err, ErrLimit) {
		t.Errorf("not ErrLimit: %v", err)
	}
	_, err = mustParse(t, "{{ raise_exception('no ' + messages[0].role) }}").Render(Input{Messages: hi})
	var raised *RaisedError
	if !errors.As(err, &raised) || raised.Message != "no user" {
		t.Errorf("not a refusal: %v", err)
	}
}

func TestContinueFinal(t *testing.T) {
	trimming := strings.ReplaceAll(chatML, "m.content", "(m.content | trim)")
	dropping := `{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}`
	thinking := `{% for m in messages %}[{{ m.content.split('</think>')[-1] }}]{% endfor %}`
	parts := `{% for m in messages %}[{% for p in m.content %}{{ p.text }}{% endfor %}]{% endfor %}`
	cases := []struct{ name, source, messages, want string }{
		{"plain", chatML, `[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well,"}]`, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nWell,"},
		{"spaces are kept", chatML, `[{"role":"assistant","content":" Well, \n"}]`, "<|im_start|>assistant\n Well, \n"},
		{"spaces are trimmed", trimming, `[{"role":"assistant","content":" Well, \n"}]`, "<|im_start|>assistant\nWell,"},
		{"the same text twice", chatML, `[{"role":"user","content":"a"},{"role":"assistant","content":"a"}]`, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\na"},
		{"empty", chatML, `[{"role":"assistant","content":""}]`, "<|im_start|>assistant\n"},
		{"parts", parts, `[{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"image"}]}]`, "[ab"},
		{"dropped", dropping, `[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well,"}]`, "error: does not print the end"},
		{"changed", thinking, `[{"role":"assistant","content":"<think>x</think>Well,"}]`, "error: does not print the end"},
		{"no text", chatML, `[{"role":"assistant","content":null}]`, "error: has no text to continue"},
		{"no part", parts, `[{"role":"assistant","content":[{"type":"image"}]}]`, "error: has no text to continue"},
		{"no message", chatML, `[]`, "error: has no text to continue"},
	}
	for _, c := range cases {
		got, err := mustParse(t, c.source).Render(Input{Messages: raw(c.messages), ContinueFinal: true})
		if want, fails := strings.CutPrefix(c.want, "error: "); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, error %v", c.name, got, err)
			}
			continue
		}
		if got != c.want || err != nil {
			t.Errorf("%s:\n got %q, %v\nwant %q", c.name, got, err, c.want)
		}
	}
}

// TestOpenAI adapts OpenAI's messages to templates of different habits.
func TestOpenAI(t *testing.T) {
	const calls = `"tool_calls":[{"id":"abcdefghi","type":"function","function":{"name":"f","arguments":"{\"b\": 1, \"a\": [1.0]}"}}]`
	objects := `{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %};{% endfor %}`
	texts := `{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments }}{% endfor %};{% endfor %}`
	readsBoth := `{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content or [] %}({{ p.text }}){% endfor %}{% endif %};{% endfor %}`
	readsParts := `{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}({{ p.text }}){% endif %}{% endfor %};{% endfor %}`
	first := `{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for m in messages %}{{ m.content | trim }};{% endfor %}`
	cases := []struct{ name, source, messages, want string }{
		{"arguments as objects", objects, `[{"role":"assistant","content":null,` + calls + `}]`, `Nonef{"b": 1, "a": [1.0]};`},
		{"arguments as text", texts, `[{"role":"assistant","content":"",` + calls + `}]`, `f{"b": 1, "a": [1.0]};`},
		{"absent content", objects, `[{"role":"assistant",` + calls + `}]`, `Nonef{"b": 1, "a": [1.0]};`},
		{"arguments that are no JSON", objects, `[{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":"{x"}}]}]`, `f"{x";`},
		{"parts joined", objects, `[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`, "a\nb;"},
		{"parts joined, with a filter", first, `[{"role":"user","content":[{"type":"text","text":" a "}]}]`, "a;"},
		{"parts kept", readsBoth, `[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"user","content":"b"}]`, "(a);b;"},
		{"text as a part", readsParts, `[{"role":"user","content":"a"}]`, "(a);"},
		{"an image", objects, `[{"role":"user","content":[{"type":"image_url"}]}]`, "error: item 0: content parts of type \"image_url\" are not supported"},
		{"no part", objects, `[{"role":"user","content":["a"]}]`, "error: item 0: a content part is not an object"},
	}
	for _, c := range cases {
		got, err := mustParse(t, c.source).Render(Input{Messages: raw(c.messages), OpenAI: true})
		if want, fails := strings.CutPrefix(c.want, "error: "); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, error %v", c.name, got, err)
			}
			continue
		}
		if got != c.want || err != nil {
			t.Errorf("%s:\n got %q, %v\nwant %q", c.name, got, err, c.want)
		}
	}
}

func TestSources(t *testing.T) {
	cases := []struct {
		name, config string
		want         Sources
		fails        string
	}{
		{"one", `{"chat_template":"a","bos_token":"x"}`, Sources{"default": "a"}, ""},
		{"none", `{"bos_token":"x"}`, nil, ""},
		{"null", `{"chat_template":null}`, nil, ""},
		{"several", `{"chat_template":[{"name":"default","template":"a"},{"name":"tool_use","template":"b"}]}`, Sources{"default": "a", "tool_use": "b"}, ""},
		{"incomplete", `{"chat_template":[{"name":"default"}]}`, nil, "item 0 lacks its name or its template"},
		{"a number", `{"chat_template":5}`, nil, "chat_template is neither"},
		{"broken", `{"chat_template"`, nil, "tokenizer_config.json"},
	}
	for _, c := range cases {
		got, err := FromTokenizerConfig([]byte(c.config))
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: error %v", c.name, err)
			}
			continue
		}
		if err != nil || len(got) != len(c.want) || got["default"] != c.want["default"] || got["tool_use"] != c.want["tool_use"] {
			t.Errorf("%s: got %v, %v, want %v", c.name, got, err, c.want)
		}
	}
}

func TestSet(t *testing.T) {
	set, err := Sources{"default": "a", "tool_use": "b", "rag": "c"}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	for withTools, want := range map[bool]string{false: "a", true: "b"} {
		if tmpl, err := set.For(withTools); err != nil || tmpl.Source() != want {
			t.Errorf("tools %v: %v, %v", withTools, tmpl, err)
		}
	}
	if set.Named("rag").Source() != "c" || set.Named("x") != nil {
		t.Error("Named")
	}
	if one, err := (Sources{"default": "a"}).Parse(); err != nil {
		t.Error(err)
	} else if tmpl, err := one.For(true); err != nil || tmpl.Source() != "a" {
		t.Errorf("one template: %v, %v", tmpl, err)
	}
	for _, empty := range []*Set{nil, {}} {
		if _, err := empty.For(false); !errors.Is(err, ErrNoTemplate) || !strings.Contains(err.Error(), "--chat-template") {
			t.Errorf("no template: %v", err)
		}
	}
	other, err := Sources{"x": "a", "rag": "b"}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.For(false); err == nil || !strings.Contains(err.Error(), "(rag, x)") {
		t.Errorf("no default: %v", err)
	}
	if _, err := (Sources{"a": "x", "b": "\n{% if %}"}).Parse(); err == nil || !strings.HasPrefix(err.Error(), `template "b": chat template, line 2: `) {
		t.Errorf("a broken template: %v", err)
	}
}

func TestRenderCase(t *testing.T) {
	const source = "{{ tools is defined }} {{ messages[0].content }} {{ x }}"
	cases := []struct{ name, input, want string }{
		{"variables", `{"messages":[{"role":"user","content":"Hi"}],"x":[1]}`, "False Hi [1]"},
		{"a case", `{"case":"c","input":{"messages":[{"role":"user","content":"Hi"}],"x":{"a":null}},"output":"?"}`, "False Hi {'a': None}"},
		{"none", `{"messages":[{"content":"Hi"}],"tools":null}`, "True Hi "},
		{"input as a variable", `{"messages":[{"content":"Hi"}],"input":{},"x":1}`, "False Hi 1"},
		{"continued", `{"messages":[{"content":"Hi"}],"continue_final_message":true,"x":1}`, "False Hi"},
		{"cases", `[{"input":{}}]`, "error: a list of 1 items"},
		{"text", `"x"`, "error: an object with the template's variables"},
		{"broken", `{`, "error: input: JSON"},
		{"both ends", `{"messages":[{"content":"Hi"}],"continue_final_message":true,"add_generation_prompt":true}`, "error: exclude each other"},
	}
	for _, c := range cases {
		got, err := RenderCase(source, []byte(c.input), caseTime)
		if want, fails := strings.CutPrefix(c.want, "error: "); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, error %v", c.name, got, err)
			}
			continue
		}
		if got != c.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, err := RenderCase("{% if %}", []byte(`{}`), caseTime); err == nil || !strings.HasPrefix(err.Error(), "chat template, line 1: ") {
		t.Errorf("a broken template: %v", err)
	}
}
