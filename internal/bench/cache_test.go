package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// cachingServer streams answers and says of each prompt how much of it the
// prompts and answers before it began with.
type cachingServer struct {
	mu     sync.Mutex
	seen   [][]int32
	broken int // connections to break first
	tells  bool
	cpu    float64 // seconds: one a completion
	each   func()  // is called before each answer
}

func (s *cachingServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Prompt    []int32 `json:"prompt"`
		MaxTokens int     `json:"max_tokens"`
	}
	if r.URL.Path == "/metrics" {
		s.metrics(w)
		return
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &q); err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken > 0 {
		s.broken--
		panic(http.ErrAbortHandler)
	}
	s.cpu++
	if s.each != nil {
		s.each()
	}
	cached := 0
	for _, p := range s.seen {
		n := 0
		for n < min(len(p), len(q.Prompt)) && p[n] == q.Prompt[n] {
			n++
		}
		cached = max(cached, n)
	}
	fmt.Fprint(w, ": hello\n\n")
	said := slices.Clone(q.Prompt)
	for i := range q.MaxTokens {
		said = append(said, int32(i))
		fmt.Fprintf(w, "data: {\"choices\":[{\"text\":\"x\",\"token_ids\":[%d]}]}\n\n", i)
	}
	s.seen = append(s.seen, said)
	fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens_details\":{\"cached_tokens\":%d}}}\n\ndata: [DONE]\n\n", cached)
}

// metrics tells the processor time, if s does.
func (s *cachingServer) metrics(w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tells {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	fmt.Fprintf(w, "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %g\n", s.cpu)
}

func cacheOptions(t *testing.T, load Load, servers ...http.Handler) CacheOptions {
	o := CacheOptions{CacheSettings: CacheSettings{Load: load, Clients: 3, Shared: 20, Tail: 5, Turns: 4, Output: 6, Vocab: 1000, Repeat: 3}, Command: "weir bench cache"}
	for i, h := range servers {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		o.Targets = append(o.Targets, Target{fmt.Sprint("server", i), s.URL})
	}
	return o
}

// The loads reuse what they say they do: the rest of each prompt is new.
func TestCacheLoads(t *testing.T) {
	for _, c := range []struct {
		load   Load
		shares [2]float64 // of the prompts' tokens that may have been seen before
	}{
		{SharedLoad, [2]float64{0.79, 0.85}},
		{ChatLoad, [2]float64{0.8, 0.92}}, // 20 new at first, then 5 of each turn
		{UniqueLoad, [2]float64{0, 0.05}},
	} {
		r, err := RunCache(context.Background(), cacheOptions(t, c.load, &cachingServer{}, &cachingServer{broken: 2}))
		if err != nil {
			t.Fatalf("%s: %v", c.load, err)
		}
		for _, res := range r.Results {
			if res.Cached == nil || *res.Cached < c.shares[0] || *res.Cached > c.shares[1] {
				t.Errorf("%s: %s had %v cached, want %v", c.load, res.Name, *res.Cached, c.shares)
			}
			if res.TTFT.Median <= 0 || res.Seconds.Median <= 0 || res.TTFT95.Median < res.TTFT.Median {
				t.Errorf("%s: %+v", c.load, res)
			}
		}
		if one := r.Results[0].TTFTRatio; one != (Ratio{1, 1, 1}) {
			t.Errorf("the first target beside itself: %v", one)
		}
		var text, markdown, js bytes.Buffer
		if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "server1") {
			t.Errorf("%v\n%s", err, text.String())
		}
		if err := r.WriteMarkdown(&markdown); err != nil || !strings.Contains(markdown.String(), "| server1 |") {
			t.Errorf("%v\n%s", err, markdown.String())
		}
		back := new(CacheReport)
		if err := r.WriteJSON(&js); err != nil || json.Unmarshal(js.Bytes(), back) != nil || len(back.Results) != 2 {
			t.Errorf("%v\n%s", err, js.String())
		}
	}
}

