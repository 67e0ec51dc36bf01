package grammar

import (
	"encoding/binary"
	"sort"
	"unicode/utf8"
)

// Here automata over characters become automata over bytes: raw text in UTF-8, or
// a JSON string.
//
// A JSON string that need not be anything special may use every escape that JSON
// has. One with constraints has each character in one spelling: as itself, or,
// where it must be escaped, by the short escape; characters below U+0020 that have
// none do not occur. Otherwise \u0061 would be an a that no key and no pattern
// knows.

// chunk is characters that lead to a state.
type chunk struct {
	lo, hi rune
	to     int32
}

// chunks lists what may follow state s; states are numbered from base on.
func (d *chars) chunks(s int32, base int32) []chunk {
	var list []chunk
	d.alphabet.intervals(func(lo, hi rune, class int32) {
		to := d.to(s, class)
		if to == dead {
			return
		}
		to += base
		if n := len(list); n > 0 && list[n-1].hi+1 == lo && list[n-1].to == to {
			list[n-1].hi = hi
			return
		}
		list = append(list, chunk{lo, hi, to})
	})
	return list
}

// within gives the part of chunks in [lo, hi], counted from lo.
func within(list []chunk, lo, hi rune) []chunk {
	var out []chunk
	for _, c := range list[sort.Search(len(list), func(i int) bool { return list[i].hi >= lo }):] {
		if c.lo > hi {
			break
		}
		out = append(out, chunk{max(c.lo, lo) - lo, min(c.hi, hi) - lo, c.to})
	}
	return out
}

// characters adds the edges of chunks to a state.
func (b *builder) characters(from int32, list []chunk) {
	for _, c := range within(list, 0, 0x7F) {
		b.edge(from, byte(c.lo), byte(c.hi), c.to)
	}
	if len(list) == 0 || list[len(list)-1].hi < 0x80 {
		return
	}
	// least is the first character that needs so many bytes: an overlong form is
	// no UTF-8.
	leads := func(lo, hi byte, n int, mask byte, least rune) {
		for lead := int(lo); lead <= int(hi); lead++ {
			first := rune(byte(lead)&mask) << (6 * n)
			cut := max(first, least)
			part := within(list, cut, first+1<<(6*n)-1)
			for i := range part {
				part[i].lo += cut - first
				part[i].hi += cut - first
			}
			if len(part) > 0 {
				b.on(from, byte(lead), b.tail(n, part))
			}
		}
	}
	leads(0xC2, 0xDF, 1, 0x1F, 0x80)
	leads(0xE0, 0xEF, 2, 0x0F, 0x800)
	leads(0xF0, 0xF4, 3, 0x07, 0x10000)
}

// tail returns the state from which n bytes lead on.
func (b *builder) tail(n int, list []chunk) int32 {
	key := make([]byte, 0, 1+12*len(list))
	key = append(key, byte(n))
	for _, c := range list {
		key = binary.LittleEndian.AppendUint32(key, uint32(c.lo))
		key = binary.LittleEndian.AppendUint32(key, uint32(c.hi))
		key = binary.LittleEndian.AppendUint32(key, uint32(c.to))
	}
	if s, ok := b.mids[string(key)]; ok {
		return s
	}
	s := b.state(noTag)
	b.mids[string(key)] = s
	if n == 1 {
		for _, c := range list {
			b.edge(s, 0x80+byte(c.lo), 0x80+byte(c.hi), c.to)
		}
		return s
	}
	for i := range rune(64) {
		first := i << (6 * (n - 1))
		if part := within(list, first, first+1<<(6*(n-1))-1); len(part) > 0 {
			b.on(s, 0x80+byte(i), b.tail(n-1, part))
		}
	}
	return s
}

// raw makes the automaton of a text in UTF-8.
func raw(d *chars, m *meter) (*dfa, error) {
	b := newBuilder(m)
	for s := range d.accept {
		tag := int32(noTag)
		if d.accept[s] {
			tag = 0
		}
		b.state(tag)
	}
	for s := range d.accept {
		b.characters(int32(s), d.chunks(int32(s), 0))
	}
	return b.finish(false)
}

