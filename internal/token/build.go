package token

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxTokenBytes is the longest token that may take part in merging or in a
// lattice. Real ones have some 200 bytes at most; work per byte of text is
// bounded by this.
const maxTokenBytes = 1024

// vocabulary is what loaders collect about the tokens.
type vocabulary struct {
	texts  []string
	kinds  []kind
	scores []float64 // nil if the model has none
	ids    map[string]int32
}

// index fills ids. An empty text is a hole: no text leads to it.
func (v *vocabulary) index() error {
	if len(v.texts) == 0 {
		return errors.New("the vocabulary is empty")
	}
	if len(v.texts) > math.MaxInt32 {
		return fmt.Errorf("the vocabulary has %d tokens; ids have 31 bits", len(v.texts))
	}
	v.ids = make(map[string]int32, len(v.texts))
	for i, text := range v.texts {
		if text == "" {
			continue
		}
		if other, ok := v.ids[text]; ok {
			return fmt.Errorf("the vocabulary has token %s twice, as %d and %d", quote(text), other, i)
		}
		v.ids[text] = int32(i)
	}
	return nil
}

// byteTokens returns the token of each byte, spelled <0x00> to <0xFF>, nil if
// there is none at all.
func (v *vocabulary) byteTokens() *[256]int32 {
	var tokens [256]int32
	found := false
	for b := range tokens {
		id, ok := v.ids[fmt.Sprintf("<0x%02X>", b)]
		if !ok {
			id = noToken
		}
		tokens[b] = id
		found = found || ok
	}
	if !found {
		return nil
	}
	return &tokens
}

