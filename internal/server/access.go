package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"weir/internal/auth"
	"weir/internal/llm"
)

// ring gives the keys that are valid now, nil if none are set.
func (s *Server) ring() *auth.Ring {
	if s.opts().Keys == nil {
		return nil
	}
	return s.opts().Keys()
}

// identify tells who a request is from, or why it is refused. A route that is
// open to all still knows a caller who presents a key.
func (s *Server) identify(w *response, rt route, r *http.Request) (*auth.Caller, error) {
	ring := s.ring()
	if ring == nil {
		return nil, s.withoutKeys(rt, r)
	}
	scope := rt.scope
	if scope == auth.Metrics && s.opts().OpenMetrics {
		scope = auth.Open
	}
	caller, err := find(ring, r)
	switch {
	case scope == auth.Open:
		return caller, nil
	case err != nil:
		w.Header().Set("WWW-Authenticate", `Bearer realm="weir"`)
		return nil, err
	case !caller.May(scope):
		e := &llm.Error{Kind: llm.Forbidden, Code: "insufficient_scope",
			Message: "this key is not good for " + method(r) + " " + path(r) + ", which needs the scope " + string(scope) + ": use another, or have the scope added"}
		return caller, e
	}
	return caller, nil
}

// withoutKeys refuses what not everybody may see even where no keys are set.
func (s *Server) withoutKeys(rt route, r *http.Request) error {
	if rt.scope != auth.Debug && rt.scope != auth.Admin || fromHere(r) {
		return nil
	}
	return &llm.Error{Kind: llm.Forbidden, Code: "insufficient_scope",
		Message: "this is for those who run the server, which has no keys: ask from its own machine, or set a key with the scope " + string(rt.scope)}
}

// find looks for the caller whose key a request presents.
func find(ring *auth.Ring, r *http.Request) (*auth.Caller, error) {
	secret := presented(r.Header)
	if secret == "" {
		return nil, &llm.Error{Kind: llm.Unauthorized, Code: "missing_api_key",
			Message: "this server asks for a key: send the header Authorization: Bearer KEY"}
	}
	caller, err := ring.Find(secret, time.Now())
	switch {
	case errors.Is(err, auth.ErrExpired):
		return nil, &llm.Error{Kind: llm.Unauthorized, Code: "expired_api_key", Message: "this key has expired: ask for a new one"}
	case err != nil:
		return nil, &llm.Error{Kind: llm.Unauthorized, Message: "this key is not known here: look whether it was copied whole, and is for this server"}
	}
	return caller, nil
}

// withKey tells the routes who asks.
func withKey(ctx context.Context, c *auth.Caller) context.Context {
	if c == nil {
		return ctx
	}
	l := c.Limits
	return WithCaller(ctx, &Caller{Name: c.Name, Share: l.Share,
		Quota: Quota{Requests: l.RequestsPerMinute, Tokens: l.TokensPerMinute, Concurrent: l.Concurrent}})
}

// presented gives the key of a request: in Authorization as OpenAI's clients send
// it, or in X-Api-Key as Anthropic's do. Not in the URL, which ends up in logs.
func presented(h http.Header) string {
	scheme, secret, _ := strings.Cut(h.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(secret)
	}
	return h.Get("X-Api-Key")
}

// checkHost refuses a Host that is not among those allowed.
func (s *Server) checkHost(r *http.Request) error {
	if len(s.opts().Hosts) == 0 {
		return nil
	}
	name := r.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	if slices.Contains(s.opts().Hosts, name) {
		return nil
	}
	return &statusError{http.StatusMisdirectedRequest, &llm.Error{Kind: llm.Forbidden, Code: "unknown_host",
		Message: "the name " + shorten(r.Host, 80) + " is not one of this server's, which has no keys and so answers to those alone: set a key, or allow the name with --allow-hosts"}}
}

// allowedHeaders are those that a page may send, exposedHeaders those that it
// may read.
const (
	allowedHeaders = "Authorization, Content-Type, X-Api-Key, X-Request-Id, Traceparent, Tracestate"
	exposedHeaders = "X-Request-Id, Retry-After, Traceresponse"
)

// crossOrigin answers to pages of other origins (CORS). It reports true when it
// has answered the request: a preflight, which asks what a page may do and
// carries no key.
func (s *Server) crossOrigin(w *response, r *http.Request) bool {
	if len(s.opts().Origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	any := slices.Contains(s.opts().Origins, "*")
	if origin == "" || !any && !slices.Contains(s.opts().Origins, origin) {
		return false
	}
	// Never Allow-Credentials: a key is sent by the page itself, and cookies mean
	// nothing here.
	h.Set("Access-Control-Allow-Origin", origin)
	if any {
		h.Set("Access-Control-Allow-Origin", "*")
	}
	h.Set("Access-Control-Expose-Headers", exposedHeaders)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	w.probe = true
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
	h.Set("Access-Control-Allow-Headers", allowedHeaders)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
