package answer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"weir/internal/chat"
)

// said is an answer as its reader understood it.
type said struct {
	Content, Reasoning string
	Calls              []call
	open               bool // the last call was not ended
}

func (s *said) add(t testing.TB, parts []Part) {
	for _, p := range parts {
		switch p.Kind {
		case Content:
			s.Content += p.Text
		case Reasoning:
			s.Reasoning += p.Text
		case CallStart:
			if p.Call != len(s.Calls) || s.open {
				t.Errorf("call %d begins after %d, open %v", p.Call, len(s.Calls), s.open)
			}
			s.Calls = append(s.Calls, call{name: p.Name, id: p.ID})
			s.open = true
		case CallArgs:
			s.Calls[p.Call].args += p.Text
		case CallEnd:
			s.open = false
		}
	}
}

// read reads text cut into pieces.
func read(t testing.TB, o Options, pieces ...string) said {
	var s said
	r := NewReader(o)
	for _, p := range pieces {
		s.add(t, r.Push(p))
	}
	s.add(t, r.Flush())
	if r.Calls() != len(s.Calls) {
		t.Errorf("%d calls counted, %d seen", r.Calls(), len(s.Calls))
	}
	return s
}

// everySplit reads text whole, byte by byte, and cut in two at every byte; each
// must give the same.
func everySplit(t testing.TB, o Options, text string) said {
	t.Helper()
	want := read(t, o, text)
	bytes := strings.Split(text, "")
	if len(text) < 4000 {
		bytes = bytes[:0]
		for i := range len(text) {
			bytes = append(bytes, text[i:i+1])
		}
	}
	if got := read(t, o, bytes...); !reflect.DeepEqual(got, want) {
		t.Errorf("byte by byte %+v\nwhole %+v\nof %q", got, want, text)
	}
	for i := range min(len(text), 1500) {
		if got := read(t, o, text[:i], text[i:]); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %d: %+v\nwhole %+v\nof %q", i, got, want, text)
		}
	}
	return want
}

var tools = []string{"get_weather", "add", "brave_search"}

