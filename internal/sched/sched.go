// Package sched decides what each step of the engine computes: which sequences
// decode, which prompts advance by how much, who waits, who gives way. It is
// pure policy: no clock, no goroutine, no tensor; the same calls give the same
// plans, so that tests drive it line by line.
//
// # A step
//
// A step has a budget of tokens (rows). [Scheduler.Next] fills it in this order:
//
//  1. Decodes: every running sequence that has one token to compute gets its
//     row. Nobody who is already receiving tokens waits for a prompt.
//  2. Prefill of running sequences, oldest first, in chunks of what is left.
//  3. Admission: waiting sequences by priority, then fair shares of their callers
//     (share.go), then arrival, while the budget, the limit of running sequences
//     and the pages allow. If who is next does not fit, nobody behind it is
//     admitted just because it does, so that a long prompt is not starved by short
//     ones. Who finds its prefix in the cache may overtake others of its caller,
//     within a bound, and who would compute what another is just computing waits
//     for it: warm.go.
//
// # When pages run out
//
// The newest running sequence of the lowest priority gives way: its pages are
// freed and it waits at its old place in the queue, to be computed again
// (prompt and the tokens generated so far) when there is room. The oldest
// sequence of the highest priority is never preempted for another, and the
// pools hold at least one sequence of full length (the engine plans that), so
// some sequence always advances: no deadlock. Swapping pages out was rejected:
// on a CPU the cache is in main memory already, and computing a prompt again is
// cheaper than the bookkeeping of a second tier that issue-sized machines lack.
//
// Who gets to wait at all is [Gate]'s to say, before any work is done.
package sched

import (
	"fmt"
	"slices"

	"weir/internal/kv"
)

// Limits bound a step and the running set.
type Limits struct {
	BatchTokens int // rows a step
	Running     int // sequences that hold pages at once
	// LogitRows bounds how many rows of a step may want logits: one a decoding
	// sequence, every row of a prompt whose log probabilities are asked for.
	LogitRows int
}

// Validate tells what is wrong with l.
func (l Limits) Validate() error {
	switch {
	case l.BatchTokens < 1:
		return fmt.Errorf("the token budget of a step is %d; it must be at least 1", l.BatchTokens)
	case l.Running < 1:
		return fmt.Errorf("the limit of running sequences is %d; it must be at least 1", l.Running)
	case l.Running > l.BatchTokens:
		return fmt.Errorf("%d running sequences need a token budget of at least as many a step; it is %d", l.Running, l.BatchTokens)
	case l.LogitRows < l.Running:
		return fmt.Errorf("%d running sequences need room for as many rows of logits; there is room for %d", l.Running, l.LogitRows)
	}
	return nil
}

// Seq is a sequence as the policy sees it. The engine fills the first part when
// it adds the sequence and counts Length up as tokens are generated; the
// scheduler owns the rest.
type Seq struct {
	Priority int    // lower first
	Arrival  uint64 // order of arrival; unique
	Caller   string // who gets a fair share
	Share    int    // how large a share beside others'; 0 is 1
	Length   int    // tokens known: prompt and generated
	// AllLogits: until Prompt tokens are computed, every row wants logits.
	AllLogits bool
	Prompt    int
	Owner     any // whose it is: the engine's own record of it

	// Tokens are the Length tokens known, if the sequence may share pages with
	// others of the same Salt; nil: it shares nothing.
	Tokens []int32
	Salt   string
	// Explain asks for Nearest.
	Explain bool

	// Draft is how many guessed tokens the engine would like computed beyond
	// Length in the next step, should the sequence decode in it. They get the cells
	// of the positions from Length on, one each, whatever their own position: they
	// may be a tree.
	Draft int

	Computed    int // tokens whose keys and values are stored
	Cached      int // of the prompt, found in the prefix cache at first admission
	Preemptions int
	Nearest     Nearest // when it was admitted first
	admitted    bool
	KV          kv.Seq
	state       state
	account     *account
	flight      flight // while Ahead plans

	overtaken  int    // by warmer ones
	awaited    *Seq   // computes a prefix of this one's
	awaitedTo  int    // and ends there
	warmTokens int    // in the prefix cache
	warmAt     uint64 // at that version of it
	warmEnd    kv.Cursor
}

type state uint8

const (
	outside state = iota
	waiting
	running
)

// Running tells whether s holds a place in the running set.
func (s *Seq) Running() bool { return s.state == running }

