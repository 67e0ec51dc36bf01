package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"weir/internal/builtin"
	"weir/internal/engine"
)

// serving is `weir serve` in this process, with the engine within reach.
type serving struct {
	url     string
	out     *syncBuffer
	log     *syncBuffer
	service *service
	signals chan os.Signal
	ended   chan error
	http    *http.Client
}

// serve starts `weir serve --port 0 args...`. When the test ends it stops it and
// checks that nothing is left: no request, no page, no goroutine, no file.
func serve(t *testing.T, args ...string) *serving {
	t.Helper()
	return serveWith(t, streams{}, args...)
}

// serveWith gives the server further streams than those that serving has.
func serveWith(t *testing.T, io streams, args ...string) *serving {
	t.Helper()
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close() // the first socket opens what the runtime keeps
	}
	goroutines, files := runtime.NumGoroutine(), openFiles()
	transport := &http.Transport{}
	s := &serving{out: &syncBuffer{}, log: &syncBuffer{}, service: &service{}, signals: make(chan os.Signal, 1), ended: make(chan error, 1), http: &http.Client{Transport: transport}}
	cmd := parse(t, append([]string{"serve", "--port", "0"}, args...), nil, "").Serve
	go func() {
		io.out, io.err, io.signals = s.out, s.log, s.signals
		s.ended <- cmd.serve(io, s.service, slog.New(slog.NewTextHandler(s.log, nil)))
	}()
	s.url = s.waitReady(t)
	t.Cleanup(func() {
		if m := s.only(); m != nil {
			waitFor(t, "all pages free", func() bool { return idle(m.engine.Stats()) })
			s.stop(t)
		}
		transport.CloseIdleConnections()
		waitFor(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= goroutines })
		waitFor(t, "no file left open", func() bool { return openFiles() <= files })
	})
	return s
}

// only is the model that is served, if it is loaded.
func (s *serving) only() (m *opened) {
	s.service.each(func(o *opened) { m = o })
	return m
}

func idle(s engine.Stats) bool {
	return s.InFlight == 0 && s.Running == 0 && s.Waiting == 0 && s.FreePages == s.Pages
}

// openFiles counts what the process has open, sockets included; 0 where that
// can't be told.
func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

var servedAt = regexp.MustCompile(`(?m)^serving .+ with \d+ threads? at (http://\S+)/v1`)

func (s *serving) waitReady(t *testing.T) string {
	t.Helper()
	var at []string
	waitFor(t, "the server's address", func() bool {
		select {
		case err := <-s.ended:
			t.Fatalf("weir serve ended: %v\n%s", err, s.log)
		default:
		}
		at = servedAt.FindStringSubmatch(s.out.String())
		return at != nil
	})
	return at[1]
}

// stop drains the server.
func (s *serving) stop(t *testing.T) {
	t.Helper()
	s.signals <- os.Interrupt
	if err := <-s.ended; err != nil {
		t.Errorf("weir serve ended with %v", err)
	}
}

func (s *serving) client() openai.Client {
	return openai.NewClient(option.WithBaseURL(s.url+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0), option.WithHTTPClient(s.http))
}

// get asks for a path and gives status and body.
func (s *serving) get(t *testing.T, path string) (int, string) {
	t.Helper()
	return answerTo(t)(s.http.Get(s.url + path))
}

// post sends JSON and gives status and body.
func (s *serving) post(t *testing.T, path, body string) (int, string) {
	t.Helper()
	return answerTo(t)(s.http.Post(s.url+path, "application/json", strings.NewReader(body)))
}

func answerTo(t *testing.T) func(*http.Response, error) (int, string) {
	t.Helper()
	return func(r *http.Response, err error) (int, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
}

func question(text string, tokens int64) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: builtin.Name, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
		Temperature: openai.Float(0), MaxCompletionTokens: openai.Int(tokens),
	}
}

// TestServeBuiltIn is a newcomer's first minute, with the official client
// against the real engine and the built-in model.
func TestServeBuiltIn(t *testing.T) {
	s := serve(t)
	c := s.client()
	t.Run("starts", func(t *testing.T) { checkStart(t, s) })
	t.Run("chat", func(t *testing.T) { checkChat(t, c) })
	t.Run("completions", func(t *testing.T) { checkCompletions(t, c) })
	t.Run("token ids", func(t *testing.T) { checkTokenIDs(t, s, c) })
	t.Run("logprobs", func(t *testing.T) { checkLogprobs(t, c) })
	t.Run("n and seed", func(t *testing.T) { checkChoices(t, c) })
	t.Run("stop", func(t *testing.T) { checkStop(t, c) })
	t.Run("errors", func(t *testing.T) { checkErrors(t, c) })
	t.Run("cancellation", func(t *testing.T) { checkCancellation(t, s, c) })
}

