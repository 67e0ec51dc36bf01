package token

import "unicode/utf8"

// unigram cuts a word into the tokens whose scores, log probabilities, have
// the highest sum (Viterbi over the places where tokens can begin and end).
type unigram struct {
	tokens   *trie
	scores   []float64
	missing  float64 // the score of a character that no token begins with
	fallback fallback
	// single rounds sums to float32, as SentencePiece does: where two ways tie
	// but for rounding, it decides. (Its sums run through the whole text, ours
	// through a word; so a tie far into a text may still end differently.)
	single bool
}

func (u *unigram) sum(a, b float64) float64 {
	if u.single {
		return float64(float32(a + b))
	}
	return a + b
}

// unknownPenalty lies between the score of an unknown character and that of
// the worst token, as in SentencePiece.
const unknownPenalty = 10

// cell is the best way to reach a place in the word: the token that ends
// there, and where it begins. start -1: no way yet.
type cell struct {
	score float64
	start int32
	id    int32 // noToken: an unknown character
}

func (u *unigram) encode(w *work, text string, out []int32) []int32 {
	cells := w.cells[:0]
	for range len(text) + 1 {
		cells = append(cells, cell{start: -1})
	}
	w.cells = cells
	for i := 0; i < len(text); {
		n := 1
		if text[i] >= utf8.RuneSelf {
			_, n = utf8.DecodeRuneInString(text[i:])
		}
		if !u.reach(cells, text, i, n) {
			relax(&cells[i+n], cell{u.sum(cells[i].score, u.missing), int32(i), noToken})
		}
		i += n
	}
	return u.emit(w, text, out)
}

// relax improves a cell. Of equally good ways the first found stays: the one
// that begins earliest.
func relax(c *cell, by cell) {
	if c.start < 0 || by.score > c.score {
		*c = by
	}
}

// reach improves every place that a token beginning at i reaches, and reports
// whether one of them covers just the character there, n bytes long.
func (u *unigram) reach(cells []cell, text string, i, n int) (covered bool) {
	node, ok := uint32(0), true
	for j := i; j < len(text); j++ {
		if node, ok = u.tokens.child(node, text[j]); !ok {
			break
		}
		if id := u.tokens.value[node]; id != noToken {
			covered = covered || j+1 == i+n
			relax(&cells[j+1], cell{u.sum(cells[i].score, u.scores[id]), int32(i), id})
		}
	}
	return covered
}

// emit walks the best way back from the end and appends its tokens. Unknown
// characters side by side count as one text.
func (u *unigram) emit(w *work, text string, out []int32) []int32 {
	way := w.symbols[:0] // from the last token to the first
	for end := int32(len(text)); end > 0; {
		c := w.cells[end]
		if n := len(way); c.id == noToken && n > 0 && way[n-1].id == noToken && u.fallback.fuse {
			way[n-1].at = c.start
		} else {
			way = append(way, symbol{id: c.id, at: c.start, next: end})
		}
		end = c.start
	}
	w.symbols = way
	for i := len(way) - 1; i >= 0; i-- {
		s := way[i]
		if s.id != noToken {
			out = append(out, s.id)
			continue
		}
		out, _ = u.fallback.emit(text[s.at:s.next], false, out)
	}
	return out
}
