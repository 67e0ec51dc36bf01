package token

import (
	"slices"
	"sync"
)

// Tokenizer turns text into token ids and back. It is immutable and safe for
// concurrent use.
type Tokenizer struct {
	texts  []string // vocabulary text by id
	kinds  []kind
	pieces [][]byte // bytes by id
	ids    map[string]int32

	raw         *addedTokens // found before normalising
	normalized  *addedTokens // found after it
	normalizers []normalizer
	steps       []step
	words       int // how many steps it takes until pieces are words, worth remembering
	model       model
	cache       *cache

	before, after []int32 // what AddSpecial puts around a text
	bos, eos      int32   // noToken if there is none
	eog           []int32
	lead          lead

	encoders sync.Pool
}

// kind says what a token is for. The values are GGUF's, less one.
type kind uint8

const (
	normal kind = iota
	unknown
	control
	userDefined
	unused
	byteToken
)

// special tokens steer the model and are not text.
func (k kind) special() bool { return k == control || k == unknown }

// EncodeOptions says how a text is read.
type EncodeOptions struct {
	// AddSpecial puts the tokens around the text that the model expects there
	// (usually a beginning-of-sequence token), if it expects any.
	AddSpecial bool
	// ParseSpecial reads the spelling of a special token, such as <|im_end|>,
	// as that token. Leave it off for text from outside, or whoever wrote the
	// text can end a turn in it. Added tokens that are not special are found
	// either way.
	ParseSpecial bool
}

// DecodeOptions says how tokens are written out.
type DecodeOptions struct {
	// SkipSpecial leaves out special tokens; otherwise they are spelled.
	SkipSpecial bool
	// Continuation says that the tokens follow others, as a completion follows
	// its prompt: a space that begins them is kept. Without it, tokenisers that
	// put a space before a text take it away again.
	Continuation bool
}

// VocabSize returns the number of ids: they are 0 to VocabSize-1. A model may
// have more rows of logits than that.
func (t *Tokenizer) VocabSize() int { return len(t.texts) }

// Piece returns the bytes of one token, without regard to what stands before
// it; nothing for an id out of range. The bytes are not the caller's to change.
// They may be a part of a character.
func (t *Tokenizer) Piece(id int32) []byte {
	if uint(id) >= uint(len(t.pieces)) {
		return nil
	}
	return t.pieces[id]
}

// Token returns a token as the vocabulary spells it ("Ġhello", "▁hello",
// "<0x0A>"), "" for an id out of range.
func (t *Tokenizer) Token(id int32) string {
	if uint(id) >= uint(len(t.texts)) {
		return ""
	}
	return t.texts[id]
}

// ID returns the token that the vocabulary spells so.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.ids[token]
	return id, ok
}

// IsSpecial reports whether a token steers the model rather than being text.
func (t *Tokenizer) IsSpecial(id int32) bool {
	return uint(id) < uint(len(t.kinds)) && t.kinds[id].special()
}

// BOS returns the beginning-of-sequence token.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos != noToken }

// EOS returns the end-of-sequence token.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos != noToken }

// EOG returns, in order of id, the tokens that end a generation: the
// end-of-sequence token and those that end a turn or a message.
func (t *Tokenizer) EOG() []int32 { return slices.Clone(t.eog) }

// AddBOS reports whether AddSpecial begins a text with the
// beginning-of-sequence token.
func (t *Tokenizer) AddBOS() bool { return t.bos != noToken && slices.Contains(t.before, t.bos) }

// Count returns the number of tokens that Encode gives for the text alone,
// special tokens parsed.
func (t *Tokenizer) Count(text string) int {
	e := t.encoder()
	defer t.release(e)
	e.out = e.out[:0]
	e.run(text, EncodeOptions{ParseSpecial: true})
	return len(e.out)
}

// Encode returns the tokens of a text. Bytes that are not UTF-8 count as
// U+FFFD, one each.
func (t *Tokenizer) Encode(text string, o EncodeOptions) []int32 {
	e := t.encoder()
	defer t.release(e)
	e.out = e.out[:0]
	if o.AddSpecial {
		e.out = append(e.out, t.before...)
	}
	e.run(text, o)
	if o.AddSpecial {
		e.out = append(e.out, t.after...)
	}
	return slices.Clone(e.out)
}
