package metrics

import (
	"strconv"
	"time"

	"weir/internal/llm"
)

// Request observes a request for output. One goroutine uses it, or several under
// a lock. A nil one does nothing.
type Request struct {
	m      *model
	owner  *Metrics
	start  time.Time
	first  time.Time // token of all; zero: none yet
	last   time.Time
	timing *llm.Timing
	plain  choice          // of the first prompt's first choice: usually there is no other
	others map[int]*choice // by prompt<<16 + choice
}

// choice is what is known of one choice.
type choice struct {
	first, last time.Time
	tokens      int
	step        int64 // of the last tokens; 0: not known
	done        bool
}

// Begin observes a request for a model's output, which arrived at a time and asks
// for the prompts of requests.
func (m *Metrics) Begin(name string, start time.Time, requests []*llm.Request) *Request {
	if m == nil {
		return nil
	}
	r := &Request{owner: m, m: m.model(name), start: start}
	p := &requests[0].Params
	r.m.choices.Observe(float64(max(1, p.N)))
	if p.MaxTokens != nil {
		r.m.maxTokens.Observe(float64(*p.MaxTokens))
	}
	return r
}

// Event observes what a generator yields for a prompt.
func (r *Request) Event(prompt int, e *llm.Event) {
	if r == nil {
		return
	}
	if e.Timing != nil && r.timing == nil {
		r.timing = e.Timing
	}
	if len(e.Tokens) > 0 {
		r.tokens(r.choice(prompt, e.Choice), e, time.Now())
	}
	if e.Finish != llm.FinishNone {
		r.choice(prompt, e.Choice).done = true
		r.owner.vecs.finished.WithLabelValues(r.m.name, string(e.Finish)).Inc()
	}
	if e.Usage != nil {
		r.usage(e.Usage)
	}
}

// tokens counts those of an event. Tokens of one step came at one time, whenever
// each of them is delivered: there is no latency between them.
func (r *Request) tokens(c *choice, e *llm.Event, now time.Time) {
	if r.first.IsZero() {
		r.first = now
		r.m.firstToken.Observe(now.Sub(r.start).Seconds())
	}
	switch {
	case c.tokens == 0:
		c.first = now
	case e.Step == 0 || e.Step != c.step:
		r.m.interToken.Observe(now.Sub(c.last).Seconds())
	}
	c.tokens += len(e.Tokens)
	c.step, c.last, r.last = e.Step, now, now
}

func (r *Request) choice(prompt, index int) *choice {
	if prompt == 0 && index == 0 {
		return &r.plain
	}
	key := prompt<<16 + index
	c := r.others[key]
	if c == nil {
		if r.others == nil {
			r.others = map[int]*choice{}
		}
		c = &choice{}
		r.others[key] = c
	}
	return c
}

func (r *Request) usage(u *llm.Usage) {
	r.m.prompt.Add(float64(u.PromptTokens))
	r.m.cached.Add(float64(u.CachedTokens))
	r.m.generated.Add(float64(u.CompletionTokens))
	r.m.promptSize.Observe(float64(u.PromptTokens))
	r.m.prefillSize.Observe(float64(u.PromptTokens - u.CachedTokens))
	r.m.outputSize.Observe(float64(u.CompletionTokens))
}

// End observes the end of a request, with what it failed of, if it did.
func (r *Request) End(err *llm.Error) {
	if r == nil {
		return
	}
	longest := r.endChoice(&r.plain, err)
	for _, c := range r.others {
		longest = max(longest, r.endChoice(c, err))
	}
	if r.first.IsZero() {
		if err == nil {
			r.m.duration.Observe(time.Since(r.start).Seconds())
		}
		return
	}
	decode := r.last.Sub(r.first)
	r.m.duration.Observe(time.Since(r.start).Seconds())
	r.m.decode.Observe(decode.Seconds())
	r.m.longest.Observe(float64(longest))
	if t := r.timing; t != nil {
		r.m.queue.Observe(t.Queued.Seconds())
		r.m.prefill.Observe(t.Computing.Seconds())
		r.m.inference.Observe((t.Computing + decode).Seconds())
	}
}

// endChoice ends a choice and gives its tokens.
func (r *Request) endChoice(c *choice, err *llm.Error) int {
	if c.tokens > 1 {
		r.m.perToken.Observe(c.last.Sub(c.first).Seconds() / float64(c.tokens-1))
	}
	// Tokens of what did not come to an end were generated all the same.
	if !c.done && err != nil && broken(err) != "" {
		if c.tokens > 0 {
			r.m.generated.Add(float64(c.tokens))
		}
		r.owner.vecs.finished.WithLabelValues(r.m.name, broken(err)).Inc()
	}
	return c.tokens
}

// broken names how a choice ended that did not come to its end; "" for one that
// was refused and never began.
func broken(err *llm.Error) string {
	switch err.Kind {
	case llm.Canceled, llm.Timeout:
		return "abort"
	case llm.Internal:
		return "error"
	}
	return ""
}

// Timing gives how long the way to the first token took, and when the first and
// the last came; nil and zero if that is not known.
func (r *Request) Timing() (t *llm.Timing, first, last time.Time) {
	if r == nil {
		return nil, time.Time{}, time.Time{}
	}
	return r.timing, r.first, r.last
}

// Answered counts an answer of any route. The caller is the name of a key, ""
// without keys; err is what went wrong.
func (m *Metrics) Answered(route string, status int, caller string, u llm.Usage, err *llm.Error, reason string) {
	if m == nil {
		return
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if err != nil && refusal(err.Kind) {
		m.refusals.WithLabelValues(reason).Inc()
	}
	if caller == "" {
		return
	}
	m.callers.WithLabelValues(caller).Inc()
	m.tokens.WithLabelValues(caller, "prompt").Add(float64(u.PromptTokens))
	m.tokens.WithLabelValues(caller, "generated").Add(float64(u.CompletionTokens))
}

// refusal tells errors that are about what the server takes from those about what
// was asked.
func refusal(k llm.Kind) bool {
	switch k {
	case llm.Unauthorized, llm.Forbidden, llm.TooLarge, llm.Overloaded, llm.Unavailable:
		return true
	}
	return false
}
