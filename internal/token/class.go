package token

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is what the pre-tokeniser patterns ask of a character.
type class uint16

const (
	letter      class = 1 << iota // \p{L}
	number                        // \p{N}
	space                         // \s
	punct                         // \p{P}
	symbolic                      // \p{S}
	mark                          // \p{M}
	upper                         // \p{Lu} \p{Lt}
	lower                         // \p{Ll}
	otherCase                     // \p{Lm} \p{Lo}
	newline                       // \r \n
	asciiPunct                    // the printable ASCII that is neither letter, digit nor space
	asciiLetter                   // A-Z a-z
	decimal                       // \p{Nd}
	connector                     // \p{Pc}
)

// word is \w as Unicode (and Oniguruma) has it.
const word = letter | mark | decimal | connector

// classes holds the class of each code point, in pages of 256; nil is a page
// without any class.
type classes [(unicode.MaxRune + 1) >> 8]*[256]class

// classTable is computed once, from the Unicode tables of the Go release: 5 ms
// and about 200 KB, for one load instead of up to four searches a character.
var classTable = sync.OnceValue(func() *classes {
	t := new(classes)
	for name, c := range map[string]class{
		"L": letter, "N": number, "P": punct, "S": symbolic, "M": mark, "Lu": upper, "Lt": upper,
		"Ll": lower, "Lm": otherCase, "Lo": otherCase, "Nd": decimal, "Pc": connector,
	} {
		t.add(unicode.Categories[name], c)
	}
	t.add(unicode.White_Space, space)
	for r := rune(0x21); r < 0x7F; r++ {
		if t.of(r)&(letter|number) == 0 {
			t.set(r, asciiPunct)
		} else if t.of(r)&letter != 0 {
			t.set(r, asciiLetter)
		}
	}
	t.set('\r', newline)
	t.set('\n', newline)
	return t
})

func (t *classes) add(table *unicode.RangeTable, c class) {
	for _, r := range table.R16 {
		for x := rune(r.Lo); x <= rune(r.Hi); x += rune(r.Stride) {
			t.set(x, c)
		}
	}
	for _, r := range table.R32 {
		for x := rune(r.Lo); x <= rune(r.Hi); x += rune(r.Stride) {
			t.set(x, c)
		}
	}
}

func (t *classes) set(r rune, c class) {
	p := &t[r>>8]
	if *p == nil {
		*p = new([256]class)
	}
	(*p)[r&0xFF] |= c
}

func (t *classes) of(r rune) class {
	if p := t[r>>8]; p != nil {
		return p[r&0xFF]
	}
	return 0
}

// at returns the class and the length in bytes of the character at s[i].
func (t *classes) at(s string, i int) (class, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return t[0][c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return t.of(r), n
}

// run returns the end of the run of characters of class c that begins at i.
func (t *classes) run(s string, i int, c class) int {
	page := t[0]
	for i < len(s) {
		if b := s[i]; b < utf8.RuneSelf {
			if page[b]&c == 0 {
				return i
			}
			i++
			continue
		}
		got, n := t.at(s, i)
		if got&c == 0 {
			return i
		}
		i += n
	}
	return i
}

// runNot is run for the characters of none of the classes in c.
func (t *classes) runNot(s string, i int, c class) int {
	page := t[0]
	for i < len(s) {
		if b := s[i]; b < utf8.RuneSelf {
			if page[b]&c != 0 {
				return i
			}
			i++
			continue
		}
		got, n := t.at(s, i)
		if got&c != 0 {
			return i
		}
		i += n
	}
	return i
}
