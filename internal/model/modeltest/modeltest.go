// Package modeltest makes small checkpoints that anyone can make again.
//
// Every number comes from the checkpoint's and the tensor's name by a formula
// that tools/reference/checkpoint.py follows too, so that goldens hold token
// ids and logits but no weights. A checkpoint is written in either format: as
// Hugging Face has it, or as a GGUF with matrices of any type.
package modeltest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"weir/internal/weights"
)

// Checkpoint is a model of random weights.
type Checkpoint struct {
	Name   string
	Config map[string]any // config.json
	specs  []spec
	shape  shape
}

// spec is a tensor: centre + scale*u, with u uniform in [-1, 1).
type spec struct {
	name          string // Hugging Face's
	shape         []int
	centre, scale float32
}

// shape is what the configuration says of sizes.
type shape struct {
	family                                         string
	layers, width, ffn, heads, kvHeads, dim, vocab int
	qkvBias, outputBias, mlpBias, headNorms, tied  bool
}

// New lists the tensors of a configuration, which must name every size.
func New(name string, config map[string]any) *Checkpoint {
	c := &Checkpoint{Name: name, Config: config}
	family := c.text("model_type")
	biased := c.flag("attention_bias")
	c.shape = shape{
		family: family, layers: c.count("num_hidden_layers"), width: c.count("hidden_size"), ffn: c.count("intermediate_size"),
		heads: c.count("num_attention_heads"), kvHeads: c.count("num_key_value_heads"), dim: c.count("head_dim"),
		vocab:   c.count("vocab_size"),
		qkvBias: biased || family == "qwen2", outputBias: biased, mlpBias: c.flag("mlp_bias"),
		headNorms: family == "qwen3", tied: c.flag("tie_word_embeddings"),
	}
	if c.shape.dim == 0 {
		c.shape.dim = c.shape.width / c.shape.heads
	}
	c.list()
	return c
}

func (c *Checkpoint) text(key string) string { s, _ := c.Config[key].(string); return s }
func (c *Checkpoint) flag(key string) bool   { b, _ := c.Config[key].(bool); return b }

// number reads what came from JSON (float64) or from a Go literal.
func (c *Checkpoint) number(key string) float64 {
	switch v := c.Config[key].(type) {
	case float64:
		return v
	case int:
		return float64(v)
	}
	return 0
}

func (c *Checkpoint) count(key string) int { return int(c.number(key)) }

// list fills specs. Embeddings are small so that a wrong epsilon shows; queries
// and keys are large so that attention is sharp and a wrong rotation or window
// shows; logits are large so that there is a best one.
func (c *Checkpoint) list() {
	s := c.shape
	c.norm("model.embed_tokens.weight", s.vocab, s.width)
	c.specs[0].centre, c.specs[0].scale = 0, 1.0/64
	for i := range s.layers {
		layer := fmt.Sprintf("model.layers.%d.", i)
		attn, mlp := layer+"self_attn.", layer+"mlp."
		c.norm(layer+"input_layernorm.weight", s.width)
		c.linear(attn+"q_proj", s.heads*s.dim, s.width, 1, s.qkvBias)
		c.linear(attn+"k_proj", s.kvHeads*s.dim, s.width, 1, s.qkvBias)
		c.linear(attn+"v_proj", s.kvHeads*s.dim, s.width, 1, s.qkvBias)
		c.linear(attn+"o_proj", s.width, s.heads*s.dim, 1, s.outputBias)
		if s.headNorms {
			c.norm(attn+"q_norm.weight", s.dim)
			c.norm(attn+"k_norm.weight", s.dim)
		}
		c.norm(layer+"post_attention_layernorm.weight", s.width)
		c.linear(mlp+"gate_proj", s.ffn, s.width, 1, s.mlpBias)
		c.linear(mlp+"up_proj", s.ffn, s.width, 1, s.mlpBias)
		c.linear(mlp+"down_proj", s.width, s.ffn, 1, s.mlpBias)
	}
	c.norm("model.norm.weight", s.width)
	if !s.tied {
		c.linear("lm_head", s.vocab, s.width, 2, false)
	}
}

func (c *Checkpoint) norm(name string, shape ...int) {
	c.specs = append(c.specs, spec{name, shape, 1, 0.25})
}

func (c *Checkpoint) linear(name string, rows, cols int, gain float32, biased bool) {
	c.specs = append(c.specs, spec{name + ".weight", []int{rows, cols}, 0, gain * fan(cols)})
	if biased {
		c.specs = append(c.specs, spec{name + ".bias", []int{rows}, 0, 0.5})
	}
}

// fan is a power of two near sqrt(3/cols): products with a matrix of this scale
// keep their size.
func fan(cols int) float32 {
	scale := float32(1)
	for n := 12; n <= cols; n *= 4 {
		scale /= 2
	}
	return scale
}

// stream is the random numbers of a name: SplitMix64 from its FNV-1a hash.
type stream uint64

func newStream(name string) stream {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return stream(h.Sum64())
}

func (s *stream) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// uniform is in [-1, 1), exact in 24 bits.
func (s *stream) uniform() float32 { return float32(float32(s.next()>>40)*(1.0/(1<<23))) - 1 }

// values are a tensor's numbers, rows in order.
func (c *Checkpoint) values(s spec) []float32 {
	n := 1
	for _, d := range s.shape {
		n *= d
	}
	r := newStream(c.Name + "/" + s.name)
	x := make([]float32, n)
	for i := range x {
		x[i] = s.centre + float32(s.scale*r.uniform())
	}
	return x
}

// Prompt is n token ids.
func (c *Checkpoint) Prompt(n int) []int32 {
	r := newStream(c.Name + "/ids")
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(int(r.next()>>33) % c.shape.vocab)
	}
	return ids
}

// WriteHF writes config.json and model.safetensors (F32) into dir.
func (c *Checkpoint) WriteHF(dir string) error {
	config, err := json.Marshal(c.Config)
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	var tensors []weights.Tensor
	for _, s := range c.specs {
		tensors = append(tensors, weights.Tensor{Name: s.name, Type: weights.F32, Shape: s.shape, Data: Plain(weights.F32, c.values(s))})
	}
	file, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := weights.WriteSafetensors(file, tensors); err != nil {
		file.Close()
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return file.Close()
}
