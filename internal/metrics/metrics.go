// Package metrics counts what a server does, for Prometheus.
//
// Two kinds of things are counted. What happens to requests is observed as it
// happens, through a [Request]: a few clock readings and one histogram
// observation a token. What engines and the server are like is read when
// somebody scrapes, from snapshots ([Engine], [Server]).
//
// Names are weir's own. With [Options].VLLM each family that has the meaning of
// one of vLLM's appears under that name too, so that dashboards and the
// Kubernetes Gateway's endpoint picker work unchanged. The second name is made
// while gathering (names.go), so it costs nothing until then; for that the
// histograms have vLLM's buckets. They are native histograms as well.
package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Options configure the metrics.
type Options struct {
	// VLLM adds vLLM's names.
	VLLM bool
	// Version is weir's.
	Version string
	// Engines gives snapshots of the engines that run; nil: there are none.
	Engines func() []Engine
}

// Metrics holds the counters. Its methods may be called by any goroutine, and do
// nothing on nil.
type Metrics struct {
	opts     Options
	registry *prometheus.Registry
	server   atomic.Pointer[func() Server]

	requests *prometheus.CounterVec
	refusals *prometheus.CounterVec
	callers  *prometheus.CounterVec
	tokens   *prometheus.CounterVec
	vecs     vectors

	mu     sync.Mutex
	models map[string]*model
}

// vectors are the families that every model has a series of.
type vectors struct {
	prompt, cached, generated *prometheus.CounterVec
	finished                  *prometheus.CounterVec

	firstToken, interToken, perToken, duration   *prometheus.HistogramVec
	queue, prefill, decode, inference            *prometheus.HistogramVec
	promptSize, prefillSize, outputSize, longest *prometheus.HistogramVec
	maxTokens, choices                           *prometheus.HistogramVec
}

// model holds the series of a model: looking a label up costs more than
// observing.
type model struct {
	name                      string
	prompt, cached, generated prometheus.Counter

	firstToken, interToken, perToken, duration   prometheus.Observer
	queue, prefill, decode, inference            prometheus.Observer
	promptSize, prefillSize, outputSize, longest prometheus.Observer
	maxTokens, choices                           prometheus.Observer
}

// New makes metrics.
func New(o Options) *Metrics {
	m := &Metrics{opts: o, registry: prometheus.NewRegistry(), models: map[string]*model{}}
	m.requests = m.counters("weir_http_requests_total", "Requests answered, by route and status. Status 499: the client went away.", "route", "status")
	m.refusals = m.counters("weir_refusals_total", "Requests refused, by the code of the error.", "reason")
	m.callers = m.counters("weir_caller_requests_total", "Requests answered, by the name of the key.", "caller")
	m.tokens = m.counters("weir_caller_tokens_total", "Tokens by the name of the key: prompt (cached ones included) and generated.", "caller", "kind")
	m.makeCounters()
	m.makeTimes()
	m.makeSizes()
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		snapshots{m})
	return m
}

func (m *Metrics) makeCounters() {
	v := &m.vecs
	v.prompt = m.counters("weir_prompt_tokens_total", "Tokens of prompts, those found in the prefix cache included.", "model")
	v.cached = m.counters("weir_prompt_tokens_cached_total", "Tokens of prompts found in the prefix cache.", "model")
	v.generated = m.counters("weir_generated_tokens_total", "Tokens generated.", "model")
	v.finished = m.counters("weir_choices_finished_total", "Choices ended, by reason: stop, length, abort (the client went away or a deadline passed) or error.", "model", "reason")
}

// The buckets are vLLM's.
var (
	firstTokenBuckets = []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	tokenBuckets      = []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	requestBuckets    = []float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
	sizeBuckets       = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000}
	choiceBuckets     = []float64{1, 2, 5, 10, 20}
)

func (m *Metrics) makeTimes() {
	v := &m.vecs
	v.firstToken = m.histograms("weir_time_to_first_token_seconds", "From the request's arrival to its first token.", firstTokenBuckets)
	v.interToken = m.histograms("weir_inter_token_latency_seconds", "Between two events with tokens of one choice.", tokenBuckets)
	v.perToken = m.histograms("weir_time_per_output_token_seconds", "Of a whole choice: the time from its first token to its last, for each token after the first.", tokenBuckets)
	v.duration = m.histograms("weir_request_duration_seconds", "From a request's arrival to the end of its answer.", requestBuckets)
	v.queue = m.histograms("weir_request_queue_seconds", "From the engine's taking a request to the beginning of its computation.", requestBuckets)
	v.prefill = m.histograms("weir_request_prefill_seconds", "From the beginning of a request's computation to its first token.", requestBuckets)
	v.decode = m.histograms("weir_request_decode_seconds", "From a request's first token to its last.", requestBuckets)
	v.inference = m.histograms("weir_request_inference_seconds", "From the beginning of a request's computation to its last token.", requestBuckets)
}

func (m *Metrics) makeSizes() {
	v := &m.vecs
	v.promptSize = m.histograms("weir_request_prompt_tokens", "Tokens of a request's prompt.", sizeBuckets)
	v.prefillSize = m.histograms("weir_request_prefill_tokens", "Tokens of a request's prompt that were computed: not found in the prefix cache.", sizeBuckets)
	v.outputSize = m.histograms("weir_request_generated_tokens", "Tokens generated for a request.", sizeBuckets)
	v.longest = m.histograms("weir_request_longest_choice_tokens", "Tokens of a request's longest choice.", sizeBuckets)
	v.maxTokens = m.histograms("weir_request_max_tokens", "Tokens that a request asks for at most, if it says so.", sizeBuckets)
	v.choices = m.histograms("weir_request_choices", "Choices that a request asks for (n).", choiceBuckets)
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

func (m *Metrics) histograms(name, help string, buckets []float64) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"model"})
	m.registry.MustRegister(v)
	return v
}

// model gives the series of a model.
func (m *Metrics) model(name string) *model {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.models[name]
	if s == nil {
		v := &m.vecs
		s = &model{
			name:   name,
			prompt: v.prompt.WithLabelValues(name), cached: v.cached.WithLabelValues(name), generated: v.generated.WithLabelValues(name),
			firstToken: v.firstToken.WithLabelValues(name), interToken: v.interToken.WithLabelValues(name),
			perToken: v.perToken.WithLabelValues(name), duration: v.duration.WithLabelValues(name),
			queue: v.queue.WithLabelValues(name), prefill: v.prefill.WithLabelValues(name),
			decode: v.decode.WithLabelValues(name), inference: v.inference.WithLabelValues(name),
			promptSize: v.promptSize.WithLabelValues(name), prefillSize: v.prefillSize.WithLabelValues(name),
			outputSize: v.outputSize.WithLabelValues(name), longest: v.longest.WithLabelValues(name),
			maxTokens: v.maxTokens.WithLabelValues(name), choices: v.choices.WithLabelValues(name),
		}
		m.models[name] = s
	}
	return s
}

// Gatherer gives everything, for whoever writes it out.
func (m *Metrics) Gatherer() prometheus.Gatherer {
	if !m.opts.VLLM {
		return m.registry
	}
	return alsoVLLM{m.registry}
}

// Attach says where the server's own state comes from.
func (m *Metrics) Attach(server func() Server) {
	if m != nil {
		m.server.Store(&server)
	}
}
