package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/llm"
)

// bouncer is a fake that has so many places.
type bouncer struct {
	*fake
	mu     sync.Mutex
	places int
	asked  []int // prompts of each Admit
}

func (b *bouncer) Admit(requests []*llm.Request, _ int) (llm.Place, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, len(requests))
	if b.places == 0 {
		return nil, &llm.Error{Kind: llm.Overloaded, Message: "full", RetryAfter: 2500 * time.Millisecond}
	}
	b.places--
	return b, nil
}

func (b *bouncer) Full(string, int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.places == 0 {
		return &llm.Error{Kind: llm.Overloaded, Message: "full", RetryAfter: 2500 * time.Millisecond}
	}
	return nil
}

func (b *bouncer) Leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.places++
}

// A full queue refuses before the body is read, and says when to come again.
func TestFullIsToldBeforeTheBody(t *testing.T) {
	b := &bouncer{fake: newFake()}
	s := serve(t, b, nil)
	c, r := dial(t, s.addr)
	fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{") // and no more
	readUntil(t, r, "HTTP/1.1 429")
	readUntil(t, r, "Retry-After: 3\r\n")
	if len(b.asked) != 0 {
		t.Error("a place was asked for")
	}
	b.places = 1
	got := send(t, s.addr, "POST", "/v1/completions", `{"prompt":["a","b","c"]}`)
	if !strings.HasPrefix(got, "HTTP/1.1 200") || len(b.asked) != 1 || b.asked[0] != 3 || b.places != 1 {
		t.Errorf("asked %v, %d places are left, got %s", b.asked, b.places, got)
	}
}

// A key's quota counts requests, tokens and what runs at once.
func TestQuota(t *testing.T) {
	now := time.Unix(1700000000, 0)
	var q quotas
	c := &Caller{Name: "k", Quota: Quota{Requests: 6, Tokens: 600, Concurrent: 2}}
	enter := func() (func(int, bool), error) { return q.enter(c, now) }
	wait := func(err error) time.Duration {
		t.Helper()
		var e *llm.Error
		if !errors.As(err, &e) || e.Kind != llm.Overloaded {
			t.Fatalf("got %v, want Overloaded", err)
		}
		return e.RetryAfter
	}
	one, err := enter()
	if err != nil {
		t.Fatal(err)
	}
	two, _ := enter()
	if _, err := enter(); err == nil {
		t.Error("three run of two")
	}
	one(0, true) // refused further on: it does not count
	two(0, false)
	for range 5 {
		leave, err := enter()
		if err != nil {
			t.Fatal(err)
		}
		leave(0, false)
	}
	_, err = enter()
	if d := wait(err); d != 10*time.Second {
		t.Errorf("the next of 6 requests a minute is due in %v", d)
	}
	now = now.Add(10 * time.Second)
	leave, err := enter()
	if err != nil {
		t.Fatal(err)
	}
	leave(900, false) // 300 tokens more than there are
	now = now.Add(20 * time.Second)
	_, err = enter()
	if d := wait(err); d < 10*time.Second || d > 11*time.Second {
		t.Errorf("with 100 tokens missing of 600 a minute it is due in %v", d)
	}
	h := http.Header{}
	q.tell(h, c, now)
	if h.Get("X-RateLimit-Limit-Tokens") != "600" || h.Get("X-RateLimit-Remaining-Tokens") != "0" || h.Get("X-RateLimit-Remaining-Requests") != "2" {
		t.Errorf("headers %v", h)
	}
	now = now.Add(-time.Hour) // a clock that is set back gives nothing and takes nothing
	if _, err := enter(); err == nil {
		t.Error("let in by a jump of the clock")
	}
}

// TestQuotaIsPerCaller goes through the server: what a key's requests take.
func TestQuotaOfEverybody(t *testing.T) {
	s := serve(t, newFake(), func(o *Options) { o.Quota = Quota{Requests: 2} })
	for i, want := range []string{"200", "400", "429"} { // a bad request counts
		got := send(t, s.addr, "POST", "/v1/completions", []string{`{"prompt":"a"}`, `{`, `{"prompt":"a"}`}[i])
		if !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("request %d got %.200s, want %s", i, got, want)
		}
		if want == "429" && (!strings.Contains(got, "Retry-After: ") || !strings.Contains(got, "rate_limit_exceeded") || !strings.Contains(got, "X-Ratelimit-Limit-Requests: 2")) {
			t.Errorf("got %s", got)
		}
	}
	if got := send(t, s.addr, "GET", "/v1/models", ""); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("looking costs: %.200s", got)
	}
}

