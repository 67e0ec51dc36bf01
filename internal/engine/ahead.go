package engine

import (
	"slices"
	"time"

	"weir/internal/backend"
	"weir/internal/sample"
	"weir/internal/sched"
)

// A device that draws tokens by itself need not wait for the host between two steps: the
// token of a row lies in a slot from which the next step takes it. So where it is sure what
// the next step computes, it is planned and begun before the one at hand is settled: here, while
// the device computes, not after it. That goes for prompts, too, and for who is admitted.
// How tokens are drawn may depend on those before, by penalties: then the step
// computes its logits, and is told how to draw from them once the one at hand is settled.
// What is not sure is who ends: whoever did, by an end
// token, a stop string or its client, has rows too many in the next step, which nobody reads. Its pages
// may be somebody else's by then, but nobody writes there before the step after. Nor is it
// sure that an output with a structure keeps the token: one that must end may get another, and
// then its row in the next step is computed again.

// flight is a step on its way.
type flight struct {
	plan       *sched.Plan
	own        sched.Plan // what plan points to, of a step that was begun ahead
	up         bool       // it was begun ahead, and is not at hand yet
	late       bool       // and what is drawn depends on the tokens of the step at hand
	wanted     []want     // what each wanted row of the batch is for
	places     []int      // of each: among the rows that the device draws from; -1: the host draws
	size       int        // rows
	decodeOnly bool       // there are no prompts' rows
}

// sample has the device draw what it can.
func (l *loop) sample(f *flight) {
	f.places = f.places[:0]
	n := 0
	for i, w := range f.wanted {
		place := -1
		if q := f.plan.Items[w.item].Seq.Owner.(*sequence); l.sampler != nil {
			if n == len(l.rows) {
				l.rows, l.masks = append(l.rows, backend.SampleRow{}), append(l.masks, nil)
			}
			l.rows[n].Logits, l.rows[n].Slot = i, i
			if l.drawnThere(q, w, n, w.pos+1-q.Prompt) {
				place = n
				n++
			}
		}
		f.places = append(f.places, place)
	}
	if l.sampler == nil {
		return
	}
	l.sampler.Sample(l.rows[:n])
	if n == len(f.wanted) {
		l.sampler.Launch()
	}
}

// drawnThere fills in how the device draws wanted row w of q, as its draw number step. It
// reports false where the host must: for the log probabilities of a prompt, for a
// guess whose draw depends on the one before, and for what the device lacks.
func (l *loop) drawnThere(q *sequence, w want, n, step int) bool {
	if q.ended { // nobody reads it
		return q.sampler.ForDevice(&l.rows[n], step)
	}
	if w.pos < q.Prompt-1 || w.node >= 0 && (q.text != nil || !q.sampler.Forgets()) {
		return false
	}
	if q.text != nil && q.req.pin == nil {
		if _, must := l.mustEnd(q); must && q.req.params.Logprobs != nil {
			return false // it may be drawn twice
		}
		l.masks[n] = l.mask(q, l.masks[n])
		defer q.sampler.Mask(nil)
	}
	return q.sampler.ForDevice(&l.rows[n], step)
}

// drawn is q's draw from what the device drew.
func (l *loop) drawn(q *sequence, from *backend.Drawn) sample.Draw {
	d := q.sampler.FromDevice(*from)
	left, must := l.mustEnd(q)
	if !must || d.Degenerate {
		return d
	}
	if id, hurried := q.text.Within(left, d.ID); hurried {
		q.hurried, q.misled = true, l.next.up
		return sample.Draw{ID: id}
	}
	return d
}

// runAhead begins the step after p, if it is sure what that computes.
func (l *loop) runAhead(p *sched.Plan, now time.Duration) {
	if l.sampler == nil || l.size == 0 || l.proposer() != nil || l.always() || !l.hear() || !l.sure(p) {
		return
	}
	f := l.next
	if !l.sched.Ahead(p, &f.own, l.endsNow) {
		return
	}
	l.drafted, l.held, l.asks = 0, 0, l.asks[:0]
	l.noteAdmitted(&f.own, now)
	f.up, f.late = true, slices.ContainsFunc(f.own.Items, l.drawsLate)
	l.pack(f, &f.own)
	l.launch(f)
	l.e.stats.ahead.Add(1)
}

// sure tells that the device draws all tokens of p, and that what any of its
// sequences computes next depends on nothing but the token.
func (l *loop) sure(p *sched.Plan) bool {
	for _, place := range l.places {
		if place < 0 {
			return false
		}
	}
	structured := 0
	for _, item := range p.Items {
		q := l.of(item.Seq)
		switch {
		case q == nil:
		case q.req.pin != nil || q.AllLogits || len(q.siblings) > 0 || q.hurried:
			return false
		case q.text != nil:
			structured++
		}
	}
	return structured*fewStructured <= len(p.Items)
}

// fewStructured: up to one sequence in so many may have a structure in a step that is
// followed ahead. Its text is not guessed then, and may take more steps; where there are more,
// guesses are worth more than what the device would wait.
const fewStructured = 8

// drawsLate tells that how a sequence draws, or whether the device does, is known when the
// tokens of the step before are.
func (l *loop) drawsLate(item sched.Item) bool {
	q := l.of(item.Seq)
	return q.text != nil || q.AllLogits || !q.sampler.DrawsThere()
}

// sampleLate has the device draw in a step that has begun without.
func (l *loop) sampleLate() {
	if f := l.next; f.up && f.late {
		f.late = false
		l.sample(f)
	}
}

// endsNow tells that a sequence ends with the token that is being drawn, whatever that is.
func (l *loop) endsNow(s *sched.Seq) bool {
	q := l.of(s)
	return q.generated()+1 >= *q.req.params.MaxTokens || len(q.tokens)+1 >= l.e.opts.Describe.Context
}
