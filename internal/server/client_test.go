package server

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"weir/internal/llm"
)

// The official client is the judge of what it is sent.

func client(s *testServer) openai.Client {
	return openai.NewClient(option.WithBaseURL("http://"+s.addr+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0))
}

func hello() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: "tiny", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")}}
}

func TestClientChat(t *testing.T) {
	f := newFake()
	c := client(serve(t, f, nil))
	p := hello()
	p.N = openai.Int(2)
	p.Temperature = openai.Float(0.5)
	p.Logprobs = openai.Bool(true)
	p.TopLogprobs = openai.Int(2)
	got, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != "chatcmpl-id1" || got.Model != "tiny" || got.Created != 1700000000 || got.Object != "chat.completion" || !strings.Contains(got.RawJSON(), `"system_fingerprint":"fp_`) {
		t.Errorf("got %s", got.RawJSON())
	}
	if len(got.Choices) != 2 || got.Choices[1].Message.Content != "1 Hello, dear world!" || got.Choices[1].Index != 1 || got.Choices[0].FinishReason != "stop" || got.Choices[0].Message.Role != "assistant" {
		t.Errorf("got %s", got.RawJSON())
	}
	lp := got.Choices[0].Logprobs.Content
	if len(lp) != 4 || lp[1].Token != "Hello, " || lp[1].Logprob != -0.5 || len(lp[1].TopLogprobs) != 2 || lp[1].TopLogprobs[1].Token != "alt1" || !reflect.DeepEqual(lp[0].Bytes, []int64{'0', ' '}) {
		t.Errorf("got logprobs %+v", lp)
	}
	if u := got.Usage; u.PromptTokens != 32 || u.CompletionTokens != 8 || u.TotalTokens != 40 || u.PromptTokensDetails.CachedTokens != 1 {
		t.Errorf("got usage %s", u.RawJSON())
	}
	if q := f.requests[0]; q.Params.Temperature != 0.5 || q.Params.N != 2 || q.ID != "id1" {
		t.Errorf("the backend got %+v", q)
	}
}