// Deadlines of the server, of headers and of the body: the shortest counts.
func TestDeadlines(t *testing.T) {
	chat := func(more string) string {
		return `{"messages":[{"role":"user","content":"hi"}]` + more + `}`
	}
	for name, c := range map[string]struct {
		header, body string
		options      llm.Deadlines
		tokens       int // that are made before it
		want         []string
	}{
		"total, header":     {header: "X-Request-Timeout: 0.02", body: chat(""), want: []string{"HTTP/1.1 504", `"code":"timeout"`}},
		"total, body":       {body: chat(`,"timeout":0.02`), want: []string{"HTTP/1.1 504", `"code":"timeout"`}},
		"total, server":     {body: chat(`,"timeout":60`), options: llm.Deadlines{Total: 20 * time.Millisecond}, want: []string{"HTTP/1.1 504"}},
		"first, header":     {header: "X-First-Token-Timeout: 20ms", body: chat(""), want: []string{"HTTP/1.1 504", `"code":"first_token_timeout"`}},
		"first, stream":     {body: `{"prompt":"a","stream":true,"first_token_timeout":0.02}`, want: []string{"HTTP/1.1 504", `"code":"first_token_timeout"`}},
		"total, stream":     {body: chat(`,"stream":true,"timeout":LATER`), tokens: 1, want: []string{"HTTP/1.1 200", "Hello", `"code":"timeout"`, "data: [DONE]"}},
		"first, passed":     {body: chat(`,"stream":true,"first_token_timeout":SOON,"timeout":LATER`), tokens: 1, want: []string{"HTTP/1.1 200", "Hello", `"code":"timeout"`, "data: [DONE]"}},
		"interval, stream":  {body: chat(`,"stream":true,"stream_interval":9,"timeout":LATER`), tokens: 2, want: []string{"Hello", "dear", `"code":"timeout"`, "data: [DONE]"}},
		"prompts":           {body: `{"prompt":["a","b"],"timeout":0.02}`, want: []string{"HTTP/1.1 504", `"code":"timeout"`}},
		"no time":           {header: "X-Request-Timeout: soon", body: chat(""), want: []string{"HTTP/1.1 400", "X-Request-Timeout"}},
		"a negative time":   {header: "X-Queue-Timeout: -1", body: chat(""), want: []string{"HTTP/1.1 400", "X-Queue-Timeout"}},
		"more than a day":   {header: "X-Request-Timeout: 1e9", body: chat(""), want: []string{"HTTP/1.1 400"}},
		"a field too large": {body: chat(`,"timeout":1e9`), want: []string{"HTTP/1.1 400", `"param":"timeout"`}},
	} {
		t.Run(name, func(t *testing.T) {
			// A machine that is held up may not make the tokens in time: it is given more.
			got, ok := "", false
			for seconds := 0.3; !ok && seconds < 60; seconds *= 4 {
				f := stepped()
				f.step = make(chan struct{}, c.tokens)
				for range c.tokens {
					f.step <- struct{}{}
				}
				s := serve(t, f, func(o *Options) { o.Deadlines = c.options })
				body := strings.NewReplacer("SOON", fmt.Sprint(seconds), "LATER", fmt.Sprint(2*seconds)).Replace(c.body)
				got = post(t, s.addr, body, c.header)
				ok = inOrder(got, c.want)
				if !eventually(func() bool { return f.active.Load() == 0 }) {
					t.Error("the generation goes on")
				}
				if c.tokens == 0 {
					break
				}
			}
			if !ok {
				t.Errorf("got %s, want %q", got, c.want)
			}
		})
	}
}

// post sends a body to the endpoint whose it is, and gives the whole answer.
func post(t *testing.T, addr, body, header string) string {
	t.Helper()
	path := "/v1/chat/completions"
	if strings.Contains(body, "prompt") {
		path = "/v1/completions"
	}
	if header == "" {
		return send(t, addr, "POST", path, body)
	}
	return send(t, addr, "POST", path, body, header)
}

// inOrder tells whether a text has all parts, one after the other.
func inOrder(text string, parts []string) bool {
	for _, p := range parts {
		at := strings.Index(text, p)
		if at < 0 {
			return false
		}
		text = text[at+len(p):]
	}
	return true
}

// The queue's deadline reaches who queues.
func TestQueueDeadlineIsPassedOn(t *testing.T) {
	f := newFake()
	s := serve(t, f, func(o *Options) { o.PromptsAtOnce = 1 })
	before := time.Now()
	send(t, s.addr, "POST", "/v1/completions", `{"prompt":["a","b"],"queue_timeout":30}`)
	took := time.Since(before)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		first := r.ID[len(r.ID)-1] == '0'
		if in := r.QueueBy.Sub(before); first != (in >= 30*time.Second && in <= 30*time.Second+took) {
			t.Errorf("prompt %s is to begin in %v", r.ID, in)
		}
	}
}

