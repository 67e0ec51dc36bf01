package token

import (
	"encoding/binary"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// replaced returns the normaliser that puts by in the place of each match.
func replaced(f finder, by string) normalizer {
	return func(s string) string {
		var b strings.Builder
		at := 0
		f.spans(s, func(start, end int) {
			b.WriteString(s[at:start])
			b.WriteString(by)
			at = end
		})
		if at == 0 {
			return s
		}
		b.WriteString(s[at:])
		return b.String()
	}
}

// lowercase maps each character on its own, without regard to its neighbours.
func lowercase(s string) string {
	// The one character whose small form is two.
	return strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r == 'İ' {
			return r
		}
		return unicode.ToLower(r)
	}, s), "İ", "i̇")
}

func stripAccents(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.M, r) {
			return -1
		}
		return r
	}, s)
}

// nmt is the normaliser of that name: control characters go, unusual spaces
// become spaces.
func nmt(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 1 && r <= 8, r == 0xB, r >= 0xE && r <= 0x1F, r == 0x7F, r == 0x8F, r == 0x9F:
			return -1
		case r == 9, r == 0xA, r == 0xC, r == 0xD, r == 0x1680, r >= 0x200B && r <= 0x200F, r == 0x2028, r == 0x2029,
			r == 0x2581, r == 0xFEFF, r == 0xFFFD:
			return ' '
		}
		return r
	}, s)
}

// charsmap is SentencePiece's compiled table of replacements: the units of a
// double array trie and a pool of texts that its values point into.
type charsmap struct {
	units []uint32
	texts string
}

// parseCharsmap reads the table: the size of the trie in bytes (uint32, little
// endian), its units (uint32 each), then the texts, each ended by a zero byte.
func parseCharsmap(blob []byte) (*charsmap, error) {
	if len(blob) < 4 {
		return nil, errors.New("precompiled charsmap is shorter than its header")
	}
	size := binary.LittleEndian.Uint32(blob)
	blob = blob[4:]
	if size%4 != 0 || uint64(size) > uint64(len(blob)) {
		return nil, errors.New("precompiled charsmap is shorter than its trie")
	}
	m := &charsmap{units: make([]uint32, size/4), texts: string(blob[size:])}
	for i := range m.units {
		m.units[i] = binary.LittleEndian.Uint32(blob[4*i:])
	}
	return m, nil
}

// The fields of a unit of the double array (as in the library Darts-clone).
func unitHasLeaf(u uint32) bool  { return u>>8&1 == 1 }
func unitValue(u uint32) uint32  { return u & (1<<31 - 1) }
func unitLabel(u uint32) uint32  { return u & (1<<31 | 0xFF) }
func unitOffset(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }

// prefix returns what replaces the longest beginning of s that the table has
// (the shortest, if shortest is wanted) and that beginning's length, 0 if none.
func (m *charsmap) prefix(s string, shortest bool) (by string, n int) {
	if len(m.units) == 0 {
		return "", 0
	}
	at := unitOffset(m.units[0])
	for i := range len(s) {
		at ^= uint32(s[i])
		if uint64(at) >= uint64(len(m.units)) || s[i] == 0 {
			break
		}
		u := m.units[at]
		if unitLabel(u) != uint32(s[i]) {
			break
		}
		at ^= unitOffset(u)
		if !unitHasLeaf(u) {
			continue
		}
		if uint64(at) >= uint64(len(m.units)) {
			break
		}
		if v := unitValue(m.units[at]); uint64(v) < uint64(len(m.texts)) {
			by, n = m.textAt(v), i+1
			if shortest {
				break
			}
		}
	}
	return by, n
}

func (m *charsmap) textAt(v uint32) string {
	text, _, _ := strings.Cut(m.texts[v:], "\x00")
	return text
}

// piecewise is SentencePiece's whole normalisation of a text.
type piecewise struct {
	table       *charsmap // may be nil
	addPrefix   bool      // begins the text with a space
	squeeze     bool      // removes spaces at both ends and all but one of a run
	escape      bool      // writes spaces as meta
	spaceSuffix bool      // the added space goes to the end
}

func (p piecewise) normalize(s string) string {
	gap := " "
	if p.escape {
		gap = meta
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	after := p.squeeze // a space, or the beginning, came last
	pendingSpace, begun := false, false
	begin := func() {
		if !begun && p.addPrefix && !p.spaceSuffix {
			b.WriteString(gap)
		}
		begun = true
	}
	for s != "" {
		by, n := p.next(s)
		s = s[n:]
		for i := range len(by) {
			if by[i] != ' ' {
				begin()
				if pendingSpace {
					b.WriteString(gap)
					pendingSpace = false
				}
				b.WriteByte(by[i])
				after = false
				continue
			}
			if !p.squeeze {
				begin()
				b.WriteString(gap)
			} else if !after {
				pendingSpace, after = true, true
			}
		}
	}
	if begun && p.addPrefix && p.spaceSuffix {
		b.WriteString(gap)
	}
	return b.String()
}

// next returns what the beginning of s is normalised to, and its length.
func (p piecewise) next(s string) (string, int) {
	if p.table != nil {
		if by, n := p.table.prefix(s, false); n > 0 {
			return by, n
		}
	}
	_, n := utf8.DecodeRuneInString(s)
	return s[:n], n
}

// graphemes applies a charsmap as Hugging Face does: to user-perceived
// characters of fewer than 6 bytes as a whole, else to each code point; what
// the table has for the shortest beginning stands for all of it. (SentencePiece
// itself takes the longest beginning, wherever it ends: see piecewise.)
type graphemes struct {
	table *charsmap
	find  finder // of grapheme clusters
}

func (g graphemes) normalize(s string) string {
	out := make([]byte, 0, len(s)+len(s)/8)
	for i := 0; i < len(s); {
		// Between ASCII characters a cluster ends, but for a carriage return.
		if s[i] < utf8.RuneSelf && s[i] != '\r' && (i+1 == len(s) || s[i+1] < utf8.RuneSelf) {
			out = g.append(out, s[i:i+1])
			i++
			continue
		}
		end := i + 1
		for end < len(s) && (s[end] >= utf8.RuneSelf || s[end-1] >= utf8.RuneSelf || s[end-1] == '\r' ||
			end+1 < len(s) && s[end+1] >= utf8.RuneSelf) {
			end++
		}
		g.find.spans(s[i:end], func(from, to int) { out = g.cluster(out, s[i+from:i+to]) })
		i = end
	}
	return string(out)
}

func (g graphemes) cluster(out []byte, s string) []byte {
	if len(s) < 6 {
		if by, n := g.table.prefix(s, true); n > 0 {
			return append(out, by...)
		}
	}
	for i, r := range s {
		out = g.append(out, s[i:i+utf8.RuneLen(r)])
	}
	return out
}

func (g graphemes) append(out []byte, s string) []byte {
	if by, n := g.table.prefix(s, true); n > 0 {
		return append(out, by...)
	}
	return append(out, s...)
}
