package model

import (
	"fmt"

	"weir/internal/weights"
)

// GenDefaults is how a model's makers want it sampled; nil: not said.
type GenDefaults struct {
	Sample            *bool // false: greedy, whatever the rest says
	Temperature       *float64
	TopK              *int
	TopP              *float64
	MinP              *float64
	TypicalP          *float64
	RepetitionPenalty *float64
	MaxNewTokens      *int
	EOS               []int32 // any of them ends a generation
}

const generationFile = "generation_config.json"

// Generation reads the sampling that a model comes with: from
// generation_config.json, or a GGUF's keys. A checkpoint without the file has
// no defaults, and its EOS is config.json's.
func Generation(f *weights.File) (GenDefaults, error) {
	if f.Format() == weights.GGUF {
		return generationGGUF(f.Meta()), nil
	}
	var g GenDefaults
	if data, ok := f.JSON(generationFile); ok {
		r, err := parseFields(generationFile, data)
		if err != nil {
			return g, fmt.Errorf("%s: %w", f.Name(), err)
		}
		if g = r.generation(); *r.err != nil {
			return g, fmt.Errorf("%s: %w", f.Name(), *r.err)
		}
	}
	if data, ok := f.JSON(configFile); ok && g.EOS == nil {
		if r, err := parseFields(configFile, data); err == nil {
			g.EOS = r.ids("eos_token_id")
		}
	}
	return g, nil
}

func (r fields) generation() GenDefaults {
	var g GenDefaults
	r.read("do_sample", "true or false", &g.Sample)
	r.read("temperature", "a number", &g.Temperature)
	r.read("top_k", "a whole number", &g.TopK)
	r.read("top_p", "a number", &g.TopP)
	r.read("min_p", "a number", &g.MinP)
	r.read("typical_p", "a number", &g.TypicalP)
	r.read("repetition_penalty", "a number", &g.RepetitionPenalty)
	r.read("max_new_tokens", "a whole number", &g.MaxNewTokens)
	g.EOS = r.ids("eos_token_id")
	return g
}

func generationGGUF(m *weights.Metadata) GenDefaults {
	number := func(key string) *float64 {
		if v, ok := m.Float("general.sampling." + key); ok {
			return &v
		}
		return nil
	}
	g := GenDefaults{
		Temperature:       number("temp"),
		TopP:              number("top_p"),
		MinP:              number("min_p"),
		RepetitionPenalty: number("penalty_repeat"),
	}
	if k, ok := m.Int("general.sampling.top_k"); ok {
		n := int(k)
		g.TopK = &n
	}
	for _, name := range []string{"eos", "eot", "eom"} {
		g.EOS = append(g.EOS, tokenID(m, name)...)
	}
	return g
}
