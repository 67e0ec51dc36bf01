// Package router says which engine answers a request, and which models are in
// memory.
//
// A [Router] knows its models by name. Whoever wants one holds it (Router.Hold):
// if it is not loaded, the router loads it and the caller waits; it stays as long as
// somebody holds it. Not all models need fit into memory at once. policy.go decides
// which is loaded and which leaves; this file does what it says.
//
// The router's mutex guards all state. Nothing slow is done under it: models are
// loaded and closed by goroutines of their own, one each, so that a model is never
// loaded twice or closed while it is used.
package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"weir/internal/llm"
)

// Engine is what answers for a model that is loaded.
type Engine interface {
	llm.Generator
	// Close ends it and gives its memory back. Nothing is being generated then.
	Close() error
}

// Model is one that can be loaded.
type Model struct {
	// About is what is told of the model until it has been loaded for the first
	// time. Its ID is the model's name.
	About llm.Model
	// Check looks whether the model can be loaded at all, before another one leaves
	// for it. nil: that is not known.
	Check func() error
	// Open loads the model, until it is ready for requests.
	Open func(context.Context) (Engine, error)
}

// retryAfter is how long a model that could not be loaded is not tried again, so
// that asking for it does not keep another out of memory.
const retryAfter = 5 * time.Second

// Options bound what a router does.
type Options struct {
	// Loaded is how many models may be in memory at once; 0: all.
	Loaded int
	// Idle is how long a model that nobody uses stays in memory; 0: for ever.
	Idle time.Duration
	// Patience is how long a model that is always busy may keep another one out of
	// memory.
	Patience time.Duration
	// Waiting is how many requests may wait for models to be loaded.
	Waiting int
	// Report hears of what happened to a model: its new state, how long it took to
	// get there, and why it failed. It must not call the router. nil: nobody does.
	Report func(model string, s State, took time.Duration, err error)
}

// Router holds models. Its methods may be called by any goroutine.
type Router struct {
	o      Options
	ctx    context.Context // of loading; ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	slots   []*slot
	waiting int // requests, of all slots
	alarm   *time.Timer
	closed  bool
	empty   chan struct{}  // closed once nothing is in memory any more
	busy    sync.WaitGroup // loads and closes that are under way
	failed  error          // of closing engines
}

// slot is a model with what it is at. The router's mutex guards it.
type slot struct {
	name string // never changes
	Model
	view
	engine  Engine
	failure error     // of the last load
	retry   time.Time // not to be loaded before
	waiters map[*waiter]struct{}
	looked  sync.RWMutex // held by those who look at the engine, and to close it
}

// waiter is a request that waits for a model. It is told once.
type waiter struct{ told chan error }

