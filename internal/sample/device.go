package sample

import (
	"math"
	"slices"

	"weir/internal/backend"
	"weir/internal/exact"
	"weir/internal/llm"
)

// mostListed bounds the tokens of a row that a device is told something of: more take
// longer to bring there than the row takes to come here.
const mostListed = 8192

// ForDevice fills in how a device draws what Draw draws at step. It reports false for
// what only the host can. Of the row it leaves Logits and Slot alone.
func (s *Sampler) ForDevice(to *backend.SampleRow, step int) bool {
	a := &s.adjust
	if s.typP < 1 && !s.greedy || len(a.bias)+len(a.seen) > mostListed || s.top != nil && *s.top > backend.MaxTop {
		return false
	}
	*to = backend.SampleRow{Logits: to.Logits, Slot: to.Slot, Bias: to.Bias[:0], Seen: to.Seen[:0], Vocab: s.vocab, Greedy: s.greedy,
		Scale: s.scale, TopK: s.topK, TopP: s.topP, MinP: s.minP, U: s.uniform(step),
		Repetition: a.repetition, Frequency: a.frequency, Presence: a.presence, Mask: s.mask}
	for _, b := range a.bias {
		to.Bias = append(to.Bias, backend.Bias{ID: b.id, Add: b.add})
	}
	if step < a.minTokens {
		to.Ban = a.ban
	}
	for _, t := range a.seen {
		to.Seen = append(to.Seen, backend.Seen{ID: t.id, Count: t.count, InPrompt: t.inPrompt})
	}
	if s.top != nil {
		to.Told = *s.top + 1
	}
	return true
}

// DrawsThere tells that ForDevice is never false, and the same whatever is drawn before.
func (s *Sampler) DrawsThere() bool {
	a := &s.adjust
	return (s.typP >= 1 || s.greedy) && (s.top == nil || *s.top <= backend.MaxTop) && !a.penalizes() && len(a.bias) <= mostListed
}

// Forgets tells that no draw depends on the tokens drawn before it but for their
// number.
func (s *Sampler) Forgets() bool { return !s.adjust.penalizes() }

// FromDevice is the draw of a row that a device drew from as ForDevice said.
func (s *Sampler) FromDevice(d backend.Drawn) Draw {
	if d.ID < 0 {
		return Draw{ID: s.ending(), Degenerate: true}
	}
	out := Draw{ID: d.ID}
	if s.top == nil {
		return out
	}
	out.HasLogprob = true
	norm, peak := exact.Log(d.Total), clamped(d.Peak)
	out.Logprob = math.Inf(-1)
	if v := clamped(d.Logit); v > out.Logprob {
		out.Logprob = v - peak - norm
	}
	for _, t := range d.Top {
		out.Top = append(out.Top, llm.Alt{ID: t.ID, Logprob: clamped(t.Logit) - peak - norm})
	}
	return out
}

// clamped is a logit as clampInf leaves it.
func clamped(v float32) float64 { return float64(min(v, math.MaxFloat32)) }

// DrawFor draws from logits [vocab], which it overwrites, as a device must that is asked
// for r: what tests put in a device's place.
func DrawFor(r *backend.SampleRow, logits []float32) backend.Drawn {
	s := Sampler{greedy: r.Greedy, scale: r.Scale, topK: r.TopK, topP: r.TopP, minP: r.MinP, typP: 1, mask: r.Mask, scratch: &Scratch{},
		adjust: adjustment{ban: r.Ban, minTokens: 1, repetition: r.Repetition, frequency: r.Frequency, presence: r.Presence}}
	for _, b := range r.Bias {
		s.adjust.bias = append(s.adjust.bias, bias{b.ID, b.Add})
	}
	for _, t := range r.Seen {
		s.adjust.seen = append(s.adjust.seen, seen{t.ID, t.Count, t.InPrompt})
	}
	logits = logits[:r.Vocab]
	raw := slices.Clone(logits)
	s.adjust.apply(logits, 0)
	if r.Mask != nil {
		bar(logits, r.Mask)
	}
	id, degenerate := s.pick(logits, r.U)
	if degenerate {
		return backend.Drawn{ID: -1}
	}
	out := backend.Drawn{ID: id, Logit: raw[id]}
	if r.Told > 0 {
		s.scratch.tell(&out, raw, r.Told-1)
	}
	return out
}

// tell fills in what log probabilities are made of.
func (c *Scratch) tell(out *backend.Drawn, raw []float32, top int) {
	_, peak := c.argmax(raw)
	out.Peak = float32(peak)
	if math.IsInf(peak, 1) {
		peak = clampInf(raw)
	}
	d := dist{logits: raw, peak: peak, scale: 1}
	for i := range c.maxima {
		out.Total = c.addTo(out.Total, &d, block(raw, i))
	}
	for _, a := range c.alternatives(d, 0, top) {
		out.Top = append(out.Top, backend.TopLogit{Logit: raw[a.ID], ID: a.ID})
	}
}
