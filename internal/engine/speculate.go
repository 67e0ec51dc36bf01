package engine

import (
	"bytes"
	"fmt"
	"strings"

	"weir/internal/backend"
	"weir/internal/model"
	"weir/internal/spec"
	"weir/internal/spec/draft"
	"weir/internal/token"
	"weir/internal/weights"
)

// The kinds of speculation.
const (
	SpeculateNGram  = "ngram"
	SpeculateDraft  = "draft"
	SpeculateMedusa = "medusa"
	SpeculateEagle  = "eagle"
	speculateGiven  = "given"
)

// Speculation says what guesses ahead. The zero value: nothing does.
type Speculation struct {
	Kind string // one of the Speculate... constants, or "" for none

	// Draft is the draft model, or the heads; it must stay open until the engine is
	// closed.
	Draft *weights.File
	// Config is the heads' config.json; nil: their tensors tell.
	Config []byte
	Medusa draft.MedusaOptions

	// Proposer is one that somebody made, for measuring and for tests; it needs no
	// Kind.
	Proposer spec.Proposer
	// Options, if any is set, take the place of what the proposer is known to do.
	Options DraftOptions
}

// drafting is a Speculation whose weights are bound.
type drafting struct {
	Speculation
	model  *draft.Model
	medusa *draft.Medusa
	eagle  *draft.Eagle
	limits draft.Limits
}

// load binds what o names, and checks that it fits the model that f is.
func (s Speculation) load(f *weights.File, p parts, m model.Model, o LoadOptions) (d drafting, err error) {
	d = drafting{Speculation: s, limits: draft.Limits{Seqs: o.Limits.Running, Rows: o.Limits.BatchTokens}}
	if s.Proposer != nil {
		d.Kind = speculateGiven
	}
	switch d.Kind {
	case SpeculateDraft:
		if err = sameVocabulary(f, p.tokenizer, s.Draft); err == nil {
			d.model, err = draft.Load(s.Draft, o.Backend)
		}
	case SpeculateMedusa:
		d.medusa, err = draft.LoadMedusa(s.Draft, s.Config, o.Backend, p.config.Width, p.config.Vocab, s.Medusa)
	case SpeculateEagle:
		d.eagle, err = draft.LoadEagle(s.Draft, s.Config, o.Backend, m)
	case "", speculateGiven, SpeculateNGram:
	default:
		err = fmt.Errorf("engine: there is no speculation of the kind %q", s.Kind)
	}
	return d, err
}

// add counts what drafting takes into a plan of memory: in, of the model alone.
func (d *drafting) add(in PlanInput, b backend.Backend) PlanInput {
	take := func(inFile int64, p backend.Plan) int64 {
		return weightBytes(b, in.ModelBytes, inFile) + streamBytes(b, p, p.Vocab)
	}
	limits := d.limits
	limits.Context = in.ModelCtx
	switch {
	case d.model != nil:
		in.Drafting = take(d.model.Bytes(), d.model.Plan(limits))
		in.DraftKV = d.model.KVGroups()
	case d.medusa != nil:
		in.Drafting = take(d.medusa.Bytes(), d.medusa.Plan(limits))
	case d.eagle != nil:
		in.Drafting = take(d.eagle.Bytes(), d.eagle.Plan(limits))
		in.DraftKV = d.eagle.KVGroups()
	}
	return in
}

// start makes the proposer, in the memory that the plan gives it.
func (d *drafting) start(p MemoryPlan) (spec.Proposer, DraftOptions, error) {
	o := d.Options
	d.limits.Context = p.Context
	wide := func(width int, allowed spec.Tree) {
		if o.Width == 0 {
			o.Width, o.Allowed = width, allowed
		}
	}
	switch {
	case d.Kind == speculateGiven:
		return d.Proposer, o, nil
	case d.Kind == SpeculateNGram:
		wide(2, spec.Tree{})
		return spec.NewNGram(), o, nil
	case d.model != nil:
		d.limits.Context = min(d.limits.Context, d.model.Context())
		wide(3, d.model.Allowed())
		return d.model, o, d.model.Start(d.limits, p.DraftKV)
	case d.medusa != nil:
		wide(d.medusa.Width(), d.medusa.Allowed())
		o.Depth = d.medusa.Depth()
		return d.medusa, o, d.medusa.Start(d.limits)
	case d.eagle != nil:
		wide(3, d.eagle.Allowed())
		return d.eagle, o, d.eagle.Start(d.limits, p.DraftKV)
	}
	return nil, o, nil
}

// sameVocabulary compares the tokens of a model with those of a draft model: they
// must be the same ids for the same bytes. One may have more at the end, as
// padding does.
func sameVocabulary(f *weights.File, want *token.Tokenizer, drafts *weights.File) error {
	have, err := Tokenizer(drafts)
	if err != nil {
		return fmt.Errorf("the draft model %s: %w", drafts.Name(), err)
	}
	var differ []string
	n, different := min(want.VocabSize(), have.VocabSize()), 0
	for id := range int32(n) {
		if bytes.Equal(want.Piece(id), have.Piece(id)) && want.IsSpecial(id) == have.IsSpecial(id) {
			continue
		}
		if different++; different <= 3 {
			differ = append(differ, fmt.Sprintf("%d is %.40q there and %.40q here", id, have.Token(id), want.Token(id)))
		}
	}
	switch {
	case different > 0:
		return fmt.Errorf("the draft model %s has another vocabulary than %s: %d of %d tokens differ (token %s); a draft model must have been trained with the same tokeniser, as the small models of the same family and generation are",
			drafts.Name(), f.Name(), different, n, strings.Join(differ, "; "))
	case want.VocabSize()-n > n/16 || have.VocabSize()-n > n/16:
		return fmt.Errorf("the draft model %s has %d tokens and %s has %d: their first %d are the same, but one has many that the other lacks; use a small model of the same family and generation",
			drafts.Name(), have.VocabSize(), f.Name(), want.VocabSize(), n)
	}
	return nil
}
