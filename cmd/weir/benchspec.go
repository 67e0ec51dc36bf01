package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"weir/internal/bench"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/sched"
	"weir/internal/spec"
	"weir/internal/weights"
)

type benchSpeculateCmd struct {
	modelArg
	Load  string `help:"How to hold the weights: compact maps the file and, as soon as the model answers and where a CPU computes and memory has room, keeps BF16 matrices in three quarters of their bytes, with all their bits; mmap only maps it; large does so and, where memory has room, copies it into large pages as soon as the model answers; read copies it first, for those who replace files in place." enum:"compact,mmap,large,read" default:"compact" placeholder:"compact" group:"Model"`
	Shape string `help:"Measure random weights of a named shape instead, such as tinyllama-1.1b; of texts there is noise alone then, for ngram." placeholder:"NAME" group:"Model"`
	Type  string `help:"With --shape, what the weights are stored as (default: q8_0)." placeholder:"TYPE" group:"Model"`

	Proposers   string `help:"What to measure on texts, with commas between: ngram, draft, medusa, eagle; those whose model or heads are not there are left out." default:"ngram,draft,medusa,eagle" placeholder:"LIST" group:"Measurement"`
	DraftModel  string `help:"Draft model for draft." placeholder:"FILE" group:"Model"`
	Medusa      string `help:"Heads for medusa." placeholder:"PATH" group:"Model"`
	Eagle       string `help:"Heads for eagle." placeholder:"PATH" group:"Model"`
	Temperature floats `help:"Temperatures to measure texts at." default:"0,0.8" placeholder:"0,0.8" group:"Measurement"`
	Texts       string `help:"Kinds of texts, with commas between: json, go, story, chat; noise, which nobody can foretell, at temperature 2; none: not measured. With --shape there is noise alone." default:"json,go,story,chat,noise" placeholder:"LIST" group:"Measurement"`
	Answer      int    `help:"Most tokens of an answer." default:"160" placeholder:"160" group:"Measurement"`
	Rows        sizes  `help:"Sizes of steps of one sequence, the cost of which is measured over one row's; none: not measured." default:"1,2,3,4,5,6,8,12,16,24,32" placeholder:"LIST" group:"Measurement"`
	Accept      floats `help:"Chances of an oracle to be right at each place, whose speed is measured; none: not measured." default:"0.05,0.3,0.5,0.7,0.8,0.9,0.97" placeholder:"LIST" group:"Measurement"`
	Depth       int    `help:"Tokens of the sequence before those of --rows and --accept." default:"128" placeholder:"128" group:"Measurement"`
	Steps       int    `help:"Steps that a measurement of --rows takes." default:"12" placeholder:"12" group:"Measurement"`
	Generate    int    `help:"Tokens that the oracle foretells." default:"96" placeholder:"96" group:"Measurement"`
	Repeat      int    `help:"Rounds that are measured, after one that warms up." default:"3" placeholder:"3" group:"Measurement"`

	Memory memorySize `help:"Memory that all of it may take." default:"85%" group:"Engine"`
	kvOptions
	computeOptions

	JSON bool `name:"json" help:"Print JSON." group:"Output"`
}

// Help is printed by kong below the command's summary.
func (*benchSpeculateCmd) Help() string {
	return `Two things apart: what each proposer's guesses come to on texts, and what checking guesses costs, from which an oracle of a set acceptance shows the speed on any model.

    weir bench speculate
    weir bench speculate --shape tinyllama-1.1b
    weir bench speculate model.gguf --draft-model small.gguf --temperature 0`
}

// floats is a list of numbers with commas between them, or "none".
type floats []float64

// Decode is called by kong.
func (f *floats) Decode(ctx *kong.DecodeContext) error {
	return mapper("a list such as 0,0.8", parseFloats).Decode(ctx, reflect.ValueOf(f).Elem())
}

