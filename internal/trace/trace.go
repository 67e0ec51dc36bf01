// Package trace tells OpenTelemetry what becomes of requests: a span each, with
// the attributes of its semantic conventions for generative models, and spans
// below it for the queue, the prompt and the output. It is the only package that
// knows OpenTelemetry; a nil [Tracer] and a nil [Span] do nothing.
//
// What users wrote and what was answered is in no span.
package trace

import (
	"context"
	"fmt"
	"time"

	library "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

// Options configure a tracer.
type Options struct {
	// Endpoint is the URL that spans are sent to, in OTLP over HTTP:
	// http://127.0.0.1:4318/v1/traces.
	Endpoint string
	// Sample is the share of traces that are kept, from 0 to 1, of those that
	// begin here. A request that comes with a trace's context follows that.
	Sample float64
	// Service and Version name this program.
	Service, Version string
	// Report is told of spans that could not be sent; nil: nobody is.
	Report func(error)
}

// Tracer makes spans.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   otel.Tracer
	context  propagation.TraceContext
}

// New makes a tracer that sends spans to the endpoint. What can't be sent is
// dropped in the end, and delays nothing. report is told of failures.
func New(ctx context.Context, o Options) (*Tracer, error) {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(o.Endpoint))
	if err != nil {
		return nil, fmt.Errorf("sending traces to %s: %w", o.Endpoint, err)
	}
	if o.Report != nil {
		// The library knows one handler for the whole process; its own writes to
		// standard error.
		library.SetErrorHandler(library.ErrorHandlerFunc(o.Report))
	}
	return newTracer(o, sdk.WithBatcher(exporter)), nil
}

func newTracer(o Options, to sdk.TracerProviderOption) *Tracer {
	about := resource.NewSchemaless(attribute.String("service.name", o.Service), attribute.String("service.version", o.Version))
	p := sdk.NewTracerProvider(to, sdk.WithResource(about), sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Sample))))
	return &Tracer{provider: p, tracer: p.Tracer("weir/internal/server")}
}

// Close sends what is left, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Header is where a trace's context comes in.
type Header interface{ Get(key string) string }

// carrier lets OpenTelemetry read a header.
type carrier struct{ Header }

func (carrier) Set(string, string) {}
func (carrier) Keys() []string     { return nil }

// Span is a request's, or a part of one.
type Span struct {
	t    *Tracer
	ctx  context.Context
	span otel.Span
}

// Start begins the span of a request that arrived with a header.
func (t *Tracer) Start(ctx context.Context, h Header, name string, at time.Time) *Span {
	if t == nil {
		return nil
	}
	ctx = t.context.Extract(ctx, carrier{h})
	ctx, span := t.tracer.Start(ctx, name, otel.WithSpanKind(otel.SpanKindServer), otel.WithTimestamp(at))
	return &Span{t, ctx, span}
}

// TraceID is the trace's, for logs; "" if there is none.
func (s *Span) TraceID() string {
	if s == nil {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// Response is the value of the header Traceresponse, which tells a client where
// to look; "" without a span.
func (s *Span) Response() string {
	if s == nil {
		return ""
	}
	c := s.span.SpanContext()
	return fmt.Sprintf("00-%s-%s-%s", c.TraceID(), c.SpanID(), c.TraceFlags())
}

// Recorded tells whether anybody will see what is set.
func (s *Span) Recorded() bool { return s != nil && s.span.IsRecording() }

// Rename gives the span its final name.
func (s *Span) Rename(name string) {
	if s.Recorded() {
		s.span.SetName(name)
	}
}

// Set sets an attribute: a string, an int, a float64 or a list of strings.
func (s *Span) Set(key string, value any) {
	if !s.Recorded() {
		return
	}
	switch v := value.(type) {
	case string:
		s.span.SetAttributes(attribute.String(key, v))
	case int:
		s.span.SetAttributes(attribute.Int(key, v))
	case float64:
		s.span.SetAttributes(attribute.Float64(key, v))
	case []string:
		s.span.SetAttributes(attribute.StringSlice(key, v))
	default:
		panic(fmt.Sprintf("trace: internal error: attribute %s is a %T", key, value))
	}
}

// Part adds a span below this one, for what has ended already.
func (s *Span) Part(name string, from, to time.Time) {
	if !s.Recorded() {
		return
	}
	_, part := s.t.tracer.Start(s.ctx, name, otel.WithTimestamp(from))
	part.End(otel.WithTimestamp(to))
}

// Fail marks the span as failed of a kind of error.
func (s *Span) Fail(kind string) {
	if s.Recorded() {
		s.span.SetStatus(codes.Error, kind)
		s.Set("error.type", kind)
	}
}

// End ends the span.
func (s *Span) End() {
	if s != nil {
		s.span.End()
	}
}
