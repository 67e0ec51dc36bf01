package engine

import (
	"fmt"

	"weir/internal/spec"
)

// SpeculationStatus says whether anything is guessed ahead.
type SpeculationStatus struct {
	Proposer string // "ngram", "draft", "medusa", ...; "": speculation is not asked for
	On       bool
	Why      string // it is off
}

// speculation is the state for people.
func (e *Engine) speculation() SpeculationStatus {
	if e.opts.Proposer == nil {
		return SpeculationStatus{Why: "it is not asked for (--speculate)"}
	}
	s := SpeculationStatus{Proposer: e.opts.Proposer.Name(), On: true}
	if why := e.stats.whyOff.Load(); why != nil {
		s.On, s.Why = false, *why
	}
	return s
}

// turnAfter is how many steps in a row speculation must have been off before it is
// called off, and on before it is called on.
const turnAfter = 24

// watch notices that guessing does not pay for anybody, or does again, and says so.
func (l *loop) watch(load spec.Load) {
	if l.proposer() == nil || l.always() {
		return
	}
	seen, off, rates := 0, 0, 0.0
	for _, s := range l.sched.Running() {
		if q := l.of(s); q.Remaining() == 1 && q.generated() > 0 {
			seen++
			rates += q.guess.control.Rate(1, 0)
			if q.guess.control.Off() {
				off++
			}
		}
	}
	switch {
	case seen == 0:
		return
	case (off == seen) == l.idle:
		l.turning = 0
		return
	}
	if l.turning++; l.turning < turnAfter {
		return
	}
	l.turning, l.idle = 0, !l.idle
	if l.idle {
		why := whyOff(rates/float64(seen), load)
		l.e.stats.whyOff.Store(&why)
	} else {
		l.e.stats.whyOff.Store(nil)
	}
	l.tellSpeculation()
}

func (l *loop) tellSpeculation() {
	if tell := l.e.opts.OnSpeculation; tell != nil {
		tell(l.e.speculation())
	}
}

// whyOff says in one line why guessing does not pay, of a rate at which the running
// sequences' first guesses come true.
func whyOff(rate float64, load spec.Load) string {
	beside := "alone"
	if load.Rows > 1 {
		beside = fmt.Sprintf("beside %d other sequences", load.Rows-1)
	}
	need := load.BreakEven()
	pays := fmt.Sprintf("guessing pays from %.0f %% on", 100*need)
	if need > 1 {
		pays = "guessing can't pay"
	}
	if load.Left <= 0 || rate >= need {
		pays += ", but what wrong guesses may cost is spent"
	}
	return fmt.Sprintf("about %.0f %% of first guesses come true; %s %s (a further row costs %.0f %% of a step)",
		100*rate, beside, pays, 100*max(0, load.Cost.Of(load.Rows+1)/load.Cost.Of(load.Rows)-1)) // an estimate: noise can make it negative
}
