// Package draft has the proposers that compute: a smaller model of the same
// vocabulary ([Model]), and heads on the model's own hidden states ([Medusa]).
// Each computes for all sequences of a step together.
//
// Nothing here can change an answer. So what is approximate elsewhere (which
// class of arithmetic, what is left of a cache) is free here, and what goes wrong
// only costs guesses.
//
// # Guessing with the right random number
//
// A sampled token is the place where the distribution, summed up, passes a random
// number that belongs to the position. A proposer draws from its own distribution
// with the same number, truncations and penalties, so that it says the same as
// the model wherever the two distributions are much alike; with a number of its
// own it would often miss a token that both find likely.
package draft

import (
	"errors"
	"fmt"

	"weir/internal/backend"
	"weir/internal/kv"
	"weir/internal/model"
	"weir/internal/spec"
	"weir/internal/weights"
)

// Limits are the sizes that a proposer must be ready for.
type Limits struct {
	Seqs    int // sequences that ask at once
	Rows    int // rows that it computes at once: of prompts, which it reads, too
	Context int // longest sequence
}

// Model proposes with a smaller model: it writes a few tokens ahead, for all
// sequences together, a step a token.
//
// It has a KV cache of its own, in which it keeps up with each sequence: what was
// guessed wrong is dropped, what was said instead is read. Equal prompts share
// pages as in the engine's cache.
type Model struct {
	model   model.Model
	backend backend.Backend
	vocab   int

	limits Limits
	layout backend.KVSpec
	stream backend.Stream
	store  backend.KV
	cache  *kv.Cache
	batch  backend.Batch
	copies []backend.Copy
	jobs   []job
	err    error // the device failed: nothing is proposed any more
}

// state is the draft model's view of a sequence.
type state struct {
	kv     kv.Seq
	tokens []int32 // computed, guesses among them
	known  int     // of them, those that the sequence had when they were computed
	ahead  []int32 // guesses that the sampler has been told of
}

// job is a sequence that is guessed for.
type job struct {
	ask  *spec.Ask
	st   *state
	at   int // node of the draft that the next token follows
	spot int // the same in the shape
	said int // tokens drawn ahead
	// chance is what the path so far is worth.
	chance float64
	class  uint8 // of the node that the path has come to
	row    int   // among the wanted rows of the batch at hand
}

// Load binds a draft model. f must stay open until the backend is closed.
func Load(f *weights.File, b backend.Backend) (*Model, error) {
	m, err := model.Load(f, b, model.Options{})
	if err != nil {
		return nil, err
	}
	return &Model{model: m, backend: b, vocab: m.Config().Vocab}, nil
}

// KVGroups lists its layers, for planning memory.
func (m *Model) KVGroups() []backend.KVGroup { return m.model.KVGroups() }

// Bytes is what its weights take.
func (m *Model) Bytes() int64 { return m.model.Config().Bytes }

// Context is the longest sequence that it was made for.
func (m *Model) Context() int { return m.model.Config().Context }

// Plan is the scratch that it needs.
func (m *Model) Plan(l Limits) backend.Plan {
	p := backend.Plan{Rows: l.Rows, Seqs: l.Seqs, LogitRows: l.Seqs, Context: l.Context}
	m.model.Plan(&p)
	return p
}

// Start allocates what it computes with.
func (m *Model) Start(l Limits, layout backend.KVSpec) error {
	m.limits, m.layout = l, layout
	return m.start()
}

func (m *Model) start() error {
	store, err := m.backend.NewKV(m.layout)
	if err != nil {
		return fmt.Errorf("allocating the draft model's KV cache: %w", err)
	}
	stream, err := m.backend.NewStream(m.Plan(m.limits))
	if err != nil {
		store.Close()
		return fmt.Errorf("allocating the draft model's scratch memory: %w", err)
	}
	m.store, m.stream = store, stream
	var groups []kv.Group
	for i, g := range m.layout.Groups {
		groups = append(groups, kv.Group{Pages: m.layout.Pages[i], Window: g.Window})
	}
	m.cache = kv.New(m.layout.PageSize, groups)
	m.cache.EnablePrefixCache(kv.PrefixOptions{OneClass: true})
	return nil
}

