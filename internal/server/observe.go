package server

import (
	"cmp"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/auth"
	"weir/internal/llm"
	"weir/internal/metrics"
	"weir/internal/openai"
	"weir/internal/trace"
)

// sighting is what metrics, traces and people learn of a request. The request's
// goroutine writes it. What others read while it runs is atomic.
type sighting struct {
	s        *Server
	w        *response
	request  string // the client's id, or the response's own
	span     *trace.Span
	observed *metrics.Request
	finishes []string

	route     string // set before the watch can be found
	caller    string
	model     atomic.Pointer[string] // nil: the request is being read
	streaming atomic.Bool
	tokens    atomic.Int64
	loading   atomic.Bool // its model is looked for
	began     atomic.Bool // the first token is there
}

// sightings are the requests that run.
type sightings struct {
	mu  sync.Mutex
	all map[*sighting]struct{}
}

func (l *sightings) add(x *sighting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[*sighting]struct{}{}
	}
	l.all[x] = struct{}{}
}

func (l *sightings) remove(x *sighting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, x)
}

// list gives the requests that run, oldest first.
func (l *sightings) list() []*sighting {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*sighting, 0, len(l.all))
	for x := range l.all {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *sighting) int {
		return cmp.Or(a.w.start.Compare(b.w.start), cmp.Compare(a.w.id, b.w.id))
	})
	return list
}

func (l *sightings) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// routed begins to watch a request whose route and caller are known.
func (x *sighting) routed(rt route, r *http.Request, caller *auth.Caller) {
	x.route, x.caller = cmp.Or(rt.path, "none"), caller.String()
	if rt.probe {
		return
	}
	x.span = x.s.opts().Tracer.Start(r.Context(), r.Header, method(r)+" "+x.route, x.w.start)
	if id := x.span.Response(); id != "" {
		x.w.Header().Set("Traceresponse", id)
	}
	x.span.Set("http.request.method", method(r))
	x.span.Set("http.route", x.route)
	x.span.Set("weir.request.id", x.request)
	if caller != nil {
		x.span.Set("weir.caller", caller.Name)
	}
	x.s.running.add(x)
}

// operations are OpenTelemetry's names for what routes do.
var operations = map[string]string{"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}

// waiting notes that the model is looked for, and loaded if need be; found ends that.
func (x *sighting) waiting(model string) (found func()) {
	x.model.Store(&model)
	x.loading.Store(true)
	return func() {
		x.model.Store(nil)
		x.loading.Store(false)
	}
}

// generating notes what is asked of a model.
func (x *sighting) generating(m llm.Model, requests []*llm.Request, streaming bool) {
	x.model.Store(&m.ID)
	x.streaming.Store(streaming)
	x.observed = x.s.opts().Metrics.Begin(m.ID, x.w.start, requests)
	if !x.span.Recorded() {
		return
	}
	operation := cmp.Or(operations[x.route], "generate_content")
	x.span.Rename(operation + " " + m.ID)
	p := &requests[0].Params
	x.span.Set("gen_ai.operation.name", operation)
	x.span.Set("gen_ai.provider.name", "weir")
	x.span.Set("gen_ai.request.model", m.ID)
	x.span.Set("gen_ai.response.model", m.ID)
	x.span.Set("gen_ai.response.id", x.w.id)
	x.span.Set("gen_ai.output.type", "text")
	x.span.Set("gen_ai.request.choice.count", max(1, p.N))
	x.span.Set("gen_ai.request.temperature", p.Temperature)
	x.span.Set("gen_ai.request.top_p", p.TopP)
	x.span.Set("gen_ai.request.top_k", p.TopK)
	x.span.Set("gen_ai.request.frequency_penalty", p.FrequencyPenalty)
	x.span.Set("gen_ai.request.presence_penalty", p.PresencePenalty)
	if p.MaxTokens != nil {
		x.span.Set("gen_ai.request.max_tokens", *p.MaxTokens)
	}
	if p.Seed != nil {
		x.span.Set("gen_ai.request.seed", int(*p.Seed))
	}
}

// event notes what a generator yields. It is called for each token.
func (x *sighting) event(prompt int, e *llm.Event) {
	x.observed.Event(prompt, e)
	if n := len(e.Tokens); n > 0 {
		x.tokens.Add(int64(n))
		if !x.began.Load() {
			x.began.Store(true)
		}
	}
	if e.Finish != llm.FinishNone && x.span.Recorded() {
		x.finishes = append(x.finishes, string(e.Finish))
	}
}

// end notes how the request ended.
func (x *sighting) end() {
	w := x.w
	reason := ""
	if w.err != nil {
		reason = openai.Code(w.err)
	}
	status := w.status
	if w.err != nil && w.err.Kind == llm.Canceled {
		status = openai.Status(llm.Canceled)
	}
	x.s.opts().Metrics.Answered(cmp.Or(x.route, "none"), status, x.caller, w.usage, w.err, reason)
	x.observed.End(w.err)
	x.endSpan(status)
	x.s.running.remove(x)
}

func (x *sighting) endSpan(status int) {
	if !x.span.Recorded() {
		x.span.End()
		return
	}
	w := x.w
	x.span.Set("http.response.status_code", status)
	if w.usage.PromptTokens > 0 {
		x.span.Set("gen_ai.usage.input_tokens", w.usage.PromptTokens)
		x.span.Set("gen_ai.usage.cache_read.input_tokens", w.usage.CachedTokens)
		x.span.Set("gen_ai.usage.output_tokens", w.usage.CompletionTokens)
	}
	if len(x.finishes) > 0 {
		x.span.Set("gen_ai.response.finish_reasons", x.finishes)
	}
	if t, first, last := x.observed.Timing(); t != nil && !first.IsZero() {
		computing := first.Add(-t.Computing)
		x.span.Part("queue", computing.Add(-t.Queued), computing)
		x.span.Part("prefill", computing, first)
		x.span.Part("decode", first, last)
	}
	if w.err != nil {
		x.span.Fail(w.err.Kind.String())
	}
	x.span.End()
}

// attrs are what the watch adds to the log line.
func (x *sighting) attrs() []slog.Attr {
	if id := x.span.TraceID(); id != "" {
		return []slog.Attr{slog.String("trace", id)}
	}
	return nil
}

// state tells people what the request waits for.
func (x *sighting) state() string {
	switch {
	case x.model.Load() == nil:
		return "reading the request"
	case x.loading.Load():
		return "waiting for its model to be loaded"
	case x.began.Load():
		return "generating"
	}
	return "waiting for its first token"
}

// snapshot is the server's own state, for metrics.
func (s *Server) snapshot() metrics.Server {
	return metrics.Server{
		Connections: s.connections.Load(), Refused: s.connectionsRefused.Load(),
		Live: s.health.Live() == nil, Ready: s.health.Ready() == nil && s.refusal() == nil,
		InFlight: int64(s.running.count()), Models: s.backend.Models(),
	}
}

// age is how long ago a request arrived.
func (x *sighting) age() time.Duration { return time.Since(x.w.start) }
