package grammar

import (
	"slices"
	"unicode"
)

// runes is a set of characters: ranges, ascending, neither touching nor
// overlapping. Surrogates are never in it.
type runes []span

// span is the characters lo to hi, both included.
type span struct{ lo, hi rune }

const (
	surrogateLo = 0xD800
	surrogateHi = 0xDFFF
)

// anyRune is every character.
func anyRune() runes { return runes{{0, surrogateLo - 1}, {surrogateHi + 1, unicode.MaxRune}} }

func oneRune(r rune) runes { return runes{{r, r}} }

// makeRunes brings spans into the form of a set.
func makeRunes(spans []span) runes {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b span) int { return int(a.lo - b.lo) })
	var set runes
	for _, s := range spans {
		if s.lo > s.hi {
			continue
		}
		if n := len(set); n > 0 && s.lo <= set[n-1].hi+1 {
			set[n-1].hi = max(set[n-1].hi, s.hi)
			continue
		}
		set = append(set, s)
	}
	return set.and(anyRune())
}

func (a runes) and(b runes) runes {
	var out runes
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if lo, hi := max(a[i].lo, b[j].lo), min(a[i].hi, b[j].hi); lo <= hi {
			out = append(out, span{lo, hi})
		}
		if a[i].hi < b[j].hi {
			i++
		} else {
			j++
		}
	}
	return out
}

func (a runes) not() runes {
	var out []span
	next := rune(0)
	for _, s := range a {
		out = append(out, span{next, s.lo - 1})
		next = s.hi + 1
	}
	out = append(out, span{next, unicode.MaxRune})
	var set runes
	for _, s := range out {
		if s.lo <= s.hi {
			set = append(set, s)
		}
	}
	return set.and(anyRune())
}

func (a runes) or(b runes) runes { return makeRunes(slices.Concat(a, b)) }

func (a runes) has(r rune) bool {
	for _, s := range a {
		if r <= s.hi {
			return r >= s.lo
		}
	}
	return false
}

// table gives the set of a Unicode table.
func table(t *unicode.RangeTable) runes {
	var spans []span
	add := func(lo, hi, stride rune) {
		if stride == 1 {
			spans = append(spans, span{lo, hi})
			return
		}
		for r := lo; r <= hi; r += stride {
			spans = append(spans, span{r, r})
		}
	}
	for _, r := range t.R16 {
		add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	for _, r := range t.R32 {
		add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	return makeRunes(spans)
}

// folded adds the other cases of the set's letters.
func (a runes) folded() runes {
	const most = 4096 // characters looked at one by one; wider sets have both cases already
	spans := slices.Clone(a)
	for _, s := range a {
		if s.hi-s.lo > most {
			continue
		}
		for r := s.lo; r <= s.hi; r++ {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				spans = append(spans, span{f, f})
			}
		}
	}
	return makeRunes(spans)
}