func parseFloats(text string) (floats, error) {
	if strings.TrimSpace(text) == "none" {
		return nil, nil
	}
	var list floats
	for word := range strings.SplitSeq(text, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// Validate is called by kong.
func (c *benchSpeculateCmd) Validate() error {
	for _, t := range c.Temperature {
		if !(t >= 0 && t <= 2) {
			return fmt.Errorf("--temperature has %v; it must be from 0 to 2", t)
		}
	}
	for _, p := range c.Accept {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("--accept has %v; it must be from 0 to 1", p)
		}
	}
	for _, n := range c.Rows {
		if n < 1 || n > spec.MaxNodes/2 {
			return fmt.Errorf("--rows has %d; it must be from 1 to %d", n, spec.MaxNodes/2)
		}
	}
	for kind := range strings.SplitSeq(c.Texts, ",") {
		if kind = strings.TrimSpace(kind); kind != "none" && !slices.Contains(bench.TextKinds(), kind) {
			return fmt.Errorf("--texts has %q; there are %s, or none", kind, strings.Join(bench.TextKinds(), ", "))
		}
	}
	for name := range strings.SplitSeq(c.Proposers, ",") {
		switch strings.TrimSpace(name) {
		case engine.SpeculateNGram, engine.SpeculateDraft, engine.SpeculateMedusa, engine.SpeculateEagle:
		default:
			return fmt.Errorf("--proposers has %q; there are ngram, draft, medusa and eagle", name)
		}
	}
	switch {
	case c.Shape != "" && c.Model != "":
		return errors.New("a model and --shape are given; random weights need no model")
	case c.Shape == "" && c.Type != "":
		return errors.New("--type is what random weights are stored as, so it needs --shape")
	case c.Answer < 8 || c.Generate < 8 || c.Steps < 2 || c.Depth < 1 || c.Repeat < 1 || c.Repeat > 1000:
		return errors.New("--answer and --generate must be at least 8, --steps 2, --depth and --repeat 1 (and --repeat at most 1000)")
	}
	if len(c.kinds())+len(c.Rows)+len(c.Accept) == 0 {
		return errors.New("nothing is left to measure: --texts (with --shape noise alone), --rows and --accept are all none")
	}
	if c.Shape != "" {
		if _, _, err := c.engine().random(); err != nil {
			return err
		}
	}
	return errors.Join(c.kvOptions.Validate(), c.computeOptions.Validate())
}

// kinds are the texts to measure. A shape's random weights have nothing to say but
// noise.
func (c *benchSpeculateCmd) kinds() (list []string) {
	for kind := range strings.SplitSeq(c.Texts, ",") {
		if kind = strings.TrimSpace(kind); kind != "none" && (c.Shape == "" || kind == bench.NoiseText) {
			list = append(list, kind)
		}
	}
	return list
}

// engine is the command that opens the same model.
func (c *benchSpeculateCmd) engine() *benchEngineCmd {
	return &benchEngineCmd{modelArg: c.modelArg, Load: c.Load, Shape: c.Shape, Type: c.Type}
}

// speculationReport is what is printed.
type speculationReport struct {
	Schema   int              `json:"schema"`
	Version  string           `json:"version"`
	Model    string           `json:"model"`
	Level    string           `json:"level"`
	Threads  int              `json:"threads"`
	Repeat   int              `json:"repeat"`
	Texts    []bench.Spoken   `json:"texts,omitempty"`
	Rows     []bench.Verified `json:"rows,omitempty"`
	Foretold []bench.Foretold `json:"oracle,omitempty"`
}

// Run measures and prints.
func (c *benchSpeculateCmd) Run(s streams, log *slog.Logger) error {
	ctx, stop := untilInterrupted()
	defer stop()
	b, err := c.open(log)
	if err != nil {
		return err
	}
	report, err := b.measure(ctx)
	if err = errors.Join(err, b.open.close()); err != nil {
		if ctx.Err() != nil {
			return codedError{errors.New("interrupted; nothing was measured to the end"), exitInterrupted}
		}
		return err
	}
	if c.JSON {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	return report.write(s.out)
}

// speculationBench is what measures.
type speculationBench struct {
	c       *benchSpeculateCmd
	log     *slog.Logger
	open    closers
	file    *weights.File
	options engine.LoadOptions
	threads int
	gpu     bool
	settled bool
}

func (c *benchSpeculateCmd) open(log *slog.Logger) (b *speculationBench, err error) {
	b = &speculationBench{c: c, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.open.close())
		}
	}()
	machine := host.New("/")
	if b.threads, err = threads(machine, c.Threads); err != nil {
		return nil, err
	}
	m := memoryOptions{Memory: c.Memory, kvOptions: c.kvOptions, MaxRunning: 1}
	m.Ctx = max(256, c.Depth+c.Generate+2*spec.MaxNodes, c.Answer+256)
	if b.options, err = m.loadOptions(machine); err != nil {
		return nil, err
	}
	b.options.ID, b.options.MaxQueue, b.options.StallAfter, b.options.PrefixCache = c.engine().name(), 4, stallAfter, true
	b.options.Limits = sched.Limits{BatchTokens: defaultBatchTokens, Running: 1}
	var closeFile func() error
	if b.file, _, closeFile, err = c.engine().weights(b.options, nil, log); err != nil {
		return nil, err
	}
	b.open = append(b.open, closeFile)
	return b, b.device(&m)
}

