package token

import (
	"bytes"
	"unicode/utf8"
)

// lead says what becomes of white space at the beginning of a decoded text:
// tokenisers that put a space before a text take it away again.
type lead struct {
	strip byte // which character goes
	count int  // how many of it at most
	// firstToken says that all spaces of the first token go, and no others, as
	// Metaspace decoders have it; strip and count are then ignored.
	firstToken bool
	// everyToken says that one goes from each token until one has text left, as
	// SentencePiece does where it removes superfluous spaces.
	everyToken bool
}

// Decode returns the text of tokens. Bytes that are not UTF-8 become U+FFFD,
// one for each maximal part of a character (as in the Unicode Standard, 3.9);
// ids out of range are left out.
func (t *Tokenizer) Decode(ids []int32, o DecodeOptions) string {
	d := t.NewDecoder(o)
	text := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		text = d.push(text, id)
	}
	return string(sanitize(text, d.pending))
}

// Decoder turns tokens into text as they arrive. It is for one goroutine.
type Decoder struct {
	t       *Tokenizer
	o       DecodeOptions
	begun   bool // a token has been taken
	strip   int  // characters still to be stripped from the beginning
	pending []byte
}

// NewDecoder returns a decoder of one sequence of tokens: what its Push and
// Flush return, put together, is what Decode returns.
func (t *Tokenizer) NewDecoder(o DecodeOptions) *Decoder {
	d := &Decoder{t: t, o: o, strip: t.lead.count}
	if o.Continuation {
		d.begun, d.strip = true, 0
	}
	return d
}

// Push takes a token and returns the text that it makes certain: all but the
// beginning of a character of which the rest may still come.
func (d *Decoder) Push(id int32) string {
	var buf [64]byte
	return string(d.push(buf[:0], id))
}

// Flush ends the sequence and returns what is left: U+FFFD if it ended within
// a character.
func (d *Decoder) Flush() string {
	text := string(sanitize(nil, d.pending))
	d.pending = nil
	return text
}

// push appends to text what token id makes certain.
func (d *Decoder) push(text []byte, id int32) []byte {
	if d.o.SkipSpecial && d.t.IsSpecial(id) {
		return text
	}
	piece := d.t.Piece(id)
	if !d.begun || d.strip > 0 {
		piece = d.trim(piece)
	}
	if len(d.pending) == 0 && utf8.Valid(piece) {
		return append(text, piece...)
	}
	d.pending = append(d.pending, piece...)
	whole := len(d.pending) - incomplete(d.pending)
	text = sanitize(text, d.pending[:whole])
	d.pending = append(d.pending[:0], d.pending[whole:]...)
	return text
}

// trim takes away white space at the beginning of the sequence.
func (d *Decoder) trim(piece []byte) []byte {
	first := !d.begun
	d.begun = true
	rule := d.t.lead
	if rule.firstToken {
		if first {
			return bytes.ReplaceAll(piece, []byte{' '}, nil)
		}
		return piece
	}
	for d.strip > 0 && len(piece) > 0 {
		if piece[0] != rule.strip {
			d.strip = 0
			break
		}
		piece = piece[1:]
		d.strip--
		if rule.everyToken {
			if len(piece) == 0 {
				d.strip = 1
			}
			break
		}
	}
	return piece
}

// incomplete returns the number of bytes at the end of b that begin a
// character and do not end it.
func incomplete(b []byte) int {
	for n := 1; n <= 3 && n <= len(b); n++ {
		c := b[len(b)-n]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && maximalPart(b[len(b)-n:]) == n && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// maximalPart returns the length of the longest beginning of b that a
// well-formed character could begin with, 1 if none could.
func maximalPart(b []byte) int {
	low, high, n := byte(0x80), byte(0xBF), 0
	switch c := b[0]; {
	case c >= 0xC2 && c <= 0xDF:
		n = 2
	case c >= 0xE0 && c <= 0xEF:
		n = 3
	case c >= 0xF0 && c <= 0xF4:
		n = 4
	default:
		return 1
	}
	switch b[0] { // Unicode Standard, table 3-7
	case 0xE0:
		low = 0xA0
	case 0xED:
		high = 0x9F
	case 0xF0:
		low = 0x90
	case 0xF4:
		high = 0x8F
	}
	i := 1
	for ; i < n && i < len(b) && low <= b[i] && b[i] <= high; i++ {
		low, high = 0x80, 0xBF
	}
	return i
}

// sanitize appends b to text, each maximal part of a malformed character as
// one U+FFFD.
func sanitize(text, b []byte) []byte {
	if utf8.Valid(b) {
		return append(text, b...)
	}
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = maximalPart(b)
		}
		text = utf8.AppendRune(text, r)
		b = b[n:]
	}
	return text
}
