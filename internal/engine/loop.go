package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"weir/internal/backend"
	"weir/internal/kv"
	"weir/internal/llm"
	"weir/internal/model"
	"weir/internal/sample"
	"weir/internal/sched"
	"weir/internal/spec"
)

// loop is the engine's state that changes while tokens are made. One goroutine
// owns it.
type loop struct {
	e      *Engine
	cache  *kv.Cache
	sched  *sched.Scheduler
	device backend.Stream
	store  backend.KV
	batch  backend.Batch

	owner   map[*sched.Seq]*sequence // every sequence that has not ended
	pins    map[string]*kv.Seq       // what pinned prefixes hold
	*flight                          // the step at hand
	next    *flight                  // the one after it, if it runs already
	copies  []backend.Copy           // of forked pages, before the next batch
	msgs    []message
	built   bool // before: this is a start after a panic

	forwardTime time.Duration // of the step at hand
	mark        time.Duration // since when the device is at the oldest step that it has

	sampler backend.DeviceSampler // device, if it draws by itself
	rows    []backend.SampleRow   // that it draws from
	masks   [][]uint64            // of them

	// host shows the activation last, where the proposer reads hidden states.
	host backend.HostActs
	last backend.Act
	taps []backend.Act // those that a spec.Watcher follows
	seen []int
	mute bool // the proposer broke and could not begin anew

	bits       []uint64  // the mask of the draw at hand
	spare      []float32 // its logits, where it may be drawn twice
	asks       []*spec.Ask
	idle       bool         // speculation is off by itself
	turning    int          // steps in a row that were otherwise
	paths      []int32      // that the batch's tree rows list
	ledger     spec.Ledger  // what guessing costs and gives
	drafted    int          // nodes of the step that the proposer guessed
	held       int          // of them, those that came true
	experience spec.Control // of all sequences: what a new one expects
	forcing    spec.Control // the same, of forced text
	drawers    drawers
}

func newLoop(e *Engine) (*loop, error) {
	l := &loop{e: e}
	return l, l.build()
}

// build makes the state that steps change, from nothing.
func (l *loop) build() error {
	o := l.e.opts
	store, err := o.Backend.NewKV(o.KV)
	if err != nil {
		return fmt.Errorf("allocating the KV cache: %w", err)
	}
	plan := backend.Plan{Rows: o.Limits.BatchTokens, Seqs: o.Limits.Running, LogitRows: o.Limits.LogitRows, Slots: o.Limits.LogitRows, Context: o.Describe.Context, Shown: readsHidden(o.Proposer)}
	o.Forward.Plan(&plan)
	device, err := o.Backend.NewStream(plan)
	if err != nil {
		store.Close()
		return fmt.Errorf("allocating scratch memory: %w", err)
	}
	host, last, taps, err := hidden(o, device)
	if err != nil {
		device.Close()
		store.Close()
		return err
	}
	cache := l.newCache(store)
	// Samplers of requests that are being prepared know where the scratch is.
	l.e.scratch = sample.Scratch{}
	*l = loop{
		e: l.e, cache: cache, sched: sched.New(o.Limits, cache), device: device, store: store,
		flight: &flight{}, next: &flight{}, owner: map[*sched.Seq]*sequence{}, pins: map[string]*kv.Seq{}, ledger: spec.NewLedger(), forcing: spec.Confident(),
		host: host, last: last, taps: taps, mute: l.mute, built: true,
	}
	l.sampler, _ = device.(backend.DeviceSampler)
	l.drawers.init(o.Drawers, l.sampler != nil)
	return nil
}

// newCache makes the books of the pages, with what an earlier process saved.
func (l *loop) newCache(store backend.KV) *kv.Cache {
	e := l.e
	c := e.emptyCache()
	if l.built || e.opts.CacheStore == nil || !c.Caches() {
		return c // after a panic nothing is restored: it may be what caused it
	}
	if e.restored = e.restore(c, store); e.restored.Err != nil {
		return e.emptyCache() // without what was restored before it failed
	}
	return c
}

func (e *Engine) emptyCache() *kv.Cache {
	c := kv.New(e.opts.KV.PageSize, kvGroups(e.opts.KV))
	if e.opts.PrefixCache {
		c.EnablePrefixCache(kv.PrefixOptions{OneClass: e.opts.Backend.Info().OneClass})
	}
	return c
}

// whyCacheOff says why there is no prefix cache; "": there is one.
func (o *Options) whyCacheOff() string {
	if !o.PrefixCache {
		return "the prefix cache is off (--no-prefix-cache)"
	}
	for _, g := range o.KV.Groups {
		if g.Window > 0 {
			return fmt.Sprintf("the model has layers with a sliding window of %d tokens, whose sequences free the keys and values that a later prompt would need", g.Window)
		}
	}
	return ""
}

