package token_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"weir/internal/token"
)

// tinyBPE is a tokenizer.json with %s where tests put theirs.
func tinyBPE(vocab, merges, rest string) string {
	return fmt.Sprintf(`{"model":{"type":"BPE","vocab":{%s},"merges":[%s]}%s}`, vocab, merges, rest)
}

func TestTokenizerJSONErrors(t *testing.T) {
	nested := strings.Repeat(`{"type":"Sequence","normalizers":[`, 50) + `{"type":"NFC"}` + strings.Repeat(`]}`, 50)
	ab := `"a":0,"b":1,"ab":2`
	for name, c := range map[string]struct{ json, want string }{
		"no JSON":             {`{`, "JSON"},
		"empty":               {`{}`, "model"},
		"no vocabulary":       {tinyBPE(``, ``, ``), "vocabulary is empty"},
		"WordPiece":           {`{"model":{"type":"WordPiece","vocab":{"a":0}}}`, "supported are BPE and Unigram"},
		"WordLevel":           {`{"model":{"type":"WordLevel","vocab":{"a":0}}}`, "supported are BPE and Unigram"},
		"negative id":         {tinyBPE(`"a":-1`, ``, ``), "out of proportion"},
		"giant id":            {tinyBPE(`"a":2147483648`, ``, ``), "out of proportion"},
		"beyond 64 bits":      {tinyBPE(`"a":99999999999999999999`, ``, ``), "vocab"},
		"same id twice":       {tinyBPE(`"a":0,"b":0`, ``, ``), "belongs to"},
		"unknown in merge":    {tinyBPE(ab, `"a c"`, ``), "not in the vocabulary"},
		"merge to nothing":    {tinyBPE(ab, `"b a"`, ``), "not in the vocabulary"},
		"merge of one":        {tinyBPE(ab, `"a"`, ``), "merge 0"},
		"merge of three":      {tinyBPE(ab, `["a","b","c"]`, ``), "3 parts"},
		"merge of numbers":    {tinyBPE(ab, `1`, ``), "merges"},
		"dropout":             {`{"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}}`, "dropout"},
		"suffix":              {`{"model":{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0},"merges":[]}}`, "end_of_word_suffix"},
		"unknown token":       {`{"model":{"type":"BPE","unk_token":"?","vocab":{"a":0},"merges":[]}}`, "unk_token"},
		"nested normalizers":  {tinyBPE(ab, ``, `,"normalizer":`+nested), "nested"},
		"normalizer":          {tinyBPE(ab, ``, `,"normalizer":{"type":"BertNormalizer"}`), "supported are"},
		"charsmap":            {tinyBPE(ab, ``, `,"normalizer":{"type":"Precompiled","precompiled_charsmap":"AQ=="}`), "charsmap"},
		"charsmap base64":     {tinyBPE(ab, ``, `,"normalizer":{"type":"Precompiled","precompiled_charsmap":"!"}`), "charsmap"},
		"pre_tokenizer":       {tinyBPE(ab, ``, `,"pre_tokenizer":{"type":"UnicodeScripts"}`), "supported are"},
		"bad pattern":         {tinyBPE(ab, ``, `,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated"}`), "pattern"},
		"long pattern":        {tinyBPE(ab, ``, `,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"`+strings.Repeat("(", 1<<17)+`"}}`), "at most"},
		"POSIX class":         {tinyBPE(ab, ``, `,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"[[:alpha:]]"}}`), "POSIX"},
		"no pattern":          {tinyBPE(ab, ``, `,"pre_tokenizer":{"type":"Split","pattern":{}}`), "neither String nor Regex"},
		"behavior":            {tinyBPE(ab, ``, `,"pre_tokenizer":{"type":"Split","pattern":"a","behavior":"Kept"}`), "behavior"},
		"scheme":              {tinyBPE(ab, ``, `,"pre_tokenizer":{"type":"Metaspace","prepend_scheme":"last"}`), "prepend_scheme"},
		"ByteLevel twice":     {tinyBPE(ab, ``, `,"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"ByteLevel"},{"type":"Digits"}]}`), "twice"},
		"decoder":             {tinyBPE(ab, ``, `,"decoder":{"type":"CTC"}`), "supported are"},
		"decoder after Fuse":  {tinyBPE(ab, ``, `,"decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]}`), "after Fuse"},
		"decoder stop":        {tinyBPE(ab, ``, `,"decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":0,"stop":1}]}`), "stop"},
		"template":            {tinyBPE(ab, ``, `,"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{}}`), "special_tokens"},
		"template id":         {tinyBPE(ab, ``, `,"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{"x":{"ids":[9]}}}`), "ends at 2"},
		"template no text":    {tinyBPE(ab, ``, `,"post_processor":{"type":"TemplateProcessing","single":[]}`), "0 times"},
		"post_processor":      {tinyBPE(ab, ``, `,"post_processor":{"type":"Other"}`), "supported are"},
		"sep":                 {tinyBPE(ab, ``, `,"post_processor":{"type":"BertProcessing","sep":["x",1e9],"cls":["a",0]}`), "cls and sep"},
		"added giant id":      {tinyBPE(ab, ``, `,"added_tokens":[{"id":4294967296,"content":"x"}]`), "out of proportion"},
		"added twice":         {tinyBPE(ab, ``, `,"added_tokens":[{"id":3,"content":"a"}]`), "twice"},
		"unigram entry":       {`{"model":{"type":"Unigram","vocab":[["a"]]}}`, "[text, score]"},
		"unigram unk_id":      {`{"model":{"type":"Unigram","unk_id":7,"vocab":[["a",-1]]}}`, "unk_id"},
		"unigram long token":  {`{"model":{"type":"Unigram","vocab":[["` + strings.Repeat("a", 5000) + `",-1]]}}`, "at most"},
		"unigram same twice":  {`{"model":{"type":"Unigram","vocab":[["a",-1],["a",-2]]}}`, "twice"},
		"unigram no scores":   {`{"model":{"type":"Unigram","vocab":[]}}`, "empty"},
		"model of wrong type": {`{"model":[]}`, "model"},
	} {
		_, err := token.FromTokenizerJSON([]byte(c.json), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestTokenizerConfig(t *testing.T) {
	file := tinyBPE(`"a":0,"b":1`, ``, `,"added_tokens":[{"id":2,"content":"<s>","special":true},{"id":3,"content":"</s>","special":true}]`)
	for name, c := range map[string]struct {
		config string
		ids    string
		err    string
	}{
		"none":            {`{}`, "[0]", ""},
		"adds BOS":        {`{"bos_token":"<s>","add_bos_token":true}`, "[2 0]", ""},
		"adds both":       {`{"bos_token":{"content":"<s>"},"eos_token":"</s>","add_bos_token":true,"add_eos_token":true}`, "[2 0 3]", ""},
		"null":            {`{"bos_token":null,"add_bos_token":false}`, "[0]", ""},
		"more tokens":     {`{"bos_token":"[B]","add_bos_token":true,"added_tokens_decoder":{"9":{"content":"[B]","special":true}}}`, "[9 0]", ""},
		"unknown BOS":     {`{"bos_token":"<x>","add_bos_token":true}`, "", "not in the vocabulary"},
		"unused BOS":      {`{"bos_token":"<x>"}`, "[0]", ""},
		"unknown EOS":     {`{"eos_token":"<x>"}`, "", "not in the vocabulary"},
		"no id":           {`{"added_tokens_decoder":{"x":{"content":"[B]"}}}`, "", "not an id"},
		"giant id":        {`{"added_tokens_decoder":{"99999999":{"content":"[B]"}}}`, "", "out of proportion"},
		"not an object":   {`[]`, "", "tokenizer_config.json"},
		"bos of a number": {`{"bos_token":3}`, "", "tokenizer_config.json"},
	} {
		tok, err := token.FromTokenizerJSON([]byte(file), []byte(c.config))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want one with %q", name, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprint(tok.Encode("a", token.EncodeOptions{AddSpecial: true})); got != c.ids {
			t.Errorf("%s: got %s, want %s", name, got, c.ids)
		}
	}
}

func TestGGUFErrors(t *testing.T) {
	base := func(more metadata) metadata {
		m := metadata{"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": []string{"a", "b", "ab"}, "tokenizer.ggml.merges": []string{"a b"}}
		for k, v := range more {
			if v == nil {
				delete(m, k)
			} else {
				m[k] = v
			}
		}
		return m
	}
	if _, err := token.FromGGUF(base(nil)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		more metadata
		want string
	}{
		"no model":        {metadata{"tokenizer.ggml.model": nil}, "no tokenizer.ggml.model"},
		"unknown model":   {metadata{"tokenizer.ggml.model": "bert"}, "supported are gpt2, llama and t5"},
		"unknown pre":     {metadata{"tokenizer.ggml.pre": "novel"}, "llama-bpe"},
		"no tokens":       {metadata{"tokenizer.ggml.tokens": nil}, "no tokenizer.ggml.tokens"},
		"empty tokens":    {metadata{"tokenizer.ggml.tokens": []string{}}, "empty"},
		"tokens twice":    {metadata{"tokenizer.ggml.tokens": []string{"a", "b", "ab", "a"}}, "twice"},
		"few types":       {metadata{"tokenizer.ggml.token_type": []int32{1}}, "token_type"},
		"merge of one":    {metadata{"tokenizer.ggml.merges": []string{"a"}}, "merge 0"},
		"unknown merge":   {metadata{"tokenizer.ggml.merges": []string{"a x"}}, "not in the vocabulary"},
		"bos":             {metadata{"tokenizer.ggml.bos_token_id": uint64(3)}, "ends at 2"},
		"eot":             {metadata{"tokenizer.ggml.eot_token_id": uint64(1 << 40)}, "ends at 2"},
		"no scores":       {metadata{"tokenizer.ggml.model": "llama"}, "scores"},
		"unknown id":      {metadata{"tokenizer.ggml.model": "t5", "tokenizer.ggml.scores": []float32{1, 2, 3}, "tokenizer.ggml.unknown_token_id": uint64(5)}, "ends at 2"},
		"score not one":   {metadata{"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": []float32{1, 2, float32(nan())}}, "not a number"},
		"score unbounded": {metadata{"tokenizer.ggml.model": "t5", "tokenizer.ggml.scores": []float32{1, 2, float32(1 / zero())}}, "finite"},
		"charsmap":        {metadata{"tokenizer.ggml.model": "t5", "tokenizer.ggml.scores": []float32{1, 2, 3}, "tokenizer.ggml.precompiled_charsmap": []int32{1}}, "charsmap"},
	} {
		_, err := token.FromGGUF(base(c.more))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func zero() float64 { return 0 }
func nan() float64  { return zero() / zero() }

func TestTiktokenErrors(t *testing.T) {
	line := func(s string, rank int) string {
		return fmt.Sprintf("%s %d\n", base64.StdEncoding.EncodeToString([]byte(s)), rank)
	}
	var all strings.Builder
	for b := range 256 {
		all.WriteString(line(string([]byte{byte(b)}), b))
	}
	ok := all.String()
	if _, err := token.FromTiktoken([]byte(ok), llama3Pattern, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ranks, pattern string
		special        map[string]int32
		want           string
	}{
		"empty":        {"", ".", nil, "empty"},
		"no bytes":     {line("a", 0), ".", nil, "no token for byte"},
		"one field":    {"YQ==\n", ".", nil, "line 1"},
		"not base64":   {"! 0\n", ".", nil, "line 1"},
		"not a rank":   {"YQ== x\n", ".", nil, "line 1"},
		"giant rank":   {line("a", 1<<31), ".", nil, "far beyond"},
		"rank twice":   {line("a", 0) + line("b", 0), ".", nil, "rank 0"},
		"token twice":  {ok + line("a", 300), ".", nil, "twice"},
		"bad pattern":  {ok, "(", nil, "pattern"},
		"special id":   {ok, ".", map[string]int32{"<s>": 7}, "rank 7"},
		"special text": {ok, ".", map[string]int32{"": 300}, "empty"},
		"long token":   {ok + line(strings.Repeat("a", 2000), 256), ".", nil, "at most"},
	} {
		_, err := token.FromTiktoken([]byte(c.ranks), c.pattern, c.special)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// TestDamagedSentencePiece cuts a model at every place near its beginning and
// end: an error or a smaller vocabulary, never a panic.
func TestDamagedSentencePiece(t *testing.T) {
	model := gunzip(t, "testdata/sp-bpe.model.gz")
	for n := range len(model) {
		if n < 300 || n > len(model)-300 || n%97 == 0 {
			if tok, err := token.FromSentencePiece(model[:n]); err == nil {
				tok.Encode("the river", token.EncodeOptions{AddSpecial: true})
			}
		}
	}
	if _, err := token.FromSentencePiece([]byte{0x12, 2, 0x18, 9, 0x0a, 3, 0x0a, 1, 'a'}); err == nil || !strings.Contains(err.Error(), "type 9") {
		t.Errorf("model type 9: %v", err)
	}
}

// TestMemoryFollowsTheFile: ids at the edge of what is taken.
func TestMemoryFollowsTheFile(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, file := range []string{tinyBPE(`"a":65000`, ``, ``), tinyBPE(`"a":1000000000`, ``, ``)} {
		_, _ = token.FromTokenizerJSON([]byte(file), nil)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("%d bytes for two tiny files", used)
	}
}

// exercise uses a tokeniser whose description may be nonsense.
func exercise(t *testing.T, tok *token.Tokenizer) {
	for _, o := range []token.EncodeOptions{{}, {AddSpecial: true, ParseSpecial: true}} {
		ids := tok.Encode("Hello  wörld, a1 23\n\xff🦙 <s>▁ab aab", o)
		for _, id := range ids {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Fatalf("id %d of %d", id, tok.VocabSize())
			}
		}
		if text := tok.Decode(ids, token.DecodeOptions{}); !utf8.ValidString(text) {
			t.Fatalf("decoded to %q", text)
		}
	}
	tok.EOG()
	tok.AddBOS()
}

func FuzzTokenizerJSON(f *testing.F) {
	for _, rest := range []string{
		``, `,"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"NFKC"}]}`,
		`,"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"}`, `,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\p{L}+|\\s"},"behavior":"MergedWithNext","invert":true}`,
		`,"pre_tokenizer":{"type":"Metaspace","prepend_scheme":"first"},"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}`,
		`,"added_tokens":[{"id":3,"content":"<s>","special":true,"lstrip":true,"rstrip":true,"single_word":true,"normalized":true}],"post_processor":{"type":"BertProcessing","sep":["a",0],"cls":["b",1]}`,
		`,"normalizer":{"type":"ByteLevel"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"Punctuation"},{"type":"Whitespace"}]}`,
	} {
		f.Add([]byte(tinyBPE(`"a":0,"b":1,"ab":2`, `"a b"`, rest)), []byte(`{"bos_token":"a","add_bos_token":true}`))
	}
	f.Add([]byte(`{"model":{"type":"Unigram","unk_id":0,"byte_fallback":true,"vocab":[["<unk>",0],["a",-1],["b",-2.5],["ab",-3],["▁",-4],["<0xFF>",0]]}}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, file, config []byte) {
		if tok, err := token.FromTokenizerJSON(file, config); err == nil {
			exercise(t, tok)
		}
	})
}

func FuzzGGUFVocab(f *testing.F) {
	f.Add("gpt2", "gpt-2", "a\nb\nab\nĠ\n<s>", "a b", []byte{1, 1, 1, 1, 3}, uint64(4))
	f.Add("llama", "", "<unk>\n<s>\n▁\na\nb\n▁a\nab\n<0x41>", "", []byte{2, 3, 1, 1, 4, 1, 1, 6}, uint64(1))
	f.Add("t5", "", "<unk>\n</s>\n▁\na\nab", "", []byte{2, 3, 1, 5, 1}, uint64(1))
	f.Fuzz(func(t *testing.T, model, pre, tokens, merges string, types []byte, special uint64) {
		m := metadata{"tokenizer.ggml.model": model, "tokenizer.ggml.tokens": strings.Split(tokens, "\n"),
			"tokenizer.ggml.bos_token_id": special, "tokenizer.ggml.unknown_token_id": special / 3, "tokenizer.ggml.add_bos_token": true}
		if pre != "" {
			m["tokenizer.ggml.pre"] = pre
		}
		if merges != "" {
			m["tokenizer.ggml.merges"] = strings.Split(merges, "\n")
		}
		var kinds, table []int32
		var scores []float32
		for i, b := range types {
			kinds, scores, table = append(kinds, int32(b)), append(scores, float32(int(b)-i)), append(table, int32(int8(b)))
		}
		m["tokenizer.ggml.token_type"], m["tokenizer.ggml.scores"], m["tokenizer.ggml.precompiled_charsmap"] = kinds, scores, table
		if special%2 == 0 {
			delete(m, "tokenizer.ggml.precompiled_charsmap")
		}
		if tok, err := token.FromGGUF(m); err == nil {
			exercise(t, tok)
		}
	})
}

func FuzzSentencePiece(f *testing.F) {
	f.Add(gunzip(f, "testdata/sp-bpe.model.gz"))
	f.Add([]byte{0x0a, 3, 0x0a, 1, 'a', 0x12, 2, 0x18, 2})
	f.Fuzz(func(t *testing.T, model []byte) {
		if tok, err := token.FromSentencePiece(model); err == nil {
			exercise(t, tok)
		}
	})
}

// FuzzEncodeRoundTrip: a byte-level vocabulary loses nothing.
func FuzzEncodeRoundTrip(f *testing.F) {
	var toks []*token.Tokenizer
	for _, name := range []string{"hf-tekken", "hf-gpt4o", "hf-deepseek-v3", "hf-falcon", "hf-starcoder", "hf-bailing"} {
		tok, _ := loadHF(f, name)
		toks = append(toks, tok)
	}
	for _, text := range goldenTexts(f)[:60] {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := string([]rune(text))
		for i, tok := range toks {
			ids := tok.Encode(text, token.EncodeOptions{})
			if got := tok.Decode(ids, token.DecodeOptions{}); got != want {
				t.Fatalf("tokeniser %d: %q came back as %q", i, want, got)
			}
			if got := push(t, tok, ids, token.DecodeOptions{}); got != want {
				t.Fatalf("tokeniser %d: %q streamed as %q", i, want, got)
			}
		}
	})
}

// TestSeedsAreThere keeps the fuzz targets from running on nothing.
func TestSeedsAreThere(t *testing.T) {
	if n := len(goldenTexts(t)); n < 60 {
		t.Errorf("%d texts", n)
	}
	if !json.Valid([]byte(tinyBPE(`"a":0`, ``, ``))) {
		t.Error("the seed of FuzzTokenizerJSON is no JSON")
	}
}
