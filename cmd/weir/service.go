package main

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"weir/internal/llm"
	"weir/internal/openai"
	"weir/internal/router"
	"weir/internal/trace"
)

// service is what the server asks: who answers, and how it is. It exists before
// any model does.
type service struct {
	secured secured
	tracer  *trace.Tracer // nil: no traces
	phase   atomic.Value  // string; "" once ready
	models  atomic.Pointer[router.Router]
	shared  *hosting // of several models; nil: there is one
	limits  limits
}

// starting tells whether the server has not been ready yet.
func (s *service) starting() bool { return s.phase.Load().(string) != "" }

// Generator implements server.Backend.
func (s *service) Generator(ctx context.Context, model string) (llm.Generator, func(), error) {
	r, name, err := s.named(model)
	if err != nil {
		return nil, nil, err
	}
	return r.Hold(ctx, name)
}

// named is the model that a request means, and the router that has it.
func (s *service) named(model string) (*router.Router, string, error) {
	r := s.models.Load()
	if r == nil || s.starting() {
		return nil, "", &llm.Error{Kind: llm.Unavailable, Message: "the model is still loading; ask /ready and try again when it answers 200", RetryAfter: time.Second}
	}
	names := r.Names()
	switch {
	case model == "" && len(names) == 1:
		return r, names[0], nil
	case !slices.Contains(names, model):
		return nil, "", openai.NoModel(model, names)
	}
	return r, model, nil
}

// Models implements server.Backend.
func (s *service) Models() []llm.Model {
	r := s.models.Load()
	if r == nil || s.starting() {
		return nil
	}
	var list []llm.Model
	for _, st := range r.Status() {
		m := st.About
		m.State = string(st.State)
		list = append(list, m)
	}
	return list
}

// Each implements server.Backend.
func (s *service) Each(look func(llm.Generator)) {
	s.each(func(m *opened) { look(m.engine) })
}

// each looks at the models in memory.
func (s *service) each(look func(*opened)) {
	if r := s.models.Load(); r != nil {
		r.Each(func(e router.Engine) { look(e.(loadedModel).opened) })
	}
}

// Unload implements server.Unloader.
func (s *service) Unload(model string) error {
	r, name, err := s.named(model)
	if err != nil {
		return err
	}
	return r.Unload(name)
}

// Live implements server.Health.
func (s *service) Live() error {
	var all error
	s.each(func(m *opened) { all = errors.Join(all, m.engine.Health()) })
	return all
}

// Ready implements server.Health.
func (s *service) Ready() error {
	if phase := s.phase.Load().(string); phase != "" {
		return errors.New(phase)
	}
	return s.Live()
}

// close unloads everything.
func (s *service) close() (err error) {
	if r := s.models.Load(); r != nil {
		err = r.Close()
	}
	s.shared.close()
	return err
}
