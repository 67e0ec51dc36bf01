package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// readIn reports n equal parts of a file of 1 GiB, each taking so long.
func readIn(r *reading, n int64, each time.Duration) {
	now := time.Unix(0, 0)
	r.now = func() time.Time { return now }
	for i := range n {
		r.report("dir/model.gguf", (i+1)<<30/n, 1<<30)
		now = now.Add(each)
	}
}

func TestReadingIsLogged(t *testing.T) {
	var log bytes.Buffer
	phase := ""
	r := &reading{phase: func(what string) { phase = what }, log: slog.New(slog.NewTextHandler(&log, nil))}
	readIn(r, 10, 2*time.Second)
	if want := "reading model.gguf: 100 % of 1.0 GiB"; phase != want {
		t.Errorf("phase %q, want %q", phase, want)
	}
	// At 6, 12 and 18 seconds, the last being the end.
	if got := strings.Count(log.String(), "reading the model"); got != 3 {
		t.Errorf("%d lines, want 3:\n%s", got, &log)
	}
	for _, want := range []string{"percent=39", "percent=69", "percent=100", `"per second"="68.3 MiB"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
}

func TestReadingSoonOverIsNotSpokenOf(t *testing.T) {
	var log, screen bytes.Buffer
	readIn(&reading{log: slog.New(slog.NewTextHandler(&log, nil))}, 10, 50*time.Millisecond)
	readIn(&reading{screen: &screen, log: slog.New(slog.NewTextHandler(&log, nil))}, 10, 50*time.Millisecond)
	if log.Len() > 0 || screen.Len() > 0 {
		t.Errorf("log %q, screen %q; want neither", &log, &screen)
	}
}

func TestReadingIsDrawn(t *testing.T) {
	var screen bytes.Buffer
	readIn(&reading{screen: &screen}, 10, 2*time.Second)
	if s := screen.String(); !strings.Contains(s, "reading model.gguf") || !strings.Contains(s, "19%") {
		t.Errorf("the screen has %q", s)
	}
}
