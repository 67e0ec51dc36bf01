package bench

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/builtin"
	"weir/internal/engine"
	"weir/internal/sched"
	"weir/internal/weights"
)

// startBuiltin starts an engine on the built-in model until the test ends.
func startBuiltin(t *testing.T, s engine.Speculation) *engine.Engine {
	t.Helper()
	f, err := weights.OpenBytes(builtin.Name, builtin.Model())
	if err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New(cpu.Options{Threads: 1, Level: kern.Levels()[len(kern.Levels())-1]})
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := engine.Load(f, engine.LoadOptions{
		ID: builtin.Name, Backend: b, Budget: 1 << 30, BudgetFrom: "test", PageSize: 16, Context: 256, MaxQueue: 4,
		Limits: sched.Limits{BatchTokens: 64, Running: 1}, StallAfter: time.Minute, PrefixCache: true, Speculation: s,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); b.Close(); f.Close() })
	return e
}

// Answers are compared one by one, by turns: as many ratios as there are answers
// after the round that warms up, and what is guessed of noise is nothing.
func TestSpeakPairsAnswers(t *testing.T) {
	draft, err := weights.OpenBytes("draft", builtin.Draft())
	if err != nil {
		t.Fatal(err)
	}
	spec := engine.Speculation{Kind: engine.SpeculateDraft, Draft: draft}
	who := Speaker{Name: "draft", Free: startBuiltin(t, spec)}
	spec.Options.Always.SetChain(FixedDepth)
	who.Always = startBuiltin(t, spec)
	got, err := Speak(context.Background(), Speaking{
		Plain: startBuiltin(t, engine.Speculation{}), Speakers: []Speaker{who}, Kinds: []string{"chat", NoiseText},
		Temperatures: []float64{0}, Generate: 16, Repeat: 2, Progress: func(string) {},
	})
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	chat, noise := got[0], got[1]
	if len(chat.Each) != 2*len(texts()["chat"]) || len(noise.Each) != 2*noisePrompts || noise.Temperature != noiseTemperature {
		t.Errorf("%d pairs of chat, %d of noise at temperature %g", len(chat.Each), len(noise.Each), noise.Temperature)
	}
	if chat.FixedTokens < 2 || noise.FixedTokens > 1.5 {
		t.Errorf("%.2f tokens a step of chat, %.2f of noise", chat.FixedTokens, noise.FixedTokens)
	}
	if !(chat.Ratio.Low <= chat.Ratio.Median && chat.Ratio.Median <= chat.Ratio.High) || !(chat.Ratio.Low > 0) {
		t.Errorf("a ratio of %v", chat.Ratio)
	}
}

// An answer's ratio is that of its own pair, so that a machine that is slow for a
// while does not count.
func TestPairsCompare(t *testing.T) {
	var p pairs
	for i := range 9 {
		slow := time.Duration(1 + 9*(i%3))
		p.add(spoken{took: slow * 1100 * time.Millisecond, cpu: slow * 2 * time.Second, after: 10}, spoken{took: slow * time.Second, cpu: slow * time.Second, after: 10})
	}
	c := p.compare()
	for _, r := range []struct{ got, want float64 }{{c.Ratio.Median, 1.1}, {c.Ratio.Low, 1.1}, {c.Ratio.High, 1.1}, {c.CPU.Median, 2}} {
		if math.Abs(r.got-r.want) > 1e-9 {
			t.Errorf("%+v: want 1.1 throughout, and 2", c)
		}
	}
}

func TestNoiseIsTheSame(t *testing.T) {
	a, b := noise(1, 300), noise(1, 300)
	if !slices.Equal(a, b) || slices.Equal(a, noise(2, 300)) || slices.Max(a) >= 300 || slices.Min(a) < 0 {
		t.Errorf("%v, %v", a, b)
	}
	if !slices.Contains(TextKinds(), NoiseText) {
		t.Error("noise is no kind of text")
	}
}
