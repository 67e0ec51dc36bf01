package modeltest

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"weir/internal/weights"
)

// GGUF writes the checkpoint as a GGUF, with the matrices in type t. Types other
// than F32, F16 and BF16 hold random blocks, not the numbers of the other forms.
func (c *Checkpoint) GGUF(t weights.Type) ([]byte, error) {
	var b bytes.Buffer
	if err := weights.WriteGGUF(&b, c.meta(), c.tensorsGGUF(t)); err != nil {
		return nil, fmt.Errorf("write checkpoint as GGUF: %w", err)
	}
	return b.Bytes(), nil
}

// arch is what GGUF calls the family: Mistral is a llama there.
func (c *Checkpoint) arch() string {
	if c.shape.family == "mistral" {
		return "llama"
	}
	return c.shape.family
}

func (c *Checkpoint) tensorsGGUF(t weights.Type) []weights.Tensor {
	var out []weights.Tensor
	for _, s := range c.specs {
		gguf := weights.Tensor{Name: ggufName(s.name), Type: weights.F32, Shape: s.shape}
		switch {
		case len(s.shape) == 2 && halves[t] != nil:
			gguf.Type = t
			gguf.Data = blocks(t, newStream(c.Name+"/"+s.name), s.shape[0]*s.shape[1], s.scale)
		case len(s.shape) == 2:
			gguf.Type = t
			gguf.Data = Plain(t, c.permuted(s))
		default:
			gguf.Data = Plain(weights.F32, c.permuted(s))
		}
		out = append(out, gguf)
	}
	if d := c.divisors(); d != nil {
		out = append(out, weights.Tensor{Name: "rope_freqs.weight", Type: weights.F32, Shape: []int{len(d)}, Data: Plain(weights.F32, d)})
	}
	return out
}

// permuted are a tensor's numbers, with the rows of queries and keys in the
// order of GGUF's llama: those that rotate together, i and i+dim/2, side by side.
func (c *Checkpoint) permuted(s spec) []float32 {
	x := c.values(s)
	if c.arch() != "llama" || !strings.Contains(s.name, "q_proj") && !strings.Contains(s.name, "k_proj") {
		return x
	}
	cols := len(x) / s.shape[0]
	out := make([]float32, 0, len(x))
	for row := range s.shape[0] {
		head, i := row/c.shape.dim, row%c.shape.dim
		from := head*c.shape.dim + i/2 + i%2*c.shape.dim/2
		out = append(out, x[from*cols:(from+1)*cols]...)
	}
	return out
}

var ggufParts = strings.NewReplacer(
	"model.embed_tokens", "token_embd", "model.norm", "output_norm", "lm_head", "output", "model.layers", "blk",
	"input_layernorm", "attn_norm", "post_attention_layernorm", "ffn_norm",
	"self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k", "self_attn.v_proj", "attn_v", "self_attn.o_proj", "attn_output",
	"self_attn.q_norm", "attn_q_norm", "self_attn.k_norm", "attn_k_norm",
	"mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up", "mlp.down_proj", "ffn_down",
)

func ggufName(hf string) string { return ggufParts.Replace(hf) }

// meta are the key-values. The tokeniser is for programs that will not load a
// model without one.
func (c *Checkpoint) meta() []weights.KV {
	s, arch := c.shape, c.arch()
	kv := []weights.KV{{Key: "general.architecture", Value: arch}, {Key: "general.name", Value: c.Name}}
	add := func(key string, value any) { kv = append(kv, weights.KV{Key: arch + "." + key, Value: value}) }
	add("block_count", uint32(s.layers))
	add("context_length", uint32(c.count("max_position_embeddings")))
	add("embedding_length", uint32(s.width))
	add("feed_forward_length", uint32(s.ffn))
	add("attention.head_count", uint32(s.heads))
	add("attention.head_count_kv", uint32(s.kvHeads))
	add("attention.key_length", uint32(s.dim))
	add("attention.value_length", uint32(s.dim))
	add("attention.layer_norm_rms_epsilon", float32(c.number("rms_norm_eps")))
	add("rope.dimension_count", uint32(s.dim))
	add("vocab_size", uint32(s.vocab))
	if w := c.count("sliding_window"); w > 0 && (s.family == "mistral" || c.flag("use_sliding_window")) {
		add("attention.sliding_window", uint32(w))
	}
	if c.flag("use_sliding_window") {
		add("attention.sliding_window_pattern", c.windowed())
	}
	c.rope(add)
	return append(kv, c.tokenizer()...)
}

