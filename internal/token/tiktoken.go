package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
)

// FromTiktoken returns the tokeniser of a tiktoken rank file, which has a line
// "base64(token) rank" for each token. pattern cuts a text into words; special
// gives the special tokens, which rank files leave out.
func FromTiktoken(ranks []byte, pattern string, special map[string]int32) (*Tokenizer, error) {
	v, raw, err := readRanks(ranks, special)
	if err != nil {
		return nil, fmt.Errorf("read tiktoken ranks: %w", err)
	}
	f, err := compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("read tiktoken ranks: %w", err)
	}
	model, err := byRank(v, raw)
	if err != nil {
		return nil, fmt.Errorf("read tiktoken ranks: %w", err)
	}
	t := v.tokenizer(func(id int32, text string, k kind) string {
		if k == control {
			return text
		}
		return raw[id]
	})
	t.model, t.steps, t.words = model, []step{splitBy(f, isolated)}, 1
	added := make(map[int32]addedToken, len(special))
	for text, id := range special {
		added[id] = addedToken{text: text, special: true}
	}
	t.raw = newAddedTokens(added)
	for _, name := range []string{"<|begin_of_text|>", "<|startoftext|>", "[BOS]", "<s>"} {
		if id, ok := special[name]; ok {
			t.bos, t.before = id, []int32{id}
			break
		}
	}
	for _, name := range []string{"<|end_of_text|>", "<|endoftext|>", "[EOS]", "</s>"} {
		if id, ok := special[name]; ok {
			t.eos = id
			break
		}
	}
	t.setEOG()
	return t, nil
}

// readRanks returns the vocabulary, spelled in GPT-2's alphabet, and the bytes
// of each token.
func readRanks(ranks []byte, special map[string]int32) (*vocabulary, []string, error) {
	lines := bytes.Count(ranks, []byte{'\n'}) + 1
	// Ranks leave few holes; a giant one must not become a giant table.
	limit := 2*(lines+len(special)) + 1<<16
	v, raw := &vocabulary{}, []string(nil)
	put := func(id int, text, bytes string, k kind) error {
		if id < 0 || id >= limit {
			return fmt.Errorf("token %s has rank %d, far beyond the number of tokens", quote(text), id)
		}
		for len(v.texts) <= id {
			v.texts, v.kinds, raw = append(v.texts, ""), append(v.kinds, unused), append(raw, "")
		}
		if v.texts[id] != "" {
			return fmt.Errorf("rank %d belongs to %s and to %s", id, quote(v.texts[id]), quote(text))
		}
		v.texts[id], v.kinds[id], raw[id] = text, k, bytes
		return nil
	}
	a := newAlphabet()
	n := 0
	for line := range bytes.Lines(ranks) {
		n++
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, nil, fmt.Errorf("line %d: not a token and its rank", n)
		}
		token, err := base64.StdEncoding.DecodeString(string(fields[0]))
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", n, err)
		}
		rank, err := strconv.Atoi(string(fields[1]))
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", n, err)
		}
		if err := put(rank, a.spell(string(token)), string(token), normal); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	for text, id := range special {
		if text == "" {
			return nil, nil, errors.New("a special token is empty")
		}
		if err := put(int(id), text, text, control); err != nil {
			return nil, nil, err
		}
	}
	return v, raw, v.index()
}

// byRank returns tiktoken's BPE: any two parts join that make a token, the one
// of the lowest rank first; a word that is a token is that token.
func byRank(v *vocabulary, raw []string) (*bpe, error) {
	whole := make(map[string]int32, len(raw))
	for id, text := range raw {
		if text != "" && v.kinds[id] == normal {
			whole[text] = int32(id)
		}
	}
	b := &bpe{bytes: new([256]int32), limit: int32(len(raw)), whole: whole, pairs: newTable(4 * len(whole)),
		fallback: fallback{unknown: noToken}}
	for i := range b.bytes {
		id, ok := whole[string([]byte{byte(i)})]
		if !ok {
			return nil, fmt.Errorf("the ranks have no token for byte 0x%02X", i)
		}
		b.bytes[i] = id
	}
	part := func(text string) (int32, bool) {
		id, ok := whole[text]
		return id, ok
	}
	for text, id := range whole {
		if len(text) > maxTokenBytes {
			return nil, tooLong(int(id), text)
		}
		for i := 1; i < len(text); i++ {
			b.link(part, text[:i], text[i:], uint32(id), id)
		}
	}
	return b, nil
}
