package modeltest

import (
	"maps"
	"strings"

	"weir/internal/weights"
)

// Peer is a model that another engine has run: tools/reference/peer asks it,
// and a test of package model compares.
type Peer struct {
	*Checkpoint
	Type weights.Type // of the matrices
}

// File is what the model's file is called.
func (p Peer) File() string {
	return p.Name + "-" + strings.ToLower(p.Type.String()) + ".gguf"
}

// Peers lists the models: a Llama in every type, whose widths are multiples of
// 256 so that each applies, and other families and rotations in a few.
func Peers() []Peer {
	var all []Peer
	for _, t := range weights.Types() {
		all = append(all, Peer{peer("wide-llama", nil), t})
	}
	scaling := func(m map[string]any) map[string]any { return map[string]any{"rope_scaling": m} }
	others := []*Checkpoint{
		peer("wide-llama-tied", map[string]any{"tie_word_embeddings": true, "num_key_value_heads": 4}),
		peer("wide-llama-bias", map[string]any{"attention_bias": true, "mlp_bias": true}),
		peer("wide-llama-linear", scaling(map[string]any{"type": "linear", "factor": 4.0})),
		peer("wide-llama-llama3", scaling(map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
			"high_freq_factor": 4.0, "original_max_position_embeddings": 16})),
		peer("wide-llama-yarn", scaling(map[string]any{"rope_type": "yarn", "factor": 4.0,
			"original_max_position_embeddings": 16})),
		peer("wide-qwen2", map[string]any{"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1e6}),
		peer("wide-qwen3", map[string]any{"model_type": "qwen3", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "head_dim": 96}),
	}
	for _, c := range others {
		for _, t := range []weights.Type{weights.F32, weights.F16, weights.Q8_0} {
			all = append(all, Peer{c, t})
		}
	}
	return all
}

func peer(name string, fields map[string]any) *Checkpoint {
	config := map[string]any{
		"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320, "max_position_embeddings": 128,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0,
	}
	maps.Copy(config, fields)
	return New(name, config)
}
