package spec

// Budget bounds what wrong guesses may cost, whatever the text is like: it earns a
// small share of the time that steps take, is credited with what guesses save, and
// pays for what they cost. Nothing is guessed that could lose more than is left, so
// that the time lost never exceeds the share by more than the credit, a draft's
// misjudged cost, and one reading (see Load.Reading).
//
// Amounts are seconds. The zero value is not open: it has nothing until the first
// step.
type Budget struct {
	left float64
	open bool
}

// Terms are how generous a budget is, in steps without guesses.
type Terms struct {
	Credit float64 // what may be lost before anything has been earned
	Most   float64 // what is saved up at most
}

var (
	// All is the budget of an engine.
	All = Terms{Credit: 16, Most: 32}
	// Own is that of each sequence, so that none pays for what others have earned.
	Own = Terms{Credit: 1.5, Most: 6}
)

// share is how much of the time steps take may be lost for guesses that fail.
const share = 0.015

// Settle accounts for a step: base is what it would have taken without guesses, or
// the steps that give as many tokens; gain is what guesses saved of that, negative
// if they cost; plain is the time of a step without guesses.
func (b *Budget) Settle(t Terms, base, gain, plain float64) {
	if !b.open {
		b.open, b.left = true, t.Credit*plain
	}
	b.left = min(b.left+share*base+gain, t.Most*plain)
}

// Left is what may be lost.
func (b *Budget) Left() float64 { return b.left }
