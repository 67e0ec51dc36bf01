package token

import "unicode/utf8"

// A scanner is a pattern written by hand. It returns where the match that
// begins at s[i] ends, or i if none begins there; it sees all of s, since
// patterns look ahead. Each is held to the regular expression it stands for by
// a test on random texts.
//
// The patterns in use are few and alike: contractions, words, numbers, the
// rest, white space. Regular expressions with look-ahead need a backtracking
// engine, which is some fifty times slower here.
type scanner func(t *classes, s string, i int) int

// contraction returns the end of 's 't 're 've 'm 'll or 'd at s[i], or i.
// With fold, capitals match too, and the long s, which folds to s.
func contraction(s string, i int, fold bool) int {
	if s[i] != '\'' || i+1 >= len(s) {
		return i
	}
	a, b := s[i+1], byte(0)
	if i+2 < len(s) {
		b = s[i+2]
	}
	if fold {
		if a == 0xC5 && b == 0xBF { // U+017F
			return i + 3
		}
		a, b = asciiLower(a), asciiLower(b)
	}
	switch {
	case a == 's' || a == 't' || a == 'm' || a == 'd':
		return i + 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return i + 3
	}
	return i
}

func asciiLower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// blanks matches \s+(?!\S)|\s+: a run of white space without its last
// character if something else follows, so that a space stays with its word.
func blanks(t *classes, s string, i int) int {
	end := t.run(s, i, space)
	if end == len(s) {
		return end
	}
	_, last := utf8.DecodeLastRuneInString(s[i:end])
	if end-last > i {
		return end - last
	}
	return end
}

// lines matches \s*[\r\n]+|\s+(?!\S)|\s+ at white space: up to the last line
// break of the run if it has one, else as blanks does.
func lines(t *classes, s string, i int) int {
	end := t.run(s, i, space)
	for j := end; j > i; j-- {
		if s[j-1] == '\n' || s[j-1] == '\r' {
			return j
		}
	}
	return blanks(t, s, i)
}

// scanGPT2 is patternGPT2.
func scanGPT2(t *classes, s string, i int) int {
	if end := contraction(s, i, false); end > i {
		return end
	}
	j := i
	if s[i] == ' ' && i+1 < len(s) {
		j++
	}
	c, _ := t.at(s, j)
	switch {
	case c&letter != 0:
		return t.run(s, j, letter)
	case c&number != 0:
		return t.run(s, j, number)
	case c&space == 0:
		return t.runNot(s, j, space|letter|number)
	}
	return blanks(t, s, i)
}

// worded is the family of llama3 and qwen2: an optional character before a
// word, numbers in groups, the rest with its line breaks.
type worded struct {
	letters class // what words are made of
	digits  int   // characters in a group of digits at most
}

func (p worded) scan(t *classes, s string, i int) int {
	if end := contraction(s, i, true); end > i {
		return end
	}
	c, n := t.at(s, i)
	if c&p.letters != 0 {
		// A mark may be the optional character as well as part of the word:
		// the run is the same either way.
		return t.run(s, i, p.letters)
	}
	if c&(newline|number) == 0 && i+n < len(s) {
		if next, _ := t.at(s, i+n); next&p.letters != 0 {
			return t.run(s, i+n, p.letters)
		}
	}
	if c&number != 0 {
		return digits(t, s, i, p.digits)
	}
	if end := others(t, s, i, space|p.letters|number); end > i {
		return t.run(s, end, newline)
	}
	return lines(t, s, i)
}

// digits matches \p{N}{1,limit}.
func digits(t *classes, s string, i, limit int) int {
	for ; limit > 0 && i < len(s); limit-- {
		c, n := t.at(s, i)
		if c&number == 0 {
			break
		}
		i += n
	}
	return i
}

// others matches " ?[^...]+" where not is what the brackets exclude.
func others(t *classes, s string, i int, not class) int {
	j := i
	if s[i] == ' ' {
		j++
	}
	if end := t.runNot(s, j, not); end > j {
		return end
	}
	return i
}

// cased is the family of gpt-4o and tekken: words also part where a capital
// follows a small letter.
type cased struct {
	digits       int
	contractions bool // a word keeps a contraction that follows it
}

