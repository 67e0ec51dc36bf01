package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"weir/internal/weights"
)

const configFile = "config.json"

// fields is a JSON object that remembers the first mistake found in it, so that
// a family's configuration reads as a list of assignments. A null field counts
// as absent, as it does for Transformers.
type fields struct {
	where  string // "config.json", or "config.json: rope_scaling"
	values map[string]json.RawMessage
	err    *error // shared with the fields of objects within
}

// parseFields reads a JSON object.
func parseFields(where string, data []byte) (fields, error) {
	f := fields{where: where, err: new(error)}
	if err := json.Unmarshal(data, &f.values); err != nil {
		return f, fmt.Errorf("%s is not a JSON object: %w; download it again", where, err)
	}
	return f, nil
}

func (f fields) fail(format string, args ...any) {
	if *f.err == nil {
		*f.err = fmt.Errorf(f.where+": "+format, args...)
	}
}

// has reports whether key is there and not null.
func (f fields) has(key string) bool {
	raw, ok := f.values[key]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// read decodes key into dst, which keeps its value if key is absent.
func (f fields) read(key, expected string, dst any) {
	if !f.has(key) {
		return
	}
	if err := json.Unmarshal(f.values[key], dst); err != nil {
		f.fail("%q is %.60s: expected %s", key, f.values[key], expected)
	}
}

func (f fields) need(key string) {
	if !f.has(key) {
		f.fail("%q is missing: the configuration is incomplete; get the model's own %s", key, configFile)
	}
}

// integer reads a whole number, which some tools write as 1.0.
func (f fields) integer(key string, otherwise int) int {
	v := float64(otherwise)
	f.read(key, "a whole number", &v)
	if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
		f.fail("%q is %v: expected a whole number", key, v)
		return otherwise
	}
	return int(v)
}

func (f fields) needInteger(key string) int {
	f.need(key)
	return f.integer(key, 0)
}

func (f fields) number(key string, otherwise float64) float64 {
	f.read(key, "a number", &otherwise)
	return otherwise
}

func (f fields) needNumber(key string) float64 {
	f.need(key)
	return f.number(key, 0)
}

func (f fields) boolean(key string, otherwise bool) bool {
	f.read(key, "true or false", &otherwise)
	return otherwise
}

func (f fields) text(key string) string {
	var s string
	f.read(key, "a string", &s)
	return s
}

func (f fields) texts(key string) []string {
	var s []string
	f.read(key, "a list of strings", &s)
	return s
}

// ids reads token ids: one, or a list.
func (f fields) ids(key string) []int32 {
	if !f.has(key) {
		return nil
	}
	var one int32
	if json.Unmarshal(f.values[key], &one) == nil {
		return []int32{one}
	}
	var many []int32
	f.read(key, "a token id or a list of them", &many)
	return many
}

// object reads an object within.
func (f fields) object(key string) fields {
	in := fields{where: f.where + ": " + key, err: f.err}
	f.read(key, "an object", &in.values)
	return in
}

// inspectHF reads the configuration of a Hugging Face checkpoint.
func inspectHF(f *weights.File) (Config, family, error) {
	data, ok := f.JSON(configFile)
	if !ok {
		return Config{}, family{}, fmt.Errorf("there is no %s beside the tensors, which says what they are: "+
			"put the model's own there, or give the whole checkpoint's directory", configFile)
	}
	c, fam, err := configHF(data)
	c.Name, c.ChatTemplate = f.Name(), chatTemplateHF(f)
	return c, fam, err
}

// configHF reads a config.json.
func configHF(data []byte) (Config, family, error) {
	r, err := parseFields(configFile, data)
	if err != nil {
		return Config{}, family{}, err
	}
	kind := r.text("model_type")
	fam, ok := familyOf(func(f family) bool { return f.name == kind })
	switch {
	case *r.err != nil:
		return Config{}, family{}, *r.err
	case !ok:
		return Config{}, family{}, fmt.Errorf("%s: the model type %.100q is not supported: weir runs %s",
			configFile, kind, strings.Join(Families(), ", "))
	}
	c := Config{Family: fam.name}
	r.common(&c)
	fam.hf(r, &c)
	if c.Window == 0 {
		c.Windowed = nil
	}
	return c, fam, *r.err
}

