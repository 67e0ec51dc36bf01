// Package sample turns a row of logits into a token.
//
// A [Sampler] serves one sequence (one choice of a request). What it does to a
// row of logits, in this order, which is vLLM's but for typical_p, which vLLM
// lacks:
//
//  1. Log probabilities, when asked for, are taken of the row as the model gave
//     it: the model's own distribution, whatever the parameters.
//  2. Logit bias is added: -100 practically bans a token, 100 forces it.
//  3. While fewer than MinTokens tokens are out, the model's end tokens and the
//     request's stop tokens are banned.
//  4. Repetition penalty, over prompt and output: a positive logit is divided
//     by it, a negative one multiplied.
//  5. Frequency penalty times the token's count in the output, and presence
//     penalty once if it occurs there, are subtracted.
//  6. Tokens that a grammar does not let through are banned (Mask).
//  7. Temperature divides. At 0 the highest logit wins, the lowest id among
//     equals, and nothing below applies.
//  8. min_p drops tokens less probable than so much of the most probable one.
//  9. top_k keeps so many of the most probable; the lowest ids among equals.
//  10. top_p keeps the fewest of the most probable whose share of what is left
//     by then reaches it.
//  11. typical_p keeps the fewest tokens, those first whose surprise -ln p is
//     nearest to the entropy, whose share of what is left by then reaches it
//     (last, as in Transformers).
//
// The draw inverts the cumulative distribution of the survivors in ascending
// order of id, with a random number that is a pure function of seed, choice and
// position ([Uniform]). So a seeded output is the same whatever else runs,
// however rows were batched, and after a preemption; and it does not depend on
// how the survivors were found, nor on whether a device found them ([Sampler.ForDevice]):
// weights are whole numbers of a small unit, so that their sums are exact. It is also
// the same on every platform: see package exact.
//
// Vocabularies are large (128k is usual), so nothing sorts them: see select.go.
// In the steady state a draw allocates nothing, but for the alternatives of log
// probabilities, which it hands over.
package sample

import (
	"math"
	"slices"

	"weir/internal/backend/cpu/kern"
	"weir/internal/llm"
)

// greedyBelow is the temperature under which the draw is greedy: there the
// runner-up's probability is zero for any difference a float32 logit can show.
const greedyBelow = 1e-5

// Options is what a sampler needs to know besides the request's parameters.
type Options struct {
	Vocab  int     // number of token ids; a longer row is padding from there on
	Seed   uint64  // the request's, or a fresh one
	Choice int     // which of the request's choices this is
	EOG    []int32 // the model's end-of-generation tokens
	Prompt []int32 // for the repetition penalty; not kept
	// Scratch is working memory, which the samplers of one goroutine share.
	// nil: its own.
	Scratch *Scratch
}

// Scratch is working memory of a draw. It grows to what the rows need, at most
// some 50 bytes per token of the vocabulary. The zero value is ready.
type Scratch struct {
	cands []cand    // survivors, ascending by id
	order []cand    // the copy that cut rearranges
	sums  []float64 // weight of each block of the row
	// ranges are the weights of tokens by how far they are below the peak.
	ranges  [ranges]float64
	raw     []float32          // the row as the model gave it, when it is adjusted and log probabilities are wanted
	maxima  []float32          // of the blocks of the row, NaNs aside
	weights [blockSize]float64 // of a block of the row
	level   kern.Level         // whose kernels are used; 0: the best
}

// Sampler draws the tokens of one sequence. It belongs to one goroutine.
type Sampler struct {
	vocab  int
	seed   uint64
	choice int
	eog    []int32

	greedy bool
	scale  float64 // 1/temperature
	topK   int     // 0: off
	topP   float64 // 1: off
	minP   float64 // 0: off
	typP   float64 // 1: off
	adjust adjustment
	mask   []uint64 // nil: every token may be drawn
	top    *int     // alternatives wanted with the log probability; nil: neither

	scratch *Scratch
}

// New makes a sampler. It takes any parameters, so that no request can bring
// the engine down; [Validate] is where wrong ones are refused.
func New(p llm.Params, o Options) *Sampler {
	s := &Sampler{
		vocab: o.Vocab, seed: o.Seed, choice: o.Choice, eog: slices.Clone(o.EOG),
		greedy: !(p.Temperature >= greedyBelow) || p.TopK == 1,
		scale:  1 / p.Temperature,
		topK:   p.TopK, topP: share(p.TopP, 1), minP: share(p.MinP, 0), typP: share(p.TypicalP, 1),
		adjust:  newAdjustment(p, o),
		scratch: o.Scratch,
	}
	if p.Logprobs != nil {
		n := *p.Logprobs
		s.top = &n
	}
	if s.scratch == nil {
		s.scratch = &Scratch{}
	}
	return s
}

