package token

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// behavior says what becomes of the matches of a splitting pattern. The names
// are those of tokenizer.json.
type behavior uint8

const (
	isolated           behavior = iota // a match is a piece of its own
	removed                            // it goes
	mergedWithPrevious                 // it ends the piece before it
	mergedWithNext                     // it begins the piece after it
	contiguous                         // neighbouring matches are one piece
)

func behaviorNamed(name string) (behavior, bool) {
	i := slices.Index([]string{"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"}, name)
	return behavior(max(i, 0)), i >= 0
}

// splitBy cuts pieces at the matches of f.
func splitBy(f finder, b behavior) step {
	if s, ok := f.(scanned); ok && b == isolated {
		return s.isolate
	}
	return func(s string, first bool, emit func(string, bool)) {
		cut(spansOf(f, s), b, s, first, emit)
	}
}

// splitByGaps cuts pieces at what f does not match.
func splitByGaps(f finder, b behavior) step {
	if s, ok := f.(scanned); ok && b == removed {
		return s.only
	}
	return func(s string, first bool, emit func(string, bool)) {
		all := spansOf(f, s)
		for i := range all {
			all[i].match = !all[i].match
		}
		cut(all, b, s, first, emit)
	}
}

// isolate is splitBy for a scanner and isolated matches, the way of nearly all
// tokenisers, without a list of spans.
func (f scanned) isolate(s string, first bool, emit func(string, bool)) {
	gap := 0 // what lies between the last match and i
	for i := 0; i < len(s); {
		end := f.scan(f.classes, s, i)
		if end == i {
			if s[i] < utf8.RuneSelf {
				i++
				continue
			}
			_, n := utf8.DecodeRuneInString(s[i:])
			i += n
			continue
		}
		if gap < i {
			emit(s[gap:i], first && gap == 0)
		}
		emit(s[i:end], first && i == 0)
		gap, i = end, end
	}
	if gap < len(s) {
		emit(s[gap:], first && gap == 0)
	}
}

// only emits the matches alone.
func (f scanned) only(s string, first bool, emit func(string, bool)) {
	for i := 0; i < len(s); {
		end := f.scan(f.classes, s, i)
		if end > i {
			emit(s[i:end], first && i == 0)
			i = end
			continue
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		i += n
	}
}

// span is the part [start, end) of a text: a match, or what lies between two.
type span struct {
	start, end int
	match      bool
}

// spansOf covers s with spans.
func spansOf(f finder, s string) []span {
	var all []span
	at := 0
	f.spans(s, func(start, end int) {
		if at < start {
			all = append(all, span{at, start, false})
		}
		all = append(all, span{start, end, true})
		at = end
	})
	if at < len(s) {
		all = append(all, span{at, len(s), false})
	}
	return all
}

// cut emits the pieces of s that its spans make under b.
func cut(all []span, b behavior, s string, first bool, emit func(string, bool)) {
	for i := 0; i < len(all); {
		j := i + 1 // all[i:j] is one piece
		switch b {
		case removed:
			if all[i].match {
				i = j
				continue
			}
		case contiguous:
			for j < len(all) && all[j].match == all[i].match {
				j++
			}
		case mergedWithPrevious: // the first match after other text joins it
			if !all[i].match && j < len(all) && all[j].match {
				j++
			}
		case mergedWithNext: // the last match before other text joins it
			if all[i].match && j < len(all) && !all[j].match {
				j++
			}
		}
		emit(s[all[i].start:all[j-1].end], first && all[i].start == 0)
		i = j
	}
}

// prefixed puts prefix before pieces that do not begin with it; with onlyFirst
// only before the one that begins the text.
func prefixed(prefix string, onlyFirst bool) step {
	return func(s string, first bool, emit func(string, bool)) {
		if !strings.HasPrefix(s, prefix) && (first || !onlyFirst) {
			s = prefix + s
		}
		emit(s, first)
	}
}

// rewritten passes on what f makes of a piece.
func rewritten(f func(string) string) step {
	return func(s string, first bool, emit func(string, bool)) { emit(f(s), first) }
}

// beforeEach cuts before each occurrence of mark.
func beforeEach(mark string) step {
	return func(s string, first bool, emit func(string, bool)) {
		from := 0
		for {
			skip := 0
			if strings.HasPrefix(s[from:], mark) {
				skip = len(mark)
			}
			i := strings.Index(s[from+skip:], mark)
			if i < 0 {
				emit(s[from:], first && from == 0)
				return
			}
			end := from + skip + i
			if end > from {
				emit(s[from:end], first && from == 0)
			}
			from = end
		}
	}
}

// atSpaces cuts before a run of meta, unless the character before it is one
// that some token has before a meta. No token then reaches across a cut, so
// the pieces encode to what the whole would; and pieces can be remembered,
// where SentencePiece sees one endless word.
func atSpaces(crossing map[rune]bool) step {
	return func(s string, first bool, emit func(string, bool)) {
		from := 0
		for i := 1; i+len(meta) <= len(s); i++ {
			if s[i] != meta[0] || s[i+1] != meta[1] || s[i+2] != meta[2] {
				continue
			}
			if i >= len(meta) && s[i-len(meta):i] == meta {
				i += len(meta) - 1
				continue
			}
			if len(crossing) > 0 {
				if r, _ := utf8.DecodeLastRuneInString(s[:i]); crossing[r] {
					continue
				}
			}
			emit(s[from:i], first && from == 0)
			from = i
			i += len(meta) - 1
		}
		if from < len(s) {
			emit(s[from:], first && from == 0)
		}
	}
}

// crossings returns the characters that stand before a meta within a token.
func crossings(tokens []string) map[rune]bool {
	found := map[rune]bool{}
	for _, t := range tokens {
		for at := 0; ; {
			i := strings.Index(t[at:], meta)
			if i < 0 {
				break
			}
			if r, _ := utf8.DecodeLastRuneInString(t[:at+i]); at+i > 0 && string(r) != meta {
				found[r] = true
			}
			at += i + len(meta)
		}
	}
	return found
}

// byteChars is GPT-2's alphabet: a printable character for each byte. Bytes
// that print stand for themselves, the others for U+0100 and up, in order.
func byteChars() (chars [256]rune) {
	next := rune(0x100)
	for b := range chars {
		if b > ' ' && b < 0x7F || b > 0xA0 && b != 0xAD {
			chars[b] = rune(b)
		} else {
			chars[b] = next
			next++
		}
	}
	return chars
}

// alphabet maps between bytes and their characters.
type alphabet struct {
	chars [256]rune
	bytes map[rune]byte
}

func newAlphabet() *alphabet {
	a := &alphabet{chars: byteChars(), bytes: map[rune]byte{}}
	for b, r := range a.chars {
		a.bytes[r] = byte(b)
	}
	return a
}

// spell returns the characters that stand for the bytes of s.
func (a *alphabet) spell(s string) string {
	out := make([]byte, 0, len(s)+len(s)/4)
	for i := range len(s) {
		out = utf8.AppendRune(out, a.chars[s[i]])
	}
	return string(out)
}

// read returns the bytes that the characters of s stand for; not ok if one
// stands for none.
func (a *alphabet) read(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		b, ok := a.bytes[r]
		if !ok {
			return "", false
		}
		out = append(out, b)
	}
	return string(out), true
}
