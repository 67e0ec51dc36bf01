package bench

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"weir/internal/engine"
	"weir/internal/llm"
	"weir/internal/spec"
)

//go:embed texts/texts.json
var textsJSON []byte

// TextKinds are the kinds of texts that acceptance is measured on.
func TextKinds() []string { return []string{"json", "go", "story", "chat"} }

// texts are the questions of each kind, committed beside this file.
func texts() map[string][]string {
	var t map[string][]string
	if err := json.Unmarshal(textsJSON, &t); err != nil {
		panic("bench: internal error: texts.json: " + err.Error())
	}
	return t
}

// FixedDepth is the length of the drafts that acceptance is measured with, whether
// they pay or not.
const FixedDepth = 4

// Speaker is an engine with a proposer, for measuring.
type Speaker struct {
	Name   string         // of the proposer
	Free   *engine.Engine // its drafts follow what pays
	Always *engine.Engine // its drafts are chains of FixedDepth, or of as much as it can
}

// Speaking says what is measured of what proposers make of texts.
type Speaking struct {
	Plain        *engine.Engine
	Speakers     []Speaker
	Temperatures []float64
	Generate     int // most tokens of an answer
	Repeat       int
	Progress     func(string)
	Loose        Loose
}

// Loose: the backend's results depend on the rows beside them, within its tolerance
// (a GPU's do), so that answers may part where two tokens are nearly as likely.
type Loose bool

// Spoken is a proposer's record on a kind of text at a temperature.
type Spoken struct {
	Proposer    string    `json:"proposer"`
	Text        string    `json:"text"`
	Temperature float64   `json:"temperature"`
	Acceptance  []float64 `json:"acceptance"` // by place in a chain: of the drafts that came so far, how many held
	FixedTokens float64   `json:"fixed_tokens_per_step"`
	FreeTokens  float64   `json:"tokens_per_step"` // where drafts follow what pays
	PlainSpeed  Summary   `json:"plain_tokens_per_second"`
	Speed       Summary   `json:"tokens_per_second"`
	Ratio       Summary   `json:"ratio"` // of the two, round by round
}

// Speak measures. Every answer must be what plain decoding says, unless it is loose; if
// one is not, that is an error.
func Speak(ctx context.Context, s Speaking) ([]Spoken, error) {
	var all []Spoken
	for _, speaker := range s.Speakers {
		for _, kind := range TextKinds() {
			for _, t := range s.Temperatures {
				s.Progress(fmt.Sprintf("%s, %s, temperature %g", speaker.Name, kind, t))
				one, err := s.speak(ctx, speaker, kind, t)
				if err != nil {
					return nil, fmt.Errorf("%s on %s at temperature %g: %w", speaker.Name, kind, t, err)
				}
				all = append(all, one)
			}
		}
	}
	return all, nil
}

func (s *Speaking) speak(ctx context.Context, who Speaker, kind string, temperature float64) (Spoken, error) {
	out := Spoken{Proposer: who.Name, Text: kind, Temperature: temperature}
	fixed, free := llm.Guesses{}, llm.Guesses{}
	var plain, fast, ratio []float64
	for round := range s.Repeat + 1 { // the first warms up
		var p, f spoken
		for i, question := range texts()[kind] {
			want, err := say(ctx, s.Plain, question, temperature, uint64(i), s.Generate)
			if err != nil {
				return out, err
			}
			got, err := say(ctx, who.Free, question, temperature, uint64(i), s.Generate)
			if err == nil {
				err = s.Loose.same(want.ids, got.ids)
			}
			if err != nil {
				return out, err
			}
			p.add(want)
			f.add(got)
			if round > 0 {
				continue
			}
			got, err = say(ctx, who.Always, question, temperature, uint64(i), s.Generate)
			if err == nil {
				err = s.Loose.same(want.ids, got.ids)
			}
			if err != nil {
				return out, err
			}
			add(&fixed, got.guesses)
		}
		if round == 0 {
			continue
		}
		add(&free, f.guesses)
		plain, fast = append(plain, p.speed()), append(fast, f.speed())
		ratio = append(ratio, f.speed()/p.speed())
	}
	out.Acceptance = acceptance(fixed)
	out.FixedTokens, out.FreeTokens = perStep(fixed), perStep(free)
	out.PlainSpeed, out.Speed, out.Ratio = Summarize(plain), Summarize(fast), Summarize(ratio)
	return out, nil
}

// acceptance is by place in a chain: of the drafts that held so far, the share that
// held there, too.
func acceptance(g llm.Guesses) []float64 {
	var list []float64
	before := g.Drafts
	for _, n := range g.HeldAt {
		list = append(list, float64(n)/float64(max(1, before)))
		before = n
	}
	return list
}

