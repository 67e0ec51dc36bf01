package chat

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	threeTurns = `{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},{"role":"user","content":"Three?"}]`
	turns      = "[" + threeTurns
	withSystem = `[{"role":"system","content":"Be brief."},` + threeTurns
)

func renderTurns(t *testing.T, source, messages string) string {
	t.Helper()
	tmpl, err := Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tmpl.Render(Input{Messages: []byte(messages), AddGenerationPrompt: true, BOSToken: "<s>", EOSToken: "</s>", Now: caseTime})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestBundled: what each format looks like.
func TestBundled(t *testing.T) {
	want := map[string]string{
		"alpaca":  "<s>Be brief.\n\n### Instruction:\nOne?\n\n### Response:\nTwo.</s>\n\n### Instruction:\nThree?\n\n### Response:\n",
		"chatml":  "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n",
		"gemma":   "<s><start_of_turn>user\nBe brief.\n\nOne?<end_of_turn>\n<start_of_turn>model\nTwo.<end_of_turn>\n<start_of_turn>user\nThree?<end_of_turn>\n<start_of_turn>model\n",
		"llama2":  "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nOne? [/INST] Two. </s><s>[INST] Three? [/INST]",
		"llama3":  "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nThree?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
		"mistral": "<s>[INST]One?[/INST]Two.</s>[INST]Be brief.\n\nThree?[/INST]",
		"phi3":    "<|system|>\nBe brief.<|end|>\n<|user|>\nOne?<|end|>\n<|assistant|>\nTwo.<|end|>\n<|user|>\nThree?<|end|>\n<|assistant|>\n",
		"vicuna":  "<s>Be brief.\n\nUSER: One?\nASSISTANT: Two.</s>\nUSER: Three?\nASSISTANT:",
		"zephyr":  "<|system|>\nBe brief.</s>\n<|user|>\nOne?</s>\n<|assistant|>\nTwo.</s>\n<|user|>\nThree?</s>\n<|assistant|>\n",
	}
	names := BundledNames()
	if len(names) != len(want) {
		t.Errorf("there are %v", names)
	}
	for _, name := range names {
		source, ok := Bundled(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		if got := renderTurns(t, source, withSystem); got != want[name] {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want[name])
		}
	}
	for _, name := range []string{"x", "", "../chat", "bundled/chatml", `..\chat`} {
		if _, ok := Bundled(name); ok {
			t.Errorf("%q is a template", name)
		}
	}
}

// TestBundledAsShipped compares with the templates of models of each format.
func TestBundledAsShipped(t *testing.T) {
	dir := sharedDir(t)
	for name, c := range map[string]struct{ file, messages string }{
		"chatml":  {"Qwen-Qwen2.5-7B-Instruct", withSystem},
		"gemma":   {"google-gemma-2-2b-it", turns},
		"phi3":    {"microsoft-Phi-3.5-mini-instruct", withSystem},
		"mistral": {"mistralai-Mistral-Nemo-Instruct-2407", withSystem},
	} {
		shipped, err := os.ReadFile(filepath.Join(dir, "templates", c.file+".jinja"))
		if err != nil {
			t.Fatal(err)
		}
		source, _ := Bundled(name)
		if got, want := renderTurns(t, source, c.messages), renderTurns(t, string(shipped), c.messages); got != want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
	}
}

func TestLikely(t *testing.T) {
	for vocabulary, want := range map[string]string{
		"a b": "", "<|im_start|> <|im_end|>": "chatml", "<|im_start|>": "", "<|eot_id|> <|start_header_id|> <|end_header_id|>": "llama3",
		"<start_of_turn> <end_of_turn>": "gemma", "<|user|> <|assistant|> <|end|>": "phi3", "[INST] [/INST]": "mistral",
	} {
		tokens := strings.Fields(vocabulary)
		if got := Likely(func(t string) bool { return slices.Contains(tokens, t) }); got != want {
			t.Errorf("%s: %q, want %q", vocabulary, got, want)
		}
	}
}