// The processor time of a server is that of the rounds, and is compared where both
// tell it.
func TestCacheLoadCPU(t *testing.T) {
	tells, silent := &cachingServer{tells: true}, &cachingServer{}
	for _, servers := range [][]http.Handler{{tells, tells, silent}, {silent, tells}} {
		r, err := RunCache(context.Background(), cacheOptions(t, UniqueLoad, servers...))
		if err != nil {
			t.Fatal(err)
		}
		for i, res := range r.Results {
			told := servers[i] == http.Handler(tells)
			compared := told && servers[0] == http.Handler(tells)
			if (res.CPU != nil) != told || (res.CPURatio != nil) != compared {
				t.Fatalf("%s: %v, %v", res.Name, res.CPU, res.CPURatio)
			}
			if told && res.CPU.Median != 12 || compared && res.CPURatio.Median != 1 { // 3 clients of 4 turns
				t.Errorf("%s: %v, %v", res.Name, res.CPU, res.CPURatio)
			}
		}
	}
}

// Who interrupts a measurement gets the rounds that are complete.
func TestCacheLoadInterrupted(t *testing.T) {
	for _, stop := range []struct{ after, rounds int }{{5, 0}, {13, 1}, {24, 1}, {30, 2}} {
		ctx, cancel := context.WithCancel(context.Background())
		left := stop.after // completions; a target does 6 a round
		server := &cachingServer{}
		o := cacheOptions(t, UniqueLoad, server, server)
		o.Clients, o.Turns = 1, 6
		server.each = func() {
			if left--; left == 0 {
				cancel()
			}
		}
		r, err := RunCache(ctx, o)
		switch {
		case stop.rounds == 0 && err == nil:
			t.Errorf("stopped after %d completions: no error", stop.after)
		case stop.rounds > 0 && err != nil:
			t.Errorf("stopped after %d completions: %v", stop.after, err)
		case stop.rounds > 0 && r.Settings.Repeat != stop.rounds:
			t.Errorf("stopped after %d completions: %d rounds, want %d", stop.after, r.Settings.Repeat, stop.rounds)
		}
		cancel()
	}
}

func TestCacheLoadErrors(t *testing.T) {
	answer := func(status int, text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, text)
		})
	}
	for want, h := range map[string]http.Handler{
		"503 Service Unavailable: loading": answer(503, "loading"),
		"without a token":                  answer(200, "data: [DONE]\n\n"),
		"ended with":                       answer(200, "data: {\"error\":{\"message\":\"no\"}}\n\n"),
		"read an event":                    answer(200, "data: {\n\n"),
	} {
		if _, err := RunCache(context.Background(), cacheOptions(t, SharedLoad, h)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := RunCache(context.Background(), cacheOptions(t, SharedLoad)); err == nil {
		t.Error("no target, no error")
	}
	bad := cacheOptions(t, SharedLoad, answer(200, ""))
	bad.Tail = 0
	if _, err := RunCache(context.Background(), bad); err == nil || !strings.Contains(err.Error(), "--tail") {
		t.Errorf("got %v", err)
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]Target{
		"a=http://h:1":     {"a", "http://h:1"},
		"http://h:1/v1/":   {"http://h:1/v1/", "http://h:1"},
		"b=https://h/x=y":  {"b", "https://h/x=y"},
		"http://h/?x=http": {"http://h/?x=http", "http://h/?x=http"},
	} {
		if got, err := ParseTarget(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "h:1", "=http://h", "a=b"} {
		if got, err := ParseTarget(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestRatios(t *testing.T) {
	r := ratios([]float64{1, 2, 3, 4, 5}, []float64{10, 10, 10, 10, 10})
	if r.Median != 0.3 || r.Low > 0.2 || r.High < 0.4 || r.Low < 0.1 || r.High > 0.5 {
		t.Errorf("%v", r)
	}
}
