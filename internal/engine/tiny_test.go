package engine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/llm"
	"weir/internal/model"
	"weir/internal/sched"
	"weir/internal/spec"
	"weir/internal/weights"
)

// The tests run a real, if tiny, model through the real backend: a llama of two
// layers with random weights and a vocabulary of bytes. What it says is
// gibberish, but the same gibberish every time.

const (
	tinyWidth, tinyHeads, tinyKVHeads, tinyFFN, tinyLayers = 32, 4, 2, 64, 2
	tinyVocab                                              = 260
	tinyContext                                            = 256
)

const tinyTemplate = `{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`

// tinyGGUF makes the model's file; window is its sliding window, 0 for none.
func tinyGGUF(t testing.TB, window int) []byte { return tinyGGUFOf(t, window, weights.F32) }

// tinyGGUFOf makes it with matrices of a type.
func tinyGGUFOf(t testing.TB, window int, typ weights.Type) []byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	matrix := func(name string, rows, cols int, scale float64) weights.Tensor {
		row := make([]float32, rows*cols)
		for i := range row {
			row[i] = float32(rng.NormFloat64() * scale)
		}
		size, err := typ.RowBytes(cols)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, rows*size)
		weights.QuantizeRow(typ, data, row)
		return weights.Tensor{Name: name, Type: typ, Shape: []int{rows, cols}, Data: data}
	}
	ones := func(name string) weights.Tensor {
		row := make([]float32, tinyWidth)
		for i := range row {
			row[i] = 1
		}
		return f32Tensor(name, []int{tinyWidth}, row)
	}
	const headDim = tinyWidth / tinyHeads
	tensors := []weights.Tensor{matrix("token_embd.weight", tinyVocab, tinyWidth, 1), ones("output_norm.weight"), matrix("output.weight", tinyVocab, tinyWidth, 0.4)}
	for i := range tinyLayers {
		n := func(s string) string { return fmt.Sprintf("blk.%d.%s.weight", i, s) }
		tensors = append(tensors, ones(n("attn_norm")), ones(n("ffn_norm")),
			matrix(n("attn_q"), tinyHeads*headDim, tinyWidth, 0.5), matrix(n("attn_k"), tinyKVHeads*headDim, tinyWidth, 0.5),
			matrix(n("attn_v"), tinyKVHeads*headDim, tinyWidth, 0.3), matrix(n("attn_output"), tinyWidth, tinyHeads*headDim, 0.3),
			matrix(n("ffn_gate"), tinyFFN, tinyWidth, 0.3), matrix(n("ffn_up"), tinyFFN, tinyWidth, 0.3), matrix(n("ffn_down"), tinyWidth, tinyFFN, 0.2))
	}
	var out bytes.Buffer
	if err := weights.WriteGGUF(&out, tinyMeta(window), tensors); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func f32Tensor(name string, shape []int, row []float32) weights.Tensor {
	data := make([]byte, 4*len(row))
	weights.QuantizeRow(weights.F32, data, row)
	return weights.Tensor{Name: name, Type: weights.F32, Shape: shape, Data: data}
}

func tinyMeta(window int) []weights.KV {
	tokens, types := tinyTokens()
	meta := []weights.KV{
		{Key: "general.architecture", Value: "llama"}, {Key: "general.name", Value: "tiny"},
		{Key: "llama.block_count", Value: uint32(tinyLayers)}, {Key: "llama.context_length", Value: uint32(tinyContext)},
		{Key: "llama.embedding_length", Value: uint32(tinyWidth)}, {Key: "llama.feed_forward_length", Value: uint32(tinyFFN)},
		{Key: "llama.attention.head_count", Value: uint32(tinyHeads)}, {Key: "llama.attention.head_count_kv", Value: uint32(tinyKVHeads)},
		{Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)}, {Key: "llama.rope.freq_base", Value: float32(10000)},
		{Key: "llama.rope.dimension_count", Value: uint32(tinyWidth / tinyHeads)}, {Key: "llama.vocab_size", Value: uint32(tinyVocab)},
		{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: "gpt-2"},
		{Key: "tokenizer.ggml.tokens", Value: tokens}, {Key: "tokenizer.ggml.token_type", Value: types}, {Key: "tokenizer.ggml.merges", Value: []string{"a b"}},
		{Key: "tokenizer.ggml.bos_token_id", Value: uint32(257)}, {Key: "tokenizer.ggml.eos_token_id", Value: uint32(258)},
		{Key: "tokenizer.ggml.add_bos_token", Value: false}, {Key: "tokenizer.chat_template", Value: tinyTemplate},
	}
	if window > 0 {
		meta = append(meta, weights.KV{Key: "llama.attention.sliding_window", Value: uint32(window)})
	}
	return meta
}

// tinyTokens is GPT-2's alphabet of bytes, "ab", and three special tokens.
func tinyTokens() (tokens []string, types []int32) {
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r, next = next, next+1
		}
		tokens, types = append(tokens, string(r)), append(types, 1)
	}
	tokens, types = append(tokens, "ab", "<bos>", "<eos>", "<pad>"), append(types, 1, 3, 3, 3)
	return tokens, types
}

// config is what a test varies.
type config struct {
	pageSize, batchTokens, running, threads int
	drawers                                 int
	sequences                               float64 // of full length that the pools hold; small values force preemption
	kvType                                  backend.KVType
	window                                  int
	queue                                   int
	noPrefixCache                           bool
	proposer                                func() spec.Proposer
	draft                                   DraftOptions // empty: chains of 4
	speculation                             func(testing.TB) Speculation
	tap                                     []int // layers whose inputs are kept
	weights                                 weights.Type
	level                                   kern.Level // 0: the portable one
	deterministic                           bool
	device                                  bool // tokens are drawn by what computes
	unchecked                               bool // the books are not recounted after each step
	store                                   CacheStore
	saveLimit                               int64
	identity                                []Named
}

