package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"weir/internal/llm"
	"weir/internal/openai"
)

func (s *Server) models(w *response, _ *http.Request) error {
	w.json(http.StatusOK, openai.AppendModels(nil, s.backend.Models()))
	return nil
}

func (s *Server) model(w *response, r *http.Request) error {
	id := r.PathValue("id")
	if id == "" {
		return s.models(w, r)
	}
	var served []string
	for _, m := range s.backend.Models() {
		names := append([]string{m.ID}, m.Aliases...)
		if slices.Contains(names, id) {
			w.json(http.StatusOK, openai.AppendModel(nil, m, id))
			return nil
		}
		served = append(served, names...)
	}
	return openai.NoModel(id, served)
}

// load brings a model into memory.
func (s *Server) load(w *response, r *http.Request) error {
	name, err := s.modelName(w, r)
	if err != nil {
		return err
	}
	g, release, err := s.hold(w, r, name)
	if err != nil {
		return withCause(err)
	}
	defer release() // not before it has been told where the model is
	s.tellModel(w, g.Model().ID)
	return nil
}

// unload takes a model out of memory.
func (s *Server) unload(w *response, r *http.Request) error {
	name, err := s.modelName(w, r)
	if err != nil {
		return err
	}
	u, ok := s.backend.(Unloader)
	if !ok {
		return &llm.Error{Kind: llm.Invalid, Code: "unsupported", Message: "this server's models stay in memory: they can't be unloaded"}
	}
	if err := u.Unload(name); err != nil {
		return err
	}
	s.tellModel(w, name)
	return nil
}

func (s *Server) modelName(w *response, r *http.Request) (string, error) {
	body, err := s.body(w, r)
	if err != nil {
		return "", err
	}
	return openai.DecodeModelName(body)
}

// tellModel answers with a model; "" is the only one.
func (s *Server) tellModel(w *response, name string) {
	for _, m := range s.backend.Models() {
		if m.ID == name || name == "" {
			w.json(http.StatusOK, openai.AppendModel(nil, m, m.ID))
			return
		}
	}
}

// withCause tells those who run the server why a model could not be loaded. Those
// who use it do not learn what its files are.
func withCause(err error) error {
	var e *llm.Error
	if !errors.As(err, &e) || e.Code != "model_not_loaded" || e.Err == nil {
		return err
	}
	told := *e
	told.Message = "the model could not be loaded: " + e.Err.Error()
	return &told
}

// live tells whether work moves on; a supervisor restarts what does not.
func (s *Server) live(w *response, _ *http.Request) error {
	w.state("unhealthy", s.health.Live())
	return nil
}

// ready tells whether to send requests here.
func (s *Server) ready(w *response, _ *http.Request) error {
	err := s.health.Ready()
	if err == nil {
		err = s.refusal()
	}
	w.state("not ready", err)
	return nil
}

// state answers a probe: 200, or 503 with the state and its reason.
func (w *response) state(bad string, err error) {
	status, body := http.StatusOK, map[string]string{"status": "ok"}
	if err != nil {
		status, body = http.StatusServiceUnavailable, map[string]string{"status": bad}
		// Whoever has no key learns what a supervisor needs, and not why.
		if w.caller != nil || w.s.ring() == nil {
			body["reason"] = err.Error()
		}
	}
	w.object(status, body)
}

func (s *Server) version(w *response, _ *http.Request) error {
	w.object(http.StatusOK, map[string]string{"version": s.opts().Version})
	return nil
}

func (w *response) object(status int, body map[string]string) {
	b, _ := json.Marshal(body) // a map of strings always marshals
	w.json(status, b)
}