func checkStart(t *testing.T, s *serving) {
	for _, want := range []string{"memory\n  budget ", "\n  model ", "\n  KV cache ", "\n  context ", "\n  capacity ", "try   curl -N " + s.url} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("what is printed at start has no %q:\n%s", want, s.out)
		}
	}
	for path, want := range map[string]string{"/health": `{"status":"ok"}`, "/ready": `{"status":"ok"}`, "/v1/models": `"id":"` + builtin.Name + `"`} {
		if status, body := s.get(t, path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, body := s.get(t, "/v2/models"); status != http.StatusNotFound || !strings.Contains(body, "/v1/models") {
		t.Errorf("a wrong path: %d %s", status, body)
	}
}

func checkChat(t *testing.T, c openai.Client) {
	got, err := c.Chat.Completions.New(t.Context(), question("What are you?", 16))
	if err != nil {
		t.Fatal(err)
	}
	text := got.Choices[0].Message.Content
	if strings.TrimSpace(text) == "" || got.Choices[0].FinishReason == "" || got.Usage.CompletionTokens < 1 || got.Usage.TotalTokens != got.Usage.PromptTokens+got.Usage.CompletionTokens {
		t.Fatalf("got %s", got.RawJSON())
	}
	p := question("What are you?", 16)
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	streamed, chunks := stream(t, c, p)
	if streamed.Choices[0].Message.Content != text || streamed.Choices[0].FinishReason != got.Choices[0].FinishReason {
		t.Errorf("streamed %q, at once %q", streamed.Choices[0].Message.Content, text)
	}
	if streamed.Usage.CompletionTokens != got.Usage.CompletionTokens || streamed.Usage.PromptTokens != got.Usage.PromptTokens {
		t.Errorf("usage streamed %s, at once %s", streamed.Usage.RawJSON(), got.Usage.RawJSON())
	}
	if chunks < 3 {
		t.Errorf("%d tokens came in %d chunks", got.Usage.CompletionTokens, chunks)
	}
}

// stream gathers a streamed chat.
func stream(t *testing.T, c openai.Client, p openai.ChatCompletionNewParams) (openai.ChatCompletion, int) {
	t.Helper()
	events := c.Chat.Completions.NewStreaming(t.Context(), p)
	defer events.Close()
	var all openai.ChatCompletionAccumulator
	n := 0
	for ; events.Next(); n++ {
		if !all.AddChunk(events.Current()) {
			t.Errorf("the client does not take %s", events.Current().RawJSON())
		}
	}
	if err := events.Err(); err != nil {
		t.Error(err)
	}
	return all.ChatCompletion, n
}

func completion(tokens int64, prompts ...string) openai.CompletionNewParams {
	return openai.CompletionNewParams{
		Model: builtin.Name, Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: prompts},
		Temperature: openai.Float(0), MaxTokens: openai.Int(tokens),
	}
}

// checkCompletions: a list of prompts is answered in order, each as alone.
func checkCompletions(t *testing.T, c openai.Client) {
	prompts := []string{"Once upon a time", "The KV cache", "{\"name\":"}
	got, err := c.Completions.New(t.Context(), completion(6, prompts...))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Choices) != len(prompts) {
		t.Fatalf("got %s", got.RawJSON())
	}
	var tokens int64
	for i, prompt := range prompts {
		alone, err := c.Completions.New(t.Context(), completion(6, prompt))
		if err != nil {
			t.Fatal(err)
		}
		tokens += alone.Usage.CompletionTokens
		if got.Choices[i].Index != int64(i) || got.Choices[i].Text != alone.Choices[0].Text {
			t.Errorf("%s: %q among others, %q alone", prompt, got.Choices[i].Text, alone.Choices[0].Text)
		}
	}
	if got.Usage.CompletionTokens != tokens {
		t.Errorf("usage %s for %d tokens", got.Usage.RawJSON(), tokens)
	}
	echo := completion(4, prompts[0])
	echo.Echo = openai.Bool(true)
	if got, err := c.Completions.New(t.Context(), echo); err != nil || !strings.HasPrefix(got.Choices[0].Text, prompts[0]) || len(got.Choices[0].Text) == len(prompts[0]) {
		t.Errorf("echo: %+v, %v", got, err)
	}
}

