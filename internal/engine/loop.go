package engine

import (
	"fmt"
	"runtime/debug"
	"time"

	"weir/internal/backend"
	"weir/internal/kv"
	"weir/internal/llm"
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

	owner  map[*sched.Seq]*sequence // every sequence that has not ended
	wanted []want                   // what each wanted row of the batch is for
	copies []backend.Copy           // of forked pages, before the next batch
	msgs   []message

	forwardTime time.Duration // of the step at hand

	asks       []*spec.Ask
	paths      []int32      // that the batch's tree rows list
	cost       spec.Cost    // of a step, by rows
	drafting   spec.Cost    // of the drafts for a step, by depth
	experience spec.Control // of all sequences: what a new one expects
	decodeOnly bool         // the batch has no prompt's rows
}

func newLoop(e *Engine) (*loop, error) {
	o := e.opts
	store, err := o.Backend.NewKV(o.KV)
	if err != nil {
		return nil, fmt.Errorf("allocating the KV cache: %w", err)
	}
	plan := backend.Plan{Rows: o.Limits.BatchTokens, Seqs: o.Limits.Running, LogitRows: o.Limits.LogitRows, Context: o.Describe.Context}
	o.Forward.Plan(&plan)
	device, err := o.Backend.NewStream(plan)
	if err != nil {
		store.Close()
		return nil, fmt.Errorf("allocating scratch memory: %w", err)
	}
	cache := kv.New(o.KV.PageSize, kvGroups(o.KV))
	if o.PrefixCache {
		cache.EnablePrefixCache(kv.PrefixOptions{OneClass: o.Backend.Info().OneClass})
	}
	return &loop{
		e: e, cache: cache, sched: sched.New(o.Limits, cache), device: device, store: store,
		owner: map[*sched.Seq]*sequence{}, cost: spec.NewCost(),
	}, nil
}

func kvGroups(spec backend.KVSpec) []kv.Group {
	var groups []kv.Group
	for i, g := range spec.Groups {
		groups = append(groups, kv.Group{Pages: spec.Pages[i], Window: g.Window})
	}
	return groups
}

// run is the loop. It ends when the inbox is closed or a step panics.
func (l *loop) run() {
	defer l.end()
	for l.receive() {
		began := l.e.clock()
		l.forwardTime = 0
		l.guess()
		plan := l.sched.Next()
		for _, s := range plan.Preempted {
			l.forget(l.owner[s])
		}
		l.pack(plan)
		result, err := l.forward()
		l.settle(plan, result, err)
		l.e.stats.timed(l.e.clock()-began, l.forwardTime)
		l.report()
	}
}

// receive takes what the inbox has. With nothing to compute it waits for more.
// It reports false when the engine is to end.
func (l *loop) receive() bool {
	for {
		var closed bool
		l.msgs, closed = l.e.inbox.take(l.msgs)
		for _, m := range l.msgs {
			l.handle(m)
		}
		clear(l.msgs)
		if closed {
			return false
		}
		if len(l.owner) > 0 {
			return true
		}
		l.report()
		<-l.e.inbox.wake
	}
}

func (l *loop) handle(m message) {
	switch {
	case m.add != nil:
		lead := m.add.seqs[0]
		for _, q := range m.add.seqs {
			l.owner[&q.Seq] = q
		}
		l.sched.Add(&lead.Seq)
	case m.choice != nil:
		l.drop(m.choice)
	case m.cancel != nil:
		for _, q := range m.cancel.seqs {
			l.drop(q)
		}
	}
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

// forward runs the packed batch.
func (l *loop) forward() (*backend.Result, error) {
	if l.batch.Rows() == 0 {
		return &backend.Result{}, nil
	}
	began := l.e.clock()
	l.e.stats.stepStart.Store(int64(began))
	l.device.Begin(&l.batch, l.store)
	if len(l.copies) > 0 {
		l.device.CopyKV(l.copies)
		l.copies = l.copies[:0]
	}
	l.e.opts.Forward.Forward(l.device)
	result, err := l.device.Wait()
	l.e.stats.stepStart.Store(0)
	l.forwardTime = l.e.clock() - began
	if l.decodeOnly {
		l.cost.Observe(l.batch.Rows(), l.forwardTime.Seconds())
	}
	return result, err
}

// end answers whoever still waits and frees the device. A panic in a step (a
// bug, or memory that failed) is contained here: the engine stops, every
// request is told, and Health says why.
func (l *loop) end() {
	err := error(&llm.Error{Kind: llm.Unavailable, Message: "the server is shutting down"})
	if p := recover(); p != nil {
		fatal := fmt.Errorf("the engine's loop panicked: %v\n%s", p, debug.Stack())
		l.e.fail(fatal)
		l.e.inbox.close()
		err = &llm.Error{Kind: llm.Internal, Message: "the engine stopped on an internal error; the request was lost, send it again once weir has restarted", Err: fatal}
	}
	l.failAll(err)
	if l.e.opts.Proposer != nil {
		l.e.opts.Proposer.Close()
	}
	l.device.Close()
	l.store.Close()
	close(l.e.done)
}

// failAll ends every request, those still in the inbox included.
func (l *loop) failAll(err error) {
	told := map[*request]bool{}
	tell := func(r *request) {
		if !told[r] {
			told[r] = true
			r.out.put(output{err: err})
		}
	}
	for _, q := range l.owner {
		tell(q.req)
	}
	l.msgs, _ = l.e.inbox.take(l.msgs)
	for _, m := range l.msgs {
		if m.add != nil {
			tell(m.add)
		}
	}
}
