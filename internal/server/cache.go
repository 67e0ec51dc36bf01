package server

import (
	"errors"
	"net/http"

	"weir/internal/llm"
	"weir/internal/openai"
)

// caches lists the prefix caches of the models that are served.
func (s *Server) caches() []openai.CacheOf {
	var list []openai.CacheOf
	s.backend.Each(func(g llm.Generator) {
		if c, ok := g.(llm.PrefixCacher); ok {
			list = append(list, openai.CacheOf{Model: g.Model(), Status: c.CacheStatus(), Prefixes: c.PinnedPrefixes()})
		}
	})
	return list
}

func (s *Server) cache(w *response, _ *http.Request) error {
	w.json(http.StatusOK, openai.AppendCaches(nil, s.caches()))
	return nil
}

func (s *Server) prefixes(w *response, _ *http.Request) error {
	w.json(http.StatusOK, openai.AppendPrefixes(nil, s.caches()))
	return nil
}

func (s *Server) pin(w *response, r *http.Request) error {
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	q, err := openai.DecodePin(body)
	if err != nil {
		return err
	}
	g, release, err := s.hold(w, r, q.Model)
	if err != nil {
		return err
	}
	defer release()
	m := g.Model()
	c, ok := g.(llm.PrefixCacher)
	if !ok {
		e := llm.Invalidf("model", "model %q is served by an engine whose cache weir cannot reach", m.ID)
		e.Code = "unsupported_parameter"
		return e
	}
	p, err := q.Pin(m)
	if err != nil {
		return err
	}
	pinned, err := c.PinPrefix(r.Context(), p)
	if err != nil {
		return err
	}
	w.json(http.StatusCreated, openai.AppendPinned(nil, m, pinned))
	return nil
}

// unpin lets go of a prefix, whichever model's it is.
func (s *Server) unpin(w *response, r *http.Request) error {
	id := r.PathValue("id")
	var err error = &llm.Error{Kind: llm.NotFound, Code: "prefix_not_found", Message: "no prefix of that id is kept: GET /cache/prefixes lists them"}
	s.backend.Each(func(g llm.Generator) {
		c, ok := g.(llm.PrefixCacher)
		if !ok {
			return
		}
		e := c.UnpinPrefix(id)
		var none *llm.Error
		if !errors.As(e, &none) || none.Kind != llm.NotFound {
			err = e
		}
	})
	if err != nil {
		return err
	}
	w.json(http.StatusOK, openai.AppendDeleted(nil, id))
	return nil
}