const (
	capitals = upper | otherCase | mark // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
	smalls   = lower | otherCase | mark // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
)

func (p cased) scan(t *classes, s string, i int) int {
	if end := casedWord(t, s, i); end > i {
		if p.contractions && end < len(s) {
			return contraction(s, end, true)
		}
		return end
	}
	c, _ := t.at(s, i)
	if c&number != 0 {
		return digits(t, s, i, p.digits)
	}
	if end := others(t, s, i, space|letter|number); end > i {
		for end < len(s) && (s[end] == '\r' || s[end] == '\n' || s[end] == '/') {
			end++
		}
		return end
	}
	return lines(t, s, i)
}

// casedWord tries, in the order a backtracking engine does, capitals* smalls+
// after an optional character and without it, then capitals+ smalls* likewise.
func casedWord(t *classes, s string, i int) int {
	c, n := t.at(s, i)
	lead := c&(newline|letter|number) == 0 && i+n < len(s)
	if lead {
		if end := endsSmall(t, s, i+n); end > i+n {
			return end
		}
	}
	if end := endsSmall(t, s, i); end > i {
		return end
	}
	if lead {
		if end := t.run(s, i+n, capitals); end > i+n {
			return end
		}
	}
	return t.run(s, i, capitals)
}

// endsSmall matches capitals* smalls+. Where no small letter follows the
// capitals, one of them that counts as both (of no case, or a mark) must serve:
// the last such, and the match ends behind it.
func endsSmall(t *classes, s string, i int) int {
	end, both := i, i
	for end < len(s) {
		c, n := t.at(s, end)
		if c&capitals == 0 {
			break
		}
		end += n
		if c&smalls != 0 {
			both = end
		}
	}
	if stop := t.run(s, end, smalls); stop > end {
		return stop
	}
	return both
}

// scanDeepSeekV3 is patternDeepSeekV3. It does not match digits, nor
// characters of no class that no letter follows.
func scanDeepSeekV3(t *classes, s string, i int) int {
	c, n := t.at(s, i)
	next := class(0)
	if i+n < len(s) {
		next, _ = t.at(s, i+n)
	}
	switch {
	case c&asciiPunct != 0 && next&asciiLetter != 0:
		return t.run(s, i+n, asciiLetter)
	case c&(letter|mark) != 0:
		return t.run(s, i, letter|mark)
	case c&(newline|punct|symbolic) == 0 && next&(letter|mark) != 0:
		return t.run(s, i+n, letter|mark)
	case c&(punct|symbolic) != 0:
		return t.run(s, t.run(s, i, punct|symbolic), newline)
	case s[i] == ' ' && next&(punct|symbolic) != 0:
		return t.run(s, t.run(s, i+1, punct|symbolic), newline)
	case c&space != 0:
		return lines(t, s, i)
	}
	return i
}

// runs returns the scanner of [class]{low,high}, or of \s?[class]{low,high}.
// high 0 is no limit.
func runs(spaced bool, low, high int, in func(t *classes, s string, i int) (bool, int)) scanner {
	count := func(t *classes, s string, i int) int {
		n := 0
		for i < len(s) && (high == 0 || n < high) {
			ok, size := in(t, s, i)
			if !ok {
				break
			}
			i += size
			n++
		}
		if n < low {
			return -1
		}
		return i
	}
	return func(t *classes, s string, i int) int {
		if spaced {
			if c, n := t.at(s, i); c&space != 0 {
				if end := count(t, s, i+n); end > 0 {
					return end
				}
			}
		}
		return max(i, count(t, s, i))
	}
}

func inClass(c class) func(*classes, string, int) (bool, int) {
	return func(t *classes, s string, i int) (bool, int) {
		got, n := t.at(s, i)
		return got&c != 0, n
	}
}

// inRanges holds for the characters within pairs of bounds, in any order.
func inRanges(bounds string) func(*classes, string, int) (bool, int) {
	pairs := []rune(bounds)
	return func(_ *classes, s string, i int) (bool, int) {
		r, n := utf8.DecodeRuneInString(s[i:])
		for k := 0; k < len(pairs); k += 2 {
			if pairs[k] <= r && r <= pairs[k+1] {
				return true, n
			}
		}
		return false, n
	}
}
