package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/engine"
	"weir/internal/model"
	"weir/internal/weights"
)

// Settings say what is measured.
type Settings struct {
	Prompt   int   `json:"prompt"`   // tokens of the prompt that prefill is measured on; 0: not measured
	Generate int   `json:"generate"` // tokens of each sequence that decode is measured on
	Depth    int   `json:"depth"`    // tokens of each prompt before them
	Batches  []int `json:"batches"`  // sequences at once
	Served   int   `json:"served"`   // streams through the server, and as many without; 0: not measured
	Repeat   int   `json:"repeat"`   // rounds that count
	// Structured is how many requests at once are held to a JSON Schema, in turns with as
	// many that are not; 0: not measured.
	Structured int `json:"structured"`
	// Loads are measured with up to Clients requests at once, for LoadTime each.
	Loads    []FullLoad    `json:"loads,omitempty"`
	Clients  int           `json:"clients,omitempty"`
	LoadTime time.Duration `json:"load_time_ns,omitempty"`
	Offline  *Offline      `json:"offline,omitempty"` // nil: not measured
}

// Validate tells what is wrong with s.
func (s Settings) Validate() error {
	switch {
	case s.Prompt < 0:
		return fmt.Errorf("--prompt is %d; it must be positive, or 0 to leave prefill out", s.Prompt)
	case s.Generate < 1:
		return fmt.Errorf("--generate is %d; it must be at least 1", s.Generate)
	case s.Depth < 1:
		return fmt.Errorf("--depth is %d; it must be at least 1: a sequence begins with a token", s.Depth)
	case s.Repeat < 1 || s.Repeat > 1000:
		return fmt.Errorf("--repeat is %d; it must be from 1 to 1000", s.Repeat)
	case s.Served < 0 || s.Served > 4096:
		return fmt.Errorf("--served is %d; it must be from 1 to 4096 streams, or 0 to leave the server out", s.Served)
	case s.Structured < 0 || s.Structured > 4096:
		return fmt.Errorf("--structured is %d; it must be from 1 to 4096 requests, or 0 to leave structured output out", s.Structured)
	case len(s.Loads) > 0 && (s.Clients < 1 || s.Clients > 1<<14):
		return fmt.Errorf("--clients is %d; it must be from 1 to %d", s.Clients, 1<<14)
	case len(s.Loads) > 0 && (s.LoadTime < time.Millisecond || s.LoadTime > 24*time.Hour):
		return fmt.Errorf("--full-load-time is %v; it must be from 1ms to 24h", s.LoadTime)
	case s.Prompt == 0 && len(s.Batches) == 0 && s.Served == 0 && s.Structured == 0 && len(s.Loads) == 0 && s.Offline == nil:
		return errors.New("nothing is measured: give --prompt, --batch, --served, --structured, --full-load or --offline")
	}
	for _, b := range s.Batches {
		if b < 1 || b > 4096 {
			return fmt.Errorf("--batch has %d; sizes are from 1 to 4096", b)
		}
	}
	return nil
}

// Running is the sequences that the engine must be able to run at once.
func (s Settings) Running() int {
	n := 1
	for _, b := range s.Batches {
		n = max(n, b)
	}
	if len(s.Loads) > 0 {
		n = max(n, s.Clients)
	}
	if s.Offline != nil {
		n = max(n, s.Offline.Requests)
	}
	return max(n, s.Served, s.Structured)
}

// sizes are the batches that decode.
func (s Settings) sizes() []int {
	all := slices.Clone(s.Batches)
	for _, n := range []int{s.Served, s.Structured} {
		if n > 0 {
			all = append(all, n)
		}
	}
	return all
}

// Context is the longest sequence that is computed, in steps of at most chunk
// rows.
func (s Settings) Context(chunk int) int {
	n := s.Prompt + 1
	for _, b := range s.sizes() {
		n = max(n, s.Depth+s.Generate+stagger(b, s.Depth, chunk)+1)
	}
	for _, l := range s.Loads {
		n = max(n, l.Input+l.Output+1)
	}
	if o := s.Offline; o != nil {
		n = max(n, o.Input.Most+o.Output.Most+1)
	}
	return n
}

// Options are what Run measures and what it needs for that.
type Options struct {
	Settings Settings

	Engine *engine.Engine
	File   *weights.File // the engine's
	Source string        // where the weights come from: a path, "built-in", "random weights"
	Pool   *cpu.Pool     // the engine's
	Level  kern.Level    // the engine's
	GPU    GPU           // what computes instead of the processor; nil: the processor
	KV     backend.KVSpec
	Chunk  int // most rows of a step

	// Held is what a step reads of a tensor on a processor; nil: what the file has of it.
	Held func(weights.Tensor) int64

	Deterministic bool
	Version       string             // weir's
	Command       string             // that repeats the measurement
	Progress      func(round string) // told what happens; nil: nobody is
}

