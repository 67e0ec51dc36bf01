package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"weir/internal/auth"
	"weir/internal/llm"
)

// handler answers a request, or returns an error before it has written anything.
type handler func(w *response, r *http.Request) error

// route is one thing that the server answers.
type route struct {
	method string
	path   string // a pattern of net/http
	do     handler
	scope  auth.Scope // what a key must be good for, once there are keys
	// probe routes answer while draining, and are logged for debugging only.
	probe bool
}

func (s *Server) table() []route {
	return append(s.observability(), []route{
		{method: "POST", path: "/v1/chat/completions", do: s.generating(s.chat), scope: auth.Inference},
		{method: "POST", path: "/v1/completions", do: s.generating(s.completion), scope: auth.Inference},
		{method: "GET", path: "/v1/models", do: s.models, scope: auth.Inference},
		{method: "GET", path: "/v1/models/{id...}", do: s.model, scope: auth.Inference},
		{method: "POST", path: "/tokenize", do: s.texting(s.tokenize), scope: auth.Inference},
		{method: "POST", path: "/detokenize", do: s.texting(s.detokenize), scope: auth.Inference},
		{method: "POST", path: "/apply-template", do: s.texting(s.applyTemplate), scope: auth.Inference},
		{method: "POST", path: "/models/load", do: s.load, scope: auth.Admin},
		{method: "POST", path: "/models/unload", do: s.unload, scope: auth.Admin},
		{method: "GET", path: "/cache", do: s.cache, scope: auth.Metrics},
		{method: "GET", path: "/cache/prefixes", do: s.prefixes, scope: auth.Admin},
		{method: "POST", path: "/cache/prefixes", do: s.pin, scope: auth.Admin},
		{method: "DELETE", path: "/cache/prefixes/{id}", do: s.unpin, scope: auth.Admin},
		{method: "GET", path: "/health", do: s.live, probe: true},
		{method: "GET", path: "/ready", do: s.ready, probe: true},
		{method: "GET", path: "/version", do: s.version, scope: auth.AnyKey, probe: true},
	}...)
}

// newMux registers the routes, each path's other methods as 405, and the rest as 404.
func newMux(routes []route) *http.ServeMux {
	mux := http.NewServeMux()
	handle := func(pattern string, rt route) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.(*response).do(rt, r)
		})
	}
	for _, rt := range routes {
		handle(rt.method+" "+rt.path, rt)
	}
	for path, allow := range methods(routes) {
		handle(path, route{do: wrongMethod(allow), scope: auth.AnyKey})
	}
	handle("/", route{scope: auth.AnyKey, do: func(_ *response, r *http.Request) error { return noRoute(r, routes) }})
	return mux
}

// methods lists what is possible at each path, as the header Allow has it.
func methods(routes []route) map[string]string {
	allow := map[string]string{}
	for _, rt := range routes {
		m := rt.method
		if m == "GET" {
			m = "GET, HEAD"
		}
		if allow[rt.path] != "" {
			m = allow[rt.path] + ", " + m
		}
		allow[rt.path] = m
	}
	return allow
}

func wrongMethod(allow string) handler {
	return func(w *response, r *http.Request) error {
		w.Header().Set("Allow", allow)
		e := llm.Invalidf("", "%s %s: only %s is possible here", method(r), path(r), allow)
		e.Code = "method_not_allowed"
		return &statusError{http.StatusMethodNotAllowed, e}
	}
}

// noRoute is the error for a path that nothing answers, with those near to it.
func noRoute(r *http.Request, routes []route) error {
	near := nearRoutes(r.URL.Path, routes)
	return &llm.Error{Kind: llm.NotFound, Code: "unknown_url",
		Message: fmt.Sprintf("no route %s %s; there is %s", method(r), path(r), strings.Join(near, ", "))}
}

// nearRoutes names the routes that share most of the path's words, all if none
// does: the usual mistakes are a base URL without /v1 or with it twice.
func nearRoutes(path string, routes []route) []string {
	words := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	var near []string
	best := 0
	for _, rt := range routes {
		score := 0
		for _, w := range strings.Split(rt.path, "/")[1:] {
			if w != "v1" && slices.ContainsFunc(words, func(x string) bool { return alike(x, w) }) {
				score++
			}
		}
		if score > best {
			near, best = nil, score
		}
		if score == best {
			near = append(near, rt.method+" "+rt.path)
		}
	}
	return near
}

// alike tells words that differ in case or by an ending, such as a plural's.
func alike(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	short, long := min(len(a), len(b)), max(len(a), len(b))
	return short >= 4 && long-short <= 2 && a[:short] == b[:short]
}

// method and path give those of a request for messages: short, whatever was sent.
func method(r *http.Request) string { return shorten(r.Method, 16) }
func path(r *http.Request) string   { return shorten(r.URL.Path, 200) }

func shorten(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