// hidden is where hidden states are read, if the proposer does.
func hidden(o Options, device backend.Stream) (_ backend.HostActs, last backend.Act, taps []backend.Act, err error) {
	if !readsHidden(o.Proposer) {
		return nil, last, nil, nil
	}
	host, shows := device.(backend.HostActs)
	m, has := o.Forward.(model.Hidden)
	if !shows || !has {
		return nil, last, nil, fmt.Errorf("speculation by %s reads the model's hidden states, which the %s backend does not show: use another --speculate", o.Proposer.Name(), o.Backend.Info().Name)
	}
	return host, m.Last(), m.Taps(), nil
}

// readsHidden tells whether p guesses from hidden states.
func readsHidden(p spec.Proposer) bool {
	r, reads := p.(spec.HiddenReader)
	_, watches := p.(spec.Watcher)
	return watches || reads && r.NeedsHidden()
}

func kvGroups(spec backend.KVSpec) []kv.Group {
	var groups []kv.Group
	for i, g := range spec.Groups {
		groups = append(groups, kv.Group{Pages: spec.Pages[i], Window: g.Window})
	}
	return groups
}

// run is the loop. It ends when the inbox is closed, or when it cannot go on.
func (l *loop) run() {
	defer close(l.e.done)
	l.report() // before anyone is answered
	for strikes := 0; ; strikes++ {
		good, err := l.steps()
		if good > 0 {
			strikes = 0
		}
		switch {
		case err == nil:
			l.failAll(&llm.Error{Kind: llm.Unavailable, Message: "the server is shutting down"})
			l.save()
			l.closeAll()
			return
		case strikes >= maxStrikes || !l.restart(err):
			l.die(err)
			return
		}
	}
}

// steps runs the loop until the inbox is closed. The error is a panic's: a bug,
// or memory that failed.
func (l *loop) steps() (good int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the engine's loop panicked: %v\n%s", p, debug.Stack())
		}
	}()
	for l.receive() {
		began := l.e.clock()
		plan := l.begin(began)
		l.runAhead(plan, began)
		result, err := l.wait()
		l.settle(plan, result, err)
		l.sampleLate()
		l.account(plan, l.e.clock()-began, err)
		l.e.stats.timed(l.e.clock()-began, l.forwardTime)
		l.report()
		good++
	}
	if l.next.up { // nobody is left whom its results are for
		l.next.up = false
		_, _ = l.device.Wait()
	}
	return good, nil
}

// begin starts a step on the device, unless it runs already.
func (l *loop) begin(now time.Duration) *sched.Plan {
	if l.next.up {
		l.flight, l.next = l.next, l.flight
		l.up = false
		return l.plan
	}
	l.guess()
	plan := l.sched.Next()
	for _, s := range plan.Preempted {
		l.forget(l.of(s))
	}
	l.noteAdmitted(plan, now)
	l.pack(l.flight, plan)
	l.launch(l.flight)
	return plan
}

// receive takes what the inbox has. With nothing to compute it waits for more.
// It reports false when the engine is to end.
func (l *loop) receive() bool {
	for {
		if !l.hear() {
			return false
		}
		if len(l.owner) > 0 || l.next.up {
			return true
		}
		l.report()
		<-l.e.inbox.wake
	}
}

// hear takes what the inbox has. It reports false when the engine is to end.
func (l *loop) hear() bool {
	var closed bool
	l.msgs, closed = l.e.inbox.take(l.msgs)
	for _, m := range l.msgs {
		l.handle(m)
	}
	clear(l.msgs)
	l.msgs = l.msgs[:0]
	return !closed
}

func (l *loop) handle(m message) {
	switch {
	case m.look != nil:
		m.look <- l.look()
	case m.add != nil:
		lead := m.add.seqs[0]
		for _, q := range m.add.seqs {
			l.own(q)
		}
		l.sched.Add(&lead.Seq)
	case m.choice != nil:
		l.drop(m.choice)
	case m.unpin != "":
		l.unpin(m.unpin)
	case m.cancel != nil:
		for _, q := range m.cancel.seqs {
			l.drop(q)
		}
	}
}

// own takes a sequence in.
func (l *loop) own(q *sequence) {
	q.Owner = q
	l.owner[&q.Seq] = q
}

// of is the sequence that the scheduler knows as s, nil when it has ended.
func (l *loop) of(s *sched.Seq) *sequence {
	if q := s.Owner.(*sequence); !q.ended {
		return q
	}
	return nil
}

