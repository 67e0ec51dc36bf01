package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/builtin"
	"weir/internal/llm"
)

// twoFiles are the built-in model and a small one of another kind.
func twoFiles(t *testing.T) (large, small string) {
	large = filepath.Join(t.TempDir(), "large.gguf")
	if err := os.WriteFile(large, builtin.Model(), 0o666); err != nil {
		t.Fatal(err)
	}
	return large, smallFile(t)
}

// say is what a model answers, and what came with it.
func say(t *testing.T, s *serving, model string) (int, string) {
	t.Helper()
	status, body := s.post(t, "/v1/completions", fmt.Sprintf(`{"model":%q,"prompt":"w1 w2 w3","max_tokens":6,"temperature":0,"ignore_eos":true}`, model))
	_, text, _ := strings.Cut(body, `"text":`)
	text, _, _ = strings.Cut(text, `,"`)
	return status, text
}

// TestSeveralModels: each answers as it does alone, whether all are in memory or
// they take turns.
func TestSeveralModels(t *testing.T) {
	large, small := twoFiles(t)
	want := map[string]string{}
	for name, file := range map[string]string{"chat": large, "small": small} {
		s := serve(t, file, "--name", name, "--ctx", "256", "--memory", "64MiB", "--speculate", "off")
		_, want[name] = say(t, s, name)
		s.stop(t)
	}
	if want["chat"] == want["small"] || want["small"] == "" {
		t.Fatalf("the models can't be told apart: %v", want)
	}
	for _, loaded := range []string{"0", "1"} {
		s := serve(t, "chat="+large, small, "--max-loaded-models", loaded, "--swap-after", "10ms", "--ctx", "256", "--memory", "128MiB", "--max-running", "4")
		var answered atomic.Int32
		var all sync.WaitGroup
		for i := range 24 {
			name := []string{"chat", "small"}[i%2]
			all.Go(func() {
				if status, got := say(t, s, name); status != http.StatusOK || got != want[name] {
					t.Errorf("%s of models, %s loaded: %d %s, want %s", name, loaded, status, got, want[name])
				}
				answered.Add(1)
			})
		}
		all.Wait()
		list := map[string]string{"0": `"state":"loaded"}]`, "1": `"state":"unloaded"`}[loaded]
		if _, body := s.get(t, "/v1/models"); answered.Load() != 24 || !strings.Contains(body, list) || !strings.Contains(body, `"id":"chat"`) {
			t.Errorf("%s loaded: %s", loaded, body)
		}
		for model, part := range map[string]string{"": "names no model", "x": `served: \"chat\", \"small\"`} {
			if status, body := s.post(t, "/v1/completions", fmt.Sprintf(`{"model":%q,"prompt":"Hi"}`, model)); status != http.StatusNotFound || !strings.Contains(body, part) {
				t.Errorf("model %q: %d %s", model, status, body)
			}
		}
		if _, body := s.get(t, "/metrics"); loaded == "0" && (!strings.Contains(body, `model="small"`) || !strings.Contains(body, `model="chat"`)) {
			t.Errorf("the metrics do not tell of both models")
		}
		s.stop(t)
	}
}

// TestUnload: a model goes when it is told to or is not used, and comes when it is
// asked for.
func TestUnload(t *testing.T) {
	s := serve(t, smallFile(t), "--memory", "4MiB", "--unload-after", "50ms")
	waitFor(t, "the unused model gone", func() bool { return s.only() == nil })
	if status, body := s.get(t, "/ready"); status != http.StatusOK {
		t.Errorf("/ready of a server whose model sleeps: %d %s", status, body)
	}
	if status, text := say(t, s, ""); status != http.StatusOK || text == "" {
		t.Errorf("asked for, it answers %d %s", status, text)
	}
	waitFor(t, "it gone again", func() bool { return s.only() == nil })
	s.stop(t)
	s = serve(t, smallFile(t), "--memory", "4MiB", "--unload-after", "1h")
	if status, body := s.post(t, "/models/unload", `{}`); status != http.StatusOK || s.only() != nil {
		t.Errorf("/models/unload at the start: %d %s", status, body)
	}
	if status, body := s.post(t, "/models/load", `{}`); status != http.StatusOK || !strings.Contains(body, `"state":"loaded"`) {
		t.Errorf("/models/load: %d %s", status, body)
	}
	if status, body := s.post(t, "/models/unload", `{"model":"small"}`); status != http.StatusOK || strings.Contains(body, `"state":"loaded"`) {
		t.Errorf("/models/unload: %d %s", status, body)
	}
	if status, _ := s.post(t, "/models/unload", `{"model":"x"}`); status != http.StatusNotFound {
		t.Errorf("/models/unload of another: %d", status)
	}
	s.stop(t)
}

