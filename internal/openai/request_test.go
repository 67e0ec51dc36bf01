package openai

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"

	"weir/internal/llm"
)

// testModel is what the requests of these tests are for.
func testModel() llm.Model {
	return llm.Model{ID: "m", Context: 4096, Vocab: 1000, Chat: true, MaxTopLP: 20}
}

const hello = `"messages":[{"role":"user","content":"hi"}]`

func TestRejected(t *testing.T) {
	for _, c := range []struct {
		body, param, code, part string
	}{
		{``, "", "invalid_json", "empty"},
		{`{`, "", "invalid_json", "line 1, column 1"},
		{"{\"a\":1,\n \"b\":nan}", "", "invalid_json", "line 2, column 7"},
		{`[]`, "", "invalid_json", "an array"},
		{"{\"user\":\"\xff\"}", "", "invalid_json", "UTF-8"},
		{`{"a":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, "", "invalid_json", "deeper"},
		{`{}`, "messages", "missing_required_parameter", ""},
		{`{"messages":[]}`, "messages", "empty_array", "give at least one message"},
		{`{"messages":{}}`, "messages", "invalid_type", "an object"},
		{`{"messages":["hi"]}`, "messages[0]", "invalid_type", ""},
		{`{"messages":[{}]}`, "messages[0].role", "missing_required_parameter", ""},
		{`{"messages":[{"role":"user"}]}`, "messages[0].content", "missing_required_parameter", ""},
		{`{"messages":[{"role":"user","content":null}]}`, "messages[0].content", "missing_required_parameter", ""},
		{`{"messages":[{"role":"user","content":3}]}`, "messages[0].content", "invalid_type", ""},
		{`{"messages":[{"role":"user","content":"a","content":"b"}]}`, "messages[0].content", "duplicate_field", ""},
		{`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`,
			"messages[0].content[0].type", "unsupported_parameter", `"image_url"`},
		{`{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, "messages[0].content[0].type", "missing_required_parameter", ""},
		{`{` + hello + `,"temperature":1,"temperature":2}`, "temperature", "duplicate_field", ""},
		{`{` + hello + `,"temperature":"1"}`, "temperature", "invalid_type", "a string"},
		{`{` + hello + `,"temperature":-0.1}`, "temperature", "invalid_value", "[0, 100]"},
		{`{` + hello + `,"temperature":1e999}`, "temperature", "invalid_value", ""},
		{`{` + hello + `,"top_p":0}`, "top_p", "invalid_value", "(0, 1]"},
		{`{` + hello + `,"n":0}`, "n", "invalid_value", ""},
		{`{` + hello + `,"n":129}`, "n", "invalid_value", ""},
		{`{` + hello + `,"n":1.5}`, "n", "invalid_type", "an integer"},
		{`{` + hello + `,"max_tokens":0}`, "max_tokens", "invalid_value", ""},
		{`{` + hello + `,"max_tokens":99999999999999999999}`, "max_tokens", "invalid_value", ""},
		{`{` + hello + `,"max_tokens":5,"max_completion_tokens":6}`, "max_tokens", "invalid_value", "contradicts"},
		{`{` + hello + `,"max_tokens":5,"min_tokens":6}`, "min_tokens", "invalid_value", ""},
		{`{` + hello + `,"stop":[""]}`, "stop", "invalid_value", ""},
		{`{` + hello + `,"stop":["a",1]}`, "stop[1]", "invalid_type", ""},
		{`{` + hello + `,"stop":["` + strings.Repeat(`a","`, 16) + `a"]}`, "stop", "invalid_value", "more than 16"},
		{`{` + hello + `,"logit_bias":{"5":101}}`, "logit_bias.5", "invalid_value", ""},
		{`{` + hello + `,"logit_bias":{"x":1}}`, "logit_bias.x", "invalid_value", "token id"},
		{`{` + hello + `,"logit_bias":{"1":1,"01":2}}`, "logit_bias.01", "invalid_value", "twice"},
		{`{` + hello + `,"logit_bias":{"1000":1}}`, "logit_bias", "invalid_value", "vocabulary"},
		{`{` + hello + `,"stop_token_ids":[1000]}`, "stop_token_ids", "invalid_value", "vocabulary"},
		{`{` + hello + `,"top_logprobs":3}`, "top_logprobs", "invalid_value", "logprobs"},
		{`{` + hello + `,"logprobs":true,"top_logprobs":21}`, "top_logprobs", "invalid_value", "20"},
		{`{` + hello + `,"logprobs":5}`, "logprobs", "invalid_type", ""},
		{`{` + hello + `,"stream_options":{"include_usage":true}}`, "stream_options", "invalid_value", ""},
		{`{` + hello + `,"stream":true,"stream_options":{"usage":true}}`, "stream_options.usage", "unknown_parameter", ""},
		{`{` + hello + `,"stream":true,"prompt_logprobs":1}`, "prompt_logprobs", "unsupported_parameter", ""},
		{`{` + hello + `,"stream":true,"best_of":2}`, "best_of", "unsupported_parameter", ""},
		{`{` + hello + `,"n":3,"best_of":2}`, "best_of", "invalid_value", ""},
		{`{` + hello + `,"tools":[{"type":"function"}],"tool_choice":"auto"}`, "tools[0].function", "missing_required_parameter", ""},
		{`{` + hello + `,"tool_choice":"auto"}`, "tool_choice", "invalid_value", ""},
		{`{` + hello + `,"tools":[{"type":"web"}]}`, "tools[0].type", "unsupported_parameter", ""},
		{`{` + hello + `,"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"f"}}]}`, "tools[1]", "invalid_value", ""},
		{`{` + hello + `,"tools":[{"type":"function","function":{"name":"f","parameters":3}}]}`, "tools[0].function.parameters", "invalid_type", ""},
		{`{` + hello + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"f"}`, "tool_choice", "invalid_value", ""},
		{`{` + hello + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"g"}}}`, "tool_choice", "invalid_value", ""},
		{`{` + hello + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"custom"}}`, "tool_choice.type", "unsupported_parameter", ""},
		{`{` + hello + `,"tools":[]}`, "tools", "empty_array", "leave it out or fill it"},
		{`{` + hello + `,"store":true}`, "store", "unsupported_parameter", ""},
		{`{` + hello + `,"response_format":{"type":"xml"}}`, "response_format.type", "unsupported_parameter", ""},
		{`{` + hello + `,"response_format":{}}`, "response_format.type", "missing_required_parameter", ""},
		{`{` + hello + `,"response_format":{"type":"json_schema"}}`, "response_format.json_schema", "missing_required_parameter", ""},
		{`{` + hello + `,"response_format":{"type":"json_schema","json_schema":{"name":"a"}}}`, "response_format.json_schema.schema", "missing_required_parameter", ""},
		{`{` + hello + `,"response_format":{"type":"json_schema","json_schema":{"schema":3}}}`, "response_format.json_schema.schema", "invalid_type", ""},
		{`{` + hello + `,"structured_outputs":{}}`, "structured_outputs", "invalid_value", ""},
		{`{` + hello + `,"structured_outputs":{"regex":"a","choice":["b"]}}`, "structured_outputs.choice", "invalid_value", "keep one"},
		{`{` + hello + `,"structured_outputs":{"whitespace_pattern":" "}}`, "structured_outputs.whitespace_pattern", "unsupported_parameter", ""},
		{`{` + hello + `,"guided_regex":"a","guided_json":{}}`, "guided_json", "invalid_value", "keep one"},
		{`{` + hello + `,"functions":[]}`, "functions", "unsupported_parameter", ""},
		{`{` + hello + `,"guided_json":"{"}`, "guided_json", "invalid_value", ""},
		{`{` + hello + `,"length_penalty":2}`, "length_penalty", "unsupported_parameter", ""},
		{`{` + hello + `,"temprature":1}`, "temprature", "unknown_parameter", "did you mean temperature?"},
		{`{` + hello + `,"Temperature":1}`, "Temperature", "unknown_parameter", "did you mean temperature?"},
		{`{` + hello + `,"zzzz":1}`, "zzzz", "unknown_parameter", "Unrecognized request argument supplied: zzzz"},
		{`{` + hello + `,"user":5}`, "user", "invalid_type", ""},
		{`{` + hello + `,"continue_final_message":true,"add_generation_prompt":true}`, "continue_final_message", "invalid_value", ""},
		{`{` + hello + `,"chat_template_kwargs":{"messages":1}}`, "chat_template_kwargs.messages", "invalid_value", ""},
	} {
		r, err := DecodeChat([]byte(c.body))
		if err == nil {
			_, err = r.Requests(testModel())
		}
		checkError(t, c.body, err, c.param, c.code, c.part)
	}
}

func TestRejectedCompletion(t *testing.T) {
	for _, c := range []struct {
		body, param, code, part string
	}{
		{`{}`, "prompt", "missing_required_parameter", ""},
		{`{"prompt":[]}`, "prompt", "empty_array", ""},
		{`{"prompt":[[]]}`, "prompt[0]", "empty_array", ""},
		{`{"prompt":{}}`, "prompt", "invalid_type", ""},
		{`{"prompt":[true]}`, "prompt[0]", "invalid_type", ""},
		{`{"prompt":["a",5]}`, "prompt[1]", "invalid_type", ""},
		{`{"prompt":[5,"a"]}`, "prompt[1]", "invalid_type", ""},
		{`{"prompt":[[5],"a"]}`, "prompt[1]", "invalid_type", "not both"},
		{`{"prompt":[-1]}`, "prompt[0]", "invalid_value", ""},
		{`{"prompt":[4294967296]}`, "prompt[0]", "invalid_value", ""},
		{`{"prompt":[1,1000]}`, "prompt[1]", "invalid_value", "vocabulary"},
		{`{"prompt":[[1],[1,1000]]}`, "prompt[1][1]", "invalid_value", "vocabulary"},
		{`{"prompt":["` + strings.Repeat(`a","`, MaxPrompts) + `a"]}`, "prompt", "invalid_value", "more than 1024"},
		{`{"prompt":"a","max_tokens":0}`, "max_tokens", "invalid_value", "echo"},
		{`{"prompt":"a","suffix":"b"}`, "suffix", "unsupported_parameter", "fill"},
		{`{"prompt":"a","logprobs":21}`, "logprobs", "invalid_value", "20"},
		{`{"prompt":"a","logprobs":true}`, "logprobs", "invalid_type", ""},
		{`{"prompt":"a","min_tokens":17}`, "min_tokens", "invalid_value", "16"},
		{`{"prompt":"a","messages":[]}`, "messages", "unknown_parameter", ""},
	} {
		r, err := DecodeCompletion([]byte(c.body))
		if err == nil {
			_, err = r.Requests(testModel())
		}
		checkError(t, c.body, err, c.param, c.code, c.part)
	}
}

func checkError(t *testing.T, body string, err error, param, code, part string) {
	t.Helper()
	var e *llm.Error
	if !errors.As(err, &e) {
		t.Errorf("%.100s: got error %v, want an llm.Error", body, err)
		return
	}
	if e.Kind != llm.Invalid || e.Param != param || e.Code != code || !strings.Contains(e.Message, part) {
		t.Errorf("%.100s:\n got %v param %q code %q: %s\nwant param %q code %q, message with %q", body, e.Kind, e.Param, e.Code, e.Message, param, code, part)
	}
}

func ptr[T any](v T) *T { return &v }

func TestParams(t *testing.T) {
	r, err := DecodeChat([]byte(`{` + hello + `,"model":"m","max_completion_tokens":9,"temperature":0.5,"top_p":0.9,"top_k":40,
		"min_p":0.1,"typical_p":0.8,"repetition_penalty":1.1,"frequency_penalty":-2,"presence_penalty":2,
		"logit_bias":{"7":-100,"8":2.5},"seed":-1,"stop":"END","stop_token_ids":[3],"include_stop_str_in_output":true,
		"ignore_eos":true,"skip_special_tokens":false,"n":2,"best_of":3,"logprobs":true,"top_logprobs":4,"prompt_logprobs":0,
		"min_tokens":2,"priority":-5,"user":null,"service_tier":"auto","metadata":{},"response_format":{ "type" : "text" },
		"store":false,"length_penalty":1.0,"use_beam_search":false,"parallel_tool_calls":true}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Requests(testModel())
	if err != nil {
		t.Fatal(err)
	}
	want := llm.Params{
		MaxTokens: ptr(9), MinTokens: 2, Temperature: 0.5, TopK: 40, TopP: 0.9, MinP: 0.1, TypicalP: 0.8,
		RepetitionPenalty: 1.1, FrequencyPenalty: -2, PresencePenalty: 2, LogitBias: map[int32]float64{7: -100, 8: 2.5},
		Seed: ptr(uint64(math.MaxUint64)), Stop: []string{"END"}, StopTokens: []int32{3}, IncludeStop: true, IgnoreEOS: true,
		KeepSpecial: true, N: 2, BestOf: 3, Logprobs: ptr(4), PromptLogprobs: ptr(0),
	}
	if !reflect.DeepEqual(got[0].Params, want) {
		t.Errorf("got  %+v\nwant %+v", got[0].Params, want)
	}
	if got[0].Priority != -5 || got[0].Model != "m" {
		t.Errorf("got priority %d, model %q", got[0].Priority, got[0].Model)
	}
}

// What a request leaves out comes from the model, then from the API.
func TestDefaults(t *testing.T) {
	r, err := DecodeCompletion([]byte(`{"prompt":"a","stop":"x","top_k":-1}`))
	if err != nil {
		t.Fatal(err)
	}
	m := testModel()
	want := llm.DefaultParams()
	want.MaxTokens, want.Stop = ptr(16), []string{"x"}
	for range 2 {
		got, err := r.Requests(m)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got[0].Params, want) {
			t.Errorf("got  %+v\nwant %+v", got[0].Params, want)
		}
		own := llm.DefaultParams()
		own.Temperature, own.TopK, own.StopTokens = 0.6, 20, []int32{5}
		m.Defaults = &own
		want.Temperature, want.StopTokens = 0.6, []int32{5} // top_k is given: off
	}
}

