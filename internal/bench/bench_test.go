package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/builtin"
	"weir/internal/engine"
	"weir/internal/sched"
	"weir/internal/weights"
)

var update = flag.Bool("update", false, "write testdata anew")

// start runs an engine on f, at a level, until the test ends.
func start(t *testing.T, f *weights.File, level kern.Level, s Settings) Options {
	t.Helper()
	const chunk = 32
	pool := cpu.NewPool(2)
	b, err := cpu.New(cpu.Options{Pool: pool, Level: level})
	if err != nil {
		t.Fatal(err)
	}
	e, plan, err := engine.Load(f, engine.LoadOptions{
		ID: "test", Backend: b, Budget: 1 << 30, BudgetFrom: "test", Context: s.Context(chunk), PageSize: 16,
		Limits: sched.Limits{BatchTokens: chunk, Running: s.Running()}, MaxQueue: s.Running() + 1, StallAfter: time.Minute, PrefixCache: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		b.Close()
		pool.Close()
	})
	return Options{Settings: s, Engine: e, File: f, Source: "test", Pool: pool, Level: level, KV: plan.KV, Chunk: chunk}
}

func builtIn(t *testing.T) *weights.File {
	t.Helper()
	f, err := weights.OpenBytes(builtin.Name, builtin.Model())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestRun measures a little of everything on the built-in model.
func TestRun(t *testing.T) {
	// A step takes half a millisecond: of three, a client that is held up may see none.
	s := Settings{Prompt: 40, Generate: 32, Depth: 5, Batches: []int{1, 3}, Served: 2, Structured: 3, Repeat: 2}
	o := start(t, builtIn(t), kern.Best(), s)
	var rounds []string
	o.Progress = func(what string) { rounds = append(rounds, what) }
	r, err := runOn(t.Context(), o, readPass)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"warming up", "round 1 of 2", "round 2 of 2"}; !slices.Equal(rounds, want) {
		t.Errorf("progress %q, want %q", rounds, want)
	}
	var names []string
	for _, res := range r.Results {
		names = append(names, res.Name)
		positive := []float64{res.TokensPerSecond.Min, res.StepMs.Min, res.GBps.Min, res.Gflops.Min, res.ReadShare.Min, res.PeakShare.Min,
			res.Floor.MemoryMs, res.Floor.ComputeMs, res.Overhead.StepUs, res.Overhead.Share}
		for i, v := range positive {
			if !(v > 0) || math.IsInf(v, 0) {
				t.Errorf("%s: figure %d is %v", res.Name, i, v)
			}
		}
		if len(res.Rounds) != 2 || res.Overhead.Share >= 1 {
			t.Errorf("%s: rounds %v, overhead %+v", res.Name, res.Rounds, res.Overhead)
		}
		if (res.Kind == Decode) != (res.ITLMs != nil) {
			t.Errorf("%s: latencies %v", res.Name, res.ITLMs)
		}
		// What a step takes and how many tokens it makes give the speed.
		perStep := res.TokensPerSecond.Max * res.StepMs.Min / 1e3
		if want := float64(max(res.Batch, map[Kind]int{Prefill: s.Prompt}[res.Kind])); math.Abs(perStep-want) > 1e-6*want {
			t.Errorf("%s: %v tokens a step, want %v", res.Name, perStep, want)
		}
	}
	if want := []string{"prefill 40", "decode, batch 1", "decode, batch 3", "decode, batch 2, clients' work beside", "decode, batch 2, through the server"}; !slices.Equal(names, want) {
		t.Errorf("measured %q, want %q", names, want)
	}
	if c := r.PrefixCache; c.Queried != 2*(40+4*5+4*5+6*5) || c.Hit != 0 {
		t.Errorf("prefix cache %+v: prompts must be new to it", c)
	}
	if r.Served == nil || !(r.Served.Min > 0) {
		t.Errorf("share through the server: %+v", r.Served)
	}
	if s := r.Structured; s == nil || !(s.Share.Low > 0 && s.MaskUs > 0 && s.MaskPart > 0 && s.MaskPart < 1) || len(s.held) != 2 || s.masks < 2*3*3 {
		t.Errorf("structured output: %+v", s)
	}
	if !(r.Limits.ReadGBps.Min > 0 && r.Limits.Gflops.Min > 0) {
		t.Errorf("limits %+v", r.Limits)
	}
}

