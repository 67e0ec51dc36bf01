package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"weir/internal/llm"
	"weir/internal/openai"
)

// call is a decoded request for output, in whatever dialect.
type call interface {
	ModelName() string
	Streaming() bool
	// Interval is how many tokens a chunk of the stream is to have; 0: not said.
	Interval() int
	Deadlines() llm.Deadlines
	// Requests gives what to generate, without ids.
	Requests(m llm.Model) ([]*llm.Request, error)
}

// gatherer makes one response of all events.
type gatherer interface {
	Add(prompt int, e *llm.Event)
	Append(dst []byte) []byte
}

// streamer makes server-sent events of events.
type streamer interface {
	Append(dst []byte, prompt int, e *llm.Event) []byte
	End(dst []byte) []byte
}

// encoders make what a call is answered with.
type encoders struct {
	whole  func(openai.Head) gatherer
	stream func(openai.Head) streamer
}

func (s *Server) chat(w *response, r *http.Request) error {
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	q, err := openai.DecodeChat(body)
	if err != nil {
		return err
	}
	return s.generate(w, r, q, encoders{
		func(h openai.Head) gatherer { return q.NewResponse(h) },
		func(h openai.Head) streamer { return q.NewStream(h) },
	})
}

func (s *Server) completion(w *response, r *http.Request) error {
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	q, err := openai.DecodeCompletion(body)
	if err != nil {
		return err
	}
	return s.generate(w, r, q, encoders{
		func(h openai.Head) gatherer { return q.NewResponse(h) },
		func(h openai.Head) streamer { return q.NewStream(h) },
	})
}

// generate answers a call.
func (s *Server) generate(w *response, r *http.Request, c call, enc encoders) error {
	d, err := s.deadlines(r, c.Deadlines())
	if err != nil {
		return err
	}
	ctx, begun, stop := watch(r.Context(), w.start, d)
	defer stop()
	w.begun = begun
	found := w.seen.waiting(c.ModelName())
	g, release, err := s.generator(ctx, c.ModelName(), w.start, d.Queue)
	found()
	if err != nil {
		return err
	}
	defer release()
	m := g.Model()
	w.model = m.ID
	requests, err := c.Requests(m)
	if err != nil {
		return err
	}
	for i, q := range requests {
		if q.ID = w.id; len(requests) > 1 {
			q.ID += "-" + strconv.Itoa(i)
		}
	}
	w.seen.generating(m, requests, c.Streaming())
	leave, err := s.admit(r.Context(), g, requests)
	if err != nil {
		return err
	}
	defer leave()
	if d.Queue > 0 { // the rest of them wait for those, not for others
		for _, q := range requests[:min(len(requests), s.promptsAtOnce(requests[0]))] {
			q.QueueBy = w.start.Add(d.Queue)
		}
	}
	h := openai.Head{ID: w.id, Created: s.now().Unix(), Model: m.ID, Fingerprint: s.fingerprint(m)}
	if c.Streaming() {
		return s.stream(ctx, w, g, requests, batched(enc.stream(h), cmp.Or(c.Interval(), s.opts().StreamInterval)))
	}
	return s.whole(ctx, w, g, requests, enc.whole(h))
}

// generator finds who answers. A model that has to be loaded first must be there by
// the deadline of the queue.
func (s *Server) generator(ctx context.Context, model string, start time.Time, queue time.Duration) (llm.Generator, func(), error) {
	if queue > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, start.Add(queue), &llm.Error{Kind: llm.Timeout, Code: "queue_timeout", Err: context.DeadlineExceeded})
		defer cancel()
	}
	g, release, err := s.backend.Generator(ctx, model)
	if err == nil {
		return g, release, nil
	}
	err = explain(ctx, err)
	var late *llm.Error
	if errors.As(err, &late) && late.Kind == llm.Timeout { // whatever it was to be in time for
		err = &llm.Error{Kind: llm.Timeout, Code: late.Code, Err: late.Err,
			Message: fmt.Sprintf("the model was not loaded within %v: try again later, or allow more time", time.Since(start).Round(time.Millisecond))}
	}
	return nil, nil, err
}

