package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weir/internal/llm"
)

// Engine is a snapshot of an engine. Counts are since it started.
type Engine struct {
	Model                          string
	Running, Waiting               int64 // sequences
	Places                         int64 // requests that hold one
	QueuedTokens                   int64
	Pages, FreePages               int64
	PageSize                       int
	KVType                         string
	PrefixCache                    bool
	Context                        int
	Steps, StepsAhead, Preemptions int64
	PrefillTokens                  int64 // rows computed of prompts, and of generated tokens
	DecodeTokens                   int64
	StepTime                       time.Duration
	ForwardTime                    time.Duration
	StepRowBounds                  []int   // upper bounds of StepRows
	StepRows                       []int64 // steps by rows; one more than bounds

	CacheQueried, CacheHit, CacheEvicted int64 // tokens; pages for the last
	Drafts, Guessed                      int64
	Saved                                time.Duration // by guesses, less what they cost
	HeldAt                               []int64       // guesses that came true, by depth from 1
	Restarts, CutOff                     int64

	Backend, Level, Device   string // what computes: "cuda", its kernels, the card's name ("" for a CPU)
	DeviceMemory, DeviceFree int64  // bytes of a GPU; 0: it has none of its own, or none that can be told

	CachedPages, IdlePages, PinnedPages int64 // pages that the prefix cache holds
	Overtaken, Awaited                  int64
	SpeculationOn                       bool
	// Of structured output: grammars compiled (in CompileTime), found compiled and
	// refused, and draws held to one (which took MaskTime).
	Compiled, CompileHits, CompileFailed, Masks int64
	CompileTime, MaskTime                       time.Duration
}

// Server is a snapshot of a server.
type Server struct {
	Connections, Refused int64
	Live, Ready          bool
	InFlight             int64
	Models               []llm.Model
}

// snapshots collects what is read when somebody scrapes.
type snapshots struct{ m *Metrics }

// Describe implements [prometheus.Collector]. It describes nothing, which makes
// the collector an unchecked one: which engines there are is not known yet.
func (snapshots) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (s snapshots) Collect(ch chan<- prometheus.Metric) {
	e := emitter{ch}
	e.gauge("weir_build_info", "1, with the version of weir.", 1, "version", s.m.opts.Version)
	if server := s.m.server.Load(); server != nil {
		e.server((*server)())
	}
	if s.m.opts.Engines == nil {
		return
	}
	for _, engine := range s.m.opts.Engines() {
		e.load(&engine)
		e.cache(&engine)
		e.steps(&engine)
		e.speculation(&engine)
		e.structures(&engine)
		e.device(&engine)
	}
}

type emitter struct{ ch chan<- prometheus.Metric }

// emit sends one value; labels are names and values in turn.
func (e emitter) emit(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
	d, values := describe(name, help, labels)
	e.ch <- prometheus.MustNewConstMetric(d, kind, value, values...)
}

func describe(name, help string, labels []string) (*prometheus.Desc, []string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	return prometheus.NewDesc(name, help, names, nil), values
}

func (e emitter) gauge(name, help string, value float64, labels ...string) {
	e.emit(prometheus.GaugeValue, name, help, value, labels...)
}

func (e emitter) counter(name, help string, value int64, labels ...string) {
	e.emit(prometheus.CounterValue, name, help, float64(value), labels...)
}