func TestReads(t *testing.T) {
	weather := call{name: "get_weather", args: `{"city": "Zürich"}`}
	add := call{name: "add", args: `{"a": 1, "b": {"c": "}]\"{"}}`}
	think := Thinking{"<think>", "</think>"}
	for _, c := range []struct {
		name string
		o    Options
		text string
		want said
	}{
		{"hermes", Options{Style: Style{Calls: Hermes}}, "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\"}}\n</tool_call>\n<tool_call>\n{\"arguments\": {\"a\": 1, \"b\": {\"c\": \"}]\\\"{\"}}, \"name\": \"add\"}\n</tool_call>",
			said{Content: "Let me see.", Calls: []call{weather, add}}},
		{"hermes without an end", Options{Style: Style{Calls: Hermes}}, "<tool_call>{\"name\": \"add\"}", said{Calls: []call{{name: "add", args: "{}"}}}},
		{"hermes with a thought", Options{Style: Style{Hermes, think}}, "<think>\nHmm.\n\nYes.\n</think>\n\nWell.\n\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\"}}\n</tool_call>\nDone.\n",
			said{Reasoning: "Hmm.\n\nYes.", Content: "Well.Done.\n", Calls: []call{weather}}},
		{"a thought that the prompt opened", Options{Style: Style{Hermes, think}, Opened: true}, "Hmm.\n</think>\n\nYes.", said{Reasoning: "Hmm.", Content: "Yes."}},
		{"a thought without an end", Options{Style: Style{None, think}, Opened: true}, "Hmm. </thin", said{Reasoning: "Hmm. </thin"}},
		{"no thought", Options{Style: Style{None, think}}, " \n<thin ice", said{Content: " \n<thin ice"}},
		{"a mark within the text", Options{Style: Style{None, think}}, "Say <think> and </think>.\n\n", said{Content: "Say <think> and </think>.\n\n"}},
		{"llama", Options{Style: Style{Calls: Llama3}}, `{"name": "get_weather", "parameters": {"city": "Zürich"}}`, said{Calls: []call{weather}}},
		{"llama, tagged, two", Options{Style: Style{Calls: Llama3}}, `<|python_tag|>{"name": "get_weather", "parameters": {"city": "Zürich"}}; {"name": "add", "parameters": {"a": 1, "b": {"c": "}]\"{"}}}`, said{Calls: []call{weather, add}}},
		{"llama, built in", Options{Style: Style{Calls: Llama3}}, `<|python_tag|>brave_search.call(query="a, "b"", n=3)`, said{Calls: []call{{name: "brave_search", args: `{"query": "a, \"b\"", "n": 3}`}}}},
		{"llama, other JSON", Options{Style: Style{Calls: Llama3}}, `{"city": "Zürich"}`, said{Content: `{"city": "Zürich"}`}},
		{"llama, code", Options{Style: Style{Calls: Llama3}}, "<|python_tag|>print(1)", said{Content: "<|python_tag|>print(1)"}},
		{"mistral", Options{Style: Style{Calls: Mistral}}, `[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Zürich"}, "id": "abcdefghi"}, {"name": "add", "arguments": {"a": 1, "b": {"c": "}]\"{"}}}]`,
			said{Calls: []call{{"get_weather", "abcdefghi", weather.args}, add}}},
		{"mistral, later", Options{Style: Style{Calls: Mistral}}, `Wait. [TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{"city": "Zürich"}[TOOL_CALLS]add{"a": 1, "b": {"c": "}]\"{"}}`,
			said{Content: "Wait. ", Calls: []call{{"get_weather", "abcdefghi", weather.args}, add}}},
		{"deepseek", Options{Style: Style{Calls: DeepSeek}}, "Yes.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Zürich\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1, \"b\": {\"c\": \"}]\\\"{\"}}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
			said{Content: "Yes.", Calls: []call{weather, add}}},
		{"deepseek, later", Options{Style: Style{Calls: DeepSeek}}, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Zürich\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", said{Calls: []call{weather}}},
		{"harmony", Options{Style: Style{Calls: Harmony}}, "<|channel|>analysis<|message|>Hmm.<|end|><|start|>assistant<|channel|>commentary<|message|>I'll look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Zürich\"}<|call|>",
			said{Reasoning: "Hmm.", Content: "I'll look.", Calls: []call{weather}}},
		{"harmony, as templates write it", Options{Style: Style{Calls: Harmony}}, " to=functions.get_weather<|channel|>commentary json<|message|>{\"city\": \"Zürich\"}<|call|>", said{Calls: []call{weather}}},
		{"harmony, final", Options{Style: Style{Calls: Harmony}}, "<|channel|>analysis<|message|>Hmm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.\n<|return|>", said{Reasoning: "Hmm.", Content: "Yes.\n"}},
		{"harmony, just talk", Options{Style: Style{Calls: Harmony}}, "Hello there.", said{Content: "Hello there."}},
		{"JSON", Options{Style: Style{Calls: JSON}}, "```json\n[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\"}}, {\"type\": \"function\", \"id\": \"x\", \"function\": {\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1}\"}}]\n```",
			said{Calls: []call{weather, {"add", "x", `{"a": 1}`}}}},
		{"one is enough", Options{Style: Style{Calls: Hermes}, One: true}, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\"}}\n</tool_call>\n<tool_call>{\"name\": \"add\"}</tool_call>", said{Calls: []call{weather}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Tools = tools
			if got := everySplit(t, c.o, c.text); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// What begins like a call and is none is text, all of it.
func TestMalformedCallsAreText(t *testing.T) {
	for format, texts := range map[Format][]string{
		Hermes:   {"<tool_call>\nnothing\n</tool_call>", "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>", "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": }}</tool_call>", "a <tool_call>{\"name\": \"add\", \"argu", "<tool_call>", "<tool", "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>x"},
		Llama3:   {`{"name": "add", "parameters": {"a": 1}`, `{"name": "unknown", "parameters": {}}`, "<|python_tag|>", "<|pyth", "{", `{"name": 3}`, "<|python_tag|>add.call(x)"},
		Mistral:  {"[TOOL_CALLS][{\"name\": \"add\"", "[TOOL_CALLS]nothing", "[TOOL_CALLS][]", "[TOOL_", "[TOOL_CALLS]add[ARGS]{\"a\"", "[TOOL_CALLS]unknown[ARGS]{}"},
		DeepSeek: {"<｜tool▁calls▁begin｜>nothing", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>unknown\n```json\n{}\n```<｜tool▁call▁end｜>", "<｜tool▁call▁begin｜>function", "x<｜tool▁calls▁end｜>"},
		JSON:     {"```json\n{\"a\": 1}\n```", "[1, 2]", "{\"name\": \"add\"", "``", "```", "[{\"name\": \"add\"}, {\"name\": \"unknown\"}]"},
	} {
		for _, text := range texts {
			got := everySplit(t, Options{Style: Style{Calls: format}, Tools: tools}, text)
			if got.Content != text || len(got.Calls) > 0 {
				t.Errorf("%s: %q was read as %+v", format, text, got)
			}
		}
	}
	for text, want := range map[string]string{
		"<|channel|>commentary to=functions.add <|message|>{\"a\": <|call|>": "{\"a\": ",
		"<|channel|>commentary to=functions.unknown <|message|>{}<|call|>":   "{}",
		"<|channel|>final<|message|>cut <|en":                                "cut <|en",
		"<|channel|>fin":                                                     "<|channel|>fin",
	} {
		got := everySplit(t, Options{Style: Style{Calls: Harmony}, Tools: tools}, text)
		if got.Content != want || len(got.Calls) > 0 {
			t.Errorf("harmony: %q was read as %+v", text, got)
		}
	}
}

// A trusted call's arguments come as they are said.
func TestTrustedCallsStream(t *testing.T) {
	args := `{"city": "Zürich", "x": {"y": "}\""}}`
	for format, text := range map[Format]string{
		Hermes:   "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " + args + "}\n</tool_call>\n<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>",
		Llama3:   `{"name": "get_weather", "parameters": ` + args + `}; {"name": "add", "parameters": {}}`,
		Mistral:  `[TOOL_CALLS][{"name": "get_weather", "arguments": ` + args + `}, {"name": "add", "arguments": {}}]`,
		DeepSeek: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n" + args + "\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
		Harmony:  "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>" + args + "<|call|><|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}<|call|>",
		JSON:     `{"name": "get_weather", "arguments": ` + args + `}` + "\n" + `{"name": "add", "arguments": {}}`,
	} {
		o := Options{Style: Style{Calls: format}, Tools: tools, Trusted: true}
		want := said{Calls: []call{{name: "get_weather", args: args}, {name: "add", args: "{}"}}}
		if got := everySplit(t, o, text); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v", format, got)
		}
		r := NewReader(o)
		at := strings.Index(text, args) + len(args)/2
		var s said
		s.add(t, r.Push(text[:at]))
		if len(s.Calls) != 1 || s.Calls[0].args != args[:len(args)/2] {
			t.Errorf("%s: half way %+v", format, s)
		}
	}
}

func shared(t *testing.T) []string {
	dir := os.Getenv("WEIR_SHARED")
	if dir == "" {
		dir = "../../../../shared"
	}
	files, _ := filepath.Glob(filepath.Join(dir, "templates", "*.jinja"))
	if len(files) == 0 {
		t.Skip("no templates: put the shared folder beside the checkout, or set WEIR_SHARED")
	}
	return files
}

// TestRoundTrip: calls that a real template writes into a conversation are read
// back as the same calls, wherever the text is cut.
func TestRoundTrip(t *testing.T) {
	formats := map[string]struct {
		format      Format
		begin, end  string
		several, id bool
	}{
		"NousResearch-Hermes-3-Llama-3.1-8B-tool_use": {Hermes, "<|im_start|>assistant", "<|im_end|>", true, false},
		"Qwen-Qwen2.5-7B-Instruct":                    {Hermes, "<|im_start|>assistant", "<|im_end|>", true, false},
		"Qwen-Qwen3-0.6B":                             {Hermes, "<|im_start|>assistant\n", "<|im_end|>", true, false},
		"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B":    {DeepSeek, "<｜Assistant｜>", "<｜end▁of▁sentence｜>", true, false},
		"meta-llama-Llama-3.1-8B-Instruct":            {Llama3, "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", false, false},
		"mistralai-Mistral-Nemo-Instruct-2407":        {Mistral, "[/INST]", "</s>", true, true},
		"openai-gpt-oss-120b":                         {Harmony, "<|start|>assistant", "<|call|>", false, false},
		"google-gemma-2-2b-it":                        {JSON, "", "", false, false},
		"microsoft-Phi-3.5-mini-instruct":             {JSON, "", "", false, false},
	}
	calls := []call{
		{"get_weather", "abcdefghi", `{"city": "Zürich", "days": 3}`},
		{"add", "jklmnopqr", `{"a": [1, 2.5, null], "b": {"text": "a \"b\" </tool_call> \\ {\n", "c": true}}`},
		{"now", "stuvwxyz0", `{}`},
	}
	for _, file := range shared(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".jinja")
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f, ok := formats[name]
			if got := Detect(string(source)); !ok || got.Calls != f.format {
				t.Fatalf("detected %+v", got)
			}
			if f.begin == "" {
				return // it knows no tools
			}
			template, err := chat.Parse(string(source))
			if err != nil {
				t.Fatal(err)
			}
			sets := [][]call{calls[:1], calls[1:2], calls[2:]}
			if f.several {
				sets = append(sets, calls)
			}
			for _, set := range sets {
				roundTrip(t, template, Detect(string(source)), set, f.begin, f.end, f.id)
			}
		})
	}
}

func roundTrip(t *testing.T, template *chat.Template, style Style, calls []call, begin, end string, id bool) {
	type function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	}
	type toolCall struct {
		ID       string   `json:"id"`
		Type     string   `json:"type"`
		Function function `json:"function"`
	}
	var list []toolCall
	for _, c := range calls {
		list = append(list, toolCall{c.id, "function", function{c.name, c.args}})
	}
	assistant, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	content := `""`
	if style.Calls == DeepSeek { // its template begins another turn for content
		content = "null"
	}
	text, err := template.Render(chat.Input{
		Messages: json.RawMessage(fmt.Sprintf(`[{"role":"user","content":"What?"},{"role":"assistant","content":%s,"tool_calls":%s}]`, content, assistant)),
		Tools:    json.RawMessage(`[{"type":"function","function":{"name":"get_weather","description":"d","parameters":{"type":"object","properties":{}}}}]`),
		OpenAI:   true, BOSToken: "<s>", EOSToken: "</s>", Now: time.Unix(0, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(text, begin)
	answer := text[at+len(begin):]
	if i := strings.Index(answer, end); i >= 0 && end != "<|call|>" {
		answer = answer[:i]
	}
	got := everySplit(t, Options{Style: style, Tools: []string{"get_weather", "add", "now"}}, answer)
	if len(got.Calls) != len(calls) || strings.TrimSpace(got.Content) != "" {
		t.Fatalf("%q was read as %+v", answer, got)
	}
	for i, c := range got.Calls {
		var a, b any
		if c.name != calls[i].name || id && c.id != calls[i].id || json.Unmarshal([]byte(c.args), &a) != nil || json.Unmarshal([]byte(calls[i].args), &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("call %d is %+v, want %+v", i, c, calls[i])
		}
	}
}

// FuzzRead: nothing that a model says breaks a reader, calls are well formed, and
// cutting the text anywhere changes nothing.
func FuzzRead(f *testing.F) {
	for i, text := range []string{
		"<think>a</think>b<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>", `<|python_tag|>{"name": "add", "parameters": {}}`,
		`[TOOL_CALLS][{"name": "add", "arguments": {}}]`, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{}\n```<｜tool▁call▁end｜>",
		"<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>commentary to=functions.add<|message|>{}<|call|>", "```json\n{\"name\": \"add\"}\n```",
	} {
		f.Add(text, uint8(i), uint8(3), false)
		f.Add(text, uint8(i), uint8(9), true)
	}
	all := []Format{Hermes, Llama3, Mistral, DeepSeek, Harmony, JSON}
	f.Fuzz(func(t *testing.T, text string, format, cut uint8, trusted bool) {
		o := Options{Style: Style{Calls: all[int(format)%len(all)]}, Tools: tools, Trusted: trusted, Opened: cut%2 == 0}
		if cut%3 > 0 {
			o.Thinking = thoughts[0]
		} else {
			o.Opened = false
		}
		want := read(t, o, text)
		at := min(int(cut), len(text))
		if got := read(t, o, text[:at], text[at:]); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %d: %+v, whole %+v", at, got, want)
		}
		for i, c := range want.Calls {
			if !trusted && !json.Valid([]byte(c.args)) {
				t.Errorf("call %d has arguments %q", i, c.args)
			}
		}
		if len(want.Content)+len(want.Reasoning) > len(text) {
			t.Errorf("%d bytes became %d", len(text), len(want.Content)+len(want.Reasoning))
		}
	})
}