func (s *Seq) prefix() kv.Prefix {
	return kv.Prefix{Salt: s.Salt, Tokens: s.Tokens, Prompt: s.Prompt}
}

// Remaining is the number of tokens to compute before the next can be drawn.
func (s *Seq) Remaining() int { return s.Length + s.flight.draws - s.at() }

// at is the first position that no step has begun to compute.
func (s *Seq) at() int { return s.Computed + s.flight.rows }

// before orders by priority, then arrival.
func before(a, b *Seq) int {
	if a.Priority != b.Priority {
		return a.Priority - b.Priority
	}
	if a.Arrival < b.Arrival {
		return -1
	}
	return 1
}

// Scheduler holds the queue and the running set. One goroutine owns it.
type Scheduler struct {
	limits  Limits
	cache   *kv.Cache
	waiting []*Seq // ordered by before
	running []*Seq // ordered by before
	prompts []*Seq // of running, while sequences are admitted: those with more than one token to compute

	accounts map[string]*account // by caller
	blocked  *account            // whose turn it was when a sequence did not fit
	round    uint64              // of admission

	plan   *Plan // that is being made
	own    Plan  // Next's
	late   []*Seq
	counts Counts

	ahead  bool // Ahead plans
	short  bool // and a page was missing
	ending int  // sequences that end with the step before
	owed   int  // outstanding, while sequences are admitted
}

// Plan is what a step computes. It is valid until the next call of Next.
type Plan struct {
	Items     []Item
	Preempted []*Seq
	Admitted  []*Seq
	Copies    []kv.Copy // to be made before the step's rows are written

	tokens, logits int
}

// Item is a run of consecutive positions of one sequence: [From, To), and Draft
// guessed tokens after them.
type Item struct {
	Seq      *Seq
	From, To int
	Draft    int
}

// New makes an empty scheduler over cache.
func New(l Limits, cache *kv.Cache) *Scheduler {
	return &Scheduler{limits: l, cache: cache, accounts: map[string]*account{}}
}

// wait queues q at its place.
func (s *Scheduler) wait(q *Seq) {
	q.state = waiting
	s.waiting = insert(s.waiting, q)
}

// Add queues s at its place by priority and arrival.
func (s *Scheduler) Add(q *Seq) {
	if q.state != outside {
		panic("sched: internal error: sequence added twice")
	}
	s.open(q)
	s.wait(q)
}

// Remove forgets q, whatever its state, and frees its pages. Removing a
// sequence that is not there does nothing.
func (s *Scheduler) Remove(q *Seq) {
	switch q.state {
	case waiting:
		s.waiting = remove(s.waiting, q)
	case running:
		s.running = remove(s.running, q)
	}
	if q.account != nil {
		q.account.seqs--
		q.account = nil
	}
	s.cache.Release(&q.KV)
	q.state, q.awaited = outside, nil
}

// Fork makes child, which is new, a running sequence that shares parent's first
// n computed positions, if there is room for it; otherwise it does nothing and
// the caller adds child to the queue.
func (s *Scheduler) Fork(child, parent *Seq, n int) ([]kv.Copy, bool) {
	if len(s.running) >= s.limits.Running {
		return nil, false
	}
	copies, ok := s.cache.Fork(&child.KV, &parent.KV, n)
	if !ok {
		return nil, false
	}
	child.Computed = n
	child.state = running
	s.open(child)
	s.running = insert(s.running, child)
	return copies, true
}

// Advance records that item's rows have been computed.
func (s *Scheduler) Advance(i Item) {
	i.Seq.Computed = i.To
	if i.Seq.Tokens != nil {
		s.cache.Commit(&i.Seq.KV, i.Seq.prefix(), i.To)
	}
	s.cache.Trim(&i.Seq.KV, i.To)
}

// Accept records that n guessed tokens after item came true. Where they did not
// lie in a row, the caller copies their keys and values to their places before
// the next step's rows are written; until that step has been computed nobody
// shares them.
func (s *Scheduler) Accept(i Item, n int) {
	i.Seq.Computed = i.To + n
}

// Running lists the sequences that hold pages, by priority and arrival. It is
// valid until the next call of any other method.
func (s *Scheduler) Running() []*Seq { return s.running }

// Waiting and RunningSeqs count.
func (s *Scheduler) Waiting() int { return len(s.waiting) }

// RunningSeqs is the number of sequences that hold pages.
func (s *Scheduler) RunningSeqs() int { return len(s.running) }

