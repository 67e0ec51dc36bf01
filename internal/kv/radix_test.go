package kv

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// cachedWorld runs sequences over a small alphabet, so that prefixes recur, and
// follows what every cell holds: the hash of its position's whole prefix. A hit
// on the wrong page, a copy from a page that was reused or an eviction of a page
// in use shows as a wrong hash.
type cachedWorld struct {
	t     *testing.T
	rng   *rand.Rand
	c     *Cache
	cells []map[int32]uint64
	seqs  []*cachedSeq
	pins  []*Seq
	hits  int
}

type cachedSeq struct {
	Seq
	prefix   Prefix
	computed int
}

func hashes(p Prefix) []uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, p.Salt)
	var all []uint64
	for _, id := range p.Tokens {
		h.Write([]byte{byte(id)})
		all = append(all, h.Sum64())
	}
	return all
}

func (w *cachedWorld) admit() {
	s := &cachedSeq{prefix: Prefix{Salt: []string{"", "a"}[w.rng.IntN(2)]}}
	for range 1 + w.rng.IntN(60) {
		s.prefix.Tokens = append(s.prefix.Tokens, int32(w.rng.IntN(2)))
	}
	s.prefix.Prompt = len(s.prefix.Tokens)
	n, copies := w.c.Match(&s.Seq, s.prefix, len(s.prefix.Tokens)-1)
	if n >= len(s.prefix.Tokens) || n != s.Cells() {
		w.t.Fatalf("matched %d of %d tokens, %d cells", n, len(s.prefix.Tokens), s.Cells())
	}
	w.hits += n
	for _, cp := range copies {
		w.cells[cp.Group][cp.To] = w.cells[cp.Group][cp.From]
	}
	s.computed = n
	w.seqs = append(w.seqs, s)
}

// compute writes the next positions of a sequence, generating when its tokens
// are through, and commits.
func (w *cachedWorld) compute(s *cachedSeq) {
	to := min(s.computed+1+w.rng.IntN(20), len(s.prefix.Tokens))
	if !w.c.Grow(&s.Seq, to) {
		w.release(w.rng.IntN(len(w.seqs)))
		return
	}
	h := hashes(s.prefix)
	for pos := s.computed; pos < to; pos++ {
		for g := range w.cells {
			w.cells[g][w.c.Cell(&s.Seq, g, pos)] = h[pos]
		}
	}
	s.computed = to
	w.c.Commit(&s.Seq, s.prefix, s.computed)
	if to == len(s.prefix.Tokens) {
		s.prefix.Tokens = append(s.prefix.Tokens, int32(w.rng.IntN(2)))
	}
}

func (w *cachedWorld) release(i int) {
	w.c.Release(&w.seqs[i].Seq)
	w.seqs = append(w.seqs[:i], w.seqs[i+1:]...)
}

// pin pins the beginning of a sequence's tokens, or takes a pin back.
func (w *cachedWorld) pin() {
	if len(w.pins) > 2 || len(w.seqs) == 0 {
		w.unpin()
		return
	}
	s := w.seqs[w.rng.IntN(len(w.seqs))]
	q := new(Seq)
	if _, ok := w.c.Pin(q, s.prefix, w.c.Pages(0)/4); ok {
		w.pins = append(w.pins, q)
	}
}

func (w *cachedWorld) unpin() {
	if len(w.pins) > 0 {
		w.c.Unpin(w.pins[0])
		w.pins = w.pins[1:]
	}
}

func (w *cachedWorld) check() {
	holders := slices.Clone(w.pins)
	for _, s := range w.seqs {
		holders = append(holders, &s.Seq)
		h := hashes(s.prefix)
		for g := range w.cells {
			for pos := range s.computed {
				if w.cells[g][w.c.Cell(&s.Seq, g, pos)] != h[pos] {
					w.t.Fatalf("group %d position %d of %v holds something else", g, pos, s.prefix.Tokens)
				}
			}
		}
	}
	if err := w.c.Check(holders); err != nil {
		w.t.Fatal(err)
	}
}