// content adds the states of a JSON string's inside and returns the first; end
// tells, for each state that accepts, where the closing quote leads.
func (b *builder) content(d *chars, end func(s int32) int32) int32 {
	base := int32(len(b.edges))
	for range d.accept {
		b.whole[b.state(noTag)] = true
	}
	if d.universal() {
		b.escapes(base)
	}
	for s := range d.accept {
		at := base + int32(s)
		list := d.chunks(int32(s), base)
		b.quoted(at, list, d.universal())
		if d.accept[s] {
			b.on(at, '"', end(int32(s)))
		}
	}
	return base
}

// shortEscapes are JSON's, but for \/ and \u.
var shortEscapes = []struct{ char, escape byte }{{'"', '"'}, {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}}

// quoted adds the edges of characters inside a string.
func (b *builder) quoted(from int32, list []chunk, free bool) {
	var plain []chunk
	for _, cut := range [][2]rune{{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, utf8.MaxRune}} {
		for _, c := range within(list, cut[0], cut[1]) {
			plain = append(plain, chunk{c.lo + cut[0], c.hi + cut[0], c.to})
		}
	}
	b.characters(from, plain)
	if free {
		return
	}
	esc := int32(dead)
	for _, e := range shortEscapes {
		if at := within(list, rune(e.char), rune(e.char)); len(at) > 0 {
			if esc == dead {
				esc = b.state(noTag)
				b.on(from, '\\', esc)
			}
			b.on(esc, e.escape, at[0].to)
		}
	}
}

// escapes lets a free string use every escape: those of half a surrogate pair
// only with the other half.
func (b *builder) escapes(s int32) {
	esc := b.state(noTag)
	b.on(s, '\\', esc)
	for _, c := range `"\/bfnrt` {
		b.on(esc, byte(c), s)
	}
	hex := func(to int32) int32 { // one digit
		from := b.state(noTag)
		b.hexEdges(from, 0, 15, to)
		return from
	}
	three, two, one := int32(0), int32(0), int32(0)
	one = hex(s)
	two = hex(one)
	three = hex(two)
	u := b.state(noTag)
	b.on(esc, 'u', u)
	b.hexEdges(u, 0, 12, three)
	b.hexEdges(u, 14, 15, three)
	d := b.state(noTag)
	b.hexEdges(u, 13, 13, d)
	b.hexEdges(d, 0, 7, two)
	low := b.state(noTag) // after \uD: C to F
	b.hexEdges(low, 12, 15, two)
	lowD := b.state(noTag)
	b.hexEdges(lowD, 13, 13, low)
	lowU := b.state(noTag)
	b.on(lowU, 'u', lowD)
	slash := b.state(noTag)
	b.on(slash, '\\', lowU)
	b.hexEdges(d, 8, 11, hex(hex(slash)))
}

// hexEdges adds edges for the hexadecimal digits of the values lo to hi.
func (b *builder) hexEdges(from int32, lo, hi int, to int32) {
	for v := lo; v <= hi; v++ {
		b.on(from, "0123456789abcdef"[v], to)
		if v > 9 {
			b.on(from, "0123456789ABCDEF"[v], to)
		}
	}
}

// quotedString makes the automaton of a JSON string, quotes included.
func quotedString(d *chars, counted bool, m *meter) (*dfa, error) {
	b := newBuilder(m)
	start, end := b.state(noTag), b.state(0)
	b.on(start, '"', b.content(d, func(int32) int32 { return end }))
	return b.finish(counted)
}

// spelled gives a text as a JSON string has it, in the one spelling that
// constrained strings use, without quotes.
func spelled(s string) string {
	const hex = "0123456789abcdef"
	out := make([]byte, 0, len(s)+8)
next:
	for i := range len(s) {
		c := s[i]
		for _, e := range shortEscapes {
			if c == e.char {
				out = append(out, '\\', e.escape)
				continue next
			}
		}
		if c < 0x20 {
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			continue
		}
		out = append(out, c)
	}
	return string(out)
}
