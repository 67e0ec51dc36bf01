package engine

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"weir/internal/chat"
	"weir/internal/llm"
)

func textRequest(prompt string, change func(*llm.Params)) *llm.Request {
	p := llm.DefaultParams()
	p.Temperature, p.MaxTokens, p.IgnoreEOS = 0, ptr(30), true
	if change != nil {
		change(&p)
	}
	return &llm.Request{ID: "t", Prompt: llm.Text(prompt), Params: p}
}

func TestGreedyRepeatsAndCounts(t *testing.T) {
	e := startTiny(t, usual)
	a := mustCollect(t, e, textRequest("hello", nil))
	b := mustCollect(t, e, textRequest("hello", nil))
	if a.choices[0].text != b.choices[0].text {
		t.Fatalf("greedy output differs: %q and %q", a.choices[0].text, b.choices[0].text)
	}
	if a.usage != (llm.Usage{PromptTokens: 5, CompletionTokens: 30}) {
		t.Errorf("usage %+v", a.usage)
	}
	if r := a.choices[0]; r.finish != llm.FinishLength || len(r.tokens) != 30 {
		t.Errorf("%d tokens, finish %q", len(r.tokens), r.finish)
	}
}

func TestStopStringsAndTokens(t *testing.T) {
	e := startTiny(t, usual)
	whole := mustCollect(t, e, textRequest("hello", nil)).choices[0]
	stop := whole.text[len(whole.text)/2 : len(whole.text)/2+3]
	at := strings.Index(whole.text, stop)

	got := mustCollect(t, e, textRequest("hello", func(p *llm.Params) { p.Stop = []string{stop} })).choices[0]
	if got.text != whole.text[:at] || got.finish != llm.FinishStop || got.stop != stop {
		t.Errorf("stop %q: text %q finish %q stop %q, want %q", stop, got.text, got.finish, got.stop, whole.text[:at])
	}
	got = mustCollect(t, e, textRequest("hello", func(p *llm.Params) { p.Stop, p.IncludeStop = []string{stop}, true })).choices[0]
	if got.text != whole.text[:at+len(stop)] {
		t.Errorf("included stop: text %q, want %q", got.text, whole.text[:at+len(stop)])
	}
	id := whole.tokens[7].ID
	got = mustCollect(t, e, textRequest("hello", func(p *llm.Params) { p.StopTokens = []int32{id} })).choices[0]
	first := 0
	for whole.tokens[first].ID != id {
		first++
	}
	if len(got.tokens) != first+1 || got.finish != llm.FinishStop {
		t.Errorf("stop token %d first drawn at %d: %d tokens, finish %q", id, first, len(got.tokens), got.finish)
	}
	got = mustCollect(t, e, textRequest("hello", func(p *llm.Params) { p.StopTokens, p.MinTokens = []int32{id}, first+2 })).choices[0]
	if len(got.tokens) < first+2 {
		t.Errorf("min_tokens %d: %d tokens", first+2, len(got.tokens))
	}
}

// TestLogprobsAddUp: what is asked for after the fact (a prompt's log
// probabilities) agrees with what was told while the tokens were drawn.
func TestLogprobsAddUp(t *testing.T) {
	e := startTiny(t, usual)
	ask := textRequest("some prompt", func(p *llm.Params) { p.Logprobs, p.Temperature, p.Seed = ptr(3), 1, ptr(uint64(5)) })
	drawn := mustCollect(t, e, ask)
	ids := append(append(llm.Tokens{}, drawn.prompt.IDs...), drawn.choices[0].ids()...)
	echo := textRequest("", func(p *llm.Params) { p.PromptLogprobs, p.MaxTokens = ptr(3), ptr(1) })
	echo.Prompt = ids
	prompt := mustCollect(t, e, echo).prompt
	if len(prompt.Logprobs) != len(ids) || prompt.Logprobs[0].Logprob != nil {
		t.Fatalf("%d prompt log probabilities for %d tokens; the first must have none", len(prompt.Logprobs), len(ids))
	}
	for i, tok := range drawn.choices[0].tokens {
		again := prompt.Logprobs[len(drawn.prompt.IDs)+i]
		if again.ID != tok.ID || math.Abs(*again.Logprob-*tok.Logprob) > 1e-9 {
			t.Errorf("token %d: %d at %v, as prompt %d at %v", i, tok.ID, *tok.Logprob, again.ID, *again.Logprob)
		}
		if len(tok.Top) != 3 || tok.Top[0].Logprob < tok.Top[1].Logprob || *tok.Logprob > tok.Top[0].Logprob {
			t.Errorf("token %d: alternatives %+v", i, tok.Top)
		}
	}
}

