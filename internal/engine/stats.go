package engine

import (
	"fmt"
	"sort"
	"sync/atomic"
	"time"

	"weir/internal/kv"
	"weir/internal/sched"
	"weir/internal/spec"
)

// stats are written by the loop and read by anyone.
type stats struct {
	stepStart atomic.Int64 // when the step began, on the engine's clock; 0: between steps
	steps     atomic.Int64
	ahead     atomic.Int64
	prefill   atomic.Int64
	decode    atomic.Int64
	preempted atomic.Int64
	running   atomic.Int64
	waiting   atomic.Int64
	freePages atomic.Int64
	pages     atomic.Int64

	queried, hit, evicted, nodes, idle, pinned atomic.Int64 // of the prefix cache
	overtaken, awaited                         atomic.Int64 // by scheduling with it
	drafts, guessed                            atomic.Int64 // of speculation
	held                                       [spec.MaxDepth]atomic.Int64
	saved                                      atomic.Int64           // nanoseconds
	whyOff                                     atomic.Pointer[string] // nil: speculation is on

	stepTime, deviceTime atomic.Int64 // ns

	compiled, compileHits, compileFailed, compileTime atomic.Int64 // of grammars
	masks, maskTime                                   atomic.Int64

	noPlaces, noTokens, noShare atomic.Int64 // refusals
	restarts                    atomic.Int64
	cutOff                      atomic.Int64
	stepRows                    [len(StepRowBounds) + 1]atomic.Int64
}

// Stats is a snapshot for people and metrics.
type Stats struct {
	Steps int64
	// Ahead are the steps that were begun before the one ahead of them was settled.
	Ahead         int64
	PrefillTokens int64
	DecodeTokens  int64
	Preemptions   int64
	Running       int64 // sequences
	Waiting       int64 // sequences
	FreePages     int64 // of the first group
	Pages         int64
	InFlight      int64 // requests
	// Prefix counts the prefix cache: tokens queried and hit (Prefix.HitRate is their
	// share), pages evicted since the start, and pages held now (Nodes), of them those
	// that no sequence holds (Idle) and those of pinned prefixes (Pinned). Pages are
	// of one group. All zero if it is off.
	Prefix kv.CacheStats
	// Overtaken is how often a sequence with a warmer prefix was admitted before an
	// older one; Awaited, how many waited for a prefix that another was computing.
	Overtaken, Awaited int64
	Drafts             int64                // drafts computed, of whatever size
	Guessed            int64                // tokens guessed ahead
	Held               int64                // of them, those that came true
	Saved              time.Duration        // by guesses, less what they cost; since the loop began
	HeldAt             [spec.MaxDepth]int64 // the same by depth of the draft, from its first token on
	Speculation        SpeculationStatus
	// StepTime is what all steps took together, from planning to the last token
	// put into a mailbox; DeviceTime what forward passes took of it. The rest is
	// the engine's own.
	StepTime, DeviceTime time.Duration
	// Structures: what outputs must be: compiled in CompileTime, found compiled
	// (CompileHits), and refused. Masks are the draws that were held to one; they took
	// MaskTime.
	Compiled, CompileHits, CompileFailed, Masks int64
	CompileTime, MaskTime                       time.Duration
	// Refused counts requests that were not let in.
	Refused Refusals
	// QueuedTokens are those of prompts that wait to be computed.
	QueuedTokens int64
	Restarts     int64 // of the loop, after panics
	CutOff       int64 // requests whose client read too slowly
	// StepRows counts the steps that computed at most so many rows as
	// StepRowBounds has at that place, and more than at the one before; the last
	// counts those beyond all.
	StepRows [len(StepRowBounds) + 1]int64
}

// Refusals count by what there was no room for.
type Refusals struct{ Places, Tokens, Share int64 }

func (s *stats) refused(r sched.Reason) {
	switch r {
	case sched.NoPlaces:
		s.noPlaces.Add(1)
	case sched.NoTokens:
		s.noTokens.Add(1)
	case sched.NoShare:
		s.noShare.Add(1)
	}
}

// StepRowBounds are the bounds of Stats.StepRows. They are vLLM's.
var StepRowBounds = [...]int{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}

