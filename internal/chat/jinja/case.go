package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// Letter case as Python has it: by Unicode's full mappings (ß becomes SS).

func upper(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s)
	}
	return cases.Upper(language.Und).String(s)
}

func lower(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	return cases.Lower(language.Und, cases.HandleFinalSigma(true)).String(s)
}

// titleRune is a word's first letter in a title.
func titleRune(r rune) string {
	if u := upper(string(r)); utf8.RuneCountInString(u) > 1 {
		first, n := utf8.DecodeRuneInString(u)
		return string(first) + lower(u[n:])
	}
	return string(unicode.ToTitle(r))
}

// capitalize is str.capitalize().
func capitalize(s string) string {
	if s == "" {
		return ""
	}
	r, n := utf8.DecodeRuneInString(s)
	return titleRune(r) + lower(s[n:])
}

func isCased(r rune) bool { return unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r) }

// title is str.title(): letters after letters are small, others large.
func title(s string) string {
	var b strings.Builder
	inWord := false
	for _, r := range s {
		if inWord {
			b.WriteString(lower(string(r)))
		} else {
			b.WriteString(titleRune(r))
		}
		inWord = isCased(r)
	}
	return b.String()
}

func swapCase(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsUpper(r) {
			b.WriteString(lower(string(r)))
		} else {
			b.WriteString(upper(string(r)))
		}
	}
	return b.String()
}

// isDigit is str.isdigit() of one character: decimal digits and those set
// high, low or in circles.
func isDigit(r rune) bool {
	switch {
	case unicode.Is(unicode.Nd, r), r == 0xb2, r == 0xb3, r == 0xb9, r == 0x2070,
		r >= 0x2074 && r <= 0x2079, r >= 0x2080 && r <= 0x2089, r >= 0x2460 && r <= 0x2468:
		return true
	}
	return false
}

// all reports whether s is not empty and is holds for each of its characters.
func all(s string, is func(rune) bool) bool {
	for _, r := range s {
		if !is(r) {
			return false
		}
	}
	return s != ""
}

// hasCase is str.isupper() and str.islower(): there are letters of the case, and
// none of the other.
func hasCase(s string, wanted, other func(rune) bool) bool {
	found := false
	for _, r := range s {
		if other(r) || unicode.IsTitle(r) {
			return false
		}
		found = found || wanted(r)
	}
	return found
}

func isTitle(s string) bool {
	found, inWord := false, false
	for _, r := range s {
		switch {
		case unicode.IsUpper(r) || unicode.IsTitle(r):
			if inWord {
				return false
			}
			found, inWord = true, true
		case unicode.IsLower(r):
			if !inWord {
				return false
			}
			found = true
		default:
			inWord = false
		}
	}
	return found
}

func isIdentifier(s string) bool {
	for i, r := range s {
		if !isNamePart(r) || i == 0 && r >= '0' && r <= '9' {
			return false
		}
	}
	return s != ""
}
