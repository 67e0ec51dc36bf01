package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReload: what can change while a server runs does, what can't is named, and
// a mistake changes nothing.
func TestReload(t *testing.T) {
	config := filepath.Join(t.TempDir(), "weir.yaml")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("max-body: 1MiB\n")
	args := []string{"serve", "--config", config, "--port", "0", "--ctx", "256", "--memory", "64MiB"}
	reload, level := make(chan os.Signal), new(slog.LevelVar)
	s := serveWith(t, streams{reload: reload, level: level, again: func() (*setting, error) { return parseSetting(args, nil) }}, args[3:]...)
	// told reloads and waits for all that is said of it, so that the next change of the
	// file meets no reader.
	told := func(texts ...string) {
		t.Helper()
		before := s.log.String()
		reload <- syscall.SIGHUP
		for _, text := range texts {
			waitFor(t, text, func() bool { return strings.Count(s.log.String(), text) > strings.Count(before, text) })
		}
	}
	long := `{"prompt":"` + strings.Repeat("a", 2000) + `"}`
	if status, got := s.post(t, "/v1/completions", long); status != 400 {
		t.Fatalf("%d %s", status, got)
	}
	put("max-body: 1KiB\nlog-level: debug\nthreads: 7\n")
	told("changed=\"[log-level max-body]\"", "options=[threads]")
	if status, got := s.post(t, "/v1/completions", long); status != 413 {
		t.Errorf("the new limit is not in use: %d %s", status, got)
	}
	if level.Level() != slog.LevelDebug {
		t.Errorf("the log's level is %v", level.Level())
	}
	put("max-body: huge\n")
	told("those in use stay")
	put("max-body: 1MiB\nlog-level: debug\n")
	told("changed=[max-body]")
	if status, got := s.post(t, "/v1/completions", long); status != 400 {
		t.Errorf("the old limit is still in use: %d %s", status, got)
	}
}
