package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/internal/llm"
)

const streamBody = `{"messages":[{"role":"user","content":"hi"}],"stream":true}`

// open sends a request and leaves its connection to the test.
func open(t *testing.T, addr, path, body string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, r := dial(t, addr)
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	return c, r
}

func dial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

// readUntil reads lines up to one with the given text.
func readUntil(t *testing.T, r *bufio.Reader, text string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("waiting for %q: %v", text, err)
		}
	}
}

// stepped is a fake that waits for leave before each token.
func stepped() *fake {
	f := newFake()
	f.step, f.ended = make(chan struct{}), make(chan error, 16)
	return f
}

// A client that goes away ends its generation, streamed or not.
func TestDisconnect(t *testing.T) {
	for name, body := range map[string]string{
		"stream":  streamBody,
		"whole":   `{"messages":[{"role":"user","content":"hi"}]}`,
		"prompts": `{"prompt":["a","b"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := stepped()
			s := serve(t, f, nil)
			path := "/v1/chat/completions"
			if name == "prompts" {
				path = "/v1/completions"
			}
			c, r := open(t, s.addr, path, body)
			if name == "stream" {
				f.step <- struct{}{}
				readUntil(t, r, "Hello")
			} else if !eventually(func() bool { return f.active.Load() > 0 }) {
				t.Fatal("nothing is generated")
			}
			c.Close()
			if err := <-f.ended; err == nil {
				t.Error("the generation went on")
			}
			if !eventually(func() bool { return strings.Contains(s.logs.String(), "error=canceled") }) {
				t.Errorf("the log does not tell:\n%s", s.logs)
			}
		})
	}
}

// A client that does not read holds up nobody else, and not for ever.
func TestSlowReader(t *testing.T) {
	f := newFake()
	f.ended = make(chan error, 1)
	f.reply = strings.Repeat(strings.Repeat("x", 1<<20)+" ", 64) // more than the sockets hold
	s := serve(t, f, func(o *Options) { o.WriteTimeout = 300 * time.Millisecond })
	_, r := open(t, s.addr, "/v1/chat/completions", streamBody)
	readUntil(t, r, "assistant")
	got := send(t, s.addr, "POST", "/v1/completions", `{"prompt":"a","max_tokens":1}`) // while the other hangs
	if !strings.Contains(got, `"finish_reason":"length"`) {
		t.Errorf("got %.200s", got)
	}
	for range 2 { // the quick one's end, and the slow one's
		<-f.ended
	}
	if !eventually(func() bool { return strings.Contains(s.logs.String(), "error=canceled") }) {
		t.Errorf("the log does not tell:\n%.1000s", s.logs)
	}
}

// Drain lets what runs finish and takes nothing new.
func TestDrain(t *testing.T) {
	f := stepped()
	s := serve(t, f, nil)
	idle, ri := open(t, s.addr, "/v1/completions", `{}`) // a connection kept alive
	readUntil(t, ri, `"error"`)
	_, r := open(t, s.addr, "/v1/chat/completions", streamBody)
	f.step <- struct{}{}
	readUntil(t, r, "Hello")
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(context.Background()) }()
	if !eventually(s.draining.Load) {
		t.Fatal("not draining")
	}
	if !eventually(func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	}) {
		t.Error("new connections are taken")
	}
	select {
	case err := <-drained:
		t.Fatalf("drained while a stream runs: %v", err)
	default:
	}
	f.step <- struct{}{}
	f.step <- struct{}{}
	readUntil(t, r, "[DONE]")
	if err := <-drained; err != nil {
		t.Errorf("Drain: %v", err)
	}
	if _, err := io.ReadAll(idle); err != nil {
		t.Errorf("the idle connection was not closed: %v", err)
	}
}

// On a connection that is already open, a draining server says that it drains.
func TestDrainRefuses(t *testing.T) {
	s := serve(t, newFake(), nil)
	s.draining.Store(true)
	got := send(t, s.addr, "POST", "/v1/completions", `{"prompt":"a"}`)
	if !strings.HasPrefix(got, "HTTP/1.1 503") || !strings.Contains(got, `"code":"draining"`) || !strings.Contains(got, "Retry-After: 1\r\n") {
		t.Errorf("got %s", got)
	}
	if got := send(t, s.addr, "GET", "/health", ""); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("got %s", got)
	}
	if got := send(t, s.addr, "GET", "/ready", ""); !strings.HasPrefix(got, "HTTP/1.1 503") {
		t.Errorf("got %s", got)
	}
}

// Close ends streams with an error, requests without a stream with a status.
func TestClose(t *testing.T) {
	f := stepped()
	s := serve(t, f, nil)
	_, r := open(t, s.addr, "/v1/chat/completions", streamBody)
	f.step <- struct{}{}
	readUntil(t, r, "Hello")
	_, whole := open(t, s.addr, "/v1/completions", `{"prompt":["a","b"]}`)
	if !eventually(func() bool { return f.active.Load() == 3 }) {
		t.Fatal("not all are generating")
	}
	s.Close()
	readUntil(t, r, `"code":"draining"`)
	readUntil(t, whole, "503")
	readUntil(t, whole, `"code":"draining"`)
	if rest, err := io.ReadAll(r); err != nil || !strings.Contains(string(rest), "[DONE]") {
		t.Errorf("after the error: %q, %v", rest, err)
	}
}

// A drain that takes too long cuts off what is left, and says so.
func TestDrainTimeout(t *testing.T) {
	f := stepped()
	s := serve(t, f, func(o *Options) { o.DrainTimeout = time.Millisecond })
	_, r := open(t, s.addr, "/v1/chat/completions", streamBody)
	f.step <- struct{}{}
	readUntil(t, r, "Hello")
	if err := s.Drain(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v", err)
	}
	readUntil(t, r, `"code":"draining"`)
}

// The context's end closes a server.
func TestServeContext(t *testing.T) {
	checkLeaks(t)
	s, err := New(DefaultOptions(), Static{newFake()}, new(fakeHealth))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The headers of a stream do not wait for ever, and silence is filled.
func TestHeaderDelayAndKeepAlive(t *testing.T) {
	f := stepped()
	s := serve(t, f, func(o *Options) { o.HeaderDelay, o.KeepAlive = time.Millisecond, time.Millisecond })
	_, r := open(t, s.addr, "/v1/completions", `{"prompt":"a","stream":true}`)
	readUntil(t, r, "HTTP/1.1 200 OK")
	readUntil(t, r, "\r\n")
	readUntil(t, r, ": keep-alive")
	for range 3 {
		f.step <- struct{}{}
	}
	readUntil(t, r, "[DONE]")
}

// An error that comes after the delay is an event.
func TestErrorAfterDelay(t *testing.T) {
	f := stepped()
	f.fail, f.failAfter = &llm.Error{Kind: llm.Overloaded, Message: "late"}, 1
	s := serve(t, f, func(o *Options) { o.HeaderDelay = 0 })
	_, r := open(t, s.addr, "/v1/completions", `{"prompt":"a","stream":true}`)
	readUntil(t, r, "HTTP/1.1 200 OK")
	f.step <- struct{}{}
	readUntil(t, r, `data: {"error":{"message":"late","type":"rate_limit_error"`)
}

func TestBodyLimits(t *testing.T) {
	s := serve(t, newFake(), func(o *Options) { o.MaxBody = 100 })
	large := strings.Repeat("a", 101)
	if got := send(t, s.addr, "POST", "/v1/completions", large); !strings.HasPrefix(got, "HTTP/1.1 413") || !strings.Contains(got, "request_too_large") {
		t.Errorf("declared: %s", got)
	}
	res, err := http.Post("http://"+s.addr+"/v1/completions", "application/json", io.MultiReader(strings.NewReader(large))) // chunked
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("chunked: %s", res.Status)
	}
}

func TestSlowBody(t *testing.T) {
	s := serve(t, newFake(), func(o *Options) { o.BodyTimeout = 20 * time.Millisecond })
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
	readUntil(t, bufio.NewReader(c), "408 Request Timeout")
}

// The time allowed for a body does not end an answer that takes longer.
func TestSlowAnswer(t *testing.T) {
	f := stepped()
	s := serve(t, f, func(o *Options) { o.BodyTimeout, o.HeaderDelay = 200*time.Millisecond, 250*time.Millisecond })
	_, r := open(t, s.addr, "/v1/completions", `{"prompt":"a","stream":true}`)
	readUntil(t, r, "HTTP/1.1 200 OK") // comes after the body's time is up
	for range 3 {
		f.step <- struct{}{}
	}
	readUntil(t, r, "[DONE]")
}

func TestSlowHeaders(t *testing.T) {
	s := serve(t, newFake(), func(o *Options) { o.HeaderTimeout = 20 * time.Millisecond })
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /v1/comp")
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
}

func TestContentTypes(t *testing.T) {
	s := serve(t, newFake(), nil)
	for header, status := range map[string]string{
		"X: y":                           "200",
		"Content-Type: application/json": "200",
		"Content-Type: application/json; charset=utf-8":   "200",
		"Content-Type: application/vnd.x+json":            "200",
		"Content-Type: text/plain":                        "415",
		"Content-Type: application/x-www-form-urlencoded": "415",
		"Content-Type: application/json; charset=latin1":  "415",
		"Content-Type: ;":                                 "415",
		"Content-Encoding: gzip":                          "415",
	} {
		if got := send(t, s.addr, "POST", "/v1/completions", `{"prompt":"a"}`, header); !strings.HasPrefix(got, "HTTP/1.1 "+status) {
			t.Errorf("%s: got %s, want %s", header, got, status)
		}
	}
}

func TestRequestID(t *testing.T) {
	s := serve(t, newFake(), nil)
	for sent, want := range map[string]string{
		"abc-1.2:3_4/5+6=@": "abc-1.2:3_4/5+6=@",
		"a b":               "id",
		"ü":                 "id",
		"":                  "id",

		strings.Repeat("a", 129): "id",
	} {
		got := send(t, s.addr, "POST", "/v1/completions", `{"prompt":"a"}`, "X-Request-Id: "+sent)
		if !strings.Contains(got, "X-Request-Id: "+want) || !strings.Contains(got, `"id":"cmpl-id`) {
			t.Errorf("%q: got %s", sent, got)
		}
	}
}

func TestRoutes(t *testing.T) {
	s := serve(t, newFake(), nil)
	for _, c := range []struct{ method, path, status, part string }{
		{"POST", "/v1/v1/chat/completions", "404", "there is POST /v1/chat/completions\""},
		{"POST", "/v1/completion", "404", "POST /v1/completions"},
		{"GET", "/model", "404", "GET /v1/models, GET /v1/models/{id...}"},
		{"GET", "/nonsense", "404", "GET /version"},
		{"DELETE", "/v1/models/tiny", "405", "only GET, HEAD"},
		{"OPTIONS", "/v1/models", "405", "Allow: GET, HEAD"},
		{"HEAD", "/v1/models", "200", "Content-Length: 218"},
		{"GET", "/v1/models/", "200", `"object":"list"`},
		{"GET", "/v1/models/ti%6Ey", "200", `"id":"tiny"`},
		{"POST", "/tokenize", "400", "cannot reach"},
	} {
		got := send(t, s.addr, c.method, c.path, `{"prompt":"a"}`)
		if !strings.HasPrefix(got, "HTTP/1.1 "+c.status) || !strings.Contains(got, c.part) {
			t.Errorf("%s %s: got %s\nwant %s, %s", c.method, c.path, got, c.status, c.part)
		}
	}
}

func TestHealth(t *testing.T) {
	s := serve(t, newFake(), nil)
	s.health.live, s.health.ready = errors.New("no step for 30s"), errors.New("loading weights")
	for path, want := range map[string]string{
		"/health": `{"reason":"no step for 30s","status":"unhealthy"}`,
		"/ready":  `{"reason":"loading weights","status":"not ready"}`,
	} {
		if got := send(t, s.addr, "GET", path, ""); !strings.HasPrefix(got, "HTTP/1.1 503") || !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// A request of many prompts has no more than its share with the backend, and
// ends as one.
func TestPromptsAtOnce(t *testing.T) {
	f := stepped()
	s := serve(t, f, func(o *Options) { o.PromptsAtOnce = 2 })
	_, r := open(t, s.addr, "/v1/completions", `{"prompt":["a","b","c","d","e"],"max_tokens":1}`)
	for range 5 {
		if !eventually(func() bool { return f.active.Load() > 0 }) {
			t.Fatal("nothing is generated")
		}
		if n := f.active.Load(); n > 2 {
			t.Errorf("%d at once", n)
		}
		f.step <- struct{}{}
		<-f.ended
	}
	readUntil(t, r, `"index":4`)
	ids := map[string]bool{}
	for _, q := range f.requests {
		ids[q.ID] = true
	}
	if len(ids) != 5 {
		t.Errorf("ids are not unique: %v", ids)
	}
}

// Choices count: prompts of many wait for each other.
func TestChoicesAtOnce(t *testing.T) {
	f := stepped()
	s := serve(t, f, func(o *Options) { o.PromptsAtOnce = 4 })
	_, r := open(t, s.addr, "/v1/completions", `{"prompt":["a","b","c"],"n":3,"max_tokens":1}`)
	for range 3 {
		if !eventually(func() bool { return f.active.Load() > 0 }) {
			t.Fatal("nothing is generated")
		}
		if n := f.active.Load(); n > 1 {
			t.Errorf("%d prompts of 3 choices at once, of 4 choices", n)
		}
		for range 3 { // the fake computes one choice after the other
			f.step <- struct{}{}
		}
		<-f.ended
	}
	readUntil(t, r, `"finish_reason"`)
}

// One prompt's failure is the request's, and stops the others.
func TestPromptFails(t *testing.T) {
	f := stepped()
	f.fail, f.failAfter = &llm.Error{Kind: llm.TooLong, Message: "too long"}, 1
	s := serve(t, f, nil)
	_, r := open(t, s.addr, "/v1/completions", `{"prompt":["a","b","c"]}`)
	if !eventually(func() bool { return f.active.Load() == 3 }) {
		t.Fatal("not all are generating")
	}
	f.step <- struct{}{}
	readUntil(t, r, "400 Bad Request")
	readUntil(t, r, "context_length_exceeded")
	for range 3 {
		if err := <-f.ended; err == nil {
			t.Error("one went on to its end")
		}
	}
}

// The log tells what was done, and nothing of what was said.
func TestLog(t *testing.T) {
	s := serve(t, newFake(), nil)
	send(t, s.addr, "POST", "/v1/completions", `{"prompt":"whisper"}`, "X-Request-Id: r1")
	send(t, s.addr, "POST", "/v1/completions", `{"prompt":"whisper","temperature":"whisper"}`)
	send(t, s.addr, "GET", "/health", "")
	want := []string{
		`level=INFO msg=request id=r1 method=POST path=/v1/completions status=200 duration=`,
		`model=tiny completion=id1 prompt_tokens=7 cached_tokens=1 completion_tokens=3`,
		`status=400`, `error=invalid param=temperature`, `level=DEBUG msg=request id=id3 method=GET path=/health`,
	}
	if !eventually(func() bool { return strings.Contains(s.logs.String(), "/health") }) {
		t.Fatal("no line")
	}
	for _, w := range want {
		if !strings.Contains(s.logs.String(), w) {
			t.Errorf("no %q in\n%s", w, s.logs)
		}
	}
	if strings.Contains(s.logs.String(), "whisper") || strings.Contains(s.logs.String(), "Hello") {
		t.Errorf("the log tells too much:\n%s", s.logs)
	}
}

// A panic outside of a stream is a 500, and the server lives on.
func TestPanic(t *testing.T) {
	f := newFake()
	f.panics = true
	s := serve(t, f, nil)
	for _, body := range []string{`{"prompt":"a"}`, `{"prompt":["a","b"]}`} {
		if got := send(t, s.addr, "POST", "/v1/completions", body); !strings.HasPrefix(got, "HTTP/1.1 500") {
			t.Errorf("got %s", got)
		}
	}
	if log := s.logs.String(); !strings.Contains(log, "the fake panics") || !strings.Contains(log, "fake_test.go") {
		t.Errorf("no stack in the log:\n%s", log)
	}
}

func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Options){
		"max body":        func(o *Options) { o.MaxBody = 0 },
		"max header":      func(o *Options) { o.MaxHeader = -1 },
		"prompts at once": func(o *Options) { o.PromptsAtOnce = 0 },
		"header timeout":  func(o *Options) { o.HeaderTimeout = 0 },
		"write timeout":   func(o *Options) { o.WriteTimeout = -1 },
		"header delay":    func(o *Options) { o.HeaderDelay = -1 },
		"drain timeout":   func(o *Options) { o.DrainTimeout = -1 },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := New(o, Static{}, new(fakeHealth)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestStatic(t *testing.T) {
	a, b := newFake(), newFake()
	b.model.ID, b.model.Aliases = "b", nil
	for _, c := range []struct {
		list Static
		name string
		want llm.Generator
		part string
	}{
		{Static{a}, "", a, ""},
		{Static{a}, "tiny", a, ""},
		{Static{a, b}, "small", a, ""},
		{Static{a, b}, "b", b, ""},
		{Static{a, b}, "", nil, `names no model`},
		{Static{a, b}, "c", nil, `model "c" is not served; served: "tiny", "small", "b"`},
		{Static{}, "", nil, "no model is served"},
	} {
		got, _, err := c.list.Generator(t.Context(), c.name)
		if got != c.want || (err == nil) != (c.want != nil) || (err != nil && !strings.Contains(err.Error(), c.part)) {
			t.Errorf("%q of %d: got %v, %v", c.name, len(c.list), got, err)
		}
	}
}