// GPU is a device that computes for the engine, measured in place of the processor.
type GPU interface {
	Describe() string
	Kernels() string // which the engine uses
	// Held is what a tensor takes on the device, where it is held in another type
	// than the file's.
	Held(weights.Tensor) int64
	// Bandwidth is bytes a second, Arithmetic operations a second, measured now;
	// the methods say how.
	Bandwidth() float64
	Arithmetic() float64
	Methods() (bandwidth, arithmetic string)
	Bytes() int64 // that bandwidth is measured on
}

// prober measures what computes, beside the engine.
type prober interface {
	bandwidth() float64
	arithmetic() float64
	methods() (read, arithmetic string)
	bytes() int64
	close() error
}

// gpuProber is a GPU as a prober.
type gpuProber struct{ GPU }

func (p gpuProber) bandwidth() float64               { return p.Bandwidth() }
func (p gpuProber) arithmetic() float64              { return p.Arithmetic() }
func (p gpuProber) methods() (read, multiply string) { return p.Methods() }
func (p gpuProber) bytes() int64                     { return p.Bytes() }
func (p gpuProber) close() error                     { return nil }

func (o *Options) prober(probeBytes int64) (prober, error) {
	if o.GPU != nil {
		return gpuProber{o.GPU}, nil
	}
	return newProber(o.Pool, o.Level, probeBytes)
}

func (o *Options) costs(c model.Config) Costs {
	if o.GPU != nil {
		return count(o.File.Tensors(), o.GPU.Held, c, o.KV.Type)
	}
	if o.Held != nil {
		return count(o.File.Tensors(), o.Held, c, o.KV.Type)
	}
	return NewCosts(o.File, c, o.KV.Type)
}

// run is a benchmark on its way.
type run struct {
	o      Options
	config model.Config
	costs  Costs
	driver driver
	probe  prober
	cases  []*measured
	local  *local // nil: nothing is measured through the server

	structures *Structured // nil: nothing is held to a structure
}

// measured is one kind of work and its measurements, one a round.
type measured struct {
	Result
	from                                       stream // decode: where tokens come from
	tokens, seconds, gbps, reads, flops, peaks []float64
	steps, bytes, operations, floors           []float64
	spent                                      spent
	gaps                                       []float64 // ms
	disturbance                                disturbance
}

// Run measures. The engine must have nothing else to do.
func Run(ctx context.Context, o Options) (*Report, error) { return runOn(ctx, o, ProbeBytes) }

// runOn measures memory on so many bytes.
func runOn(ctx context.Context, o Options, probeBytes int64) (report *Report, err error) {
	config, err := model.Inspect(o.File)
	if err != nil {
		return nil, err
	}
	if err := o.check(config); err != nil {
		return nil, err
	}
	probe, err := o.prober(probeBytes)
	if err != nil {
		return nil, err
	}
	defer probe.close()
	r := &run{o: o, config: config, costs: o.costs(config), probe: probe}
	r.driver = driver{engine: o.Engine, pool: o.Pool, random: newGenerator("prompts", 0)}
	if o.Settings.Served > 0 {
		if r.local, err = newLocal(ctx, o.Engine); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, r.local.close()) }()
	}
	if n := o.Settings.Structured; n > 0 {
		r.structures = &Structured{Requests: n, Tokens: o.Settings.Generate}
	}
	r.plan()
	return r.measure(ctx)
}

// check refuses what would measure something else than is asked for.
func (o *Options) check(c model.Config) error {
	s := o.Settings
	if err := s.Validate(); err != nil {
		return err
	}
	if n := s.Context(o.Chunk); n > c.Context {
		return fmt.Errorf("sequences of %d tokens are asked for, but the model was made for %d; choose smaller --prompt, --depth, --generate, --full-load or --offline", n, c.Context)
	}
	for i, pages := range o.KV.Pages {
		for _, b := range s.sizes() {
			need := b * ((s.Depth+s.Generate+stagger(b, s.Depth, o.Chunk))/o.KV.PageSize + 2)
			if need > pages && o.KV.Groups[i].Window == 0 {
				return fmt.Errorf("batch %d needs %d pages of KV cache, but there is memory for %d: sequences would give way to each other; choose smaller --batch, --depth or --generate, or raise --memory", b, need, pages)
			}
		}
	}
	for _, l := range s.Loads {
		if _, err := o.clients(l); err != nil {
			return fmt.Errorf("full load %v: %w", l, err)
		}
	}
	return o.checkOffline()
}

// plan lists the cases.
func (r *run) plan() {
	s := r.o.Settings
	if s.Prompt > 0 {
		r.cases = append(r.cases, &measured{Result: Result{Name: fmt.Sprintf("prefill %d", s.Prompt), Kind: Prefill, Batch: 1, PromptTokens: s.Prompt, OutputTokens: 1}})
	}
	own := direct(r.o.Engine)
	for _, b := range s.Batches {
		r.decodes(fmt.Sprintf("decode, batch %d", b), b, own)
	}
	if s.Served > 0 {
		r.decodes(fmt.Sprintf("decode, batch %d, clients' work beside", s.Served), s.Served, working(own, sampleEvent))
		r.decodes(fmt.Sprintf("decode, batch %d, through the server", s.Served), s.Served, r.local.stream)
	}
}

