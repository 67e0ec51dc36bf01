package engine

import (
	"context"
	"fmt"
	"time"

	"weir/internal/llm"
	"weir/internal/sched"
)

// Admission has two parts. A place (this file, by the rules of sched.Gate) is
// reserved from sizes alone, before anything costly; then the prompt is rendered
// and tokenised, by few goroutines at a time, and what was guessed of its length
// is settled. Both happen on the request's goroutine, and the loop hears of what
// is left.

// place is room in the gate. e.mu guards it.
type place struct {
	e       *Engine
	held    sched.Demand // Tokens: of prompts that are not computed yet
	guesses map[*llm.Request]int
	left    bool
}

// Admit implements llm.Admitter.
func (e *Engine) Admit(requests []*llm.Request, atOnce int) (llm.Place, error) {
	p, err := e.admit(requests, atOnce)
	if err != nil {
		return nil, err
	}
	for _, r := range requests {
		r.Place = p
	}
	return p, nil
}

func (e *Engine) admit(requests []*llm.Request, atOnce int) (*place, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.closedTo(); err != nil {
		return nil, err
	}
	first := requests[0]
	p := &place{e: e, guesses: make(map[*llm.Request]int, len(requests))}
	p.held = sched.Demand{Caller: first.Caller, Share: first.Share}
	p.held.Places = min(len(requests), max(1, atOnce)) * max(1, first.Params.N, first.Params.BestOf)
	for _, r := range requests {
		p.guesses[r] = e.guessTokens(r.Prompt)
		p.held.Tokens += p.guesses[r]
	}
	if refusal := e.gate.Enter(e.clock(), p.held); refusal != nil {
		return nil, e.overloaded(refusal)
	}
	e.inFlight.Add(1)
	return p, nil
}

// Full implements llm.Admitter.
func (e *Engine) Full(caller string, share int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.closedTo(); err != nil {
		return err
	}
	d := sched.Demand{Caller: caller, Share: share, Places: 1, Tokens: 1}
	if refusal := e.gate.Enter(e.clock(), d); refusal != nil {
		return e.overloaded(refusal)
	}
	e.gate.Withdraw(d)
	return nil
}

// closedTo tells why nobody is let in, whoever asks. The lock is held.
func (e *Engine) closedTo() error {
	switch {
	case e.fatal != nil:
		return &llm.Error{Kind: llm.Unavailable, Message: "the engine has stopped after an internal error; restart weir", Err: e.fatal}
	case e.draining:
		return &llm.Error{Kind: llm.Unavailable, Message: "the server is shutting down and takes no new requests; try another, or again later"}
	}
	return nil
}

func (e *Engine) overloaded(r *sched.Refusal) error {
	l := e.gate.Limits()
	places, tokens := e.gate.In()
	e.stats.refused(r.Reason)
	err := &llm.Error{Kind: llm.Overloaded, RetryAfter: r.Wait}
	switch r.Reason {
	case sched.NoPlaces:
		err.Message = fmt.Sprintf("%d sequences run or wait of at most %d (--max-running and --max-queue); try again later", places, l.Places)
	case sched.NoTokens:
		err.Message = fmt.Sprintf("prompts of about %d tokens wait to be computed, and with this one they would be more than %d (--max-queued-tokens); try again later", tokens, l.Tokens)
	case sched.NoShare:
		err.Message = "this key's requests have their fair share of the queue, and others wait; try again later"
	}
	return err
}

// Leave implements llm.Place.
func (p *place) Leave() {
	e := p.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.left {
		return
	}
	p.left = true
	e.gate.Leave(e.clock(), p.held)
	if e.inFlight.Add(-1) == 0 && e.draining {
		close(e.idle)
	}
}

// claim is what one request holds of its place's tokens.
type claim struct {
	p      *place
	bytes  int
	tokens int
}

// claimFor finds or makes the place of r. leave gives it back if it was made. It
// does not write to r, which several calls may share.
func (e *Engine) claimFor(r *llm.Request) (c *claim, leave func(), err error) {
	leave = func() {}
	p, ours := r.Place.(*place)
	if !ours || p.e != e {
		if p, err = e.admit([]*llm.Request{r}, 1); err != nil {
			return nil, nil, err
		}
		leave = p.Leave
	}
	return &claim{p: p, bytes: promptBytes(r.Prompt), tokens: p.guesses[r]}, leave, nil
}

// settle replaces the guess by the prompt's tokens. The error says that there is
// no room for them.
func (c *claim) settle(tokens int) error {
	e := c.p.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.learn(c.bytes, tokens)
	refusal := e.gate.Settle(e.clock(), c.p.held.Caller, c.tokens, tokens)
	c.p.held.Tokens += tokens - c.tokens
	c.tokens = tokens
	if refusal != nil {
		return e.overloaded(refusal)
	}
	return nil
}

// computed records that the prompt waits no longer.
func (c *claim) computed() {
	e := c.p.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gate.Computed(e.clock(), c.p.held.Caller, c.tokens)
	c.p.held.Tokens -= c.tokens
	c.tokens = 0
}

// drop gives back the tokens of a prompt that will not be computed.
func (c *claim) drop() {
	if c.tokens == 0 {
		return
	}
	e := c.p.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gate.Settle(e.clock(), c.p.held.Caller, c.tokens, 0)
	c.p.held.Tokens -= c.tokens
	c.tokens = 0
}

// promptBytes is how long a prompt is as it came.
func promptBytes(p llm.Prompt) int {
	switch p := p.(type) {
	case llm.Text:
		return len(p)
	case *llm.Chat:
		return len(p.Messages) + len(p.Tools) + len(p.Documents)
	}
	return 0
}

// guessTokens estimates a prompt's tokens from its bytes, by those of earlier
// prompts. The lock is held.
func (e *Engine) guessTokens(p llm.Prompt) int {
	if ids, ok := p.(llm.Tokens); ok {
		return max(1, len(ids))
	}
	return max(1, int(float64(promptBytes(p))/e.bytesPerToken))
}

// learn takes note of how many tokens bytes have become.
func (e *Engine) learn(bytes, tokens int) {
	const weight = 1.0 / 32
	if bytes < 64 || tokens < 1 {
		return // a template or a BOS would count for more than the text
	}
	ratio := min(max(float64(bytes)/float64(tokens), 1), 16)
	e.bytesPerToken += weight * (ratio - e.bytesPerToken)
}

// SetQueue changes how many sequences may wait beside those that run, and how many
// tokens of prompts; 0 tokens are as many as without an option. Who is in stays.
func (e *Engine) SetQueue(sequences, tokens int) error {
	o := e.opts
	o.MaxQueue, o.MaxQueuedTokens = sequences, tokens
	l := o.gate()
	if err := l.Validate(); err != nil || sequences < 1 {
		return fmt.Errorf("a queue of %d sequences and %d tokens makes no sense", sequences, tokens)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gate.SetLimits(l)
	return nil
}

// inPool runs f when one of the few places for rendering and tokenising is free:
// a flood of long prompts must not take the processors from the engine, nor
// memory for all of them at once.
func (e *Engine) inPool(ctx context.Context, f func() error) error {
	select {
	case e.pool <- struct{}{}:
	case <-ctx.Done():
		return contextError(ctx)
	}
	defer func() { <-e.pool }()
	return f()
}

// queueContext ends when the request's computation should have begun and has not.
func queueContext(ctx context.Context, by time.Time, started func() bool) (context.Context, func()) {
	if by.IsZero() {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(time.Until(by), func() {
		if !started() {
			cancel(errQueued)
		}
	})
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}
