package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"weir/internal/llm"
)

// maxTexts bounds the requests that tokenise, detokenise or render at once; few
// of them are worked on at a time, and the rest would wait for ever.
const maxTexts = 256

// caller is who a request is counted for: the one that its key names, or everybody.
func (s *Server) caller(ctx context.Context) *Caller {
	if c := CallerOf(ctx); c != nil {
		if c.Quota == (Quota{}) && c.Name == "" {
			return &Caller{Quota: s.opts().Quota}
		}
		return c
	}
	return &Caller{Quota: s.opts().Quota}
}

// bounded makes of a handler one that is held to its caller's quota. What is
// refused here has cost nothing but its headers.
func (s *Server) bounded(do handler) handler {
	return func(w *response, r *http.Request) error {
		c := s.caller(r.Context())
		leave, err := s.quotas.enter(c, time.Now())
		s.quotas.tell(w.Header(), c, time.Now())
		if err != nil {
			return err
		}
		defer func() {
			leave(w.spent, w.err != nil && w.err.Kind == llm.Overloaded)
		}()
		err = do(w, r)
		if err != nil {
			w.err = explain(r.Context(), err) // what the quota is told of it
		}
		return err
	}
}

// generating bounds a handler that generates: it is not begun while the queue is
// full.
func (s *Server) generating(do handler) handler {
	return s.bounded(func(w *response, r *http.Request) error {
		if err := s.full(r.Context()); err != nil {
			return err
		}
		return do(w, r)
	})
}

// full tells whether there is no room for a request of which nothing is known yet.
// Of several models it is not known either which is meant.
func (s *Server) full(ctx context.Context) error {
	if len(s.backend.Models()) != 1 {
		return nil
	}
	c := s.caller(ctx)
	var err error
	s.backend.Each(func(g llm.Generator) {
		if a, ok := g.(llm.Admitter); ok {
			err = a.Full(c.Name, c.Share)
		}
	})
	return err
}

// texting bounds a handler that works on text alone.
func (s *Server) texting(do handler) handler {
	return s.bounded(func(w *response, r *http.Request) error {
		defer s.texts.Add(-1)
		if n := s.texts.Add(1); n > maxTexts {
			return &llm.Error{Kind: llm.Overloaded, Message: fmt.Sprintf("%d requests about text wait already, which is the limit; try again later", n-1)}
		}
		return do(w, r)
	})
}

// admit reserves room for the requests with whoever generates, if it bounds
// that. leave gives it back.
func (s *Server) admit(ctx context.Context, g llm.Generator, requests []*llm.Request) (leave func(), err error) {
	c := s.caller(ctx)
	for _, q := range requests {
		q.Caller, q.Share = c.Name, c.Share
	}
	a, ok := g.(llm.Admitter)
	if !ok {
		return func() {}, nil
	}
	place, err := a.Admit(requests, s.promptsAtOnce(requests[0]))
	if err != nil {
		return nil, err
	}
	return place.Leave, nil
}

// deadlines are how long a request may take: the shortest of what its headers
// and its body ask for and what the server allows.
func (s *Server) deadlines(r *http.Request, body llm.Deadlines) (llm.Deadlines, error) {
	d := shortest(s.opts().Deadlines, body)
	for _, h := range []struct {
		name string
		to   *time.Duration
	}{{"X-Request-Timeout", &d.Total}, {"X-Queue-Timeout", &d.Queue}, {"X-First-Token-Timeout", &d.FirstToken}} {
		text := r.Header.Get(h.name)
		if text == "" {
			continue
		}
		asked, err := parseTimeout(text)
		if err != nil {
			return d, llm.Invalidf(h.name, "the header %s is %q: give seconds, such as 30 or 0.5, or a time such as 500ms, up to a day", h.name, shorten(text, 40))
		}
		*h.to = shorter(*h.to, asked)
	}
	return d, nil
}

const longestTimeout = 24 * time.Hour

func parseTimeout(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds > 0 && seconds <= longestTimeout.Seconds()) {
			return 0, fmt.Errorf("%q is no time", text)
		}
		d = time.Duration(seconds * float64(time.Second))
	}
	if d <= 0 || d > longestTimeout {
		return 0, fmt.Errorf("%v is out of range", d)
	}
	return d, nil
}

func shortest(a, b llm.Deadlines) llm.Deadlines {
	return llm.Deadlines{Queue: shorter(a.Queue, b.Queue), FirstToken: shorter(a.FirstToken, b.FirstToken), Total: shorter(a.Total, b.Total)}
}

// shorter is the shorter of two times, of which 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// watch gives a context that ends when a deadline passes, with the error to tell
// as its cause. begun is to be called at the first token, stop at the end.
func watch(ctx context.Context, start time.Time, d llm.Deadlines) (_ context.Context, begun, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	expire := func(after time.Duration, code, message string) *time.Timer {
		if after == 0 {
			return nil
		}
		return time.AfterFunc(time.Until(start.Add(after)), func() {
			cancel(&llm.Error{Kind: llm.Timeout, Code: code, Message: fmt.Sprintf(message, after), Err: context.DeadlineExceeded})
		})
	}
	total := expire(d.Total, "timeout", "the answer was not complete within %v: ask for fewer tokens, or allow more time")
	first := expire(d.FirstToken, "first_token_timeout", "no token was ready within %v: send a shorter prompt, try again later, or allow more time")
	begun = func() {
		if first != nil {
			first.Stop()
		}
	}
	return ctx, begun, func() {
		begun()
		if total != nil {
			total.Stop()
		}
		cancel(nil)
	}
}