// Stats returns a snapshot.
func (e *Engine) Stats() Stats {
	s := &e.stats
	e.mu.Lock()
	_, queued := e.gate.In()
	e.mu.Unlock()
	out := Stats{
		Refused:      Refusals{Places: s.noPlaces.Load(), Tokens: s.noTokens.Load(), Share: s.noShare.Load()},
		QueuedTokens: int64(queued), Restarts: s.restarts.Load(), CutOff: s.cutOff.Load(),
		Prefix: kv.CacheStats{
			Queried: s.queried.Load(), Hit: s.hit.Load(), Evicted: s.evicted.Load(),
			Nodes: s.nodes.Load(), Idle: s.idle.Load(), Pinned: s.pinned.Load(),
		},
		Overtaken: s.overtaken.Load(), Awaited: s.awaited.Load(),
		Steps: s.steps.Load(), Ahead: s.ahead.Load(), PrefillTokens: s.prefill.Load(), DecodeTokens: s.decode.Load(),
		Preemptions: s.preempted.Load(), Running: s.running.Load(), Waiting: s.waiting.Load(),
		Compiled: s.compiled.Load(), CompileHits: s.compileHits.Load(), CompileFailed: s.compileFailed.Load(), Masks: s.masks.Load(),
		CompileTime: time.Duration(s.compileTime.Load()), MaskTime: time.Duration(s.maskTime.Load()),
		Drafts: s.drafts.Load(), Guessed: s.guessed.Load(), Saved: time.Duration(s.saved.Load()), Speculation: e.speculation(),
		FreePages: s.freePages.Load(), Pages: s.pages.Load(), InFlight: e.inFlight.Load(),
		StepTime: time.Duration(s.stepTime.Load()), DeviceTime: time.Duration(s.deviceTime.Load()),
	}
	for i := range s.stepRows {
		out.StepRows[i] = s.stepRows[i].Load()
	}
	for i := range s.held {
		out.HeldAt[i] = s.held[i].Load()
		out.Held += out.HeldAt[i]
	}
	return out
}

// timed adds a step's time and that of its forward pass: both when it has ended,
// so that a snapshot holds the same steps of both.
func (s *stats) timed(step, forward time.Duration) {
	s.stepTime.Add(int64(step))
	s.deviceTime.Add(int64(forward))
}

func (s *stats) count(p *sched.Plan) {
	s.steps.Add(1)
	s.preempted.Add(int64(len(p.Preempted)))
	rows := 0
	for _, i := range p.Items {
		rows += i.To - i.From + i.Draft
	}
	s.stepRows[sort.SearchInts(StepRowBounds[:], rows)].Add(1)
	prefill := 0
	for _, i := range p.Items {
		prefill += max(0, min(i.To, i.Seq.Prompt)-i.From)
		rows -= i.Draft
	}
	s.prefill.Add(int64(prefill))
	s.decode.Add(int64(rows - prefill))
}

// report publishes the loop's state.
func (l *loop) report() {
	s := &l.e.stats
	s.running.Store(int64(l.sched.RunningSeqs()))
	s.waiting.Store(int64(l.sched.Waiting()))
	s.freePages.Store(int64(l.cache.FreePages(0)))
	s.pages.Store(int64(l.cache.Pages(0)))
	c := l.cache.CacheStats()
	s.queried.Store(c.Queried)
	s.hit.Store(c.Hit)
	s.evicted.Store(c.Evicted)
	s.nodes.Store(c.Nodes)
	s.idle.Store(c.Idle)
	s.pinned.Store(c.Pinned)
	n := l.sched.Counts()
	s.overtaken.Store(n.Overtaken)
	s.awaited.Store(n.Awaited)
}

// clock is the time since the engine was made: monotonic, so that a jump of the
// wall clock is never taken for a stalled step. Never 0.
func (e *Engine) clock() time.Duration {
	if e.opts.Clock != nil {
		return e.opts.Clock() + 1
	}
	return time.Since(e.born) + 1
}

// Health tells whether the loop lives and moves: an error if it has ended by
// itself, or if the step that it is in has taken longer than StallAfter. It
// takes no lock that the loop holds while it computes.
func (e *Engine) Health() error {
	e.mu.Lock()
	fatal := e.fatal
	e.mu.Unlock()
	if fatal != nil {
		return fmt.Errorf("the engine has stopped: %w", fatal)
	}
	if start := e.stats.stepStart.Load(); start != 0 {
		if took := e.clock() - time.Duration(start); took > e.opts.StallAfter {
			return fmt.Errorf("the engine has been in one step for %v (limit %v)", took.Round(time.Millisecond), e.opts.StallAfter)
		}
	}
	return nil
}