// perStep is how many tokens a step with a draft gives.
func perStep(g llm.Guesses) float64 {
	if g.Drafts == 0 {
		return 1
	}
	return 1 + float64(g.Held)/float64(g.Drafts)
}

func add(to *llm.Guesses, g llm.Guesses) {
	to.Drafts += g.Drafts
	to.Tokens += g.Tokens
	to.Held += g.Held
	for len(to.HeldAt) < len(g.HeldAt) {
		to.HeldAt = append(to.HeldAt, 0)
	}
	for i, n := range g.HeldAt {
		to.HeldAt[i] += n
	}
}

func (l Loose) same(want, got []int32) error {
	if !bool(l) && !slices.Equal(want, got) {
		return errors.New("the answer is not plain decoding's: a bug in weir; please report it")
	}
	return nil
}

// spoken is an answer, or several together.
type spoken struct {
	ids     []int32
	took    time.Duration // from the first token to the last
	after   int           // tokens after the first
	guesses llm.Guesses
}

func (s *spoken) add(o spoken) {
	s.took += o.took
	s.after += o.after
	add(&s.guesses, o.guesses)
}

func (s *spoken) speed() float64 { return float64(s.after) / s.took.Seconds() }

// say asks a question, of a chat model as a user would.
func say(ctx context.Context, e *engine.Engine, question string, temperature float64, seed uint64, n int) (spoken, error) {
	prompt := llm.Prompt(llm.Text(question + "\n"))
	if e.Model().Chat {
		messages, err := json.Marshal([]map[string]string{{"role": "user", "content": question}})
		if err != nil {
			return spoken{}, err
		}
		prompt = &llm.Chat{Messages: messages}
	}
	return saying(ctx, e, prompt, temperature, seed, n)
}

func saying(ctx context.Context, e *engine.Engine, prompt llm.Prompt, temperature float64, seed uint64, n int) (s spoken, err error) {
	p := llm.DefaultParams()
	p.MaxTokens, p.Temperature, p.Seed = &n, temperature, &seed
	if _, raw := prompt.(llm.Tokens); raw {
		p.IgnoreEOS = true
	}
	var first, last time.Time
	for ev, err := range e.Generate(ctx, &llm.Request{ID: "bench", Prompt: prompt, Params: p}) {
		if err != nil {
			return s, err
		}
		if len(ev.Tokens) > 0 {
			last = time.Now()
			if s.ids == nil {
				first = last
			}
		}
		for _, t := range ev.Tokens {
			s.ids = append(s.ids, t.ID)
		}
		if ev.Usage != nil && ev.Usage.Guesses != nil {
			s.guesses = *ev.Usage.Guesses
		}
	}
	s.took, s.after = last.Sub(first), len(s.ids)-1
	if s.after < 1 {
		return s, fmt.Errorf("the answer has %d tokens; speed needs two", len(s.ids))
	}
	return s, nil
}

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

// Know sets what will be said after a prompt and the chance to be right.
func (o *Oracle) Know(answer []int32, chance float64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer, o.chance, o.rng = answer, chance, rand.New(rand.NewPCG(1, 2))
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
	Free   *engine.Engine // asks Knows for what pays
	Wrong  *Oracle
	Knows  *Oracle

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
	Ratio         Summary `json:"ratio"`
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
		var plain, fast, ratio []float64
		var guesses llm.Guesses
		for round := range v.Repeat + 1 {
			v.Progress(fmt.Sprintf("oracle of %g, round %d of %d", chance, round, v.Repeat))
			p, err := saying(ctx, v.Plain, v.prompt(), 0, 0, v.Generate)
			if err != nil {
				return nil, err
			}
			v.Knows.Know(truth.ids, chance)
			f, err := saying(ctx, v.Free, v.prompt(), 0, 0, v.Generate)
			if err == nil {
				err = v.Loose.same(truth.ids, f.ids)
			}
			if err != nil {
				return nil, err
			}
			if round > 0 {
				plain, fast, ratio = append(plain, p.speed()), append(fast, f.speed()), append(ratio, f.speed()/p.speed())
				add(&guesses, f.guesses)
			}
		}
		rate := float64(v.Generate*v.Repeat) / float64(max(1, v.Generate*v.Repeat-guesses.Held))
		list = append(list, Foretold{Chance: chance, TokensPerStep: rate, Plain: Summarize(plain), Speed: Summarize(fast), Ratio: Summarize(ratio)})
	}
	return list, nil
}
