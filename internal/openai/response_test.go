package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"weir/internal/llm"
)

var testHead = Head{ID: "1", Created: 5, Model: "m", Fingerprint: "fp"}

// tok makes a token with its log probability and alternatives.
func tok(id int32, s string, lp float64, top ...llm.Alt) llm.Token {
	return llm.Token{ID: id, Bytes: []byte(s), Logprob: &lp, Top: top}
}

func alt(id int32, s string, lp float64) llm.Alt {
	return llm.Alt{ID: id, Bytes: []byte(s), Logprob: lp}
}

// twoTokens is a request's events: "Hé!" from three tokens, é in two halves.
func twoTokens() []llm.Event {
	return []llm.Event{
		{Prompt: &llm.PromptInfo{IDs: []int32{7, 8}}},
		{Text: "H", Tokens: []llm.Token{tok(1, "H", -0.5, alt(1, "H", -0.5), alt(2, "\"", -2))}},
		{Tokens: []llm.Token{tok(3, "\xc3", -0.25, alt(3, "\xc3", -0.25), alt(4, "\xc4", math.Inf(-1)))}},
		{Text: "é!", Tokens: []llm.Token{tok(5, "\xa9!", -1, alt(6, "x", -0.1), alt(7, "y", -0.2))}},
		{Tokens: []llm.Token{tok(9, "</s>", -1e-9)}, Finish: llm.FinishStop, StopToken: ptr(int32(9)),
			Usage: &llm.Usage{PromptTokens: 2, CachedTokens: 1, CompletionTokens: 4}},
	}
}