// checkTokenIDs: ids in, ids out, and text and ids agree.
func checkTokenIDs(t *testing.T, s *serving, c openai.Client) {
	status, body := s.post(t, "/tokenize", `{"prompt": "Once upon a time", "add_special_tokens": true}`)
	var tokenized struct{ Tokens []int64 }
	if err := json.Unmarshal([]byte(body), &tokenized); err != nil || status != http.StatusOK || len(tokenized.Tokens) == 0 {
		t.Fatalf("%d %s %v", status, body, err)
	}
	byText, err := c.Completions.New(t.Context(), completion(6, "Once upon a time"))
	if err != nil {
		t.Fatal(err)
	}
	p := completion(6)
	p.Prompt = openai.CompletionNewParamsPromptUnion{OfArrayOfTokens: tokenized.Tokens}
	byID, err := c.Completions.New(t.Context(), p, option.WithJSONSet("return_token_ids", true))
	if err != nil {
		t.Fatal(err)
	}
	if byID.Choices[0].Text != byText.Choices[0].Text {
		t.Errorf("by ids %q, by text %q", byID.Choices[0].Text, byText.Choices[0].Text)
	}
	var ids struct {
		TokenIDs       []int64 `json:"token_ids"`
		PromptTokenIDs []int64 `json:"prompt_token_ids"`
	}
	if err := json.Unmarshal([]byte(byID.Choices[0].RawJSON()), &ids); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(ids.PromptTokenIDs, tokenized.Tokens) || int64(len(ids.TokenIDs)) != byID.Usage.CompletionTokens {
		t.Errorf("ids %+v of %s", ids, byID.RawJSON())
	}
	list, _ := json.Marshal(ids.TokenIDs)
	if status, body := s.post(t, "/detokenize", fmt.Sprintf(`{"tokens": %s}`, list)); status != http.StatusOK || !strings.Contains(body, mustJSON(strings.TrimSpace(byID.Choices[0].Text))) {
		t.Errorf("detokenised %d %s, want %q", status, body, byID.Choices[0].Text)
	}
}

// mustJSON is a string as JSON has it, without its quotes.
func mustJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b[1 : len(b)-1])
}

func checkLogprobs(t *testing.T, c openai.Client) {
	p := question("What are you?", 4)
	p.Logprobs, p.TopLogprobs = openai.Bool(true), openai.Int(3)
	got, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	list := got.Choices[0].Logprobs.Content
	if len(list) != 4 {
		t.Fatalf("got %s", got.RawJSON())
	}
	for _, l := range list {
		if l.Logprob > 0 || len(l.TopLogprobs) != 3 || l.TopLogprobs[0].Token != l.Token || l.TopLogprobs[0].Logprob != l.Logprob || l.TopLogprobs[1].Logprob > l.TopLogprobs[0].Logprob {
			t.Errorf("greedy decoding takes the first of its alternatives: %s", l.RawJSON())
		}
	}
	q := completion(3, "Once upon a time")
	q.Logprobs, q.Echo = openai.Int(2), openai.Bool(true)
	scored, err := c.Completions.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if lp := scored.Choices[0].Logprobs; len(lp.Tokens) != int(scored.Usage.TotalTokens) || len(lp.TokenLogprobs) != len(lp.Tokens) || strings.Join(lp.Tokens, "") != scored.Choices[0].Text {
		t.Errorf("echo with log probabilities: %s", scored.RawJSON())
	}
}

// checkChoices: several choices differ, the same seed repeats all of them.
func checkChoices(t *testing.T, c openai.Client) {
	ask := func(seed int64) (texts []string) {
		p := question("Tell me a story.", 8)
		p.N, p.Seed, p.Temperature = openai.Int(3), openai.Int(seed), openai.Float(1.5)
		got, err := c.Chat.Completions.New(t.Context(), p)
		if err != nil || len(got.Choices) != 3 {
			t.Fatalf("%+v %v", got, err)
		}
		for _, choice := range got.Choices {
			texts = append(texts, choice.Message.Content)
		}
		return texts
	}
	first := ask(1)
	if again := ask(1); !reflect.DeepEqual(first, again) {
		t.Errorf("seed 1 gave %q and then %q", first, again)
	}
	if other := ask(2); reflect.DeepEqual(first, other) {
		t.Errorf("seeds 1 and 2 both gave %q", first)
	}
	if first[0] == first[1] && first[1] == first[2] {
		t.Errorf("three choices, all %q", first[0])
	}
}

