package engine

import (
	"weir/internal/sched"
)

// guess asks each decoding sequence's proposer for what may come next, as far as
// that is worth its cost.
func (l *loop) guess() {
	if l.e.opts.Proposer == nil {
		return
	}
	rows := l.sched.RunningSeqs()
	for _, q := range l.owner {
		q.draft, q.Draft = q.draft[:0], 0
		if !q.Running() || q.Remaining() != 1 || q.generated() == 0 {
			continue
		}
		if depth := min(l.depth(q, rows), l.room(q)); depth > 0 {
			q.draft = q.guess.Propose(q.draft, q.tokens, depth)
			q.Draft = len(q.draft)
		}
	}
}

func (l *loop) depth(q *sequence, rows int) int {
	if n := l.e.opts.GuessDepth; n > 0 {
		return n
	}
	return q.control.Depth(l.cost, rows)
}

// room is how many guesses could still be of use to q: the step draws one token
// besides.
func (l *loop) room(q *sequence) int {
	return min(*q.req.params.MaxTokens-q.generated(), l.e.opts.Describe.Context-len(q.tokens)) - 1
}

// settleGuesses takes over the keys and values of guesses that came true, and
// learns from the others. Cells of wrong guesses are written again later.
func (l *loop) settleGuesses(p *sched.Plan) {
	for _, item := range p.Items {
		if item.Draft == 0 {
			continue
		}
		q := l.owner[item.Seq]
		if q == nil { // it ended in this step; its guesses were as good as they were
			continue
		}
		held := q.Length - 1 - item.To
		q.control.Observe(item.Draft, held)
		l.e.stats.guessed.Add(int64(item.Draft))
		l.e.stats.held.Add(int64(held))
		if held > 0 {
			l.sched.Advance(sched.Item{Seq: item.Seq, From: item.To, To: item.To + held})
		}
	}
}