// Name implements spec.Proposer.
func (m *Model) Name() string { return "draft" }

// Allowed are the shapes that it can draft: what it would say, with the next
// likeliest tokens beside it.
func (m *Model) Allowed() spec.Tree { return spine(3) }

// spine is a chain whose nodes have further children, without any of their own.
func spine(width int32) spec.Tree {
	var t spec.Tree
	at := spec.Root
	for range spec.MaxDepth {
		next := t.Add(at, 0)
		for rank := int32(1); rank < width; rank++ {
			t.Add(at, rank)
		}
		at = next
	}
	return t
}

// Close implements spec.Proposer.
func (m *Model) Close() error {
	if m.stream == nil {
		return nil
	}
	err := m.stream.Close()
	if e := m.store.Close(); err == nil {
		err = e
	}
	m.stream = nil
	return err
}

// Reset implements spec.Proposer: books and device memory are made anew.
func (m *Model) Reset() error {
	m.err = errReset
	m.jobs, m.copies = m.jobs[:0], m.copies[:0]
	if err := m.Close(); err != nil {
		return err
	}
	if err := m.start(); err != nil {
		return err
	}
	m.err = nil
	return nil
}

// errReset is why nothing is proposed once a reset has failed.
var errReset = errors.New("it could not begin anew")

// Forget implements spec.Proposer.
func (m *Model) Forget(a *spec.Ask) {
	if st, ok := a.State.(*state); ok {
		m.cache.Release(&st.kv)
	}
	a.State = nil
}

// Held is the number of pages that sequences hold, for tests.
func (m *Model) Held() int {
	return m.cache.Pages(0) - m.cache.FreePages(0)
}

// Propose implements spec.Proposer.
func (m *Model) Propose(asks []*spec.Ask) {
	if m.err != nil {
		return
	}
	m.jobs = m.jobs[:0]
	m.begin()
	for _, a := range asks {
		m.read(a)
	}
	logits := m.forward()
	for _, a := range asks {
		m.commit(a)
	}
	for len(m.jobs) > 0 && m.err == nil {
		m.extend(logits)
		logits = m.forward()
	}
	for _, a := range asks {
		st := m.stateOf(a)
		for n := len(st.ahead); n > 0; n-- {
			a.Sampler.Retract(st.ahead[n-1])
		}
		st.ahead = st.ahead[:0]
	}
}

// Behind implements spec.Reader.
func (m *Model) Behind(a *spec.Ask) int { return len(a.Tokens) - m.stateOf(a).known }

func (m *Model) stateOf(a *spec.Ask) *state {
	st, ok := a.State.(*state)
	if !ok {
		st = &state{}
		a.State = st
		p := kv.Prefix{Salt: a.Request.CacheSalt, Tokens: a.Tokens, Prompt: len(a.Tokens)}
		n, copies := m.cache.Match(&st.kv, p, len(a.Tokens)-1)
		m.keep(copies)
		st.tokens = append(st.tokens, a.Tokens[:n]...)
		st.known = n
	}
	return st
}

func (m *Model) keep(copies []kv.Copy) {
	for _, c := range copies {
		m.copies = append(m.copies, backend.Copy{Group: c.Group, From: c.From, To: c.To})
	}
}

