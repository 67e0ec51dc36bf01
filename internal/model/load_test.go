package model

import (
	"bytes"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/model/modeltest"
	"weir/internal/weights"
)

func smallCheckpoint(fields map[string]any) *modeltest.Checkpoint {
	c := map[string]any{
		"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
	}
	for k, v := range fields {
		c[k] = v
	}
	return modeltest.New("small", c)
}

// rewriteGGUF copies a GGUF with other key-values and tensors.
func rewriteGGUF(t testing.TB, f *weights.File, change func(meta *[]weights.KV, tensors *[]weights.Tensor)) *weights.File {
	t.Helper()
	meta, tensors := f.Meta().KVs(), slices.Clone(f.Tensors())
	change(&meta, &tensors)
	var b bytes.Buffer
	if err := weights.WriteGGUF(&b, meta, tensors); err != nil {
		t.Fatal(err)
	}
	return openBytes(t, b.Bytes())
}

// set replaces the value of a key, or adds it; nil deletes it.
func set(meta *[]weights.KV, key string, value any) {
	*meta = slices.DeleteFunc(*meta, func(kv weights.KV) bool { return kv.Key == key })
	if value != nil {
		*meta = append(*meta, weights.KV{Key: key, Value: value})
	}
}

func load(f *weights.File, o Options) (Model, error) {
	b, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return Load(f, b, o)
}

// wantError checks that err says every phrase.
func wantError(t *testing.T, what string, err error, phrases ...string) {
	t.Helper()
	for _, p := range phrases {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: error %v does not say %s", what, err, p)
		}
	}
}

func TestTensorErrorsNameTheTensor(t *testing.T) {
	at := func(tensors []weights.Tensor, name string) int {
		return slices.IndexFunc(tensors, func(t weights.Tensor) bool { return t.Name == name })
	}
	for _, test := range []struct {
		what   string
		change func(*[]weights.KV, *[]weights.Tensor)
		want   []string
	}{
		{"missing", func(_ *[]weights.KV, ts *[]weights.Tensor) {
			i := at(*ts, "blk.1.ffn_up.weight")
			*ts = slices.Delete(*ts, i, i+1)
		}, []string{`test.gguf: tensor "blk.1.ffn_up.weight" [96 64] is missing`, "complete copy"}},
		{"misshapen", func(_ *[]weights.KV, ts *[]weights.Tensor) {
			(*ts)[at(*ts, "blk.1.ffn_up.weight")].Shape = []int{64, 96}
		}, []string{`tensor "blk.1.ffn_up.weight" has the shape [64 96]`, "says [96 64]"}},
		{"of integers", func(_ *[]weights.KV, ts *[]weights.Tensor) {
			(*ts)[at(*ts, "blk.0.attn_norm.weight")].Type = weights.I32
		}, []string{`tensor "blk.0.attn_norm.weight" is I32`, "Q4_K"}},
		{"without embedding", func(_ *[]weights.KV, ts *[]weights.Tensor) {
			i := at(*ts, "token_embd.weight")
			*ts = slices.Delete(*ts, i, i+1)
		}, []string{"token_embd.weight", "missing"}},
		{"with more than the family has", func(_ *[]weights.KV, ts *[]weights.Tensor) {
			*ts = append(*ts, weights.Tensor{Name: "blk.0.attn_sinks.weight", Type: weights.F32, Shape: []int{4}, Data: make([]byte, 16)})
		}, []string{`tensor "blk.0.attn_sinks.weight" [4] has no place`, "say something else"}},
		{"with a divisor of nothing", func(_ *[]weights.KV, ts *[]weights.Tensor) {
			*ts = append(*ts, weights.Tensor{Name: "rope_freqs.weight", Type: weights.F32, Shape: []int{8}, Data: make([]byte, 32)})
		}, []string{`"rope_freqs.weight" holds 0 at 0`}},
		{"with too few divisors", func(_ *[]weights.KV, ts *[]weights.Tensor) {
			*ts = append(*ts, weights.Tensor{Name: "rope_freqs.weight", Type: weights.F32, Shape: []int{4}, Data: make([]byte, 16)})
		}, []string{`"rope_freqs.weight" has the shape [4]`, "says [8]"}},
		{"with another vocabulary", func(m *[]weights.KV, _ *[]weights.Tensor) {
			set(m, "llama.vocab_size", uint32(65))
		}, []string{`"llama.vocab_size" is 65`, "64 rows"}},
		{"with a larger tokeniser", func(m *[]weights.KV, _ *[]weights.Tensor) {
			set(m, "tokenizer.ggml.tokens", make([]string, 65))
		}, []string{"65 tokens", "64 rows"}},
	} {
		f := rewriteGGUF(t, openGGUF(t, smallCheckpoint(nil), weights.F32), test.change)
		_, err := load(f, Options{})
		wantError(t, "a model "+test.what, err, test.want...)
	}
}

