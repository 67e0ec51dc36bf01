package token

import (
	"errors"
	"fmt"
	"strings"
)

// Metadata is what a tokeniser needs of a GGUF file's key-values. The second
// result says whether the key is there with that type.
type Metadata interface {
	String(key string) (string, bool)
	Strings(key string) ([]string, bool)
	Uint(key string) (uint64, bool)
	Bool(key string) (bool, bool)
	Int32s(key string) ([]int32, bool)
	Float32s(key string) ([]float32, bool)
}

// FromGGUF returns the tokeniser that a GGUF file describes under
// tokenizer.ggml: models gpt2 (byte-level BPE), llama (SentencePiece BPE) and
// t5 (unigram).
func FromGGUF(m Metadata) (*Tokenizer, error) {
	g := gguf{m: m}
	t, err := g.load()
	if err != nil {
		return nil, fmt.Errorf("read tokenizer of GGUF: %w", err)
	}
	return t, nil
}

type gguf struct {
	m Metadata
	vocabulary
}

func (g *gguf) load() (*Tokenizer, error) {
	model, ok := g.m.String("tokenizer.ggml.model")
	if !ok {
		return nil, errors.New("the file has no tokenizer.ggml.model: it holds no tokenizer")
	}
	build, ok := map[string]func() (*Tokenizer, error){"gpt2": g.byteLevel, "llama": g.sentencePiece, "t5": g.unigram}[model]
	if !ok {
		return nil, fmt.Errorf("tokenizer.ggml.model is %s; supported are gpt2, llama and t5", quote(model))
	}
	if err := g.tokens(); err != nil {
		return nil, err
	}
	t, err := build()
	if err != nil {
		return nil, err
	}
	return t, g.special(t)
}

// tokens reads the vocabulary. Tokens known to end a turn count as special
// whatever the file says: some converters list them as ordinary text.
func (g *gguf) tokens() error {
	texts, ok := g.m.Strings("tokenizer.ggml.tokens")
	if !ok {
		return errors.New("the file has no tokenizer.ggml.tokens")
	}
	g.texts = texts
	if err := g.index(); err != nil {
		return err
	}
	g.kinds = make([]kind, len(texts))
	if types, ok := g.m.Int32s("tokenizer.ggml.token_type"); ok {
		if len(types) < len(texts) {
			return fmt.Errorf("tokenizer.ggml.token_type has %d entries for %d tokens", len(types), len(texts))
		}
		for i := range g.kinds {
			if k := types[i] - 1; k > 0 && k <= int32(byteToken) {
				g.kinds[i] = kind(k)
			}
		}
	}
	for _, text := range turnEnds() {
		if id, ok := g.ids[text]; ok {
			g.kinds[id] = control
		}
	}
	return nil
}

// readScores reads the scores of the tokens.
func (g *gguf) readScores() error {
	scores, ok := g.m.Float32s("tokenizer.ggml.scores")
	if !ok || len(scores) < len(g.texts) {
		return fmt.Errorf("tokenizer.ggml.scores has %d entries for %d tokens", len(scores), len(g.texts))
	}
	g.scores = make([]float64, len(g.texts))
	for i := range g.scores {
		g.scores[i] = float64(scores[i])
	}
	return nil
}

func (g *gguf) byteLevel() (*Tokenizer, error) {
	name, given := g.m.String("tokenizer.ggml.pre")
	pre, err := presetNamed(name, given)
	if err != nil {
		return nil, err
	}
	lines, _ := g.m.Strings("tokenizer.ggml.merges")
	merges := make([]merge, len(lines))
	for i, line := range lines {
		if merges[i], err = parseMerge(line); err != nil {
			return nil, fmt.Errorf("merge %d: %w", i, err)
		}
	}
	a := newAlphabet()
	model, err := g.vocabulary.byteLevel(merges, a, pre.ignoreMerges, fallback{unknown: noToken})
	if err != nil {
		return nil, err
	}
	t := g.tokenizer(func(_ int32, text string, k kind) string {
		if k == normal || k == unused {
			if raw, ok := a.read(text); ok {
				return raw
			}
		}
		return text
	})
	for _, p := range pre.patterns {
		f, err := compile(p)
		if err != nil {
			return nil, err
		}
		t.steps = append(t.steps, splitBy(f, isolated))
		if t.words == 0 && makesWords(p) {
			t.words = len(t.steps)
		}
	}
	if t.words == 0 {
		t.words = len(t.steps)
	}
	t.model = model
	return t, g.around(t, pre.addBOS, false)
}

// parseMerge splits "left right" at its space. A part may begin with a space
// of its own, never contain another.
func parseMerge(line string) (merge, error) {
	if len(line) >= 3 {
		if i := strings.IndexByte(line[1:], ' ') + 1; i > 0 && i+1 < len(line) {
			return merge{line[:i], line[i+1:]}, nil
		}
	}
	return merge{}, fmt.Errorf("%s is not two tokens with a space between", quote(line))
}

