package token_test

import (
	"math/rand/v2"
	"strings"
)

// zipf returns n bytes of words of which few are frequent and many rare.
func zipf(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(r, 1.2, 3, 30000)
	var b strings.Builder
	for b.Len() < n {
		w := rand.New(rand.NewPCG(z.Uint64(), 3))
		for range 1 + w.IntN(9) {
			b.WriteByte("etaoinshrdlucmfw"[w.IntN(16)])
		}
		b.WriteString([]string{" ", " ", " ", ", ", ".\n"}[r.IntN(5)])
	}
	return b.String()[:n]
}

func randomBytes(n int) string {
	r := rand.New(rand.NewPCG(4, 5))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func randomLetters(n int) string {
	r := rand.New(rand.NewPCG(6, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}