// TestRunPortable: the limits are measured where there are no kernels, too.
func TestRunPortable(t *testing.T) {
	r, err := runOn(t.Context(), start(t, builtIn(t), kern.Portable, Settings{Generate: 1, Depth: 1, Batches: []int{1}, Repeat: 1}), readPass)
	if err != nil || !(r.Limits.Gflops.Min > 0) || !strings.Contains(r.Limits.ArithmeticMethod, "Go") {
		t.Errorf("limits %+v, %v", r.Limits, err)
	}
}

func TestRunIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := start(t, builtIn(t), kern.Best(), Settings{Prompt: 40, Generate: 3, Depth: 5, Batches: []int{2}, Repeat: 2})
	o.Progress = func(what string) {
		if what == "round 1 of 2" {
			cancel()
		}
	}
	if _, err := runOn(ctx, o, readPass); err == nil || ctx.Err() == nil {
		t.Errorf("a cancelled run gave %v", err)
	}
}

// TestRunRefuses: what would not measure what is asked for.
func TestRunRefuses(t *testing.T) {
	good := Settings{Prompt: 40, Generate: 3, Depth: 5, Batches: []int{1}, Repeat: 2}
	o := start(t, builtIn(t), kern.Best(), good)
	for want, change := range map[string]func(*Settings){
		"--prompt is -1":                      func(s *Settings) { s.Prompt = -1 },
		"--generate is 0":                     func(s *Settings) { s.Generate = 0 },
		"--depth is 0":                        func(s *Settings) { s.Depth = 0 },
		"--repeat is 0":                       func(s *Settings) { s.Repeat = 0 },
		"--batch has 0":                       func(s *Settings) { s.Batches = []int{0} },
		"nothing is measured":                 func(s *Settings) { s.Prompt, s.Batches = 0, nil },
		"but the model was made for 2048":     func(s *Settings) { s.Prompt = 2048 },
		"sequences would give way to each ot": func(s *Settings) { s.Batches = []int{60} },
	} {
		bad := o
		bad.Settings.Batches = slices.Clone(good.Batches)
		change(&bad.Settings)
		if _, err := runOn(t.Context(), bad, readPass); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", bad.Settings, err, want)
		}
	}
}

func at(ms ...int) []time.Time {
	epoch := time.Unix(1000, 0)
	var list []time.Time
	for _, v := range ms {
		list = append(list, epoch.Add(time.Duration(v)*time.Millisecond))
	}
	return list
}

func TestWindow(t *testing.T) {
	// The second sequence begins at 30; each then has 3 tokens more, the last at 62.
	w, err := newWindow([][]time.Time{at(0, 10, 20, 29, 40, 50, 60, 70), at(30, 41, 51, 62, 71)}, 3)
	if err != nil || w.took != 32*time.Millisecond || !slices.Equal(w.first, []int{4, 1}) {
		t.Fatalf("window %+v, %v", w, err)
	}
	var gaps []int
	for _, g := range w.gaps {
		gaps = append(gaps, int(g.Milliseconds()))
	}
	if want := []int{11, 10, 10, 11, 10, 11}; !slices.Equal(gaps, want) {
		t.Errorf("gaps %v, want %v", gaps, want)
	}
	if _, err := newWindow([][]time.Time{at(0, 10), at(30, 40)}, 1); !errors.Is(err, errApart) {
		t.Errorf("sequences that never decoded together: %v", err)
	}
}

