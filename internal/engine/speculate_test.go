package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/builtin"
	"weir/internal/llm"
	"weir/internal/spec"
	"weir/internal/weights"
)

// openedBytes opens a GGUF until the test ends.
func openedBytes(t testing.TB, b []byte) *weights.File {
	t.Helper()
	f, err := weights.OpenBytes("draft", b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// tinyDraft is the tiny model with its weights rounded: it often says the same.
func tinyDraft(window int) func(testing.TB) Speculation {
	return func(t testing.TB) Speculation {
		return Speculation{Kind: SpeculateDraft, Draft: openedBytes(t, tinyGGUFOf(t, window, weights.Q8_0))}
	}
}

// tinyMedusa are Medusa heads with random weights; the first has the model's own
// output matrix and so repeats what was likely, which at times is right.
func tinyMedusa(t testing.TB) Speculation {
	rng := rand.New(rand.NewPCG(5, 5))
	var tensors []weights.Tensor
	random := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		row := make([]float32, n)
		for i := range row {
			row[i] = float32(rng.NormFloat64() * 0.2)
		}
		tensors = append(tensors, f32Tensor(name, shape, row))
	}
	for d := range 3 {
		random(fmt.Sprintf("medusa_head.%d.0.linear.weight", d), tinyWidth, tinyWidth)
		random(fmt.Sprintf("medusa_head.%d.0.linear.bias", d), tinyWidth)
		random(fmt.Sprintf("medusa_head.%d.1.weight", d), tinyVocab, tinyWidth)
	}
	var b bytes.Buffer
	if err := weights.WriteSafetensors(&b, tensors); err != nil {
		t.Fatal(err)
	}
	f, err := weights.OpenSafetensors("heads", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return Speculation{Kind: SpeculateMedusa, Draft: f}
}

// tinyEagle are EAGLE-1 heads with random weights.
func tinyEagle(t testing.TB) Speculation {
	rng := rand.New(rand.NewPCG(8, 8))
	var tensors []weights.Tensor
	random := func(name string, shape ...int) {
		row := make([]float32, shape[0]*shape[len(shape)-1])
		if len(shape) == 1 {
			row = row[:shape[0]]
		}
		for i := range row {
			row[i] = float32(rng.NormFloat64() * 0.3)
		}
		tensors = append(tensors, f32Tensor(name, shape, row))
	}
	const headDim = tinyWidth / tinyHeads
	random("fc.weight", tinyWidth, 2*tinyWidth)
	random("layers.0.self_attn.q_proj.weight", tinyHeads*headDim, tinyWidth)
	random("layers.0.self_attn.k_proj.weight", tinyKVHeads*headDim, tinyWidth)
	random("layers.0.self_attn.v_proj.weight", tinyKVHeads*headDim, tinyWidth)
	random("layers.0.self_attn.o_proj.weight", tinyWidth, tinyHeads*headDim)
	random("layers.0.post_attention_layernorm.weight", tinyWidth)
	random("layers.0.mlp.gate_proj.weight", tinyFFN, tinyWidth)
	random("layers.0.mlp.up_proj.weight", tinyFFN, tinyWidth)
	random("layers.0.mlp.down_proj.weight", tinyWidth, tinyFFN)
	var b bytes.Buffer
	if err := weights.WriteSafetensors(&b, tensors); err != nil {
		t.Fatal(err)
	}
	f, err := weights.OpenSafetensors("eagle", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"model_type":"llama","hidden_size":%d,"intermediate_size":%d,"num_hidden_layers":1,"num_attention_heads":%d,"num_key_value_heads":%d,"vocab_size":%d}`,
		tinyWidth, tinyFFN, tinyHeads, tinyKVHeads, tinyVocab)
	return Speculation{Kind: SpeculateEagle, Draft: f, Config: []byte(config)}
}

// recorder notes the hidden states that the engine shows, by request and position.
type recorder struct {
	spec.Proposer
	seen map[string][]float32
}

func (r *recorder) Observe(a *spec.Ask, from int, rows []int, read func(tap, row int) []float32) {
	for i, row := range rows {
		key := fmt.Sprint(a.Request.ID, " ", a.Choice, " ", from+i)
		var state []float32
		for tap := range 2 {
			state = append(state, read(tap, row)...)
		}
		if from+i+1 >= len(a.Tokens) {
			panic("a state without the token that follows it")
		}
		r.seen[key] = state
	}
}

// What proposers see of the model's hidden states is the same, position by position,
// with chains, trees and without.
func TestHiddenStatesHoweverComputed(t *testing.T) {
	requests := randomRequests(12)
	want := alone(t, usual, requests)
	record := func(draft DraftOptions) map[string][]float32 {
		c := usual
		r := &recorder{oracle(requests, want)(), map[string][]float32{}}
		c.proposer, c.draft, c.noPrefixCache = func() spec.Proposer { return r }, draft, true
		c.tap = []int{1, tinyLayers}
		e := startTiny(t, c)
		for i, q := range requests {
			wants(t, e, q, want[i])
		}
		return r.seen
	}
	chains, trees := DraftOptions{}, treeDrafts()
	one := DraftOptions{Width: 1}
	one.Always.SetChain(1)
	plain := record(one)
	for name, got := range map[string]map[string][]float32{"chains": record(chains), "trees": record(trees)} {
		for key, state := range plain {
			if other, ok := got[key]; ok && fmt.Sprint(other) != fmt.Sprint(state) {
				t.Fatalf("%s: the states of %s differ", name, key)
			}
		}
		if len(got) < len(plain)*9/10 || len(plain) < 100 {
			t.Errorf("%s: %d positions were shown, %d otherwise", name, len(got), len(plain))
		}
	}
}

// The proposers that compute change no answer either: chains and trees, sampled
// and greedy, with pages short and preemption.
func TestSameTokensWithProposers(t *testing.T) {
	requests := randomRequests(30)
	for _, window := range []int{0, 24} {
		base := usual
		base.window = window
		want := alone(t, base, requests)
		chain, tree := DraftOptions{Width: 1}, treeDrafts()
		chain.Always.SetChain(3)
		for _, v := range []struct {
			name   string
			spec   func(testing.TB) Speculation
			drafts DraftOptions
			change func(*config)
		}{
			{"draft model, chains", tinyDraft(window), chain, func(*config) {}},
			{"draft model, trees", tinyDraft(window), tree, func(c *config) { c.pageSize, c.batchTokens = 5, 40 }},
			{"draft model, pages short", tinyDraft(window), chain, func(c *config) { c.sequences, c.running, c.pageSize = 1, 16, 4 }},
			{"heads, trees", tinyMedusa, tree, func(*config) {}},
			{"heads, pages short", tinyMedusa, tree, func(c *config) { c.sequences, c.running, c.pageSize = 1, 16, 4 }},
			{"eagle, chains", tinyEagle, chain, func(*config) {}},
			{"eagle, pages short", tinyEagle, tree, func(c *config) { c.sequences, c.running, c.pageSize = 1, 16, 4 }},
			{"draft model, as it pays", tinyDraft(window), DraftOptions{}, func(*config) {}},
			{"heads, as it pays", tinyMedusa, DraftOptions{}, func(c *config) { c.running = 1 }},
			{"eagle, as it pays", tinyEagle, DraftOptions{}, func(c *config) { c.running = 2 }},
		} {
			t.Run(fmt.Sprintf("%s, window %d", v.name, window), func(t *testing.T) {
				c := variant{name: v.name, config: base}
				c.speculation, c.draft = v.spec, v.drafts
				c.blind = strings.HasPrefix(v.name, "eagle") // random heads; package draft compares real ones
				c.frugal = c.draft.Width == 0
				v.change(&c.config)
				together(t, c, requests, want)
			})
		}
	}
}

// The built-in model's own draft model and heads guess well, greedy and sampled.
func TestBuiltinProposers(t *testing.T) {
	for _, c := range []struct {
		name        string
		speculation Speculation
		temperature float64
		least       float64 // tokens a step
	}{
		{"draft", Speculation{Kind: SpeculateDraft}, 0, 3},
		{"draft, sampled", Speculation{Kind: SpeculateDraft}, 0.8, 2},
		{"medusa", Speculation{Kind: SpeculateMedusa}, 0, 2},
		{"medusa, sampled", Speculation{Kind: SpeculateMedusa}, 0.8, 1.7},
	} {
		t.Run(c.name, func(t *testing.T) {
			var plain, guessed []int32
			plain, _ = sayBuiltin(t, Speculation{}, c.temperature)
			s := c.speculation
			s.Options.Always.SetChain(map[string]int{SpeculateDraft: 4, SpeculateMedusa: 3}[s.Kind])
			guessed, stats := sayBuiltin(t, s, c.temperature)
			if fmt.Sprint(plain) != fmt.Sprint(guessed) {
				t.Errorf("the answer changed:\n got %v\nwant %v", guessed, plain)
			}
			a := float64(stats.Held+stats.Drafts) / float64(stats.Drafts)
			t.Logf("%.2f tokens a step with a draft, held at %v of %d", a, stats.HeldAt[:4], stats.Drafts)
			if a < c.least {
				t.Errorf("%.2f tokens a step, want %.1f", a, c.least)
			}
		})
	}
}

// sayBuiltin has the built-in model answer on a CPU, and tells the tokens.
func sayBuiltin(t *testing.T, s Speculation, temperature float64) ([]int32, Stats) {
	t.Helper()
	b, err := cpu.New(cpu.Options{Threads: 1, Level: kern.Levels()[len(kern.Levels())-1]})
	if err != nil {
		t.Fatal(err)
	}
	a, stats := sayBuiltinOn(t, b, backend.KVF32, s, temperature)
	return a.ids(), stats
}

// sayBuiltinOn has the built-in model answer on a backend, which it closes.
func sayBuiltinOn(t *testing.T, b backend.Backend, cells backend.KVType, s Speculation, temperature float64) (reply, Stats) {
	t.Helper()
	f, err := weights.OpenBytes(builtin.Name, builtin.Model())
	if err != nil {
		t.Fatal(err)
	}
	switch s.Kind {
	case SpeculateDraft:
		s.Draft = openedBytes(t, builtin.Draft())
	case SpeculateMedusa:
		if s.Draft, err = weights.OpenSafetensors("heads", builtin.MedusaHeads()); err != nil {
			t.Fatal(err)
		}
		s.Config = builtin.MedusaConfig()
	}
	c := usual
	c.kvType, c.draft = cells, s.Options
	c.speculation = func(testing.TB) Speculation { return s }
	e := newTiny(t, f, b, c)
	p := llm.DefaultParams()
	p.MaxTokens, p.Temperature, p.Seed, p.Logprobs = ptr(120), temperature, ptr(uint64(4)), ptr(2)
	a := mustCollect(t, e, &llm.Request{ID: "r", Prompt: &llm.Chat{Messages: []byte(`[{"role":"user","content":"What is paged attention?"}]`)}, Params: p})
	stats := counted(t, e)
	e.Close()
	b.Close()
	return a.choices[0], stats
}

// A draft model of another vocabulary is refused, and the message says which
// tokens differ.
func TestOtherVocabularyIsRefused(t *testing.T) {
	f := openedBytes(t, tinyGGUF(t, 0))
	b, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, _, err = Load(f, LoadOptions{ID: "tiny", Backend: b, Budget: 1 << 30, PageSize: 16, Limits: schedLimits(usual), MaxQueue: 1, StallAfter: 1,
		Speculation: Speculation{Kind: SpeculateDraft, Draft: openedBytes(t, builtin.Draft())}})
	if err == nil || !strings.Contains(err.Error(), "tokens differ") || !strings.Contains(err.Error(), "there and") {
		t.Errorf("got %v", err)
	}
}
