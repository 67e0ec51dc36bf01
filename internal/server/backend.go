package server

import (
	"context"

	"weir/internal/llm"
	"weir/internal/openai"
)

// Backend says who answers. Its methods are called by many goroutines.
type Backend interface {
	// Generator gives who serves the model of that name, to be used until it is
	// released; the name is empty for a request that gives none. It may take as long
	// as loading the model does. The error is an [*llm.Error] (NotFound for a name
	// that is not served) or the cause of ctx.
	Generator(ctx context.Context, model string) (g llm.Generator, release func(), err error)
	// Models lists what is served, in memory or not.
	Models() []llm.Model
	// Each calls look with the generators that are in memory. It must not take long.
	Each(look func(llm.Generator))
}

// Unloader is what a [Backend] offers besides when it can take its models out of
// memory.
type Unloader interface {
	// Unload takes one out once the requests that it answers have ended. It does not
	// wait for that. The errors are those of Generator.
	Unload(model string) error
}

// Health tells how whoever computes is. Both methods answer at once, from what
// is known: never by asking the loop whose health is in question.
type Health interface {
	// Live returns nil while work moves on or there is none, else why not.
	Live() error
	// Ready returns nil once requests can be answered, else what is still
	// being done, such as "loading weights".
	Ready() error
}

// Static is a [Backend] of generators that do not change. A request that names
// no model is answered if there is but one.
type Static []llm.Generator

// Generator implements [Backend].
func (s Static) Generator(_ context.Context, model string) (llm.Generator, func(), error) {
	release := func() {}
	if model == "" && len(s) == 1 {
		return s[0], release, nil
	}
	var served []string
	for _, g := range s {
		m := g.Model()
		for _, name := range append([]string{m.ID}, m.Aliases...) {
			if name == model {
				return g, release, nil
			}
			served = append(served, name)
		}
	}
	return nil, nil, openai.NoModel(model, served)
}

// Models implements [Backend].
func (s Static) Models() []llm.Model {
	var list []llm.Model
	for _, g := range s {
		list = append(list, g.Model())
	}
	return list
}

// Each implements [Backend].
func (s Static) Each(look func(llm.Generator)) {
	for _, g := range s {
		look(g)
	}
}
