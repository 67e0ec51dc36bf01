package engine

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	answers "weir/internal/chat/answer"
	"weir/internal/llm"
	"weir/internal/token"
)

// Generate answers r; see llm.Generator.
func (e *Engine) Generate(ctx context.Context, r *llm.Request) iter.Seq2[llm.Event, error] {
	return func(yield func(llm.Event, error) bool) {
		if err := e.generate(ctx, r, func(ev llm.Event) bool { return yield(ev, nil) }); err != nil {
			yield(llm.Event{}, err)
		}
	}
}

// errStopped says that the caller broke out of its loop.
var errStopped = errors.New("the caller stopped listening")

func (e *Engine) generate(ctx context.Context, r *llm.Request, yield func(llm.Event) bool) error {
	claim, leave, err := e.claimFor(r)
	if err != nil {
		return err
	}
	defer leave()
	defer claim.drop()
	var started atomic.Bool
	ctx, stop := queueContext(ctx, r.QueueBy, started.Load)
	defer stop()
	req, err := e.prepared(ctx, r, claim)
	if err != nil {
		return err
	}
	req.started = &started
	if !e.inbox.send(message{add: req}) {
		return &llm.Error{Kind: llm.Unavailable, Message: "the server is shutting down"}
	}
	defer e.inbox.send(message{cancel: req}) // does nothing to what has ended
	d := newDelivery(e, req, claim, yield)
	if req.params.BestOf > req.params.N {
		d.pickBest(&r.Params)
	}
	err = d.run(ctx)
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// prepared renders, tokenises and checks a request.
func (e *Engine) prepared(ctx context.Context, r *llm.Request, c *claim) (req *request, err error) {
	err = e.inPool(ctx, func() error {
		prompt, params, err := e.prepare(r)
		if err != nil {
			return err
		}
		if err := c.settle(len(prompt)); err != nil {
			return err
		}
		req, err = e.structured(ctx, r, prompt, params)
		return err
	})
	return req, err
}

// delivery turns a request's outputs into events, on the request's goroutine.
type delivery struct {
	e       *Engine
	req     *request
	claim   *claim
	yield   func(llm.Event) bool
	choices []*choice
	open    int // choices that have not finished
	usage   llm.Usage
	started bool // the prompt's event has been sent
	best    *bestOf
}

// choice is the text side of a sequence.
type choice struct {
	seq      *sequence
	decoder  *token.Decoder
	stop     stopFinder
	finished bool
	tokens   int
	guesses  guesses
	reader   *answers.Reader // tells thinking and tool calls from the text; nil: all is text
}

func newDelivery(e *Engine, req *request, c *claim, yield func(llm.Event) bool) *delivery {
	d := &delivery{e: e, req: req, claim: c, yield: yield, open: len(req.seqs)}
	d.usage.PromptTokens = len(req.prompt)
	// Text that goes on from other text keeps the space that a vocabulary such as
	// Llama 2's writes before a first word.
	o := token.DecodeOptions{SkipSpecial: !req.params.KeepSpecial, Continuation: req.continues}
	for _, q := range req.seqs {
		c := &choice{seq: q, decoder: e.opts.Tokenizer.NewDecoder(o)}
		c.stop.init(req.params.Stop, req.params.IncludeStop)
		if req.reading != nil {
			c.reader = answers.NewReader(req.reading.Options)
		}
		d.choices = append(d.choices, c)
	}
	return d
}

// run delivers until every choice has finished, then the usage.
func (d *delivery) run(ctx context.Context) error {
	var outs []output
	var err error
	for d.open > 0 {
		if outs, err = d.req.out.take(ctx, outs); err != nil {
			return contextError(ctx)
		}
		for _, o := range outs {
			if err := d.deliver(o); err != nil {
				return err
			}
		}
	}
	if d.best != nil {
		if err := d.sendBest(); err != nil {
			return err
		}
	}
	usage := d.usage
	for _, c := range d.choices {
		c.guesses.addTo(&usage)
	}
	return d.send(llm.Event{Usage: &usage})
}

// errQueued is the cause of the end of a context whose request waited too long.
var errQueued = errors.New("the request waited too long for its turn")

func contextError(ctx context.Context) error {
	err := context.Cause(ctx)
	var told *llm.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, errQueued):
		return &llm.Error{Kind: llm.Timeout, Code: "queue_timeout", Err: err,
			Message: "the request waited for its turn longer than it may; try again later, or allow more time"}
	case errors.Is(err, context.DeadlineExceeded):
		return &llm.Error{Kind: llm.Timeout, Message: "the request's deadline passed before its output was complete; ask for fewer tokens or allow more time", Err: err}
	}
	return &llm.Error{Kind: llm.Canceled, Message: "the request was cancelled", Err: err}
}

