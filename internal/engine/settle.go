package engine

import (
	"fmt"
	"slices"

	"weir/internal/backend"
	"weir/internal/kv"
	"weir/internal/llm"
	"weir/internal/sample"
	"weir/internal/sched"
)

// settle turns a step's logits into tokens and tells the requests.
func (l *loop) settle(p *sched.Plan, r *backend.Result, err error) {
	if err != nil {
		l.failItems(p, err)
		return
	}
	for _, item := range p.Items {
		if q := l.of(item.Seq); q != nil && !q.misled { // it may have ended after the step had begun
			l.sched.Advance(item)
		}
	}
	l.drawAhead(p, r)
	for i, w := range l.wanted {
		q := l.of(p.Items[w.item].Seq)
		switch {
		case q == nil: // an earlier row of this step ended its request
		case q.misled: // the row is of a token that it does not have
			q.misled = false
		case w.node >= 0 && w.node != q.guess.next: // a guess that did not come true, or one after it
		case w.pos < q.Prompt-1:
			l.promptLogprob(q, w.pos, r.Logits[i])
		case q.req.pin != nil:
			l.pin(q)
		default:
			l.promptDone(q)
			l.draw(q, w.node, r, i)
			l.see(q, i)
		}
	}
	l.settleGuesses(p)
	l.observe(p)
	l.e.stats.count(p)
	l.check()
}

// promptLogprob records the log probability of the token after pos. A prompt
// that is computed again after a preemption has some of them already.
func (l *loop) promptLogprob(q *sequence, pos int, logits []float32) {
	if pos+1 < len(q.promptLP) {
		return
	}
	id := q.tokens[pos+1]
	lp, top := sample.Logprob(logits, id, *q.req.params.PromptLogprobs)
	q.promptLP = append(q.promptLP, llm.Token{ID: id, Logprob: &lp, Top: l.e.withBytes(top), Bytes: l.e.opts.Tokenizer.Piece(id)})
}

// promptDone runs when a prompt's last row has been computed: its log
// probabilities are told, and the request's other choices start.
func (l *loop) promptDone(q *sequence) {
	if q.AllLogits {
		q.AllLogits = false
		q.req.out.put(output{choice: q.choice, promptLP: q.promptLP})
		q.promptLP = nil
	}
	for _, s := range q.siblings {
		l.start(s, q)
	}
	q.siblings = nil
}

// start makes a sibling share the prompt's pages, or queues it to compute the
// prompt by itself. It shares all but the last position: computing that one
// gives it the logits of its own first token, with the same bits.
func (l *loop) start(s, lead *sequence) {
	if s.ended {
		return
	}
	copies, ok := l.sched.Fork(&s.Seq, &lead.Seq, lead.Prompt-1)
	if !ok {
		l.sched.Add(&s.Seq)
		return
	}
	for _, c := range copies {
		l.copies = append(l.copies, backend.Copy{Group: c.Group, From: c.From, To: c.To})
	}
}

// draw takes the next token of q from the logits of wanted row i, that of a node of
// its draft or of the draft's root.
func (l *loop) draw(q *sequence, node int, r *backend.Result, i int) {
	var d sample.Draw
	switch {
	case l.places[i] >= 0:
		d = l.drawn(q, &r.Drawn[l.places[i]])
	case l.drawers.done[i]:
		d = l.drawers.draws[i]
	default:
		d = l.drawText(q, r.Logits[i])
	}
	if d.Degenerate || !q.follow(d.ID) {
		q.req.out.put(output{choice: q.choice, err: degenerate(q)})
		l.dropRequest(q.req)
		return
	}
	q.sampler.Accept(d.ID)
	q.add(d.ID)
	l.descend(q, node, d.ID)
	out := output{choice: q.choice, drawn: true, draw: d, cached: q.Cached, guesses: q.guess.counts, step: l.e.stats.steps.Load() + 1}
	if q.Explain {
		out.nearest = &q.Nearest
	}
	out.finish, out.stopToken = l.finish(q, d.ID)
	if q.complete(d.ID, l.e.opts.EOG) && out.stopToken == nil {
		out.finish, out.complete = llm.FinishStop, true
	}
	out.finish = q.hurry(out.finish)
	if out.finish != llm.FinishNone {
		l.ledger.Ended(q.generated())
		l.drop(q)
	}
	if q.req.out.put(out) > l.e.opts.Backlog*len(q.req.seqs) {
		l.cutOff(q.req)
	}
}