// TestStagger: with a budget of 4 rows, two prompts of 6 and rows that decode.
func TestStagger(t *testing.T) {
	for _, c := range []struct{ batch, prompt, chunk, least int }{{1, 1, 256, 1}, {2, 6, 4, 6}, {64, 128, 256, 43}, {256, 1, 256, 256}} {
		if got := stagger(c.batch, c.prompt, c.chunk); got < c.least {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestSummary(t *testing.T) {
	got := Summarize([]float64{5, 1, 4, 2, 3})
	if want := (Summary{Median: 3, Min: 1, Max: 5, Q1: 2, Q3: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got.Spread() != 2.0/3 {
		t.Errorf("spread %v", got.Spread())
	}
	got = Summarize([]float64{10, 20})
	if want := (Summary{Median: 15, Min: 10, Max: 20, Q1: 12.5, Q3: 17.5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if (Summarize(nil) != Summary{}) || (Summary{}).Spread() != 0 {
		t.Error("no values give no figures")
	}
}

func TestNoise(t *testing.T) {
	busy, stolen, ok := parseStat("cpu  100 20 30 4000 50 6 7 80 900 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
	if !ok || math.Abs(busy-1.63) > 1e-9 || stolen != 0.8 {
		t.Errorf("busy %v, stolen %v, %v", busy, stolen, ok)
	}
	own, ok := parseSelfStat("12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9\n")
	if !ok || own != 3 {
		t.Errorf("own %v, %v", own, ok)
	}
	for _, s := range []string{"", "cpu", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8 9"} {
		if _, _, ok := parseStat(s); ok {
			t.Errorf("%q was read", s)
		}
		if _, ok := parseSelfStat(s); ok {
			t.Errorf("%q was read", s)
		}
	}
	now := time.Unix(1000, 0)
	d := disturbance{}
	d.add(cpuTime{when: now, busy: 10, own: 2, known: true}, cpuTime{when: now.Add(4 * time.Second), busy: 18, own: 8, stolen: 1, known: true})
	others, taken := d.CPUs()
	if others == nil || *others != 0.5 || *taken != 0.25 {
		t.Errorf("others took %v, the hypervisor %v", others, taken)
	}
	if disturbed(d) == "" {
		t.Error("half a processor is no disturbance")
	}
	d.add(cpuTime{}, cpuTime{when: now})
	if others, _ := d.CPUs(); others != nil {
		t.Error("what is not known was told")
	}
}

// example is a report with every field set.
func example() *Report {
	one := Summary{3, 1, 5, 2, 4}
	half := 0.5
	return &Report{
		Schema: SchemaVersion, Version: "v1", Time: "2026-11-23T12:00:00Z", Command: "weir bench engine",
		Machine:  Machine{"A Processor", 2, "linux", "amd64"},
		Engine:   EngineInfo{"cpu", "avx512", true, 2, "f16", 16, 256},
		Model:    ModelInfo{"a-model", "random weights", "llama", "Q8_0", 1_100_048_384, 1 << 30, 1 << 29},
		Settings: Settings{Prompt: 512, Generate: 32, Depth: 1, Batches: []int{1, 8}, Repeat: 5},
		Limits:   Limits{one, "a kernel", ProbeBytes, one, "another kernel"},
		Results: []Result{{
			Name: "decode, batch 8", Kind: Decode, Batch: 8, PromptTokens: 1, OutputTokens: 32,
			TokensPerSecond: one, Rounds: []float64{1, 2, 3, 4, 5}, StepMs: one, ITLMs: &ITL{1, 2, 3},
			GBPerStep: 1, GBps: one, ReadShare: Summary{Median: 0.912}, GflopPerStep: 2, Gflops: one, PeakShare: Summary{Median: 0.034},
			Floor: Floor{10.25, 3, one}, Overhead: Overhead{123.4, 0.0123},
			Spread: 0.7, OtherCPUs: &half, StolenCPUs: &half, Noisy: true, NoisyReason: "somebody was loud",
		}},
		PrefixCache: PrefixCache{1000, 10},
		Noise:       Noise{&half, &half, &half, &half, true},
	}
}

// TestFormats compares each form of a report with testdata. The JSON is an
// interface: a field may come, but none may go or change its name.
func TestFormats(t *testing.T) {
	for name, write := range map[string]func(*Report, *bytes.Buffer) error{
		"report.json": func(r *Report, b *bytes.Buffer) error { return r.WriteJSON(b) },
		"report.md":   func(r *Report, b *bytes.Buffer) error { return r.WriteMarkdown(b) },
		"report.txt":  func(r *Report, b *bytes.Buffer) error { return r.WriteText(b) },
	} {
		var got bytes.Buffer
		if err := write(example(), &got); err != nil {
			t.Fatal(err)
		}
		file := "testdata/" + name
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs (go test -update writes it anew):\n%s", file, got.String())
		}
	}
	var again Report
	data, _ := json.Marshal(example())
	if err := json.Unmarshal(data, &again); err != nil || fmt.Sprintf("%+v", again.Settings) != fmt.Sprintf("%+v", example().Settings) {
		t.Errorf("read back: %+v, %v", again.Settings, err)
	}
}

// TestFormatsOfUnknownNoise: where nothing is known, nothing is said to be quiet.
func TestFormatsOfUnknownNoise(t *testing.T) {
	r := example()
	r.Noise = Noise{}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "is not known here") {
		t.Errorf("%s, %v", b.String(), err)
	}
}
