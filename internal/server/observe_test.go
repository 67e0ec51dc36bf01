package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"weir/internal/auth"
	"weir/internal/llm"
	"weir/internal/metrics"
	"weir/internal/trace"
)

func withMetrics(o *Options) { o.Metrics = metrics.New(metrics.Options{VLLM: true, Version: "test"}) }

// scrape gives the type and the text of /metrics, its chunks put together.
func scrape(t *testing.T, s *testServer, key string) string {
	t.Helper()
	r, err := http.NewRequest("GET", "http://"+s.addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Header.Get("Content-Type") + "\n" + string(b)
}

// wantedMetrics are what TestMetrics does, counted.
var wantedMetrics = []string{
	"text/plain; version=0.0.4",
	`weir_http_requests_total{route="/v1/chat/completions",status="200"} 2`,
	`weir_http_requests_total{route="/v1/chat/completions",status="400"} 1`,
	`weir_http_requests_total{route="/v1/chat/completions",status="429"} 1`,
	`weir_http_requests_total{route="/health",status="200"} 1`,
	`weir_http_requests_total{route="none",status="404"} 1`,
	`weir_refusals_total{reason="queue_full"} 1`,
	`weir_choices_finished_total{model="tiny",reason="stop"} 2`,
	`vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny"} 2`,
	`weir_generated_tokens_total{model="tiny"} 6`,
	`weir_inter_token_latency_seconds_count{model="tiny"} 4`,
	`weir_time_to_first_token_seconds_count{model="tiny"} 2`,
	`weir_ready 1`, `weir_http_requests_in_flight 0`, `go_goroutines`, `weir_build_info{version="test"} 1`,
}

func TestMetrics(t *testing.T) {
	f := newFake()
	s := serve(t, f, withMetrics)
	post := func(body string) { send(t, s.addr, "POST", "/v1/chat/completions", body) }
	post(askBody)
	post(strings.Replace(askBody, "{", `{"stream":true,`, 1))
	post(`{"nonsense":1}`)
	f.fail = &llm.Error{Kind: llm.Overloaded, Code: "queue_full", Message: "full"}
	post(askBody)
	send(t, s.addr, "GET", "/nowhere", "")
	send(t, s.addr, "GET", "/health", "")
	missing, got := "", ""
	// A request is counted when it has been answered, which its client may know first.
	if !eventually(func() bool {
		got = scrape(t, s, "")
		missing = ""
		for _, want := range wantedMetrics {
			if !strings.Contains(got, want) {
				missing += want + "\n"
			}
		}
		return missing == ""
	}) {
		t.Errorf("/metrics has no\n%sin\n%s", missing, got)
	}
	if got := send(t, s.addr, "GET", "/metrics", "", "Accept: application/openmetrics-text"); !strings.Contains(got, "application/openmetrics-text") {
		t.Error("no OpenMetrics for who asks for it")
	}
	if got := send(t, s.addr, "GET", "/metrics", "", "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"); !strings.Contains(got, "application/vnd.google.protobuf") {
		t.Error("no protobuf, which native histograms need")
	}
}

func TestMetricsScope(t *testing.T) {
	secrets, ring := keyring(t)
	keys := func(o *Options) { withMetrics(o); o.Keys = func() *auth.Ring { return ring } }
	t.Run("closed", func(t *testing.T) {
		s := serve(t, newFake(), keys)
		send(t, s.addr, "POST", "/v1/chat/completions", askBody, "X-Api-Key: "+secrets[auth.Inference])
		for scope, want := range map[auth.Scope]string{auth.Metrics: "200", auth.Inference: "403", auth.Admin: "200", "": "401"} {
			status, _ := statusOf(t, s.addr, "GET", "/metrics", "", "X-Api-Key: "+secrets[scope])
			if status != want {
				t.Errorf("a key for %q gets %s", scope, status)
			}
			if status == "200" && !strings.Contains(scrape(t, s, secrets[scope]), `weir_caller_tokens_total{caller="of-inference",kind="generated"} 3`) {
				t.Error("no count of a caller's tokens")
			}
		}
	})
	t.Run("open", func(t *testing.T) {
		s := serve(t, newFake(), func(o *Options) { keys(o); o.OpenMetrics = true })
		if status, _ := statusOf(t, s.addr, "GET", "/metrics", ""); status != "200" {
			t.Errorf("open metrics: %s", status)
		}
	})
}

// TestDebugRequests looks at a request that waits, then at one that generates.
func TestDebugRequests(t *testing.T) {
	f := stepped()
	var failing error
	s := serve(t, f, func(o *Options) {
		o.Sequences = func(context.Context) ([]Sequence, error) {
			return []Sequence{{Request: "id1", State: "waiting", Why: "<script>all places are taken</script>", Pages: 3}, {Request: "other"}}, failing
		}
	})
	_, r := open(t, s.addr, "/v1/chat/completions", streamBody)
	if !eventually(func() bool { return f.active.Load() == 1 }) {
		t.Fatal("the request does not reach the backend")
	}
	look := func() flights {
		t.Helper()
		var list flights
		got := send(t, s.addr, "GET", "/debug/requests", "")
		if err := json.Unmarshal([]byte(got[strings.Index(got, "\r\n\r\n")+4:]), &list); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		return list
	}
	x := look().Requests
	if len(x) != 1 || x[0].State != "waiting for its first token" || !x[0].Streaming || x[0].Model != "tiny" || x[0].Route != "/v1/chat/completions" || len(x[0].Sequences) != 1 || x[0].Sequences[0].Pages != 3 {
		t.Errorf("waiting: %+v", x)
	}
	page := send(t, s.addr, "GET", "/debug/requests", "", "Accept: text/html")
	if !strings.Contains(page, "text/html") || !strings.Contains(page, "&lt;script&gt;all places are taken") || strings.Contains(page, "<script>") || !strings.Contains(page, "Content-Security-Policy: default-src 'none'") {
		t.Errorf("the page: %s", page)
	}
	f.step <- struct{}{}
	readUntil(t, r, "Hello")
	if x := look().Requests; len(x) != 1 || x[0].State != "generating" || x[0].Tokens != 1 {
		t.Errorf("generating: %+v", x)
	}
	failing = context.DeadlineExceeded
	if l := look(); !strings.Contains(l.Note, "long step") {
		t.Errorf("an engine that does not answer: %+v", l)
	}
	close(f.step)
	readUntil(t, r, "[DONE]")
	if !eventually(func() bool { return s.running.count() == 0 }) {
		t.Error("a request that has ended is still shown")
	}
}

func TestProfiles(t *testing.T) {
	s := serve(t, newFake(), nil)
	if got := send(t, s.addr, "GET", "/debug/pprof/", ""); !strings.Contains(got, "goroutine?debug=1") {
		t.Errorf("index: %s", got)
	}
	if got := send(t, s.addr, "GET", "/debug/pprof/goroutine?debug=1", ""); !strings.Contains(got, "goroutine profile: total") {
		t.Errorf("goroutines: %.300s", got)
	}
	if status, _ := statusOf(t, s.addr, "GET", "/debug/pprof/cmdline", ""); status != "404" {
		t.Errorf("the command line is shown: %s", status)
	}
}

// TestFromElsewhere: without keys, only this machine sees what others ask, and
// changes what is kept.
func TestFromElsewhere(t *testing.T) {
	s := serve(t, newFake(), withMetrics)
	for remote, refused := range map[string]bool{"127.0.0.1:5": false, "[::1]:5": false, "10.1.2.3:5": true, "": true} {
		for _, rt := range s.routes {
			r := httptest.NewRequest(rt.method, strings.NewReplacer("{id...}", "tiny", "{id}", "x", "{profile...}", "goroutine").Replace(rt.path), nil)
			r.RemoteAddr = remote
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			guarded := rt.scope == auth.Debug || rt.scope == auth.Admin
			if (w.Code == http.StatusForbidden) != (refused && guarded) {
				t.Errorf("%s from %s: %d %s", rt.path, remote, w.Code, w.Body)
			}
		}
	}
}

// TestTraces: a request's span has its place in the caller's trace, what
// OpenTelemetry's conventions name, and nothing of what was asked or answered.
func TestTraces(t *testing.T) {
	sent := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		sent <- string(b)
	}))
	defer collector.Close()
	tracer, err := trace.New(t.Context(), trace.Options{Endpoint: collector.URL, Sample: 0, Service: "weir"})
	if err != nil {
		t.Fatal(err)
	}
	f := newFake()
	s := serve(t, f, func(o *Options) { withMetrics(o); o.Tracer = tracer })
	const parent = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	got := send(t, s.addr, "POST", "/v1/chat/completions", strings.Replace(askBody, "{", `{"max_tokens":50,"seed":7,`, 1), parent, "X-Request-Id: mine")
	if !strings.Contains(got, "Traceresponse: 00-0af7651916cd43dd8448eb211c80319c-") {
		t.Errorf("no traceresponse: %s", got)
	}
	f.fail = errors.New("inside")
	send(t, s.addr, "POST", "/v1/completions", `{"prompt":"the secret plan"}`, parent)
	send(t, s.addr, "GET", "/health", "", parent)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var spans string // in as many parts as there was time for
	for len(sent) > 0 {
		spans += <-sent
	}
	for _, want := range []string{"chat tiny", "text_completion tiny", "gen_ai.operation.name", "gen_ai.usage.output_tokens", "gen_ai.response.finish_reasons", "gen_ai.request.max_tokens", "http.route", "mine", "error.type", "internal"} {
		if !strings.Contains(spans, want) {
			t.Errorf("the spans have no %s", want)
		}
	}
	for _, secret := range []string{"secret plan", "Hello", "/health"} {
		if strings.Contains(spans, secret) {
			t.Errorf("the spans have %q", secret)
		}
	}
	if log := s.logs.String(); !strings.Contains(log, "trace=0af7651916cd43dd8448eb211c80319c") {
		t.Errorf("the log has no trace:\n%s", log)
	}
}

// TestTraceParts: the time up to the first token is split where the engine says.
func TestTraceParts(t *testing.T) {
	m := metrics.New(metrics.Options{})
	r := m.Begin("tiny", time.Now(), []*llm.Request{{Params: llm.DefaultParams()}})
	r.Event(0, &llm.Event{Timing: &llm.Timing{Queued: time.Second, Computing: 2 * time.Second}})
	r.Event(0, &llm.Event{Tokens: make([]llm.Token, 1)})
	timing, first, last := r.Timing()
	if timing.Queued != time.Second || first.IsZero() || !first.Equal(last) {
		t.Errorf("got %+v %v %v", timing, first, last)
	}
}
