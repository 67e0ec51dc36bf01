package cpu

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is a set of threads that share the items of one task at a time. Engines
// of one process share one pool, so that two models together do not run more
// threads than the machine has.
//
// The goroutine that calls Run works too: a pool of n threads keeps n-1
// workers. Between tasks a worker spins for some microseconds, which is what
// lies between two operations of a forward pass, and then parks: an idle pool
// costs nothing.
type Pool struct {
	mu      sync.Mutex // held by Run and Close: one task at a time
	workers []*worker
	exited  sync.WaitGroup
	closed  bool

	// The task at hand; written by Run before workers are posted.
	task  Task
	n     int64
	grain int64
	next  atomic.Int64 // first item that nobody has taken

	pending  atomic.Int32 // workers posted and not yet through, plus one for Run itself
	finished atomic.Int32 // busy -> (waiting ->) through; unused if Run itself is the last
	done     chan struct{}
	failure  atomic.Pointer[WorkerPanic]
}

// Task is what a pool runs. Do computes one item; it is called once per item,
// in any order, on any thread. worker, in [0, Threads), differs between calls
// that run at the same time: it names the scratch memory to use.
type Task interface {
	Do(worker, item int)
}

// WorkerPanic is what Run panics with when Do has panicked.
type WorkerPanic struct {
	Value any    // what Do panicked with
	Stack []byte // where
}

func (p *WorkerPanic) Error() string {
	return fmt.Sprintf("cpu: panic in a worker: %v\n\n%s", p.Value, p.Stack)
}

// Unwrap returns the panic's value where it is an error.
func (p *WorkerPanic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// worker is one thread's mailbox.
//
//	idle -> posted     Run has a task for it
//	idle -> parked     it waits on wake; whoever takes it out of parked sends one token
//	posted -> running  it has taken the post
//	posted -> idle     Run has finished without it and takes the post back
//	running -> idle    it is through
type worker struct {
	state atomic.Int32
	wake  chan struct{}
	_     [64]byte // workers spin on their own cache lines
}

const (
	idle int32 = iota
	parked
	posted
	running
	closing
)

// What Pool.finished goes through.
const (
	busy    int32 = iota // workers are at it
	waiting              // and Run waits on done for the last one's token
	through              // the last worker is through
)

// A thread looks for spinTime before it parks: longer than what one thread does alone within a
// step, and than what lies between two steps of decoding. Parked in between, threads were
// asleep for a sixth of a small model's step on a Zen 4, where 4,000 looks take 4 µs. Every
// spinYield looks it lets other goroutines run.
const (
	spinTime  = 100 * time.Microsecond
	spinYield = 64
)

// spinner counts looks.
type spinner struct {
	looks int
	until time.Time
}

// again tells whether to look once more.
func (s *spinner) again() bool {
	if s.looks++; s.looks%spinYield != 0 {
		return true
	}
	runtime.Gosched()
	now := time.Now()
	if s.until.IsZero() {
		s.until = now.Add(spinTime)
	}
	return now.Before(s.until)
}

// NewPool starts a pool of that many threads; 0 or less: as many as Go runs
// at a time (GOMAXPROCS, which follows the machine and its cgroup).
func NewPool(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{done: make(chan struct{}, 1)}
	for i := 1; i < threads; i++ {
		w := &worker{wake: make(chan struct{}, 1)}
		p.workers = append(p.workers, w)
		p.exited.Add(1)
		go p.serve(w, i)
	}
	return p
}

// Threads is the number of threads, the caller's among them.
func (p *Pool) Threads() int { return len(p.workers) + 1 }

// Run calls t.Do for every item in [0, n) and returns when all are done. If
// one panics, Run panics with a *WorkerPanic after the others have stopped; items may
// be left out then. Run must not be called from Do.
func (p *Pool) Run(n int, t Task) {
	if n <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		panic("cpu: Run on a closed pool")
	}
	p.start(n, t)
	p.work(0)
	p.finish()
	p.task = nil
	if f := p.failure.Swap(nil); f != nil {
		panic(f)
	}
}

// start publishes the task and posts it to as many workers as have items.
func (p *Pool) start(n int, t Task) {
	p.task, p.n = t, int64(n)
	p.grain = max(1, p.n/int64(8*p.Threads()))
	p.next.Store(0)
	p.finished.Store(busy)
	helpers := p.workers[:min(len(p.workers), n-1)]
	p.pending.Store(int32(len(helpers)) + 1)
	for _, w := range helpers {
		if w.state.Swap(posted) == parked {
			w.wake <- struct{}{}
		}
	}
}

// finish waits until the posted workers are through. Posts that nobody has
// taken are taken back: all items are taken, so they are not needed.
func (p *Pool) finish() {
	for _, w := range p.workers {
		if w.state.CompareAndSwap(posted, idle) {
			p.pending.Add(-1)
		}
	}
	if p.pending.Add(-1) == 0 {
		return
	}
	for s := (spinner{}); s.again(); {
		if p.finished.Load() == through {
			return
		}
	}
	if p.finished.CompareAndSwap(busy, waiting) {
		<-p.done
	}
}

// serve is a worker's life.
func (p *Pool) serve(w *worker, id int) {
	defer p.exited.Done()
	for w.await() {
		p.work(id)
		// Idle before counted: once all are counted, the next Run may post.
		w.state.Store(idle)
		if p.pending.Add(-1) == 0 && p.finished.Swap(through) == waiting {
			p.done <- struct{}{}
		}
	}
}

// await takes the next post. It reports false when the pool closes.
func (w *worker) await() bool {
	for {
		for s := (spinner{}); s.again(); {
			switch w.state.Load() {
			case posted:
				if w.state.CompareAndSwap(posted, running) {
					return true
				}
			case closing:
				return false
			}
		}
		if w.state.CompareAndSwap(idle, parked) {
			<-w.wake
		}
	}
}

// work takes items, a few at a time, until none is left.
func (p *Pool) work(id int) {
	defer p.recoverTask()
	for {
		end := p.next.Add(p.grain)
		begin := end - p.grain
		if begin >= p.n {
			return
		}
		for i := begin; i < min(end, p.n); i++ {
			p.task.Do(id, int(i))
		}
	}
}

// recoverTask keeps the first panic for Run and ends the task.
func (p *Pool) recoverTask() {
	v := recover()
	if v == nil {
		return
	}
	p.failure.CompareAndSwap(nil, &WorkerPanic{Value: v, Stack: debug.Stack()})
	p.next.Store(p.n)
}

// Close ends the workers and waits for them. A running task is finished first.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	for _, w := range p.workers {
		if w.state.Swap(closing) == parked {
			w.wake <- struct{}{}
		}
	}
	p.exited.Wait()
}