// common reads what every family calls the same, and refuses what none has.
func (r fields) common(c *Config) {
	r.refuse()
	r.quantised(c)
	c.Layers = r.needInteger("num_hidden_layers")
	c.Width = r.needInteger("hidden_size")
	c.FFN = r.needInteger("intermediate_size")
	c.Heads = r.needInteger("num_attention_heads")
	c.Vocab = r.needInteger("vocab_size")
	c.Eps = float32(r.number("rms_norm_eps", 1e-6))
	c.TiedEmbeddings = r.boolean("tie_word_embeddings", false)
	c.BOS, c.EOS = r.ids("bos_token_id"), r.ids("eos_token_id")
	if act := r.text("hidden_act"); act != "" && act != "silu" && act != "swish" {
		r.fail("\"hidden_act\" is %.100q: these families use silu", act)
	}
}

// kvHeads reads the key-value heads: a family's default where they are not
// said, and one for each head where they are null.
func (r fields) kvHeads(c *Config, otherwise int) int {
	if _, said := r.values["num_key_value_heads"]; said {
		otherwise = c.Heads
	}
	return r.integer("num_key_value_heads", otherwise)
}

// headDim reads the dimensions of a head, by default an equal part of the width.
func (r fields) headDim(c *Config) int {
	if r.has("head_dim") || c.Heads < 1 {
		return r.integer("head_dim", 0)
	}
	if c.Width%c.Heads != 0 {
		r.fail("\"hidden_size\" %d is not a multiple of \"num_attention_heads\" %d, and there is no \"head_dim\"", c.Width, c.Heads)
	}
	return c.Width / c.Heads
}

// neutral lists the fields by which models like these differ in their
// arithmetic, with the value that means no difference.
var neutral = []struct {
	key   string
	value string
}{
	{"attention_multiplier", ""}, {"attn_logit_softcapping", ""}, {"clip_qkv", ""},
	{"embedding_multiplier", "1"}, {"final_logit_softcapping", ""}, {"logit_scale", "1"},
	{"logits_scaling", "1"}, {"num_experts", "0"}, {"num_local_experts", "0"},
	{"partial_rotary_factor", "1"}, {"qk_layernorm", "false"}, {"query_pre_attn_scalar", ""},
	{"residual_multiplier", "1"}, {"scale_depth", ""}, {"scale_emb", "1"}, {"use_qk_norm", "false"},
	{"alibi", "false"}, {"attn_temperature_tuning", "false"}, {"no_rope_layers", ""},
	{"text_config", ""}, {"is_encoder_decoder", "false"}, {"add_cross_attention", "false"},
}

// refuse names what would change the output and is not computed.
func (r fields) refuse() {
	for _, n := range neutral {
		if v := string(r.values[n.key]); r.has(n.key) && strings.TrimSuffix(v, ".0") != n.value {
			r.fail("%q is %.60s, which changes the model's arithmetic in a way that weir does not support for %s",
				n.key, v, strings.Join(Families(), ", "))
		}
	}
	causal := func(arch string) bool { return strings.HasSuffix(arch, "ForCausalLM") }
	if archs := r.texts("architectures"); len(archs) > 0 && !slices.ContainsFunc(archs, causal) {
		r.fail("the checkpoint is for %s, not for generating text: weir runs those made for ...ForCausalLM", strings.Join(archs, ", "))
	}
}

// windows reads a window that only some layers have: those listed as sliding,
// else those from max_window_layers on (Qwen2, Qwen3).
func (r fields) windows(c *Config) {
	if !r.boolean("use_sliding_window", false) {
		return
	}
	c.Window = r.integer("sliding_window", 4096)
	if r.has("sliding_window") && c.Window < 1 {
		r.fail("\"sliding_window\" is %d: expected 1 or more", c.Window)
	}
	if c.Windowed = r.layerTypes(); c.Windowed != nil || c.Layers < 1 || c.Layers > 1<<12 {
		return
	}
	from := r.integer("max_window_layers", 28)
	c.Windowed = make([]bool, c.Layers)
	for i := range c.Windowed {
		c.Windowed[i] = i >= from
	}
}

