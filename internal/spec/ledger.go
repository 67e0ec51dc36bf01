package spec

// Ledger keeps the books of an engine's guessing: what steps, drafts and reading
// cost, what guesses gave, and what may be lost yet. It is told durations and has no
// clock.
type Ledger struct {
	Cost     Cost // of a step, by rows
	Drafting Cost // of the drafts for a step, by depth
	reading  Cost // of what a proposer reads before it can guess, by tokens
	budget   Budget

	saved float64 // seconds, in all

	guessing, catching, watching float64 // of the step at hand, in seconds

	unbroken int     // steps in a row with guesses
	ended    float64 // sequences that ended, less what is forgotten
	said     float64 // and their outputs' tokens
}

const (
	// probeAfter is how many steps in a row may have guesses, before one without
	// them shows anew what such a step takes.
	probeAfter = 64
	// littleBehind is what a proposer reads in the ordinary course.
	littleBehind = 8
	// firstReading is what reading a token is taken to cost while it is not known, as
	// a share of a step.
	firstReading = 0.05
	// usualLength is how long outputs are taken to be while it is not known.
	usualLength = 128
)

// NewLedger makes one that knows nothing.
func NewLedger() Ledger { return Ledger{Cost: NewCost()} }

// Left is what may be lost.
func (l *Ledger) Left() float64 { return l.budget.Left() }

// Saved is the time that guesses have saved, less what they cost: negative, if they
// cost more.
func (l *Ledger) Saved() float64 { return l.saved }

// Probe tells that the next step, of so many sequences, is to have no guesses, so
// that what such a step takes is known.
func (l *Ledger) Probe(seqs int) bool {
	return l.unbroken >= probeAfter || seqs < sizes && l.Cost.Seen(seqs) < known-1
}

// Ended learns from an output that has ended.
func (l *Ledger) Ended(tokens int) { l.ended, l.said = 0.95*l.ended+1, 0.95*l.said+float64(tokens) }

// Length is how long an output is expected to be.
func (l *Ledger) Length() float64 { return (l.said + usualLength) / (l.ended + 1) }

// Behind is how many of so many tokens are to be read out of the ordinary.
func (l *Ledger) Behind(tokens int) int {
	if tokens <= littleBehind {
		return 0
	}
	return tokens
}

// Reading estimates what it costs to read as much, where a step is of so many
// sequences.
func (l *Ledger) Reading(behind, seqs int) float64 {
	switch {
	case behind == 0:
		return 0
	case l.reading.Blank():
		return firstReading * l.Cost.Of(seqs) * float64(behind)
	}
	return l.reading.Of(behind)
}

// Guessed takes note of what guessing took: drafts of a depth, after as much was
// read.
func (l *Ledger) Guessed(depth, behind int, seconds float64) {
	if behind == 0 {
		seconds = l.Drafting.likely(depth, seconds)
		l.guessing = l.Drafting.Clip(depth, seconds)
		l.Drafting.Observe(depth, seconds)
		return
	}
	l.guessing = min(seconds, l.Drafting.Of(depth))
	l.catching = l.reading.likely(behind, seconds-l.guessing)
	l.reading.Observe(behind, l.catching)
}

// Watched takes note of what a Watcher took.
func (l *Ledger) Watched(seconds float64) { l.watching = seconds }

// Step is what a step was like.
type Step struct {
	Seqs    int     // that were decoded
	Rows    int     // in all
	Drafted int     // nodes that the proposer guessed
	Held    int     // of them, those that came true
	Prompts bool    // it had rows of prompts, too
	Seconds float64 // it took, guessing included
}

// Bill is what a node costs in a step, and what a token is worth, in seconds; where no
// draft has a node, what guessing took.
type Bill struct{ Node, Token, Vain float64 }

// Settle accounts for a step. There is no bill while nothing is known of steps.
func (l *Ledger) Settle(s Step) (b Bill, ok bool) {
	beside := l.guessing + l.catching
	drafting := l.guessing
	step := max(0, s.Seconds-beside-l.watching)
	spent := beside + l.watching
	l.guessing, l.catching, l.watching = 0, 0, 0
	if s.Drafted > 0 {
		l.unbroken++
	} else {
		l.unbroken = 0
	}
	if !s.Prompts {
		step = l.Cost.Clip(s.Rows, step)
		l.Cost.Observe(s.Rows, step)
	}
	if l.Cost.Blank() {
		return b, false
	}
	seqs := max(1, s.Seqs)
	plain, extra := l.Cost.Of(seqs), 0.0
	b.Token = plain / float64(seqs)
	if s.Drafted > 0 {
		extra = step - l.Cost.Of(s.Rows-s.Drafted)
		if s.Prompts { // what such a step takes without is not known
			extra = max(0, l.Cost.Of(seqs+s.Drafted)-plain)
		}
		b.Node = (extra + drafting) / float64(s.Drafted)
	} else {
		b.Vain = drafting
	}
	saved := b.Token * float64(s.Held)
	l.saved += saved - extra - spent
	l.budget.Settle(All, step-extra+saved, saved-extra-spent, plain)
	return b, true
}

// SettleOwn accounts for a sequence's part of a step: its nodes, and those that came
// true. What a proposer read for it is the engine's investment.
func (b Bill) SettleOwn(to *Budget, nodes, held int) {
	gain := b.Token*float64(held) - b.Node*float64(nodes)
	to.Settle(Own, b.Token*float64(1+held), gain, b.Token)
}

// SettleVain accounts for a sequence that was guessed for, as one of so many, without
// result: the proposer was not sure enough.
func (b Bill) SettleVain(to *Budget, asks int) {
	to.Settle(Own, b.Token, -b.Vain/float64(max(1, asks)), b.Token)
}
