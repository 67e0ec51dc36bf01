package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	answers "weir/internal/chat/answer"
	"weir/internal/grammar"
	"weir/internal/llm"
)

// marksOf are templates that show a format and nothing else.
var marksOf = map[answers.Format]string{
	answers.Hermes: "<tool_call>", answers.Llama3: "<|python_tag|>", answers.Mistral: "[TOOL_CALLS]",
	answers.DeepSeek: "<｜tool▁calls▁begin｜> ```json", answers.Harmony: "<|channel|>", answers.JSON: "plain",
}

const testTools = `[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"enum":["Rome","Oslo"]},"days":{"enum":[1,2]}},"required":["city","days"],"additionalProperties":false}}},
	{"type":"function","function":{"name":"now","parameters":{"additionalProperties":false}}}]`

func toolRequest(format answers.Format, thinks bool, reading llm.Reading) *llm.Request {
	r := textRequest("", func(p *llm.Params) { p.MaxTokens, p.Temperature, p.IgnoreEOS = ptr(150), 1, false })
	// It knows tools, or they would be told in a message longer than the context.
	template := tinyTemplate + "{% for t in tools or [] %}{{ t.function.name }} {% endfor %}{# " + marksOf[format] + " #}"
	if thinks {
		template = tinyTemplate + "{% for t in tools or [] %}{{ t.function.name }} {% endfor %}<think>{# </think>" + marksOf[format] + " #}"
	}
	r.Prompt = &llm.Chat{Messages: []byte(`[{"role":"user","content":"hi"}]`), Tools: []byte(testTools), Template: template}
	r.Reading = reading
	return r
}

// called is an answer's calls.
func called(t *testing.T, e *Engine, r *llm.Request) (calls []llm.CallDelta, text string, finish llm.Finish) {
	t.Helper()
	for ev, err := range e.Generate(context.Background(), r) {
		if err != nil {
			t.Fatal(err)
		}
		text += ev.Text
		if ev.Finish != llm.FinishNone {
			finish = ev.Finish
		}
		for _, d := range ev.Calls {
			if d.Name != "" {
				calls = append(calls, llm.CallDelta{ID: d.ID, Name: d.Name})
			}
			calls[len(calls)-1].Args += d.Args
		}
	}
	return calls, text, finish
}

// A model of random weights calls what it must, in every format: the grammar sees
// to it.
func TestRequiredToolsAreCalled(t *testing.T) {
	e := startTiny(t, usual)
	for format := range marksOf {
		for _, tool := range []string{"", "get_weather"} {
			for seed := range 4 {
				r := toolRequest(format, false, llm.Reading{Thinking: true, Tools: llm.ToolsRequired, Tool: tool, OneCall: true})
				r.Params.Seed = ptr(uint64(seed))
				calls, text, finish := called(t, e, r)
				if format == answers.Harmony && finish == llm.FinishLength {
					continue // it talked in its channels all the time
				}
				if len(calls) != 1 || finish != llm.FinishCalls || format != answers.Harmony && text != "" {
					t.Fatalf("%s: %+v, text %q, finish %s", format, calls, text, finish)
				}
				var args map[string]any
				if err := json.Unmarshal([]byte(calls[0].Args), &args); err != nil || tool != "" && calls[0].Name != tool || calls[0].ID == "" {
					t.Errorf("%s: %+v: %v", format, calls, err)
				}
				if calls[0].Name == "get_weather" && (len(args) != 2 || args["city"] == nil || args["days"] == nil) {
					t.Errorf("%s: arguments %s", format, calls[0].Args)
				}
			}
		}
	}
}

