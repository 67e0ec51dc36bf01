//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/server"
)

// process is weir in a process of its own.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *watched
	waited   chan struct{} // closed when it has ended
}

// watched keeps what is read from a pipe, which can be closed early.
type watched struct {
	syncBuffer
	pipe io.Closer
	done chan struct{}
}

func watch(t *testing.T, pipe io.ReadCloser, err error) *watched {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{pipe: pipe, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		_, _ = io.Copy(w, pipe) // ends with the process, or when the test closes it
	}()
	return w
}

// start runs the test's binary as weir; see TestMain.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startTo(t, nil, args...)
}

// startTo sends standard error to a file, if there is one.
func startTo(t *testing.T, stderr *os.File, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	nowhere(t)
	p := &process{t: t, cmd: exec.Command(self, args...), waited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asWeir)
	out, err := p.cmd.StdoutPipe()
	p.out = watch(t, out, err)
	if stderr != nil {
		p.cmd.Stderr = stderr
		p.err = &watched{done: make(chan struct{})}
		close(p.err.done)
	} else {
		errs, err := p.cmd.StderrPipe()
		p.err = watch(t, errs, err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		<-p.out.done
		<-p.err.done
		_ = p.cmd.Wait() // its code is in ProcessState
		close(p.waited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has usually ended
		<-p.waited
	})
	return p
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// url waits for a server to be ready.
func (p *process) url() string {
	p.t.Helper()
	var at []string
	p.until("the server's address", func() bool {
		at = servedAt.FindStringSubmatch(p.out.String())
		return at != nil
	})
	return at[1]
}

// until waits for something that the process says, if it does not end without it.
func (p *process) until(what string, said func() bool) {
	p.t.Helper()
	waitFor(p.t, what, func() bool {
		ended := false // before what it said last is looked at
		select {
		case <-p.waited:
			ended = true
		default:
		}
		ok := said()
		if !ok && ended {
			p.t.Fatalf("it ended (%v) without %s:\n%s", p.cmd.ProcessState, what, p.err)
		}
		return ok
	})
}

// code waits for the end.
func (p *process) code() int {
	<-p.waited
	return p.cmd.ProcessState.ExitCode()
}

// long is a server of a small model, and a stream of so many tokens that has
// begun. rest waits for what else comes of it.
func long(t *testing.T, tokens int, args ...string) (p *process, rest func() (string, error)) {
	t.Helper()
	p = start(t, append([]string{"serve", smallFile(t), "--port", "0", "--ctx", "60000", "--memory", "64MiB"}, args...)...)
	r, err := http.Post(p.url()+"/v1/completions", "application/json", strings.NewReader(fmt.Sprintf(`{"prompt":"w5 w6","max_tokens":%d,"ignore_eos":true,"stream":true}`, tokens)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	stream := bufio.NewReader(r.Body)
	if line, err := stream.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: {") {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	var text []byte
	read := make(chan struct{})
	go func() { // at once: who reads slowly is cut off
		defer close(read)
		text, err = io.ReadAll(stream)
	}()
	return p, func() (string, error) {
		<-read
		return string(text), err
	}
}

// endless is a stream's length that no test waits for, however seldom a busy
// machine lets it look.
const endless = 59000

// TestDrain: SIGTERM lets a running stream end and refuses what is new.
func TestDrain(t *testing.T) {
	p, rest := long(t, 600)
	p.signal(syscall.SIGTERM)
	p.until("draining", func() bool { return strings.Contains(p.err.String(), "draining") })
	waitFor(t, "new requests are refused", func() bool {
		r, err := http.Post(p.url()+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"w5","max_tokens":1}`))
		if err == nil {
			r.Body.Close()
		}
		return err != nil || r.StatusCode == http.StatusServiceUnavailable
	})
	text, err := rest()
	if err != nil || !strings.HasSuffix(text, "data: [DONE]\n\n") || !strings.Contains(text, `"finish_reason":"length"`) {
		t.Errorf("the stream ended with %v and %q", err, tail(text))
	}
	if code := p.code(); code != exitOK || !strings.Contains(p.err.String(), "msg=stopped") {
		t.Errorf("exit %d\n%s", code, p.err)
	}
}

// TestSecondSignal ends running streams, which are told why.
func TestSecondSignal(t *testing.T) {
	p, rest := long(t, endless, "--drain-timeout", "0")
	p.signal(syscall.SIGINT)
	p.until("draining", func() bool { return strings.Contains(p.err.String(), "draining") })
	p.signal(syscall.SIGINT)
	text, err := rest()
	if err != nil || !strings.Contains(tail(text), `data: {"error":`) || !strings.HasSuffix(text, "data: [DONE]\n\n") {
		t.Errorf("the stream ended with %v and %q", err, tail(text))
	}
	if code := p.code(); code != exitOK || !strings.Contains(p.err.String(), "stopped before every request had ended") {
		t.Errorf("exit %d\n%s", code, p.err)
	}
}

// TestDrainTimeout does by itself what the second signal does.
func TestDrainTimeout(t *testing.T) {
	p, rest := long(t, endless, "--drain-timeout", "1ms")
	p.signal(syscall.SIGTERM)
	began := time.Now()
	text, err := rest()
	if took := time.Since(began); took > server.DefaultOptions().DrainTimeout/2 {
		t.Errorf("the stream was cut off after %v", took)
	}
	if err != nil || !strings.Contains(tail(text), `data: {"error":`) {
		t.Errorf("the stream ended with %v and %q", err, tail(text))
	}
	if code := p.code(); code != exitOK {
		t.Errorf("exit %d\n%s", code, p.err)
	}
}

func tail(s string) string { return s[max(0, len(s)-600):] }

// TestPortInUse names who holds it and the next that is free.
func TestPortInUse(t *testing.T) {
	p := start(t, "serve", smallFile(t), "--port", "0", "--memory", "4MiB")
	port := p.url()[strings.LastIndex(p.url(), ":")+1:]
	second := start(t, "serve", smallFile(t), "--port", port)
	if code := second.code(); code != exitError {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{"port " + port + " is in use by ", fmt.Sprintf("pid %d", p.cmd.Process.Pid), "or use the next free port: --port "} {
		if !strings.Contains(second.err.String(), want) {
			t.Errorf("no %q in %s", want, second.err)
		}
	}
	if second.out.String() != "" {
		t.Errorf("it printed %s", second.out)
	}
}

// TestNobodyReadsTheLog: a server outlives the reader of its output.
func TestNobodyReadsTheLog(t *testing.T) {
	p := start(t, "serve", smallFile(t), "--port", "0", "--memory", "4MiB")
	url := p.url()
	p.until("all of the greeting", func() bool { return strings.Contains(p.out.String(), "try ") })
	p.out.pipe.Close()
	p.err.pipe.Close()
	for range 3 {
		r, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"w5","max_tokens":1}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("status %d", r.StatusCode)
		}
	}
	p.signal(syscall.SIGTERM)
	if code := p.code(); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

// talk is `weir run` on its way through an answer that has no end: the small
// model, which draws each of its 320 tokens now and then, without one that ends
// an answer, and more context than a busy machine needs to look up.
func talk(t *testing.T, args ...string) *process {
	t.Helper()
	const key = "tokenizer.ggml.eos_token_id\x04\x00\x00\x00"
	ends, none := []byte(key+"\x02\x00\x00\x00"), []byte(key+"\xff\xff\xff\xff")
	data := smallGGUF(t)
	if bytes.Count(data, ends) != 1 {
		t.Fatal("the small model has another token that ends an answer")
	}
	path := filepath.Join(t.TempDir(), "small.gguf")
	if err := os.WriteFile(path, bytes.Replace(data, ends, none, 1), 0o666); err != nil {
		t.Fatal(err)
	}
	p := start(t, append([]string{"run", path, "--prompt", "w5", "--ctx", "60000", "--memory", "64MiB"}, args...)...)
	p.until("the first words", func() bool { return len(p.out.String()) > 20 })
	return p
}

// TestInterruptedAnswer: ^C ends an answer that goes to a pipe as shells expect.
func TestInterruptedAnswer(t *testing.T) {
	p := talk(t)
	p.signal(syscall.SIGINT)
	if code := p.code(); code != exitInterrupted || !strings.Contains(p.err.String(), "[stopped]") || !strings.HasSuffix(p.out.String(), "\n") {
		t.Errorf("exit %d, %q, %s", code, tail(p.out.String()), p.err)
	}
}

// TestClosedPipe: `weir run | head` ends quietly.
func TestClosedPipe(t *testing.T) {
	p := talk(t, "--quiet")
	p.out.pipe.Close()
	<-p.waited
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGPIPE {
		t.Errorf("it ended with %v", p.cmd.ProcessState)
	}
	if p.err.String() != "" {
		t.Errorf("it said %s", p.err)
	}
}