var usual = config{pageSize: 16, batchTokens: 64, running: 8, threads: 1, sequences: 8, kvType: backend.KVF32, queue: 1000}

// startTiny starts an engine on the tiny model. When the test ends it checks
// that nothing is left: no request, no page, no goroutine.
func startTiny(t testing.TB, c config) *Engine {
	t.Helper()
	before := runtime.NumGoroutine()
	f, err := weights.OpenBytes("tiny", tinyGGUFOf(t, c.window, c.weights))
	if err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New(cpu.Options{Threads: c.threads, Level: max(c.level, kern.Portable), Deterministic: c.deterministic})
	if err != nil {
		t.Fatal(err)
	}
	computes := backend.Backend(b)
	if c.device {
		computes = drawingBackend{b}
	}
	e := newTiny(t, f, computes, c)
	t.Cleanup(func() {
		<-e.Drain()
		waitFor(t, "all pages free", func() bool { s := e.Stats(); return s.FreePages == s.Pages })
		e.Close()
		if p, ok := e.opts.Proposer.(interface{ Held() int }); ok && p.Held() != 0 {
			t.Errorf("the proposer holds %d pages of sequences that have ended", p.Held())
		}
		b.Close()
		f.Close()
		waitFor(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
	})
	return e
}

func newTiny(t testing.TB, f *weights.File, b backend.Backend, c config) *Engine {
	t.Helper()
	o := LoadOptions{
		ID: "tiny", Backend: b, Budget: 1 << 34, BudgetFrom: "test", KVType: c.kvType, PageSize: c.pageSize,
		Limits:   schedLimits(c),
		MaxQueue: c.queue, MaxQueuedTokens: 1 << 20, StallAfter: time.Minute, PrefixCache: !c.noPrefixCache,
		PinnedShare: 0.5, CacheStore: c.store, CacheSaveLimit: cmp.Or(c.saveLimit, 1<<30), CacheIdentity: c.identity,
	}
	o.Speculation.Options = c.draft
	if c.proposer != nil {
		o.Speculation.Proposer, o.Speculation.Options = c.proposer(), c.draft
		if c.draft.Width == 0 {
			o.Speculation.Options.Always.SetChain(4)
		}
	}
	if c.speculation != nil {
		o.Speculation = c.speculation(t)
		o.Speculation.Options = c.draft
	}
	e, err := load(f, o, func(_ MemoryPlan, eo *Options) {
		eo.Check, eo.Drawers = !c.unchecked, c.drawers
		if c.tap != nil {
			eo.Forward.(model.Hidden).Tap(c.tap)
		}
		for i, g := range eo.KV.Groups {
			in := PlanInput{PageSize: c.pageSize, Chunk: c.batchTokens}
			eo.KV.Pages[i] = int(c.sequences * float64(in.pagesFor(g, tinyContext)))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func schedLimits(c config) sched.Limits {
	return sched.Limits{BatchTokens: c.batchTokens, Running: c.running, LogitRows: c.running + 4 + c.draft.Always.Len()}
}

// counted is what the engine has counted between two steps. Clients have their tokens
// before the step that made them is counted, so that Stats alone may lack it.
func counted(t testing.TB, e *Engine) Stats {
	t.Helper()
	if _, err := e.Inspect(context.Background()); err != nil {
		t.Error(err)
	}
	return e.Stats()
}

// waitFor gives other goroutines the processor until something is true. Its limit is
// there to tell what a test hangs on.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Errorf("waited in vain: %s\n%s", what, buf[:runtime.Stack(buf, true)])
			return
		}
	}
}

// answer is all that a request returned, by choice.
type answer struct {
	prompt  llm.PromptInfo
	choices []reply
	usage   llm.Usage
}

type reply struct {
	text   string
	tokens []llm.Token
	finish llm.Finish
	stop   string
}

func (r reply) ids() []int32 {
	var ids []int32
	for _, t := range r.tokens {
		ids = append(ids, t.ID)
	}
	return ids
}

// collect runs a request to its end.
func collect(ctx context.Context, g llm.Generator, r *llm.Request) (answer, error) {
	a := answer{choices: make([]reply, max(1, r.Params.N))}
	for ev, err := range g.Generate(ctx, r) {
		if err != nil {
			return a, err
		}
		if ev.Prompt != nil {
			a.prompt = *ev.Prompt
		}
		if ev.Usage != nil {
			a.usage = *ev.Usage
			continue
		}
		c := &a.choices[ev.Choice]
		if c.finish != llm.FinishNone {
			return a, fmt.Errorf("choice %d went on after it had finished", ev.Choice)
		}
		c.text += ev.Text
		c.tokens = append(c.tokens, ev.Tokens...)
		c.finish = ev.Finish
		c.stop = ev.StopString
	}
	return a, nil
}

func mustCollect(t testing.TB, g llm.Generator, r *llm.Request) answer {
	t.Helper()
	a, err := collect(context.Background(), g, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ptr[T any](v T) *T { return &v }

// pull starts a request and takes its events one at a time.
func pull(g llm.Generator, r *llm.Request) (next func() (llm.Event, error, bool), stop func()) {
	return iter.Pull2(g.Generate(context.Background(), r))
}
