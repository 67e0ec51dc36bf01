package router

import (
	"context"
	"fmt"

	"weir/internal/llm"
)

// Status is what a model is at.
type Status struct {
	About   llm.Model
	State   State
	Users   int // requests that it answers
	Waiting int // requests that wait for it
}

// Status tells of every model, in the order in which they were given.
func (r *Router) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Status, len(r.slots))
	for i, s := range r.slots {
		list[i] = Status{About: s.About, State: s.state, Users: s.users, Waiting: len(s.waiters)}
	}
	return list
}

// Each calls look with the engines that are in memory, which are not closed
// meanwhile; but that is no use which keeps a model there.
func (r *Router) Each(look func(Engine)) {
	for _, s := range r.slots {
		r.look(s, look)
	}
}

func (r *Router) look(s *slot, look func(Engine)) {
	if !s.looked.TryRLock() {
		return // it is being closed
	}
	defer s.looked.RUnlock()
	r.mu.Lock()
	e := s.engine
	if s.state == Unloading { // it may be closed already
		e = nil
	}
	r.mu.Unlock()
	if e != nil {
		look(e)
	}
}

// Load loads a model if it is not loaded, and waits for it.
func (r *Router) Load(ctx context.Context, name string) error {
	_, release, err := r.Hold(ctx, name)
	if err == nil {
		release()
	}
	return err
}

// Unload takes a model out of memory once the requests that it answers have ended;
// it does not wait for that. Whoever asks for the model later has it loaded again.
func (r *Router) Unload(name string) error {
	s := r.find(name)
	if s == nil {
		return ErrUnknown
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch s.state {
	case Loaded:
		r.dismiss(s)
	case Loading:
		return &llm.Error{Kind: llm.Unavailable, Message: fmt.Sprintf("model %q is being loaded; unload it when that has ended", name)}
	}
	return nil
}

// Close unloads all models and waits for that. Those who wait for one are told;
// those who use one must have ended.
func (r *Router) Close() error {
	if !r.shut() {
		<-r.empty
		return r.failed
	}
	r.busy.Wait() // what was being loaded is loaded then, or has failed
	r.mu.Lock()
	for _, s := range r.slots {
		if s.state == Loaded || s.state == Leaving {
			r.unload(s)
		}
	}
	r.mu.Unlock()
	r.busy.Wait()
	close(r.empty)
	return r.failed
}

// shut lets nobody in any more. It tells whether it is the first to do so.
func (r *Router) shut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.closed = true
	r.cancel()
	if r.alarm != nil {
		r.alarm.Stop()
	}
	for _, s := range r.slots {
		r.tell(s, stopping())
	}
	return true
}