func chatOf(t *testing.T, fields string) *ChatRequest {
	t.Helper()
	r, err := DecodeChat([]byte(`{` + hello + fields + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func completionOf(t *testing.T, body string) *CompletionRequest {
	t.Helper()
	r, err := DecodeCompletion([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	g, w := strings.Split(strings.TrimSuffix(got, "\n\n"), "\n\n"), want
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Errorf("chunk %d:\n got %s\nwant %s", i, a, b)
		}
		if j := strings.TrimPrefix(a, "data: "); j != "[DONE]" && !json.Valid([]byte(j)) {
			t.Errorf("chunk %d is not JSON: %s", i, j)
		}
	}
}

func TestChatStream(t *testing.T) {
	run := func(fields string, events []llm.Event) string {
		s := chatOf(t, `,"stream":true`+fields).NewStream(testHead)
		var out []byte
		for i := range events {
			out = s.Append(out, 0, &events[i])
		}
		return string(s.End(out))
	}
	const head = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m","system_fingerprint":"fp","choices":[`
	wantLines(t, run("", twoTokens()),
		head+`{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}`,
		head+`{"index":0,"delta":{"content":"H"},"logprobs":null,"finish_reason":null}]}`,
		head+`{"index":0,"delta":{"content":"é!"},"logprobs":null,"finish_reason":null}]}`,
		head+`{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":9}]}`,
		`data: [DONE]`)
	wantLines(t, run(`,"return_token_ids":true,"logprobs":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}`, twoTokens()[:3]),
		head+`{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":2,"completion_tokens":0,"total_tokens":2,"prompt_tokens_details":{"cached_tokens":0}},"prompt_token_ids":[7,8]}`,
		head+`{"index":0,"delta":{"content":"H"},"logprobs":{"content":[{"token":"H","logprob":-0.5,"bytes":[72],"top_logprobs":[{"token":"H","logprob":-0.5,"bytes":[72]},{"token":"\"","logprob":-2,"bytes":[34]}]}],"refusal":null},"finish_reason":null,"token_ids":[1]}],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}`,
		head+`{"index":0,"delta":{"content":""},"logprobs":{"content":[{"token":"\\xc3","logprob":-0.25,"bytes":[195],"top_logprobs":[{"token":"\\xc3","logprob":-0.25,"bytes":[195]},{"token":"\\xc4","logprob":-9999,"bytes":[196]}]}],"refusal":null},"finish_reason":null,"token_ids":[3]}],"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":0}}}`,
		head+`],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,"prompt_tokens_details":{"cached_tokens":0}}}`,
		`data: [DONE]`)
	wantLines(t, run(`,"n":2,"stream_options":{"include_usage":true}`, []llm.Event{
		{Prompt: &llm.PromptInfo{IDs: []int32{1}}, Choice: 1, Text: "b", Finish: llm.FinishLength},
		{Text: "a", Finish: llm.FinishStop, StopString: "\n", Usage: &llm.Usage{PromptTokens: 1, CompletionTokens: 2}},
	}),
		head+`{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}`,
		head+`{"index":1,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}`,
		head+`{"index":1,"delta":{"content":"b"},"logprobs":null,"finish_reason":null}],"usage":null}`,
		head+`{"index":1,"delta":{},"logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":null}`,
		head+`{"index":0,"delta":{"content":"a"},"logprobs":null,"finish_reason":null}],"usage":null}`,
		head+`{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":"\n"}],"usage":null}`,
		head+`],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}`,
		`data: [DONE]`)
}

func TestChatResponse(t *testing.T) {
	run := func(r *ChatRequest) string {
		c := r.NewResponse(testHead)
		for _, e := range twoTokens() {
			c.Add(0, &e)
		}
		return string(c.Append(nil))
	}
	wantLines(t, run(chatOf(t, ``)),
		`{"id":"chatcmpl-1","object":"chat.completion","created":5,"model":"m","system_fingerprint":"fp","choices":[`+
			`{"index":0,"message":{"role":"assistant","content":"Hé!","refusal":null},"logprobs":null,"finish_reason":"stop","stop_reason":9}],`+
			`"usage":{"prompt_tokens":2,"completion_tokens":4,"total_tokens":6,"prompt_tokens_details":{"cached_tokens":1}}}`)
	got := run(chatOf(t, `,"logprobs":true,"return_token_ids":true,"return_tokens_as_token_ids":true`))
	for _, part := range []string{`"token_ids":[1,3,5,9]`, `}},"prompt_token_ids":[7,8]}`, `{"token":"token_id:9","logprob":-1e-09,"bytes":[60,47,115,62],"top_logprobs":[]}`} {
		if !strings.Contains(got, part) {
			t.Errorf("no %s in %s", part, got)
		}
	}
}

// echo puts the last message first if it is of the answer's role.
func TestChatEcho(t *testing.T) {
	for body, want := range map[string]string{
		`"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"so "}],"echo":true,"continue_final_message":true`: `"role":"assistant","content":"so Hé!"`,
		`"messages":[{"role":"assistant","content":"so "}],"echo":true`:                                                             `"role":"assistant","content":"so Hé!"`,
		`"messages":[{"role":"user","content":"so "}],"echo":true`:                                                                  `"role":"assistant","content":"Hé!"`,
		`"messages":[{"role":"user","content":"so "}],"echo":true,"continue_final_message":true`:                                    `"role":"user","content":"so Hé!"`,
	} {
		r, err := DecodeChat([]byte(`{` + body + `}`))
		if err != nil {
			t.Fatal(err)
		}
		c, s := r.NewResponse(testHead), r.NewStream(testHead)
		var out []byte
		for _, e := range twoTokens() {
			c.Add(0, &e)
			out = s.Append(out, 0, &e)
		}
		if got := string(c.Append(nil)); !strings.Contains(got, want) {
			t.Errorf("%s: no %s in %s", body, want, got)
		}
		if echoed := strings.Contains(string(out), `{"content":"so "}`); echoed != strings.Contains(want, "so") {
			t.Errorf("%s: stream: %s", body, out)
		}
	}
}

// echoEvents is a completion's with the prompt "né x" (after a BOS that does not show).
func echoEvents() []llm.Event {
	first := llm.Token{ID: 0, Bytes: []byte("<s>")}
	return []llm.Event{
		{Prompt: &llm.PromptInfo{IDs: []int32{0, 1, 2, 3}, Text: "né x",
			Logprobs: []llm.Token{first, tok(1, " n", -1, alt(8, "q", -0.5)), tok(2, "é", -2, alt(2, "é", -2)), tok(3, " x", -3, alt(9, "\xff", -0.5))}},
			Text: "y", Tokens: []llm.Token{tok(4, "y", -0.5, alt(4, "y", -0.5))}},
		{Text: "z", Tokens: []llm.Token{tok(5, "z", -0.25, alt(6, "z", -0.125))}, Finish: llm.FinishLength,
			Usage: &llm.Usage{PromptTokens: 4, CompletionTokens: 2}},
	}
}

func TestCompletionEcho(t *testing.T) {
	const body = `{"prompt":"né x","echo":true,"logprobs":1,"max_tokens":2`
	r := completionOf(t, body+`}`)
	if list, err := r.Requests(testModel()); err != nil || list[0].Params.PromptLogprobs == nil || *list[0].Params.PromptLogprobs != 1 {
		t.Fatalf("the prompt's log probabilities are not asked for: %v", err)
	}
	c := r.NewResponse(testHead)
	for _, e := range echoEvents() {
		c.Add(0, &e)
	}
	wantLines(t, string(c.Append(nil)),
		`{"id":"cmpl-1","object":"text_completion","created":5,"model":"m","system_fingerprint":"fp","choices":[{"index":0,"text":"né xyz","logprobs":{`+
			`"tokens":["<s>"," n","é"," x","y","z"],"token_logprobs":[null,-1,-2,-3,-0.5,-0.25],`+
			`"top_logprobs":[null,{"q":-0.5," n":-1},{"é":-2},{"bytes:\\xff":-0.5," x":-3},{"y":-0.5},{"z":-0.125}],`+
			`"text_offset":[0,0,1,2,4,5]},"finish_reason":"length","stop_reason":null}],`+
			`"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6,"prompt_tokens_details":{"cached_tokens":0}}}`)

	s := completionOf(t, body+`,"stream":true,"return_token_ids":true}`).NewStream(testHead)
	var out []byte
	for _, e := range echoEvents() {
		out = s.Append(out, 0, &e)
	}
	const head = `data: {"id":"cmpl-1","object":"text_completion","created":5,"model":"m","system_fingerprint":"fp","choices":[`
	wantLines(t, string(s.End(out)),
		head+`{"index":0,"text":"né x","logprobs":{"tokens":["<s>"," n","é"," x"],"token_logprobs":[null,-1,-2,-3],`+
			`"top_logprobs":[null,{"q":-0.5," n":-1},{"é":-2},{"bytes:\\xff":-0.5," x":-3}],"text_offset":[0,0,1,2]},"finish_reason":null,"prompt_token_ids":[0,1,2,3],"token_ids":[]}]}`,
		head+`{"index":0,"text":"y","logprobs":{"tokens":["y"],"token_logprobs":[-0.5],"top_logprobs":[{"y":-0.5}],"text_offset":[4]},"finish_reason":null,"token_ids":[4]}]}`,
		head+`{"index":0,"text":"z","logprobs":{"tokens":["z"],"token_logprobs":[-0.25],"top_logprobs":[{"z":-0.125}],"text_offset":[5]},"finish_reason":null,"token_ids":[5]}]}`,
		head+`{"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":[]}]}`,
		`data: [DONE]`)
}

// With max_tokens 0 the prompt's log probabilities are all there is, though a
// generator is asked for a token.
func TestCompletionScoring(t *testing.T) {
	const body = `{"prompt":"né x","echo":true,"logprobs":1,"max_tokens":0`
	r := completionOf(t, body+`}`)
	if list, err := r.Requests(testModel()); err != nil || *list[0].Params.MaxTokens != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	c, s := r.NewResponse(testHead), completionOf(t, body+`,"stream":true}`).NewStream(testHead)
	var out []byte
	for _, e := range echoEvents() {
		c.Add(0, &e)
		out = s.Append(out, 0, &e)
	}
	const logprobs = `"logprobs":{"tokens":["<s>"," n","é"," x"],"token_logprobs":[null,-1,-2,-3],` +
		`"top_logprobs":[null,{"q":-0.5," n":-1},{"é":-2},{"bytes:\\xff":-0.5," x":-3}],"text_offset":[0,0,1,2]}`
	const head = `"id":"cmpl-1","object":"text_completion","created":5,"model":"m","system_fingerprint":"fp","choices":[`
	wantLines(t, string(c.Append(nil)), `{`+head+`{"index":0,"text":"né x",`+logprobs+`,"finish_reason":"length","stop_reason":null}],`+
		`"usage":{"prompt_tokens":4,"completion_tokens":0,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":0}}}`)
	wantLines(t, string(s.End(out)),
		`data: {`+head+`{"index":0,"text":"né x",`+logprobs+`,"finish_reason":null}]}`,
		`data: {`+head+`{"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null}]}`,
		`data: [DONE]`)
}

// Choices of several prompts are numbered through.
func TestCompletionPrompts(t *testing.T) {
	r := completionOf(t, `{"prompt":[[1],[2]],"n":2,"return_token_ids":true,"prompt_logprobs":1}`)
	c := r.NewResponse(testHead)
	for prompt := range 2 {
		for ch := range 2 {
			e := llm.Event{Choice: ch, Text: fmt.Sprintf("%d%d", prompt, ch), Finish: llm.FinishLength, Tokens: []llm.Token{{ID: int32(ch)}}}
			if ch == 0 {
				e.Prompt = &llm.PromptInfo{IDs: []int32{int32(prompt + 1)}, Logprobs: []llm.Token{{ID: 1}, tok(2, "b", -4, alt(3, "c", -1), alt(2, "b", -4))}}
				e.Usage = &llm.Usage{PromptTokens: 1, CompletionTokens: 2}
			}
			c.Add(prompt, &e)
		}
	}
	const lps = `"prompt_logprobs":[null,{"3":{"logprob":-1,"rank":1,"decoded_token":"c"},"2":{"logprob":-4,"rank":2,"decoded_token":"b"}}]`
	want := `"choices":[`
	for i, s := range []string{"00", "01", "10", "11"} {
		if i > 0 {
			want += ","
		}
		want += fmt.Sprintf(`{"index":%d,"text":%q,"logprobs":null,"finish_reason":"length","stop_reason":null,%s,"token_ids":[%d],"prompt_token_ids":[%d]}`, i, s, lps, i%2, i/2+1)
	}
	want += `],"usage":{"prompt_tokens":2,"completion_tokens":4,"total_tokens":6,`
	if got := string(c.Append(nil)); !strings.Contains(got, want) {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "a", "\"\\\n\r\t\x00\x1f\x7f", "é\u2028\u2029😀", "a\xffb\xc3", "<&>", "\ufffd", strings.Repeat("x", 300)} {
		got := appendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("%q: %s gives %q, %v", s, got, back, err)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var want strings.Builder
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		var a, b string
		if err := json.Unmarshal(appendString(nil, s), &a); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if err := json.Unmarshal([]byte(want.String()), &b); err != nil || a != b {
			t.Errorf("%q: got %q, want %q", s, a, b)
		}
	})
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{llm.Invalidf("n", "n: bad"), 400, `{"error":{"message":"n: bad","type":"invalid_request_error","param":"n","code":"invalid_value"}}`},
		{fmt.Errorf("x: %w", &llm.Error{Kind: llm.TooLong, Message: "long"}), 400, `{"error":{"message":"long","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}`},
		{&llm.Error{Kind: llm.Unauthorized}, 401, `"type":"authentication_error"`},
		{&llm.Error{Kind: llm.Forbidden}, 403, `"type":"permission_error"`},
		{NoModel("x", []string{"a", "b"}), 404, `{"error":{"message":"model \"x\" is not served; served: \"a\", \"b\"","type":"invalid_request_error","param":"model","code":"model_not_found"}}`},
		{&llm.Error{Kind: llm.TooLarge}, 413, `"code":"request_too_large"`},
		{&llm.Error{Kind: llm.Overloaded}, 429, `"type":"rate_limit_error"`},
		{errors.New("secret"), 500, `"type":"server_error","param":null,"code":"internal_error"`},
		{&llm.Error{Kind: llm.Unavailable}, 503, `"code":"unavailable"`},
		{context.DeadlineExceeded, 504, `"code":"timeout"`},
		{context.Canceled, 499, `"code":"canceled"`},
	} {
		e := AsError(c.err)
		got := string(AppendError(nil, e))
		if Status(e.Kind) != c.status || !strings.Contains(got, c.body) || !json.Valid([]byte(got)) || strings.Contains(got, "secret") {
			t.Errorf("%v: got %d %s\nwant %d %s", c.err, Status(e.Kind), got, c.status, c.body)
		}
	}
}

func TestTextEndpoints(t *testing.T) {
	m := testModel()
	for _, c := range []struct{ body, want string }{
		{`{"prompt":"a"}`, `llm.Text false`},
		{`{"prompt":"a","add_special_tokens":false}`, `llm.Text true`},
		{`{` + hello + `}`, `*llm.Chat false`},
		{`{` + hello + `,"prompt":"a"}`, `prompt: messages are given, too: keep one of them`},
		{`{}`, `messages: missing: the request needs it`},
		{`{"prompt":"a","temperature":1}`, "Unrecognized request argument supplied: temperature; see docs/api.md for those that exist"},
	} {
		got := ""
		if r, err := DecodeTokenize([]byte(c.body)); err != nil {
			got = err.Error()
		} else if p, o, err := r.Input(m); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%T %v", p, o.NoSpecial)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.body, got, c.want)
		}
	}
	name := func(id int32) string { return fmt.Sprintf("<%d>", id) }
	wantLines(t, string(AppendTokenize(nil, m, []int32{1, 2}, name)), `{"count":2,"max_model_len":4096,"tokens":[1,2],"token_strs":["<1>","<2>"]}`)
	wantLines(t, string(AppendTokenize(nil, m, nil, nil)), `{"count":0,"max_model_len":4096,"tokens":[],"token_strs":null}`)
	m.Aliases, m.OwnedBy, m.Created = []string{"alias"}, "weir", 3
	wantLines(t, string(AppendModels(nil, []llm.Model{m})),
		`{"object":"list","data":[{"id":"m","object":"model","created":3,"owned_by":"weir","root":"m","max_model_len":4096},{"id":"alias","object":"model","created":3,"owned_by":"weir","root":"m","max_model_len":4096}]}`)
	if r, err := DecodeDetokenize([]byte(`{"tokens":[999,1000]}`)); err != nil {
		t.Error(err)
	} else {
		checkError(t, "detokenize", r.Check(m), "tokens[1]", "invalid_value", "vocabulary")
	}
	if _, err := DecodeDetokenize([]byte(`{}`)); err == nil {
		t.Error("detokenize took no tokens")
	}
}

// A chunk for a token costs no allocation.
func TestStreamAllocations(t *testing.T) {
	s := chatOf(t, `,"stream":true`).NewStream(testHead)
	events := twoTokens()
	buf := s.Append(make([]byte, 0, 4096), 0, &events[0])
	if n := testing.AllocsPerRun(100, func() { buf = s.Append(buf[:0], 0, &events[1]) }); n != 0 {
		t.Errorf("%v allocations a chunk, want 0", n)
	}
}

func BenchmarkChatStream(b *testing.B) {
	r := &ChatRequest{}
	s := r.NewStream(testHead)
	events := twoTokens()
	buf := s.Append(nil, 0, &events[0])
	b.ReportAllocs()
	for b.Loop() {
		buf = s.Append(buf[:0], 0, &events[1])
	}
}