func TestPrefixCacheAgainstContents(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, pageSize := range []int{1, 4, 8} {
		w := &cachedWorld{t: t, rng: rand.New(rand.NewPCG(seed, uint64(pageSize))), cells: []map[int32]uint64{{}, {}}}
		w.c = New(pageSize, []Group{{Pages: 160 / pageSize}, {Pages: 200 / pageSize}})
		if !w.c.EnablePrefixCache(PrefixOptions{}) {
			t.Fatal("no prefix cache without windows")
		}
		for range 4000 {
			switch op := w.rng.IntN(10); {
			case w.rng.IntN(20) == 0:
				w.pin()
			case op < 2 || len(w.seqs) == 0:
				w.admit()
			case op < 9:
				w.compute(w.seqs[w.rng.IntN(len(w.seqs))])
			default:
				w.release(w.rng.IntN(len(w.seqs)))
			}
			w.check()
		}
		if s := w.c.CacheStats(); w.hits == 0 || s.Evicted == 0 {
			t.Errorf("page size %d: %d hits, %d evictions: the test does not test it", pageSize, w.hits, s.Evicted)
		}
		for len(w.seqs) > 0 {
			w.release(0)
		}
		for len(w.pins) > 0 {
			w.unpin()
		}
		if w.c.FreePages(0) != w.c.Pages(0) {
			t.Error("pages are lost")
		}
	}
}

func cached(t *testing.T, pageSize, pages int) *Cache {
	t.Helper()
	c := New(pageSize, []Group{{Pages: pages}})
	if !c.EnablePrefixCache(PrefixOptions{}) {
		t.Fatal("no prefix cache")
	}
	return c
}

// run computes a prompt and lets it go.
func (c *Cache) run(t *testing.T, p Prefix) (hit int) {
	t.Helper()
	var s Seq
	hit, _ = c.Match(&s, p, len(p.Tokens)-1)
	if !c.Grow(&s, len(p.Tokens)) {
		t.Fatal("no room")
	}
	c.Commit(&s, p, len(p.Tokens))
	c.Release(&s)
	return hit
}

func prompt(salt string, n int, tail ...int32) Prefix {
	p := Prefix{Salt: salt}
	for i := range n {
		p.Tokens = append(p.Tokens, int32(i))
	}
	p.Tokens = append(p.Tokens, tail...)
	p.Prompt = len(p.Tokens)
	return p
}

func TestMatchDownToTheToken(t *testing.T) {
	c := cached(t, 4, 20)
	c.run(t, prompt("", 10, 77, 78, 79, 80))
	for _, want := range []struct {
		p   Prefix
		hit int
	}{
		{prompt("", 10, 77, 78, 5), 12}, // three pages; the last token is always computed
		{prompt("", 10, 55, 56), 10},    // two pages and two tokens of the third
		{prompt("", 3), 2},
		{prompt("other tenant", 10, 77, 78, 5), 0},
	} {
		var s Seq
		if hit, _ := c.Match(&s, want.p, len(want.p.Tokens)-1); hit != want.hit {
			t.Errorf("%v: hit %d, want %d", want.p, hit, want.hit)
		}
		c.Release(&s)
	}
}

func TestEvictionTakesTheLeastRecentlyUsed(t *testing.T) {
	c := cached(t, 4, 6)
	a, b := prompt("a", 9), prompt("b", 9)
	c.run(t, a)
	c.run(t, b)
	c.run(t, a) // a is fresher now
	c.run(t, prompt("c", 8))
	if hit := c.run(t, a); hit != 8 {
		t.Errorf("the fresher prefix was evicted: hit %d", hit)
	}
	if hit := c.run(t, b); hit == 8 {
		t.Error("the older prefix is still whole")
	}
}

// TestClassesAreNotMixed: a prompt that repeats what a running sequence
// generated does not take over its pages in mid-run, since they were computed
// with other arithmetic; a later match may.
func TestClassesAreNotMixed(t *testing.T) {
	c := cached(t, 4, 20)
	generated, asked := prompt("", 8), prompt("", 8)
	generated.Prompt = 4
	var s, q Seq
	c.Grow(&s, 8)
	c.Grow(&q, 8)
	c.Commit(&s, generated, 8)
	c.Commit(&q, asked, 8)
	if q.tables[0].Pages[0] != s.tables[0].Pages[0] {
		t.Error("the page of equal class is not shared")
	}
	if q.tables[0].Pages[1] == s.tables[0].Pages[1] {
		t.Error("the page of another class is shared")
	}
	if err := c.Check([]*Seq{&s, &q}); err != nil {
		t.Error(err)
	}
}

func TestNoPrefixCacheWithWindows(t *testing.T) {
	if New(4, []Group{{Pages: 4}, {Pages: 4, Window: 8}}).EnablePrefixCache(PrefixOptions{}) {
		t.Error("enabled with a window")
	}
}

func BenchmarkMatch(b *testing.B) {
	c := New(16, []Group{{Pages: 1000}})
	c.EnablePrefixCache(PrefixOptions{})
	p := prompt("", 4096)
	var s Seq
	c.Grow(&s, 4096)
	c.Commit(&s, p, 4096)
	for b.Loop() {
		var q Seq
		c.Match(&q, p, 4095)
		c.Release(&q)
	}
}
