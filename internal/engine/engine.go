// Package engine is weir's own inference engine: continuous batching over a
// paged KV cache.
//
// # Who owns what
//
// One goroutine, the loop (loop.go), owns everything that changes while tokens
// are made: the scheduler, the page tables, the samplers, the device stream. It
// is told things through an inbox and tells things through one mailbox a
// request; neither ever blocks it. A request's own goroutine (the one that
// ranges over [Engine.Generate]) renders the template, tokenises and validates
// before the loop hears of the request, and turns token ids into text, finds
// stop strings and waits for slow readers after. So bad input never reaches the
// loop and a slow reader delays only itself.
//
// # A step
//
//	receive   inbox and cancellations; sleep when there is nothing to do
//	plan      which rows: package sched
//	pack      ids, positions, cells, block tables: pack.go
//	forward   the model's operations on the device
//	settle    draw tokens, end sequences, fork choices, emit: settle.go
//
// # Exactness
//
// A row's class of arithmetic follows its role: prompt tokens are Prefill,
// generated ones Decode, also when they are computed again after a preemption.
// Sampling uses a generator addressed by (seed, choice, number of the token),
// so a request's tokens do not depend on its neighbours, on chunking, on page
// size or on whether it was preempted. The metamorphic tests hold the engine to
// that.
package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/backend"
	"weir/internal/chat"
	"weir/internal/llm"
	"weir/internal/sample"
	"weir/internal/sched"
	"weir/internal/spec"
	"weir/internal/token"
)

// Forwarder is what the loop needs of a model; package model has them.
type Forwarder interface {
	// KVGroups tells which layers share which geometry.
	KVGroups() []backend.KVGroup
	// Plan registers the model's activations.
	Plan(p *backend.Plan)
	// Forward computes the stream's current batch, through to the logits of
	// the wanted rows.
	Forward(s backend.Stream)
}

// Options are the parts that an engine is put together from. Load fills them
// from a checkpoint; tests fill them by hand.
type Options struct {
	Describe  llm.Model // Context and Vocab must be set
	Forward   Forwarder
	Backend   backend.Backend
	Tokenizer *token.Tokenizer
	Templates *chat.Set // nil: the model has none; chats are refused

	EOG []int32 // ids that end a generation

	KV     backend.KVSpec
	Limits sched.Limits
	// MaxQueue is how many sequences may wait beside those that run
	// (Limits.Running); more are refused.
	MaxQueue int
	// MaxQueuedTokens bounds the tokens of prompts that wait to be computed; 0: four
	// times what the KV cache holds.
	MaxQueuedTokens int
	// Drawers is how many goroutines draw a step's tokens from its logits; 0: as many as
	// there are processors where a device computes, and one where they do.
	Drawers int
	// Preparing is how many requests are rendered and tokenised at a time.
	Preparing int
	// Backlog is how many tokens of a request may wait for a client that reads
	// slowly; with more of them the request ends.
	Backlog int
	// OnPanic is told of each panic that the loop has recovered from, on the
	// loop's goroutine; nil: nobody is.
	OnPanic func(error)
	// PrefixCache lets sequences share the pages of equal prefixes.
	PrefixCache bool
	// Answers say how the model writes tool calls and thinking.
	Answers AnswerOptions
	// PinnedShare is how much of the pages pinned prefixes may hold, in [0, 1).
	PinnedShare float64
	// CacheStore keeps the prefix cache while no process runs; nil: nobody does.
	CacheStore CacheStore
	// CacheIdentity is what a saved cache must have been computed with, besides
	// what the engine knows itself: the weights, the program, its arithmetic.
	CacheIdentity []Named
	// CacheSaveLimit bounds what is saved, in bytes.
	CacheSaveLimit int64
	// Proposer drafts tokens, so that several are checked in one step where that
	// pays; nil: no speculation. It never changes an answer. The engine closes it.
	Proposer spec.Proposer
	// Draft says what drafts may look like.
	Draft DraftOptions
	// OnSpeculation, if not nil, is told when speculation goes off by itself, with
	// the reason, and on again. The loop calls it, so it must not block.
	OnSpeculation func(SpeculationStatus)
	// GrammarTimeout bounds the compilation of what a request says its output must
	// be; 0: usualGrammarTimeout.
	GrammarTimeout time.Duration
	// StallAfter is how long one step may take before Health says so.
	StallAfter time.Duration
	// Clock is the time since some moment, for tests; nil: the machine's.
	Clock func() time.Duration
	// Check verifies the page tables after every step and panics if they are
	// wrong. For tests: it costs time in proportion to the cache.
	Check bool
}

