package engine

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/grammar"
	"weir/internal/llm"
	"weir/internal/spec"
	"weir/internal/token"
)

// Outputs with a structure: what a request says its output must be is compiled
// on the request's goroutine, in a pool of a few and within a time; the loop then
// has, for each choice, a state of the grammar, which it asks for a mask before a
// draw and moves on after it. So a row of a draft has the mask of its branch, and
// nothing that the loop does depends on the schema's size.

// usualGrammarTimeout bounds a compilation where Options do not. Real schemas
// take milliseconds.
const usualGrammarTimeout = 2 * time.Second

// Bounds of what is kept of grammars.
const (
	mostGrammars     = 64
	mostGrammarBytes = 128 << 20
	mostSourceBytes  = 1 << 20
)

// structures compiles grammars and keeps the latest.
type structures struct {
	vocab   func() *grammar.Vocab // made when first needed
	pool    chan struct{}
	timeout time.Duration
	stats   *stats
	// noDrafts computes forced text like any other: for tests, which compare.
	noDrafts bool

	mu    sync.Mutex
	made  map[string]*list.Element // by kind and source
	order *list.List               // of *compiled, the latest used first
	bytes int
}

type compiled struct {
	key string
	g   *grammar.Grammar
}

func newStructures(o Options, s *stats) *structures {
	timeout := o.GrammarTimeout
	if timeout == 0 {
		timeout = usualGrammarTimeout
	}
	return &structures{
		vocab:   sync.OnceValue(func() *grammar.Vocab { return grammar.NewVocab(o.Tokenizer, o.Describe.Vocab, o.EOG) }),
		pool:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		timeout: timeout, stats: s,
		made: map[string]*list.Element{}, order: list.New(),
	}
}

// grammar compiles what an output must be, or finds it; nil for nothing. The
// error is an *llm.Error.
func (s *structures) grammar(ctx context.Context, want *llm.Structure) (*grammar.Grammar, error) {
	if want == nil {
		return nil, nil
	}
	key, e := exprOf(want)
	if len(key) > mostSourceBytes {
		return nil, llm.Invalidf(want.Field, "%s: %d bytes are too many for one grammar (at most %d)", want.Field, len(key), mostSourceBytes)
	}
	return s.compiledFor(ctx, key, e, want)
}

// compiledFor compiles an expression, or finds what it was compiled to. want is for
// messages.
func (s *structures) compiledFor(ctx context.Context, key string, e grammar.Expr, want *llm.Structure) (*grammar.Grammar, error) {
	if g := s.find(key); g != nil {
		s.stats.compileHits.Add(1)
		return g, nil
	}
	g, err := s.compile(ctx, e)
	if err != nil {
		s.stats.compileFailed.Add(1)
		return nil, s.refusal(ctx, want.Field, want.Field, err)
	}
	s.keep(key, g)
	return g, nil
}

// compile waits for one of the few places where grammars are compiled, and does so
// within the server's limit.
func (s *structures) compile(ctx context.Context, e grammar.Expr) (*grammar.Grammar, error) {
	select {
	case s.pool <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.pool }()
	vocab := s.vocab()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	began := time.Now()
	g, err := grammar.Compile(ctx, e, vocab, grammar.DefaultLimits())
	s.stats.compiled.Add(1)
	s.stats.compileTime.Add(int64(time.Since(began)))
	return g, err
}

// refusal tells the client why there is no grammar for what param asks.
func (s *structures) refusal(ctx context.Context, param, what string, err error) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	e := llm.Invalidf(param, "%s: %v", what, err)
	e.Code = "invalid_grammar"
	var u *grammar.UnsupportedError
	switch {
	case errors.As(err, &u):
		e.Code = "invalid_json_schema"
	case errors.Is(err, context.DeadlineExceeded):
		e.Message = fmt.Sprintf("%s: compiling it takes more than %v, the limit of this server (--grammar-timeout); make it simpler, or its bounds smaller", what, s.timeout)
	}
	return e
}

// exprOf gives a structure's grammar, and what to know it again by.
func exprOf(w *llm.Structure) (key string, e grammar.Expr) {
	switch {
	case w.Schema != nil:
		return "schema " + string(w.Schema), grammar.Schema(w.Schema)
	case w.Object:
		return "object", grammar.JSONObject()
	case w.Regex != "":
		return "regex " + w.Regex, grammar.Regex(w.Regex)
	case w.Choice != nil:
		return fmt.Sprintf("choice %q", w.Choice), grammar.Choice(w.Choice)
	case strings.Contains(w.Grammar, "::="):
		return "gbnf " + w.Grammar, grammar.GBNF(w.Grammar)
	}
	return "lark " + w.Grammar, grammar.Lark(w.Grammar)
}

