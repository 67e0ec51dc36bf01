package engine

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/llm"
	"weir/internal/weights"
)

// breaking is a model that can be told to panic or to hang.
type breaking struct {
	Forwarder
	panics atomic.Bool
	hang   chan struct{} // non-nil: each Forward waits for a value, or for it to close
}

func (b *breaking) Forward(s backend.Stream) {
	if b.panics.Load() {
		panic("a bug in a kernel")
	}
	if b.hang != nil {
		<-b.hang
	}
	b.Forwarder.Forward(s)
}

func startBreaking(t *testing.T, b *breaking, stall time.Duration) *Engine {
	t.Helper()
	f, err := weights.OpenBytes("tiny", tinyGGUF(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close(); f.Close() })
	o := LoadOptions{ID: "tiny", Backend: dev, Budget: 1 << 30, PageSize: 16, Limits: schedLimits(usual), MaxQueue: 10, StallAfter: stall}
	e, err := load(f, o, func(_ MemoryPlan, eo *Options) { b.Forwarder = eo.Forward; eo.Forward = b })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestPanicInTheLoopIsContained(t *testing.T) {
	b := &breaking{}
	e := startBreaking(t, b, time.Minute)
	defer e.Close()
	b.panics.Store(true)
	_, err := collect(context.Background(), e, textRequest("x", nil))
	var le *llm.Error
	if !errors.As(err, &le) || le.Kind != llm.Internal {
		t.Errorf("the request of the step got %v, want Internal", err)
	}
	if strings.Contains(le.Message, "kernel") {
		t.Errorf("the client's message has the cause: %q", le.Message)
	}
	if err := e.Health(); err == nil || !strings.Contains(err.Error(), "a bug in a kernel") {
		t.Errorf("health: %v, want the cause", err)
	}
	_, err = collect(context.Background(), e, textRequest("y", nil))
	if !errors.As(err, &le) || le.Kind != llm.Unavailable {
		t.Errorf("a later request got %v, want Unavailable", err)
	}
}

func TestHealthReportsAStall(t *testing.T) {
	b := &breaking{hang: make(chan struct{})}
	e := startBreaking(t, b, time.Nanosecond)
	done := make(chan error)
	go func() { _, err := collect(context.Background(), e, textRequest("x", nil)); done <- err }()
	waitFor(t, "the stall reported", func() bool { return e.Health() != nil })
	close(b.hang)
	if err := <-done; err != nil {
		t.Error(err)
	}
	e.Close()
	if err := e.Health(); err != nil {
		t.Errorf("after the step: %v", err)
	}
}

// TestCancelFreesWithinOneStep holds the loop inside a step while a request is
// cancelled: when that step ends, the sequence must go, and nothing more of it
// be computed.
func TestCancelFreesWithinOneStep(t *testing.T) {
	b := &breaking{hang: make(chan struct{})}
	e := startBreaking(t, b, time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	first := make(chan struct{}, 100)
	go func() {
		var last error
		for ev, err := range e.Generate(ctx, textRequest("x", func(p *llm.Params) { p.MaxTokens = ptr(100) })) {
			if last = err; err == nil && len(ev.Tokens) > 0 {
				first <- struct{}{}
			}
		}
		done <- last
	}()
	b.hang <- struct{}{} // the prompt and the first token
	<-first
	waitFor(t, "the second step begun", func() bool { return e.stats.stepStart.Load() != 0 })
	cancel()
	var le *llm.Error
	if err := <-done; !errors.As(err, &le) || le.Kind != llm.Canceled {
		t.Fatalf("got %v, want Canceled", err)
	}
	b.hang <- struct{}{} // lets the second step end
	waitFor(t, "the sequence gone and its pages free", func() bool {
		s := e.Stats()
		return s.Running == 0 && s.FreePages == s.Pages && s.Steps == 2
	})
	if n := e.Stats().DecodeTokens; n != 1 {
		t.Errorf("%d tokens were decoded, want the one of the step that ran", n)
	}
	close(b.hang)
	e.Close()
}
