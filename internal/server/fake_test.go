package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/llm"
)

// fake is a generator whose answers are known: the words of reply, one a token,
// in each choice after its number if there are several.
type fake struct {
	model llm.Model
	reply string

	// step, if not nil, is taken from before each token.
	step chan struct{}
	// fail, if not nil, is what happens after failAfter tokens.
	fail      error
	failAfter int
	panics    bool // instead of fail

	// events, if not nil, are what it says instead of words.
	events []llm.Event

	cache *llm.CacheInfo // what it says of its cache

	active   atomic.Int32
	ended    chan error // gets how each generation ended, if not nil
	mu       sync.Mutex
	requests []*llm.Request
}

func newFake() *fake {
	return &fake{
		model: llm.Model{ID: "tiny", Aliases: []string{"small"}, Context: 100, Vocab: 1000, Chat: true, MaxTopLP: 20, Created: 7, OwnedBy: "weir"},
		reply: "Hello, dear world!",
	}
}

func (f *fake) Model() llm.Model { return f.model }

func (f *fake) Generate(ctx context.Context, r *llm.Request) iter.Seq2[llm.Event, error] {
	return func(yield func(llm.Event, error) bool) {
		f.active.Add(1)
		defer f.active.Add(-1)
		f.mu.Lock()
		f.requests = append(f.requests, r)
		f.mu.Unlock()
		err := f.generate(ctx, r, yield)
		if f.ended != nil {
			f.ended <- err
		}
		if err != nil && !errors.Is(err, errBroken) {
			yield(llm.Event{}, err)
		}
	}
}

var errBroken = errors.New("the caller broke out")

func (f *fake) generate(ctx context.Context, r *llm.Request, yield func(llm.Event, error) bool) error {
	send := func(e llm.Event) error {
		if !yield(e, nil) {
			return errBroken
		}
		return nil
	}
	if f.failAfter == 0 {
		if err := f.trouble(); err != nil {
			return err
		}
	}
	ids := f.ids(r.Prompt)
	info := &llm.PromptInfo{IDs: ids, Cache: f.cache}
	if r.Params.Echo {
		info.Text = fmt.Sprint(r.Prompt)
	}
	if r.Params.PromptLogprobs != nil {
		for i, id := range ids {
			t := llm.Token{ID: id, Bytes: []byte(info.Text)[i : i+1]}
			if i > 0 {
				t = scored(t, *r.Params.PromptLogprobs)
			}
			info.Logprobs = append(info.Logprobs, t)
		}
	}
	if err := send(llm.Event{Prompt: info}); err != nil {
		return err
	}
	usage := llm.Usage{PromptTokens: len(ids), CachedTokens: 1}
	for _, e := range f.events {
		if err := send(e); err != nil {
			return err
		}
	}
	if f.events != nil {
		return send(llm.Event{Usage: &usage})
	}
	for c := range r.Params.N {
		if err := f.choice(ctx, r, c, &usage, send); err != nil {
			return err
		}
	}
	return send(llm.Event{Usage: &usage})
}

func (f *fake) trouble() error {
	if f.panics {
		panic("the fake panics")
	}
	return f.fail
}

func (f *fake) choice(ctx context.Context, r *llm.Request, c int, usage *llm.Usage, send func(llm.Event) error) error {
	reply := f.reply
	if r.Params.N > 1 {
		reply = fmt.Sprintf("%d %s", c, reply)
	}
	words := strings.SplitAfter(reply, " ")
	for i, word := range words {
		if f.step != nil {
			select {
			case <-f.step:
			case <-ctx.Done():
				return &llm.Error{Kind: llm.Canceled, Message: "cancelled", Err: ctx.Err()}
			}
		}
		t := llm.Token{ID: int32(10 + i), Bytes: []byte(word)}
		if r.Params.Logprobs != nil {
			t = scored(t, *r.Params.Logprobs)
		}
		e := llm.Event{Choice: c, Text: word, Tokens: []llm.Token{t}}
		usage.CompletionTokens++
		if i == len(words)-1 {
			e.Finish = llm.FinishStop
		}
		for _, s := range r.Params.Stop {
			if at := strings.Index(word, s); at >= 0 {
				e.Text, e.Finish, e.StopString = word[:at], llm.FinishStop, s
			}
		}
		if r.Params.MaxTokens != nil && i+1 == *r.Params.MaxTokens && e.Finish == llm.FinishNone {
			e.Finish = llm.FinishLength
		}
		if err := send(e); err != nil {
			return err
		}
		if e.Finish != llm.FinishNone {
			return nil
		}
		if i+1 == f.failAfter {
			if err := f.trouble(); err != nil {
				return err
			}
		}
	}
	return nil
}

