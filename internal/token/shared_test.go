package token_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weir/internal/token"
	"weir/internal/weights"
)

// llama3Pattern is the pattern of Llama 3's own tokeniser, which the rank file
// does not hold.
const llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// sharedFile returns the path of a file beside the checkout, or skips.
func sharedFile(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("WEIR_SHARED")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			if root == filepath.Dir(root) {
				t.Fatal("no go.mod above the test")
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs ../shared/%s: not found", name)
	}
	return path
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// loadShared returns the tokeniser of a file in ../shared/tokenizers.
func loadShared(t testing.TB, name string) *token.Tokenizer {
	t.Helper()
	if name == "llama-3" {
		special := map[string]int32{}
		for i, s := range []string{"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
			"<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"} {
			special[s] = int32(128000 + i)
		}
		for i := len(special); i < 256; i++ {
			special[fmt.Sprintf("<|reserved_special_token_%d|>", i-9)] = int32(128000 + i)
		}
		tok, err := token.FromTiktoken(readFile(t, sharedFile(t, "tokenizers/llama-3.tiktoken")), llama3Pattern, special)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	f, err := weights.OpenBytes(name, readFile(t, sharedFile(t, "tokenizers/"+name+".gguf")))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.FromGGUF(f.Meta())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

var sharedNames = []string{"gpt-2", "deepseek-coder", "falcon", "llama-spm", "llama-3"}

type sharedCase struct {
	text string
	ids  []int32
}

func sharedCases(t testing.TB, name string) []sharedCase {
	t.Helper()
	texts := strings.Split(string(readFile(t, sharedFile(t, "tokenizers/"+name+".inp"))), "\n__ggml_vocab_test__\n")
	lines := strings.Split(string(readFile(t, sharedFile(t, "tokenizers/"+name+".out"))), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if texts[len(texts)-1] == "" && len(texts) == len(lines)+1 {
		texts = texts[:len(lines)]
	}
	if len(texts) != len(lines) || len(texts) < 40 {
		t.Fatalf("%s: %d texts and %d lines of ids", name, len(texts), len(lines))
	}
	cases := make([]sharedCase, len(texts))
	for i := range cases {
		cases[i].text = texts[i]
		for _, f := range strings.Fields(lines[i]) {
			id, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			cases[i].ids = append(cases[i].ids, int32(id))
		}
	}
	return cases
}

func TestSharedVocabularies(t *testing.T) {
	for _, name := range sharedNames {
		t.Run(name, func(t *testing.T) {
			tok := loadShared(t, name)
			for i, c := range sharedCases(t, name) {
				got := tok.Encode(c.text, token.EncodeOptions{})
				if !slices.Equal(got, c.ids) {
					t.Errorf("case %d, %q:\n got %v\nwant %v", i, c.text, got, c.ids)
				}
				// All these texts come back whole: the leading space that a
				// SentencePiece vocabulary adds goes again.
				if back := tok.Decode(c.ids, token.DecodeOptions{}); back != c.text {
					t.Errorf("case %d: decoded to %q, want %q", i, back, c.text)
				}
			}
		})
	}
}