// Next plans a step. An empty plan means that there is nothing to do.
func (s *Scheduler) Next() *Plan {
	s.plan = &s.own
	s.plan.reset()
	s.planRunning()
	if len(s.plan.Preempted) == 0 { // who just gave way must not come straight back
		s.admit()
	}
	s.grantDrafts()
	return s.plan
}

func (p *Plan) reset() {
	p.Items, p.Preempted, p.Admitted, p.Copies = p.Items[:0], p.Preempted[:0], p.Admitted[:0], p.Copies[:0]
	p.tokens, p.logits = 0, 0
}

// grantDrafts gives guesses what the step has left when everybody has been
// served: nobody waits, and nobody is preempted, for a guess.
func (s *Scheduler) grantDrafts() {
	for i := range s.plan.Items {
		item := &s.plan.Items[i]
		if item.To != item.Seq.Length || item.To-item.From != 1 {
			continue
		}
		n := min(item.Seq.Draft, s.limits.BatchTokens-s.plan.tokens, s.limits.LogitRows-s.plan.logits)
		if n > 0 && s.cache.Grow(&item.Seq.KV, item.To+n) {
			item.Draft = n
			s.plan.tokens += n
			s.plan.logits += n
		}
	}
}

// planRunning plans the running sequences: those that have one token to compute, then
// the others, oldest first. Preemption shortens s.running from its end while this
// walks it from its start.
func (s *Scheduler) planRunning() {
	s.late = s.late[:0]
	for i := 0; i < len(s.running); i++ {
		switch q := s.running[i]; {
		case q.flight.ends || q.Remaining() < 1:
		case q.Remaining() > 1:
			s.late = append(s.late, q)
		case !s.planSeq(q):
			i-- // q itself gave way
		}
	}
	for _, q := range s.late {
		if q.state == running {
			s.planSeq(q)
		}
	}
}

// planSeq plans what the step has room for of q. It reports false when q is no longer
// running.
func (s *Scheduler) planSeq(q *Seq) bool {
	n := s.chunk(q)
	if n == 0 {
		return true
	}
	if !s.makeRoom(q, q.at()+n) {
		return q.state == running
	}
	s.add(q, n)
	return true
}

// chunk is how many of q's tokens fit what is left of the step.
func (s *Scheduler) chunk(q *Seq) int {
	n := min(q.Remaining(), s.limits.BatchTokens-s.plan.tokens)
	logitsLeft := s.limits.LogitRows - s.plan.logits
	if q.AllLogits && q.at() < q.Prompt {
		return min(n, logitsLeft)
	}
	if n == q.Remaining() && logitsLeft == 0 {
		return n - 1 // all but the row that would want logits
	}
	return n
}

func (s *Scheduler) add(q *Seq, n int) {
	s.plan.Items = append(s.plan.Items, Item{Seq: q, From: q.at(), To: q.at() + n})
	s.plan.tokens += n
	s.plan.logits += logitRows(q, n)
	charge(q, n)
}

// logitRows counts the rows that want logits among the next n of q.
func logitRows(q *Seq, n int) int {
	if q.AllLogits && q.at() < q.Prompt {
		return n
	}
	if n == q.Remaining() {
		return 1
	}
	return 0
}

// makeRoom finds pages for positions [0, n) of q, preempting newer sequences as
// needed. It reports false when q had to give way itself. Nobody gives way while a
// step computes: Ahead notes that it was short.
func (s *Scheduler) makeRoom(q *Seq, n int) bool {
	for !s.cache.Grow(&q.KV, n) {
		if s.ahead {
			s.short = true
			return false
		}
		victim := s.running[len(s.running)-1]
		s.preempt(victim)
		if victim == q {
			return false
		}
	}
	return true
}

// preempt sends the last of the running set back to its place in the queue.
func (s *Scheduler) preempt(q *Seq) {
	s.unplan(q)
	s.running = s.running[:len(s.running)-1]
	s.cache.Release(&q.KV)
	q.Computed = 0
	q.Preemptions++
	s.wait(q)
	s.plan.Preempted = append(s.plan.Preempted, q)
}

// unplan drops q's item, if it has one already: a decode of a newer sequence
// may have been planned before an older one's prefill needed its pages.
func (s *Scheduler) unplan(q *Seq) {
	for i, item := range s.plan.Items {
		if item.Seq == q {
			s.plan.tokens -= item.To - item.From
			s.plan.logits -= logitRows(q, item.To-item.From)
			chargeRows(q, item.From, item.To, -1)
			s.plan.Items = slices.Delete(s.plan.Items, i, i+1)
			return
		}
	}
}

