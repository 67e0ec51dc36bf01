package grammar

import (
	"math/bits"
	"slices"
	"sync"
	"unicode/utf8"
)

// Tokens is what the matcher needs of a tokeniser; *token.Tokenizer has it.
type Tokens interface {
	VocabSize() int
	Piece(id int32) []byte
	IsSpecial(id int32) bool
}

// Vocab is a vocabulary prepared for masks: a trie of its tokens' bytes. It is
// immutable but for a cache of its own, and safe for concurrent use.
type Vocab struct {
	size  int // of masks, in tokens
	eog   []int32
	full  trie
	rest  trie     // without the plain tokens
	plain []uint64 // mask of the plain tokens: at most plainRun plain characters
	chars int32    // characters of the longest token
	text  [][]byte // bytes by id; special tokens have their own spelling

	// toFull is the node of full for each of rest.
	toFull []int32

	mu     sync.Mutex
	locals map[localKey]*local
	known  map[uint64][]*dfa // automata by hash
	held   int               // bytes that locals take
}

// trie is the tokens' bytes in depth-first order: node i has the byte on the way
// to it, and its descendants are the nodes up to end. The root is node 0.
type trie struct {
	char  []byte
	depth []int32
	end   []int32
	first []int32 // first[i] to first[i+1] are the tokens at node i, in ids
	ids   []int32
}

// NewVocab prepares a vocabulary for rows of size logits (at least as many as
// there are tokens); eog are the tokens that end an output.
func NewVocab(t Tokens, size int, eog []int32) *Vocab {
	v := &Vocab{size: max(size, t.VocabSize()), eog: slices.Clone(eog), locals: map[localKey]*local{}, known: map[uint64][]*dfa{}}
	v.text = make([][]byte, t.VocabSize())
	v.plain = make([]uint64, v.Words())
	var all, rest []int32
	for id := range int32(t.VocabSize()) {
		text := t.Piece(id)
		switch {
		case t.IsSpecial(id):
			v.text[id] = specialText(id)
		case len(text) == 0 || slices.Contains(text, specialByte):
			continue // it can stand for nothing in a text
		default:
			v.text[id] = text
		}
		all = append(all, id)
		v.chars = max(v.chars, int32(utf8.RuneCount(text)))
		if isPlain(text) && !t.IsSpecial(id) {
			v.plain[id/64] |= 1 << (id % 64)
		} else {
			rest = append(rest, id)
		}
	}
	v.full, v.rest = v.trie(all), v.trie(rest)
	v.matchNodes()
	return v
}

// matchNodes computes toFull: both tries are in order, so one pass finds all.
func (v *Vocab) matchNodes() {
	v.toFull = make([]int32, len(v.rest.char))
	var match func(a, b int32)
	match = func(a, b int32) { // node a of rest is node b of full
		v.toFull[a] = b
		y := b + 1
		for x := a + 1; x < v.rest.end[a]; x = v.rest.end[x] {
			for v.full.char[y] != v.rest.char[x] {
				y = v.full.end[y]
			}
			match(x, y)
		}
	}
	match(0, 0)
}

func trailingZeros(w uint64) int { return bits.TrailingZeros64(w) }

// specialByte begins the spelling of a special token: it occurs in no UTF-8.
const specialByte = 0xFF

// specialText spells a special token, which is no text, for the automata.
func specialText(id int32) []byte {
	return []byte{specialByte, byte(id >> 16), byte(id >> 8), byte(id)}
}

func isPlain(text []byte) bool {
	n := 0
	for rest := text; len(rest) > 0; n++ {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 || r < 0x80 && !plainASCII(byte(r)) {
			return false
		}
		rest = rest[size:]
	}
	return n <= plainRun
}

// Words is the length of a mask.
func (v *Vocab) Words() int { return (v.size + 63) / 64 }

func (v *Vocab) trie(ids []int32) trie {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b int32) int {
		if c := slices.Compare(v.text[a], v.text[b]); c != 0 {
			return c
		}
		return int(a - b)
	})
	t := trie{char: []byte{0}, depth: []int32{0}, end: []int32{0}, first: []int32{0}}
	var path []int32 // nodes from the root's child down to the last token
	var last []byte
	for _, id := range ids {
		text := v.text[id]
		common := 0
		for common < len(last) && common < len(text) && last[common] == text[common] {
			common++
		}
		for _, n := range path[common:] {
			t.end[n] = int32(len(t.char))
		}
		path = path[:common]
		for _, c := range text[common:] {
			path = append(path, int32(len(t.char)))
			t.char = append(t.char, c)
			t.depth = append(t.depth, int32(len(path)))
			t.end = append(t.end, 0)
			t.first = append(t.first, int32(len(t.ids)))
		}
		t.ids = append(t.ids, id)
		last = text
	}
	for _, n := range path {
		t.end[n] = int32(len(t.char))
	}
	t.end[0] = int32(len(t.char))
	t.first = append(t.first, int32(len(t.ids)))
	return t
}

func setBit(mask []uint64, id int32) { mask[id>>6] |= 1 << (id & 63) }

// popcount counts the tokens of a mask.
func popcount(mask []uint64) int {
	n := 0
	for _, w := range mask {
		n += bits.OnesCount64(w)
	}
	return n
}
