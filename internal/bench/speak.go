package bench

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/internal/engine"
	"weir/internal/llm"
)

//go:embed texts/texts.json
var textsJSON []byte

// NoiseText is the kind of text that nobody can foretell: tokens drawn almost evenly,
// after prompts of such tokens.
const NoiseText = "noise"

// TextKinds are the kinds of texts that acceptance is measured on.
func TextKinds() []string { return []string{"json", "go", "story", "chat", NoiseText} }

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
	Kinds        []string // of texts
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
	Paired
}

// Speak measures. Every answer must be what plain decoding says, unless it is loose; if
// one is not, that is an error.
func Speak(ctx context.Context, s Speaking) ([]Spoken, error) {
	var all []Spoken
	for _, speaker := range s.Speakers {
		for _, kind := range s.Kinds {
			temperatures := s.Temperatures
			if kind == NoiseText {
				temperatures = []float64{noiseTemperature}
			}
			for _, t := range temperatures {
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

// noiseTemperature is the highest that requests may have.
const noiseTemperature = 2

func (s *Speaking) speak(ctx context.Context, who Speaker, kind string, temperature float64) (Spoken, error) {
	out := Spoken{Proposer: who.Name, Text: kind, Temperature: temperature}
	fixed, free := llm.Guesses{}, llm.Guesses{}
	var p pairs
	for round := range s.Repeat + 1 { // the first warms up
		for i, prompt := range s.prompts(kind) {
			ask := func(e *engine.Engine) (spoken, error) {
				return saying(ctx, e, prompt, temperature, uint64(i), s.Generate)
			}
			plain, fast, err := pair(ask, s.Plain, who.Free, round+i)
			if err == nil {
				err = s.Loose.same(plain.ids, fast.ids)
			}
			if err != nil {
				return out, err
			}
			if round > 0 {
				p.add(plain, fast)
				add(&free, fast.guesses)
				continue
			}
			always, err := ask(who.Always)
			if err == nil {
				err = s.Loose.same(plain.ids, always.ids)
			}
			if err != nil {
				return out, err
			}
			add(&fixed, always.guesses)
		}
	}
	out.Acceptance = acceptance(fixed)
	out.FixedTokens, out.FreeTokens = perStep(fixed), perStep(free)
	out.PlainSpeed, out.Speed, out.Paired = Summarize(p.plain), Summarize(p.fast), p.compare()
	return out, nil
}

// pair asks two engines for the same, one after the other; which is first changes
// from pair to pair.
func pair(ask func(*engine.Engine) (spoken, error), plain, fast *engine.Engine, turn int) (p, f spoken, err error) {
	if turn%2 == 1 {
		f, err = ask(fast)
	}
	if err == nil {
		p, err = ask(plain)
	}
	if err == nil && turn%2 == 0 {
		f, err = ask(fast)
	}
	return p, f, err
}

// Paired compares speculation with plain decoding, answer by answer: the same answers,
// by turns.
type Paired struct {
	Ratio Ratio     `json:"ratio"`     // of the speeds: a median, with its 95 % interval
	CPU   Ratio     `json:"cpu_ratio"` // the same of the CPU time; 0: not known here
	Each  []float64 `json:"ratios"`
}

// pairs are the measurements of answers.
type pairs struct{ plain, fast, plainCPU, fastCPU []float64 }

func (p *pairs) add(plain, fast spoken) {
	p.plain, p.fast = append(p.plain, plain.speed()), append(p.fast, fast.speed())
	if plain.cpu > 0 && fast.cpu > 0 {
		p.plainCPU, p.fastCPU = append(p.plainCPU, plain.cpu.Seconds()), append(p.fastCPU, fast.cpu.Seconds())
	}
}

func (p *pairs) compare() Paired {
	out := Paired{Ratio: ratios(p.fast, p.plain)}
	if len(p.plainCPU) > 0 {
		out.CPU = ratios(p.plainCPU, p.fastCPU)
	}
	for i := range p.fast {
		out.Each = append(out.Each, p.fast[i]/p.plain[i])
	}
	return out
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

// spoken is an answer.
type spoken struct {
	ids     []int32
	took    time.Duration // from the first token to the last
	cpu     time.Duration // that the process took meanwhile; 0: not known
	after   int           // tokens after the first
	guesses llm.Guesses
}

func (s *spoken) speed() float64 { return float64(s.after) / s.took.Seconds() }

// prompts are the questions of a kind, put to a chat model as a user would.
func (s *Speaking) prompts(kind string) []llm.Prompt {
	var list []llm.Prompt
	if kind == NoiseText {
		for i := range noisePrompts {
			list = append(list, noise(i, s.Plain.Model().Vocab))
		}
		return list
	}
	for _, question := range texts()[kind] {
		if !s.Plain.Model().Chat {
			list = append(list, llm.Text(question+"\n"))
			continue
		}
		messages, err := json.Marshal([]map[string]string{{"role": "user", "content": question}})
		if err != nil {
			panic("bench: internal error: " + err.Error())
		}
		list = append(list, &llm.Chat{Messages: messages})
	}
	return list
}

const noisePrompts = 4

// noise is a prompt of any tokens.
func noise(part, vocab int) llm.Tokens {
	g := newGenerator(NoiseText, part)
	ids := make(llm.Tokens, 32)
	for i := range ids {
		ids[i] = int32(g.next() >> 33 % uint64(vocab))
	}
	return ids
}

func saying(ctx context.Context, e *engine.Engine, prompt llm.Prompt, temperature float64, seed uint64, n int) (s spoken, err error) {
	p := llm.DefaultParams()
	p.MaxTokens, p.Temperature, p.Seed = &n, temperature, &seed
	if _, raw := prompt.(llm.Tokens); raw {
		p.IgnoreEOS = true
	}
	var first, last time.Time
	var cpu time.Duration
	for ev, err := range e.Generate(ctx, &llm.Request{ID: "bench", Prompt: prompt, Params: p}) {
		if err != nil {
			return s, err
		}
		if len(ev.Tokens) > 0 {
			last = time.Now()
			if s.ids == nil {
				first, cpu = last, processTime()
			}
		}
		for _, t := range ev.Tokens {
			s.ids = append(s.ids, t.ID)
		}
		if ev.Usage != nil && ev.Usage.Guesses != nil {
			s.guesses = *ev.Usage.Guesses
		}
	}
	s.took, s.cpu, s.after = last.Sub(first), processTime()-cpu, len(s.ids)-1
	if s.after < 1 {
		return s, fmt.Errorf("the answer has %d tokens; speed needs two", len(s.ids))
	}
	return s, nil
}
