package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/llm"
	"weir/internal/spec"
	"weir/internal/weights"
)

// breaking is a model that can be told to panic or to hang.
type breaking struct {
	Forwarder
	panics atomic.Bool
	hang   chan struct{} // non-nil: each Forward waits for a value, or for it to close
}

func (b *breaking) Forward(s backend.Stream) {
	if b.hang != nil {
		<-b.hang
	}
	if b.panics.Load() {
		panic("a bug in a kernel")
	}
	b.Forwarder.Forward(s)
}

func startBreaking(t *testing.T, b *breaking, stall time.Duration, change func(*LoadOptions)) *Engine {
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
	if change != nil {
		change(&o)
	}
	e, err := load(f, o, func(_ MemoryPlan, eo *Options) { b.Forwarder = eo.Forward; eo.Forward = b })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestPanicInTheLoopIsContained: the requests of the step are told, those that
// wait are served by the loop's next life, and its memory is whole again.
func TestPanicInTheLoopIsContained(t *testing.T) {
	b := &breaking{hang: make(chan struct{})}
	told := make(chan error, 10)
	e := startBreaking(t, b, time.Minute, func(o *LoadOptions) { o.OnPanic = func(err error) { told <- err } })
	defer e.Close()
	lost := make(chan error)
	go func() { _, err := collect(context.Background(), e, textRequest("x", nil)); lost <- err }()
	waitFor(t, "the step", func() bool { return e.stats.stepStart.Load() != 0 })
	waiting := make(chan error)
	go func() { _, err := collect(context.Background(), e, textRequest("y", nil)); waiting <- err }()
	waitFor(t, "the next in the inbox", func() bool {
		e.inbox.mu.Lock()
		defer e.inbox.mu.Unlock()
		return len(e.inbox.msgs) == 1
	})
	b.panics.Store(true)
	b.hang <- struct{}{} // panics after it
	var le *llm.Error
	if err := <-lost; !errors.As(err, &le) || le.Kind != llm.Internal {
		t.Errorf("the request of the step got %v, want Internal", err)
	} else if strings.Contains(le.Message, "kernel") {
		t.Errorf("the client's message has the cause: %q", le.Message)
	}
	b.panics.Store(false)
	close(b.hang)
	if err := <-waiting; err != nil {
		t.Errorf("the request that waited got %v", err)
	}
	if err := <-told; !strings.Contains(err.Error(), "a bug in a kernel") || !strings.Contains(err.Error(), "panic_test.go") {
		t.Errorf("told of %v, want the cause and its stack", err)
	}
	if err := e.Health(); err != nil {
		t.Errorf("health after the restart: %v", err)
	}
	waitFor(t, "all pages free", func() bool { s := e.Stats(); return s.FreePages == s.Pages && s.InFlight == 0 && s.QueuedTokens == 0 })
	if n := e.Stats().Restarts; n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
}

// fragile is a proposer that panics when it is told to, in the middle of a step and
// while it is made anew.
type fragile struct {
	spec.Proposer
	breaks atomic.Bool
	dies   bool
}

func (f *fragile) Propose(asks []*spec.Ask) {
	f.Proposer.Propose(asks)
	if f.breaks.CompareAndSwap(true, false) {
		panic("a bug in a proposer")
	}
}

func (f *fragile) Reset() error {
	if f.dies {
		panic("once more")
	}
	return f.Proposer.Reset()
}

func (f *fragile) Held() int { return f.Proposer.(interface{ Held() int }).Held() }

// TestPanicWhileDrafting: a panic in the loop or in the proposer leaves none of its
// pages held for the sequences that were lost, and guessing goes on; a proposer that
// can't begin anew is left alone, and said to be off.
func TestPanicWhileDrafting(t *testing.T) {
	for _, dies := range []bool{false, true} {
		f := &fragile{dies: dies}
		e := startDrafting(t, f)
		p := func(p *llm.Params) { p.MaxTokens, p.IgnoreEOS, p.Temperature = ptr(40), true, 0 }
		want := mustCollect(t, e, textRequest("x", p)).choices[0].ids()
		f.breaks.Store(true)
		var le *llm.Error
		if _, err := collect(context.Background(), e, textRequest("x", p)); !errors.As(err, &le) || le.Kind != llm.Internal {
			t.Fatalf("got %v, want Internal", err)
		}
		before := counted(t, e)
		if got := mustCollect(t, e, textRequest("x", p)).choices[0].ids(); !slices.Equal(got, want) {
			t.Errorf("after the panic the answer is %v, before it was %v", got, want)
		}
		after := counted(t, e)
		status := after.Speculation
		if guessed := after.Guessed > before.Guessed; guessed == dies || status.On == dies {
			t.Errorf("can't begin anew: %v; but it guessed: %v, and it is %+v", dies, guessed, status)
		}
		if dies && !strings.Contains(status.Why, "begin anew") {
			t.Errorf("it is off because %q", status.Why)
		}
		e.Close()
		if n := f.Held(); n != 0 && !dies {
			t.Errorf("%d pages are held for sequences that were lost", n)
		}
	}
}

// startDrafting starts an engine whose draft model f is in the way of.
func startDrafting(t *testing.T, f *fragile) *Engine {
	t.Helper()
	file := openedBytes(t, tinyGGUF(t, 0))
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close(); file.Close() })
	o := LoadOptions{ID: "tiny", Backend: dev, Budget: 1 << 30, PageSize: 16, Limits: schedLimits(usual), MaxQueue: 10, StallAfter: time.Minute}
	o.Speculation = tinyDraft(0)(t)
	o.Speculation.Options.Always.SetChain(3)
	o.Limits.LogitRows = o.Limits.Running + 4 + 3
	e, err := load(file, o, func(_ MemoryPlan, eo *Options) { f.Proposer = eo.Proposer; eo.Proposer = f; eo.Check = true })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestLoopGivesUp: a loop that can't make one good step is not started for ever.
func TestLoopGivesUp(t *testing.T) {
	b := &breaking{}
	e := startBreaking(t, b, time.Minute, nil)
	defer e.Close()
	b.panics.Store(true)
	var le *llm.Error
	for range maxStrikes + 1 {
		if err := e.Health(); err != nil {
			t.Fatalf("unhealthy early: %v", err)
		}
		if _, err := collect(context.Background(), e, textRequest("x", nil)); !errors.As(err, &le) || le.Kind != llm.Internal {
			t.Fatalf("got %v, want Internal", err)
		}
	}
	waitFor(t, "the end", func() bool { return e.Health() != nil })
	if err := e.Health(); !strings.Contains(err.Error(), "a bug in a kernel") {
		t.Errorf("health: %v, want the cause", err)
	}
	if _, err := collect(context.Background(), e, textRequest("y", nil)); !errors.As(err, &le) || le.Kind != llm.Unavailable {
		t.Errorf("a later request got %v, want Unavailable", err)
	}
}

func TestHealthReportsAStall(t *testing.T) {
	b := &breaking{hang: make(chan struct{})}
	e := startBreaking(t, b, time.Nanosecond, nil)
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
	e := startBreaking(t, b, time.Minute, nil)
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
