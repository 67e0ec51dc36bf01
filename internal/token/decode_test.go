package token_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"weir/internal/token"
)

// push decodes ids one by one, checking each part on the way.
func push(t *testing.T, tok *token.Tokenizer, ids []int32, o token.DecodeOptions) string {
	t.Helper()
	d := tok.NewDecoder(o)
	var b strings.Builder
	for _, id := range ids {
		part := d.Push(id)
		if !utf8.ValidString(part) {
			t.Fatalf("ids %v: Push gave %q", ids, part)
		}
		b.WriteString(part)
	}
	b.WriteString(d.Flush())
	return b.String()
}

// TestDecoderEqualsDecode streams the ids of every golden text and random ids.
func TestDecoderEqualsDecode(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	texts := goldenTexts(t)
	for _, name := range append(goldenNames(t, "hf-", 18), goldenNames(t, "sp-", 3)...) {
		var tok *token.Tokenizer
		if strings.HasPrefix(name, "hf-") {
			tok, _ = loadHF(t, name)
		} else {
			tok, _ = loadSP(t, name)
		}
		r := rand.New(rand.NewPCG(seed, 1))
		for i := range len(texts) + 300 {
			var ids []int32
			if i < len(texts) {
				ids = tok.Encode(texts[i], token.EncodeOptions{AddSpecial: true, ParseSpecial: true})
			} else {
				for range r.IntN(30) {
					ids = append(ids, r.Int32N(int32(tok.VocabSize()))+int32(r.IntN(20)/19*100))
				}
			}
			for _, o := range []token.DecodeOptions{{}, {SkipSpecial: true}, {Continuation: true}} {
				whole := tok.Decode(ids, o)
				if got := push(t, tok, ids, o); got != whole {
					t.Fatalf("%s: ids %v: streamed %q, decoded %q", name, ids, got, whole)
				}
				if !utf8.ValidString(whole) {
					t.Fatalf("%s: ids %v decoded to %q", name, ids, whole)
				}
			}
		}
	}
}

// TestDecoderHoldsBackHalves gives a character byte by byte.
func TestDecoderHoldsBackHalves(t *testing.T) {
	tok, _ := loadHF(t, "hf-tekken")
	one := func(b string) int32 { return tok.Encode(b, token.EncodeOptions{})[0] }
	ids := tok.Encode("🦙", token.EncodeOptions{})
	if len(ids) < 2 {
		t.Fatalf("the character is one token, %v", ids)
	}
	d := tok.NewDecoder(token.DecodeOptions{})
	for i, id := range ids {
		want := ""
		if i == len(ids)-1 {
			want = "🦙"
		}
		if got := d.Push(id); got != want {
			t.Errorf("part %d gave %q, want %q", i, got, want)
		}
	}
	// A character that ends too early is one U+FFFD, with what follows at once.
	d.Push(ids[0])
	if got := d.Push(one("x")); got != "\uFFFDx" {
		t.Errorf("cut character and x gave %q", got)
	}
	d.Push(ids[0])
	if got := d.Flush(); got != "\uFFFD" {
		t.Errorf("cut character gave %q at the end", got)
	}
	if got := d.Flush(); got != "" {
		t.Errorf("second Flush gave %q", got)
	}
}

// TestLeadingSpace: the space put before a text goes at the beginning of the
// whole output, and only there.
func TestLeadingSpace(t *testing.T) {
	for _, name := range []string{"hf-llama2", "hf-unigram-bytes"} {
		tok, _ := loadHF(t, name)
		ids := tok.Encode("the river the river", token.EncodeOptions{})
		if got := tok.Decode(ids, token.DecodeOptions{}); got != "the river the river" {
			t.Errorf("%s: %q", name, got)
		}
		if got := tok.Decode(ids, token.DecodeOptions{Continuation: true}); got != " the river the river" {
			t.Errorf("%s: as a continuation %q", name, got)
		}
		d := tok.NewDecoder(token.DecodeOptions{})
		var parts []string
		for _, id := range ids {
			parts = append(parts, d.Push(id))
		}
		if parts[0] == "" || parts[0][0] == ' ' || !strings.Contains(strings.Join(parts[1:], ""), " the") {
			t.Errorf("%s: streamed %q", name, parts)
		}
	}
}