func checkStop(t *testing.T, c openai.Client) {
	whole, err := c.Completions.New(t.Context(), completion(12, "Once upon a time"))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(whole.Choices[0].Text)
	if len(words) < 3 {
		t.Fatalf("too short to stop inside of: %q", whole.Choices[0].Text)
	}
	stop := words[2]
	p := completion(12, "Once upon a time")
	p.Stop = openai.CompletionNewParamsStopUnion{OfStringArray: []string{stop}}
	got, err := c.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := strings.Cut(whole.Choices[0].Text, stop)
	if got.Choices[0].Text != want || got.Choices[0].FinishReason != "stop" {
		t.Errorf("stopped at %q: %s, want %q", stop, got.RawJSON(), want)
	}
}

func checkErrors(t *testing.T, c openai.Client) {
	for name, check := range map[string]struct {
		change func(*openai.ChatCompletionNewParams)
		extra  []option.RequestOption
		status int
		param  string
		code   string
	}{
		"no such model": {change: func(p *openai.ChatCompletionNewParams) { p.Model = "gpt-5" }, status: 404, code: "model_not_found"},
		"a wrong value": {change: func(p *openai.ChatCompletionNewParams) { p.Temperature = openai.Float(-1) }, status: 400, param: "temperature"},
		"a wrong type":  {extra: []option.RequestOption{option.WithJSONSet("max_tokens", "many")}, status: 400, param: "max_tokens"},
		"no messages":   {change: func(p *openai.ChatCompletionNewParams) { p.Messages = nil }, status: 400, param: "messages"},
		"a prompt too long": {change: func(p *openai.ChatCompletionNewParams) {
			p.Messages[0] = openai.UserMessage(strings.Repeat("weir ", 9000))
		}, status: 400, code: "context_length_exceeded"},
		"what weir can't do": {extra: []option.RequestOption{option.WithJSONSet("modalities", []string{"text", "audio"})}, status: 400, param: "modalities"},
	} {
		p := question("Hi", 2)
		if check.change != nil {
			check.change(&p)
		}
		_, err := c.Chat.Completions.New(t.Context(), p, check.extra...)
		var known *openai.Error
		if !errors.As(err, &known) {
			t.Errorf("%s: %v is no API error", name, err)
			continue
		}
		if known.StatusCode != check.status || known.Message == "" || check.param != "" && !strings.HasPrefix(known.Param, check.param) || check.code != "" && known.Code != check.code {
			t.Errorf("%s: status %d, %s", name, known.StatusCode, known.RawJSON())
		}
	}
}

// checkCancellation: a client that goes away frees its pages.
func checkCancellation(t *testing.T, s *serving, c openai.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	p := question("Tell me a long story.", 1500)
	events := c.Chat.Completions.NewStreaming(ctx, p, option.WithJSONSet("ignore_eos", true))
	defer events.Close()
	if !events.Next() {
		t.Fatalf("no first chunk: %v", events.Err())
	}
	e := s.only().engine
	if idle(e.Stats()) {
		t.Error("nothing runs after the first chunk")
	}
	cancel()
	waitFor(t, "the cancelled request's pages", func() bool { return idle(e.Stats()) })
}

// TestParallelStreams: 32 streams at once say what each says alone.
func TestParallelStreams(t *testing.T) {
	s := serve(t, smallFile(t), "--chat-template", chatTemplate(t), "--max-running", "12", "--memory", "2MiB", "--ctx", "256")
	c := s.client()
	ask := func(i int) string {
		p := question(fmt.Sprintf("w%d w%d", 10+i, 20+3*i), int64(5+i%7))
		p.Model = "small"
		got, _ := stream(t, c, p)
		if len(got.Choices) != 1 {
			t.Errorf("stream %d has %d choices", i, len(got.Choices))
			return ""
		}
		return got.Choices[0].Message.Content
	}
	want := make([]string, 32)
	for i := range want {
		want[i] = ask(i)
	}
	got := make([]string, len(want))
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = ask(i) })
	}
	wg.Wait()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("together %q\nalone    %q", got, want)
	}
	if distinct := len(slices.Compact(slices.Sorted(slices.Values(want)))); distinct < 8 {
		t.Errorf("only %d of 32 answers differ: %q", distinct, want)
	}
}

func smallFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "small.gguf")
	if err := os.WriteFile(path, smallGGUF(t), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func chatTemplate(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "chat.jinja")
	if err := os.WriteFile(path, []byte("{% for m in messages %}{{ m.content }}{% endfor %}"), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestServeCheckpoint: a Hugging Face checkpoint, under a name of one's own, read
// instead of mapped.
func TestServeCheckpoint(t *testing.T) {
	dir := t.TempDir()
	writeCheckpoint(t, dir)
	s := serve(t, dir, "--name", "mine", "--load", "read", "--memory", "64MiB", "--kv-type", "f32", "--threads", "2", "--keep-alive", "0")
	p := question("Hello", 5)
	p.Model = "mine"
	c := s.client()
	got, err := c.Chat.Completions.New(t.Context(), p, option.WithJSONSet("ignore_eos", true))
	if err != nil || got.Usage.CompletionTokens != 5 || got.Usage.PromptTokens != int64(len("user: Hello\nassistant:")) {
		t.Errorf("%+v, %v", got, err)
	}
	if !strings.Contains(s.out.String(), "64.0 MiB   as --memory says") {
		t.Errorf("the plan does not say whose the budget is:\n%s", s.out)
	}
}

// TestServeWithoutTemplate says what to do, at start and to who asks.
func TestServeWithoutTemplate(t *testing.T) {
	s := serve(t, smallFile(t), "--memory", "4MiB")
	if !strings.Contains(s.out.String(), "--chat-template FILE") || !strings.Contains(s.out.String(), "/v1/completions --json") {
		t.Errorf("at start:\n%s", s.out)
	}
	if status, body := s.post(t, "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}]}`); status != http.StatusBadRequest || !strings.Contains(body, "chat template") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.post(t, "/v1/completions", `{"prompt":"w7 w8","max_tokens":3}`); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
}

// TestLoading: a server whose model is not there yet lives, is not ready and
// refuses requests for a moment.
func TestLoading(t *testing.T) {
	nowhere(t)
	c := parse(t, []string{"serve"}, nil, "").Serve
	s := &service{}
	s.phase.Store("loading the model")
	srv, err := c.newServer(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(t.Context(), l) }()
	at := &serving{url: "http://" + l.Addr().String(), http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	if status, body := at.get(t, "/health"); status != http.StatusOK {
		t.Errorf("/health: %d %s", status, body)
	}
	if status, body := at.get(t, "/ready"); status != http.StatusServiceUnavailable || !strings.Contains(body, "loading the model") {
		t.Errorf("/ready: %d %s", status, body)
	}
	if status, body := at.get(t, "/v1/models"); status != http.StatusOK || !strings.Contains(body, `"data":[]`) {
		t.Errorf("/v1/models: %d %s", status, body)
	}
	r, err := at.http.Post(at.url+"/v1/chat/completions", "application/json", strings.NewReader(`{"messages":[{"role":"user","content":"Hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "/ready") {
		t.Errorf("%d %s %s", r.StatusCode, r.Header, body)
	}
	srv.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestServeFails: what goes wrong at start is said once, and nothing is left.
func TestServeFails(t *testing.T) {
	goroutines, files := runtime.NumGoroutine(), openFiles()
	for _, args := range [][]string{
		{"missing.gguf"}, {"--memory", "1MiB"}, {"--host", "256.0.0.1"}, {"--host", "192.0.2.1"}, {"--chat-template", "missing"},
	} {
		r := weir(t, "", nil, append([]string{"serve", "--port", "0"}, args...)...)
		if r.code != exitError || r.out != "" || strings.Count(r.err, "weir: ") != 1 {
			t.Errorf("%v: %+v", args, r)
		}
	}
	waitFor(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= goroutines })
	waitFor(t, "no file left open", func() bool { return openFiles() <= files })
}

// TestReachable: what is printed can be connected to.
func TestReachable(t *testing.T) {
	for addr, want := range map[string]string{"127.0.0.1:80": "127.0.0.1:80", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "[::1]:80": "[::1]:80", "10.1.2.3:80": "10.1.2.3:80"} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(tcp); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	s := serve(t, smallFile(t), "--memory", "4MiB", "--host", "0.0.0.0")
	if !strings.Contains(s.log.String(), "without a key") || !strings.Contains(s.url, "127.0.0.1") {
		t.Errorf("listening everywhere: %s %s", s.log, s.out)
	}
}
