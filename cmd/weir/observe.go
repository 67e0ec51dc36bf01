package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"weir/internal/engine"
	"weir/internal/metrics"
	"weir/internal/server"
	"weir/internal/trace"
)

// observeOptions say who may see what a server does.
type observeOptions struct {
	VLLMMetrics   bool    `name:"vllm-metrics" help:"Give metrics under vLLM's names too, for dashboards and gateways that know those." group:"Observability"`
	OpenMetrics   bool    `help:"Answer /metrics without a key, for scrapers that have none." group:"Observability"`
	TraceEndpoint string  `help:"URL to send OpenTelemetry traces to, in OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces. Left out: no traces." placeholder:"URL" group:"Observability"`
	TraceSample   float64 `help:"Share of the traces that begin here to keep, from 0 to 1; a request that belongs to a trace follows that." default:"1" group:"Observability"`
}

// Validate is called by those who embed the options.
func (o *observeOptions) Validate() error {
	if !(o.TraceSample >= 0 && o.TraceSample <= 1) {
		return fmt.Errorf("--trace-sample is %v; it must be from 0 to 1", o.TraceSample)
	}
	if o.TraceEndpoint == "" {
		return nil
	}
	u, err := url.Parse(o.TraceEndpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("--trace-endpoint is not a URL such as http://127.0.0.1:4318/v1/traces")
	}
	return nil
}

// traceClose is how long the last spans may take to be sent.
const traceClose = 5 * time.Second

// apply tells the server.
func (o *observeOptions) apply(to *server.Options, s *service) error {
	to.OpenMetrics = o.OpenMetrics
	to.Metrics = metrics.New(metrics.Options{VLLM: o.VLLMMetrics, Version: version(), Engines: s.engines})
	to.Sequences = s.sequences
	if o.TraceEndpoint == "" {
		return nil
	}
	t, err := trace.New(context.Background(), trace.Options{Endpoint: o.TraceEndpoint, Sample: o.TraceSample, Service: "weir", Version: version(),
		Report: func(err error) { to.Log.Warn("traces are lost", "reason", err) }})
	to.Tracer, s.tracer = t, t
	return err
}

// stopTracing sends what spans are left.
func (s *service) stopTracing(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), traceClose)
	defer cancel()
	if err := s.tracer.Close(ctx); err != nil {
		log.Warn("the last traces could not be sent", "reason", err)
	}
}

// engines gives what metrics tell of the engines that run.
func (s *service) engines() []metrics.Engine {
	var list []metrics.Engine
	s.each(func(m *opened) { list = append(list, engineMetrics(m)) })
	return list
}

func engineMetrics(m *opened) metrics.Engine {
	about, st := m.engine.Model(), m.engine.Stats()
	out := metrics.Engine{
		Model: about.ID, Context: about.Context,
		PageSize: m.plan.KV.PageSize, KVType: m.plan.KV.Type.String(), PrefixCache: m.engine.CacheStatus().On,
		Running: st.Running, Waiting: st.Waiting, Places: st.InFlight, QueuedTokens: st.QueuedTokens,
		Pages: st.Pages, FreePages: st.FreePages, Preemptions: st.Preemptions,
		Steps: st.Steps, StepsAhead: st.Ahead, PrefillTokens: st.PrefillTokens, DecodeTokens: st.DecodeTokens,
		StepTime: st.StepTime, ForwardTime: st.DeviceTime,
		StepRowBounds: engine.StepRowBounds[:], StepRows: st.StepRows[:],
		CacheQueried: st.Prefix.Queried, CacheHit: st.Prefix.Hit, CacheEvicted: st.Prefix.Evicted,
		Drafts: st.Drafts, Guessed: st.Guessed, Saved: st.Saved, HeldAt: st.HeldAt[:],
		Compiled: st.Compiled, CompileHits: st.CompileHits, CompileFailed: st.CompileFailed, Masks: st.Masks,
		CompileTime: st.CompileTime, MaskTime: st.MaskTime,
		Restarts: st.Restarts, CutOff: st.CutOff,
		CachedPages: st.Prefix.Nodes, IdlePages: st.Prefix.Idle, PinnedPages: st.Prefix.Pinned,
		Overtaken: st.Overtaken, Awaited: st.Awaited, SpeculationOn: st.Speculation.On,
	}
	m.deviceMetrics(&out)
	return out
}

// deviceMetrics adds what is known of what computes.
func (m *opened) deviceMetrics(out *metrics.Engine) {
	info := m.backend.Info()
	out.Backend, out.Level = info.Name, info.Level
	if d, ok := m.backend.(interface{ Describe() string }); ok {
		out.Device = d.Describe()
	}
	card, ok := m.backend.(interface {
		Memory() (free, total int64, unified bool, err error)
	})
	if !ok {
		return
	}
	// A card that shares the machine's memory has none of its own to tell of.
	if free, total, unified, err := card.Memory(); err == nil && !unified {
		out.DeviceMemory, out.DeviceFree = total, free
	}
}

// sequences gives what the engines compute.
func (s *service) sequences(ctx context.Context) ([]server.Sequence, error) {
	var list []server.Sequence
	var all error
	s.each(func(m *opened) {
		states, err := m.engine.Inspect(ctx)
		for _, q := range states {
			list = append(list, server.Sequence(q))
		}
		all = errors.Join(all, err)
	})
	return list, all
}
