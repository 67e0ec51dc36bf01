// Package spec guesses what a sequence will say next, so that the engine can
// compute several of its tokens in one pass, and decides how far a guess should
// reach. It is pure: no clock, no tensor. Proposers that compute with a model of
// their own stand in package draft below it.
//
// # How the engine uses it
//
// A [Proposer] drafts a [Tree] of tokens that may follow a sequence. The engine
// computes all of it in one pass, beside whatever else the step computes, each
// node seeing its own branch. Then it walks down from the root: it draws a token
// at a node as it would without drafts, with the random number of that position
// and with all that changes logits (penalties, biases, masks) as the branch has
// it, and goes on to the child that has that token. So the output is the same,
// token for token, as without speculation, greedy or sampled; a wrong guess
// costs a row of work and nothing else.
//
// # When it pays
//
// A draft of n nodes is worth 1 + the sum, over its nodes, of the chance that
// the walk comes by; it costs what n more rows of the step cost and the drafting.
// [Control] measures the former for each sequence by depth and rank, [Cost] the
// latter, and the shape of the next draft is the one that gives the step most
// tokens for its time: nothing where guesses fail, or beside many other
// sequences. Then it is tried again now and then, ever more rarely while it
// fails. Expectations can be wrong, and texts change; so a [Budget] bounds what is
// lost, whatever happens, to a seventieth of the time.
package spec

import (
	"weir/internal/llm"
	"weir/internal/sample"
)

// Proposer drafts for all sequences of an engine. The engine's loop owns it.
type Proposer interface {
	// Propose fills in each ask's Draft, which is empty; together, so that what
	// needs a device computes them in one batch. Guessing less than asked, or
	// nothing, is fine.
	Propose(asks []*Ask)
	// Forget lets go of what the proposer holds for a sequence, which ended or
	// has lost its place. It may be asked for again.
	Forget(a *Ask)
	// Reset lets go of all that the proposer holds and begins anew, whatever it was
	// at: the engine's loop panicked, perhaps in it. Nobody asks again who asked
	// before. After an error it proposes nothing.
	Reset() error
	// Name is what --speculate calls the proposer.
	Name() string
	Close() error
}

// HiddenReader is a Proposer that may need Ask.Hidden.
type HiddenReader interface {
	NeedsHidden() bool
}

// Reader is a Proposer that reads what a sequence has said before it can guess.
type Reader interface {
	// Behind is how many tokens it would have to read. a.Tokens is set.
	Behind(a *Ask) int
}

// Watcher is a Proposer that follows the model's hidden states.
type Watcher interface {
	// Observe hands over what a step computed of a sequence for good: positions from
	// from on, in these rows of the model's batch. read gives a row of one of the
	// activations that the proposer has had the model keep, until the next call of
	// Propose. The tokens that were drawn after those positions are in a.Tokens.
	Observe(a *Ask, from int, rows []int, read func(tap, row int) []float32)
}

// Ask is what a proposer hears of a sequence, and where it answers. There is one
// for each sequence as long as it lives.
type Ask struct {
	// The engine sets these once.
	Request *llm.Request
	Choice  int
	Prompt  int // how many of Tokens are the prompt
	// Sampler draws the sequence's tokens. A proposer with logits of its own
	// draws from them with the same random numbers (Sampler.Guess), which makes
	// it agree far more often than an own draw would.
	Sampler *sample.Sampler

	// And these before each call.
	Tokens []int32 // prompt and output; only ever grows
	// Shape is the draft that is wanted: its tokens are ranks, 0 for the likeliest
	// at that place. No draft may have more nodes, or a longer path.
	Shape Tree
	// Hidden is the model's hidden state, after its last norm, at the row that
	// the last token was drawn from; only for proposers that need it. [width]
	Hidden []float32

	// Odds tell a proposer that knows how sure it is (Sureness) what that is worth,
	// and Worth what it takes: less, and a path should end. nil: as the shape says.
	Odds  *Control
	Worth Worth

	// Draft is the answer.
	Draft Tree
	// Sure are the classes of its nodes, if the proposer knows; empty: it does not.
	Sure []uint8
	// Passes are those that the draft took; 0: as deep as the shape.
	Passes int
	// State is the proposer's own.
	State any
}

// Said is the number of tokens of the output so far.
func (a *Ask) Said() int { return len(a.Tokens) - a.Prompt }

// Guesser guesses for one sequence, from its tokens alone.
type Guesser interface {
	// Guess adds to t, which is empty, at most as much as shape has.
	Guess(t *Tree, shape *Tree, tokens []int32)
}

// Each makes a proposer of guessers, one for each sequence.
func Each(name string, start func(a *Ask) Guesser) Proposer { return &each{name, start} }

type each struct {
	name  string
	start func(a *Ask) Guesser
}

func (e *each) Propose(asks []*Ask) {
	for _, a := range asks {
		g, ok := a.State.(Guesser)
		if !ok {
			g = e.start(a)
			a.State = g
		}
		g.Guess(&a.Draft, &a.Shape, a.Tokens)
	}
}

func (e *each) Forget(a *Ask) { a.State = nil }
func (e *each) Reset() error  { return nil }
func (e *each) Name() string  { return e.name }
func (e *each) Close() error  { return nil }