// layerTypes reads which layers slide; nil: not said.
func (r fields) layerTypes() []bool {
	var slide []bool
	for _, t := range r.texts("layer_types") {
		switch t {
		case "sliding_attention", "full_attention":
			slide = append(slide, t == "sliding_attention")
		default:
			r.fail("\"layer_types\" names %.100q: weir supports full_attention and sliding_attention", t)
		}
	}
	return slide
}

// rope reads the rotations: rope_parameters (Transformers 5), or rope_theta
// with rope_scaling beside it.
func (r fields) rope(c *Config) {
	c.RopeTheta = r.number("rope_theta", 10000)
	switch scaling, parameters := r.has("rope_scaling"), r.has("rope_parameters"); {
	case scaling && parameters:
		r.fail("has both \"rope_scaling\" and \"rope_parameters\": put all of it into \"rope_parameters\", with \"rope_theta\"")
	case parameters:
		p := r.object("rope_parameters")
		c.RopeTheta = p.number("rope_theta", c.RopeTheta)
		p.scaling(c)
	case scaling:
		r.object("rope_scaling").scaling(c)
	}
}

// scaling reads an object of rope_scaling or rope_parameters.
func (r fields) scaling(c *Config) {
	kind := r.text("rope_type")
	if kind == "" {
		kind = r.text("type")
	}
	if r.has("partial_rotary_factor") && r.number("partial_rotary_factor", 1) != 1 {
		r.fail("\"partial_rotary_factor\" is %s: weir rotates whole heads", r.values["partial_rotary_factor"])
	}
	s := &c.Scaling
	switch kind {
	case "default":
		return
	case "":
		if r.has("factor") {
			r.fail("\"rope_type\" is missing: weir supports %s", scalingNames)
		}
		return
	case "linear":
		s.Type, s.Factor = ScalingLinear, r.needNumber("factor")
	case "llama3":
		s.Type, s.Factor = ScalingLlama3, r.needNumber("factor")
		s.LowFreq, s.HighFreq = r.needNumber("low_freq_factor"), r.needNumber("high_freq_factor")
		s.OriginalContext = r.integer("original_max_position_embeddings", c.Context)
	case "yarn":
		r.yarn(c)
	default:
		r.fail("rope scaling of type %.100q is not supported: weir supports %s", kind, scalingNames)
	}
}

// yarn reads YaRN's fields. A factor that is absent is what the context grew by.
func (r fields) yarn(c *Config) {
	s := &c.Scaling
	s.Type = ScalingYaRN
	s.OriginalContext = r.integer("original_max_position_embeddings", c.Context)
	s.Factor = r.number("factor", float64(c.Context)/float64(max(s.OriginalContext, 1)))
	s.BetaFast, s.BetaSlow = r.number("beta_fast", 32), r.number("beta_slow", 1)
	s.Fractional = !r.boolean("truncate", true)
	s.Attention = yarnAttention(s.Factor, 1)
	if m, all := r.number("mscale", 0), r.number("mscale_all_dim", 0); m != 0 && all != 0 {
		s.Attention = yarnAttention(s.Factor, m) / yarnAttention(s.Factor, all)
	}
	s.Attention = r.number("attention_factor", s.Attention)
}

// chatTemplateHF finds the chat template of a checkpoint: a file of its own, or
// a field of the tokeniser's configuration (one, or a list with names).
func chatTemplateHF(f *weights.File) string {
	if data, ok := f.JSON("chat_template.jinja"); ok {
		return string(data)
	}
	data, ok := f.JSON("tokenizer_config.json")
	if !ok {
		return ""
	}
	var one struct {
		Template string `json:"chat_template"`
	}
	if json.Unmarshal(data, &one) == nil {
		return one.Template
	}
	var named struct {
		Templates []struct{ Name, Template string } `json:"chat_template"`
	}
	if json.Unmarshal(data, &named) != nil {
		return ""
	}
	for _, t := range named.Templates {
		if t.Name == "default" {
			return t.Template
		}
	}
	return ""
}

// HeadConfig reads the config.json of heads that are built like a Llama's layer.
func HeadConfig(data []byte) (Config, error) {
	r, err := parseFields(configFile, data)
	if err != nil {
		return Config{}, err
	}
	delete(r.values, "architectures") // heads have names of their own
	c := Config{Family: "llama"}
	r.common(&c)
	llamaHF(r, &c)
	if *r.err == nil {
		*r.err = c.validate()
	}
	return c, *r.err
}
