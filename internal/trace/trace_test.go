package trace

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestSpan(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tracer := newTracer(Options{Sample: 1, Service: "weir"}, sdk.WithSyncer(kept))
	began := time.Unix(1700000000, 0)
	h := http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	s := tracer.Start(context.Background(), h, "POST /v1/x", began)
	s.Set("a", "text")
	s.Set("b", 2)
	s.Set("c", 0.5)
	s.Set("d", []string{"x"})
	s.Part("queue", began, began.Add(time.Second))
	s.Rename("chat tiny")
	s.Fail("timeout")
	if s.TraceID() != "0af7651916cd43dd8448eb211c80319c" || !strings.HasPrefix(s.Response(), "00-0af7651916cd43dd8448eb211c80319c-") || !strings.HasSuffix(s.Response(), "-01") {
		t.Errorf("trace %s, response %s", s.TraceID(), s.Response())
	}
	s.End()
	spans := kept.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	part, whole := spans[0], spans[1]
	if part.Name != "queue" || part.Parent.SpanID() != whole.SpanContext.SpanID() || part.EndTime.Sub(part.StartTime) != time.Second {
		t.Errorf("the part is %+v", part)
	}
	if whole.Name != "chat tiny" || whole.Parent.SpanID().String() != "b7ad6b7169203331" || !whole.StartTime.Equal(began) || whole.Status.Description != "timeout" || len(whole.Attributes) != 5 {
		t.Errorf("the whole is %+v", whole)
	}
}

// TestSampling: who begins a trace here is sampled by the share, who comes with one
// follows it.
func TestSampling(t *testing.T) {
	tracer := newTracer(Options{Sample: 0}, sdk.WithSyncer(tracetest.NewInMemoryExporter()))
	if s := tracer.Start(context.Background(), http.Header{}, "x", time.Now()); s.Recorded() || s.TraceID() == "" {
		t.Error("share 0 records, or has no id")
	}
	for flags, want := range map[string]bool{"01": true, "00": false} {
		h := http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags}}
		if s := tracer.Start(context.Background(), h, "x", time.Now()); s.Recorded() != want {
			t.Errorf("a trace with flags %s: recorded %v", flags, s.Recorded())
		}
	}
	for _, hostile := range []string{"", "00", strings.Repeat("0", 5000), "00-00000000000000000000000000000000-0000000000000000-01", "ff-zz-\x00-01"} {
		tracer.Start(context.Background(), http.Header{"Traceparent": {hostile}}, "x", time.Now()).End()
	}
}

func TestNil(t *testing.T) {
	var tracer *Tracer
	s := tracer.Start(context.Background(), http.Header{}, "x", time.Now())
	s.Set("a", 1)
	s.Part("p", time.Now(), time.Now())
	s.Rename("y")
	s.Fail("z")
	s.End()
	if s.TraceID() != "" || s.Response() != "" || s.Recorded() || tracer.Close(context.Background()) != nil {
		t.Error("nil does something")
	}
}

// TestReport: a collector that is not there is told of, and delays nobody.
func TestReport(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	told := make(chan error, 10)
	tracer, err := New(t.Context(), Options{Endpoint: gone.URL, Sample: 1, Report: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	tracer.Start(t.Context(), http.Header{}, "x", time.Now()).End()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what retries would take longer than
	closed := tracer.Close(ctx)
	select {
	case <-told:
	default:
		if closed == nil {
			t.Error("nobody is told that a span is lost")
		}
	}
}

// TestExport sends a span to a collector.
func TestExport(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(b)
	}))
	defer collector.Close()
	tracer, err := New(t.Context(), Options{Endpoint: collector.URL + "/v1/traces", Sample: 1, Service: "weir-test"})
	if err != nil {
		t.Fatal(err)
	}
	s := tracer.Start(t.Context(), http.Header{}, "chat tiny", time.Now())
	s.Set("gen_ai.request.model", "tiny")
	s.End()
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sent := <-got; !strings.HasPrefix(sent, "/v1/traces application/x-protobuf ") || !strings.Contains(sent, "weir-test") || !strings.Contains(sent, "gen_ai.request.model") {
		t.Errorf("sent %q", sent)
	}
}
