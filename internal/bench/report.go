package bench

import (
	"fmt"
	"runtime"
	"time"
)

// SchemaVersion changes when a field of [Report] changes its meaning or goes.
const SchemaVersion = 1

// Report is what a benchmark found. Its JSON is for programs; fields are added
// but do not change.
type Report struct {
	Schema  int    `json:"schema"`
	Version string `json:"version"` // of weir
	Time    string `json:"time"`    // RFC 3339, when it began
	Command string `json:"command"`

	Machine  Machine    `json:"machine"`
	Engine   EngineInfo `json:"engine"`
	Model    ModelInfo  `json:"model"`
	Settings Settings   `json:"settings"`
	Limits   Limits     `json:"limits"`
	Results  []Result   `json:"results"`
	// Served is how much of the engine's own speed streams through the server have,
	// round by round; nil: not measured.
	Served *Summary `json:"served_share,omitempty"`
	// Structured is what structured output costs; nil: not measured.
	Structured *Structured `json:"structured,omitempty"`
	// Loads are the steady states of full loads; nil: not measured.
	Loads       []LoadResult   `json:"full_loads,omitempty"`
	Offline     *OfflineResult `json:"offline,omitempty"` // nil: not measured
	PrefixCache PrefixCache    `json:"prefix_cache"`
	Noise       Noise          `json:"noise"`
}

// Machine is what it ran on.
type Machine struct {
	Processor  string `json:"processor"`
	Processors int    `json:"processors"` // logical ones that the process may use
	OS         string `json:"os"`
	Arch       string `json:"arch"`
}

// EngineInfo is how it ran.
type EngineInfo struct {
	Device        string `json:"device"` // "cpu", or the GPU and its driver
	Level         string `json:"level"`
	Deterministic bool   `json:"deterministic"`
	Threads       int    `json:"threads"`
	KVType        string `json:"kv_type"`
	PageSize      int    `json:"page_size"`
	BatchTokens   int    `json:"batch_tokens"`
}

// ModelInfo is what ran.
type ModelInfo struct {
	Name       string `json:"name"`
	Source     string `json:"source"` // a path, "built-in" or "random weights"
	Family     string `json:"family"`
	Quant      string `json:"quant"` // the type that most of the bytes have
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"`
	StepBytes  int64  `json:"step_bytes"` // of the weights, that each decode step reads
}

// Limits are the machine's rates, measured in the same run.
type Limits struct {
	ReadGBps         Summary `json:"read_gb_per_s"`
	ReadMethod       string  `json:"read_method"`
	ReadBytes        int64   `json:"read_bytes"` // of random data, over which reading goes
	Gflops           Summary `json:"gflop_per_s"`
	ArithmeticMethod string  `json:"arithmetic_method"`
}

// Kind is a kind of work.
type Kind string

// The kinds.
const (
	Prefill Kind = "prefill"
	Decode  Kind = "decode"
)

// Result is one kind of work, over all rounds.
type Result struct {
	Name         string `json:"name"`
	Kind         Kind   `json:"kind"`
	Batch        int    `json:"batch"`         // sequences
	PromptTokens int    `json:"prompt_tokens"` // of each
	OutputTokens int    `json:"output_tokens"` // of each, that were timed

	TokensPerSecond Summary   `json:"tokens_per_s"` // of all sequences together
	Rounds          []float64 `json:"rounds"`       // tokens a second, in order

	// StepMs is the time of a step: of all of a prompt's together for prefill (time
	// to first token), of one token of each sequence for decode (time per output
	// token).
	StepMs Summary `json:"step_ms"`
	ITLMs  *ITL    `json:"itl_ms,omitempty"` // decode: gaps between a sequence's tokens, as its client saw them

	GBPerStep    float64 `json:"gb_per_step"` // read at least, of weights, keys and values
	GBps         Summary `json:"gb_per_s"`
	ReadShare    Summary `json:"read_share"`     // of the read bandwidth around each measurement
	GflopPerStep float64 `json:"gflop_per_step"` // computed at least
	Gflops       Summary `json:"gflop_per_s"`
	PeakShare    Summary `json:"peak_share"` // of the arithmetic peak around each measurement

	Floor    Floor    `json:"floor"`
	Overhead Overhead `json:"overhead"`

	Spread      float64  `json:"spread"` // of tokens a second: see Summary.Spread
	OtherCPUs   *float64 `json:"other_cpus"`
	StolenCPUs  *float64 `json:"stolen_cpus"`
	Noisy       bool     `json:"noisy"`
	NoisyReason string   `json:"noisy_reason,omitempty"`
}

