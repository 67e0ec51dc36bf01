package engine

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestStopFinderAgainstWhole cuts random texts into random pieces and wants what
// a search of the whole text finds.
func TestStopFinderAgainstWhole(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	for range 5000 {
		text := randomText(rng, 1+rng.IntN(40))
		var stops []string
		for range 1 + rng.IntN(3) {
			stops = append(stops, randomText(rng, 1+rng.IntN(5)))
		}
		include := rng.IntN(2) == 0
		wantText, wantStop := wholeSearch(text, stops, include)
		got, stop := pieces(rng, text, stops, include)
		if stop != wantStop || got != wantText {
			t.Fatalf("text %q stops %q include %v: got %q stop %q, want %q stop %q", text, stops, include, got, stop, wantText, wantStop)
		}
	}
}

func randomText(rng *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString([]string{"a", "b", "é", " "}[rng.IntN(4)])
	}
	return b.String()
}

// wholeSearch ends at the stop string that is complete first; of those, at the
// one that begins first.
func wholeSearch(text string, stops []string, include bool) (string, string) {
	for end := 1; end <= len(text); end++ {
		at, found := -1, ""
		for _, s := range stops {
			if strings.HasSuffix(text[:end], s) && len(s) > len(found) {
				at, found = end-len(s), s
			}
		}
		if found != "" {
			if include {
				at = end
			}
			return text[:at], found
		}
	}
	return text, ""
}

func pieces(rng *rand.Rand, text string, stops []string, include bool) (string, string) {
	var f stopFinder
	f.init(stops, include)
	var got strings.Builder
	for len(text) > 0 {
		n := 1 + rng.IntN(len(text))
		certain, stop := f.push(text[:n])
		got.WriteString(certain)
		if stop != "" {
			return got.String(), stop
		}
		text = text[n:]
	}
	return got.String() + f.flush(), ""
}
