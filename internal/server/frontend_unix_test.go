//go:build unix

package server

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/internal/llm"
)

// frontEnd is for the measurement that docs/reliability.md tells of:
//
//	go test ./internal/server -run TestFrontEnd -frontend 400000 -v
var frontEnd = flag.Int("frontend", 4000, "how many tokens TestFrontEnd streams a measurement")

// instant is a generator that has every token at once.
type instant struct{ *fake }

func (instant) Generate(ctx context.Context, r *llm.Request) iter.Seq2[llm.Event, error] {
	return func(yield func(llm.Event, error) bool) {
		n := *r.Params.MaxTokens
		tokens := []llm.Token{{ID: 5}}
		if !yield(llm.Event{Prompt: &llm.PromptInfo{IDs: []int32{1, 2, 3}}}, nil) {
			return
		}
		for i := range n {
			e := llm.Event{Text: " word", Tokens: tokens}
			if i == n-1 {
				e.Finish = llm.FinishLength
			}
			if ctx.Err() != nil || !yield(e, nil) {
				return
			}
		}
		yield(llm.Event{Usage: &llm.Usage{PromptTokens: 3, CompletionTokens: n}}, nil)
	}
}

// TestFrontEnd measures how fast tokens become events on sockets, beside a bare
// loop that does the same writes: one for each token, of the same bytes. Client
// and server share the process, so that both figures carry the same reading.
func TestFrontEnd(t *testing.T) {
	rounds := 3
	if *frontEnd > 10000 {
		rounds = 7
	}
	s := serve(t, instant{newFake()}, func(o *Options) { o.Log = nil })
	bare := serveBare(t, recordEvent(t, s.addr))
	for _, streams := range []int{1, 64, 512} {
		each := max(1, *frontEnd/streams)
		var ours, theirs, ratios []measured
		for range rounds { // interleaved, so that a slow moment of the machine hits both
			a, b := measure(t, s.addr, streams, each), measure(t, bare, streams, each)
			ours, theirs = append(ours, a), append(theirs, b)
			ratios = append(ratios, measured{rate: a.rate / b.rate, cpu: a.cpu / b.cpu})
		}
		o, b, r := median(ours), median(theirs), median(ratios)
		t.Logf("%3d streams: %7.0f tokens/s, %5.2f µs of CPU a token; bare loop %7.0f, %5.2f; ratio %.2f (%.2f to %.2f)",
			streams, o.rate, o.cpu, b.rate, b.cpu, r.rate, slices.MinFunc(ratios, byRate).rate, slices.MaxFunc(ratios, byRate).rate)
		if rounds > 3 && r.rate < 0.6 {
			t.Errorf("%d streams: %.2f of what a bare loop reaches, want 0.6", streams, r.rate)
		}
	}
}

// measured is tokens a second, and microseconds of the process's CPU a token.
type measured struct{ rate, cpu float64 }

func byRate(a, b measured) int {
	if a.rate < b.rate {
		return -1
	}
	return 1
}

func median(list []measured) measured {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, byRate)
	m := sorted[len(sorted)/2]
	slices.SortFunc(sorted, func(a, b measured) int {
		if a.cpu < b.cpu {
			return -1
		}
		return 1
	})
	m.cpu = sorted[len(sorted)/2].cpu
	return m
}

func request(tokens int) string {
	body := fmt.Sprintf(`{"prompt":"a","stream":true,"max_tokens":%d}`, tokens)
	return fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// recordEvent gives the bytes of one token's write, chunk and all.
func recordEvent(t *testing.T, addr string) []byte {
	t.Helper()
	c, r := dial(t, addr)
	fmt.Fprint(c, request(3))
	readUntil(t, r, "\r\n")
	for line := ""; ; {
		line, _ = r.ReadString('\n')
		if line == "\r\n" {
			break
		}
	}
	var chunk bytes.Buffer
	for range 4 { // its length, the event, the empty line, the chunk's end
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		chunk.WriteString(line)
	}
	if !strings.Contains(chunk.String(), `"text":" word"`) || !strings.HasSuffix(chunk.String(), "\n\n\r\n") {
		t.Fatalf("recorded %q", chunk.String())
	}
	return chunk.Bytes()
}

// serveBare is the bare loop: for each connection it reads a request and writes
// the event as often as it is asked to, with one write each.
func serveBare(t *testing.T, event []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			boundSendBuffer(c, DefaultOptions().SendBuffer) // as the server's sockets
			all.Go(func() { bareLoop(c, event) })
		}
	})
	return l.Addr().String()
}

func bareLoop(c net.Conn, event []byte) {
	defer c.Close()
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	tokens := 0
	_, rest, _ := strings.Cut(string(buf[:n]), `"max_tokens":`)
	if _, scan := fmt.Sscan(strings.TrimSuffix(rest, "}"), &tokens); err != nil || scan != nil {
		return
	}
	fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range tokens {
		if _, err := c.Write(event); err != nil {
			return
		}
	}
	fmt.Fprint(c, "0\r\n\r\n")
}

// measure streams to so many clients at once.
func measure(t *testing.T, addr string, streams, each int) measured {
	t.Helper()
	conns := make([]net.Conn, streams)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	text := request(each)
	before, began := cpuTime(), time.Now()
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(func() { drink(t, c, text) })
	}
	all.Wait()
	tokens := float64(streams * each)
	return measured{tokens / time.Since(began).Seconds(), (cpuTime() - before).Seconds() * 1e6 / tokens}
}

// drink sends a request and reads to the end of the last chunk.
func drink(t *testing.T, c net.Conn, request string) {
	if _, err := c.Write([]byte(request)); err != nil {
		t.Error(err)
		return
	}
	buf, end := make([]byte, 16<<10), []byte("\r\n0\r\n\r\n")
	var tail []byte
	for !bytes.HasSuffix(tail, end) {
		n, err := c.Read(buf)
		if err != nil {
			t.Errorf("the stream broke off: %v", err)
			return
		}
		tail = append(tail, buf[max(0, n-len(end)):n]...)
		tail = tail[max(0, len(tail)-len(end)):]
	}
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
