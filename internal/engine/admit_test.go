package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"weir/internal/llm"
)

func overloaded(t *testing.T, err error, word string) *llm.Error {
	t.Helper()
	var le *llm.Error
	if !errors.As(err, &le) || le.Kind != llm.Overloaded || !strings.Contains(le.Message, word) {
		t.Errorf("got %v, want Overloaded that tells of %q", err, word)
		return &llm.Error{}
	}
	return le
}

// TestAdmitBySizeAlone: a request is let in or not before it is rendered.
func TestAdmitBySizeAlone(t *testing.T) {
	c := usual
	c.queue, c.running = 2, 2
	e := startTiny(t, c)
	bad := textRequest(strings.Repeat("x", 40), func(p *llm.Params) { p.N = 3 })
	place, err := e.Admit([]*llm.Request{bad, textRequest("", nil)}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if s := e.Stats(); s.QueuedTokens != 11 || s.InFlight != 1 {
		t.Errorf("%d tokens and %d requests are in, want 40/4 + 1 and 1", s.QueuedTokens, s.InFlight)
	}
	if _, err = e.Admit([]*llm.Request{textRequest("x", func(p *llm.Params) { p.N = 2 })}, 1); err == nil {
		t.Error("two more are in with three of four")
	}
	overloaded(t, err, "--max-queue")
	if err := e.Full("", 0); err != nil {
		t.Errorf("full with a place left: %v", err)
	}
	other, err := e.Admit([]*llm.Request{textRequest("x", nil)}, 1)
	if err != nil {
		t.Fatal(err)
	}
	overloaded(t, e.Full("", 0), "--max-queue")
	_, err = collect(context.Background(), e, textRequest("y", nil))
	overloaded(t, err, "--max-queue")
	place.Leave()
	place.Leave() // once is enough
	other.Leave()
	if _, err := collect(context.Background(), e, textRequest("y", nil)); err != nil {
		t.Error(err)
	}
	if s := e.Stats(); s.Refused.Places != 3 || s.QueuedTokens != 0 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

// TestSettleRefuses: a prompt that turns out longer than was guessed, and than
// there is room for, goes.
func TestSettleRefuses(t *testing.T) {
	e := startTiny(t, usual)
	if e.SetQueue(0, 100) == nil {
		t.Error("a queue for nobody is taken")
	}
	if err := e.SetQueue(1000, 100); err != nil {
		t.Fatal(err)
	}
	place, err := e.Admit([]*llm.Request{textRequest(strings.Repeat("x", 240), nil)}, 1) // guessed 60
	if err != nil {
		t.Fatal(err)
	}
	_, err = collect(context.Background(), e, textRequest(strings.Repeat("y", 120), nil)) // guessed 30, is 120
	overloaded(t, err, "--max-queued-tokens")
	if s := e.Stats(); s.QueuedTokens != 60 || s.Refused.Tokens != 1 {
		t.Errorf("%d tokens are in after the refusal, want 60; %+v", s.QueuedTokens, s.Refused)
	}
	place.Leave()
	// A byte is a token to the tiny model: it is learnt.
	for range 200 {
		mustCollect(t, e, textRequest(strings.Repeat("z", 80), func(p *llm.Params) { p.MaxTokens = ptr(1) }))
	}
	place, err = e.Admit([]*llm.Request{textRequest(strings.Repeat("x", 90), nil)}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer place.Leave()
	if s := e.Stats(); s.QueuedTokens < 80 {
		t.Errorf("90 bytes are guessed to be %d tokens after 200 prompts of a token a byte", s.QueuedTokens)
	}
}

// TestQueueDeadline: a request that waits too long for its turn fails; one whose
// computation has begun does not.
func TestQueueDeadline(t *testing.T) {
	b := &breaking{hang: make(chan struct{})}
	e := startBreaking(t, b, time.Minute, func(o *LoadOptions) { o.Limits.Running, o.Limits.LogitRows = 1, 1 })
	defer e.Close()
	begun, within := beginWithin(t, e)
	// Its deadline is after the first one's.
	_, err := collect(context.Background(), e, queuedFor(within))
	if !isQueueTimeout(err) {
		t.Errorf("the waiting request got %v, want a queue timeout", err)
	}
	close(b.hang)
	if err := <-begun; err != nil {
		t.Errorf("the request that had begun got %v", err)
	}
	waitFor(t, "nothing left", func() bool { s := e.Stats(); return s.InFlight == 0 && s.QueuedTokens == 0 && s.Waiting == 0 })
}

// beginWithin starts a request that has begun before its queue's deadline: one that a
// busy machine can keep.
func beginWithin(t *testing.T, e *Engine) (done chan error, within time.Duration) {
	t.Helper()
	for within = 50 * time.Millisecond; within < time.Minute; within *= 2 {
		done = make(chan error, 1)
		go func() { _, err := collect(context.Background(), e, queuedFor(within)); done <- err }()
		var late error
		waitFor(t, "the step, or the deadline", func() bool {
			select {
			case late = <-done:
			default:
			}
			return late != nil || e.stats.stepStart.Load() != 0
		})
		if late == nil {
			return done, within
		}
		if !isQueueTimeout(late) {
			t.Fatal(late)
		}
	}
	t.Fatal("no request begins within a minute")
	return nil, 0
}

func queuedFor(d time.Duration) *llm.Request {
	r := textRequest("x", func(p *llm.Params) { p.MaxTokens = ptr(3) })
	r.QueueBy = time.Now().Add(d)
	return r
}

func isQueueTimeout(err error) bool {
	var le *llm.Error
	return errors.As(err, &le) && le.Kind == llm.Timeout && le.Code == "queue_timeout"
}

// TestSlowReaderIsCutOff: a client that takes nothing loses its request once its
// backlog is full; another's goes on.
func TestSlowReaderIsCutOff(t *testing.T) {
	b := &breaking{}
	e := startBreaking(t, b, time.Minute, nil)
	defer e.Close()
	e.opts.Backlog = 8
	next, stop := pull(e, textRequest("x", func(p *llm.Params) { p.MaxTokens, p.IgnoreEOS = ptr(200), true }))
	defer stop()
	if _, err, ok := next(); err != nil || !ok {
		t.Fatal(err)
	}
	waitFor(t, "the cut", func() bool { s := e.Stats(); return s.CutOff == 1 && s.Running == 0 && s.FreePages == s.Pages })
	mustCollect(t, e, textRequest("y", func(p *llm.Params) { p.MaxTokens = ptr(4) }))
	tokens := 0
	for {
		ev, err, ok := next()
		if !ok {
			t.Fatal("the request ended without a word")
		}
		if err != nil {
			var le *llm.Error
			if !errors.As(err, &le) || le.Code != "slow_reader" {
				t.Errorf("got %v", err)
			}
			break
		}
		tokens += len(ev.Tokens)
	}
	if tokens > 40 {
		t.Errorf("%d tokens were kept, with a backlog of 8", tokens)
	}
}

// TestPoolIsLeft: whoever waits to be prepared goes when it is cancelled.
func TestPoolIsLeft(t *testing.T) {
	e := startTiny(t, usual)
	for range cap(e.pool) {
		e.pool <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { _, err := collect(ctx, e, textRequest("x", nil)); done <- err }()
	waitFor(t, "a place", func() bool { return e.Stats().InFlight == 1 })
	cancel()
	var le *llm.Error
	if err := <-done; !errors.As(err, &le) || le.Kind != llm.Canceled {
		t.Errorf("got %v, want Canceled", err)
	}
	if _, err := e.Tokenize(ctx, llm.Text("x"), llm.TokenizeOptions{}); !errors.As(err, &le) || le.Kind != llm.Canceled {
		t.Errorf("tokenising got %v, want Canceled", err)
	}
	for range cap(e.pool) {
		<-e.pool
	}
}
