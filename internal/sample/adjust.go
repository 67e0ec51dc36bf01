package sample

import (
	"math"
	"math/bits"
	"slices"

	"weir/internal/llm"
)

// adjustment is what changes single logits before the distribution is formed:
// bias, bans and penalties. Each touches a handful of ids, so the row is never
// walked for it.
type adjustment struct {
	bias []bias
	// ban are the tokens that end an output, banned before minTokens.
	ban       []int32
	minTokens int

	repetition          float64 // 1: off
	frequency, presence float64 // 0: off
	// seen are the tokens that a penalty may concern; at finds one by id. Only
	// kept if a penalty is on.
	seen []seen
	at   map[int32]int
}

type bias struct {
	id  int32
	add float32
}

// seen is a token of the prompt or the output.
type seen struct {
	id       int32
	count    int32 // in the output
	inPrompt bool
}

func newAdjustment(p llm.Params, o Options) adjustment {
	a := adjustment{
		minTokens:  p.MinTokens,
		repetition: 1, frequency: p.FrequencyPenalty, presence: p.PresencePenalty,
	}
	if p.RepetitionPenalty > 0 {
		a.repetition = p.RepetitionPenalty
	}
	for id, add := range p.LogitBias {
		a.bias = append(a.bias, bias{id, float32(add)})
	}
	if p.MinTokens > 0 {
		a.ban = slices.Concat(o.EOG, p.StopTokens)
	}
	if a.penalizes() {
		a.at = make(map[int32]int)
	}
	if a.repetition != 1 {
		for _, id := range o.Prompt {
			a.entry(id).inPrompt = true
		}
	}
	return a
}

func (a *adjustment) penalizes() bool {
	return a.repetition != 1 || a.frequency != 0 || a.presence != 0
}

// active tells whether apply may change a row.
func (a *adjustment) active(step int) bool {
	return len(a.bias) > 0 || step < a.minTokens && len(a.ban) > 0 || len(a.seen) > 0
}

// entry finds or makes the entry of a token. It is valid until the next call.
func (a *adjustment) entry(id int32) *seen {
	i, ok := a.at[id]
	if !ok {
		i = len(a.seen)
		a.at[id] = i
		a.seen = append(a.seen, seen{id: id})
	}
	return &a.seen[i]
}

// count adds n occurrences of a token to the output.
func (a *adjustment) count(id int32, n int32) {
	if a.penalizes() {
		a.entry(id).count += n
	}
}

func (a *adjustment) apply(logits []float32, step int) {
	for _, b := range a.bias {
		if inRow(logits, b.id) {
			logits[b.id] += b.add
		}
	}
	if step < a.minTokens {
		for _, id := range a.ban {
			if inRow(logits, id) {
				logits[id] = float32(math.Inf(-1))
			}
		}
	}
	for i := range a.seen {
		if t := &a.seen[i]; inRow(logits, t.id) {
			logits[t.id] = a.penalize(logits[t.id], t)
		}
	}
}

func (a *adjustment) penalize(logit float32, t *seen) float32 {
	v := float64(logit)
	if t.inPrompt || t.count > 0 {
		if v > 0 {
			v /= a.repetition
		} else {
			v *= a.repetition
		}
	}
	if t.count > 0 {
		v = float64(v) - float64(a.frequency*float64(t.count)) - a.presence
	}
	return float32(v)
}

// inRow keeps ids that are no tokens, which a request may name, off the row.
func inRow(logits []float32, id int32) bool { return id >= 0 && int(id) < len(logits) }

// nevers are the logits of a word's tokens when none of them may be drawn.
var nevers = func() (v [64]float32) {
	for i := range v {
		v[i] = float32(math.Inf(-1))
	}
	return v
}()

// bar rules out the tokens whose bit is not set, and those that the mask is too
// short for. A branch for each token would be guessed wrongly too often: words with
// few bits set are overwritten as a whole and the few put back, of others the bits that
// are not set are visited.
func bar(logits []float32, mask []uint64) {
	const few = 16
	var kept [few]float32
	for i := 0; i < len(logits); i += 64 {
		word := uint64(0)
		if i/64 < len(mask) {
			word = mask[i/64]
		}
		part := logits[i:min(i+64, len(logits))]
		if len(part) < 64 { // the rest of the word is no tokens
			word &= 1<<len(part) - 1
		}
		if bits.OnesCount64(word) > few {
			for out := ^word; out != 0 && bits.TrailingZeros64(out) < len(part); out &= out - 1 {
				part[bits.TrailingZeros64(out)] = nevers[0]
			}
			continue
		}
		n := 0
		for in := word; in != 0; in &= in - 1 {
			kept[n] = part[bits.TrailingZeros64(in)]
			n++
		}
		copy(part, nevers[:])
		n = 0
		for in := word; in != 0; in &= in - 1 {
			part[bits.TrailingZeros64(in)] = kept[n]
			n++
		}
	}
}