// read brings a sequence's cache up to its last token, as far as the batch has
// room; if it gets there, guessing begins.
func (m *Model) read(a *spec.Ask) {
	st := m.stateOf(a)
	same := st.known
	for same < len(st.tokens) && same < len(a.Tokens) && st.tokens[same] == a.Tokens[same] {
		same++
	}
	from := min(same, len(a.Tokens)-1)
	m.cache.Truncate(&st.kv, from)
	st.tokens, st.known = st.tokens[:from], from
	n := min(len(a.Tokens)-from, m.limits.Rows-m.batch.Rows())
	if n < 1 || len(a.Tokens)+a.Shape.MaxDepth() > m.limits.Context || !m.spells(a.Tokens[from:from+n]) || !m.cache.Grow(&st.kv, from+n) {
		return
	}
	class := backend.Decode
	if n > 8 {
		class = backend.Prefill
	}
	whole := from+n == len(a.Tokens)
	m.add(st, a.Tokens[from:from+n], class, whole)
	st.known = len(st.tokens)
	if whole {
		m.jobs = append(m.jobs, job{ask: a, st: st, at: spec.Root, spot: spec.Root, row: len(m.batch.Want) - 1, chance: 1})
	}
}

// spells tells whether the draft model knows the tokens: its vocabulary may lack
// the padding that the model's has.
func (m *Model) spells(tokens []int32) bool {
	for _, id := range tokens {
		if int(id) >= m.vocab {
			return false
		}
	}
	return true
}

// commit lets equal sequences share what has been computed of tokens that stay.
// The last one is not shared: should the sequence ask again before it has another,
// it is computed again.
func (m *Model) commit(a *spec.Ask) {
	if st, ok := a.State.(*state); ok && m.err == nil {
		p := kv.Prefix{Salt: a.Request.CacheSalt, Tokens: st.tokens, Prompt: len(st.tokens)}
		stays := min(st.known, len(a.Tokens)-1)
		m.cache.Commit(&st.kv, p, stays)
		m.cache.Trim(&st.kv, stays)
	}
}

// extend adds to each draft what its row of logits says, and makes the batch that
// computes what was added, of those drafts that go on.
func (m *Model) extend(logits [][]float32) {
	m.begin()
	going := m.jobs[:0]
	for _, j := range m.jobs {
		if m.guess(&j, logits[j.row]) && m.cache.Grow(&j.st.kv, len(j.st.tokens)+1) {
			m.add(j.st, j.ask.Draft.Token[j.at:j.at+1], backend.Decode, true)
			j.row = len(m.batch.Want) - 1
			going = append(going, j)
		}
	}
	m.jobs = going
}

// guess adds the children that the shape has at the job's spot, and moves on to
// the likeliest. It reports false if nothing follows that, or nothing that is worth it.
func (m *Model) guess(j *job, logits []float32) bool {
	a := j.ask
	spot := a.Shape.Child(j.spot, 0)
	if spot < 0 {
		return false
	}
	a.Passes = j.said + 1
	id, ok := a.Sampler.Guess(logits, a.Said()+j.said)
	if !ok || !j.sure(logits, id) {
		return false
	}
	at := a.Draft.Add(j.at, id)
	for rank := int32(1); a.Shape.Child(j.spot, rank) >= 0; rank++ {
		logits[id] = lowest
		if id = best(logits); id < 0 {
			break
		}
		a.Draft.Add(j.at, id)
	}
	for len(a.Sure) < a.Draft.Len() {
		a.Sure = append(a.Sure, spec.Unsure)
	}
	a.Sure[at] = j.class
	j.at, j.spot, j.said = at, spot, j.said+1
	if a.Shape.Child(spot, 0) < 0 || j.chance < a.Worth.Pass {
		return false
	}
	a.Sampler.Accept(a.Draft.Token[at])
	j.st.ahead = append(j.st.ahead, a.Draft.Token[at])
	return true
}

// sure puts the token that was drawn in a class, and tells whether a row for it is worth
// its cost.
func (j *job) sure(logits []float32, id int32) bool {
	if j.ask.Odds == nil {
		j.class = spec.Unsure
		return true
	}
	j.class = spec.Sureness(logits[id] - beside(logits, id))
	j.chance *= j.ask.Odds.Chance(j.class)
	return j.chance >= j.ask.Worth.Row
}