// New makes a router; no model is loaded yet. Names must differ.
func New(o Options, models []Model) (*Router, error) {
	if o.Loaded <= 0 || o.Loaded > len(models) {
		o.Loaded = len(models)
	}
	if o.Report == nil {
		o.Report = func(string, State, time.Duration, error) {}
	}
	r := &Router{o: o, empty: make(chan struct{})}
	for _, m := range models {
		if r.find(m.About.ID) != nil {
			return nil, fmt.Errorf("two models are called %s; give one of them another name", m.About.ID)
		}
		r.slots = append(r.slots, &slot{name: m.About.ID, Model: m, view: view{state: Unloaded}, waiters: map[*waiter]struct{}{}})
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

func (r *Router) find(name string) *slot {
	for _, s := range r.slots {
		if s.name == name {
			return s
		}
	}
	return nil
}

// Names lists the models, in the order in which they were given.
func (r *Router) Names() []string {
	var names []string
	for _, s := range r.slots {
		names = append(names, s.name)
	}
	return names
}

// ErrUnknown is that of a name which no model has.
var ErrUnknown = errors.New("no such model")

// Hold gives the engine of a model, which stays loaded until it is released. It
// waits, until ctx ends, if the model must be loaded first. The error is an
// *llm.Error but for ErrUnknown and the cause of ctx.
func (r *Router) Hold(ctx context.Context, name string) (e Engine, release func(), err error) {
	s := r.find(name) // the list itself never changes
	if s == nil {
		return nil, nil, ErrUnknown
	}
	if err := r.check(s); err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	w, err := r.enter(s)
	r.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	if w != nil {
		if err := r.wait(ctx, s, w); err != nil {
			return nil, nil, err
		}
	}
	// It stays what it is while there are users.
	return s.engine, sync.OnceFunc(func() { r.leave(s) }), nil
}

// check looks at a model that has to be loaded. That may take a moment, so it is
// not done under the lock: enter judges anew.
func (r *Router) check(s *slot) error {
	r.mu.Lock()
	there := s.state != Unloaded || r.closed || s.Check == nil
	r.mu.Unlock()
	if there {
		return nil
	}
	err := s.Check()
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.o.Report(s.name, Unloaded, 0, err)
	return s.fail(err, time.Second)
}

// fail is what clients are told of a load that failed.
func (s *slot) fail(err error, again time.Duration) error {
	return &llm.Error{Kind: llm.Unavailable, Code: "model_not_loaded", Err: err, RetryAfter: again,
		Message: fmt.Sprintf("model %q could not be loaded; the server's log has the reason", s.name)}
}

// enter makes the caller a user of s, or one that waits for it.
func (r *Router) enter(s *slot) (*waiter, error) {
	switch {
	case r.closed:
		return nil, stopping()
	case s.state == Loaded:
		s.users++
		return nil, nil
	case s.state == Unloaded && time.Until(s.retry) > 0:
		return nil, s.fail(s.failure, time.Until(s.retry))
	case r.waiting >= r.o.Waiting:
		return nil, &llm.Error{Kind: llm.Overloaded, RetryAfter: time.Second,
			Message: fmt.Sprintf("%d requests wait for models to be loaded, which is the limit (--max-queue); try again later", r.waiting)}
	}
	w := &waiter{told: make(chan error, 1)}
	if len(s.waiters) == 0 {
		s.since = time.Now()
	}
	s.waiters[w] = struct{}{}
	s.view.waiting++
	r.waiting++
	r.decide()
	return w, nil
}

func stopping() error {
	return &llm.Error{Kind: llm.Unavailable, Message: "the server is shutting down and loads no models; try another, or again later"}
}

// wait is for a waiter to become a user.
func (r *Router) wait(ctx context.Context, s *slot, w *waiter) error {
	select {
	case err := <-w.told:
		return err
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, waits := s.waiters[w]; waits {
		r.strike(s, w)
	} else if err := <-w.told; err == nil {
		r.left(s) // it became one at the same moment
	}
	return context.Cause(ctx)
}

// strike takes a waiter off the list.
func (r *Router) strike(s *slot, w *waiter) {
	delete(s.waiters, w)
	s.view.waiting--
	r.waiting--
}

// leave ends a use.
func (r *Router) leave(s *slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left(s)
}

func (r *Router) left(s *slot) {
	s.users--
	s.used = time.Now()
	if s.users == 0 && s.state == Leaving && !r.closed {
		r.unload(s)
	}
	r.decide()
}

// decide does what the policy says. The lock is held.
func (r *Router) decide() {
	if r.closed {
		return
	}
	views := make([]view, len(r.slots))
	for i, s := range r.slots {
		views[i] = s.view
	}
	now := time.Now()
	do := decide(now, views, rules{loaded: r.o.Loaded, idle: r.o.Idle, patience: r.o.Patience})
	for _, i := range do.leave {
		r.dismiss(r.slots[i])
	}
	for _, i := range do.load {
		r.load(r.slots[i])
	}
	if r.alarm != nil {
		r.alarm.Stop()
		r.alarm = nil
	}
	if !do.again.IsZero() {
		r.alarm = time.AfterFunc(do.again.Sub(now), r.tick)
	}
}

// tick looks whether time has made something due.
func (r *Router) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decide()
}

func (r *Router) dismiss(s *slot) {
	if s.state = Leaving; s.users == 0 {
		r.unload(s)
	}
}

// load brings a model up, on a goroutine of its own.
func (r *Router) load(s *slot) {
	s.state = Loading
	began := time.Now()
	r.busy.Go(func() {
		e, err := s.Open(r.ctx)
		took := time.Since(began)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil {
			s.state = Unloaded
			s.failure, s.retry = err, time.Now().Add(retryAfter)
			r.tell(s, s.fail(err, retryAfter))
		} else {
			created := s.About.Created
			s.engine, s.state, s.About = e, Loaded, e.Model()
			s.About.Created = created
			s.loaded, s.used = time.Now(), time.Now()
			r.tell(s, nil)
		}
		r.o.Report(s.name, s.state, took, err)
		r.decide()
	})
}

// tell lets those that wait for s go on.
func (r *Router) tell(s *slot, err error) {
	for w := range s.waiters {
		r.strike(s, w)
		if err == nil {
			s.users++
		}
		w.told <- err
	}
}

// unload gives a model's memory back, on a goroutine of its own.
func (r *Router) unload(s *slot) {
	s.state = Unloading
	began := time.Now()
	r.busy.Go(func() {
		s.looked.Lock()
		err := s.engine.Close()
		s.looked.Unlock()
		r.mu.Lock()
		defer r.mu.Unlock()
		s.engine, s.state = nil, Unloaded
		r.failed = errors.Join(r.failed, err)
		r.o.Report(s.name, Unloaded, time.Since(began), err)
		r.decide()
	})
}
