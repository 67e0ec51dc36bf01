package server

import (
	"weir/internal/llm"
	"weir/internal/openai"
)

// Backend says who answers. Its methods are called by many goroutines.
type Backend interface {
	// Generator gives who serves the model of that name; the name is empty for
	// a request that gives none. The error is an [*llm.Error]: NotFound for a
	// name that is not served.
	Generator(model string) (llm.Generator, error)
	// Models lists what is served.
	Models() []llm.Model
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
func (s Static) Generator(model string) (llm.Generator, error) {
	if model == "" && len(s) == 1 {
		return s[0], nil
	}
	var served []string
	for _, g := range s {
		m := g.Model()
		for _, name := range append([]string{m.ID}, m.Aliases...) {
			if name == model {
				return g, nil
			}
			served = append(served, name)
		}
	}
	return nil, openai.NoModel(model, served)
}

// Models implements [Backend].
func (s Static) Models() []llm.Model {
	var list []llm.Model
	for _, g := range s {
		list = append(list, g.Model())
	}
	return list
}
