package grammar

import (
	"context"
	"errors"
	"fmt"
)

// Limits bound what compiling one grammar may take.
type Limits struct {
	States int // of all automata together
	Rules  int // of the grammar: objects, arrays, alternatives
	Steps  int // of work, each well under a microsecond
}

// DefaultLimits suit schemas of a hundred thousand lines and stop at what would
// take a second.
func DefaultLimits() Limits {
	return Limits{States: 250_000, Rules: 200_000, Steps: 15_000_000}
}

// ErrTooLarge says that a grammar went over its Limits.
var ErrTooLarge = errors.New("too large")

// meter counts what a compilation has taken, and stops it.
type meter struct {
	ctx    context.Context
	limits Limits
	states int
	rules  int
	steps  int
	tick   int
}

func newMeter(ctx context.Context, l Limits) *meter { return &meter{ctx: ctx, limits: l} }

// checkEvery is how many steps pass between looks at the context.
const checkEvery = 1 << 12

func (m *meter) step(n int) error {
	m.steps += n
	if m.steps > m.limits.Steps {
		return fmt.Errorf("%w: compiling takes more than %d steps; make it simpler, or its bounds smaller", ErrTooLarge, m.limits.Steps)
	}
	if m.tick += n; m.tick >= checkEvery {
		m.tick = 0
		return m.ctx.Err()
	}
	return nil
}

func (m *meter) state(n int) error {
	m.states += n
	if m.states > m.limits.States {
		return fmt.Errorf("%w: it takes more than %d states; repeat or bound less", ErrTooLarge, m.limits.States)
	}
	return m.step(n)
}

func (m *meter) rule(n int) error {
	m.rules += n
	if m.rules > m.limits.Rules {
		return fmt.Errorf("%w: it has more than %d rules", ErrTooLarge, m.limits.Rules)
	}
	return m.step(n)
}
