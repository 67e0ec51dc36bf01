package model

import (
	"fmt"
	"slices"
	"strings"

	"weir/internal/weights"
)

// keys reads the metadata of one architecture, remembering the first mistake.
type keys struct {
	f    *weights.File
	m    *weights.Metadata
	arch string
	err  *error
}

func (k keys) fail(format string, args ...any) {
	if *k.err == nil {
		*k.err = fmt.Errorf(format, args...)
	}
}

// has reports whether "<arch>.<name>" is there.
func (k keys) has(name string) bool { return k.m.Has(k.arch + "." + name) }

// integer reads a count. Some files give one for each layer: where all are the
// same, that is the count.
func (k keys) integer(name string, otherwise int) int {
	key := k.arch + "." + name
	if all, ok := k.m.Int32s(key); ok && len(all) > 0 {
		if slices.Min(all) != slices.Max(all) {
			k.fail("key %q differs from layer to layer, which weir does not support", key)
		}
		return int(all[0])
	}
	v, ok := k.m.Int(key)
	switch {
	case ok:
		return int(v)
	case k.m.Has(key):
		k.fail("key %q is not a whole number: %s", key, damaged)
	}
	return otherwise
}

const damaged = "the file is damaged or was converted by a broken tool; get another copy"

func (k keys) need(name string) {
	if !k.has(name) {
		k.fail("key %q is missing: %s", k.arch+"."+name, damaged)
	}
}

func (k keys) needInteger(name string) int {
	k.need(name)
	return k.integer(name, 0)
}

func (k keys) number(name string, otherwise float64) float64 {
	key := k.arch + "." + name
	v, ok := k.m.Float(key)
	switch {
	case ok:
		return v
	case k.m.Has(key):
		k.fail("key %q is not a number: %s", key, damaged)
	}
	return otherwise
}

// hasTensor reports whether the file has a tensor, by which a GGUF says what
// config.json says in words.
func (k keys) hasTensor(name string) bool {
	_, ok := k.f.Tensor(name)
	return ok
}

// inspectGGUF reads the configuration of a GGUF.
func inspectGGUF(f *weights.File) (Config, family, error) {
	m := f.Meta()
	arch, ok := m.String("general.architecture")
	if !ok {
		return Config{}, family{}, fmt.Errorf("key \"general.architecture\" is missing: %s", damaged)
	}
	fam, ok := familyOf(func(f family) bool { return f.arch == arch })
	if !ok {
		return Config{}, family{}, fmt.Errorf("the architecture %.100q is not supported: weir runs %s (as a GGUF, mistral is %q)",
			arch, strings.Join(Families(), ", "), "llama")
	}
	k := keys{f: f, m: m, arch: arch, err: new(error)}
	c := Config{Family: fam.name}
	c.Name, _ = m.String("general.name")
	c.ChatTemplate, _ = m.String("tokenizer.chat_template")
	c.BOS, c.EOS = tokenID(m, "bos"), tokenID(m, "eos")
	k.common(&c)
	fam.gguf(k, &c)
	return c, fam, *k.err
}

// tokenID reads the id of a special token, if the file names it.
func tokenID(m *weights.Metadata, name string) []int32 {
	if id, ok := m.Int("tokenizer.ggml." + name + "_token_id"); ok && id >= 0 && id == int64(int32(id)) {
		return []int32{int32(id)}
	}
	return nil
}

// common reads what every family calls the same, and refuses what none has.
func (k keys) common(c *Config) {
	k.refuse()
	c.Layers = k.needInteger("block_count")
	c.Context = k.needInteger("context_length")
	c.Width = k.needInteger("embedding_length")
	c.FFN = k.needInteger("feed_forward_length")
	c.Heads = k.needInteger("attention.head_count")
	c.KVHeads = k.integer("attention.head_count_kv", c.Heads)
	k.need("attention.layer_norm_rms_epsilon")
	c.Eps = float32(k.number("attention.layer_norm_rms_epsilon", 0))
	c.Vocab = k.vocab()
	c.HeadDim = k.headDim(c)
	c.TiedEmbeddings = !k.hasTensor("output.weight")
	c.QKVBias = k.hasTensor("blk.0.attn_q.bias")
	c.OutputBias = k.hasTensor("blk.0.attn_output.bias")
	c.MLPBias = k.hasTensor("blk.0.ffn_up.bias")
	k.windows(c)
	k.rope(c)
}

// windows reads the sliding window, and which layers have it: all, or those of
// a list.
func (k keys) windows(c *Config) {
	const pattern = "attention.sliding_window_pattern"
	c.Window = k.integer("attention.sliding_window", 0)
	if !k.has(pattern) || c.Window == 0 {
		return
	}
	windowed, ok := k.m.Bools(k.arch + "." + pattern)
	if !ok {
		k.fail("key %q is not a list of true and false, one a layer: weir reads no other patterns", k.arch+"."+pattern)
	}
	c.Windowed = windowed
}