// With an interval a chunk has several tokens: all of the text, in order.
func TestStreamInterval(t *testing.T) {
	for _, c := range []struct {
		body string
		want int // chunks with text
	}{
		{`{"prompt":"a","stream":true}`, 5},
		{`{"prompt":"a","stream":true,"stream_interval":2}`, 3},
		{`{"prompt":"a","stream":true,"stream_interval":100}`, 2}, // the first, and the rest
		{`{"prompt":["a","b"],"n":2,"stream":true,"stream_interval":100}`, 8},
	} {
		t.Run(c.body, func(t *testing.T) {
			f := newFake()
			f.reply = "one two three four five"
			s := serve(t, f, nil)
			got := send(t, s.addr, "POST", "/v1/completions", c.body)
			chunks, texts := 0, map[string]string{}
			for _, line := range strings.Split(got, "\n") {
				_, rest, ok := strings.Cut(line, `"index":`)
				index, rest, _ := strings.Cut(rest, `,"text":"`)
				if text, _, _ := strings.Cut(rest, `"`); ok && text != "" {
					chunks++
					texts[index] += text
				}
			}
			for i, text := range texts {
				if !strings.HasSuffix(text, "one two three four five") {
					t.Errorf("choice %s of %s has %q", i, c.body, text)
				}
			}
			if chunks != c.want {
				t.Errorf("%s has %d chunks with text, want %d:\n%s", c.body, chunks, c.want, got)
			}
		})
	}
}

// The bodies of all requests together are bounded, and what they held is given
// back.
func TestBodiesAreBounded(t *testing.T) {
	f := stepped()
	s := serve(t, f, func(o *Options) { o.MaxBody, o.MaxBodies = 1000, 1500 })
	large := `{"prompt":"` + strings.Repeat("a", 900) + `","max_tokens":1}`
	_, first := open(t, s.addr, "/v1/completions", large)
	if !eventually(func() bool { return f.active.Load() == 1 }) {
		t.Fatal("nothing is generated")
	}
	got := send(t, s.addr, "POST", "/v1/completions", large)
	if !strings.HasPrefix(got, "HTTP/1.1 429") || !strings.Contains(got, "bodies") {
		t.Errorf("got %.300s", got)
	}
	f.step <- struct{}{}
	readUntil(t, first, "200 OK")
	if !eventually(func() bool { return s.bodyBytes.Load() == 0 }) {
		t.Errorf("%d bytes are held by nobody", s.bodyBytes.Load())
	}
}

// HTTP/2 without TLS, for those who ask: streams, and errors in them.
func TestH2C(t *testing.T) {
	f := newFake()
	s := serve(t, f, func(o *Options) { o.H2C = true })
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: p}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	res, err := c.Post("http://"+s.addr+"/v1/chat/completions", "application/json", strings.NewReader(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 || res.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Errorf("%s, %v", res.Proto, res.Header)
	}
	var b strings.Builder
	if err := res.Write(&b); err != nil || !strings.Contains(b.String(), "data: [DONE]") {
		t.Errorf("%v, %s", err, b.String())
	}
	if got := send(t, s.addr, "GET", "/health", ""); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("HTTP/1.1 beside it: %s", got)
	}
}

// New options count for new requests; nothing that runs is lost.
func TestReload(t *testing.T) {
	f := stepped()
	s := serve(t, f, nil)
	_, r := open(t, s.addr, "/v1/chat/completions", streamBody)
	f.step <- struct{}{}
	readUntil(t, r, "Hello")
	o := *s.opts()
	o.MaxBody, o.MaxConnections = 10, 1
	if err := s.Reload(o); err != nil {
		t.Fatal(err)
	}
	if got := send(t, s.addr, "POST", "/v1/completions", `{"prompt":"a longer one"}`); !strings.HasPrefix(got, "HTTP/1.1 413") {
		t.Errorf("got %.200s, want the new limit", got)
	}
	if s.opts().MaxConnections == 1 {
		t.Error("what is fixed has changed")
	}
	o.MaxBody = 0
	if s.Reload(o) == nil || s.opts().MaxBody != 10 {
		t.Error("wrong options were taken")
	}
	f.step <- struct{}{}
	f.step <- struct{}{}
	readUntil(t, r, "[DONE]")
}

// Whoever asks about text while many do is told to come again.
func TestTextsAreBounded(t *testing.T) {
	s := serve(t, fakeTexter{newFake()}, nil)
	s.texts.Store(maxTexts)
	if got := send(t, s.addr, "POST", "/tokenize", `{"prompt":"ab"}`); !strings.HasPrefix(got, "HTTP/1.1 429") {
		t.Errorf("got %.200s", got)
	}
	s.texts.Store(0)
	if got := send(t, s.addr, "POST", "/tokenize", `{"prompt":"ab"}`); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("got %.200s", got)
	}
}

// Probes are answered at once while every place is taken.
func TestProbesOffTheHotPath(t *testing.T) {
	b := &bouncer{fake: newFake()}
	s := serve(t, b, func(o *Options) { o.Quota = Quota{Requests: 1} })
	for range 3 {
		for _, path := range []string{"/health", "/ready"} {
			if got := send(t, s.addr, "GET", path, ""); !strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Errorf("%s: %s", path, got)
			}
		}
	}
}

var _ llm.Admitter = (*bouncer)(nil)