// Validate tells what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.Forward == nil || o.Backend == nil || o.Tokenizer == nil:
		return errors.New("engine: a model, a backend and a tokeniser are needed")
	case o.Describe.Context < 2 || o.Describe.Vocab < 1:
		return fmt.Errorf("engine: context %d and vocabulary %d make no sense", o.Describe.Context, o.Describe.Vocab)
	case o.MaxQueue < 1:
		return fmt.Errorf("the limit of queued requests is %d; it must be at least 1", o.MaxQueue)
	case o.Draft.Width > spec.MaxRank || o.Draft.Always.Len() > spec.MaxNodes:
		return fmt.Errorf("engine: a draft of %d nodes with up to %d children each is more than %d, %d",
			o.Draft.Always.Len(), o.Draft.Width, spec.MaxNodes, spec.MaxRank)
	case o.MaxQueuedTokens < 0:
		return fmt.Errorf("the limit of queued tokens is %d; it must be positive, or 0", o.MaxQueuedTokens)
	case o.Preparing < 1 || o.Backlog < 1:
		return fmt.Errorf("%d requests prepared at a time and %d tokens kept for a slow client make no sense", o.Preparing, o.Backlog)
	case o.GrammarTimeout < 0:
		return fmt.Errorf("the time limit of compiling a grammar is %v; it must be positive", o.GrammarTimeout)
	case o.StallAfter <= 0:
		return fmt.Errorf("the stall limit is %v; it must be positive", o.StallAfter)
	case !(o.PinnedShare >= 0 && o.PinnedShare < 1):
		return fmt.Errorf("the share of pinned prefixes is %v; it must be at least 0 and below 1", o.PinnedShare)
	}
	if err := o.Answers.Validate(); err != nil {
		return err
	}
	return o.Limits.Validate()
}

func (o Options) gate() sched.GateLimits {
	l := sched.GateLimits{Places: o.Limits.Running + o.MaxQueue, Tokens: o.MaxQueuedTokens}
	if l.Tokens == 0 {
		cells := o.Describe.Context
		for _, n := range o.KV.Pages {
			cells = max(cells, n*o.KV.PageSize)
		}
		l.Tokens = 4 * cells
	}
	return l
}

// Engine answers requests with one model. It implements llm.Generator and
// llm.Texter.
type Engine struct {
	opts  Options
	born  time.Time
	inbox inbox
	done  chan struct{} // closed when the loop has ended

	longestToken int    // bytes
	cacheOff     string // why there is no prefix cache; "": there is one
	restored     Restored
	saved        Saved // set when done is closed

	pool     chan struct{} // holds a token for each request that is being prepared
	inFlight atomic.Int64  // places held
	arrivals atomic.Uint64
	stats    stats
	// structures compiles what outputs must be.
	structures *structures
	scratch    sample.Scratch // the loop's

	mu            sync.Mutex
	gate          *sched.Gate
	bytesPerToken float64 // of prompts lately
	pins          map[string]*pin
	draining      bool
	fatal         error         // why the loop ended, if it did so by itself
	idle          chan struct{} // made by Drain; closed when inFlight reaches 0
}

// usualBytesPerToken is what is taken for a prompt's before any has been seen.
const usualBytesPerToken = 4

// New starts an engine. Close ends it.
func New(o Options) (*Engine, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	e := &Engine{opts: o, born: time.Now(), done: make(chan struct{}), pool: make(chan struct{}, o.Preparing), bytesPerToken: usualBytesPerToken, pins: map[string]*pin{}}
	e.structures = newStructures(o, &e.stats)
	e.gate = sched.NewGate(o.gate())
	e.cacheOff = o.whyCacheOff()
	e.inbox.wake = make(chan struct{}, 1)
	for id := range o.Tokenizer.VocabSize() {
		e.longestToken = max(e.longestToken, len(o.Tokenizer.Piece(int32(id))))
	}
	l, err := newLoop(e)
	if err != nil {
		return nil, err
	}
	go l.run()
	return e, nil
}

// Model describes what is served.
func (e *Engine) Model() llm.Model { return e.opts.Describe }

// Drain refuses new requests and returns a channel that is closed when the
// accepted ones have ended.
func (e *Engine) Drain() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.draining {
		e.draining = true
		e.idle = make(chan struct{})
		if e.inFlight.Load() == 0 {
			close(e.idle)
		}
	}
	return e.idle
}

// Close cancels what runs and waits for the loop to end. The backend and the
// files stay the caller's.
func (e *Engine) Close() error {
	e.stopExpiry()
	e.inbox.close()
	<-e.done
	return nil
}

// fail records why the loop ended by itself.
func (e *Engine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fatal = err
}

// freshSeed is for requests that give none.
func freshSeed() uint64 { return rand.Uint64() }