func TestPrompts(t *testing.T) {
	for body, want := range map[string][]llm.Prompt{
		`"a\u00e9"`:    {llm.Text("aé")},
		`["a","b"]`:    {llm.Text("a"), llm.Text("b")},
		`[1, 2,3]`:     {llm.Tokens{1, 2, 3}},
		`[[1,2], [3]]`: {llm.Tokens{1, 2}, llm.Tokens{3}},
		`[1.0,2e0]`:    {llm.Tokens{1, 2}},
		`""`:           {llm.Text("")},
	} {
		r, err := DecodeCompletion([]byte(`{"add_special_tokens":false,"prompt":` + body + `}`))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		list, err := r.Requests(testModel())
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		var got []llm.Prompt
		for _, q := range list {
			got = append(got, q.Prompt)
			if !q.Tokenize.NoSpecial {
				t.Errorf("%s: special tokens are added", body)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", body, got, want)
		}
	}
}

// Messages reach the template byte for byte.
func TestMessages(t *testing.T) {
	for _, body := range []string{
		`[{"role":"user","content":"a\u0041"}]`,
		`[ {"name" : "n","role":"user", "content":[{"type":"text","text":"a"},{"text":"b","type":"text"}], "z":{"k": 1}} ]`,
		`[{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":""}]`,
		`[{"role":"assistant"}]`,
	} {
		r, err := DecodeChat([]byte(`{"messages":` + body + `}`))
		if err != nil || string(r.Messages) != body {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestLastMessage(t *testing.T) {
	for _, c := range []struct{ messages, role, content string }{
		{`[{"role":"a","content":"b"},{"content":"d\n","role":"c"}]`, "c", "d\n"},
		{`[{"role":"a","content":[{"type":"text","text":"b"},{"text":"c","type":"text"}]}]`, "a", "b\nc"},
		{`[{"role":"assistant","tool_calls":[{}]}]`, "assistant", ""},
		{`[]`, "", ""},
	} {
		if role, content := lastMessage([]byte(c.messages)); role != c.role || content != c.content {
			t.Errorf("%s: got %q, %q", c.messages, role, content)
		}
	}
}

func TestChatPrompt(t *testing.T) {
	r, err := DecodeChat([]byte(`{` + hello + `,"tools":[{"b":1,"a":2}],"tool_choice":"none","documents":[{"title":"t"}],
		"chat_template":"T","chat_template_kwargs":{"enable_thinking":true,"x":[1]},"reasoning_effort":"none",
		"continue_final_message":true,"add_special_tokens":true}`))
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Requests(llm.Model{ID: "m"}) // no template of its own
	if err != nil {
		t.Fatal(err)
	}
	want := &llm.Chat{
		Messages: json.RawMessage(`[{"role":"user","content":"hi"}]`), Tools: json.RawMessage(`[{"b":1,"a":2}]`),
		Documents: json.RawMessage(`[{"title":"t"}]`), Template: "T", NoGeneration: true, ContinueFinal: true, AddSpecialToken: true,
		Kwargs: map[string]json.RawMessage{"enable_thinking": json.RawMessage("true"), "x": json.RawMessage("[1]"), "reasoning_effort": json.RawMessage(`"none"`)},
	}
	if !reflect.DeepEqual(list[0].Prompt, want) {
		t.Errorf("got  %+v\nwant %+v", list[0].Prompt, want)
	}
	r.Template = ""
	if _, err := r.Requests(llm.Model{ID: "m"}); err == nil || !strings.Contains(err.Error(), "no chat template") {
		t.Errorf("without any template: %v", err)
	}
}

// The official client's parameters are all known by name.
func TestClientFieldsKnown(t *testing.T) {
	for _, c := range []struct {
		params any
		names  []string
	}{
		{openai.ChatCompletionNewParams{}, chatTable.names},
		{openai.CompletionNewParams{}, completionTable.names},
	} {
		typ, n := reflect.TypeOf(c.params), 0
		known := strings.Join(c.names, " ") + " "
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			n++
			if !strings.Contains(" "+known, " "+name+" ") {
				t.Errorf("%v has %q, the table has not", typ, name)
			}
		}
		if n < 15 {
			t.Errorf("%v: found only %d fields", typ, n)
		}
	}
}

// What is decoded can be encoded (drivers do), and decodes to the same again.
func TestRequestRoundTrip(t *testing.T) {
	for _, body := range chatSeeds {
		r, err := DecodeChat([]byte(body))
		if err != nil {
			continue
		}
		again := encodeDecode(t, r, DecodeChat)
		if !reflect.DeepEqual(r, again) {
			t.Errorf("%s:\n got %+v\nwant %+v", body, again, r)
		}
	}
	for _, body := range completionSeeds {
		r, err := DecodeCompletion([]byte(body))
		if err != nil {
			continue
		}
		again := encodeDecode(t, r, DecodeCompletion)
		if !reflect.DeepEqual(r, again) {
			t.Errorf("%s:\n got %+v\nwant %+v", body, again, r)
		}
	}
}

func encodeDecode[T any](t *testing.T, r T, decode func([]byte) (T, error)) T {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := decode(b)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return again
}

var chatSeeds = []string{
	`{` + hello + `}`,
	`{` + hello + `,"model":"m","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"n":2,"seed":7}`,
	`{` + hello + `,"logit_bias":{"5":-1.5},"stop":["a","b"],"logprobs":true,"top_logprobs":2,"temperature":0}`,
	`{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","tool_calls":[{"function":{"arguments":"{}"}}]}],"tools":[{}],"tool_choice":"none"}`,
	`{` + hello + `,"chat_template_kwargs":{"a":{"b":[1,null]}},"reasoning_effort":"low","echo":true,"return_token_ids":true}`,
	`{"messages":null,"n":1e0,"top_k":-1,"max_tokens":3}`,
	`{` + hello + `,"x":"\ud800\"\\"}`,
}

var completionSeeds = []string{
	`{"prompt":"a"}`,
	`{"prompt":["a","b"],"echo":true,"logprobs":0,"max_tokens":0}`,
	`{"prompt":[1,2],"stop":"x","skip_special_tokens":false,"add_special_tokens":false}`,
	`{"prompt":[[1],[2,3]],"n":2,"best_of":3,"min_tokens":1,"priority":1}`,
	`{"prompt":[1,"a"]}`,
}

func FuzzChatRequest(f *testing.F) {
	for _, s := range chatSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeChat(body)
		if err != nil {
			return
		}
		if !json.Valid(r.Messages) {
			t.Errorf("messages are not JSON: %s", r.Messages)
		}
		checkRequests(t, r.Requests, 1)
	})
}

func FuzzCompletionRequest(f *testing.F) {
	for _, s := range completionSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeCompletion(body)
		if err == nil {
			checkRequests(t, r.Requests, len(r.Prompt))
		}
	})
}

