package sample

import (
	"errors"
	"math"
	"testing"

	"weir/internal/llm"
)

func TestValidate(t *testing.T) {
	p := params(nil)
	if err := Validate(&p, 10); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	p = params(func(p *llm.Params) {
		p.Temperature, p.TopK, p.TopP, p.MinP, p.TypicalP, p.MinTokens = 0, 40, 0.1, 1, 0.5, 3
		p.RepetitionPenalty, p.FrequencyPenalty, p.PresencePenalty = 1.1, -2, 2
		p.LogitBias, p.StopTokens = map[int32]float64{0: -100, 9: 100}, []int32{0, 9}
	})
	if err := Validate(&p, 10); err != nil {
		t.Errorf("parameters within their ranges are refused: %v", err)
	}
	cases := []struct {
		param  string
		change func(*llm.Params)
	}{
		{"temperature", func(p *llm.Params) { p.Temperature = -0.1 }},
		{"temperature", func(p *llm.Params) { p.Temperature = math.NaN() }},
		{"temperature", func(p *llm.Params) { p.Temperature = math.Inf(1) }},
		{"top_k", func(p *llm.Params) { p.TopK = -1 }},
		{"top_p", func(p *llm.Params) { p.TopP = 1.01 }},
		{"min_p", func(p *llm.Params) { p.MinP = -0.1 }},
		{"typical_p", func(p *llm.Params) { p.TypicalP = 2 }},
		{"repetition_penalty", func(p *llm.Params) { p.RepetitionPenalty = 0 }},
		{"frequency_penalty", func(p *llm.Params) { p.FrequencyPenalty = 2.1 }},
		{"presence_penalty", func(p *llm.Params) { p.PresencePenalty = -2.1 }},
		{"min_tokens", func(p *llm.Params) { p.MinTokens = -1 }},
		{"logit_bias", func(p *llm.Params) { p.LogitBias = map[int32]float64{10: 1} }},
		{"logit_bias", func(p *llm.Params) { p.LogitBias = map[int32]float64{-1: 1} }},
		{"logit_bias", func(p *llm.Params) { p.LogitBias = map[int32]float64{1: math.NaN()} }},
		{"logit_bias", func(p *llm.Params) { p.LogitBias = map[int32]float64{1: 101} }},
		{"stop_token_ids", func(p *llm.Params) { p.StopTokens = []int32{10} }},
	}
	for _, c := range cases {
		p := params(c.change)
		var e *llm.Error
		if err := Validate(&p, 10); !errors.As(err, &e) || e.Kind != llm.Invalid || e.Param != c.param {
			t.Errorf("%v, want an invalid %s", err, c.param)
		}
	}
}