// hold is generator for a request that generates nothing.
func (s *Server) hold(w *response, r *http.Request, model string) (llm.Generator, func(), error) {
	d, err := s.deadlines(r, llm.Deadlines{})
	if err != nil {
		return nil, nil, err
	}
	ctx, _, stop := watch(r.Context(), w.start, llm.Deadlines{Total: d.Total})
	defer stop()
	defer w.seen.waiting(model)()
	return s.generator(ctx, model, w.start, d.Queue)
}

// fingerprint changes when what computes does: the program or the model.
func (s *Server) fingerprint(m llm.Model) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %d", s.opts().Version, m.ID, m.Quant, m.Bytes, m.Params))
	return "fp_" + hex.EncodeToString(sum[:5])
}

// whole answers with one response.
func (s *Server) whole(ctx context.Context, w *response, g llm.Generator, requests []*llm.Request, to gatherer) error {
	err := s.run(ctx, g, requests, func(prompt int, e *llm.Event) error {
		w.note(prompt, e)
		to.Add(prompt, e)
		return nil
	})
	if err != nil {
		return explain(ctx, err)
	}
	w.json(http.StatusOK, to.Append(nil))
	return nil
}

// stream answers with server-sent events.
func (s *Server) stream(ctx context.Context, w *response, g llm.Generator, requests []*llm.Request, to streamer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := newEventWriter(w, cancel)
	defer out.end()
	err := s.run(ctx, g, requests, func(prompt int, e *llm.Event) error {
		w.note(prompt, e)
		return out.event(to, prompt, e)
	})
	if err == nil {
		return out.finish(to)
	}
	return out.fail(to, explain(ctx, err))
}

// note keeps what the log tells of an event.
func (w *response) note(prompt int, e *llm.Event) {
	w.seen.event(prompt, e)
	w.spent += len(e.Tokens)
	if e.Prompt != nil {
		w.spent += len(e.Prompt.IDs)
	}
	if w.begun != nil && len(e.Tokens) > 0 {
		w.begun()
		w.begun = nil
	}
	if w.s.opts().LogContent {
		w.text = append(w.text, e.Text...)
	}
	if e.Usage != nil {
		w.usage.PromptTokens += e.Usage.PromptTokens
		w.usage.CachedTokens += e.Usage.CachedTokens
		w.usage.CompletionTokens += e.Usage.CompletionTokens
	}
}

// sink takes the events of a prompt. It is called by one goroutine at a time,
// and keeps no pointer.
type sink func(prompt int, e *llm.Event) error

// run generates for the requests and passes events on. The first error of
// anything cancels the rest.
func (s *Server) run(ctx context.Context, g llm.Generator, requests []*llm.Request, to sink) error {
	if len(requests) == 1 {
		return s.guard(func() error { return follow(ctx, g, requests[0], 0, to) })
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	locked := func(prompt int, e *llm.Event) error {
		mu.Lock()
		defer mu.Unlock()
		return to(prompt, e)
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(len(requests), s.promptsAtOnce(requests[0])) {
		workers.Go(func() {
			for i := range next {
				// The first cause stays: the cancelled others do not replace it.
				if err := s.guard(func() error { return follow(ctx, g, requests[i], i, locked) }); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range requests {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// promptsAtOnce is how many of a request's prompts, which are alike but for their
// text, are with the backend at a time: each brings all of its choices, and those
// who come later wait behind them.
func (s *Server) promptsAtOnce(r *llm.Request) int {
	return max(1, s.opts().PromptsAtOnce/max(1, r.Params.N, r.Params.BestOf))
}

// follow passes on the events of one request.
func follow(ctx context.Context, g llm.Generator, r *llm.Request, prompt int, to sink) error {
	var current llm.Event // one for all: its address goes where the compiler cannot follow
	for e, err := range g.Generate(ctx, r) {
		if err != nil {
			return err
		}
		current = e
		if err := to(prompt, &current); err != nil {
			return err
		}
	}
	// A generator that ended early because of ctx may do so without a word.
	return context.Cause(ctx)
}