// admit moves sequences from the queue into the running set while they fit. A
// sequence is admitted only if the pools have room for all of it that is known,
// its next token and one page for each sequence that runs already: admitting it
// for a first chunk and preempting it for the second would waste the first.
func (s *Scheduler) admit() {
	if len(s.waiting) == 0 {
		return
	}
	s.round++
	s.findPrompts()
	s.owed = s.outstanding()
	for len(s.waiting) > 0 && s.couldAdmit() {
		head := s.nextWaiting()
		if head == nil {
			return
		}
		q := s.candidate(head)
		if q == nil { // all of this caller's await others
			head.account.passed = s.round
			continue
		}
		// What is warm may not fit where the head does.
		if !s.tryAdmit(q) && (q == head || s.awaits(head) || !s.tryAdmit(head)) {
			s.blocked = head.account
			return
		}
		s.blocked = nil
	}
}

// couldAdmit tells whether there is room for anybody at all, before it is asked
// for whom.
func (s *Scheduler) couldAdmit() bool {
	if s.full() || s.plan.tokens >= s.limits.BatchTokens {
		return false
	}
	if len(s.running) == 0 {
		return true
	}
	for g := range s.cache.Groups() {
		if s.cache.FreePages(g) < s.owed {
			return false
		}
	}
	return true
}

// full tells that there is no place for another running sequence.
func (s *Scheduler) full() bool { return len(s.running)-s.ending >= s.limits.Running }

// tryAdmit admits q if it fits.
func (s *Scheduler) tryAdmit(q *Seq) bool {
	copies := s.match(q)
	n := s.chunk(q)
	if n == 0 || !s.fits(q, n) {
		s.cache.Release(&q.KV)
		q.Computed = 0
		return false
	}
	s.overtake(q)
	s.plan.Copies = append(s.plan.Copies, copies...)
	s.noteCached(q)
	s.cache.Grow(&q.KV, q.Computed+n)
	s.waiting = remove(s.waiting, q)
	q.state = running
	s.running = insert(s.running, q)
	s.owed += s.wants(q)
	s.plan.Admitted = append(s.plan.Admitted, q)
	s.notePrompt(q)
	s.add(q, n)
	return true
}

// match gives q what the prefix cache has of it. At least its last token is left
// to compute, for the logits; a prompt whose every row wants logits takes
// nothing from the cache.
func (s *Scheduler) match(q *Seq) []kv.Copy {
	if q.Tokens == nil || q.AllLogits {
		return nil
	}
	if q.Explain && !q.admitted {
		q.Nearest.Common, q.Nearest.Theirs = s.cache.Nearest(q.prefix(), nearestTokens)
	}
	hit, copies := s.cache.Match(&q.KV, q.prefix(), q.Length-1)
	q.Computed = hit
	return copies
}

// noteCached counts a hit once: what a preempted sequence finds of itself when
// it comes back is no saving to tell anybody about.
func (s *Scheduler) noteCached(q *Seq) {
	if q.admitted {
		return
	}
	q.admitted = true
	q.Cached = q.Computed
	s.cache.CountMatch(q.Length, q.Computed)
}

func (s *Scheduler) fits(q *Seq, n int) bool {
	if len(s.running) == 0 {
		return s.cache.Fits(&q.KV, q.Computed+n, 0) // alone it can have everything
	}
	return s.cache.Holds(&q.KV, q.Length+1, s.limits.BatchTokens, s.owed)
}

// outstanding is the number of pages that the running sequences are sure to
// want soon: those of prompts not yet computed, and one each to generate into.
func (s *Scheduler) outstanding() int {
	pages := 0
	for _, q := range s.running {
		pages += s.wants(q)
	}
	return pages
}

func (s *Scheduler) wants(q *Seq) int {
	return 1 + max(0, q.Length-q.KV.Cells())/s.cache.PageSize()
}

func insert(list []*Seq, q *Seq) []*Seq {
	i, _ := slices.BinarySearchFunc(list, q, before)
	return slices.Insert(list, i, q)
}

func remove(list []*Seq, q *Seq) []*Seq {
	i := slices.Index(list, q)
	return slices.Delete(list, i, i+1)
}
