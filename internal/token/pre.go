package token

import (
	"fmt"
	"slices"
	"strings"
)

// preset is what the name under tokenizer.ggml.pre stands for.
type preset struct {
	patterns     []string // applied one after another, each to the pieces of the one before
	ignoreMerges bool     // a word that is a token is that token
	addBOS       bool     // unless the file says otherwise
}

var (
	presetGPT2    = preset{patterns: []string{patternGPT2}}
	presetLlama3  = preset{patterns: []string{patternLlama3}, ignoreMerges: true, addBOS: true}
	presetDigits  = preset{patterns: []string{patternDigit, patternGPT2}}
	presetGroups3 = preset{patterns: []string{patternLlama3}}
	presetQwen2   = preset{patterns: []string{patternQwen2}}
	presetQwen35  = preset{patterns: []string{patternQwen35}}
	presetGPT4o   = preset{patterns: []string{patternGPT4o}}
	presetTekken  = preset{patterns: []string{patternTekken}, ignoreMerges: true, addBOS: true}
	presetFalcon  = preset{patterns: []string{patternFalconPunct, patternGPT2, patternASCIIDigits3}}
	presetV3      = preset{patterns: []string{patternDigits3, patternCJKKana, patternDeepSeekV3}}
	presetCoder   = preset{patterns: []string{patternBreak, patternSpacedWord, patternSpacedPunct, patternCJK, patternDigit}}
	presetLLM     = preset{patterns: []string{patternBreak, patternCased, patternWidePunct, `\s+$`, patternCJK, patternDigits}}
	presetBloom   = preset{patterns: []string{` ?[^(\s|.,!?…。，、।۔،)]+`}}
	presetViking  = preset{patterns: []string{` ?[^(\s|.,!?…。，、।۔،)]+`, patternDigit}}
	presetBailing = preset{patterns: []string{
		`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`}}
	presetSeed = preset{patterns: []string{
		contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+` + tail}}
	presetExaoneMoE = preset{patterns: []string{
		contractions + `|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`}}
)

// presets are the names in use under tokenizer.ggml.pre. A name that is not
// here is refused: encoding with the wrong pattern gives wrong tokens without
// a sign of it.
func presets() map[string]preset {
	m := map[string]preset{
		"falcon": presetFalcon, "deepseek-llm": presetLLM, "deepseek-coder": presetCoder,
		"stablelm2": presetQwen2, "hunyuan": presetQwen2, "solar-open": presetQwen2, "grok-2": presetQwen2,
		"megrez": presetQwen2, "qwen35": presetQwen35, "tekken": presetTekken, "minimax-m2": presetGPT4o,
		"viking": presetViking, "seed-coder": presetSeed, "exaone-moe": presetExaoneMoE,
	}
	for names, p := range map[string]preset{
		"default gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe gigachat a.x-4.0 " +
			"mellum modern-bert exaone4 mpt olmo jais trillion granite-docling": presetGPT2,
		"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2":     presetLlama3,
		"dbrx smaug-bpe glm4 chatglm-bpe":                                       presetGroups3,
		"starcoder refact command-r smollm codeshell exaone minerva-7b mellum2": presetDigits,
		"qwen2 deepseek-r1-qwen kormo f2llmv2":                                  presetQwen2,
		"gpt-4o llama4 kanana2":                                                 presetGPT4o,
		"deepseek-v3 hunyuan-dense joyai-llm":                                   presetV3,
		"poro-chat bloom gpt3-finnish":                                          presetBloom,
		"bailingmoe bailingmoe2 llada-moe":                                      presetBailing,
	} {
		for name := range strings.FieldsSeq(names) {
			m[name] = p
		}
	}
	return m
}

// presetNamed returns the preset of a tokenizer.ggml.pre. A file without the
// key gets GPT-2's pattern, the one that the model name "gpt2" implies.
func presetNamed(name string, given bool) (preset, error) {
	if !given {
		return presetGPT2, nil
	}
	all := presets()
	if p, ok := all[name]; ok {
		return p, nil
	}
	known := make([]string, 0, len(all))
	for n := range all {
		known = append(known, n)
	}
	slices.Sort(known)
	return preset{}, fmt.Errorf("tokenizer.ggml.pre is %s, a pre-tokeniser that weir does not know, and guessing would give wrong tokens; known are %s",
		quote(name), strings.Join(known, ", "))
}
