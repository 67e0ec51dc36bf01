package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"weir/internal/sched"
)

// SequenceState tells people what a sequence does.
type SequenceState struct {
	Request     string // the id of llm.Request
	Choice      int
	State       string // as sched.Situation has it
	Why         string // why it waits
	Ahead       int    // how many wait before it
	Priority    int
	Prompt      int // tokens
	Cached      int // of them, found in the prefix cache
	Computed    int // tokens stored, of prompt and output
	Generated   int // tokens
	Pages       int
	Preemptions int
	Age         time.Duration
}

// Inspect asks the loop for its sequences, oldest first. The loop answers between
// two steps; ctx bounds the wait for it.
func (e *Engine) Inspect(ctx context.Context) ([]SequenceState, error) {
	answer := make(chan []SequenceState, 1) // the loop never waits for who asked
	if !e.inbox.send(message{look: answer}) {
		return nil, nil
	}
	select {
	case s := <-answer:
		return s, nil
	case <-e.done:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// look lists the sequences, between two steps.
func (l *loop) look() []SequenceState {
	var list []SequenceState
	now := l.e.clock()
	for s, q := range l.owner {
		at := l.sched.Situation(s)
		if at.State == "outside" {
			at.State, at.Why = "waiting", "its first choice computes the prompt for it"
		}
		list = append(list, SequenceState{
			Request: q.req.id, Choice: q.choice, State: at.State, Why: at.Why, Ahead: at.Ahead,
			Priority: s.Priority, Prompt: s.Prompt, Cached: s.Cached, Computed: s.Computed,
			Generated: q.generated(), Pages: at.Pages, Preemptions: s.Preemptions, Age: now - q.req.arrived,
		})
	}
	slices.SortFunc(list, func(a, b SequenceState) int {
		return cmp.Or(cmp.Compare(b.Age, a.Age), cmp.Compare(a.Request, b.Request), a.Choice-b.Choice)
	})
	return list
}

// noteAdmitted records when requests' computation begins.
func (l *loop) noteAdmitted(p *sched.Plan, now time.Duration) {
	for _, s := range p.Admitted {
		if q := l.of(s); q != nil && q.req.admitted == 0 {
			q.req.admitted = now
		}
	}
}
