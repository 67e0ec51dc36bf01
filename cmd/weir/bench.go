package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/backend/cuda"
	"weir/internal/bench"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/weights"
)

type benchCmd struct {
	Cache     benchCacheCmd     `cmd:"" help:"Measure what prefix caches of running servers do for their clients."`
	Engine    benchEngineCmd    `cmd:"" help:"Measure prefill, decode and batched decode of a model on weir's engine."`
	Speculate benchSpeculateCmd `cmd:"" help:"Measure what guessing tokens ahead comes to: acceptance on texts, the cost of checking, the speed at an acceptance."`
}

type benchEngineCmd struct {
	modelArg
	Load  string `help:"How to hold the weights: compact maps the file and, as soon as the model answers and where a CPU computes and memory has room, keeps BF16 matrices in three quarters of their bytes, with all their bits; mmap only maps it; large does so and, where memory has room, copies it into large pages as soon as the model answers; read copies it first, for those who replace files in place." enum:"compact,mmap,large,read" default:"compact" placeholder:"compact" group:"Model"`
	Shape string `help:"Measure random weights of a named shape instead, such as llama-3.1-8b: nothing is downloaded." placeholder:"NAME" group:"Model"`
	Type  string `help:"With --shape, what the weights are stored as: a type such as q8_0, the mixes q4_k_m and q5_k_m, or fp8, which only a GPU computes with (default: q8_0)." placeholder:"TYPE" group:"Model"`

	Save string `help:"With --shape, write the random weights to a GGUF file too, for other engines to be measured on." placeholder:"FILE" group:"Model"`

	Prompt     int       `help:"Tokens of the prompt that prefill is measured on; 0: prefill is not measured." default:"512" placeholder:"512" group:"Measurement"`
	Generate   int       `help:"Tokens of each sequence that decode is measured on." default:"32" placeholder:"32" group:"Measurement"`
	Batch      sizes     `help:"Sequences that decode at once: one measurement for each number; none: decode is not measured." default:"1,8,16,64" placeholder:"1,8,16,64" group:"Measurement"`
	Served     int       `help:"Also measure so many streams through weir's server, in turns with as many straight from the engine, beside the same clients' work; 0: not." default:"0" placeholder:"N" group:"Measurement"`
	Structured int       `help:"Also measure so many requests at once that are held to a JSON Schema, in turns with as many that are not; 0: not." default:"0" placeholder:"32" group:"Measurement"`
	FullLoad   fullLoads `name:"full-load" help:"Also measure requests of so many tokens in and out, as many at once as --clients says and memory holds, in their steady state: a list such as 128/128,2048/128." placeholder:"IN/OUT" group:"Measurement"`
	Clients    int       `help:"Requests at once of --full-load, at most." default:"256" placeholder:"256" group:"Measurement"`
	Offline    offline   `help:"Also measure how long so many requests take that are all there from the beginning, of random lengths: 256:100-1024/100-1024 are 256, with 100 to 1024 tokens in and out." placeholder:"N:IN/OUT" group:"Measurement"`
	Depth      int       `help:"Tokens of each sequence before those that decode is measured on." default:"1" placeholder:"1" group:"Measurement"`
	Repeat     int       `help:"Rounds that are measured, after one that warms up. A round measures each thing once." default:"5" placeholder:"5" group:"Measurement"`

	FullLoadTime time.Duration `name:"full-load-time" help:"How long each of --full-load is measured, from when all clients have begun." default:"20s" placeholder:"20s" group:"Measurement"`

	Memory      memorySize `help:"Memory that all of it may take, 1 GiB that memory is measured on included." default:"85%" group:"Engine"`
	BatchTokens int        `help:"Tokens computed in one step." default:"256" placeholder:"256" group:"Engine"`
	kvOptions
	computeOptions

	JSON     bool `name:"json" help:"Print JSON." xor:"format" group:"Output"`
	Markdown bool `help:"Print Markdown." xor:"format" group:"Output"`
}

// Help is printed by kong below the command's summary.
func (*benchEngineCmd) Help() string {
	return `Speeds stand beside what the machine could do at most, measured in the same run: how fast memory is read and how fast it multiplies. docs/benchmarks.md explains each figure.

    weir bench engine
    weir bench engine model.gguf --batch 1 --repeat 10
    weir bench engine --shape llama-3.1-8b --type q4_k_m --json`
}

// defaultPageSize is that of --page-size.
const defaultPageSize = 16

// sizes is a list of numbers with commas between them, or "none".
type sizes []int

