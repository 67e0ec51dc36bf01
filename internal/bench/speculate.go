package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"weir/internal/engine"
	"weir/internal/llm"
	"weir/internal/spec"
)

// Oracle is a proposer that knows what will be said, and is right at each place with
// a set chance. It measures what speculation gives at an acceptance, whatever the
// model.
type Oracle struct {
	mu     sync.Mutex
	answer []int32
	chance float64
	size   int  // nodes of a draft of Tree or of a chain; 0: as asked
	tree   bool // of branches of two, else a chain
	rng    *rand.Rand
}

// NewOracle makes one that knows nothing.
func NewOracle() *Oracle { return &Oracle{rng: rand.New(rand.NewPCG(1, 2))} }

// Know sets what will be said after a prompt and the chance to be right, which is
// drawn anew for each seed.
func (o *Oracle) Know(answer []int32, chance float64, seed uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer, o.chance, o.rng = answer, chance, rand.New(rand.NewPCG(seed, 2))
}

// Draft makes every draft of n nodes, as a tree or a chain, all of them wrong.
func (o *Oracle) Draft(n int, tree bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.size, o.tree, o.answer = n, tree, nil
}

// Propose implements spec.Proposer.
func (o *Oracle) Propose(asks []*spec.Ask) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range asks {
		if o.answer == nil {
			o.wrong(&a.Draft)
		} else {
			o.guess(a)
		}
	}
}

// wrong drafts what will not be said: the ids of the highest tokens, which a model
// with random weights says as rarely as any.
func (o *Oracle) wrong(t *spec.Tree) {
	for n := range o.size {
		parent := n - 1
		if o.tree && n > 0 {
			parent = (n - 1) / 2
		}
		t.Add(parent, int32(n))
	}
}

func (o *Oracle) guess(a *spec.Ask) {
	at := spec.Root
	for d := 0; a.Said()+d < len(o.answer) && d < a.Shape.Len(); d++ {
		id := o.answer[a.Said()+d]
		if o.rng.Float64() >= o.chance {
			id ^= 1
		}
		at = a.Draft.Add(at, id)
	}
}

// Forget implements spec.Proposer.
func (o *Oracle) Forget(*spec.Ask) {}

// Reset implements spec.Proposer.
func (o *Oracle) Reset() error { return nil }

// Name implements spec.Proposer.
func (o *Oracle) Name() string { return "oracle" }

// Close implements spec.Proposer.
func (o *Oracle) Close() error { return nil }

// Verifying says what is measured of checking drafts.
type Verifying struct {
	Plain  *engine.Engine
	Always *engine.Engine // asks Wrong for a draft at every step
	// Free starts an engine that asks Knows for what pays: one for each chance, which
	// has learnt nothing of another.
	Free  func() (*engine.Engine, error)
	Wrong *Oracle
	Knows *Oracle

	Rows     []int     // of a step, the first being one
	Chances  []float64 // of the oracle
	Depth    int       // tokens before those that are measured
	Steps    int       // that a measurement of rows takes
	Generate int       // tokens of the oracle's text
	Repeat   int
	Progress func(string)
	Loose    Loose
}

// Verified is the cost of a step of so many rows.
type Verified struct {
	Rows  int     `json:"rows"`
	Chain Summary `json:"chain"` // over the cost of one row, round by round
	Tree  Summary `json:"tree"`
	Ms    float64 `json:"chain_ms"` // median
}

// Foretold is the speed with an oracle.
type Foretold struct {
	Chance        float64 `json:"chance"`
	TokensPerStep float64 `json:"tokens_per_step"`
	Plain         Summary `json:"plain_tokens_per_second"`
	Speed         Summary `json:"tokens_per_second"`
	Paired
}

// VerifyCost measures steps of 1, 2, ... rows of one sequence, chains and trees,
// over those of one row in the same round.
func VerifyCost(ctx context.Context, v Verifying) ([]Verified, error) {
	chain, tree, ms := map[int][]float64{}, map[int][]float64{}, map[int][]float64{}
	for round := range v.Repeat + 1 {
		v.Progress(fmt.Sprintf("rows, round %d of %d", round, v.Repeat))
		one := 0.0
		for _, rows := range append([]int{1}, v.Rows...) {
			for _, asTree := range []bool{false, true} {
				if asTree && rows < 3 { // no tree yet
					continue
				}
				v.Wrong.Draft(rows-1, asTree)
				t, err := v.step(ctx)
				if err != nil {
					return nil, err
				}
				if one == 0 {
					one = t
				}
				switch {
				case round == 0:
				case asTree:
					tree[rows] = append(tree[rows], t/one)
				default:
					chain[rows], ms[rows] = append(chain[rows], t/one), append(ms[rows], 1e3*t)
				}
			}
		}
	}
	var list []Verified
	for _, rows := range v.Rows {
		x := Verified{Rows: rows, Chain: Summarize(chain[rows]), Tree: Summarize(chain[rows]), Ms: Summarize(ms[rows]).Median}
		if rows >= 3 {
			x.Tree = Summarize(tree[rows])
		}
		list = append(list, x)
	}
	return list, nil
}

// step is the seconds of a step, of Steps in a row after Depth tokens.
func (v *Verifying) step(ctx context.Context) (float64, error) {
	before := v.Always.Stats()
	s, err := saying(ctx, v.Always, v.prompt(), 0, 0, v.Steps+1)
	if err != nil {
		return 0, err
	}
	after := v.Always.Stats()
	if held := after.Held - before.Held; held > int64(v.Steps/4) {
		return 0, fmt.Errorf("%d of %d drafts that were to fail came true: this text says nothing about the cost", held, v.Steps)
	}
	return s.took.Seconds() / float64(s.after), nil
}

// prompt is the same each time, so that only its first computes it.
func (v *Verifying) prompt() llm.Tokens {
	ids := make(llm.Tokens, v.Depth)
	for i := range ids {
		ids[i] = int32(7 + (i*i+3*i)%200)
	}
	return ids
}

// Foretell measures the speed with an oracle beside plain decoding, turn by turn.
func Foretell(ctx context.Context, v Verifying) ([]Foretold, error) {
	truth, err := saying(ctx, v.Plain, v.prompt(), 0, 0, v.Generate)
	if err != nil {
		return nil, err
	}
	var list []Foretold
	for _, chance := range v.Chances {
		one, err := v.foretell(ctx, truth, chance)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func (v *Verifying) foretell(ctx context.Context, truth spoken, chance float64) (out Foretold, err error) {
	var p pairs
	held := 0
	ask := func(e *engine.Engine) (spoken, error) { return saying(ctx, e, v.prompt(), 0, 0, v.Generate) }
	free, err := v.Free()
	if err != nil {
		return out, err
	}
	defer free.Close()
	for round := range v.Repeat + 1 {
		v.Progress(fmt.Sprintf("oracle of %g, round %d of %d", chance, round, v.Repeat))
		v.Knows.Know(truth.ids, chance, uint64(round))
		plain, fast, err := pair(ask, v.Plain, free, round)
		if err == nil {
			err = v.Loose.same(truth.ids, fast.ids)
		}
		if err != nil {
			return out, err
		}
		if round > 0 {
			p.add(plain, fast)
			held += fast.guesses.Held
		}
	}
	out = Foretold{Chance: chance, Plain: Summarize(p.plain), Speed: Summarize(p.fast), Paired: p.compare()}
	out.TokensPerStep = float64(v.Generate*v.Repeat) / float64(max(1, v.Generate*v.Repeat-held))
	return out, nil
}
