package sample

import (
	"maps"
	"math"
	"slices"

	"weir/internal/llm"
)

// Validate checks the parameters that a sampler uses against their ranges and
// the vocabulary. The error names the field as the API does.
func Validate(p *llm.Params, vocab int) error {
	for _, f := range []struct {
		name     string
		value    float64
		min, max float64
	}{
		{"temperature", p.Temperature, 0, math.MaxFloat64},
		{"top_k", float64(p.TopK), 0, math.MaxInt32},
		{"top_p", p.TopP, 0, 1},
		{"min_p", p.MinP, 0, 1},
		{"typical_p", p.TypicalP, 0, 1},
		{"repetition_penalty", p.RepetitionPenalty, 1e-3, 1e3},
		{"frequency_penalty", p.FrequencyPenalty, -2, 2},
		{"presence_penalty", p.PresencePenalty, -2, 2},
		{"min_tokens", float64(p.MinTokens), 0, math.MaxInt32},
	} {
		if f.value >= f.min && f.value <= f.max {
			continue
		}
		if f.max >= math.MaxInt32 {
			return llm.Invalidf(f.name, "%s is %v: it must be a finite number, at least %v", f.name, f.value, f.min)
		}
		return llm.Invalidf(f.name, "%s is %v: it must be from %v to %v", f.name, f.value, f.min, f.max)
	}
	return validateIDs(p, vocab)
}

func validateIDs(p *llm.Params, vocab int) error {
	for _, id := range slices.Sorted(maps.Keys(p.LogitBias)) {
		add := p.LogitBias[id]
		if id < 0 || int(id) >= vocab {
			return llm.Invalidf("logit_bias", "logit_bias names token %d: the model's tokens are 0 to %d", id, vocab-1)
		}
		if !(add >= -100 && add <= 100) {
			return llm.Invalidf("logit_bias", "logit_bias of token %d is %v: it must be from -100 to 100", id, add)
		}
	}
	for _, id := range p.StopTokens {
		if id < 0 || int(id) >= vocab {
			return llm.Invalidf("stop_token_ids", "stop_token_ids names token %d: the model's tokens are 0 to %d", id, vocab-1)
		}
	}
	return nil
}