func (d *delivery) deliver(o output) error {
	if o.err != nil {
		return o.err
	}
	if err := d.start(o); err != nil {
		return err
	}
	c := d.choices[o.choice]
	if !o.drawn || c.finished {
		return nil // tokens drawn before the loop heard of a stop string
	}
	return d.send(d.event(c, o))
}

// start sends what is known of the prompt before the first token. With prompt
// log probabilities that is their arrival.
func (d *delivery) start(o output) error {
	if d.started || d.req.params.PromptLogprobs != nil && o.promptLP == nil {
		return nil
	}
	d.started = true
	d.claim.computed()
	info := &llm.PromptInfo{IDs: d.req.prompt, Logprobs: o.promptLP}
	if d.req.explain {
		info.Cache = d.e.explain(d.req, o.nearest, o.cached)
	}
	if d.req.params.Echo {
		info.Text = d.e.opts.Tokenizer.Decode(d.req.prompt, token.DecodeOptions{})
	}
	timing := &llm.Timing{Queued: d.req.admitted - d.req.arrived, Computing: d.e.clock() - d.req.admitted}
	return d.emit(llm.Event{Prompt: info, Timing: timing})
}

// event makes a choice's next event from the token in o.
func (d *delivery) event(c *choice, o output) llm.Event {
	ev := llm.Event{Choice: o.choice, Tokens: []llm.Token{d.token(o)}, StopToken: o.stopToken, Finish: o.finish, Step: o.step}
	c.tokens++
	c.guesses = o.guesses
	d.usage.CompletionTokens++
	if o.choice == 0 { // the one that computed the prompt for all
		d.usage.CachedTokens = o.cached
	}
	if o.finish != llm.FinishStop || o.complete { // an end token has no text
		ev.Text = d.text(c, o.draw.ID)
	}
	if o.finish != llm.FinishNone {
		ev.Text += c.decoder.Flush()
	}
	d.applyStop(c, &ev)
	d.read(c, &ev)
	if ev.Finish != llm.FinishNone {
		c.finished = true
		d.open--
	}
	return ev
}

// applyStop looks for stop strings in the choice's text, holding back what may
// be the start of one. Before MinTokens it only passes text on.
func (d *delivery) applyStop(c *choice, ev *llm.Event) {
	if c.tokens < d.req.params.MinTokens && ev.Finish == llm.FinishNone {
		return
	}
	found := ""
	ev.Text, found = c.stop.push(ev.Text)
	switch {
	case found != "":
		ev.StopString, ev.StopToken = found, nil
		if ev.Finish == llm.FinishNone {
			d.e.inbox.send(message{choice: c.seq})
		}
		ev.Finish = llm.FinishStop
	case ev.Finish != llm.FinishNone:
		ev.Text += c.stop.flush()
	}
}

func (d *delivery) token(o output) llm.Token {
	t := llm.Token{ID: o.draw.ID, Bytes: d.e.opts.Tokenizer.Piece(o.draw.ID)}
	if o.draw.HasLogprob {
		lp := o.draw.Logprob
		t.Logprob, t.Top = &lp, d.e.withBytes(o.draw.Top)
	}
	return t
}

// send emits an event, or keeps it until the best choices are known.
func (d *delivery) send(ev llm.Event) error {
	if d.best != nil && ev.Usage == nil {
		d.best.keep(ev)
		return nil
	}
	return d.emit(ev)
}

func (d *delivery) emit(ev llm.Event) error {
	if !d.yield(ev) {
		return errStopped
	}
	return nil
}
