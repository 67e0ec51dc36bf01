package server

import (
	"encoding/json"
	"net/http"

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
	g, err := s.backend.Generator(id)
	if err != nil {
		return err
	}
	w.json(http.StatusOK, openai.AppendModel(nil, g.Model(), id))
	return nil
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