// Without an obligation, text is text; calls that are begun are held to the schema.
func TestToolGrammars(t *testing.T) {
	e := startTiny(t, usual)
	good, bad := `{"city": "Rome", "days": 2}`, `{"city": "Paris"`
	deep := "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
	for _, c := range []struct {
		format   answers.Format
		thinks   bool
		required bool
		text     string
		ok       bool
	}{
		{answers.Hermes, false, false, "Some text, and {\"name\": \"x\"}.", true},
		{answers.Hermes, false, false, "Well.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " + good + "}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", true},
		{answers.Hermes, false, false, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " + bad, false},
		{answers.Hermes, false, false, "<tool_call>\n{\"name\": \"other\"", false},
		{answers.Hermes, false, true, "Some text", false},
		{answers.Hermes, true, true, "Hmm.\n</think>\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", true},
		{answers.Hermes, true, true, "Hmm.\n</think>\n\nBut", false},
		{answers.Llama3, false, false, `{"name": "get_weather", "parameters": ` + good + "}", true},
		{answers.Llama3, false, false, `{"name": "get_weather", "parameters": ` + bad, false},
		{answers.Llama3, false, false, `{"city": "Rome"}`, true},
		{answers.Llama3, false, false, `Hello {"name": "x"}`, true},
		{answers.JSON, false, false, ` {"name": "other"`, false},
		{answers.Mistral, false, false, `Hm [TOOL_CALLS][{"name": "get_weather", "arguments": ` + good + `}, {"name": "now", "arguments": {}}]`, true},
		{answers.Mistral, false, false, `[TOOL_CALLS][{"name": "get_weather", "arguments": ` + bad, false},
		{answers.DeepSeek, false, false, "Hm" + deep + good + "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", true},
		{answers.DeepSeek, false, false, deep + bad, false},
		{answers.Harmony, false, false, "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>" + good, true},
		{answers.Harmony, false, false, "<|channel|>final<|message|>Hello.", true},
		{answers.Harmony, false, true, "<|channel|>final<|message|>", false},
	} {
		reading := llm.Reading{Thinking: true, Tools: llm.ToolsAuto}
		if c.required {
			reading.Tools = llm.ToolsRequired
		}
		r := toolRequest(c.format, c.thinks, reading)
		ids, err := e.tokenizePrompt(r)
		if err != nil {
			t.Fatal(err)
		}
		rd, err := e.readingOf(r, ids)
		if err != nil || rd.Opened != c.thinks {
			t.Fatalf("%s: %+v, %v", c.format, rd, err)
		}
		g, err := e.toolGrammar(context.Background(), r, rd, nil)
		if err != nil {
			t.Fatal(err)
		}
		state, ok := g.Start().AcceptBytes([]byte(c.text))
		if ok != c.ok || ok && !state.Accepting() {
			t.Errorf("%s, required %v: %q is taken: %v", c.format, c.required, c.text, ok)
		}
	}
}

func TestToolSchemasThatAreNotSupported(t *testing.T) {
	e := startTiny(t, usual)
	for _, strict := range []bool{false, true} {
		r := toolRequest(answers.Hermes, false, llm.Reading{Tools: llm.ToolsRequired, OneCall: true})
		r.Prompt.(*llm.Chat).Tools = []byte(fmt.Sprintf(`[{"type":"function","function":{"name":"f","strict":%v,"parameters":{"type":"object","properties":{"a":{"type":"array","uniqueItems":true}}}}}]`, strict))
		_, err := collect(context.Background(), e, r)
		var le *llm.Error
		if strict && (!errors.As(err, &le) || le.Param != "tools" || !strings.Contains(le.Message, "uniqueItems")) || !strict && err != nil {
			t.Errorf("strict %v: %v", strict, err)
		}
	}
}

// TestArgumentsAreObjects: whatever a tool's parameters say, and where no object can be
// of them, the tool is refused.
func TestArgumentsAreObjects(t *testing.T) {
	e := startTiny(t, usual)
	for params, want := range map[string]bool{
		`{"type":"integer"}`: false, `{"enum":[1,2]}`: false, `{"$ref":"#/$defs/n","$defs":{"n":{"type":"string"}}}`: false,
		`{"type":"object","properties":{"a":false},"required":["a"]}`:                              false,
		`{"type":["object","null"],"properties":{"a":{"type":"null"}},"required":["a"]}`:           true,
		`{"anyOf":[{"type":"integer"},{"type":"object","properties":{"a":{"type":"null"}}}]}`:      true,
		`{"$ref":"#/$defs/n","$defs":{"n":{"properties":{"a":{"type":"null"}}}}}`:                  true,
		`{"type":["object","string"],"allOf":[{"properties":{"a":{"type":"null"}}}],"anyOf":[{}]}`: true,
	} {
		r := toolRequest(answers.Hermes, false, llm.Reading{Tools: llm.ToolsRequired, OneCall: true})
		r.Prompt.(*llm.Chat).Tools = []byte(`[{"type":"function","function":{"name":"f","parameters":` + params + `}}]`)
		ids, err := e.tokenizePrompt(r)
		if err != nil {
			t.Fatal(err)
		}
		rd, err := e.readingOf(r, ids)
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.toolGrammar(t.Context(), r, rd, nil)
		if want && err != nil || !want && (err == nil || !strings.Contains(err.Error(), "no value can match")) {
			t.Errorf("%s: %v", params, err)
			continue
		}
		if !want {
			continue
		}
		g, err := grammar.Compile(t.Context(), grammar.Schema(objectSchema([]byte(params))), e.structures.vocab(), grammar.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for text, ok := range map[string]bool{`{"a":null}`: true, `null`: false, `3`: false, `"x"`: false} {
			if s, taken := g.Start().AcceptBytes([]byte(text)); (taken && s.Accepting()) != ok {
				t.Errorf("%s takes %s: %v", params, text, !ok)
			}
		}
	}
}

// TestToolSchemasHaveALimitOfTime: of a strict tool, too, and it is the tool that is named.
func TestToolSchemasHaveALimitOfTime(t *testing.T) {
	e := startTiny(t, usual)
	e.structures.timeout = time.Nanosecond
	r := toolRequest(answers.Hermes, false, llm.Reading{Tools: llm.ToolsRequired, OneCall: true})
	r.Prompt.(*llm.Chat).Tools = []byte(`[{"type":"function","function":{"name":"far","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"string","pattern":"^[ab]{1,9000}$"}}}}}]`)
	_, err := collect(t.Context(), e, r)
	var le *llm.Error
	if !errors.As(err, &le) || le.Kind != llm.Invalid || le.Param != "tools" || !strings.Contains(le.Message, `tool "far"`) || !strings.Contains(le.Message, "--grammar-timeout") {
		t.Errorf("error %v", err)
	}
}

func TestNotBeginning(t *testing.T) {
	e := startTiny(t, usual)
	g, err := grammar.Compile(context.Background(), grammar.Regex(notBeginning(`{"a`)), e.structures.vocab(), grammar.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"": true, "x": true, "{": true, `{"`: true, `{"b`: true, `{"a`: false, `{"abc`: false, `{ "a`: true} {
		state, ok := g.Start().AcceptBytes([]byte(text))
		if (ok && state.Accepting()) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