// device opens what computes.
func (b *speculationBench) device(m *memoryOptions) error {
	gpu, err := b.c.gpu(b.c.Deterministic, b.log)
	if err != nil {
		return err
	}
	if gpu != nil {
		b.open = append(b.open, gpu.Close)
		b.options.Backend, b.gpu = gpu, true
		return m.fitGPU(&b.options, gpu)
	}
	b.options.Backend, err = b.c.cpuBackend(b.threads)
	if err == nil {
		b.open = append(b.open, b.options.Backend.Close)
	}
	return err
}

// start makes an engine that speculates so.
func (b *speculationBench) start(s engine.Speculation) (*engine.Engine, error) {
	o := b.options
	o.Speculation = s
	e, plan, err := engine.Load(b.file, o)
	if err != nil {
		return nil, err
	}
	b.open = append(b.open, e.Close)
	if b.settled && (b.gpu || b.c.Load != "compact") { // a file's once; a drafter's weights may become compact, too
		return e, nil
	}
	b.settled = true
	if b.gpu {
		notOnGPU(b.c.Load, b.log.Info)
	} else {
		settle(context.Background(), b.c.Load, o.Backend, planned(plan), b.log.Info, b.file)
	}
	return e, nil
}

func (b *speculationBench) measure(ctx context.Context) (*speculationReport, error) {
	r := &speculationReport{Schema: 1, Version: version(), Model: b.options.ID, Level: b.options.Backend.Info().Level, Threads: b.threads, Repeat: b.c.Repeat}
	plain, err := b.start(engine.Speculation{})
	if err != nil {
		return nil, err
	}
	if kinds := b.c.kinds(); len(kinds) > 0 {
		if r.Texts, err = b.speak(ctx, plain, kinds); err != nil {
			return nil, err
		}
	}
	return r, b.verify(ctx, plain, r)
}

func (b *speculationBench) progress(what string) { b.log.Info(what) }

func (b *speculationBench) speak(ctx context.Context, plain *engine.Engine, kinds []string) ([]bench.Spoken, error) {
	s := bench.Speaking{Plain: plain, Kinds: kinds, Temperatures: b.c.Temperature, Generate: b.c.Answer, Repeat: b.c.Repeat, Progress: b.progress, Loose: bench.Loose(b.gpu)}
	for name := range strings.SplitSeq(b.c.Proposers, ",") {
		name = strings.TrimSpace(name)
		o := speculateOptions{Speculate: name, DraftModel: b.c.DraftModel, Medusa: b.c.Medusa, Eagle: b.c.Eagle}
		there, why := o.there(b.c.modelArg)
		if b.c.Shape != "" && name != engine.SpeculateNGram {
			there, why = false, "random weights have none"
		}
		if !there {
			b.log.Info("left out", "proposer", name, "why", why)
			continue
		}
		speculation, err := o.open(modelOptions{modelArg: b.c.modelArg, Load: b.c.Load})
		if err != nil {
			return nil, err
		}
		if f := speculation.Draft; f != nil {
			b.open = append(b.open, f.Close)
		}
		speaker := bench.Speaker{Name: name}
		if speaker.Free, err = b.start(speculation); err != nil {
			return nil, err
		}
		speculation.Options.Always.SetChain(bench.FixedDepth)
		if speaker.Always, err = b.start(speculation); err != nil {
			return nil, err
		}
		s.Speakers = append(s.Speakers, speaker)
	}
	return bench.Speak(ctx, s)
}

