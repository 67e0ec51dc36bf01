package token

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// The pre-tokeniser patterns that have a scanner. They are data of the models:
// a tokenizer.json carries its pattern in this very spelling.
const (
	contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	tail         = `|\s*[\r\n]+|\s+(?!\S)|\s+`

	patternGPT2       = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3     = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*` + tail
	patternQwen2      = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*` + tail
	patternQwen35     = contractions + `|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*` + tail
	patternGPT4o      = wordSmall + contractions + `?|` + wordCapital + contractions + `?|\p{N}{1,3}` + slashed
	patternTekken     = wordSmall + `|` + wordCapital + `|\p{N}` + slashed
	patternDeepSeekV3 = `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+` +
		`|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*` + tail

	wordSmall   = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
	wordCapital = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`
	slashed     = `| ?[^\s\p{L}\p{N}]+[\r\n/]*` + tail

	patternDigit        = `\p{N}`
	patternDigits       = `\p{N}+`
	patternDigits3      = `\p{N}{1,3}`
	patternASCIIDigits3 = `[0-9][0-9][0-9]`
	patternBreak        = `[\r\n]`
	patternSpacedWord   = `\s?\p{L}+`
	patternSpacedPunct  = `\s?\p{P}+`
	patternFalconPunct  = `[\p{P}\$\+<=>\^~\|` + "`" + `]+`
	patternCJK          = `[一-龥ࠀ-一가-퟿]+`
	patternCJKKana      = `[一-龥぀-ゟ゠-ヿ]+`
	patternCased        = `\s?[` + casedRanges + `]+`
	patternWidePunct    = `\s?[` + widePunctRanges + `]+`

	// casedRanges are the letters that have case, as DeepSeek's pattern lists
	// them; widePunctRanges its punctuation. Escaped are characters that Unicode
	// normalisation would replace, should an editor apply it.
	casedRanges = "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛ" +
		"ὝὟ-\u1F7Dᾀ-ᾴᾶ-ᾼ\u1FBEῂ-ῄῆ-ῌῐ-\u1FD3ῖ-\u1FDBῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212A-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤ" +
		"Ⳬ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
	widePunctRanges = `!-/:-~！-／：-～‘-‟　-。`
)

// scanners maps the patterns above to their scanners.
func scanners() map[string]scanner {
	return map[string]scanner{
		patternGPT2:         scanGPT2,
		patternLlama3:       worded{letters: letter, digits: 3}.scan,
		patternQwen2:        worded{letters: letter, digits: 1}.scan,
		patternQwen35:       worded{letters: letter | mark, digits: 1}.scan,
		patternGPT4o:        cased{digits: 3, contractions: true}.scan,
		patternTekken:       cased{digits: 1}.scan,
		patternDeepSeekV3:   scanDeepSeekV3,
		patternDigit:        runs(false, 1, 1, inClass(number)),
		patternDigits:       runs(false, 1, 0, inClass(number)),
		patternDigits3:      runs(false, 1, 3, inClass(number)),
		patternASCIIDigits3: runs(false, 3, 3, inRanges("09")),
		patternBreak:        runs(false, 1, 1, inClass(newline)),
		patternSpacedWord:   runs(true, 1, 0, inClass(letter)),
		patternSpacedPunct:  runs(true, 1, 0, inClass(punct)),
		patternFalconPunct: runs(false, 1, 0, func(t *classes, s string, i int) (bool, int) {
			c, n := t.at(s, i)
			return c&punct != 0 || strings.IndexByte("$+<=>^~|`", s[i]) >= 0, n
		}),
		patternCJK:       runs(false, 1, 0, inRanges("一龥ࠀ一가퟿")),
		patternCJKKana:   runs(false, 1, 0, inRanges("一龥぀ゟ゠ヿ")),
		patternCased:     runs(true, 1, 0, inRanges(bounds(casedRanges))),
		patternWidePunct: runs(true, 1, 0, inRanges(bounds(widePunctRanges))),
	}
}

// makesWords reports whether a pattern leaves words, or less, and what comes
// after it only cuts these further.
func makesWords(pattern string) bool {
	switch pattern {
	case patternGPT2, patternLlama3, patternQwen2, patternQwen35, patternGPT4o, patternTekken, patternDeepSeekV3,
		patternSpacedWord, patternCased:
		return true
	}
	return false
}

// bounds turns the inside of a bracket expression without escapes into pairs
// of bounds.
func bounds(ranges string) string {
	var pairs []rune
	r := []rune(ranges)
	for i := 0; i < len(r); i++ {
		if i+2 < len(r) && r[i+1] == '-' {
			pairs = append(pairs, r[i], r[i+2])
			i += 2
			continue
		}
		pairs = append(pairs, r[i], r[i])
	}
	return string(pairs)
}

// finder finds the matches of a pattern, left to right, without overlap, and
// never an empty one.
type finder interface {
	spans(s string, yield func(start, end int))
}

// matchTimeout bounds one search of a pattern that runs on the backtracking
// engine. What such a search did not reach stays one piece: the text is still
// encoded, byte for byte, only not into the tokens that the model knows best.
const matchTimeout = 5 * time.Second

// maxPattern bounds what a file can make the pattern compiler do.
const maxPattern = 16 << 10

// compile returns the finder of a regular expression: its scanner if it is a
// known one, the engine otherwise.
func compile(pattern string) (finder, error) {
	if scan, ok := scanners()[pattern]; ok {
		return scanned{classTable(), scan}, nil
	}
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("pattern of %d bytes: at most %d are supported", len(pattern), maxPattern)
	}
	if strings.Contains(pattern, "[:") || strings.Contains(pattern, "&&") {
		return nil, fmt.Errorf("pattern %s: POSIX classes and class intersections are not supported; use \\p{...} classes", quote(pattern))
	}
	// Oniguruma, which defines the patterns of tokenizer.json files, lets ^ and
	// $ match at every line.
	re, err := regexp2.Compile(pattern, regexp2.Multiline)
	if err != nil {
		return nil, fmt.Errorf("pattern %s: %w", quote(pattern), err)
	}
	re.MatchTimeout = matchTimeout
	return engine{re}, nil
}

