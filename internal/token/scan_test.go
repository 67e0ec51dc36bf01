package token

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dlclark/regexp2/v2"
)

// alphabetOfClasses has characters of every class that a pattern asks about,
// the frequent ones several times.
var alphabetOfClasses = []string{
	"a", "e", "s", "t", "A", "S", "Z", "é", "É", "ß", "ſ", "ǅ", "ʰ", "ж", "Ж", "我", "の", "ア", "한", "ࠀ", "ª", "ℂ", "𐐀", "א", "क",
	"0", "7", "9", "٣", "²", "½", "Ⅷ", " ", " ", " ", "\n", "\n", "\r", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\v",
	"'", "'", "’", ".", ",", "!", "-", "_", "/", "(", "|", "$", "+", "<", "^", "~", "`", "€", "«", "。", "！", "～", "‘", "\u0301", "\u0488", "\u093e", "\u20dd",
	"🦙", "\u200d", "\u200b", "\u00ad", "\x00", "\x7f", "\u0378", "\ue000", "'s", "'re", "'LL", "'VE", "'d", "'M", "'ſ", "word", "Word", "WORD", "123", "1234", "  ", "\n\n",
}

func randomText(r *rand.Rand, parts []string, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return b.String()
}

// TestScannersMatchTheirPatterns runs each pattern on the regular expression
// engine as well.
func TestScannersMatchTheirPatterns(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for pattern, scan := range scanners() {
		re, err := regexp2.Compile(pattern, regexp2.Multiline)
		if err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		r := rand.New(rand.NewPCG(seed, 1))
		for range 3000 {
			parts := alphabetOfClasses
			if r.IntN(2) == 0 { // a few characters only, so that runs form
				parts = []string{}
				for range 2 + r.IntN(5) {
					parts = append(parts, alphabetOfClasses[r.IntN(len(alphabetOfClasses))])
				}
			}
			text := randomText(r, parts, r.IntN(24))
			got, want := spansOf(scanned{classTable(), scan}, text), spansOf(engine{re}, text)
			if !slices.Equal(got, want) {
				t.Fatalf("pattern %s\non %q:\n got %v\nwant %v", pattern, text, got, want)
			}
		}
	}
}

// TestScannersKnowAllCharacters puts every code point of the first planes into
// the places where its class decides.
func TestScannersKnowAllCharacters(t *testing.T) {
	if testing.Short() {
		t.Skip("short: runs every pattern over every character")
	}
	for pattern, scan := range scanners() {
		re := regexp2.MustCompile(pattern, regexp2.Multiline)
		var b strings.Builder
		check := func() {
			text := b.String()
			got, want := spansOf(scanned{classTable(), scan}, text), spansOf(engine{re}, text)
			if !slices.Equal(got, want) {
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("pattern %s: at %d of %q: got %v, want %v", pattern, i, text[max(0, got[i].start-20):got[i].end+10], got[i], want[i])
					}
				}
			}
			b.Reset()
		}
		for r := rune(0); r < 0x20000; r++ {
			if r >= 0xD800 && r < 0xE000 {
				continue
			}
			for _, form := range []string{"a", " ", "1", "-"} {
				b.WriteString(form)
				b.WriteRune(r)
			}
			b.WriteRune('x')
			if b.Len() > 1<<14 {
				check()
			}
		}
		check()
	}
}

func TestPresetsCompile(t *testing.T) {
	for name, p := range presets() {
		for _, pattern := range p.patterns {
			f, err := compile(pattern)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if all := spansOf(f, "Hello, wörld 123 我の\n"); len(all) < 2 {
				t.Errorf("%s: %s finds %v", name, pattern, all)
			}
		}
	}
}