func TestClientChatStream(t *testing.T) {
	c := client(serve(t, newFake(), nil))
	p := hello()
	p.N = openai.Int(2)
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := c.Chat.Completions.NewStreaming(t.Context(), p)
	defer stream.Close()
	var acc openai.ChatCompletionAccumulator
	for stream.Next() {
		if !acc.AddChunk(stream.Current()) {
			t.Errorf("the client does not take %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if len(acc.Choices) != 2 || acc.Choices[0].Message.Content != "0 Hello, dear world!" || acc.Choices[1].FinishReason != "stop" || acc.Usage.CompletionTokens != 8 {
		t.Errorf("got %+v", acc.ChatCompletion)
	}
}

func TestClientCompletions(t *testing.T) {
	f := newFake()
	c := client(serve(t, f, nil))
	got, err := c.Completions.New(t.Context(), openai.CompletionNewParams{
		Model:    "tiny",
		Prompt:   openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{"ab", "cde"}},
		N:        openai.Int(2),
		Logprobs: openai.Int(1),
		Echo:     openai.Bool(true),
		Stop:     openai.CompletionNewParamsStopUnion{OfString: openai.String("!")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Choices) != 4 || got.Usage.PromptTokens != 5 || got.Usage.CompletionTokens != 16 {
		t.Fatalf("got %s", got.RawJSON())
	}
	x := got.Choices[3]
	if x.Index != 3 || x.Text != "cde1 Hello, dear world" || x.FinishReason != "stop" {
		t.Errorf("got %s", x.RawJSON())
	}
	// The client's type for top_logprobs has no null, which the API sends first.
	if lp := x.Logprobs; len(lp.Tokens) != 7 || lp.TextOffset[3] != 3 || lp.TextOffset[4] != 5 || !strings.Contains(lp.RawJSON(), `"top_logprobs":[null,{"alt0":-1,"d":-0.5}`) {
		t.Errorf("got %s", lp.RawJSON())
	}

	got, err = c.Completions.New(t.Context(), openai.CompletionNewParams{
		Model:     "small",
		Prompt:    openai.CompletionNewParamsPromptUnion{OfArrayOfTokens: []int64{1, 2}},
		MaxTokens: openai.Int(2),
	})
	if err != nil || got.Choices[0].Text != "Hello, dear " || got.Choices[0].FinishReason != "length" || got.Model != "tiny" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestClientCompletionsStream(t *testing.T) {
	c := client(serve(t, newFake(), nil))
	stream := c.Completions.NewStreaming(t.Context(), openai.CompletionNewParams{
		Model:  "tiny",
		Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfTokenArrays: [][]int64{{1}, {2}, {3}}},
	})
	defer stream.Close()
	text := map[int64]string{}
	for stream.Next() {
		for _, x := range stream.Current().Choices {
			text[x.Index] += x.Text
		}
	}
	const reply = "Hello, dear world!"
	if want := map[int64]string{0: reply, 1: reply, 2: reply}; stream.Err() != nil || !reflect.DeepEqual(text, want) {
		t.Errorf("got %v, %v", text, stream.Err())
	}
}

func TestClientModels(t *testing.T) {
	c := client(serve(t, newFake(), nil))
	page, err := c.Models.List(t.Context())
	if err != nil || len(page.Data) != 2 || page.Data[0].ID != "tiny" || page.Data[1].ID != "small" {
		t.Errorf("got %+v, %v", page, err)
	}
	m, err := c.Models.Get(t.Context(), "small")
	if err != nil || m.ID != "small" || m.OwnedBy != "weir" {
		t.Errorf("got %+v, %v", m, err)
	}
	_, err = c.Models.Get(t.Context(), "org/other")
	wantAPIError(t, err, 404, "invalid_request_error", "model", "model_not_found")
}

func TestClientErrors(t *testing.T) {
	for _, c := range []struct {
		fail   error
		status int
		typ    string
		code   string
	}{
		{&llm.Error{Kind: llm.TooLong, Message: "long", Param: "messages"}, 400, "invalid_request_error", "context_length_exceeded"},
		{&llm.Error{Kind: llm.Overloaded, Message: "full", Param: "messages"}, 429, "rate_limit_error", "rate_limit_exceeded"},
		{&llm.Error{Kind: llm.Unavailable, Message: "loading", Param: "messages"}, 503, "server_error", "unavailable"},
		{&llm.Error{Kind: llm.Timeout, Message: "late", Param: "messages"}, 504, "server_error", "timeout"},
	} {
		t.Run(c.code, func(t *testing.T) {
			f := newFake()
			f.fail = c.fail
			cl := client(serve(t, f, nil))
			_, err := cl.Chat.Completions.New(t.Context(), hello())
			wantAPIError(t, err, c.status, c.typ, "messages", c.code)
			stream := cl.Chat.Completions.NewStreaming(t.Context(), hello()) // nothing was sent: still a status
			if stream.Next() {
				t.Error("a chunk before an error")
			}
			wantAPIError(t, stream.Err(), c.status, c.typ, "messages", c.code)
		})
	}
	c := client(serve(t, newFake(), nil))
	p := hello()
	p.Model = "gpt-5"
	_, err := c.Chat.Completions.New(t.Context(), p)
	e := wantAPIError(t, err, 404, "invalid_request_error", "model", "model_not_found")
	if e != nil && !strings.Contains(e.Message, `"tiny", "small"`) {
		t.Errorf("the error names no models: %s", e.Message)
	}
	p = hello()
	p.Store = openai.Bool(true)
	_, err = c.Chat.Completions.New(t.Context(), p)
	wantAPIError(t, err, 400, "invalid_request_error", "store", "unsupported_parameter")
}

func wantAPIError(t *testing.T, err error, status int, typ, param, code string) *openai.Error {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) {
		t.Errorf("got error %v, want one of the API", err)
		return nil
	}
	if e.StatusCode != status || e.Type != typ || e.Param != param || e.Code != code {
		t.Errorf("got %d %s, want %d %s, param %s, code %s", e.StatusCode, e.RawJSON(), status, typ, param, code)
	}
	if retry := e.Response.Header.Get("Retry-After"); (retry != "") != (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) {
		t.Errorf("%d has Retry-After %q", status, retry)
	}
	return e
}

// An error in the middle of a stream reaches the client as one.
func TestClientStreamError(t *testing.T) {
	for name, change := range map[string]func(*fake){
		"a secret":        func(f *fake) { f.fail = errors.New("a secret") },
		"the fake panics": func(f *fake) { f.panics = true },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.failAfter = 2
			change(f)
			s := serve(t, f, nil)
			c := client(s)
			stream := c.Chat.Completions.NewStreaming(t.Context(), hello())
			var text string
			for stream.Next() {
				text += stream.Current().Choices[0].Delta.Content
			}
			err := stream.Err()
			if text != "Hello, dear " || err == nil || !strings.Contains(err.Error(), "internal_error") || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %q, then %v", text, err)
			}
			if !eventually(func() bool { return strings.Contains(s.logs.String(), name) }) {
				t.Errorf("the log does not tell of %q:\n%s", name, s.logs)
			}
		})
	}
}

func TestClientCancel(t *testing.T) {
	f := newFake()
	f.step, f.ended = make(chan struct{}, 1), make(chan error, 1)
	c := client(serve(t, f, nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := c.Chat.Completions.NewStreaming(ctx, hello())
	f.step <- struct{}{}
	for range 2 { // the role and a word
		if !stream.Next() {
			t.Fatal(stream.Err())
		}
	}
	cancel()
	if err := <-f.ended; err == nil {
		t.Error("the generation went on without its client")
	}
}