// quote shows what a file says, cut to a readable length.
func quote(s string) string {
	if len(s) > 120 {
		s = s[:120] + "…"
	}
	return fmt.Sprintf("%q", s)
}

type scanned struct {
	classes *classes
	scan    scanner
}

func (f scanned) spans(s string, yield func(start, end int)) {
	for i := 0; i < len(s); {
		end := f.scan(f.classes, s, i)
		if end > i {
			yield(i, end)
			i = end
			continue
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		i += n
	}
}

type engine struct{ re *regexp2.Regexp }

func (f engine) spans(s string, yield func(start, end int)) {
	text := []rune(s)
	at, seen := 0, 0 // the byte at of s is the rune seen of text
	advance := func(to int) int {
		for ; seen < to; seen++ {
			at += utf8.RuneLen(text[seen])
		}
		return at
	}
	// The only errors are the timeout and its like: see matchTimeout.
	_ = f.re.FindRunesMatches(text, -1, func(m regexp2.MatchView) bool {
		if start, n, ok := m.GroupRange(0); ok && n > 0 {
			from := advance(start)
			yield(from, advance(start+n))
		}
		return true
	})
}

// literal finds a fixed text.
type literal string

func (f literal) spans(s string, yield func(start, end int)) {
	for at := 0; ; {
		i := strings.Index(s[at:], string(f))
		if i < 0 || f == "" {
			return
		}
		yield(at+i, at+i+len(f))
		at += i + len(f)
	}
}

// characters finds the characters of which in holds, one by one.
type characters func(r rune) bool

func (in characters) spans(s string, yield func(start, end int)) {
	for i, r := range s {
		if in(r) {
			yield(i, i+utf8.RuneLen(r))
		}
	}
}
