package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/llm"
	"weir/internal/spec"
	"weir/internal/weights"
)

// randomRequest asks for anything that a request can ask for, but nothing that
// ends it early by chance of timing.
func randomRequest(rng *rand.Rand, i int) *llm.Request {
	prompt := make(llm.Tokens, 1+rng.IntN(90))
	period := len(prompt)
	if rng.IntN(3) == 0 { // something that repeats, for speculation
		period = 1 + rng.IntN(6)
	}
	for j := range prompt {
		prompt[j] = int32(rng.IntN(256))
		if j >= period {
			prompt[j] = prompt[j-period]
		}
	}
	p := llm.DefaultParams()
	p.MaxTokens = ptr(1 + rng.IntN(40))
	p.Seed = ptr(rng.Uint64())
	p.IgnoreEOS = rng.IntN(2) == 0
	switch rng.IntN(4) {
	case 0:
		p.Temperature = 0
	case 1:
		p.TopK, p.TopP = 20, 0.9
	case 2:
		p.MinP, p.RepetitionPenalty, p.FrequencyPenalty, p.PresencePenalty = 0.02, 1.1, 0.3, 0.2
	}
	if rng.IntN(3) == 0 {
		p.Logprobs = ptr(rng.IntN(4))
	}
	if rng.IntN(4) == 0 {
		p.PromptLogprobs = ptr(rng.IntN(3))
	}
	if rng.IntN(4) == 0 {
		p.N = 1 + rng.IntN(3)
	}
	if rng.IntN(4) == 0 {
		p.Stop = []string{string(rune('a' + rng.IntN(26))), "xyz"}
	}
	return &llm.Request{ID: fmt.Sprint("r", i), Prompt: prompt, Params: p, Priority: rng.IntN(3)}
}

func randomRequests(n int) []*llm.Request {
	rng := rand.New(rand.NewPCG(11, 12))
	var rs []*llm.Request
	for i := range n {
		rs = append(rs, randomRequest(rng, i))
	}
	return rs
}

// TestSameTokensHoweverComputed is the heart of the engine's promise: what a
// request returns (tokens, text, log probabilities) does not depend on who runs
// beside it, on page size, chunk size, threads, or on being preempted.
func TestSameTokensHoweverComputed(t *testing.T) {
	for _, family := range []struct {
		name   string
		window int
		kv     backend.KVType
	}{{"full attention, f32", 0, backend.KVF32}, {"full attention, f16", 0, backend.KVF16}, {"full attention, q4_0", 0, backend.KVQ4}, {"sliding window", 24, backend.KVF32}} {
		t.Run(family.name, func(t *testing.T) {
			base := usual
			base.window, base.kvType = family.window, family.kv
			requests := randomRequests(40)
			want := alone(t, base, requests)
			for _, v := range variants(base, oracle(requests, want)) {
				t.Run(v.name, func(t *testing.T) { together(t, v, requests, want) })
			}
		})
	}
}

// The same holds at every level of the processor, within its two classes of
// arithmetic; and deterministic is what the portable level says.
func TestSameTokensAtEveryLevel(t *testing.T) {
	base := usual
	base.kvType, base.weights = backend.KVQ8, weights.Q8_0
	requests := randomRequests(20)
	portable := alone(t, base, requests)
	for _, base.level = range kern.Levels()[1:] {
		base := base
		t.Run(base.level.String(), func(t *testing.T) {
			want := alone(t, base, requests)
			for _, v := range variants(base, oracle(requests, want)) {
				t.Run(v.name, func(t *testing.T) { together(t, v, requests, want) })
			}
		})
		base.deterministic = true
		t.Run(base.level.String()+", deterministic", func(t *testing.T) {
			together(t, variant{name: "deterministic", config: base}, requests, portable)
		})
	}
}

type variant struct {
	name string
	config
	preempts bool
	blind    bool // guesses may all be wrong
	frugal   bool // there may be few guesses, as they pay by a clock that other work on the machine disturbs
}