// decodes adds a case of decode.
func (r *run) decodes(name string, batch int, from stream) {
	s := r.o.Settings
	r.cases = append(r.cases, &measured{from: from, Result: Result{Name: name, Kind: Decode, Batch: batch, PromptTokens: s.Depth, OutputTokens: s.Generate}})
}

// machine is a measurement of the machine alone.
type machine struct{ bytes, flops float64 } // a second

func (r *run) machine() machine { return machine{r.probe.bandwidth(), r.probe.arithmetic()} }

func (r *run) measure(ctx context.Context) (*Report, error) {
	report := r.describe(r.probe.bytes())
	report.Noise.LoadBefore = load()
	r.progress("warming up")
	r.machine()
	for _, m := range r.cases {
		if err := r.once(ctx, m, nil); err != nil {
			return nil, err
		}
	}
	if err := r.structuredRound(ctx, 0, warmUp); err != nil {
		return nil, err
	}
	began, prefix := readCPUTime(), r.o.Engine.Stats().Prefix
	var machines []machine
	for i := range r.o.Settings.Repeat {
		r.progress(fmt.Sprintf("round %d of %d", i+1, r.o.Settings.Repeat))
		machines = append(machines, r.machine())
		for _, m := range r.cases {
			before := machines[len(machines)-1]
			err := r.once(ctx, m, func() machine {
				after := r.machine()
				machines = append(machines, after)
				return machine{(before.bytes + after.bytes) / 2, (before.flops + after.flops) / 2}
			})
			if err != nil {
				return nil, err
			}
		}
		if err := r.structuredRound(ctx, i, counts); err != nil {
			return nil, err
		}
	}
	var all disturbance
	all.add(began, readCPUTime())
	after := r.o.Engine.Stats().Prefix
	report.Served, report.Structured = r.servedShare(), r.concludeStructured()
	report.PrefixCache = PrefixCache{Queried: after.Queried - prefix.Queried, Hit: after.Hit - prefix.Hit}
	r.conclude(report, machines, all)
	var err error
	if report.Loads, err = r.loads(ctx); err != nil {
		return nil, err
	}
	if report.Offline, err = r.offlines(ctx); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *run) progress(what string) {
	if r.o.Progress != nil {
		r.o.Progress(what)
	}
}

// once measures a case. machine measures the machine after it and tells what it
// could do around it; nil: this is the warm-up, and nothing is kept.
func (r *run) once(ctx context.Context, m *measured, around func() machine) error {
	runtime.GC() // what the last case left is not this one's to clean up
	cpu := readCPUTime()
	s, err := r.sample(ctx, m)
	if err != nil {
		return err
	}
	if around == nil {
		return nil
	}
	m.disturbance.add(cpu, readCPUTime())
	m.keep(s, around())
	return nil
}

// sample is one measurement.
type sample struct {
	took   time.Duration
	tokens int
	steps  int // of a prompt's together: 1, for its client sees one thing
	work   Work
	gaps   []time.Duration
	spent  spent
}

func (r *run) sample(ctx context.Context, m *measured) (sample, error) {
	if m.Kind == Prefill {
		took, spent, err := r.driver.prefill(ctx, m.PromptTokens)
		return sample{took, m.PromptTokens, 1, r.costs.Prefill(m.PromptTokens, r.o.Chunk), nil, spent}, err
	}
	w, err := r.driver.decodeTogether(ctx, m.from, m.Batch, m.PromptTokens, m.OutputTokens, r.o.Chunk)
	if err != nil {
		return sample{}, err
	}
	return sample{w.took, m.Batch * w.n, w.n, w.work(&r.costs, m.PromptTokens), w.gaps, w.spent}, nil
}

func (m *measured) keep(s sample, around machine) {
	seconds := s.took.Seconds()
	m.tokens = append(m.tokens, float64(s.tokens)/seconds)
	m.seconds = append(m.seconds, seconds)
	m.spent = m.spent.plus(s.spent)
	m.steps = append(m.steps, float64(s.steps))
	m.bytes = append(m.bytes, s.work.Bytes)
	m.operations = append(m.operations, s.work.Flops)
	m.gbps = append(m.gbps, s.work.Bytes/seconds/1e9)
	m.reads = append(m.reads, s.work.Bytes/seconds/around.bytes)
	m.flops = append(m.flops, s.work.Flops/seconds/1e9)
	m.peaks = append(m.peaks, s.work.Flops/seconds/around.flops)
	m.floors = append(m.floors, max(s.work.Bytes/around.bytes, s.work.Flops/around.flops)/seconds)
	for _, g := range s.gaps {
		m.gaps = append(m.gaps, g.Seconds()*1e3)
	}
}