func (s *structures) find(key string) *grammar.Grammar {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.made[key]
	if e == nil {
		return nil
	}
	s.order.MoveToFront(e)
	return e.Value.(*compiled).g
}

func (s *structures) keep(key string, g *grammar.Grammar) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[key] != nil {
		return
	}
	s.made[key] = s.order.PushFront(&compiled{key, g})
	s.bytes += len(key) + g.Size()
	for s.order.Len() > mostGrammars || s.bytes > mostGrammarBytes && s.order.Len() > 1 {
		old := s.order.Remove(s.order.Back()).(*compiled)
		delete(s.made, old.key)
		s.bytes -= len(old.key) + old.g.Size()
	}
}

// constrain begins the grammar of a sequence whose output must follow one.
func (e *Engine) constrain(q *sequence) {
	g := q.req.grammar
	if g == nil {
		return
	}
	s := g.Start()
	q.text = &s
	if e.structures.noDrafts {
		return
	}
	q.guess.forced = func(t *spec.Tree, room int) { e.forced(q, t, room) }
}

// mask sets what the sampler of q, whose output must follow a grammar, may draw. The
// mask, in the memory of bits if that is long enough, must stay until it is drawn.
func (l *loop) mask(q *sequence, bits []uint64) []uint64 {
	began := l.e.clock()
	if words := l.e.structures.vocab().Words(); len(bits) != words {
		bits = make([]uint64, words)
	}
	q.text.Mask(bits)
	if p := &q.req.params; p.IgnoreEOS && !q.text.Ended() {
		for _, id := range l.e.opts.EOG {
			bits[id>>6] &^= 1 << (id & 63)
		}
	}
	q.sampler.Mask(bits)
	l.e.stats.masks.Add(1)
	l.e.stats.maskTime.Add(int64(l.e.clock() - began))
	return bits
}

// follow moves q's grammar on by a drawn token. It reports false for one that the
// grammar does not have.
func (q *sequence) follow(id int32) bool {
	if q.text == nil {
		return true
	}
	q.sampler.Mask(nil) // it is the loop's, and the next draw's
	next, ok := q.text.Accept(id)
	q.text = &next
	return ok
}

// complete tells whether q's text is complete, so that nothing but an end token
// could follow; id is the last token.
func (q *sequence) complete(id int32, eog []int32) bool {
	return q.text != nil && q.text.Ended() && !slices.Contains(eog, id)
}

// forcedBytes is how far ahead forced text is looked for.
const forcedBytes = 64

// forced drafts what must follow, as the tokeniser would spell it. It may be
// wrong at the end, where the text goes on: then the draw says so.
func (e *Engine) forced(q *sequence, t *spec.Tree, room int) {
	text := q.text.Forced(forcedBytes)
	if len(text) == 0 {
		return
	}
	parent := spec.Root
	for i, id := range e.opts.Tokenizer.Encode(string(text), token.EncodeOptions{}) {
		if i == room {
			return
		}
		parent = t.Add(parent, id)
	}
}

// prune takes out of the drafts what the sequences' grammars do not have.
func (l *loop) prune() {
	for _, s := range l.sched.Running() {
		if q := l.of(s); q.text != nil && !q.guess.sure && q.guess.ask.Draft.Len() > 0 {
			l.pruneDraft(q)
		}
	}
}

func (l *loop) pruneDraft(q *sequence) {
	from := &q.guess.ask.Draft
	states := make([]grammar.State, 0, from.Len())
	places := make([]int, 0, from.Len()) // of each node, in the new tree; -1: gone
	var to spec.Tree
	sure := q.guess.ask.Sure[:0:0]
	for i := range from.Len() {
		parent, at := from.Parent[i], spec.Root
		state := *q.text
		if parent >= 0 {
			state, at = states[parent], places[parent]
		}
		place := spec.None
		if parent < 0 || at >= 0 {
			if next, ok := state.Accept(from.Token[i]); ok && !slices.Contains(l.e.opts.EOG, from.Token[i]) {
				state, place = next, to.Add(at, from.Token[i])
			}
		}
		if place >= 0 && place == len(sure) && i < len(q.guess.ask.Sure) {
			sure = append(sure, q.guess.ask.Sure[i])
		}
		states, places = append(states, state), append(places, place)
	}
	from.Copy(&to, to.Len())
	q.guess.ask.Sure = sure
}
