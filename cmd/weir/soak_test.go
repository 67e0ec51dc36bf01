package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// soakFor is for the run that docs/reliability.md tells of:
//
//	go test ./cmd/weir -run TestSoak -soak 30m -timeout 40m -v
var soakFor = flag.Duration("soak", 3*time.Second, "how long TestSoak loads the server")

// TestSoak loads a server with everything at once: streams and whole answers,
// clients that go away, that read slowly or not at all, nonsense, deadlines that
// can't be kept, and new settings every moment. Whatever is answered must be what
// is answered without load, and in the end nothing may be left over.
func TestSoak(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	config := filepath.Join(t.TempDir(), "weir.yaml")
	s := startSoak(t, config)
	// The first requests make what stays: connections, pools, the cache's nodes.
	for i := range s.questions {
		s.questions[i].want = s.answer(t, s.questions[i].body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), *soakFor)
	defer cancel()
	var all sync.WaitGroup
	for i := range soakClients {
		all.Go(func() { s.client(ctx, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	all.Go(func() { s.reloadEveryMoment(ctx, config) })
	all.Go(func() { s.watch(ctx) })
	all.Wait()
	waitFor(t, "all pages free", func() bool { return idle(s.only().engine.Stats()) })
	for _, q := range s.questions { // and once more without load
		if got := s.answer(t, q.body); got != q.want {
			t.Errorf("after the load %s is answered with %q, before it was %q", q.body, got, q.want)
		}
	}
	s.report(t)
}

const soakClients = 24

type soak struct {
	*serving
	reload    chan os.Signal
	questions []soakQuestion
	failed    atomic.Pointer[string]
	started   time.Time

	answered, refused, broken, nonsense, slow, late, probes, reloads atomic.Int64

	slowestProbe atomic.Int64
	mu           sync.Mutex
	samples      []soakSample
}

type soakQuestion struct{ body, want string }

// soakSample is what the process holds at a time.
type soakSample struct {
	at               time.Duration
	goroutines, open int
	heap, rss        int64
}

func startSoak(t *testing.T, config string) *soak {
	t.Helper()
	if err := os.WriteFile(config, []byte("max-queue: 64\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"serve", "--port", "0", "--ctx", "512", "--memory", "256MiB", "--max-running", "16", "--config", config, "--write-timeout", "2s"}
	s := &soak{reload: make(chan os.Signal), started: time.Now()}
	again := func() (*setting, error) { return parseSetting(args, nil) }
	s.serving = serveWith(t, streams{reload: s.reload, again: again, level: new(slog.LevelVar)}, args[3:]...)
	s.http.Transport.(*http.Transport).MaxIdleConnsPerHost = soakClients
	for i, prompt := range []string{"Once upon a time", "The river", "ÄÖÜ äöü ß €", "{\"a\": [1, 2,"} {
		for j, more := range []string{
			`"temperature":0`, `"temperature":0.9,"seed":%d`, `"temperature":1.2,"top_k":20,"seed":%d,"stop":["the","\n\n"]`,
			`"temperature":0,"repetition_penalty":1.2`,
		} {
			more = strings.ReplaceAll(more, "%d", fmt.Sprint(100*i+j))
			body := fmt.Sprintf(`{"prompt":%q,"max_tokens":%d,%s}`, strings.Repeat(prompt+" ", 1+5*j), 6+12*i, more)
			s.questions = append(s.questions, soakQuestion{body: body})
		}
	}
	return s
}

// answer asks without a stream, at a time when nobody else does.
func (s *soak) answer(t *testing.T, body string) string {
	t.Helper()
	status, got := s.post(t, "/v1/completions", body)
	if status != http.StatusOK {
		t.Fatalf("%s gets %d: %s", body, status, got)
	}
	return textOf(got)
}

// textOf puts together the texts of a response, or of the chunks of a stream.
func textOf(body string) string {
	var all strings.Builder
	for line := range strings.SplitSeq(body, "\n") {
		var r struct {
			Choices []struct {
				Text   string
				Finish string `json:"finish_reason"`
			}
		}
		if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &r) == nil && len(r.Choices) > 0 {
			all.WriteString(r.Choices[0].Text)
			if f := r.Choices[0].Finish; f != "" {
				all.WriteString("|" + f)
			}
		}
	}
	return all.String()
}

func (s *soak) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.failed.CompareAndSwap(nil, &text)
}

func (s *soak) client(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil && s.failed.Load() == nil {
		q := s.questions[rng.IntN(len(s.questions))]
		switch n := rng.IntN(100); {
		case n < 45:
			s.ask(ctx, q, strings.TrimSuffix(q.body, "}")+`,"stream":true}`, rng)
		case n < 65:
			s.ask(ctx, q, q.body, rng)
		case n < 78:
			s.goAway(ctx, q, rng)
		case n < 86:
			s.sendNonsense(ctx, q, rng)
		case n < 89:
			s.readSlowly(ctx, rng)
		case n < 94:
			s.beLate(ctx, q)
		default:
			s.probe(ctx, rng)
		}
	}
}

// do sends a body and gives what came back; status 0 is no answer.
func (s *soak) do(ctx context.Context, method, path, body string) (int, string, http.Header) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(r)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	return res.StatusCode, string(b), res.Header
}

// ask wants the answer that there is without load, or to be refused.
func (s *soak) ask(ctx context.Context, q soakQuestion, body string, rng *rand.Rand) {
	status, got, h := s.do(context.WithoutCancel(ctx), "POST", "/v1/completions", body)
	switch {
	case status == http.StatusOK && textOf(got) == q.want:
		s.answered.Add(1)
	case status == http.StatusTooManyRequests && h.Get("Retry-After") != "":
		s.refused.Add(1)
		pause(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
	default:
		s.fail("%s is answered with %d, %q, want %q", body, status, got, q.want)
	}
}

// goAway cancels a request at some moment.
func (s *soak) goAway(ctx context.Context, q soakQuestion, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(rng.IntN(40000))*time.Microsecond)
	defer cancel()
	body := q.body
	if rng.IntN(2) == 0 {
		body = strings.TrimSuffix(q.body, "}") + `,"stream":true,"n":3}`
	}
	s.do(ctx, "POST", "/v1/completions", body)
	s.broken.Add(1)
}

// sendNonsense sends what is no request, or one that is wrong.
func (s *soak) sendNonsense(ctx context.Context, q soakQuestion, rng *rand.Rand) {
	s.nonsense.Add(1)
	if rng.IntN(3) == 0 {
		s.sendRaw(rng)
		return
	}
	b := []byte(q.body)
	for range 1 + rng.IntN(4) {
		b[rng.IntN(len(b))] = byte(rng.IntN(256))
	}
	path := []string{"/v1/completions", "/v1/chat/completions", "/tokenize", "/nowhere"}[rng.IntN(4)]
	status, got, _ := s.do(context.WithoutCancel(ctx), "POST", path, string(b[:1+rng.IntN(len(b))]))
	if status >= 500 || status == 0 {
		s.fail("%s %q is answered with %d %s", path, b, status, got)
	}
}

// sendRaw sends bytes that are no HTTP, or the beginning of it, and goes.
func (s *soak) sendRaw(rng *rand.Rand) {
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.fail("dial: %v", err)
		return
	}
	defer c.Close()
	texts := []string{"\x16\x03\x01\x02\x00", "GET / HTTP/9.9\r\n\r\n", "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"prompt\":", "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}
	fmt.Fprint(c, texts[rng.IntN(len(texts))])
}

// readSlowly asks for a long stream, and reads little of it.
func (s *soak) readSlowly(ctx context.Context, rng *rand.Rand) {
	s.slow.Add(1)
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.fail("dial: %v", err)
		return
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	body := `{"prompt":"slowly","stream":true,"max_tokens":400,"ignore_eos":true,"logprobs":20,"n":4}`
	fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	r := bufio.NewReaderSize(c, 16)
	for range rng.IntN(20) {
		if _, err := r.ReadByte(); err != nil {
			return
		}
		pause(ctx, 20*time.Millisecond)
	}
	pause(ctx, time.Duration(rng.IntN(4000))*time.Millisecond)
}

// beLate asks for what can't be had in time.
func (s *soak) beLate(ctx context.Context, q soakQuestion) {
	s.late.Add(1)
	body := strings.TrimSuffix(q.body, "}") + `,"stream":true,"timeout":0.01}`
	status, got, _ := s.do(context.WithoutCancel(ctx), "POST", "/v1/completions", body)
	inTime := status == http.StatusOK && textOf(got) == q.want
	told := status == http.StatusGatewayTimeout || status == http.StatusTooManyRequests || status == http.StatusOK && strings.Contains(got, `"code":"timeout"`) && strings.HasSuffix(got, "data: [DONE]\n\n")
	if !inTime && !told {
		s.fail("a late answer is %d %s", status, got)
	}
}

// probe asks how the server is, which must be answered at once.
func (s *soak) probe(ctx context.Context, rng *rand.Rand) {
	path := []string{"/health", "/ready"}[rng.IntN(2)]
	began := time.Now()
	status, got, _ := s.do(context.WithoutCancel(ctx), "GET", path, "")
	took := int64(time.Since(began))
	for old := s.slowestProbe.Load(); took > old && !s.slowestProbe.CompareAndSwap(old, took); old = s.slowestProbe.Load() {
	}
	s.probes.Add(1)
	if status != http.StatusOK {
		s.fail("%s is answered with %d %s", path, status, got)
	}
}

// reloadEveryMoment changes settings, rightly and wrongly.
func (s *soak) reloadEveryMoment(ctx context.Context, config string) {
	for i := 0; ctx.Err() == nil; i++ {
		text := fmt.Sprintf("max-queue: %d\nmax-body: %dMiB\nqueue-timeout: %dm\n", 64+i%3, 8+i%5, 20+i%2)
		if i%4 == 3 {
			text = "max-queue: many\n"
		}
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			s.fail("%v", err)
		}
		select {
		case s.reload <- syscall.SIGHUP:
			s.reloads.Add(1)
		case <-ctx.Done():
		}
		pause(ctx, 500*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// watch takes samples of what the process holds.
func (s *soak) watch(ctx context.Context) {
	for ctx.Err() == nil {
		s.sample()
		pause(ctx, max(*soakFor/60, 100*time.Millisecond))
	}
}

func (s *soak) sample() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	resident, _ := residentBytes()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, soakSample{time.Since(s.started), runtime.NumGoroutine(), openFiles(), int64(m.HeapAlloc), resident})
}

// residentBytes is the process's resident memory, and what of it is of files; 0 where that can't be told.
func residentBytes() (all, files int64) {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0
	}
	var size int64
	if _, err := fmt.Fscan(bytes.NewReader(data), &size, &all, &files); err != nil {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	return all * page, files * page
}

// report says what happened, and whether memory grew: the highest of the last
// third against the highest of the first two.
func (s *soak) report(t *testing.T) {
	if why := s.failed.Load(); why != nil {
		t.Error(*why)
	}
	stats := s.only().engine.Stats()
	t.Logf("%d answered as without load, %d refused, %d went away, %d nonsense, %d slow readers, %d late, %d probes (slowest %v), %d reloads; %d cut off, %d preempted, %d panics",
		s.answered.Load(), s.refused.Load(), s.broken.Load(), s.nonsense.Load(), s.slow.Load(), s.late.Load(), s.probes.Load(),
		time.Duration(s.slowestProbe.Load()).Round(100*time.Microsecond), s.reloads.Load(), stats.CutOff, stats.Preemptions, stats.Restarts)
	early, later := s.samples[:len(s.samples)*2/3], s.samples[len(s.samples)*2/3:]
	a, b := highest(early), highest(later)
	t.Logf("most in the first two thirds: %v; in the last: %v", a, b)
	if b.rss > a.rss+a.rss/10+8<<20 {
		t.Errorf("resident memory grew from %d to %d MiB", a.rss>>20, b.rss>>20)
	}
	if s.answered.Load() == 0 || stats.Restarts > 0 {
		t.Error("nothing was answered, or the loop panicked")
	}
}

func highest(list []soakSample) (top soakSample) {
	for _, x := range list {
		top.goroutines, top.open = max(top.goroutines, x.goroutines), max(top.open, x.open)
		top.heap, top.rss = max(top.heap, x.heap), max(top.rss, x.rss)
	}
	return top
}

func (x soakSample) String() string {
	return fmt.Sprintf("%d goroutines, %d open files, %d MiB heap, %d MiB resident", x.goroutines, x.open, x.heap>>20, x.rss>>20)
}