func scored(t llm.Token, top int) llm.Token {
	lp := -0.5
	t.Logprob = &lp
	for i := range top {
		t.Top = append(t.Top, llm.Alt{ID: int32(i), Bytes: fmt.Appendf(nil, "alt%d", i), Logprob: -1 - float64(i)})
	}
	return t
}

// ids gives a prompt one token a byte.
func (f *fake) ids(p llm.Prompt) []int32 {
	var ids []int32
	switch p := p.(type) {
	case llm.Tokens:
		return p
	case llm.Text:
		for _, b := range []byte(p) {
			ids = append(ids, int32(b))
		}
	case *llm.Chat:
		for _, b := range p.Messages {
			ids = append(ids, int32(b))
		}
	}
	return ids
}

// fakeTexter is a fake with a tokeniser: a byte is a token.
type fakeTexter struct{ *fake }

func (f fakeTexter) Tokenize(_ context.Context, p llm.Prompt, o llm.TokenizeOptions) ([]int32, error) {
	ids := f.ids(p)
	if _, chat := p.(*llm.Chat); !chat && !o.NoSpecial {
		ids = append([]int32{1}, ids...)
	}
	return ids, nil
}

func (f fakeTexter) Detokenize(ids []int32) (string, error) {
	var b []byte
	for _, id := range ids {
		b = append(b, byte(id))
	}
	return string(b), nil
}

func (f fakeTexter) Render(_ context.Context, c *llm.Chat) (string, error) {
	return "<" + string(c.Messages) + ">", nil
}
func (f fakeTexter) TokenText(id int32) string { return fmt.Sprintf("#%d", id) }

// fakeHealth is as healthy as it is told.
type fakeHealth struct{ live, ready error }

func (h *fakeHealth) Live() error  { return h.live }
func (h *fakeHealth) Ready() error { return h.ready }

// testServer is a server on a port, whose ids and clock are fixed.
type testServer struct {
	*Server
	t      *testing.T
	addr   string
	health *fakeHealth
	logs   *lines
	served chan error
}

// serve starts a server of g; change may adapt its options. It is closed, and
// leaks are looked for, when the test ends.
func serve(t *testing.T, g llm.Generator, change func(*Options)) *testServer {
	t.Helper()
	checkLeaks(t)
	logs := new(lines)
	o := DefaultOptions()
	o.HeaderDelay = time.Hour // tests that want it set it
	o.KeepAlive = 0
	o.Version = "test"
	o.Log = slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if change != nil {
		change(&o)
	}
	health := new(fakeHealth)
	s, err := New(o, Static{g}, health)
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return time.Unix(1700000000, 0) }
	var n atomic.Int32
	s.newID = func() string { return fmt.Sprintf("id%d", n.Add(1)) }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{s, t, l.Addr().String(), health, logs, make(chan error, 1)}
	go func() { ts.served <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ts.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return ts
}

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// checkLeaks fails the test if goroutines of this module outlive it.
func checkLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left string
		if !eventually(func() bool { left = ours(); return left == "" }) {
			t.Errorf("goroutines outlive the test:\n%s", left)
		}
	})
}

// ours gives the stacks of goroutines in a server's code, but this one's.
func ours() string {
	buf := make([]byte, 1<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	var left []string
	for _, s := range stacks[1:] {
		if strings.Contains(s, "weir/internal/server.(*") || strings.Contains(s, "net/http.(*conn).serve") {
			left = append(left, s)
		}
	}
	return strings.Join(left, "\n\n")
}

// patience is how long a test waits for what must come. A server that never does it is
// told by it, a machine that is slow is not.
const patience = time.Minute

// eventually polls f, for what has no event to wait for.
func eventually(f func() bool) bool {
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			return false
		}
		runtime.Gosched()
	}
	return true
}
