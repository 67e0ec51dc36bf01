package engine

import (
	"time"

	"weir/internal/sched"
	"weir/internal/spec"
)

// behind is what the proposer has to read of a sequence before it can guess.
func (l *loop) behind(a *spec.Ask) int {
	if r, ok := l.e.opts.Proposer.(spec.Reader); ok {
		return l.ledger.Behind(r.Behind(a))
	}
	return 0
}

// recent is how much of a sequence's pace a step leaves.
const recent = 0.9

// account settles a step in the books of guessing. What steps cost is learnt without a
// proposer, too: forced text is drafted by it.
func (l *loop) account(p *sched.Plan, took time.Duration, err error) {
	if err != nil || len(p.Items) == 0 {
		return
	}
	step := spec.Step{Seqs: len(p.Items), Rows: l.size, Drafted: l.drafted, Held: l.held, Prompts: !l.decodeOnly, Seconds: took.Seconds()}
	if step.Prompts {
		step.Seqs = l.sched.RunningSeqs()
	}
	bill, ok := l.ledger.Settle(step)
	if !ok {
		return
	}
	l.e.stats.saved.Store(int64(l.ledger.Saved() * float64(time.Second)))
	for _, item := range p.Items {
		q := l.of(item.Seq)
		if q == nil || q.generated() == 0 {
			continue
		}
		nodes, held := item.Draft, len(q.guess.path)
		if q.guess.sure {
			nodes, held = 0, 0
		}
		q.guess.gave = recent*q.guess.gave + 1 + float64(held)
		q.guess.took = recent*q.guess.took + bill.Token + bill.Node*float64(nodes)
		if nodes == 0 && q.guess.ask.Passes > 0 {
			q.guess.took += bill.Vain / float64(len(l.asks))
			bill.SettleVain(&q.guess.budget, len(l.asks))
			continue
		}
		bill.SettleOwn(&q.guess.budget, nodes, held)
	}
}