func TestChoicesOfOneRequest(t *testing.T) {
	e := startTiny(t, usual)
	sampled := func(p *llm.Params) { p.Temperature, p.Seed, p.N, p.BestOf = 1, ptr(uint64(9)), 4, 4 }
	a := mustCollect(t, e, textRequest("many", sampled))
	if a.usage.CompletionTokens != 120 || a.usage.PromptTokens != 4 {
		t.Errorf("usage %+v", a.usage)
	}
	same := 0
	for _, c := range a.choices[1:] {
		if c.text == a.choices[0].text {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d of 4 sampled choices equal the first", same)
	}
	best := mustCollect(t, e, textRequest("many", func(p *llm.Params) { sampled(p); p.N = 2 }))
	if len(best.choices) != 2 || best.usage.CompletionTokens != 120 || best.choices[0].tokens[0].Logprob != nil {
		t.Errorf("best 2 of 4: %d choices, usage %+v", len(best.choices), best.usage)
	}
	ranked := mustCollect(t, e, textRequest("many", func(p *llm.Params) { sampled(p); p.Logprobs = ptr(0) }))
	mean := func(r reply) (sum float64) {
		for _, tok := range r.tokens {
			sum += *tok.Logprob
		}
		return sum / float64(len(r.tokens))
	}
	top := ranked.choices[0]
	for _, c := range ranked.choices {
		if mean(c) > mean(top) {
			top = c
		}
	}
	if best.choices[0].text != top.text {
		t.Errorf("the best choice is %q, want %q", best.choices[0].text, top.text)
	}
}

func TestPrefixCacheIsToldAndSalted(t *testing.T) {
	e := startTiny(t, usual)
	ask := func(prompt, salt string) int {
		r := textRequest(prompt, nil)
		r.CacheSalt = salt
		return mustCollect(t, e, r).usage.CachedTokens
	}
	system := strings.Repeat("You are a helpful assistant. ", 4) // 116 tokens
	for _, c := range []struct {
		prompt, salt string
		want         int
	}{
		{system + "Hello", "", 0},
		{system + "Hello", "", 120},         // all but the last token
		{system + "World", "", 116},         // down to the token
		{system + "Hello", "a tenant", 0},   // salted: apart
		{system + "Hello", "a tenant", 120}, // but not from itself
	} {
		if got := ask(c.prompt, c.salt); got != c.want {
			t.Errorf("%q salt %q: %d tokens cached, want %d", c.prompt[len(system):], c.salt, got, c.want)
		}
	}
	if s := counted(t, e).Prefix; s.Hit != 356 || s.Queried != 605 {
		t.Errorf("stats %+v, want 356 of 605 tokens hit", s)
	}
}

func TestEchoAndEmptyPrompt(t *testing.T) {
	e := startTiny(t, usual)
	a := mustCollect(t, e, textRequest("echo me", func(p *llm.Params) { p.Echo = true }))
	if a.prompt.Text != "echo me" {
		t.Errorf("echo %q", a.prompt.Text)
	}
	if ids, err := e.Tokenize(t.Context(), llm.Text("<bos><bos>a<eos>"), llm.TokenizeOptions{}); err != nil || len(ids) != 3 || ids[0] != 257 || ids[2] != 258 {
		t.Errorf("special tokens in a text became %v, %v; want one BOS, a, EOS", ids, err)
	}
	if a := mustCollect(t, e, textRequest("", nil)); len(a.prompt.IDs) != 1 || a.prompt.IDs[0] != 257 {
		t.Errorf("an empty prompt became %v, want BOS", a.prompt.IDs)
	}
}

func TestChat(t *testing.T) {
	e := startTiny(t, usual)
	text, err := e.Render(t.Context(), &llm.Chat{Messages: []byte(`[{"role":"user","content":"hi"}]`)})
	if err != nil || text != "<user>hi<assistant>" {
		t.Fatalf("rendered %q, %v", text, err)
	}
	r := textRequest("", nil)
	r.Prompt = &llm.Chat{Messages: []byte(`[{"role":"user","content":"hi"}]`)}
	if got := mustCollect(t, e, r).usage.PromptTokens; got != len(text) {
		t.Errorf("%d prompt tokens for %d bytes", got, len(text))
	}
}

func TestContextEndsOutput(t *testing.T) {
	e := startTiny(t, usual)
	r := textRequest(strings.Repeat("x", tinyContext-5), func(p *llm.Params) { p.MaxTokens = nil })
	if a := mustCollect(t, e, r); len(a.choices[0].tokens) != 5 || a.choices[0].finish != llm.FinishLength {
		t.Errorf("%d tokens, finish %q", len(a.choices[0].tokens), a.choices[0].finish)
	}
}

func TestRefusals(t *testing.T) {
	e := startTiny(t, usual)
	for name, c := range map[string]struct {
		r     *llm.Request
		kind  llm.Kind
		param string
	}{
		"too long":     {textRequest(strings.Repeat("x", tinyContext), nil), llm.TooLong, "prompt"},
		"far too long": {textRequest(strings.Repeat("x", tinyContext*100), nil), llm.TooLong, "prompt"},
		"bad token":    {&llm.Request{Prompt: llm.Tokens{5, tinyVocab}, Params: llm.DefaultParams()}, llm.Invalid, "prompt"},
		"no prompt":    {&llm.Request{Params: llm.DefaultParams()}, llm.Invalid, "prompt"},
		"bias":         {textRequest("x", func(p *llm.Params) { p.LogitBias = map[int32]float64{-1: 1} }), llm.Invalid, "logit_bias"},
		"NaN":          {textRequest("x", func(p *llm.Params) { p.Temperature = math.NaN() }), llm.Invalid, "temperature"},
		"many choices": {textRequest("x", func(p *llm.Params) { p.N = 1000 }), llm.Invalid, "n"},
		"no tokens":    {textRequest("x", func(p *llm.Params) { p.MaxTokens = ptr(0) }), llm.Invalid, "max_tokens"},
		"min over max": {textRequest("x", func(p *llm.Params) { p.MinTokens = 31 }), llm.Invalid, "min_tokens"},
		"logprobs":     {textRequest("x", func(p *llm.Params) { p.Logprobs = ptr(1000) }), llm.Invalid, "top_logprobs"},
		"messages":     {&llm.Request{Prompt: &llm.Chat{Messages: []byte(`{`)}, Params: llm.DefaultParams()}, llm.Invalid, "messages"},
		"template":     {&llm.Request{Prompt: &llm.Chat{Messages: []byte(`[]`), Template: "{% if %}"}, Params: llm.DefaultParams()}, llm.Invalid, "chat_template"},
	} {
		_, err := collect(context.Background(), e, c.r)
		var le *llm.Error
		if !errors.As(err, &le) || le.Kind != c.kind || le.Param != c.param {
			t.Errorf("%s: got %v (%+v), want kind %v at %q", name, err, le, c.kind, c.param)
		}
	}
}

func TestFullQueueRefuses(t *testing.T) {
	c := usual
	c.queue, c.running = 1, 1
	e := startTiny(t, c)
	next, stop := pull(e, textRequest("x", func(p *llm.Params) { p.MaxTokens, p.IgnoreEOS = ptr(200), true }))
	defer stop()
	next()
	ctx, leave := context.WithCancel(context.Background())
	var waits sync.WaitGroup
	defer waits.Wait()
	defer leave()
	waits.Go(func() {
		collect(ctx, e, textRequest("z", func(p *llm.Params) { p.MaxTokens, p.IgnoreEOS = ptr(200), true }))
	})
	waitFor(t, "one that waits", func() bool { return e.Stats().InFlight == 2 })
	_, err := collect(context.Background(), e, textRequest("y", nil))
	var le *llm.Error
	if !errors.As(err, &le) || le.Kind != llm.Overloaded {
		t.Fatalf("got %v, want Overloaded", err)
	}
}

func TestDrainFinishesWhatRunsAndRefusesTheRest(t *testing.T) {
	e := startTiny(t, usual)
	next, stop := pull(e, textRequest("x", func(p *llm.Params) { p.MaxTokens = ptr(50) }))
	defer stop()
	next()
	idle := e.Drain()
	_, err := collect(context.Background(), e, textRequest("y", nil))
	var le *llm.Error
	if !errors.As(err, &le) || le.Kind != llm.Unavailable {
		t.Errorf("while draining: %v, want Unavailable", err)
	}
	tokens := 0
	for ev, err, ok := next(); ok; ev, err, ok = next() {
		if err != nil {
			t.Fatal(err)
		}
		tokens += len(ev.Tokens)
	}
	if tokens != 50 {
		t.Errorf("the running request got %d tokens, want 50", tokens)
	}
	<-idle
}

// TestTemplateForTools: a model with a second template for tools uses it when
// there are any.
func TestTemplateForTools(t *testing.T) {
	set, err := chat.Sources{chat.DefaultName: "plain", "tool_use": "with {{ tools|length }}"}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	e := startTiny(t, usual)
	e.opts.Templates = set // before any request; the loop never looks at it
	for _, c := range []struct{ tools, want string }{{"", "plain"}, {"[]", "plain"}, {`[{"type":"function"}]`, "with 1"}} {
		got, err := e.Render(t.Context(), &llm.Chat{Messages: []byte(`[{"role":"user","content":"hi"}]`), Tools: []byte(c.tools)})
		if err != nil || got != c.want {
			t.Errorf("tools %q: %q, %v; want %q", c.tools, got, err, c.want)
		}
	}
}