// drop forgets a sequence, whatever its state.
func (l *loop) drop(q *sequence) {
	if q.ended {
		return
	}
	q.ended = true
	l.forget(q)
	l.sched.Remove(&q.Seq)
	delete(l.owner, &q.Seq)
}

// launch has the device compute the packed batch.
func (l *loop) launch(f *flight) {
	if f.size = l.batch.Rows(); f.size == 0 {
		return
	}
	if !f.up {
		l.mark = l.e.clock()
		l.e.stats.stepStart.Store(int64(l.mark))
	}
	l.device.Begin(&l.batch, l.store)
	if len(l.copies) > 0 {
		l.device.CopyKV(l.copies)
		l.copies = l.copies[:0]
	}
	l.e.opts.Forward.Forward(l.device)
	if f.late {
		l.sampler.Compute()
		return
	}
	l.sample(f)
}

// wait blocks until the device has computed the step at hand.
func (l *loop) wait() (*backend.Result, error) {
	l.forwardTime = 0
	if l.size == 0 {
		return &backend.Result{}, nil
	}
	result, err := l.device.Wait()
	now := l.e.clock()
	l.forwardTime, l.mark = now-l.mark, now
	l.e.stats.stepStart.Store(0)
	if l.next.up {
		l.e.stats.stepStart.Store(int64(now))
	}
	return result, err
}

// maxStrikes is how many panics in a row, without one good step between them, the
// loop is started again after. Then what is wrong is no single request's.
const maxStrikes = 8

// restart goes on after a panic. What the step was at is unknown, so that its
// requests are told and everything that steps change is made anew; requests
// whose computation had not begun stay in the inbox. It reports false when the
// device gives nothing any more.
func (l *loop) restart(cause error) bool {
	l.e.stats.restarts.Add(1)
	if tell := l.e.opts.OnPanic; tell != nil {
		tell(cause)
	}
	l.endOwned(&llm.Error{Kind: llm.Internal, Err: cause,
		Message: "the engine failed on an internal error and has been started again; the request was lost, send it again"})
	l.e.forgetPins()
	l.resetProposer()
	l.free()
	if err := l.build(); err != nil {
		l.e.fail(fmt.Errorf("starting again after a panic: %w; %w", err, cause))
		return false
	}
	l.report()
	return true
}

// die gives up: every request is told, later ones are refused, and Health says
// why.
func (l *loop) die(cause error) {
	l.e.fail(cause)
	l.e.inbox.close()
	l.failAll(&llm.Error{Kind: llm.Internal, Err: cause,
		Message: "the engine stopped on an internal error; the request was lost, send it again once weir has restarted"})
	l.closeAll()
}

// closeAll frees what the engine owns, for good.
func (l *loop) closeAll() {
	l.free()
	if p := l.e.opts.Proposer; p != nil {
		defer func() { _ = recover() }() // it may be what broke
		p.Close()
	}
}

// free gives the device's memory back. After a panic that may fail, too; then it
// stays lost.
func (l *loop) free() {
	defer func() { _ = recover() }()
	l.e.stats.stepStart.Store(0)
	if l.device != nil {
		device, store := l.device, l.store
		l.device, l.store = nil, nil
		defer store.Close()
		device.Close()
	}
}

// resetProposer has the proposer let go of every sequence after a panic, and begin
// anew, as the loop does. It may be what broke, and break again: then nothing is
// guessed any more, which changes no answer.
func (l *loop) resetProposer() {
	p := l.e.opts.Proposer
	if p == nil || l.mute {
		return
	}
	err := errors.New("it panicked")
	defer func() {
		if _ = recover(); err != nil {
			l.mute = true
			why := fmt.Sprintf("after an internal error it could not begin anew (%v); restart weir", err)
			l.e.stats.whyOff.Store(&why)
			l.tellSpeculation()
		}
	}()
	err = p.Reset()
}

// failAll ends every request, those still in the inbox included.
func (l *loop) failAll(err error) {
	l.endOwned(err)
	l.msgs, _ = l.e.inbox.take(l.msgs)
	for _, m := range l.msgs {
		if m.add != nil {
			m.add.out.put(output{err: err})
		}
		if m.look != nil {
			close(m.look)
		}
	}
}

// endOwned ends every request that the loop knows.
func (l *loop) endOwned(err error) {
	told := map[*request]bool{}
	for _, q := range l.owner {
		q.ended = true
		if !told[q.req] {
			told[q.req] = true
			q.req.out.put(output{err: err})
		}
	}
	clear(l.owner)
	for _, m := range l.msgs { // a panic while they were being handled
		if m.add != nil && !told[m.add] {
			told[m.add] = true
			m.add.out.put(output{err: err})
		}
	}
	clear(l.msgs)
	l.msgs = l.msgs[:0]
}