// Decode is called by kong.
func (s *sizes) Decode(ctx *kong.DecodeContext) error {
	return mapper("a list such as 1,8,16", parseSizes).Decode(ctx, reflect.ValueOf(s).Elem())
}

func parseSizes(text string) (sizes, error) {
	if strings.TrimSpace(text) == "none" {
		return nil, nil
	}
	var list sizes
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// fullLoads is a list of loads with commas between them.
type fullLoads []bench.FullLoad

// Decode is called by kong.
func (l *fullLoads) Decode(ctx *kong.DecodeContext) error {
	return mapper("a list such as 128/128,128/2048", parseLoads).Decode(ctx, reflect.ValueOf(l).Elem())
}

func parseLoads(text string) (fullLoads, error) {
	var list fullLoads
	for word := range strings.SplitSeq(text, ",") {
		l, err := bench.ParseFullLoad(word)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// offline is a load of --offline; nil: none.
type offline struct{ *bench.Offline }

// Decode is called by kong.
func (o *offline) Decode(ctx *kong.DecodeContext) error {
	return mapper("REQUESTS:INPUT/OUTPUT, such as 256:100-1024/100-1024", parseOffline).Decode(ctx, reflect.ValueOf(o).Elem())
}

func parseOffline(text string) (offline, error) {
	o, err := bench.ParseOffline(text)
	return offline{&o}, err
}

func (c *benchEngineCmd) settings() bench.Settings {
	s := bench.Settings{Prompt: c.Prompt, Generate: c.Generate, Depth: c.Depth, Batches: c.Batch, Served: c.Served, Structured: c.Structured, Repeat: c.Repeat, Offline: c.Offline.Offline}
	if len(c.FullLoad) > 0 {
		s.Loads, s.Clients, s.LoadTime = c.FullLoad, c.Clients, c.FullLoadTime
	}
	return s
}

// Validate is called by kong.
func (c *benchEngineCmd) Validate() error {
	if err := c.settings().Validate(); err != nil {
		return err
	}
	running := c.settings().Running()
	switch {
	case c.Shape != "" && c.Model != "":
		return errors.New("a model and --shape are given; random weights need no model")
	case c.Shape == "" && c.Type != "":
		return errors.New("--type is what random weights are stored as, so it needs --shape; a model's file has its own")
	case c.Shape != "" && c.Load != "compact" && c.Load != "mmap":
		return fmt.Errorf("--load %s is a way to read a file; random weights of --shape have none, so they are held compact or, with mmap, as they are", c.Load)
	case c.Shape == "" && c.Save != "":
		return errors.New("--save writes random weights, so it needs --shape")
	case c.BatchTokens < running || c.BatchTokens > 1<<16:
		return fmt.Errorf("--batch-tokens is %d; it must be from the largest batch (%d) to 65536, as every running sequence takes a token a step", c.BatchTokens, running)
	}
	if c.Shape != "" {
		if _, _, err := c.random(); err != nil {
			return err
		}
		if c.typeName() == "fp8" {
			c.GPUWeights = "fp8"
		}
	}
	if err := c.kvOptions.Validate(); err != nil {
		return err
	}
	return c.computeOptions.Validate()
}

// Run measures and prints.
func (c *benchEngineCmd) Run(s streams, log *slog.Logger) error {
	ctx, stop := untilInterrupted()
	defer stop()
	o, closeAll, err := c.open(log)
	if err != nil {
		return err
	}
	report, err := bench.Run(ctx, o)
	if err = errors.Join(err, closeAll()); err != nil {
		if ctx.Err() != nil {
			return codedError{errors.New("interrupted; nothing was measured to the end"), exitInterrupted}
		}
		return err
	}
	if err := c.print(s.out, report); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

func (c *benchEngineCmd) print(w io.Writer, r *bench.Report) error {
	switch {
	case c.JSON:
		return r.WriteJSON(w)
	case c.Markdown:
		return r.WriteMarkdown(w)
	}
	return r.WriteText(w)
}

// closers are ended in reverse, as deferred calls are.
type closers []func() error

func (c closers) close() error {
	var errs []error
	for i := len(c) - 1; i >= 0; i-- {
		errs = append(errs, c[i]())
	}
	return errors.Join(errs...)
}

// open makes the model and an engine on it, in all of --memory but what the
// benchmark needs for itself.
func (c *benchEngineCmd) open(log *slog.Logger) (o bench.Options, closeAll func() error, err error) {
	var open closers
	defer func() {
		if err != nil {
			err = errors.Join(err, open.close())
		}
	}()
	options, err := c.loadOptions()
	if err != nil {
		return o, nil, err
	}
	n, err := threads(host.New("/"), c.Threads)
	if err != nil {
		return o, nil, err
	}
	pool := cpu.NewPool(n)
	open = append(open, func() error { pool.Close(); return nil })
	level, err := c.level()
	if err != nil {
		return o, nil, err
	}
	b, meter, err := c.backend(&options, pool, level, log, &open)
	if err != nil {
		return o, nil, err
	}
	gpu, _ := b.(*cuda.Backend)
	f, source, closeFile, err := c.weights(options, gpu, log)
	if err != nil {
		return o, nil, err
	}
	open = append(closers{closeFile}, open...) // it stays open until the backend is closed
	if options.Backend = b; gpu != nil && c.onDevice() {
		options.Backend = randomGPU{gpu}
	}
	e, plan, err := engine.Load(f, options)
	if err != nil {
		return o, nil, err
	}
	open = append(open, e.Close)
	if meter == nil {
		settle(context.Background(), c.Load, b, planned(plan), log.Info, f)
		if level, err = kern.ParseLevel(b.Info().Level); err != nil {
			return o, nil, err
		}
	}
	o = bench.Options{
		Settings: c.settings(), Engine: e, File: f, Source: source, Pool: pool, Level: level, KV: plan.KV, Chunk: options.Limits.BatchTokens,
		Deterministic: c.Deterministic, Version: version(), Command: c.command(),
		Progress: func(what string) { log.Info(what) },
	}
	if held, ok := b.(*cpu.Backend); ok {
		o.Held = held.Held
	}
	if meter != nil {
		o.GPU = meter
		notOnGPU(c.Load, log.Info)
	}
	return o, open.close, nil
}

// backend opens what computes; with a GPU, what measures it, too.
func (c *benchEngineCmd) backend(o *engine.LoadOptions, pool *cpu.Pool, level kern.Level, log *slog.Logger, open *closers) (backend.Backend, cuda.Meter, error) {
	gpu, err := c.gpu(c.Deterministic, log)
	if err != nil {
		return nil, nil, err
	}
	if gpu == nil && c.typeName() == "fp8" {
		return nil, nil, errors.New("--type fp8 is what a GPU computes with; choose another type, or see with --device cuda why there is no GPU")
	}
	if gpu == nil {
		b, err := cpu.New(cpu.Options{Pool: pool, Level: level, Deterministic: c.Deterministic})
		if err == nil {
			*open = append(*open, b.Close)
		}
		return b, nil, err
	}
	*open = append(*open, gpu.Close)
	meter, err := gpu.NewMeter()
	if err != nil {
		return nil, nil, err
	}
	*open = append(*open, meter.Close)
	m := memoryOptions{Memory: c.Memory, BatchTokens: &c.BatchTokens}
	return gpu, meter, m.fitGPU(o, gpu)
}

// loadOptions are those of a server with the same options.
func (c *benchEngineCmd) loadOptions() (engine.LoadOptions, error) {
	machine := host.New("/")
	if err := c.Memory.check(machine); err != nil {
		return engine.LoadOptions{}, err
	}
	running := c.settings().Running()
	m := memoryOptions{Memory: c.Memory, Ctx: c.settings().Context(c.BatchTokens), kvOptions: c.kvOptions, MaxRunning: running, BatchTokens: &c.BatchTokens}
	options, err := m.loadOptions(machine)
	if err != nil {
		return options, err
	}
	if options.Budget -= bench.ProbeBytes; options.Budget < 0 {
		return options, fmt.Errorf("there are %s (%s), but %s are needed to measure memory with; free some or raise --memory",
			host.Bytes(options.Budget+bench.ProbeBytes), options.BudgetFrom, host.Bytes(bench.ProbeBytes))
	}
	options.BudgetFrom += fmt.Sprintf(", less %s to measure memory with", host.Bytes(bench.ProbeBytes))
	options.ID, options.MaxQueue, options.StallAfter, options.PrefixCache = c.name(), running+1, stallAfter, true
	return options, nil
}

// randomGPU makes the numbers of matrices by itself.
type randomGPU struct{ *cuda.Backend }

func (g randomGPU) Load(t weights.Tensor, p backend.Placement) (backend.Weight, error) {
	if len(t.Shape) == 2 {
		return g.LoadRandom(t)
	}
	return g.Backend.Load(t, p)
}

// onDevice tells that a GPU can make the random weights that are asked for.
func (c *benchEngineCmd) onDevice() bool {
	return c.Shape != "" && c.Save == "" && (c.typeName() == "bf16" || c.typeName() == "fp8")
}

// weights opens the model's file, or makes random weights if they fit; gpu is nil if
// there is none.
func (c *benchEngineCmd) weights(o engine.LoadOptions, gpu *cuda.Backend, log *slog.Logger) (f *weights.File, source string, closeFile func() error, err error) {
	if c.Shape == "" {
		if f, err = c.openFile(loads[c.Load], nil); err != nil {
			return nil, "", nil, err
		}
		return f, cmp.Or(c.Model, "built-in"), f.Close, nil
	}
	shape, quant, err := c.random()
	if err != nil {
		return nil, "", nil, err
	}
	if err := shape.Fits(quant, o.Budget); err != nil {
		return nil, "", nil, fmt.Errorf("%w (the budget is %s)", err, o.BudgetFrom)
	}
	log.Info("making random weights", "shape", shape.Name, "type", quant.Name, "size", host.Bytes(shape.Bytes(quant)))
	random := bench.Random
	if gpu != nil && c.onDevice() {
		random = bench.RandomVectors
	}
	m, err := random(shape, quant)
	if err != nil {
		return nil, "", nil, err
	}
	if c.Save != "" {
		if err := m.Save(c.Save); err != nil {
			return nil, "", nil, errors.Join(err, m.Close())
		}
	}
	return m.File, "random weights", m.Close, nil
}

// random is what --shape and --type name.
func (c *benchEngineCmd) random() (bench.Shape, bench.Quant, error) {
	shape, err1 := bench.ParseShape(c.Shape)
	stored := c.typeName()
	if stored == "fp8" { // what the GPU makes of bf16
		stored = "bf16"
	}
	quant, err2 := bench.ParseQuant(stored)
	return shape, quant, cmp.Or(err1, err2)
}

func (c *benchEngineCmd) typeName() string { return strings.ToLower(cmp.Or(c.Type, "q8_0")) }

// name is what the report calls the model.
func (c *benchEngineCmd) name() string {
	if c.Shape != "" {
		return strings.ToLower(c.Shape) + " " + c.typeName()
	}
	return c.id()
}

// command is what repeats the measurement.
func (c *benchEngineCmd) command() string {
	words := []string{"weir bench engine"}
	if c.Shape != "" {
		words = append(words, "--shape", strings.ToLower(c.Shape), "--type", c.typeName())
	} else if c.Model != "" {
		words = append(words, c.Model)
	}
	if c.Load != "compact" {
		words = append(words, "--load "+c.Load)
	}
	batches := "none"
	if len(c.Batch) > 0 {
		batches = strings.Trim(strings.ReplaceAll(fmt.Sprint([]int(c.Batch)), " ", ","), "[]")
	}
	words = append(words, fmt.Sprintf("--prompt %d --generate %d --batch %s --depth %d --repeat %d", c.Prompt, c.Generate, batches, c.Depth, c.Repeat))
	if c.Device != "auto" {
		words = append(words, "--device "+c.Device)
	}
	if c.GPUWeights != "bf16" && c.typeName() != "fp8" {
		words = append(words, "--gpu-weights "+c.GPUWeights)
	}
	if c.GPUKernels != "best" {
		words = append(words, "--gpu-kernels "+c.GPUKernels)
	}
	if c.EnforceEager {
		words = append(words, "--enforce-eager")
	}
	if c.Served > 0 {
		words = append(words, fmt.Sprintf("--served %d", c.Served))
	}
	if c.Structured > 0 {
		words = append(words, fmt.Sprintf("--structured %d", c.Structured))
	}
	if len(c.FullLoad) > 0 {
		list := strings.Trim(strings.ReplaceAll(fmt.Sprint([]bench.FullLoad(c.FullLoad)), " ", ","), "[]")
		words = append(words, fmt.Sprintf("--full-load %s --clients %d --full-load-time %v", list, c.Clients, c.FullLoadTime))
	}
	if c.Offline.Offline != nil {
		words = append(words, "--offline "+c.Offline.String())
	}
	if c.Threads > 0 {
		words = append(words, fmt.Sprintf("--threads %d", c.Threads))
	}
	if c.CPULevel != "best" {
		words = append(words, "--cpu-level "+c.CPULevel)
	}
	if c.Deterministic {
		words = append(words, "--deterministic")
	}
	if c.KVType != backend.KVF16.String() {
		words = append(words, "--kv-type "+c.KVType)
	}
	if c.PageSize != defaultPageSize {
		words = append(words, fmt.Sprintf("--page-size %d", c.PageSize))
	}
	if c.BatchTokens != defaultBatchTokens {
		words = append(words, fmt.Sprintf("--batch-tokens %d", c.BatchTokens))
	}
	return strings.Join(words, " ")
}