func (e emitter) server(s Server) {
	e.gauge("weir_connections", "Connections open.", float64(s.Connections))
	e.counter("weir_connections_refused_total", "Connections closed at once, because --max-connections were open.", s.Refused)
	e.gauge("weir_live", "1 while work moves on, as /health tells.", truth(s.Live))
	e.gauge("weir_ready", "1 while requests are taken, as /ready tells.", truth(s.Ready))
	for _, m := range s.Models {
		e.gauge("weir_model_loaded", "1 while the model is in memory.", truth(m.State == "" || m.State == "loaded" || m.State == "leaving"), "model", m.ID)
	}
	e.gauge("weir_http_requests_in_flight", "Requests being answered, probes not counted.", float64(s.InFlight))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (e emitter) load(s *Engine) {
	m := s.Model
	e.gauge("weir_requests_running", "Sequences being computed.", float64(s.Running), "model", m)
	e.gauge("weir_requests_waiting", "Sequences waiting to be computed.", float64(s.Waiting), "model", m)
	e.gauge("weir_places_taken", "Requests that the engine has let in and not finished.", float64(s.Places), "model", m)
	e.gauge("weir_queued_tokens", "Tokens of prompts that wait to be computed.", float64(s.QueuedTokens), "model", m)
	e.counter("weir_preemptions_total", "Sequences that gave way when pages ran out, to be computed again.", s.Preemptions, "model", m)
	e.counter("weir_engine_restarts_total", "Restarts of the engine's loop after a panic.", s.Restarts, "model", m)
	e.counter("weir_slow_readers_total", "Requests cut off because their client read too slowly.", s.CutOff, "model", m)
}

func (e emitter) cache(s *Engine) {
	m := s.Model
	used := 0.0
	if s.Pages > 0 {
		used = float64(s.Pages-s.FreePages) / float64(s.Pages)
	}
	e.gauge("weir_kv_cache_usage_ratio", "Pages of the KV cache in use, from 0 to 1. Pages that only the prefix cache keeps count as free.", used, "model", m)
	e.gauge("weir_kv_pages", "Pages of the KV cache.", float64(s.Pages), "model", m)
	e.gauge("weir_kv_pages_free", "Pages of the KV cache that are free or only kept by the prefix cache.", float64(s.FreePages), "model", m)
	e.gauge("weir_kv_cache_info", "1, with what the KV cache is like.", 1, "model", m,
		"page_size", strconv.Itoa(s.PageSize), "pages", strconv.FormatInt(s.Pages, 10), "kv_type", s.KVType,
		"prefix_cache", strconv.FormatBool(s.PrefixCache), "context", strconv.Itoa(s.Context))
	e.counter("weir_prefix_cache_queried_tokens_total", "Tokens of prompts that were looked for in the prefix cache.", s.CacheQueried, "model", m)
	e.counter("weir_prefix_cache_hit_tokens_total", "Tokens of prompts that were found in the prefix cache.", s.CacheHit, "model", m)
	e.gauge("weir_prefix_cache_pages", "Pages that the prefix cache holds.", float64(s.CachedPages), "model", m)
	e.gauge("weir_prefix_cache_pages_idle", "Pages that the prefix cache holds and no sequence does.", float64(s.IdlePages), "model", m)
	e.gauge("weir_prefix_cache_pages_pinned", "Pages of pinned prefixes.", float64(s.PinnedPages), "model", m)
	e.counter("weir_admissions_overtaken_total", "Sequences admitted before an older one because more of their prompt was cached.", s.Overtaken, "model", m)
	e.counter("weir_admissions_awaited_total", "Sequences that waited for a prefix which another was computing.", s.Awaited, "model", m)
	e.counter("weir_prefix_cache_evicted_pages_total", "Pages that the prefix cache gave up.", s.CacheEvicted, "model", m)
}

func (e emitter) steps(s *Engine) {
	m := s.Model
	e.counter("weir_steps_total", "Steps of the engine.", s.Steps, "model", m)
	e.counter("weir_steps_ahead_total", "Steps that a device began before the tokens of the step ahead were looked at.", s.StepsAhead, "model", m)
	e.emit(prometheus.CounterValue, "weir_step_seconds_total", "Time that steps took.", s.StepTime.Seconds(), "model", m)
	e.emit(prometheus.CounterValue, "weir_forward_seconds_total", "Time that forward passes took of it.", s.ForwardTime.Seconds(), "model", m)
	e.counter("weir_computed_tokens_total", "Rows computed, by what they were: prefill (of prompts) or decode.", s.PrefillTokens, "model", m, "kind", "prefill")
	e.counter("weir_computed_tokens_total", "Rows computed, by what they were: prefill (of prompts) or decode.", s.DecodeTokens, "model", m, "kind", "decode")
	buckets := map[float64]uint64{}
	var count uint64
	for i, n := range s.StepRows {
		count += uint64(n)
		if i < len(s.StepRowBounds) {
			buckets[float64(s.StepRowBounds[i])] = count
		}
	}
	d, values := describe("weir_step_rows", "Rows that a step computes.", []string{"model", m})
	e.ch <- prometheus.MustNewConstHistogram(d, count, float64(s.PrefillTokens+s.DecodeTokens), buckets, values...)
}

func (e emitter) speculation(s *Engine) {
	m := s.Model
	var held int64
	for i, n := range s.HeldAt {
		held += n
		e.counter("weir_speculation_accepted_tokens_at_depth_total", "Guessed tokens that came true, by their place in the draft, from 0.", n, "model", m, "depth", strconv.Itoa(i))
	}
	e.gauge("weir_speculation_on", "1 while tokens are guessed ahead.", truth(s.SpeculationOn), "model", m)
	e.gauge("weir_speculation_saved_seconds", "Time that guesses have saved, less what they cost; negative if they cost more.", s.Saved.Seconds(), "model", m)
	e.counter("weir_speculation_drafts_total", "Drafts checked.", s.Drafts, "model", m)
	e.counter("weir_speculation_guessed_tokens_total", "Tokens guessed.", s.Guessed, "model", m)
	e.counter("weir_speculation_accepted_tokens_total", "Guessed tokens that came true.", held, "model", m)
}

func (e emitter) structures(s *Engine) {
	m := s.Model
	const help = "Grammars of structured output, by what came of them: compiled, found (compiled for an earlier request) or refused."
	e.counter("weir_grammars_total", help, s.Compiled-s.CompileFailed, "model", m, "result", "compiled")
	e.counter("weir_grammars_total", help, s.CompileHits, "model", m, "result", "found")
	e.counter("weir_grammars_total", help, s.CompileFailed, "model", m, "result", "refused")
	e.emit(prometheus.CounterValue, "weir_grammar_compile_seconds_total", "Time that compiling grammars took, beside the loop.", s.CompileTime.Seconds(), "model", m)
	e.counter("weir_masked_tokens_total", "Tokens drawn under a grammar's mask.", s.Masks, "model", m)
	e.emit(prometheus.CounterValue, "weir_mask_seconds_total", "Time that the masks took.", s.MaskTime.Seconds(), "model", m)
}

func (e emitter) device(s *Engine) {
	e.gauge("weir_device_info", "1, with what computes.", 1, "model", s.Model, "backend", s.Backend, "level", s.Level, "device", s.Device)
	if s.DeviceMemory > 0 {
		e.gauge("weir_device_memory_bytes", "Memory of the GPU.", float64(s.DeviceMemory), "model", s.Model)
		e.gauge("weir_device_memory_free_bytes", "Memory of the GPU that nobody has taken.", float64(s.DeviceFree), "model", s.Model)
	}
}