// share brings a parameter into [0, 1]; NaN becomes off.
func share(p, off float64) float64 {
	if math.IsNaN(p) {
		return off
	}
	return min(max(p, 0), 1)
}

// Draw is one drawn token.
type Draw struct {
	ID int32
	// Logprob is the token's natural log probability in the model's own
	// distribution, and Top the most probable tokens there (without Bytes), if
	// the request asked for them: HasLogprob. It is -Inf for a token that the
	// model ruled out and a bias brought back.
	Logprob    float64
	Top        []llm.Alt
	HasLogprob bool
	// Degenerate says that the row had no finite logit left, or none at all, so
	// that ID (the first end token, or 0) means nothing: the model computed
	// rubbish, or everything was banned.
	Degenerate bool
}

// Mask bars tokens from the draws to come: those whose bit is not set, of which
// bit i%64 of word i/64 is token i's. nil bars none. The mask is not copied.
func (s *Sampler) Mask(mask []uint64) { s.mask = mask }

// Draw draws the token that follows. logits [vocab] may be overwritten. step is
// the number of tokens that the sequence has so far, the tokens accepted.
//
// NaN counts as -Inf, +Inf as the largest finite number.
func (s *Sampler) Draw(logits []float32, step int) Draw {
	if s.vocab > 0 && len(logits) > s.vocab {
		logits = logits[:s.vocab]
	}
	raw := logits
	if s.top != nil && (s.mask != nil || s.adjust.active(step)) {
		s.scratch.raw = append(s.scratch.raw[:0], logits...)
		raw = s.scratch.raw
	}
	s.adjust.apply(logits, step)
	if s.mask != nil {
		bar(logits, s.mask)
	}

	d := Draw{}
	d.ID, d.Degenerate = s.pick(logits, s.uniform(step))
	if s.top != nil && !d.Degenerate {
		d.Logprob, d.Top = s.scratch.logprob(raw, d.ID, *s.top)
		d.HasLogprob = true
	}
	return d
}

// DrawWith is Draw with the working memory of another goroutine than the sampler's
// own, so that the rows of several samplers can be drawn side by side.
func (s *Sampler) DrawWith(c *Scratch, logits []float32, step int) Draw {
	own := s.scratch
	s.scratch = c
	defer func() { s.scratch = own }()
	return s.Draw(logits, step)
}

// Greedy tells that a draw is the highest logit, whatever the random number is.
func (s *Sampler) Greedy() bool { return s.greedy }

// Guess draws from logits [vocab] of another model, which it overwrites, as Draw
// does from the model's own: with the sequence's adjustments, truncations and
// random number. It reports false if there is nothing to draw.
func (s *Sampler) Guess(logits []float32, step int) (int32, bool) {
	if s.vocab > 0 && len(logits) > s.vocab {
		logits = logits[:s.vocab]
	}
	s.adjust.apply(logits, step)
	id, degenerate := s.pick(logits, s.uniform(step))
	return id, !degenerate
}

func (s *Sampler) uniform(step int) float64 { return Uniform(s.seed, s.choice, step) }

// pick draws from the adjusted logits at u.
func (s *Sampler) pick(logits []float32, u float64) (id int32, degenerate bool) {
	best, peak := s.scratch.argmax(logits)
	if best < 0 {
		return s.ending(), true
	}
	if s.greedy {
		return best, false
	}
	if math.IsInf(peak, 1) {
		peak = clampInf(logits)
	}
	d := dist{logits: logits, peak: peak, scale: s.scale}
	if !s.truncates(len(logits)) {
		return s.scratch.drawAll(d, u), false
	}
	s.scratch.survivors(d, s)
	return drawOf(s.scratch.cands, u), false
}

// ending is the token of a row from which none can be drawn.
func (s *Sampler) ending() int32 {
	if len(s.eog) > 0 {
		return s.eog[0]
	}
	return 0
}

// truncates tells whether any token of a row of n may be dropped.
func (s *Sampler) truncates(n int) bool {
	return s.minP > 0 || s.topK > 0 && s.topK < n || s.topP < 1 || s.typP < 1
}

// Accept counts a token that the sequence took on.
func (s *Sampler) Accept(id int32) { s.adjust.count(id, 1) }

// Retract takes back an Accept: a draft token that was not confirmed, or one of
// another branch.
func (s *Sampler) Retract(id int32) { s.adjust.count(id, -1) }

// clampInf replaces +Inf by the largest finite number, which it returns.
func clampInf(logits []float32) float64 {
	for i, v := range logits {
		if v > math.MaxFloat32 {
			logits[i] = math.MaxFloat32
		}
	}
	return math.MaxFloat32
}