// checkRequests fails on parameters that an engine could not be asked for.
func checkRequests(t *testing.T, requests func(llm.Model) ([]*llm.Request, error), n int) {
	list, err := requests(testModel())
	if err != nil {
		return
	}
	if len(list) != n {
		t.Errorf("%d requests, want %d", len(list), n)
	}
	for _, r := range list {
		p := r.Params
		switch {
		case p.N < 1 || p.BestOf < p.N || p.BestOf > MaxChoices,
			!(p.Temperature >= 0 && p.Temperature <= 100),
			!(p.TopP > 0 && p.TopP <= 1), !(p.TypicalP > 0 && p.TypicalP <= 1), !(p.MinP >= 0 && p.MinP <= 1),
			p.TopK < 0, p.MinTokens < 0, !(p.RepetitionPenalty > 0),
			p.MaxTokens != nil && (*p.MaxTokens < 0 || *p.MaxTokens < p.MinTokens),
			p.Logprobs != nil && (*p.Logprobs < 0 || *p.Logprobs > 20),
			p.PromptLogprobs != nil && (*p.PromptLogprobs < 0 || *p.PromptLogprobs > 20):
			t.Errorf("invalid parameters: %+v", p)
		}
		for id, b := range p.LogitBias {
			if id < 0 || id >= 1000 || !(b >= -100 && b <= 100) {
				t.Errorf("invalid bias %d: %v", id, b)
			}
		}
		for _, s := range p.Stop {
			if s == "" {
				t.Error("empty stop string")
			}
		}
	}
}
