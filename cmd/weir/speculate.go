package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"weir/internal/builtin"
	"weir/internal/engine"
	"weir/internal/spec"
	"weir/internal/spec/draft"
	"weir/internal/weights"
)

// speculateOptions say what guesses tokens ahead. serve, run and bench share them.
type speculateOptions struct {
	Speculate     string `help:"Guess tokens ahead and check several in one step, which never changes an answer. ngram looks for what the text has said before; draft asks a smaller model; medusa and eagle ask heads trained on the model; auto takes what is there (--draft-model, --medusa or --eagle; the built-in model has a draft model), else ngram on a CPU and nothing on a GPU; off does not guess. Where it does not pay it turns itself off." enum:"auto,off,ngram,draft,medusa,eagle" default:"auto" placeholder:"auto" group:"Speculation"`
	DraftModel    string `help:"Draft model: a .gguf file or checkpoint of the same vocabulary." placeholder:"FILE" group:"Speculation"`
	Medusa        string `help:"Medusa heads: a .safetensors or .pt file, or its folder. (A .pt is read without running what is in it.)" placeholder:"PATH" group:"Speculation"`
	MedusaHeads   int    `help:"How many of the heads to use; 0: all." default:"0" group:"Speculation"`
	MedusaTopK    int    `name:"medusa-top-k" help:"How many of a head's likeliest tokens to consider, from 1 to 8; 0: 8." default:"0" group:"Speculation"`
	MedusaChoices string `help:"JSON file of the tree's nodes as the Medusa project writes them, such as [[0],[0,0],[1]]; left out: any, as they prove themselves." placeholder:"FILE" group:"Speculation"`
	Eagle         string `help:"EAGLE heads (EAGLE-1, -2 or -3): a .safetensors or .bin file, or its folder, with the config.json beside it." placeholder:"PATH" group:"Speculation"`
}

// kind is what --speculate comes to, for a model; "": nothing.
func (o *speculateOptions) kind(m modelArg) string {
	switch {
	case o.Speculate == "off":
		return ""
	case o.Speculate != "auto":
		return o.Speculate
	case o.Eagle != "":
		return engine.SpeculateEagle
	case o.Medusa != "":
		return engine.SpeculateMedusa
	case o.DraftModel != "" || m.Model == "":
		return engine.SpeculateDraft
	}
	return ""
}

// onCPU is what auto comes to where nothing that was trained is there: n-grams need
// nothing, and what they may cost is bounded. On a GPU they are left to the user: what
// rows cost there, and that answers stay within tolerance alone, is another matter.
func (o *speculateOptions) onCPU(s engine.Speculation) engine.Speculation {
	if o.Speculate == "auto" && s.Kind == "" {
		s.Kind = engine.SpeculateNGram
	}
	return s
}

// Validate is called by those who embed the options.
func (o *speculateOptions) Validate() error {
	given := 0
	for _, path := range []string{o.DraftModel, o.Medusa, o.Eagle} {
		if path != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return errors.New("only one of --draft-model, --medusa and --eagle can guess")
	case o.DraftModel != "" && o.Speculate != "auto" && o.Speculate != "draft":
		return fmt.Errorf("--draft-model is for --speculate draft, not %s", o.Speculate)
	case o.Medusa != "" && o.Speculate != "auto" && o.Speculate != "medusa":
		return fmt.Errorf("--medusa is for --speculate medusa, not %s", o.Speculate)
	case o.Eagle != "" && o.Speculate != "auto" && o.Speculate != "eagle":
		return fmt.Errorf("--eagle is for --speculate eagle, not %s", o.Speculate)
	case o.Speculate == "eagle" && o.Eagle == "":
		return errors.New("--speculate eagle needs the heads: give --eagle PATH")
	case o.MedusaTopK < 0 || o.MedusaTopK > spec.MaxRank:
		return fmt.Errorf("--medusa-top-k is %d; it must be from 1 to %d, or 0 for that", o.MedusaTopK, spec.MaxRank)
	case o.MedusaHeads < 0:
		return fmt.Errorf("--medusa-heads is %d; it must be positive, or 0 for all", o.MedusaHeads)
	}
	return nil
}

