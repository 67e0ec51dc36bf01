package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"weir/internal/llm"
	"weir/internal/openai"
)

// eventWriter writes a stream of server-sent events: each event of a generator
// is at most one write and one flush.
//
// Two goroutines write: the request's own, and a timer that sends the headers of
// a stream whose first event is late, and comments on one that is silent. The
// mutex is theirs; end makes sure that the timer is out before the handler
// returns. (The other way, a goroutine that ranges over the generator while this
// one selects over it and the timer, costs a switch of goroutines a token.)
type eventWriter struct {
	w      *response
	cancel context.CancelCauseFunc // of the generation, for when nobody listens

	to      http.ResponseWriter // without the layers of a response, which each token would pass
	flusher interface{ FlushError() error }

	mu    sync.Mutex
	buf   []byte
	begun bool // the headers are sent
	ended bool
	// A token does not ask what time it is: that would be a tenth of what the
	// server does for it. It leaves a mark, and the timer does what depends on
	// time.
	marked bool          // written since the last tick
	silent time.Duration // at the last tick
	period time.Duration // of ticks, once the headers are sent
	timer  *time.Timer
}

// comment is what a silent stream gets. Readers of events ignore it.
const comment = ": keep-alive\n\n"

func newEventWriter(w *response, cancel context.CancelCauseFunc) *eventWriter {
	o := w.s.opts()
	e := &eventWriter{w: w, cancel: cancel, to: w.ResponseWriter, period: w.timeout / 2}
	if o.KeepAlive > 0 {
		e.period = max(min(e.period, o.KeepAlive/2), time.Millisecond)
	}
	e.flusher, _ = w.ResponseWriter.(interface{ FlushError() error })
	e.mu.Lock() // the timer may be quicker than its assignment
	defer e.mu.Unlock()
	e.timer = time.AfterFunc(o.HeaderDelay, e.tick)
	return e
}

// event writes what becomes of ev.
func (e *eventWriter) event(to streamer, prompt int, ev *llm.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf = to.Append(e.buf[:0], prompt, ev)
	return e.write(e.buf)
}

// finish writes the end of a complete stream.
func (e *eventWriter) finish(to streamer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write(to.End(e.buf[:0]))
}

// fail ends the stream with an error, as an event if the stream has begun. If
// not, the error is returned, to be answered with its status.
func (e *eventWriter) fail(to streamer, err *llm.Error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.begun {
		e.ended = true // the headers are now another's to write
		return err
	}
	e.w.err = err
	if err.Kind == llm.Canceled {
		return nil
	}
	b := e.buf[:0]
	if h, ok := to.(interface{ Held([]byte) []byte }); ok {
		b = h.Held(b)
	}
	_ = e.write(openai.AppendErrorEvent(b, err)) // the error that counts is err
	return nil
}

// end stops the timer. Nothing is written after it.
func (e *eventWriter) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	e.timer.Stop()
}

// write sends b, after the headers; an empty b sends nothing. The lock is held.
func (e *eventWriter) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	e.begin()
	e.marked = true
	if _, err := e.to.Write(b); err != nil {
		return gone(err)
	}
	return e.flush()
}

func (e *eventWriter) flush() (err error) {
	if e.flusher != nil {
		err = e.flusher.FlushError()
	} else {
		err = e.w.rc.Flush()
	}
	if err != nil {
		return gone(err)
	}
	return nil
}

func gone(err error) error {
	return &llm.Error{Kind: llm.Canceled, Message: "the client is gone, or reads too slowly", Err: err}
}

// begin sends the headers, once.
func (e *eventWriter) begin() {
	if e.begun {
		return
	}
	e.begun = true
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-transform") // nor compress it
	h.Set("X-Accel-Buffering", "no")                 // or nginx would hold the stream back
	e.w.WriteHeader(http.StatusOK)
	e.timer.Reset(e.period)
}

// tick does what depends on time: it sends what is overdue (the headers, or a
// comment), and moves the deadline of writing. It waits for a write that hangs, so
// that such a one is not given more time: between half of the write timeout and
// all of it.
func (e *eventWriter) tick() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	var err error
	e.w.extend()
	if e.silent += e.period; e.marked {
		e.silent, e.marked = 0, false
	}
	keepAlive := e.w.s.opts().KeepAlive
	switch {
	case !e.begun:
		e.begin()
		err = e.flush()
	case keepAlive > 0 && e.silent >= keepAlive/2: // since then at most all of it
		err = e.write([]byte(comment))
		e.silent, e.marked = 0, false
	}
	if err != nil {
		e.cancel(err)
		return
	}
	e.timer.Reset(e.period)
}
