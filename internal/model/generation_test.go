package model

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"weir/internal/weights"
)

func ptr[T any](v T) *T { return &v }

func TestGenerationOfHF(t *testing.T) {
	for _, test := range []struct {
		json string // "": no file
		want GenDefaults
		err  string
	}{
		{"", GenDefaults{EOS: []int32{5}}, ""}, // config.json's
		{`{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0, "repetition_penalty": 1.1, "eos_token_id": [7, 8]}`,
			GenDefaults{Sample: ptr(true), Temperature: ptr(0.6), TopK: ptr(20), TopP: ptr(0.95), MinP: ptr(0.0), RepetitionPenalty: ptr(1.1), EOS: []int32{7, 8}}, ""},
		{`{"do_sample": false, "typical_p": null, "max_new_tokens": 9, "eos_token_id": 7}`,
			GenDefaults{Sample: ptr(false), MaxNewTokens: ptr(9), EOS: []int32{7}}, ""},
		{`{"temperature": "hot"}`, GenDefaults{}, `generation_config.json: "temperature" is "hot": expected a number`},
		{`{"eos_token_id": "</s>"}`, GenDefaults{}, `"eos_token_id" is "</s>"`},
		{`{`, GenDefaults{}, "generation_config.json is not a JSON object"},
	} {
		f := openHF(t, smallCheckpoint(object{"eos_token_id": 5}))
		if test.json != "" {
			if err := os.WriteFile(filepath.Join(filepath.Dir(f.Paths()[0]), generationFile), []byte(test.json), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Generation(f)
		if test.err != "" {
			wantError(t, test.json, err, test.err)
		} else if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", test.json, got, err, test.want)
		}
	}
}

func TestGenerationOfGGUF(t *testing.T) {
	f := rewriteGGUF(t, openGGUF(t, smallCheckpoint(nil), weights.F32), func(m *[]weights.KV, _ *[]weights.Tensor) {
		set(m, "general.sampling.temp", float32(0.5))
		set(m, "general.sampling.top_k", int32(40))
		set(m, "tokenizer.ggml.eot_token_id", uint32(9))
	})
	got, err := Generation(f)
	want := GenDefaults{Temperature: ptr(0.5), TopK: ptr(40), EOS: []int32{2, 9}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestChatTemplateOfHF(t *testing.T) {
	for _, test := range []struct{ file, content, want string }{
		{"chat_template.jinja", "{{ a }}", "{{ a }}"},
		{"tokenizer_config.json", `{"chat_template": "{{ b }}"}`, "{{ b }}"},
		{"tokenizer_config.json", `{"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ c }}"}]}`, "{{ c }}"},
		{"tokenizer_config.json", `{"chat_template": null}`, ""},
		{"tokenizer_config.json", `nonsense`, ""},
	} {
		f := openHF(t, smallCheckpoint(nil))
		if err := os.WriteFile(filepath.Join(filepath.Dir(f.Paths()[0]), test.file), []byte(test.content), 0o666); err != nil {
			t.Fatal(err)
		}
		if c, err := Inspect(f); err != nil || c.ChatTemplate != test.want {
			t.Errorf("%s %s: template %q, %v", test.file, test.content, c.ChatTemplate, err)
		}
	}
}