// ITL is inter-token latency.
type ITL struct {
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// Floor is the least time that a step could take on this machine.
type Floor struct {
	MemoryMs  float64 `json:"memory_ms"`  // its bytes over the median bandwidth
	ComputeMs float64 `json:"compute_ms"` // its operations over the median peak
	Share     Summary `json:"share"`      // of the time that it took, by round
}

// Overhead is what the engine adds to its forward passes, in the steps that were
// timed.
type Overhead struct {
	StepUs float64 `json:"step_us"` // a step
	Share  float64 `json:"share"`   // of the steps' time
}

// PrefixCache tells that no prompt was helped.
type PrefixCache struct {
	Queried int64 `json:"queried_tokens"`
	Hit     int64 `json:"hit_tokens"`
}

// Rate is the share of prompt tokens that were found in the cache.
func (p PrefixCache) Rate() float64 {
	if p.Queried == 0 {
		return 0
	}
	return float64(p.Hit) / float64(p.Queried)
}

// Noise is what else ran on the machine. What is not known is nil.
type Noise struct {
	LoadBefore *float64 `json:"load_before"`
	LoadAfter  *float64 `json:"load_after"`
	OtherCPUs  *float64 `json:"other_cpus"`  // processors that other processes took, on average
	StolenCPUs *float64 `json:"stolen_cpus"` // processors that the hypervisor gave to others
	Noisy      bool     `json:"noisy"`       // something above makes the figures doubtful
}

// Beyond these a figure is called noisy: shares of the machine's processors that
// others took, and of the median that the middle half of the rounds spans.
const (
	noisyOthers = 0.05
	noisyStolen = 0.02
	noisySpread = 0.05
)

// describe begins a report with what is known before anything is measured.
func (r *run) describe(probed int64) *Report {
	c, model := r.config, r.o.Engine.Model()
	device, level := "cpu", r.o.Level.String()
	if r.o.GPU != nil {
		device, level = r.o.GPU.Describe(), r.o.GPU.Kernels()
	}
	read, arithmetic := r.probe.methods()
	return &Report{
		Schema: SchemaVersion, Version: r.o.Version, Time: time.Now().UTC().Format(time.RFC3339), Command: r.o.Command,
		Machine: Machine{Processor: processorName(), Processors: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH},
		Engine: EngineInfo{
			Device: device, Level: level, Deterministic: r.o.Deterministic, Threads: r.o.Pool.Threads(),
			KVType: r.o.KV.Type.String(), PageSize: r.o.KV.PageSize, BatchTokens: r.o.Chunk,
		},
		Model: ModelInfo{
			Name: model.ID, Source: r.o.Source, Family: c.Family, Quant: c.Quant, Parameters: c.Params, Bytes: c.Bytes,
			StepBytes: r.costs.WeightBytes(),
		},
		Settings: r.o.Settings,
		Limits:   Limits{ReadBytes: probed, ReadMethod: read, ArithmeticMethod: arithmetic},
	}
}

// conclude turns the measurements into the report's figures.
func (r *run) conclude(report *Report, machines []machine, all disturbance) {
	var bytes, flops []float64
	for _, m := range machines {
		bytes, flops = append(bytes, m.bytes/1e9), append(flops, m.flops/1e9)
	}
	report.Limits.ReadGBps, report.Limits.Gflops = Summarize(bytes), Summarize(flops)
	report.Noise.LoadAfter = load()
	report.Noise.OtherCPUs, report.Noise.StolenCPUs = all.CPUs()
	report.Noise.Noisy = disturbed(all) != ""
	for _, m := range r.cases {
		report.Results = append(report.Results, m.result(report.Limits, all))
		report.Noise.Noisy = report.Noise.Noisy || m.Noisy
	}
}

// result concludes a case.
func (m *measured) result(l Limits, all disturbance) Result {
	res := &m.Result
	res.TokensPerSecond, res.Rounds = Summarize(m.tokens), m.tokens
	perStep := func(values []float64, scale float64) []float64 {
		var out []float64
		for i, v := range values {
			out = append(out, v/m.steps[i]*scale)
		}
		return out
	}
	res.StepMs = Summarize(perStep(m.seconds, 1e3))
	res.GBPerStep = Summarize(perStep(m.bytes, 1e-9)).Median
	res.GflopPerStep = Summarize(perStep(m.operations, 1e-9)).Median
	res.GBps, res.ReadShare = Summarize(m.gbps), Summarize(m.reads)
	res.Gflops, res.PeakShare = Summarize(m.flops), Summarize(m.peaks)
	res.Floor = Floor{
		MemoryMs:  res.GBPerStep / l.ReadGBps.Median * 1e3,
		ComputeMs: res.GflopPerStep / l.Gflops.Median * 1e3,
		Share:     Summarize(m.floors),
	}
	if s := m.spent; s.steps > 0 {
		res.Overhead = Overhead{
			StepUs: float64(s.own.Microseconds()) / float64(s.steps),
			Share:  s.own.Seconds() / (s.own + s.device).Seconds(),
		}
	}
	if len(m.gaps) > 0 {
		res.ITLMs = latencies(m.gaps)
	}
	m.judge(all)
	return *res
}

// judge calls a case noisy where it was. One that was too short to tell by itself
// was as disturbed as the whole run.
func (m *measured) judge(all disturbance) {
	m.Spread = m.TokensPerSecond.Spread()
	m.OtherCPUs, m.StolenCPUs = m.disturbance.CPUs()
	m.NoisyReason = disturbed(m.disturbance)
	if m.OtherCPUs == nil {
		m.NoisyReason = disturbed(all)
	}
	if m.NoisyReason == "" && m.Spread > noisySpread {
		m.NoisyReason = fmt.Sprintf("the middle half of the rounds spans %.0f%% of the median", 100*m.Spread)
	}
	m.Noisy = m.NoisyReason != ""
}

// disturbed says who took more of the processors than leaves a figure alone; ""
// if nobody did.
func disturbed(d disturbance) string {
	others, stolen := d.CPUs()
	n := float64(runtime.NumCPU())
	switch {
	case others == nil:
		return ""
	case *others > noisyOthers*n:
		return fmt.Sprintf("other processes took %.2f of %.0f processors", *others, n)
	case *stolen > noisyStolen*n:
		return fmt.Sprintf("the hypervisor took %.2f of %.0f processors", *stolen, n)
	}
	return ""
}

func latencies(ms []float64) *ITL {
	s := sorted(ms)
	return &ITL{Median: quantile(s, 0.5), P99: quantile(s, 0.99), Max: s[len(s)-1]}
}
