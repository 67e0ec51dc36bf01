package server

import (
	"net/http"

	"weir/internal/llm"
	"weir/internal/openai"
)

// texter finds who can tell of a model's text, until he is released.
func (s *Server) texter(w *response, r *http.Request, model string) (_ llm.Texter, _ llm.Model, release func(), _ error) {
	g, release, err := s.hold(w, r, model)
	if err != nil {
		return nil, llm.Model{}, nil, err
	}
	m := g.Model()
	t, ok := g.(llm.Texter)
	if !ok {
		e := llm.Invalidf("model", "model %q is served by an engine whose tokeniser and template weir cannot reach", m.ID)
		e.Code = "unsupported_parameter"
		release()
		return nil, m, nil, e
	}
	return t, m, release, nil
}

func (s *Server) tokenize(w *response, r *http.Request) error {
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	q, err := openai.DecodeTokenize(body)
	if err != nil {
		return err
	}
	t, m, release, err := s.texter(w, r, q.Model)
	if err != nil {
		return err
	}
	defer release()
	prompt, o, err := q.Input(m)
	if err != nil {
		return err
	}
	ids, err := t.Tokenize(r.Context(), prompt, o)
	if err != nil {
		return err
	}
	names := t.TokenText
	if !q.ReturnTokenStrs {
		names = nil
	}
	w.json(http.StatusOK, openai.AppendTokenize(nil, m, ids, names))
	return nil
}

func (s *Server) detokenize(w *response, r *http.Request) error {
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	q, err := openai.DecodeDetokenize(body)
	if err != nil {
		return err
	}
	t, m, release, err := s.texter(w, r, q.Model)
	if err != nil {
		return err
	}
	defer release()
	if err := q.Check(m); err != nil {
		return err
	}
	text, err := t.Detokenize(q.Tokens)
	if err != nil {
		return err
	}
	w.json(http.StatusOK, openai.AppendPrompt(nil, text))
	return nil
}

func (s *Server) applyTemplate(w *response, r *http.Request) error {
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	q, err := openai.DecodeTemplate(body)
	if err != nil {
		return err
	}
	t, m, release, err := s.texter(w, r, q.Model)
	if err != nil {
		return err
	}
	defer release()
	if err := q.Check(m); err != nil {
		return err
	}
	text, err := t.Render(r.Context(), q.Chat())
	if err != nil {
		return err
	}
	w.json(http.StatusOK, openai.AppendPrompt(nil, text))
	return nil
}