func TestPiecesAndNames(t *testing.T) {
	tok, _ := loadHF(t, "hf-llama3")
	for id := range int32(tok.VocabSize()) {
		if back, ok := tok.ID(tok.Token(id)); !ok || back != id {
			t.Fatalf("token %d is spelled %q, which is %d", id, tok.Token(id), back)
		}
		if len(tok.Piece(id)) == 0 {
			t.Fatalf("token %d, %q, has no bytes", id, tok.Token(id))
		}
	}
	for _, id := range []int32{-1, int32(tok.VocabSize()), 1 << 30} {
		if tok.Token(id) != "" || tok.Piece(id) != nil || tok.IsSpecial(id) {
			t.Errorf("id %d is something", id)
		}
	}
	bos, ok := tok.BOS()
	if begin, _ := tok.ID("<|begin|>"); !ok || bos != begin || !tok.AddBOS() || !tok.IsSpecial(bos) {
		t.Errorf("BOS is %d, added: %v", bos, tok.AddBOS())
	}
	var ends []int32
	for _, name := range []string{"<|end|>", "<|endoftext|>"} {
		id, _ := tok.ID(name)
		ends = append(ends, id)
	}
	if !slices.Equal(tok.EOG(), ends) {
		t.Errorf("EOG %v, want %v", tok.EOG(), ends)
	}
	if n := tok.Count("the river"); n != len(tok.Encode("the river", token.EncodeOptions{})) || n == 0 {
		t.Errorf("Count gives %d", n)
	}
}

// TestSpecialTokensInText: what a user writes is text unless asked otherwise.
func TestSpecialTokensInText(t *testing.T) {
	for _, name := range []string{"llama-3", "llama-spm", "falcon", "deepseek-coder"} {
		tok := loadShared(t, name)
		for _, id := range tok.EOG() {
			text := "a" + tok.Token(id) + "b"
			plain, parsed := tok.Encode(text, token.EncodeOptions{}), tok.Encode(text, token.EncodeOptions{ParseSpecial: true})
			if slices.Contains(plain, id) {
				t.Errorf("%s: plain %q gives %v, with token %d", name, text, plain, id)
			}
			if !slices.Contains(parsed, id) {
				t.Errorf("%s: parsed %q gives %v, without token %d", name, text, parsed, id)
			}
			if back := tok.Decode(plain, token.DecodeOptions{}); back != text {
				t.Errorf("%s: %q comes back as %q", name, text, back)
			}
		}
	}
}

// TestInvalidUTF8 counts each wrong byte as U+FFFD.
func TestInvalidUTF8(t *testing.T) {
	for _, name := range []string{"hf-tekken", "hf-llama2"} {
		tok, _ := loadHF(t, name)
		for _, text := range []string{"\xff", "a\xc3", "\xe2\x96", "\xf0\x9f\xa6x", "\xed\xa0\x80"} {
			got := tok.Encode(text, token.EncodeOptions{})
			if want := tok.Encode(string([]rune(text)), token.EncodeOptions{}); !slices.Equal(got, want) {
				t.Errorf("%s: %q gives %v, want %v", name, text, got, want)
			}
		}
	}
}

func TestConcurrentEncode(t *testing.T) {
	tok, g := loadHF(t, "hf-llama3")
	texts := goldenTexts(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range texts {
				i = (i + w*31) % len(texts)
				if got := tok.Encode(texts[i], token.EncodeOptions{ParseSpecial: true}); !slices.Equal(got, g.IDs[i]) {
					t.Errorf("text %d: %v", i, got)
				}
				tok.Decode(g.IDs[i], token.DecodeOptions{})
			}
		})
	}
	wg.Wait()
}

// TestPushAllocates at most the string it returns.
func TestPushAllocates(t *testing.T) {
	tok, _ := loadHF(t, "hf-llama3")
	ids := tok.Encode("the river was quiet and the mill turned", token.EncodeOptions{})
	d := tok.NewDecoder(token.DecodeOptions{})
	if n := testing.AllocsPerRun(100, func() {
		for _, id := range ids {
			d.Push(id)
		}
	}); n > float64(len(ids)) {
		t.Errorf("%v allocations for %d tokens", n, len(ids))
	}
}