func TestKeyErrorsNameTheKey(t *testing.T) {
	for _, test := range []struct {
		key   string
		value any
		want  string
	}{
		{"general.architecture", nil, `"general.architecture" is missing`},
		{"general.architecture", "mistral3", `"mistral3" is not supported: weir runs llama, mistral, qwen2, qwen3`},
		{"llama.block_count", nil, `"llama.block_count" is missing`},
		{"llama.block_count", "two", `"llama.block_count" is not a whole number`},
		{"llama.block_count", uint32(1 << 31), "2147483648 layers"},
		{"llama.block_count", int32(-1), "-1 layers"},
		{"llama.attention.head_count", uint32(0), "0 attention heads"},
		{"llama.attention.head_count", uint64(math.MaxUint64), `"llama.attention.head_count" is not a whole number`},
		{"llama.attention.head_count_kv", []int32{2, 1}, `"llama.attention.head_count_kv" differs from layer to layer`},
		{"llama.attention.head_count_kv", uint32(3), "3 key-value heads"},
		{"llama.attention.layer_norm_rms_epsilon", nil, `"llama.attention.layer_norm_rms_epsilon" is missing`},
		{"llama.attention.layer_norm_rms_epsilon", float32(math.NaN()), "epsilon is NaN"},
		{"llama.attention.value_length", uint32(8), `"llama.attention.value_length" is 8, but heads have 16`},
		{"llama.rope.dimension_count", uint32(8), `"llama.rope.dimension_count" is 8`},
		{"llama.rope.freq_base", float32(math.NaN()), "base of the rotations is NaN"},
		{"llama.rope.freq_base", "big", `"llama.rope.freq_base" is not a number`},
		{"llama.rope.scaling.type", "longrope", `"longrope" is not supported: weir supports none, linear, yarn`},
		{"llama.rope.scaling.type", "yarn", "factor 0"},
		{"llama.expert_count", uint32(8), `"llama.expert_count" changes the model's arithmetic`},
		{"llama.logit_scale", float32(0.1), `"llama.logit_scale" changes`},
		{"llama.attn_logit_softcapping", float32(50), `"llama.attn_logit_softcapping" changes`},
		{"llama.rope.dimension_sections", []int32{1, 2, 3, 4}, `"llama.rope.dimension_sections" changes`},
		{"llama.attention.causal", false, `"llama.attention.causal" is false`},
		{"llama.attention.sliding_window", int32(-3), "sliding window is -3"},
	} {
		f := rewriteGGUF(t, openGGUF(t, smallCheckpoint(nil), weights.F32), func(m *[]weights.KV, _ *[]weights.Tensor) {
			set(m, test.key, test.value)
		})
		_, err := Inspect(f)
		wantError(t, test.key, err, "test.gguf: ", test.want)
	}
}