// TestSeveralModelsRefused: what can't be served is said at the start, for all.
func TestSeveralModelsRefused(t *testing.T) {
	large, small := twoFiles(t)
	for want, args := range map[string][]string{
		"two models are called small": {small, "small=" + large},
		"there is no such file":       {small, "missing.gguf"},
		"--name is for one model":     {small, large, "--name", "x"},
		"--chat-template":             {small, large, "--chat-template", chatTemplate(t)},
		"--swap-after is 0s":          {small, large, "--swap-after", "0"},
		"--max-loaded-models is -1":   {small, large, "--max-loaded-models", "-1"},
		"leave no memory":             {small, large, "--memory", "1MiB", "--device", "cpu"},
		"one of the models is empty":  {small, ""},
		"can't be a model's name":     {"a\nb=" + small, large},
		"a --speculate that needs":    {small, large, "--speculate", "draft"},
	} {
		r := weir(t, "", nil, append([]string{"serve", "--port", "0"}, args...)...)
		if r.code == exitOK || !strings.Contains(r.err, want) || strings.Count(r.err, "weir: ") != 1 {
			t.Errorf("%v: %+v, want %s", args, r, want)
		}
	}
}

// TestPortions: any so many as are loaded at once fit, and each has room beside its
// weights.
func TestPortions(t *testing.T) {
	list := []served{{about: llm.Model{Bytes: 60}}, {about: llm.Model{Bytes: 30}}, {about: llm.Model{Bytes: 10}}}
	for loaded, want := range map[int][]int64{0: {160, 130, 110}, 1: {400, 400, 400}, 2: {215, 185, 165}, 9: {160, 130, 110}} {
		for i, p := range portions(list, loaded, memorySize{}) {
			if got := p.of(400); got != want[i] {
				t.Errorf("%d loaded: model %d may have %d of 400, want %d", loaded, i, got, want[i])
			}
		}
	}
}

// TestUnloadedUnderLoad: a model that is told to go while it answers ends its
// answers first.
func TestUnloadedUnderLoad(t *testing.T) {
	s := serve(t, smallFile(t), "--memory", "4MiB", "--ctx", "256")
	_, want := say(t, s, "")
	stop := time.Now().Add(500 * time.Millisecond)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for time.Now().Before(stop) {
				if status, got := say(t, s, ""); status != http.StatusOK || got != want {
					t.Errorf("%d %s, want %s", status, got, want)
					return
				}
			}
		})
	}
	for time.Now().Before(stop) {
		if status, body := s.post(t, "/models/unload", `{}`); status != http.StatusOK && !strings.Contains(body, "is being loaded") {
			t.Errorf("%d %s", status, body)
		}
	}
	all.Wait()
	s.stop(t)
}

// TestChatFormats: a model without a template chats by the format that it is given.
func TestChatFormats(t *testing.T) {
	s := serve(t, smallFile(t), "--chat-template", "chatml", "--memory", "4MiB")
	status, body := s.post(t, "/apply-template", `{"messages":[{"role":"user","content":"Hi"}]}`)
	if want := `"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"`; status != http.StatusOK || !strings.Contains(body, want) {
		t.Errorf("%d %s", status, body)
	}
	s.stop(t)
	r := weir(t, "", nil, "serve", "--port", "0", smallFile(t), "--chat-template", "chatlm")
	if r.code != exitError || !strings.Contains(r.err, "alpaca, chatml, gemma") {
		t.Errorf("%+v", r)
	}
}

// TestBadFileSendsNoneAway: a request for a model whose file is damaged meanwhile
// leaves the one in memory where it is.
func TestBadFileSendsNoneAway(t *testing.T) {
	large, small := twoFiles(t)
	s := serve(t, "chat="+large, small, "--max-loaded-models", "1", "--ctx", "256", "--memory", "64MiB")
	if err := os.WriteFile(small, []byte("GGUF"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, body := s.post(t, "/v1/completions", `{"model":"small","prompt":"Hi"}`)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "model_not_loaded") || strings.Contains(body, "GGUF") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.post(t, "/models/load", `{"model":"small"}`); status != http.StatusServiceUnavailable || !strings.Contains(body, "small.gguf") {
		t.Errorf("those who run the server are told %d %s", status, body)
	}
	if m := s.only(); m == nil || m.engine.Model().ID != "chat" {
		t.Error("the model in memory has left")
	}
	s.stop(t)
}

// TestNames: a model's name is text, whatever its file is called.
func TestNames(t *testing.T) {
	for file, want := range map[string]string{"\xe9t\xe9.gguf": "_t_", "a\nb.gguf": "a_b", "модель.gguf": "модель"} {
		if got := (modelArg{Model: file}).id(); got != want {
			t.Errorf("%q is served as %q, want %q", file, got, want)
		}
	}
	r := weir(t, "", nil, "serve", "--port", "0", "--name", "\xff")
	if r.code != exitError || !strings.Contains(r.err, "can't be a model's name") {
		t.Errorf("%+v", r)
	}
}
