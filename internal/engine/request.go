package engine

import (
	"sync/atomic"
	"time"

	"weir/internal/grammar"
	"weir/internal/llm"
	"weir/internal/sample"
	"weir/internal/sched"
	"weir/internal/spec"
)

// request is a prompt and its choices. The request's goroutine makes it; after
// it is sent to the loop only the loop touches seqs, and both may use out.
type request struct {
	id     string
	prompt []int32
	params llm.Params // resolved: Seed and MaxTokens are set
	seqs   []*sequence
	out    mailbox
	// grammar is what the outputs must follow; nil: nothing.
	grammar *grammar.Grammar
	// started is set by the loop when it first computes for the request.
	started *atomic.Bool
	// arrived and admitted are when the request came and when its prompt's
	// computation began, on the engine's clock. The loop sets admitted, before the
	// first output; 0: not yet.
	arrived, admitted time.Duration
	// continues: the output goes on from a text, it does not open a turn.
	continues bool
	reading   *reading // of the output; nil: it is text
	explain   bool     // what the prefix cache had of the prompt
	anonymous bool     // its caller has a key, and shares the cache with other callers
	pin       *pinning // keep the prompt and generate nothing; nil for what clients ask
}

// sequence is one choice of a request. The loop owns it.
type sequence struct {
	sched.Seq
	req     *request
	choice  int
	tokens  []int32 // prompt, then what was generated
	sampler *sample.Sampler
	// siblings wait for this sequence's prompt to be computed, to fork from it.
	siblings []*sequence
	// promptLP collects the prompt's log probabilities, if asked for.
	promptLP []llm.Token
	ended    bool
	slot     int32 // 1 + the device's slot that its next token is drawn into
	// text is where the output stands in the grammar that it must follow; nil: in
	// none.
	text *grammar.State
	// hurried: it was made to end, since its room ran out. misled: so the step that has
	// begun computes another token for it than it got.
	hurried, misled bool

	guess guess // of what comes next
}

// generated is the number of tokens drawn so far.
func (q *sequence) generated() int { return len(q.tokens) - q.Prompt }

// output is what the loop tells a request: one token of one choice, or news.
type output struct {
	choice    int
	drawn     bool // draw and, maybe, finish are set
	draw      sample.Draw
	finish    llm.Finish
	complete  bool // it finished because nothing may follow: its last token is text
	stopToken *int32
	promptLP  []llm.Token
	cached    int            // prompt tokens that were not computed
	nearest   *sched.Nearest // to the prompt in the prefix cache, where that was asked for
	pinned    int            // tokens of a prefix that is kept now
	guesses   guesses        // for the choice so far
	step      int64          // the number of the step, from 1
	err       error
}

// newRequest lays out the choices of a validated request. Arrival numbers are
// handed out here so that choices of one request stay together in the queue.
func newRequest(e *Engine, r *llm.Request, prompt []int32, p llm.Params, g *grammar.Grammar) *request {
	q := &request{grammar: g, id: r.ID, prompt: prompt, params: p, continues: continues(r.Prompt), arrived: e.clock()}
	q.explain, q.anonymous = r.ExplainCache, r.Caller != "" && r.CacheSalt == ""
	q.out.wake = make(chan struct{}, 1)
	for i := range p.BestOf {
		q.seqs = append(q.seqs, newSequence(e, q, i, r))
	}
	q.seqs[0].siblings = q.seqs[1:]
	if p.PromptLogprobs != nil {
		q.seqs[0].AllLogits = true
		q.seqs[0].promptLP = append(q.seqs[0].promptLP, llm.Token{ID: prompt[0], Bytes: e.opts.Tokenizer.Piece(prompt[0])})
	}
	return q
}

func continues(p llm.Prompt) bool {
	c, ok := p.(*llm.Chat)
	return !ok || c.ContinueFinal
}

func newSequence(e *Engine, q *request, choice int, r *llm.Request) *sequence {
	p := &q.params
	s := &sequence{req: q, choice: choice, tokens: append(make([]int32, 0, len(q.prompt)+64), q.prompt...)}
	s.Seq = sched.Seq{
		Priority: r.Priority,
		Arrival:  e.arrivals.Add(1),
		Length:   len(q.prompt),
		Prompt:   len(q.prompt),
		Salt:     r.CacheSalt,
		Caller:   r.Caller,
		Share:    r.Share,
	}
	if e.opts.PrefixCache {
		s.Tokens = s.tokens
		s.Explain = r.ExplainCache && choice == 0 && p.PromptLogprobs == nil && e.cacheOff == ""
	}
	s.guess.next = spec.None
	s.sampler = sample.New(q.params, sample.Options{
		Vocab:  e.opts.Describe.Vocab,
		Seed:   *q.params.Seed,
		Choice: choice,
		EOG:    e.opts.EOG,
		Prompt: q.prompt,
		// The loop alone draws, one row after another.
		Scratch: &e.scratch,
	})
	e.constrain(s)
	s.guess.ask = spec.Ask{Prompt: s.Prompt, Sampler: s.sampler, Request: r, Choice: choice}
	return s
}