// there tells whether what --speculate names has its model or heads, or why not.
func (o *speculateOptions) there(m modelArg) (bool, string) {
	switch {
	case o.Speculate == "draft" && o.DraftModel == "" && m.Model != "":
		return false, "no --draft-model"
	case o.Speculate == "medusa" && o.Medusa == "" && m.Model != "":
		return false, "no --medusa"
	case o.Speculate == "eagle" && o.Eagle == "":
		return false, "no --eagle"
	}
	return true, ""
}

// open makes what guesses for a model. The file, if there is one, is the caller's
// to close once the engine has ended.
func (o *speculateOptions) open(m modelOptions) (s engine.Speculation, err error) {
	s.Kind = o.kind(m.modelArg)
	how := weights.Options{Load: loads[m.Load]}
	switch s.Kind {
	case engine.SpeculateDraft:
		s.Draft, err = o.draftModel(m.modelArg, how)
	case engine.SpeculateMedusa:
		err = o.medusaHeads(&s, m.modelArg, how)
	case engine.SpeculateEagle:
		if s.Draft, err = weights.OpenHeads(o.Eagle, how); err == nil {
			s.Config, _ = s.Draft.JSON("config.json")
		}
	}
	return s, err
}

func (o *speculateOptions) draftModel(m modelArg, how weights.Options) (*weights.File, error) {
	switch {
	case o.DraftModel != "":
		return modelArg{Model: o.DraftModel}.openFile(how.Load, nil)
	case m.Model == "":
		return weights.OpenBytes(builtin.Name+"-draft", builtin.Draft())
	}
	return nil, errors.New("--speculate draft needs a smaller model of the same vocabulary: give --draft-model FILE, or use --speculate ngram, which needs none")
}

func (o *speculateOptions) medusaHeads(s *engine.Speculation, m modelArg, how weights.Options) (err error) {
	s.Medusa = draft.MedusaOptions{Heads: o.MedusaHeads, TopK: o.MedusaTopK}
	if s.Medusa.Choices, err = o.choices(); err != nil {
		return err
	}
	switch {
	case o.Medusa != "":
		if s.Draft, err = weights.OpenHeads(o.Medusa, how); err == nil {
			s.Config, _ = s.Draft.JSON("config.json")
		}
	case m.Model == "":
		s.Config = builtin.MedusaConfig()
		s.Draft, err = weights.OpenSafetensors(builtin.Name+"-medusa", builtin.MedusaHeads())
	default:
		err = errors.New("--speculate medusa needs heads that were trained on this model: give --medusa PATH, or use --speculate ngram, which needs none")
	}
	return err
}

func (o *speculateOptions) choices() (list [][]int32, err error) {
	if o.MedusaChoices == "" {
		return nil, nil
	}
	b, err := os.ReadFile(o.MedusaChoices)
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err == nil && len(list) == 0 {
		err = errors.New("the list is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("--medusa-choices %s: %w; it must be a list of lists of ranks such as [[0],[0,0],[1]]", o.MedusaChoices, err)
	}
	return list, nil
}

// logSpeculation tells when guessing goes off by itself, and on again: in the middle of
// an answer only to who asks for every detail.
func (e *engineOptions) logSpeculation(log *slog.Logger) func(engine.SpeculationStatus) {
	level := slog.LevelInfo
	if e.talking {
		level = slog.LevelDebug
	}
	return func(s engine.SpeculationStatus) {
		if s.On {
			log.Log(context.Background(), level, "speculation is on again", "proposer", s.Proposer)
		} else {
			log.Log(context.Background(), level, "speculation is off", "proposer", s.Proposer, "why", s.Why)
		}
	}
}