// byteOf returns the byte that <0xHH> spells.
func byteOf(text string) (byte, bool) {
	if len(text) != 6 || !strings.HasPrefix(text, "<0x") || text[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(text[3:5], 16, 8)
	return byte(b), err == nil
}

// mergeable returns the ids of the tokens that text may turn into, by text as
// read gives it: all but special and byte tokens. read may drop a token.
func (v *vocabulary) mergeable(read func(string) (string, bool)) map[string]int32 {
	m := make(map[string]int32, len(v.texts))
	for i, text := range v.texts {
		if k := v.kinds[i]; text == "" || k.special() || k == byteToken {
			continue
		}
		if raw, ok := read(text); ok {
			if _, twice := m[raw]; !twice {
				m[raw] = int32(i)
			}
		}
	}
	return m
}

func asIs(s string) (string, bool) { return s, true }

// merge is a line of a merge list.
type merge struct{ left, right string }

// pairsOfMerges returns the table of a merge list: rank is the line number.
func (v *vocabulary) pairsOfMerges(merges []merge) (*table, error) {
	if len(merges) > math.MaxInt32 {
		return nil, fmt.Errorf("%d merges are too many", len(merges))
	}
	pairs := newTable(len(merges))
	for rank, m := range merges {
		left, ok := v.ids[m.left]
		right, ok2 := v.ids[m.right]
		joined, ok3 := v.ids[m.left+m.right]
		if !ok || !ok2 || !ok3 {
			missing := m.left
			if ok && !ok2 {
				missing = m.right
			} else if ok && !ok3 {
				missing = m.left + m.right
			}
			return nil, fmt.Errorf("merge %d, of %s and %s, names token %s, which is not in the vocabulary",
				rank, quote(m.left), quote(m.right), quote(missing))
		}
		pairs.put(uint64(left)<<32|uint64(right), uint64(rank)<<32|uint64(joined))
	}
	return pairs, nil
}

// byteLevel returns byte-level BPE for a vocabulary spelled in GPT-2's
// alphabet.
func (v *vocabulary) byteLevel(merges []merge, a *alphabet, ignoreMerges bool, f fallback) (*bpe, error) {
	pairs, err := v.pairsOfMerges(merges)
	if err != nil {
		return nil, err
	}
	b := &bpe{pairs: pairs, bytes: new([256]int32), limit: int32(len(v.texts)), fallback: f}
	for i, r := range a.chars {
		id, ok := v.ids[string(r)]
		if !ok {
			id = noToken
		}
		b.bytes[i] = id
	}
	if ignoreMerges {
		b.whole = v.mergeable(a.read)
	}
	return b, nil
}

// characterLevel returns BPE by a merge list over characters.
func (v *vocabulary) characterLevel(merges []merge, ignoreMerges bool, f fallback) (*bpe, error) {
	pairs, err := v.pairsOfMerges(merges)
	if err != nil {
		return nil, err
	}
	b := &bpe{pairs: pairs, limit: int32(len(v.texts)), fallback: f}
	b.characters(v.mergeable(asIs))
	if ignoreMerges {
		b.whole = v.mergeable(asIs)
	}
	return b, nil
}

// characters fills the symbols of single characters.
func (b *bpe) characters(tokens map[string]int32) {
	b.runes = map[rune]int32{}
	for i := range b.ascii {
		b.ascii[i] = noToken
	}
	for text, id := range tokens {
		if r, n := utf8.DecodeRuneInString(text); n == len(text) && (r != utf8.RuneError || n > 1) {
			b.setCharacter(r, id)
		}
	}
}

func (b *bpe) setCharacter(r rune, id int32) {
	if r < utf8.RuneSelf {
		b.ascii[r] = id
	} else {
		b.runes[r] = id
	}
}

func (b *bpe) character(r rune) int32 {
	if r < utf8.RuneSelf {
		return b.ascii[r]
	}
	if id, ok := b.runes[r]; ok {
		return id
	}
	return noToken
}

// sentencePiece returns SentencePiece's BPE: any two symbols join whose text
// together is a token, the one of the highest score first.
func (v *vocabulary) sentencePiece(f fallback) (*bpe, error) {
	tokens := v.mergeable(asIs)
	ranks, err := ranksOf(v.scores)
	if err != nil {
		return nil, err
	}
	b := &bpe{limit: int32(len(v.texts)), fallback: f, pairs: newTable(2 * len(tokens))}
	b.characters(tokens)
	symbols := b.limit
	// part returns the symbol of a part of a token. A character that is no
	// token can still be a part of one: it gets a symbol beyond the vocabulary.
	part := func(text string) (int32, bool) {
		if id, ok := tokens[text]; ok {
			return id, true
		}
		r, n := utf8.DecodeRuneInString(text)
		if n != len(text) || r == utf8.RuneError && n == 1 {
			return 0, false
		}
		if id := b.character(r); id != noToken {
			return id, true
		}
		symbols++
		b.setCharacter(r, symbols-1)
		return symbols - 1, true
	}
	for id, text := range v.texts {
		if own, ok := tokens[text]; !ok || own != int32(id) {
			continue
		}
		if len(text) > maxTokenBytes {
			return nil, tooLong(id, text)
		}
		for i := range text {
			if i > 0 {
				b.link(part, text[:i], text[i:], ranks[id], int32(id))
			}
		}
	}
	return b, nil
}

// link enters the pair of two parts that make up token id.
func (b *bpe) link(part func(string) (int32, bool), left, right string, rank uint32, id int32) {
	l, ok := part(left)
	if !ok {
		return
	}
	if r, ok := part(right); ok {
		b.pairs.put(uint64(l)<<32|uint64(r), uint64(rank)<<32|uint64(id))
	}
}

func tooLong(id int, text string) error {
	return fmt.Errorf("token %d, %s, has %d bytes; at most %d are supported", id, quote(text), len(text), maxTokenBytes)
}

// ranksOf numbers scores from the highest down; equal ones get equal ranks, so
// that the leftmost pair comes first.
func ranksOf(scores []float64) ([]uint32, error) {
	distinct := slices.Clone(scores)
	for i, s := range distinct {
		if math.IsNaN(s) {
			return nil, fmt.Errorf("the score of token %d is not a number", i)
		}
	}
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	ranks := make([]uint32, len(scores))
	for i, s := range scores {
		at, _ := slices.BinarySearch(distinct, s)
		ranks[i] = uint32(len(distinct) - 1 - at)
	}
	return ranks, nil
}

// unigram returns a unigram model over the tokens that in picks. The worst
// score counts over those that floor picks.
func (v *vocabulary) unigram(in, floor func(kind) bool, f fallback) (*unigram, error) {
	u := &unigram{tokens: newTrie(len(v.texts) * 3), scores: v.scores, fallback: f}
	lowest := math.Inf(1)
	for id, text := range v.texts {
		if math.IsNaN(v.scores[id]) || math.IsInf(v.scores[id], 0) {
			return nil, fmt.Errorf("the score of token %d is not a finite number", id)
		}
		if floor(v.kinds[id]) {
			lowest = min(lowest, v.scores[id])
		}
		if text == "" || !in(v.kinds[id]) {
			continue
		}
		if len(text) > maxTokenBytes {
			return nil, tooLong(id, text)
		}
		u.tokens.add(text, int32(id))
	}
	if math.IsInf(lowest, 1) {
		return nil, errors.New("the vocabulary has no token with a score")
	}
	u.missing = lowest - unknownPenalty
	return u, nil
}

// wordsAtSpaces returns the step that cuts at spaces written as meta, if the
// vocabulary allows that without changing a token.
func (v *vocabulary) wordsAtSpaces() []step {
	id, ok := v.ids[meta]
	if !ok || v.kinds[id].special() {
		return nil
	}
	return []step{atSpaces(crossings(v.texts))}
}

// turnEnds are the spellings of tokens that end a turn or a message, over all
// families: no file lists all that its model may end with.
func turnEnds() []string {
	return []string{
		"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot|>", "<|EOT|>",
		"<end_of_turn>", "<EOT>", "_<EOT>", "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>",
		"<|END_OF_TURN_TOKEN|>", "<|return|>", "<|call|>", "<|calls|>", "<|flush|>",
	}
}

// tokenizer puts a vocabulary and its bytes into a Tokenizer; the loader adds
// the rest.
func (v *vocabulary) tokenizer(piece func(id int32, text string, k kind) string) *Tokenizer {
	t := &Tokenizer{texts: v.texts, kinds: v.kinds, ids: v.ids, bos: noToken, eos: noToken, cache: newCache()}
	t.pieces = make([][]byte, len(v.texts))
	var all []byte // one allocation for all pieces
	ends := make([]int, len(v.texts))
	for i, text := range v.texts {
		all = append(all, piece(int32(i), text, v.kinds[i])...)
		ends[i] = len(all)
	}
	from := 0
	for i, end := range ends {
		t.pieces[i] = all[from:end:end]
		from = end
	}
	return t
}

// setEOG collects what ends a generation: eos, more, and the known turn ends.
func (t *Tokenizer) setEOG(more ...int32) {
	eog := append([]int32{}, more...)
	if t.eos != noToken {
		eog = append(eog, t.eos)
	}
	for _, text := range turnEnds() {
		if id, ok := t.ids[text]; ok && t.kinds[id] != normal {
			eog = append(eog, id)
		}
	}
	slices.Sort(eog)
	eog = slices.Compact(eog)
	// In gpt-oss's format <|end|> ends a message within a turn, not the turn.
	_, returns := t.ids["<|return|>"]
	_, calls := t.ids["<|call|>"]
	if end, ok := t.ids["<|end|>"]; ok && returns && calls && end != t.eos {
		eog = slices.DeleteFunc(eog, func(id int32) bool { return id == end })
	}
	t.eog = eog
}
