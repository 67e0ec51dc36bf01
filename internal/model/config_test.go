package model

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"

	"weir/internal/weights"
)

// smallConfig is a config.json that is sound, changed by fields; nil deletes.
func smallConfig(fields map[string]any) []byte {
	c := map[string]any{
		"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
	}
	maps.Copy(c, fields)
	for k, v := range c {
		if v == "absent" {
			delete(c, k)
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}

// checkedHF is what Inspect does with a config.json.
func checkedHF(data []byte) (Config, error) {
	c, _, err := configHF(data)
	if err == nil {
		err = c.validate()
	}
	c.reach()
	return c, err
}

type object = map[string]any

func TestConfigErrorsNameTheField(t *testing.T) {
	yarn := func(fields object) object {
		s := object{"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 16}
		maps.Copy(s, fields)
		return object{"rope_scaling": s}
	}
	for _, test := range []struct {
		fields object
		want   []string
	}{
		{object{"model_type": "gpt2"}, []string{`"gpt2" is not supported`, "llama, mistral, qwen2, qwen3"}},
		{object{"model_type": "absent"}, []string{`"" is not supported`}},
		{object{"model_type": 3}, []string{`"model_type" is 3: expected a string`}},
		{object{"hidden_size": "absent"}, []string{`"hidden_size" is missing`}},
		{object{"hidden_size": nil}, []string{`"hidden_size" is missing`}},
		{object{"hidden_size": "many"}, []string{`"hidden_size" is "many"`, "a whole number"}},
		{object{"hidden_size": 64.5}, []string{`"hidden_size" is 64.5`, "a whole number"}},
		{object{"num_hidden_layers": 1e9}, []string{"1000000000 layers"}},
		{object{"num_hidden_layers": 0}, []string{"0 layers"}},
		{object{"num_attention_heads": 0}, []string{"0 attention heads"}},
		{object{"num_attention_heads": -4}, []string{"-4 attention heads"}},
		{object{"num_attention_heads": 5}, []string{"not a multiple", "head_dim"}},
		{object{"num_key_value_heads": 3}, []string{"4 attention heads", "3 key-value heads"}},
		{object{"num_key_value_heads": 0}, []string{"0 key-value heads"}},
		{object{"head_dim": 15}, []string{"head dimension is 15", "even"}},
		{object{"head_dim": 1 << 40}, []string{"dimensions a head"}},
		{object{"vocab_size": 1e300}, []string{`"vocab_size"`}},
		{object{"rms_norm_eps": -1}, []string{"epsilon is -1"}},
		{object{"rope_theta": 0}, []string{"base of the rotations is 0"}},
		{object{"rope_theta": 1e300}, []string{"base of the rotations"}},
		{object{"hidden_act": "gelu"}, []string{`"gelu"`, "silu"}},
		{object{"architectures": []string{"LlamaForSequenceClassification"}}, []string{"LlamaForSequenceClassification", "ForCausalLM"}},
		{object{"quantization_config": object{"quant_method": "awq"}}, []string{"quantised", `"awq"`, "GGUF"}},
		{object{"partial_rotary_factor": 0.5}, []string{`"partial_rotary_factor" is 0.5`}},
		{object{"logit_scale": 0.06}, []string{`"logit_scale" is 0.06`}},
		{object{"attn_logit_softcapping": 50.0}, []string{`"attn_logit_softcapping"`}},
		{object{"num_local_experts": 8}, []string{`"num_local_experts"`}},
		{object{"model_type": "mistral", "sliding_window": -1}, []string{`"sliding_window" is -1`}},
		{object{"model_type": "mistral", "sliding_window": 0}, []string{`"sliding_window" is 0`}},
		{object{"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 0}, []string{`"sliding_window" is 0`}},
		{object{"model_type": "qwen3", "use_sliding_window": true, "sliding_window": 8, "layer_types": []string{"full_attention"}},
			[]string{"listed for 1 layers", "there are 2"}},
		{object{"model_type": "qwen3", "use_sliding_window": true, "layer_types": []string{"linear_attention", "full_attention"}},
			[]string{`"linear_attention"`, "sliding_attention"}},
		{object{"rope_scaling": object{"rope_type": "dynamic", "factor": 2}}, []string{`"dynamic"`, "linear, llama3 and yarn"}},
		{object{"rope_scaling": object{"type": "longrope"}}, []string{`"longrope"`, "linear, llama3 and yarn"}},
		{object{"rope_scaling": object{"factor": 2}}, []string{`"rope_type" is missing`}},
		{object{"rope_scaling": object{"type": "linear"}}, []string{`rope_scaling: "factor" is missing`}},
		{object{"rope_scaling": object{"type": "linear", "factor": -2}}, []string{"factor -2"}},
		{object{"rope_scaling": object{"type": "linear", "factor": "8"}}, []string{`"factor" is "8"`}},
		{object{"rope_scaling": "linear"}, []string{`"rope_scaling" is "linear"`, "an object"}},
		{object{"rope_scaling": object{"type": "default"}, "rope_parameters": object{"rope_type": "default"}}, []string{"both"}},
		{object{"rope_parameters": object{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}},
			[]string{"llama3", "0 < low < high"}},
		{object{"rope_parameters": object{"rope_type": "default", "partial_rotary_factor": 0.25}}, []string{"partial_rotary_factor"}},
		{yarn(object{"original_max_position_embeddings": -5}), []string{"original context of -5"}},
		{yarn(object{"beta_slow": 64}), []string{"betas"}},
		{yarn(object{"attention_factor": 0}), []string{"attention factor 0"}},
	} {
		_, err := checkedHF(smallConfig(test.fields))
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: error %v does not say %s", test.fields, err, want)
			}
		}
	}
}

func TestConfigThatIsNoObject(t *testing.T) {
	for _, s := range []string{"", "[]", "{", `{"rope_theta": NaN}`, `"llama"`, strings.Repeat("[", 1e6)} {
		if _, err := checkedHF([]byte(s)); err == nil || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%.20q: error %v does not name config.json", s, err)
		}
	}
}

func TestConfigOfHF(t *testing.T) {
	for _, test := range []struct {
		name   string
		fields object
		want   func(*Config)
	}{
		{"heads default to multi-head", object{"num_key_value_heads": "absent"}, func(c *Config) { c.KVHeads = 4 }},
		{"whole floats are whole", object{"hidden_size": 64.0}, func(*Config) {}},
		{"null is absent", object{"rope_scaling": nil, "head_dim": nil, "attn_logit_softcapping": nil}, func(*Config) {}},
		{"neutral values", object{"logit_scale": 1.0, "partial_rotary_factor": 1.0, "hidden_act": "silu", "num_local_experts": 0}, func(*Config) {}},
		{"ids", object{"bos_token_id": 1, "eos_token_id": []int{2, 3}}, func(c *Config) { c.BOS, c.EOS = []int32{1}, []int32{2, 3} }},
		{"mistral without a word has a window", object{"model_type": "mistral"}, func(c *Config) { c.Family, c.Window = "mistral", 4096 }},
		{"mistral with null has none", object{"model_type": "mistral", "sliding_window": nil}, func(c *Config) { c.Family = "mistral" }},
		{"qwen2 that does not use its window", object{"model_type": "qwen2", "sliding_window": 8, "layer_types": []string{"full_attention", "full_attention"}},
			func(c *Config) { c.Family, c.QKVBias = "qwen2", true }},
		{"qwen2 with a window above", object{"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1},
			func(c *Config) { c.Family, c.QKVBias, c.Window, c.Windowed = "qwen2", true, 8, []bool{false, true} }},
		{"qwen3 with layer types", object{"model_type": "qwen3", "head_dim": 32, "use_sliding_window": true, "sliding_window": 8,
			"layer_types": []string{"sliding_attention", "full_attention"}},
			func(c *Config) { c.Family, c.HeadDim, c.Window, c.Windowed = "qwen3", 32, 8, []bool{true, false} }},
		{"qwen3's heads have 128 dimensions", object{"model_type": "qwen3"}, func(c *Config) { c.Family, c.HeadDim = "qwen3", 128 }},
		{"rope parameters of Transformers 5", object{"rope_theta": "absent", "rope_parameters": object{"rope_type": "linear", "factor": 2, "rope_theta": 5e5}},
			func(c *Config) { c.RopeTheta, c.Scaling = 5e5, Scaling{Type: ScalingLinear, Factor: 2} }},
		{"yarn by hand widens the context", object{"rope_scaling": object{"type": "yarn", "factor": 4, "original_max_position_embeddings": 64}},
			func(c *Config) {
				c.Context = 256
				c.Scaling = Scaling{Type: ScalingYaRN, Factor: 4, OriginalContext: 64, BetaFast: 32, BetaSlow: 1, Attention: yarnAttention(4, 1)}
			}},
	} {
		got, err := checkedHF(smallConfig(test.fields))
		want := Config{Family: "llama", Layers: 2, Width: 64, FFN: 96, Heads: 4, KVHeads: 2, HeadDim: 16, Vocab: 64, Context: 64,
			Eps: 1e-5, RopeTheta: 10000}
		test.want(&want)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", test.name, got, err, want)
		}
	}
}

func TestInspectCounts(t *testing.T) {
	g := readGolden(t, "llama-gqa-tied")
	hf, err := Inspect(openHF(t, g.checkpoint()))
	if err != nil {
		t.Fatal(err)
	}
	gguf, err := Inspect(openGGUF(t, g.checkpoint(), weights.F16))
	if err != nil {
		t.Fatal(err)
	}
	const layer, rest = 64*64*2 + 32*64*2 + 3*96*64 + 2*64, 64*64 + 64
	if hf.Params != 2*layer+rest || gguf.Params != hf.Params || hf.Bytes != 4*hf.Params || hf.Quant != "F32" || gguf.Quant != "F16" {
		t.Errorf("%d and %d parameters, %d bytes of %s and %s: expected %d, F32 and F16",
			hf.Params, gguf.Params, hf.Bytes, hf.Quant, gguf.Quant, 2*layer+rest)
	}
	if !hf.TiedEmbeddings || !gguf.TiedEmbeddings || gguf.Name != "llama-gqa-tied" || !gguf.Interleaved || hf.Interleaved {
		t.Errorf("got %+v and %+v", hf, gguf)
	}
}

func FuzzConfigJSON(f *testing.F) {
	f.Add(smallConfig(nil))
	f.Add(smallConfig(object{"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1}))
	f.Add(smallConfig(object{"rope_scaling": object{"type": "yarn", "factor": 4, "mscale": 1, "mscale_all_dim": 0.5}}))
	f.Add(smallConfig(object{"rope_parameters": object{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := checkedHF(data)
		if err != nil {
			return
		}
		groups, at := groupLayers(c)
		if len(at) != c.Layers || len(groups) > 2 {
			t.Errorf("%d layers in %d groups", len(at), len(groups))
		}
		for i, v := range NewRope(c, nil).Freq {
			if !(v >= 0 && v <= 1<<21) {
				t.Errorf("frequency %d is %v", i, v)
			}
		}
	})
}
