package token

import "unicode/utf8"

// noToken stands in tables for "no id here"; ids themselves are never negative.
const noToken = int32(-1)

// noPair is above every packed rank.
const noPair = ^uint64(0)

// bpe joins neighbouring symbols of a word, lowest rank first and leftmost
// among equals, until none of its pairs is left.
//
// Three tokenisers share it. Byte-level BPE starts from bytes and takes its
// ranks from the merge list. tiktoken gives a pair the rank of the token that
// it makes. SentencePiece starts from characters and ranks a pair by the score
// of the token that it makes. All three come down to one table.
type bpe struct {
	pairs    *table      // left<<32 | right -> rank<<32 | joined
	bytes    *[256]int32 // byte-level: the symbol of each byte; nil if symbols are characters
	ascii    [128]int32  // characters: the symbol of each, by code point
	runes    map[rune]int32
	limit    int32            // symbols from here on are no tokens: characters only found inside tokens
	whole    map[string]int32 // words that are one token whatever the merges say (ignore_merges); may be nil
	fallback fallback
}

// fallback says what becomes of characters that no token covers.
type fallback struct {
	bytes   *[256]int32 // the token of each byte, where a character falls back on its bytes; nil if it does not
	unknown int32       // the token for it otherwise; noToken drops the character
	fuse    bool        // neighbouring unknown characters give one token
}

// shortWord is the longest word, in symbols, for the quadratic merge: below it
// shifting arrays beats the heap (measured; the crossing is at about 50).
const shortWord = 40

// work is the scratch memory of one Encode.
type work struct {
	symbols []symbol
	ranks   []uint64 // ranks[i]: packed rank of the pair that symbols[i] begins
	queue   queue
	cells   []cell // of the unigram lattice
}

// symbol covers the bytes of the word from at to the next symbol's at.
// prev and next are used by the long merge alone; -1 ends the list.
type symbol struct {
	id, at     int32
	prev, next int32
}

func (b *bpe) encode(w *work, word string, out []int32) []int32 {
	if b.whole != nil {
		if id, ok := b.whole[word]; ok {
			return append(out, id)
		}
	}
	b.split(w, word)
	if len(w.symbols) <= shortWord {
		b.mergeShort(w)
		return b.emit(w, word, out)
	}
	b.mergeLong(w)
	return b.emit(w, word, out)
}

// split fills w.symbols with the first symbols of the word.
func (b *bpe) split(w *work, word string) {
	s := w.symbols[:0]
	if b.bytes != nil {
		for i := range len(word) {
			s = append(s, symbol{id: b.bytes[word[i]], at: int32(i)})
		}
		w.symbols = s
		return
	}
	for i := 0; i < len(word); {
		id, size := noToken, 1
		if c := word[i]; c < utf8.RuneSelf {
			id = b.ascii[c]
		} else {
			r, n := utf8.DecodeRuneInString(word[i:])
			size = n
			if known, ok := b.runes[r]; ok {
				id = known
			}
		}
		s = append(s, symbol{id: id, at: int32(i)})
		i += size
	}
	w.symbols = s
}

// pair returns the packed rank and result of joining two symbols.
func (b *bpe) pair(left, right int32) uint64 {
	if left|right < 0 { // one is noToken
		return noPair
	}
	if v, ok := b.pairs.get(uint64(left)<<32 | uint64(right)); ok {
		return v
	}
	return noPair
}

func (b *bpe) mergeShort(w *work) {
	s, ranks := w.symbols, w.ranks[:0]
	for i := range s {
		v := noPair
		if i+1 < len(s) {
			v = b.pair(s[i].id, s[i+1].id)
		}
		ranks = append(ranks, v)
	}
	w.ranks = ranks
	for {
		best, at := uint64(noPair), -1
		for i, v := range ranks {
			if v>>32 < best>>32 {
				best, at = v, i
			}
		}
		if at < 0 {
			break
		}
		s[at].id = int32(uint32(best))
		s = append(s[:at+1], s[at+2:]...)
		ranks = append(ranks[:at+1], ranks[at+2:]...)
		if at > 0 {
			ranks[at-1] = b.pair(s[at-1].id, s[at].id)
		}
		ranks[at] = noPair
		if at+1 < len(s) {
			ranks[at] = b.pair(s[at].id, s[at+1].id)
		}
	}
	w.symbols = s
}

// mergeLong is mergeShort for long words: queues of (rank, place) and a linked
// list of symbols, O(n log n). An entry of a queue is stale when the pair at its
// place has another rank by now; it is then dropped.
func (b *bpe) mergeLong(w *work) {
	s, ranks, q := w.symbols, w.ranks[:0], &w.queue
	q.reset()
	for i := range s {
		s[i].prev, s[i].next = int32(i-1), int32(i+1)
		v := noPair
		if i+1 < len(s) {
			if v = b.pair(s[i].id, s[i+1].id); v != noPair {
				q.first = append(q.first, v&^0xFFFFFFFF|uint64(i))
			}
		}
		ranks = append(ranks, v)
	}
	s[len(s)-1].next = -1
	q.sort()
	for top, ok := q.pop(); ok; top, ok = q.pop() {
		at := int32(uint32(top))
		if v := ranks[at]; v>>32 == top>>32 {
			b.join(s, ranks, q, at, v)
		}
	}
	w.ranks = ranks
	kept := s[:0]
	for i := int32(0); i >= 0; {
		next := s[i].next
		kept = append(kept, s[i])
		i = next
	}
	w.symbols = kept
}

// join merges the pair at at, whose packed rank is v, and queues the two pairs
// that this makes.
func (b *bpe) join(s []symbol, ranks []uint64, q *queue, at int32, v uint64) {
	gone := s[at].next
	after, before := s[gone].next, s[at].prev
	s[at].id, s[at].next = int32(uint32(v)), after
	ranks[gone], ranks[at] = noPair, noPair
	if after >= 0 {
		s[after].prev = at
		if v := b.pair(s[at].id, s[after].id); v != noPair {
			ranks[at] = v
			q.later.push(v&^0xFFFFFFFF | uint64(at))
		}
	}
	if before >= 0 {
		ranks[before] = b.pair(s[before].id, s[at].id)
		if v := ranks[before]; v != noPair {
			q.later.push(v&^0xFFFFFFFF | uint64(before))
		}
	}
}

// emit appends the tokens of the merged symbols.
func (b *bpe) emit(w *work, word string, out []int32) []int32 {
	unknown := false // the last character was one
	for i, s := range w.symbols {
		if s.id >= 0 && s.id < b.limit {
			out, unknown = append(out, s.id), false
			continue
		}
		end := len(word)
		if i+1 < len(w.symbols) {
			end = int(w.symbols[i+1].at)
		}
		out, unknown = b.fallback.emit(word[s.at:end], unknown, out)
	}
	return out
}

// emit appends the tokens of a text that no token covers. after says that the
// character before it was unknown too; the result says whether this one is.
func (f *fallback) emit(text string, after bool, out []int32) ([]int32, bool) {
	if f.bytes != nil && f.covers(text) {
		for i := range len(text) {
			out = append(out, f.bytes[text[i]])
		}
		return out, false
	}
	if f.unknown != noToken && !(after && f.fuse) {
		out = append(out, f.unknown)
	}
	return out, true
}

func (f *fallback) covers(text string) bool {
	for i := range len(text) {
		if f.bytes[text[i]] == noToken {
			return false
		}
	}
	return true
}
