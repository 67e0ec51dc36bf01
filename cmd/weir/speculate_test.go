package main

import (
	"log/slog"
	"strings"
	"testing"

	"weir/internal/engine"
)

// What auto comes to: what was trained and is there, else n-grams, on a CPU alone.
func TestAutoSpeculates(t *testing.T) {
	given := modelArg{Model: "model.gguf"}
	for _, c := range []struct {
		options    speculateOptions
		model      modelArg
		gpu, onCPU string
	}{
		{speculateOptions{Speculate: "auto"}, given, "", engine.SpeculateNGram},
		{speculateOptions{Speculate: "auto"}, modelArg{}, engine.SpeculateDraft, engine.SpeculateDraft},
		{speculateOptions{Speculate: "auto", DraftModel: "small.gguf"}, given, engine.SpeculateDraft, engine.SpeculateDraft},
		{speculateOptions{Speculate: "auto", Medusa: "heads"}, given, engine.SpeculateMedusa, engine.SpeculateMedusa},
		{speculateOptions{Speculate: "auto", Eagle: "heads"}, given, engine.SpeculateEagle, engine.SpeculateEagle},
		{speculateOptions{Speculate: "off"}, given, "", ""},
		{speculateOptions{Speculate: "off"}, modelArg{}, "", ""},
		{speculateOptions{Speculate: "ngram"}, modelArg{}, engine.SpeculateNGram, engine.SpeculateNGram},
	} {
		s := engine.Speculation{Kind: c.options.kind(c.model)}
		if got := c.options.onCPU(s).Kind; s.Kind != c.gpu || got != c.onCPU {
			t.Errorf("%+v of %q: %q on a GPU and %q on a CPU, want %q and %q", c.options, c.model.Model, s.Kind, got, c.gpu, c.onCPU)
		}
	}
}

// Where somebody reads an answer, speculation that goes off and on is told to nobody
// who did not ask for it.
func TestSpeculationIsNotToldIntoAnAnswer(t *testing.T) {
	for _, talking := range []bool{false, true} {
		var log strings.Builder
		e := engineOptions{talking: talking}
		tell := e.logSpeculation(slog.New(slog.NewTextHandler(&log, nil)))
		tell(engine.SpeculationStatus{Proposer: "ngram", Why: "it does not pay"})
		tell(engine.SpeculationStatus{Proposer: "ngram", On: true})
		if said := strings.Contains(log.String(), "it does not pay") && strings.Contains(log.String(), "on again"); said == talking || talking && log.Len() > 0 {
			t.Errorf("talking %v: %q", talking, log.String())
		}
	}
}