func variants(base config, oracle func() spec.Proposer) []variant {
	mk := func(name string, change func(*config)) variant {
		v := variant{name: name, config: base}
		change(&v.config)
		v.frugal = v.draft.Width > 0 && v.draft.Always.Len() == 0
		return v
	}
	vs := []variant{
		mk("together", func(c *config) {}),
		mk("page size 1", func(c *config) { c.pageSize = 1 }),
		mk("page size 7", func(c *config) { c.pageSize = 7 }),
		mk("page size 64", func(c *config) { c.pageSize = 64 }),
		mk("chunks of 9", func(c *config) { c.batchTokens = 9 }),
		mk("chunks of 300", func(c *config) { c.batchTokens = 300 }),
		mk("one at a time", func(c *config) { c.running = 1 }),
		mk("32 at a time", func(c *config) { c.running, c.batchTokens = 32, 48 }),
		mk("draws side by side", func(c *config) { c.drawers, c.running, c.proposer, c.draft = 3, 16, oracle, treeDrafts() }),
		mk("drawn on the device", func(c *config) { c.device = true }),
		mk("drawn on the device, pages short", func(c *config) { c.device, c.sequences, c.running, c.pageSize = true, 1, 16, 4 }),
		mk("drawn on the device, speculation", func(c *config) { c.device, c.proposer, c.draft = true, oracle, treeDrafts() }),
		mk("3 threads", func(c *config) { c.threads = 3 }),
		mk("no prefix cache", func(c *config) { c.noPrefixCache = true }),
		mk("speculation", func(c *config) { c.proposer = oracle }),
		mk("speculation, trees", func(c *config) { c.proposer, c.draft = oracle, treeDrafts() }),
		mk("speculation, trees alone", func(c *config) { c.proposer, c.draft, c.running, c.pageSize = oracle, treeDrafts(), 1, 4 }),
		mk("speculation, trees, pages short", func(c *config) {
			c.proposer, c.draft, c.sequences, c.running, c.pageSize = oracle, treeDrafts(), 1, 16, 4
		}),
		mk("speculation as it pays", func(c *config) { c.proposer, c.draft = oracle, DraftOptions{Width: 3} }),
		mk("speculation alone", func(c *config) { c.proposer, c.running, c.pageSize = oracle, 1, 4 }),
		mk("speculation, pages short", func(c *config) { c.proposer, c.sequences, c.running, c.pageSize = oracle, 1, 16, 4 }),
		mk("prefix cache under pressure", func(c *config) { c.sequences, c.pageSize = 1.2, 4 }),
	}
	short := mk("pages short", func(c *config) { c.sequences, c.running, c.pageSize = 1, 16, 4 })
	// A window's layers hold so little that nobody is preempted for them; pages
	// run out only where sequences keep all they have.
	short.preempts = base.window == 0
	return append(vs, short)
}

// knowing proposes what a request returned alone, with some mistakes.
type knowing struct {
	rng    *rand.Rand
	prompt int
	answer []int32
}

// Guess makes a tree of the shape. The branch that comes true, if one does, is
// any of those that the shape has.
func (k *knowing) Guess(t, shape *spec.Tree, tokens []int32) {
	right := map[int]bool{spec.Root: true} // nodes so far that come true
	nodes := map[int]int{spec.Root: spec.Root}
	for n := range shape.Len() {
		parent, at := int(shape.Parent[n]), len(tokens)-k.prompt+int(shape.Depth[n])-1
		id := int32(k.rng.IntN(tinyVocab))
		if right[parent] && at < len(k.answer) && k.rng.IntN(4) != 0 {
			id = k.answer[at]
		}
		nodes[n] = t.Add(nodes[parent], id)
		right[n] = right[parent] && at < len(k.answer) && id == k.answer[at]
	}
}

// oracle knows the answers to the requests.
func oracle(requests []*llm.Request, want []answer) func() spec.Proposer {
	start := func(a *spec.Ask) spec.Guesser {
		for i := range requests {
			if requests[i] == a.Request {
				ids := want[i].choices[a.Choice].ids()
				return &knowing{rand.New(rand.NewPCG(uint64(i), 1)), len(a.Request.Prompt.(llm.Tokens)), ids}
			}
		}
		return &spec.NGram{}
	}
	return func() spec.Proposer { return spec.Each("oracle", start) }
}

// treeDrafts are drafts of a shape that has everything: branches at the root and
// below, one that ends early, and nodes of one branch that do not lie together.
func treeDrafts() DraftOptions {
	o := DraftOptions{Width: 3}
	for _, n := range []struct {
		parent int
		rank   int32
	}{{spec.Root, 0}, {0, 0}, {spec.Root, 1}, {0, 1}, {2, 0}, {1, 0}, {3, 0}, {spec.Root, 2}, {6, 0}} {
		o.Always.Add(n.parent, n.rank)
	}
	return o
}

func alone(t *testing.T, c config, requests []*llm.Request) []answer {
	c.noPrefixCache = true
	e := startTiny(t, c)
	var all []answer
	for _, r := range requests {
		all = append(all, mustCollect(t, e, r))
	}
	return all
}

// wants runs a request and compares all but the number of cached tokens, which
// tells about the engine and not about the answer.
func wants(t *testing.T, e *Engine, r *llm.Request, want answer) {
	got, err := collect(context.Background(), e, r)
	got.usage.CachedTokens, got.usage.Guesses = want.usage.CachedTokens, nil
	if err != nil {
		t.Errorf("%s: %v", r.ID, err)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("%s differs:\n got %+v\nwant %+v", r.ID, got, want)
	}
}

func together(t *testing.T, v variant, requests []*llm.Request, want []answer) {
	e := startTiny(t, v.config)
	for range 2 { // the second time the prefix cache is warm
		var wg sync.WaitGroup
		for i, r := range requests {
			wg.Go(func() { wants(t, e, r, want[i]) })
		}
		wg.Wait()
	}
	// Of one sequence's pages all may be evicted before anybody finds them again.
	if s := counted(t, e).Prefix; !v.noPrefixCache && v.window == 0 && (s.Hit == 0 && v.sequences > 1 || s.Nodes == 0) {
		t.Errorf("the prefix cache did nothing: %+v", s)
	}
	if s := counted(t, e); (v.proposer != nil || v.speculation != nil) && !v.frugal && (s.Guessed == 0 || s.Held == 0 && !v.blind || s.Held == s.Guessed) {
		t.Errorf("%d tokens guessed, %d came true: the test does not test it", s.Guessed, s.Held)
	}
	if n := counted(t, e).Preemptions; v.preempts && n == 0 {
		t.Error("no preemption happened: the test does not test it")
	}
}