// metaPiece returns the bytes of a token of SentencePiece.
func metaPiece(_ int32, text string, k kind) string {
	switch k {
	case byteToken:
		if b, ok := byteOf(text); ok {
			return string([]byte{b})
		}
	case normal, unused:
		return strings.ReplaceAll(text, meta, " ")
	}
	return text
}

// fallback returns how characters outside the vocabulary are encoded.
func (g *gguf) fallback() (fallback, error) {
	f := fallback{bytes: g.byteTokens(), unknown: noToken, fuse: true}
	id, ok, err := g.id("tokenizer.ggml.unknown_token_id")
	if ok {
		f.unknown = id
	}
	return f, err
}

func (g *gguf) sentencePiece() (*Tokenizer, error) {
	if err := g.readScores(); err != nil {
		return nil, err
	}
	f, err := g.fallback()
	if err != nil {
		return nil, err
	}
	model, err := g.vocabulary.sentencePiece(f)
	if err != nil {
		return nil, err
	}
	t := g.tokenizer(metaPiece)
	prefix := ""
	if g.flag("tokenizer.ggml.add_space_prefix", true) {
		prefix = meta
		t.lead = lead{strip: ' ', count: 1}
	}
	t.normalizers = []normalizer{func(s string) string { return escapeSpaces(prefix, s) }}
	t.steps = g.wordsAtSpaces()
	t.words = len(t.steps)
	t.model = model
	return t, g.around(t, true, false)
}

func (g *gguf) unigram() (*Tokenizer, error) {
	if err := g.readScores(); err != nil {
		return nil, err
	}
	f, err := g.fallback()
	if err != nil {
		return nil, err
	}
	isText := func(k kind) bool { return k == normal || k == userDefined || k == unused }
	model, err := g.vocabulary.unigram(isText, func(k kind) bool { return k == normal }, f)
	if err != nil {
		return nil, err
	}
	p := piecewise{
		addPrefix: g.flag("tokenizer.ggml.add_space_prefix", true),
		squeeze:   g.flag("tokenizer.ggml.remove_extra_whitespaces", true),
		escape:    true,
	}
	if table, ok := g.m.Int32s("tokenizer.ggml.precompiled_charsmap"); ok && len(table) > 0 {
		blob := make([]byte, len(table))
		for i, v := range table {
			blob[i] = byte(v)
		}
		if p.table, err = parseCharsmap(blob); err != nil {
			return nil, err
		}
	}
	t := g.tokenizer(metaPiece)
	if p.addPrefix {
		t.lead = lead{strip: ' ', count: 1}
	}
	t.normalizers = []normalizer{p.normalize}
	t.steps = g.wordsAtSpaces()
	t.words = len(t.steps)
	t.model = model
	return t, g.around(t, false, true)
}

// flag returns a truth value of the file, or what holds without it.
func (g *gguf) flag(key string, without bool) bool {
	if v, ok := g.m.Bool(key); ok {
		return v
	}
	return without
}

// id returns the token id at a key.
func (g *gguf) id(key string) (int32, bool, error) {
	v, ok := g.m.Uint(key)
	if !ok {
		return noToken, false, nil
	}
	if v >= uint64(len(g.texts)) {
		if v == 1<<32-1 { // some writers put -1 for "none"
			return noToken, false, nil
		}
		return noToken, false, fmt.Errorf("%s is %d, but the vocabulary ends at %d", key, v, len(g.texts)-1)
	}
	return int32(v), true, nil
}

// around sets what AddSpecial puts around a text. bos and eos say what holds
// if the file is silent.
func (g *gguf) around(t *Tokenizer, bos, eos bool) (err error) {
	var hasBOS, hasEOS bool
	if t.bos, hasBOS, err = g.id("tokenizer.ggml.bos_token_id"); err != nil {
		return err
	}
	if t.eos, hasEOS, err = g.id("tokenizer.ggml.eos_token_id"); err != nil {
		return err
	}
	if hasBOS && g.flag("tokenizer.ggml.add_bos_token", bos) {
		t.before = []int32{t.bos}
	}
	if hasEOS && g.flag("tokenizer.ggml.add_eos_token", eos) {
		t.after = []int32{t.eos}
	}
	return nil
}

// special sets the tokens found in raw text and those that end a generation.
func (g *gguf) special(t *Tokenizer) error {
	added := map[int32]addedToken{}
	for i, k := range g.kinds {
		if k.special() || k == userDefined {
			added[int32(i)] = addedToken{text: g.texts[i], special: k.special()}
		}
	}
	t.raw = newAddedTokens(added)
	var more []int32
	for _, key := range []string{"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"} {
		id, ok, err := g.id(key)
		if err != nil {
			return err
		}
		if ok {
			more = append(more, id)
		}
	}
	t.setEOG(more...)
	return nil
}
