package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"weir/internal/llm"
)

// TestInspect looks at an engine that is held in its steps: one request more than
// there are places.
func TestInspect(t *testing.T) {
	b := &breaking{hang: make(chan struct{})}
	e := startBreaking(t, b, time.Minute, nil)
	done := make(chan error)
	for i := range usual.running + 1 {
		r := textRequest("some words", func(p *llm.Params) { p.MaxTokens = ptr(100) })
		r.ID = string(rune('a' + i))
		go func() { _, err := collect(context.Background(), e, r); done <- err }()
		if i == 0 {
			waitFor(t, "a step begun", func() bool { return e.stats.stepStart.Load() != 0 })
		}
	}
	waitFor(t, "the others in the inbox", func() bool {
		e.inbox.mu.Lock()
		defer e.inbox.mu.Unlock()
		return len(e.inbox.msgs) == usual.running
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := e.Inspect(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while a step hangs: %v", err)
	}
	states := inspectBetweenSteps(t, e, b, func(states []SequenceState) bool {
		running := 0
		for _, s := range states {
			if s.State == "running" {
				running++
			}
		}
		return running == usual.running
	})
	var waits int
	for i, s := range states {
		if s.Prompt == 0 || s.Age <= 0 || i > 0 && s.Age > states[i-1].Age {
			t.Errorf("%d: %+v", i, s)
		}
		switch s.State {
		case "running":
			if s.Pages == 0 || s.Computed == 0 || s.Why != "" {
				t.Errorf("running: %+v", s)
			}
		case "waiting":
			waits++
			if !strings.Contains(s.Why, "all 8 places") || s.Generated != 0 {
				t.Errorf("waiting: %+v", s)
			}
		}
	}
	if waits != 1 || len(states) != usual.running+1 {
		t.Errorf("%d sequences, %d wait", len(states), waits)
	}
	close(b.hang)
	for range usual.running + 1 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if s, err := e.Inspect(context.Background()); err != nil || len(s) != 0 {
		t.Errorf("idle: %v, %v", s, err)
	}
	var steps int64
	for _, n := range e.Stats().StepRows {
		steps += n
	}
	if steps != e.Stats().Steps {
		t.Errorf("%d steps by their rows, %d in all", steps, e.Stats().Steps)
	}
	e.Close()
	if s, err := e.Inspect(context.Background()); err != nil || s != nil {
		t.Errorf("closed: %v, %v", s, err)
	}
}

// inspectBetweenSteps lets steps end, one after another, until what Inspect gives
// is as wanted.
func inspectBetweenSteps(t *testing.T, e *Engine, b *breaking, wanted func([]SequenceState) bool) []SequenceState {
	t.Helper()
	var states []SequenceState
	waitFor(t, "the state", func() bool {
		answer := make(chan []SequenceState)
		go func() {
			s, err := e.Inspect(context.Background())
			if err != nil {
				t.Error(err)
			}
			answer <- s
		}()
		for {
			select {
			case b.hang <- struct{}{}:
			case states = <-answer:
				return wanted(states)
			}
		}
	})
	return states
}

// TestTiming: how long a prompt waited and took comes with its event.
func TestTiming(t *testing.T) {
	e := startTiny(t, usual)
	for ev, err := range e.Generate(context.Background(), textRequest("hello", nil)) {
		if err != nil {
			t.Fatal(err)
		}
		if p := ev.Timing; (p == nil) != (ev.Prompt == nil) || p != nil && (p.Queued < 0 || p.Computing <= 0 || p.Queued+p.Computing > time.Minute) {
			t.Errorf("timing %+v of %+v", p, ev)
		}
	}
}
