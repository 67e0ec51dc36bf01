package token_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/token"
)

// english returns at least n bytes of English text: a book that comes with Go,
// so that words are as varied as they are, else a made-up text.
func english(t testing.TB, n int) string {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	var b []byte
	if err == nil {
		b, err = os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "src/testdata/Isaac.Newton-Opticks.txt"))
	}
	text := string(b)
	if err != nil {
		t.Logf("no book in GOROOT: %v", err)
		text = zipf(n)
	}
	return strings.Repeat(text, n/len(text)+1)[:n]
}

func BenchmarkEncode(b *testing.B) {
	text := english(b, 1<<19)
	for _, name := range sharedNames {
		b.Run(name, func(b *testing.B) {
			tok := loadShared(b, name)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				tok.Encode(text, token.EncodeOptions{})
			}
		})
	}
}

// BenchmarkEncodeCold encodes the book once per tokeniser: no word is
// remembered from an earlier run.
func BenchmarkEncodeCold(b *testing.B) {
	text := english(b, 1<<19)
	for _, name := range sharedNames {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				b.StopTimer()
				tok := loadShared(b, name)
				b.StartTimer()
				tok.Encode(text, token.EncodeOptions{})
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	tok := loadShared(b, "llama-3")
	ids := tok.Encode(english(b, 1<<16), token.EncodeOptions{})
	b.SetBytes(1 << 16)
	b.ReportAllocs()
	for b.Loop() {
		tok.Decode(ids, token.DecodeOptions{})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range sharedNames {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				loadShared(b, name)
			}
		})
	}
}

// hostileTexts are the texts that make naive tokenisers slow.
func hostileTexts(n int) map[string]string {
	return map[string]string{
		"a":        strings.Repeat("a", n),
		"ab":       strings.Repeat("ab", n/2),
		"space":    strings.Repeat(" ", n),
		"newline":  strings.Repeat("\n", n),
		"mixed-ws": strings.Repeat(" \n\t", n/3),
		"emoji":    strings.Repeat("🦙", n/4),
		"digit":    strings.Repeat("7", n),
		"han":      strings.Repeat("我想在", n/9),
		"random":   randomBytes(n),
		"quotes":   strings.Repeat("'", n),
		"meta":     strings.Repeat("▁", n/3),
		"marks":    strings.Repeat("á́", n/5),
		"alpha":    randomLetters(n),
		"special":  strings.Repeat("<|", n/2),
	}
}

func BenchmarkHostile(b *testing.B) {
	for _, name := range sharedNames {
		tok := loadShared(b, name)
		for kind, text := range hostileTexts(1 << 20) {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					tok.Encode(text, token.EncodeOptions{ParseSpecial: true})
				}
			})
		}
	}
}
