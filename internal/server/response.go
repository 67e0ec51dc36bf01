package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"weir/internal/auth"
	"weir/internal/llm"
	"weir/internal/openai"
)

// retryAfter is what a refusal suggests when it does not know better.
const retryAfter = time.Second

// statusError is an error with a status that no llm.Kind has.
type statusError struct {
	status int
	err    *llm.Error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// response is a request's answer: it writes within deadlines, and remembers what
// the log line tells.
type response struct {
	http.ResponseWriter
	rc       *http.ResponseController
	timeout  time.Duration
	deadline time.Time // of writing, as last set

	s      *Server
	id     string // unique; the completion's
	start  time.Time
	status int // 0 until the headers are written
	probe  bool

	begun func() // to be called at the first token
	spent int    // tokens, of prompts and answers, for its caller's quota
	held  int64  // bytes of the body that count to the server's

	seen   sighting
	caller *auth.Caller // nil: none is known
	model  string
	usage  llm.Usage
	err    *llm.Error // why the request failed, if it did
	body   []byte     // and text: what was asked and answered, only for a log that is to have them
	text   []byte
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	res := &response{ResponseWriter: w, rc: http.NewResponseController(w), timeout: s.opts().WriteTimeout,
		s: s, id: s.newID(), start: time.Now()}
	request := r.Header.Get("X-Request-Id")
	if !saneID(request) {
		request = res.id
	}
	res.Header().Set("X-Request-Id", request)
	res.Header().Set("X-Content-Type-Options", "nosniff")
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		// What follows a chunked body may be what a proxy before us took for a part
		// of it: nothing that follows one is read as a request.
		res.Header().Set("Connection", "close")
	}
	res.seen.s, res.seen.w, res.seen.request = s, res, request
	defer func() {
		s.bodyBytes.Add(-res.held)
		res.seen.end()
		res.logEnd(r, request)
	}()
	if s.crossOrigin(res, r) {
		return
	}
	s.mux.ServeHTTP(res, r)
}

// saneID tells whether a client's request id can go into headers and logs.
func saneID(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=', c == '@':
		default:
			return false
		}
	}
	return 0 < len(id) && len(id) <= 128
}

// do runs a route's handler and answers its error.
func (w *response) do(rt route, r *http.Request) {
	w.probe = rt.probe
	err := w.s.checkHost(r)
	if err == nil {
		w.caller, err = w.s.identify(w, rt, r)
	}
	w.seen.routed(rt, r, w.caller)
	if err == nil && !rt.probe {
		err = w.s.refusal()
	}
	if err == nil {
		r = r.WithContext(withKey(r.Context(), w.caller))
		err = w.s.guard(func() error { return rt.do(w, r) })
	}
	if err != nil {
		w.fail(r.Context(), err)
	}
}

// guard runs f; a panic in it is logged with its stack and becomes an error. One
// request's bug must not end the others.
func (s *Server) guard(f func() error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.log.Error("panic in a handler", "panic", p, "stack", string(debug.Stack()))
		err = openai.AsError(errors.New("a handler panicked"))
	}()
	return f()
}

// explain turns an error of a request into what its client and the log are told.
func explain(ctx context.Context, err error) *llm.Error {
	e := openai.AsError(err)
	cause := context.Cause(ctx)
	var told *llm.Error
	if e.Kind == llm.Canceled && errors.As(cause, &told) {
		return told // why it was cancelled
	}
	stopped := errors.Is(cause, errStopping)
	if errors.Is(err, errStopping) || (e.Kind == llm.Canceled && stopped) {
		return &llm.Error{Kind: llm.Unavailable, Code: "draining", Err: err,
			Message: "weir was stopped before the answer was complete: try another server, or this one later"}
	}
	return e
}

// fail answers with an error. After the headers it is too late: the connection
// is cut, so that nobody takes what was sent for the whole.
func (w *response) fail(ctx context.Context, err error) {
	e := explain(ctx, err)
	w.err = e
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	status := openai.Status(e.Kind)
	var special *statusError
	if errors.As(err, &special) {
		status = special.status
	}
	if e.Kind == llm.Overloaded || e.Kind == llm.Unavailable {
		wait := max(e.RetryAfter, retryAfter)
		seconds := int64((wait + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if w.s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	w.json(status, openai.AppendError(nil, e))
}

// json answers with a body of JSON.
func (w *response) json(status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // whoever is gone need not be told
}

// WriteHeader implements [http.ResponseWriter].
func (w *response) WriteHeader(status int) {
	w.status = status
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.extend()
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extend moves the deadline of writing. Not at each write: half the time is
// always left.
func (w *response) extend() {
	now := time.Now()
	if w.deadline.Sub(now) > w.timeout/2 {
		return
	}
	w.deadline = now.Add(w.timeout)
	_ = w.rc.SetWriteDeadline(w.deadline) // tests' recorders have none
}

// logEnd writes the request's line. What a user wrote is not in it unless the
// options ask for it: of errors, whose messages may quote it, only the kind is.
func (w *response) logEnd(r *http.Request, request string) {
	level := slog.LevelInfo
	if w.probe {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("id", request), slog.String("method", method(r)), slog.String("path", path(r)),
		slog.Int("status", w.status), slog.Duration("duration", time.Since(w.start)), slog.String("remote", r.RemoteAddr),
	}
	if w.caller != nil {
		attrs = append(attrs, slog.String("caller", w.caller.Name))
	}
	attrs = append(attrs, w.seen.attrs()...)
	if w.model != "" {
		attrs = append(attrs, slog.String("model", w.model), slog.String("completion", w.id),
			slog.Int("prompt_tokens", w.usage.PromptTokens), slog.Int("cached_tokens", w.usage.CachedTokens),
			slog.Int("completion_tokens", w.usage.CompletionTokens))
	}
	if w.s.opts().LogContent {
		attrs = append(attrs, slog.String("body", string(w.body)), slog.String("text", string(w.text)))
	}
	if w.err != nil {
		attrs = append(attrs, slog.String("error", w.err.Kind.String()), slog.String("param", w.err.Param))
		if w.err.Kind == llm.Internal {
			level = slog.LevelError
			attrs = append(attrs, slog.Any("cause", w.err.Err))
		}
	}
	w.s.log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}