func TestConfigOfGGUF(t *testing.T) {
	for _, test := range []struct {
		what string
		meta map[string]any
		want func(Config) bool
	}{
		{"neutral keys", map[string]any{"llama.logit_scale": float32(1), "llama.expert_count": uint32(0), "llama.attention.causal": true},
			func(c Config) bool { return c.Scaling == Scaling{} }},
		{"a count for each layer", map[string]any{"llama.feed_forward_length": []int32{96, 96}}, func(c Config) bool { return c.FFN == 96 }},
		{"a window of some layers", map[string]any{"llama.attention.sliding_window": uint32(8), "llama.attention.sliding_window_pattern": []bool{true, false}},
			func(c Config) bool { return c.windowed(0) && !c.windowed(1) }},
		{"the old key of linear scaling", map[string]any{"llama.rope.scale_linear": float32(4)},
			func(c Config) bool { return c.Scaling.Type == ScalingLinear && c.Scaling.Factor == 4 }},
		{"a factor that is switched off", map[string]any{"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": float32(4)},
			func(c Config) bool { return c.Scaling.Type == ScalingNone }},
		{"a template", map[string]any{"tokenizer.chat_template": "{{ x }}"}, func(c Config) bool { return c.ChatTemplate == "{{ x }}" }},
	} {
		f := rewriteGGUF(t, openGGUF(t, smallCheckpoint(nil), weights.F32), func(m *[]weights.KV, _ *[]weights.Tensor) {
			for k, v := range test.meta {
				set(m, k, v)
			}
		})
		if c, err := Inspect(f); err != nil || !test.want(c) {
			t.Errorf("%s: got %+v, %v", test.what, c, err)
		}
	}
}

func TestOptionsReplaceScaling(t *testing.T) {
	llama3 := object{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 16}
	f := openGGUF(t, smallCheckpoint(object{"rope_scaling": llama3}), weights.F32) // brings rope_freqs.weight
	m, err := load(f, Options{Scaling: &Scaling{Type: ScalingYaRN, Factor: 4, OriginalContext: 64, BetaFast: 32, BetaSlow: 1, Attention: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if c := m.Config(); c.Context != 256 || c.Scaling.Type != ScalingYaRN || c.Scaling.Divisors {
		t.Errorf("context %d, scaling %+v: expected YaRN to 256 positions in place of the file's", c.Context, c.Scaling)
	}
	_, err = load(f, Options{Scaling: &Scaling{Type: ScalingLinear, Factor: math.Inf(1)}})
	wantError(t, "an infinite factor", err, "linear rope scaling has the factor +Inf")
	_, err = load(f, Options{Scaling: &Scaling{Type: "ntk", Factor: 2}})
	wantError(t, "an unknown type", err, `"ntk"`, "linear, llama3 and yarn")
}

func TestHarmlessLeftovers(t *testing.T) {
	f := openHF(t, smallCheckpoint(object{"tie_word_embeddings": true}))
	table := slices.Clone(f.Tensors())
	table = append(table,
		weights.Tensor{Name: "lm_head.weight", Type: weights.F32, Shape: []int{64, 64}, Data: table[0].Data},
		weights.Tensor{Name: "model.layers.0.self_attn.rotary_emb.inv_freq", Type: weights.F32, Shape: []int{8}, Data: make([]byte, 32)})
	if _, err := load(rewriteHF(t, f, table), Options{}); err != nil {
		t.Errorf("a tied output matrix and rotary buffers are refused: %v", err)
	}
	table[len(table)-1].Name = "model.layers.0.self_attn.q_proj.lora_A.weight"
	_, err := load(rewriteHF(t, f, table), Options{})
	wantError(t, "an adapter within", err, "lora_A", "no place")
}

func TestInspectWithoutConfig(t *testing.T) {
	dir := t.TempDir()
	if err := smallCheckpoint(nil).WriteHF(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "config.json"), filepath.Join(dir, "other.json")); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(filepath.Join(dir, "model.safetensors"), weights.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = Inspect(f)
	wantError(t, "no config.json", err, "model.safetensors", "no config.json beside the tensors")
}

// FuzzInspectGGUF binds what the fuzzer makes to a backend that takes anything.
func FuzzInspectGGUF(f *testing.F) {
	tiny := object{"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
		"num_key_value_heads": 1, "head_dim": 4, "vocab_size": 8}
	for _, fields := range []object{{}, {"model_type": "qwen3"}, {"sliding_window": 8, "model_type": "mistral"}} {
		maps.Copy(fields, tiny)
		b, err := smallCheckpoint(fields).GGUF(weights.F32)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := weights.OpenBytes("fuzz.gguf", data)
		if err != nil {
			return
		}
		if c, err := Inspect(file); err == nil {
			NewRope(c, nil)
			Load(file, anyBackend{}, Options{}) // an error or a model, never a panic
		}
	})
}

// anyBackend loads every tensor and computes nothing.
type anyBackend struct{ backend.Backend }

func (anyBackend) Load(weights.Tensor, backend.Placement) (backend.Weight, error) { return nil, nil }
