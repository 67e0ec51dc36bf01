package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// small is a server of the small model in its own process.
func small(t *testing.T, model string, args ...string) *process {
	t.Helper()
	return start(t, append([]string{"serve", model, "--ctx", "256", "--memory", "8MiB"}, args...)...)
}

// post asks a process and gives its answer's text; "" is no answer.
func (p *process) post(t *testing.T, body string) (int, string) {
	t.Helper()
	res, err := http.Post(p.url()+"/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	status, got := answerTo(t)(res, nil)
	return status, textOf(got)
}

const faultBody = `{"prompt":"w5 w6 w7","max_tokens":20,"temperature":0,"ignore_eos":true}`

// TestKillAndRestart: after kill -9 the port is free, no state is in the way, and
// the answer is the same.
func TestKillAndRestart(t *testing.T) {
	p, rest := long(t, endless)
	url := p.url()
	port := url[strings.LastIndex(url, ":")+1:]
	_, want := p.post(t, faultBody)
	p.signal(syscall.SIGKILL)
	if text, err := rest(); err == nil || strings.Contains(text, "[DONE]") {
		t.Errorf("a stream that was cut off ends with %v and %q", err, tail(text))
	}
	p.code()
	again := start(t, "serve", smallFile(t), "--port", port, "--memory", "8MiB")
	if status, got := again.post(t, faultBody); status != 200 || got != want {
		t.Errorf("after the restart %d %q, before %q", status, got, want)
	}
}

// TestModelReplaced: a model's file that is replaced, removed or, with --load
// read, overwritten changes nothing for the server that runs; a start with it
// says what is wrong.
func TestModelReplaced(t *testing.T) {
	for _, c := range []struct {
		load   string
		damage func(path string) error
	}{
		{"mmap", func(path string) error { // as a download tool does it: a new file of that name
			if err := os.WriteFile(path+".new", []byte("no model"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}},
		{"mmap", os.Remove},
		{"large", os.Remove},
		{"read", func(path string) error { return os.WriteFile(path, []byte("no model"), 0o600) }},
	} {
		data, err := os.ReadFile(smallFile(t))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "model.gguf")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		p := small(t, path, "--port", "0", "--load", c.load)
		_, want := p.post(t, faultBody)
		if err := c.damage(path); err != nil {
			t.Fatal(err)
		}
		if status, got := p.post(t, faultBody); status != 200 || got != want {
			t.Errorf("--load %s: with the file gone %d %q, before %q", c.load, status, got, want)
		}
		next := small(t, path, "--port", "0")
		if code := next.code(); code != exitError || !strings.Contains(next.err.String(), "model.gguf") {
			t.Errorf("a start with what is left: exit %d\n%s", code, next.err)
		}
	}
}

// TestFullDisk: a log that can't be written and a cache that can't be saved stop
// nothing.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("weir", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("mounting a small file system needs root")
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	p := startTo(t, full, "serve", smallFile(t), "--port", "0", "--ctx", "6000", "--memory", "8MiB", "--cache-dir", dir)
	for i := range 20 {
		if status, got := p.post(t, fmt.Sprintf(`{"prompt":%q,"max_tokens":200,"ignore_eos":true}`, strings.Repeat(fmt.Sprintf("w%d ", i+5), 200))); status != 200 {
			t.Fatalf("%d %s", status, got)
		}
	}
	p.signal(syscall.SIGTERM)
	p.code()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left { // nothing half written is taken for a cache
		t.Logf("left in the folder: %s", f.Name())
	}
	again := start(t, "serve", smallFile(t), "--port", "0", "--ctx", "6000", "--memory", "8MiB", "--cache-dir", dir)
	if status, got := again.post(t, faultBody); status != 200 {
		t.Errorf("after a save to a full disk %d %s\n%s", status, got, again.err)
	}
}

// TestMemoryLimit: in a control group with little memory weir plans for that, and
// lives within it when clients send all they can.
func TestMemoryLimit(t *testing.T) {
	if underRace {
		t.Skip("the race detector's own memory is more than the limit leaves")
	}
	group := "/sys/fs/cgroup/memory/weir-test"
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skip("making a control group for memory (v1) needs root and its file system")
	}
	defer os.Remove(group)
	const limit = 192 << 20
	put := func(name, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(group, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("memory.limit_in_bytes", fmt.Sprint(limit))
	// It joins as it starts: the model is read and its memory planned later.
	p := startTo(t, nil, "serve", "--port", "0", "--ctx", "256", "--memory", "30%", "--max-running", "8", "--max-queue", "32", "--max-body", "1MiB")
	put("cgroup.procs", fmt.Sprint(p.cmd.Process.Pid))
	url := p.url()
	body := `{"prompt":"` + strings.Repeat("a ", 400<<10) + `"}` // too long for the context
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			text, want := body, []int{400, 429}
			if i%2 == 0 {
				text, want = `{"prompt":"Hello","max_tokens":8}`, []int{200, 429}
			}
			res, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(text))
			if err != nil {
				t.Errorf("no answer: %v", err)
				return
			}
			res.Body.Close()
			if res.StatusCode != want[0] && res.StatusCode != want[1] {
				t.Errorf("answered with %d, want one of %v", res.StatusCode, want)
			}
		})
	}
	all.Wait()
	if status, got := p.post(t, `{"prompt":"Hello","max_tokens":8}`); status != 200 {
		t.Errorf("after it %d %s", status, got)
	}
	most, _ := os.ReadFile(filepath.Join(group, "memory.max_usage_in_bytes"))
	t.Logf("most memory used: %s of %d bytes", strings.TrimSpace(string(most)), limit)
	p.signal(syscall.SIGTERM)
	if code := p.code(); code != exitOK {
		t.Errorf("exit %d\n%s", code, p.err)
	}
}

// TestProbesUnderLoad: /health and /ready are answered at once while the engine
// has more than it can do: what a machine with too few processors for that takes
// is told by a server of this process that has nothing to do.
func TestProbesUnderLoad(t *testing.T) {
	s := serve(t, "--ctx", "256", "--memory", "128MiB", "--max-running", "8", "--max-queue", "8")
	s.http.Transport.(*http.Transport).MaxIdleConnsPerHost = 17 // nobody dials anew
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.post(t, "/v1/completions", `{"prompt":"Hello","max_tokens":64,"ignore_eos":true}`)
				}
			}
		})
	}
	waitFor(t, "a full engine", func() bool { return s.only().engine.Stats().Running == 8 })
	idler := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer idler.Close()
	var times, others []time.Duration
	for i := range 200 {
		times = append(times, s.probe(t, s.url+[]string{"/health", "/ready"}[i%2]))
		if i%2 == 0 {
			others = append(others, s.probe(t, idler.URL))
		}
	}
	close(stop)
	all.Wait()
	middle, top := summary(times)
	idle, _ := summary(others)
	t.Logf("200 probes: median %v, slowest %v; median of a server that is idle: %v", middle, top, idle)
	if bound := max(50*time.Millisecond, 2*idle); middle > bound {
		t.Errorf("the median probe took %v, want less than %v", middle, bound)
	}
}

// probe is how long an answer of 200 takes.
func (s *serving) probe(t *testing.T, url string) time.Duration {
	t.Helper()
	began := time.Now()
	if status, got := answerTo(t)(s.http.Get(url)); status != http.StatusOK {
		t.Errorf("%s: %d %s", url, status, got)
	}
	return time.Since(began)
}

func summary(times []time.Duration) (middle, top time.Duration) {
	slices.Sort(times)
	return times[len(times)/2], times[len(times)-1]
}
