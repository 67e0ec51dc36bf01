package token

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// naiveMerge is BPE as one would first write it.
func naiveMerge(symbols []int32, pairs map[[2]int32][2]int32) []int32 {
	s := slices.Clone(symbols)
	for {
		best, at := int32(1<<31-1), -1
		for i := 0; i+1 < len(s); i++ {
			if p, ok := pairs[[2]int32{s[i], s[i+1]}]; ok && p[0] < best {
				best, at = p[0], i
			}
		}
		if at < 0 {
			return s
		}
		s[at] = pairs[[2]int32{s[at], s[at+1]}][1]
		s = slices.Delete(s, at+1, at+2)
	}
}

// TestMergesMatchTheNaiveOnes compares both merges with the naive one, on
// random vocabularies whose ranks, unlike trained ones, have no order to them
// and repeat.
func TestMergesMatchTheNaiveOnes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	for range 400 {
		letters := int32(2 + r.IntN(4))
		b := &bpe{bytes: new([256]int32), limit: 1 << 20, pairs: newTable(4), fallback: fallback{unknown: noToken}}
		for i := range b.bytes {
			b.bytes[i] = int32(i) % letters
		}
		pairs, next := map[[2]int32][2]int32{}, letters
		for range r.IntN(60) {
			p := [2]int32{r.Int32N(next), r.Int32N(next)}
			if _, ok := pairs[p]; ok {
				continue
			}
			v := [2]int32{r.Int32N(40), next}
			pairs[p] = v
			b.pairs.put(uint64(p[0])<<32|uint64(p[1]), uint64(v[0])<<32|uint64(v[1]))
			next++
		}
		var word strings.Builder
		for range 1 + r.IntN(300) {
			word.WriteByte(byte(r.Int32N(letters)))
		}
		var w work
		b.split(&w, word.String())
		var first []int32
		for _, s := range w.symbols {
			first = append(first, s.id)
		}
		want := naiveMerge(first, pairs)
		b.mergeShort(&w)
		short := b.emit(&w, word.String(), nil)
		b.split(&w, word.String())
		b.mergeLong(&w)
		long := b.emit(&w, word.String(), nil)
		if !slices.Equal(short, want) || !slices.Equal(long, want) {
			t.Fatalf("word %q, pairs %v:\nshort %v\nlong  %v\nwant  %v", word.String(), pairs, short, long, want)
		}
	}
}

// TestQueueSorts takes enough entries for the counting sort.
func TestQueueSorts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var q queue
	var all []uint64
	for i := range 5000 {
		v := r.Uint64N(1<<uint(1+r.IntN(31)))<<32 | uint64(i)
		all = append(all, v)
		if i%3 == 0 {
			q.later.push(v)
		} else {
			q.first = append(q.first, v)
		}
	}
	q.sort()
	slices.Sort(all)
	for i, want := range all {
		if got, ok := q.pop(); !ok || got != want {
			t.Fatalf("entry %d: got %x %v, want %x", i, got, ok, want)
		}
	}
	if _, ok := q.pop(); ok {
		t.Fatal("the empty queue has an entry")
	}
}

func testModel(t testing.TB, name string) *Tokenizer {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".model.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := FromSentencePiece(b)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestWordsAtSpacesChangeNothing encodes texts with and without cutting them
// at spaces.
func TestWordsAtSpacesChangeNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	parts := append(slices.Clone(alphabetOfClasses), "the", "river", "ing", "▁", "▁▁", " the river", "\u2581a")
	for _, name := range []string{"sp-bpe", "sp-unigram-nmt", "sp-unigram-identity"} {
		cut, whole := testModel(t, name), testModel(t, name)
		if len(cut.steps) != 1 {
			t.Fatalf("%s is not cut at spaces", name)
		}
		whole.steps = nil
		r := rand.New(rand.NewPCG(seed, 3))
		for range 500 {
			text := randomText(r, parts, r.IntN(60))
			got, want := cut.Encode(text, EncodeOptions{}), whole.Encode(text, EncodeOptions{})
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %q:\n   cut %v\nwhole %v", name, text, got, want)
			}
		}
	}
}

func TestAtSpacesKeepsCrossingTokens(t *testing.T) {
	crossing := crossings([]string{"▁the", "▁▁", "of▁the", "x"})
	if len(crossing) != 1 || !crossing['f'] {
		t.Fatalf("crossing %v", crossing)
	}
	var got []string
	atSpaces(crossing)("▁▁one▁of▁the▁two▁▁x▁", true, func(s string, first bool) {
		if first != (len(got) == 0) {
			t.Errorf("piece %q: first is %v", s, first)
		}
		got = append(got, s)
	})
	if want := []string{"▁▁one", "▁of▁the", "▁two", "▁▁x", "▁"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEncodeScales encodes long words of 256 KiB, 30 ms each at most on an idle
// core. Anything quadratic takes tens of seconds, so that a bound generous
// enough for a loaded machine still tells.
func TestEncodeScales(t *testing.T) {
	const size, limit = 1 << 18, 4 * time.Second
	texts := map[string]func(n int) string{
		"a":      func(n int) string { return strings.Repeat("a", n) },
		"ab":     func(n int) string { return strings.Repeat("ab", n/2) },
		"space":  func(n int) string { return strings.Repeat(" ", n) },
		"line":   func(n int) string { return strings.Repeat(" \n", n/2) },
		"the":    func(n int) string { return strings.Repeat("the", n/3) },
		"emoji":  func(n int) string { return strings.Repeat("🦙", n/4) },
		"random": func(n int) string { return randomText(rand.New(rand.NewPCG(1, 1)), alphabetOfClasses, n/3) },
	}
	for _, name := range []string{"sp-bpe", "sp-unigram-nmt", "hf-gpt2", "hf-llama3", "hf-deepseek-v3", "hf-bailing"} {
		var tok *Tokenizer
		if strings.HasPrefix(name, "sp-") {
			tok = testModel(t, name)
		} else {
			tok = testHF(t, name)
		}
		for kind, text := range texts {
			input := text(size)
			start := time.Now()
			tok.Encode(input, EncodeOptions{})
			if took := time.Since(start); took > limit {
				t.Errorf("%s, %s: %v for %d bytes", name, kind, took, size)
			}
		}
	}
}

// BenchmarkUnigram is the model without a vocabulary of the usual size.
func BenchmarkUnigram(b *testing.B) {
	tok := testModel(b, "sp-unigram-nmt")
	text := strings.Repeat("the quiet river carried the warm light of the evening, and we counted 128 boats. ", 4000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.Encode(text, EncodeOptions{})
	}
}

func TestCharsmapRejectsDamage(t *testing.T) {
	for _, blob := range [][]byte{nil, {1}, {255, 255, 255, 255}, {4, 0, 0, 0}, {3, 0, 0, 0, 1, 2, 3}} {
		if _, err := parseCharsmap(blob); err == nil {
			t.Errorf("%v: no error", blob)
		}
	}
	// Units that lead anywhere, texts without an end: never a panic.
	r := rand.New(rand.NewPCG(9, 9))
	for range 2000 {
		blob := bytes.Repeat([]byte{0}, 4+4*16+r.IntN(8))
		for i := range blob {
			blob[i] = byte(r.Uint32() >> uint(r.IntN(8)))
		}
		copy(blob, []byte{64, 0, 0, 0})
		m, err := parseCharsmap(blob)
		if err != nil {
			t.Fatal(err)
		}
		piecewise{table: m, squeeze: true, escape: true}.normalize("ab c\u00a0é")
		graphemes{m, literal("é")}.normalize("ab c\u00a0é")
	}
}
