package server

import (
	"bytes"
	"context"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weir/internal/auth"
	"weir/internal/llm"
)

// Sequence is what an engine tells people of one choice of a request.
type Sequence struct {
	Request     string        `json:"request"` // the id that llm.Request had
	Choice      int           `json:"choice"`
	State       string        `json:"state"`
	Why         string        `json:"why_waiting,omitempty"`
	Ahead       int           `json:"ahead"`
	Priority    int           `json:"priority"`
	Prompt      int           `json:"prompt_tokens"`
	Cached      int           `json:"cached_tokens"`
	Computed    int           `json:"computed_tokens"`
	Generated   int           `json:"generated_tokens"`
	Pages       int           `json:"pages"`
	Preemptions int           `json:"preemptions"`
	Age         time.Duration `json:"-"`
}

// inspectFor is how long an engine may take to tell of its sequences: a step or two.
const inspectFor = 2 * time.Second

// flight is a request as /debug/requests tells of it.
type flight struct {
	ID        string     `json:"id"`
	RequestID string     `json:"request_id"`
	Route     string     `json:"route"`
	Caller    string     `json:"caller,omitempty"`
	Model     string     `json:"model,omitempty"`
	State     string     `json:"state"`
	Streaming bool       `json:"streaming"`
	Age       float64    `json:"age_seconds"`
	Tokens    int64      `json:"generated_tokens"`
	Sequences []Sequence `json:"sequences,omitempty"`
}

// flights is the answer of /debug/requests.
type flights struct {
	At       time.Time `json:"at"`
	Requests []flight  `json:"requests"`
	// Note says why sequences are missing, if they are.
	Note string `json:"note,omitempty"`
}

// flights gathers the requests that run, with what the engine says of them.
func (s *Server) flights(ctx context.Context) flights {
	out := flights{At: s.now().UTC(), Requests: []flight{}}
	bySeq := map[string][]Sequence{}
	if s.opts().Sequences != nil {
		ctx, cancel := context.WithTimeout(ctx, inspectFor)
		defer cancel()
		list, err := s.opts().Sequences(ctx)
		if err != nil {
			out.Note = "the engine is in a long step and could not be asked"
		}
		for _, q := range list {
			bySeq[q.Request] = append(bySeq[q.Request], q)
		}
	}
	for _, x := range s.running.list() {
		f := flight{ID: x.w.id, RequestID: x.request, Route: x.route, Caller: x.caller, State: x.state(),
			Streaming: x.streaming.Load(), Age: x.age().Seconds(), Tokens: x.tokens.Load()}
		if m := x.model.Load(); m != nil {
			f.Model = *m
		}
		for id, list := range bySeq {
			if id == f.ID || strings.HasPrefix(id, f.ID+"-") { // of a request with several prompts
				f.Sequences = append(f.Sequences, list...)
			}
		}
		out.Requests = append(out.Requests, f)
	}
	return out
}

// debugRequests shows the requests that run: JSON, or a page for browsers.
func (s *Server) debugRequests(w *response, r *http.Request) error {
	list := s.flights(r.Context())
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		b, err := json.Marshal(list)
		if err != nil {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		w.json(http.StatusOK, b)
		return nil
	}
	var page bytes.Buffer
	if err := flightsPage.Execute(&page, list); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(page.Bytes()) // whoever is gone need not be told
	return nil
}

var flightsPage = template.Must(template.New("requests").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>weir: requests</title>
<style>body{font:14px system-ui,sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc;vertical-align:top}td,th{white-space:nowrap}td.n{text-align:right}td.why{white-space:normal;min-width:16em}</style>
<h1>{{len .Requests}} requests</h1><p>{{.At.Format "2006-01-02 15:04:05 UTC"}} {{.Note}}</p>
<table><tr><th>id<th>route<th>caller<th>model<th>state<th>age<th>tokens<th>choice<th>engine<th>prompt<th>cached<th>computed<th>pages<th>preempted<th>why it waits</tr>
{{range .Requests}}<tr><td>{{.RequestID}}<td>{{.Route}}<td>{{.Caller}}<td>{{.Model}}<td>{{.State}}<td class=n>{{printf "%.1f s" .Age}}<td class=n>{{.Tokens}}
{{range $i, $q := .Sequences}}{{if $i}}<tr><td colspan=7>{{end}}<td class=n>{{.Choice}}<td>{{.State}}<td class=n>{{.Prompt}}<td class=n>{{.Cached}}<td class=n>{{.Computed}}<td class=n>{{.Pages}}<td class=n>{{.Preemptions}}<td class=why>{{.Why}}</tr>
{{else}}<td colspan=8></tr>
{{end}}{{end}}</table></html>
`))

// observability are the routes for those who run the server.
func (s *Server) observability() []route {
	routes := []route{
		{method: "GET", path: "/debug/requests", do: s.debugRequests, scope: auth.Debug, probe: true},
		{method: "GET", path: "/debug/pprof/{profile...}", do: profile, scope: auth.Debug, probe: true},
	}
	if s.opts().Metrics == nil {
		return routes
	}
	metrics := promhttp.HandlerFor(s.opts().Metrics.Gatherer(), promhttp.HandlerOpts{EnableOpenMetrics: true})
	return append(routes, route{method: "GET", path: "/metrics", scope: auth.Metrics, probe: true, do: func(w *response, r *http.Request) error {
		metrics.ServeHTTP(w, r)
		return nil
	}})
}

// profile answers with one of Go's profiles of this process.
func profile(w *response, r *http.Request) error {
	switch r.PathValue("profile") {
	case "cmdline": // it may have a key
		return &llm.Error{Kind: llm.NotFound, Code: "unknown_url", Message: "the command line is not shown"}
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
	return nil
}

// fromHere tells whether a request comes from this machine.
func fromHere(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}