func (b *speculationBench) verify(ctx context.Context, plain *engine.Engine, r *speculationReport) (err error) {
	v := bench.Verifying{Plain: plain, Wrong: bench.NewOracle(), Knows: bench.NewOracle(), Rows: b.c.Rows, Chances: b.c.Accept,
		Depth: b.c.Depth, Steps: b.c.Steps, Generate: b.c.Generate, Repeat: b.c.Repeat, Progress: b.progress, Loose: bench.Loose(b.gpu)}
	if len(v.Rows) > 0 {
		s := engine.Speculation{Proposer: v.Wrong}
		s.Options.Always.SetChain(spec.MaxDepth)
		if v.Always, err = b.start(s); err != nil {
			return err
		}
		if r.Rows, err = bench.VerifyCost(ctx, v); err != nil {
			return err
		}
	}
	if len(v.Chances) > 0 {
		v.Free = func() (*engine.Engine, error) { return b.start(engine.Speculation{Proposer: v.Knows}) }
		r.Foretold, err = bench.Foretell(ctx, v)
	}
	return err
}

// write prints the report for people.
func (r *speculationReport) write(w io.Writer) error {
	fmt.Fprintf(w, "%s, weir %s, level %s, %s, medians of %d rounds (least – greatest); ratios answer by answer, by turns, with 95 %% intervals\n", r.Model, r.Version, r.Level, plural(r.Threads, "thread", ""), r.Repeat)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Texts) > 0 {
		fmt.Fprintf(t, "\nproposer\ttext\ttemp.\tholds at place 1, 2, ...\ttokens/step, 4 ahead\ttokens/step\tplain tok/s\tspeculating\tratio\tof CPU time\n")
	}
	for _, x := range r.Texts {
		var held []string
		for _, a := range x.Acceptance {
			held = append(held, fmt.Sprintf("%.0f%%", 100*a))
		}
		fmt.Fprintf(t, "%s\t%s\t%g\t%s\t%.2f\t%.2f\t%.0f\t%.0f\t%s\t%s\n", x.Proposer, x.Text, x.Temperature, strings.Join(held, " "), x.FixedTokens, x.FreeTokens, x.PlainSpeed.Median, x.Speed.Median, x.Ratio, x.CPU)
	}
	if len(r.Rows) > 0 {
		fmt.Fprintf(t, "\nrows\tms\tchain, over one row\ttree, over one row\n")
	}
	for _, x := range r.Rows {
		fmt.Fprintf(t, "%d\t%.1f\t%s\t%s\n", x.Rows, x.Ms, spread(x.Chain), spread(x.Tree))
	}
	if len(r.Foretold) > 0 {
		fmt.Fprintf(t, "\noracle right\ttokens/step\tplain tok/s\tspeculating\tratio\tof CPU time\n")
	}
	for _, x := range r.Foretold {
		fmt.Fprintf(t, "%.0f%%\t%.2f\t%.1f\t%.1f\t%s\t%s\n", 100*x.Chance, x.TokensPerStep, x.Plain.Median, x.Speed.Median, x.Ratio, x.CPU)
	}
	return t.Flush()
}

func spread(s bench.Summary) string {
	return fmt.Sprintf("%.2f (%.2f – %.2f)", s.Median, s.Min, s.Max)
}