func (c *Checkpoint) windowed() []bool {
	out := make([]bool, c.shape.layers)
	for i := range out {
		out[i] = i >= c.count("max_window_layers")
	}
	return out
}

// scaling is the object that says how rotations scale, empty if they do not.
func (c *Checkpoint) scaling() *Checkpoint {
	for _, key := range []string{"rope_parameters", "rope_scaling"} {
		if m, ok := c.Config[key].(map[string]any); ok {
			return &Checkpoint{Config: m}
		}
	}
	return &Checkpoint{}
}

func (c *Checkpoint) scalingType() string {
	s := c.scaling()
	return s.text("rope_type") + s.text("type") // one of them
}

func (c *Checkpoint) theta() float64 {
	if t := c.scaling().number("rope_theta"); t != 0 {
		return t
	}
	return c.number("rope_theta")
}

func (c *Checkpoint) rope(add func(string, any)) {
	s := c.scaling()
	add("rope.freq_base", float32(c.theta()))
	switch c.scalingType() {
	case "linear":
		add("rope.scaling.type", "linear")
		add("rope.scaling.factor", float32(s.number("factor")))
	case "yarn":
		add("rope.scaling.type", "yarn")
		add("rope.scaling.factor", float32(s.number("factor")))
		add("rope.scaling.original_context_length", uint32(s.count("original_max_position_embeddings")))
		if f := s.number("attention_factor"); f != 0 { // there the file's factor multiplies YaRN's own
			add("rope.scaling.attn_factor", float32(f/(1+0.1*math.Log(s.number("factor")))))
		}
	}
}

// divisors is Llama 3's scaling as GGUF keeps it: what each frequency is divided
// by, from the wavelength in the original context.
func (c *Checkpoint) divisors() []float32 {
	s := c.scaling()
	if c.scalingType() != "llama3" {
		return nil
	}
	out := make([]float32, c.shape.dim/2)
	for i := range out {
		wave := 2 * math.Pi * math.Pow(c.theta(), 2*float64(i)/float64(c.shape.dim))
		turns := s.number("original_max_position_embeddings") / wave
		low, high, factor := s.number("low_freq_factor"), s.number("high_freq_factor"), s.number("factor")
		switch {
		case turns > high:
			out[i] = 1
		case turns < low:
			out[i] = float32(factor)
		default:
			blend := (turns - low) / (high - low)
			out[i] = float32(1 / ((1-blend)/factor + blend))
		}
	}
	return out
}

// tokenizer is a vocabulary of numbered words: any sequence of them is valid
// UTF-8, which servers that parse their own output insist on.
func (c *Checkpoint) tokenizer() []weights.KV {
	const unknown, control, normal, bytePiece = 2, 3, 1, 6
	tokens, kinds := []string{"<unk>", "<s>", "</s>", "<0x0A>"}, []int32{unknown, control, control, bytePiece}
	for i := len(tokens); i < c.shape.vocab; i++ {
		tokens, kinds = append(tokens, fmt.Sprintf("w%d", i)), append(kinds, normal)
	}
	return []weights.KV{
		{Key: "tokenizer.ggml.model", Value: "llama"},
		{Key: "tokenizer.ggml.tokens", Value: tokens},
		{Key: "tokenizer.ggml.scores", Value: make([]float32, len(tokens))},
		{Key: "tokenizer.ggml.token_type", Value: kinds},
		{Key: "tokenizer.ggml.bos_token_id", Value: uint32(1)},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(2)},
	}
}