// vocab is the number of embeddings; the keys that repeat it must agree.
func (k keys) vocab() int {
	t, _ := k.f.Tensor("token_embd.weight")
	if len(t.Shape) != 2 {
		k.fail("tensor \"token_embd.weight\" is missing or not a matrix: the model is incomplete; get a complete copy")
		return 0
	}
	n := t.Rows()
	if said := k.integer("vocab_size", n); said != n {
		k.fail("key %q is %d, but token_embd.weight has %d rows: %s", k.arch+".vocab_size", said, n, damaged)
	}
	if words, ok := k.m.Len("tokenizer.ggml.tokens"); ok && words > n {
		k.fail("the tokeniser has %d tokens, but token_embd.weight only %d rows: %s", words, n, damaged)
	}
	return n
}

// headDim reads the dimensions of a head, by default an equal part of the width.
func (k keys) headDim(c *Config) int {
	if c.Heads < 1 {
		return 0 // an error of its own
	}
	equal := 0
	if c.Width%c.Heads == 0 {
		equal = c.Width / c.Heads
	}
	dim := k.integer("attention.key_length", equal)
	if dim == 0 {
		k.fail("the width %d is not a multiple of the %d heads, and key %q is missing: %s",
			c.Width, c.Heads, k.arch+".attention.key_length", damaged)
	}
	for _, name := range []string{"attention.value_length", "rope.dimension_count"} {
		if got := k.integer(name, dim); got != dim {
			k.fail("key %q is %d, but heads have %d dimensions: weir supports only equal ones", k.arch+"."+name, got, dim)
		}
	}
	return dim
}

// rope reads the rotations.
func (k keys) rope(c *Config) {
	c.RopeTheta = k.number("rope.freq_base", 10000)
	s := &c.Scaling
	s.Divisors = k.hasTensor("rope_freqs.weight")
	kind, _ := k.m.String(k.arch + ".rope.scaling.type")
	s.Factor = k.number("rope.scaling.factor", k.number("rope.scale_linear", 0))
	switch kind {
	case "none":
	case "", "linear":
		if s.Factor != 0 && s.Factor != 1 {
			s.Type = ScalingLinear
		}
	case "yarn":
		k.yarn(c)
	default:
		k.fail("rope scaling of type %.100q is not supported: weir supports none, linear, yarn and the tensor rope_freqs.weight (llama3)", kind)
	}
}

// yarn reads YaRN's keys. The file's attention factor multiplies the paper's.
func (k keys) yarn(c *Config) {
	s := &c.Scaling
	s.Type = ScalingYaRN
	s.OriginalContext = k.integer("rope.scaling.original_context_length", c.Context)
	s.BetaFast, s.BetaSlow = k.number("rope.scaling.yarn_beta_fast", 32), k.number("rope.scaling.yarn_beta_slow", 1)
	s.Attention = yarnAttention(s.Factor, 1) * k.number("rope.scaling.attn_factor", 1)
}

// neutralKeys lists the keys by which architectures like these differ in their
// arithmetic, with the value that means no difference; nil: none does.
var neutralKeys = []struct {
	name  string
	value []float64
}{
	{"attention.clamp_kqv", []float64{0}}, {"attention.max_alibi_bias", []float64{0}},
	{"attention.output_scale", []float64{1}}, {"attention.scale", []float64{0}},
	{"attention.temperature_length", nil}, {"attention.temperature_scale", []float64{0}},
	{"attention.value_scale", []float64{1}}, {"attn_logit_softcapping", []float64{0}},
	{"embedding_scale", []float64{0, 1}}, {"expert_count", []float64{0}},
	{"final_logit_softcapping", []float64{0}}, {"logit_scale", []float64{0, 1}},
	{"residual_scale", []float64{0, 1}}, {"rope.dimension_sections", nil},
	{"rope.scaling.alpha", []float64{0}}, {"rope.scaling.yarn_attn_factor", []float64{1}},
	{"rope.scaling.yarn_ext_factor", []float64{1}}, {"rope.scaling.yarn_log_multiplier", []float64{0}},
}

// refuse names what would change the output and is not computed.
func (k keys) refuse() {
	for _, n := range neutralKeys {
		if k.has(n.name) && (n.value == nil || !slices.Contains(n.value, k.number(n.name, 0))) {
			k.fail("key %q changes the model's arithmetic in a way that weir does not support for %s",
				k.arch+"."+n.name, strings.Join(Families(), ", "))
		}
	}
	for _, n := range []string{"attention.causal", "use_parallel_residual"} {
		if v, ok := k.m.Bool(k.arch + "." + n); ok && v != (n == "attention.causal") {
			k.fail("key %q is %v, which weir does not support for %s", k.arch+"."+n, v, strings.Join(Families(), ", "))
		}
	}
}