// cutOff ends a request whose client does not take what is made for it.
func (l *loop) cutOff(r *request) {
	if !slices.ContainsFunc(r.seqs, func(q *sequence) bool { return !q.ended }) {
		return // it is complete; that it is taken is up to whoever bounds its time
	}
	l.e.stats.cutOff.Add(1)
	r.out.put(output{err: &llm.Error{Kind: llm.Timeout, Code: "slow_reader", Message: fmt.Sprintf(
		"the client reads too slowly: more than %d tokens waited for it; read faster, or ask for no stream", l.e.opts.Backlog)}})
	l.dropRequest(r)
}

// add appends a drawn token.
func (q *sequence) add(id int32) {
	q.tokens = append(q.tokens, id)
	q.Length++
	if q.Tokens != nil {
		q.Tokens = q.tokens
	}
}

func degenerate(q *sequence) error {
	if q.text != nil {
		return &llm.Error{Kind: llm.Internal, Message: fmt.Sprintf(
			"token %d of the output has no possible value: the tokens that the requested structure allows here have no usable probability; check logit_bias and min_tokens, and the model file with `weir show`", q.generated()+1)}
	}
	return &llm.Error{Kind: llm.Internal, Message: fmt.Sprintf(
		"the model gave no usable probability for token %d of the output (all logits are NaN or -Inf, or every token is banned); check the model file with `weir show`, and logit_bias", q.generated()+1)}
}

// finish tells whether token id ends q, by ids and counts alone; stop strings
// are found by the request's goroutine, which has the text.
func (l *loop) finish(q *sequence, id int32) (llm.Finish, *int32) {
	p := &q.req.params
	n := q.generated()
	if n > p.MinTokens || p.MinTokens == 0 {
		if slices.Contains(p.StopTokens, id) {
			stop := id // not every token is to be an allocation
			return llm.FinishStop, &stop
		}
		if !p.IgnoreEOS && slices.Contains(l.e.opts.EOG, id) {
			return llm.FinishStop, nil
		}
	}
	if n >= *p.MaxTokens || len(q.tokens) >= l.e.opts.Describe.Context {
		return llm.FinishLength, nil
	}
	return llm.FinishNone, nil
}

func (l *loop) dropRequest(r *request) {
	for _, q := range r.seqs {
		l.drop(q)
	}
}

// failItems ends the requests of a step that the device could not compute: what
// their pages hold is unknown.
func (l *loop) failItems(p *sched.Plan, err error) {
	failure := &llm.Error{Kind: llm.Internal, Message: "the device failed while computing; send the request again", Err: err}
	for _, item := range p.Items {
		if q := l.of(item.Seq); q != nil {
			q.req.out.put(output{err: failure})
			l.dropRequest(q.req)
		}
	}
}

// check verifies the books, in tests.
func (l *loop) check() {
	if !l.e.opts.Check {
		return
	}
	var holders []*kv.Seq
	for s := range l.owner {
		holders = append(holders, &s.KV)
	}
	for _, s := range l.pins {
		holders = append(holders, s)
	}
	if err := l.cache.Check(holders); err != nil {
		panic("engine: internal error: " + err.Error())
	}
}

func (e *Engine) withBytes(top []llm.Alt) []llm.Alt {
	for i := range top {
		top[i].Bytes = e.opts.Tokenizer.Piece(top[i].ID)
	}
	return top
}
