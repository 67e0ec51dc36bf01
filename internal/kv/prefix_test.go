package kv

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestNearest(t *testing.T) {
	c := cached(t, 4, 40)
	c.run(t, prompt("", 10, 77, 78, 79, 80, 81, 82))
	c.run(t, prompt("", 4, 50, 51, 52, 53))
	c.run(t, prompt("secret", 6, 90, 91))
	for _, w := range []struct {
		name   string
		p      Prefix
		same   int
		theirs []int32
	}{
		{"within a page", prompt("", 10, 77, 5, 6), 11, []int32{78, 79, 80}},
		{"at a page's end", prompt("", 8, 5, 6), 8, []int32{8, 9, 77}},
		{"at the first token", Prefix{Tokens: []int32{99, 98}}, 0, []int32{0, 1, 2}},
		{"of two, the one in common", prompt("", 4, 50, 9), 5, []int32{51, 52, 53}},
		{"the cache ends first", prompt("", 10, 77, 78, 79, 80, 81, 82, 1, 2, 3, 4), 16, nil},
		{"the prompt ends first", prompt("", 9), 9, nil},
		{"another salt", prompt("other", 9, 1, 2), 0, nil},
	} {
		same, theirs := c.Nearest(w.p, 3)
		if same != w.same || !slices.Equal(theirs, w.theirs) {
			t.Errorf("%s: %d, %v; want %d, %v", w.name, same, theirs, w.same, w.theirs)
		}
	}
}

func TestPinnedPagesAreNotEvicted(t *testing.T) {
	c := cached(t, 4, 10)
	system := prompt("", 9)
	c.run(t, system)
	var pin, second Seq
	if n, ok := c.Pin(&pin, system, 1); ok || n != 0 || pin.tables != nil {
		t.Fatalf("two pages pinned with room for one: %d, %v", n, ok)
	}
	if n, ok := c.Pin(&pin, system, 2); !ok || n != 8 {
		t.Fatalf("pinned %d, %v", n, ok)
	}
	if _, ok := c.Pin(&second, system, 2); !ok {
		t.Fatal("the same pages need no more room")
	}
	for i := range 20 {
		c.run(t, prompt(string(rune('a'+i)), 30))
		if err := c.Check([]*Seq{&pin, &second}); err != nil {
			t.Fatal(err)
		}
	}
	if hit := c.run(t, system); hit != 8 {
		t.Errorf("hit %d after pressure", hit)
	}
	if s := c.CacheStats(); s.Pinned != 2 {
		t.Errorf("%d pages pinned", s.Pinned)
	}
	c.Unpin(&pin)
	if s := c.CacheStats(); s.Pinned != 2 {
		t.Errorf("%d pages pinned by the other", s.Pinned)
	}
	c.Unpin(&second)
	for i := range 20 {
		c.run(t, prompt(string(rune('a'+i)), 30))
	}
	if hit := c.run(t, system); hit == 8 || c.FreePages(0) != 10 {
		t.Errorf("hit %d after unpinning, %d pages free", hit, c.FreePages(0))
	}
}

// A restored cache finds what the saved one would have, forgets it in the same
// order, and refuses lists that contradict themselves.
func TestSnapshotRestore(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := cached(t, 4, 64)
	var prompts []Prefix
	for range 200 {
		p := Prefix{Salt: []string{"", "x"}[rng.IntN(2)]}
		for range 1 + rng.IntN(40) {
			p.Tokens = append(p.Tokens, int32(rng.IntN(2)))
		}
		p.Prompt = len(p.Tokens)
		prompts = append(prompts, p)
		c.run(t, p)
	}
	for _, most := range []int{1000, 30, 1, 0} {
		saved := c.Snapshot(most)
		if want := min(most, int(c.CacheStats().Nodes)); len(saved) != want {
			t.Fatalf("%d of %d pages saved", len(saved), want)
		}
		d := cached(t, 4, 64)
		r := d.Restore(len(saved))
		for i, s := range saved {
			if _, err := r.Add(s); err != nil {
				t.Fatalf("page %d: %v", i, err)
			}
		}
		if err := d.Check(nil); err != nil {
			t.Fatal(err)
		}
		if most >= 64 {
			for _, p := range prompts {
				if a, b := c.Peek(new(Cursor), p, len(p.Tokens)), d.Peek(new(Cursor), p, len(p.Tokens)); a != b {
					t.Fatalf("%v: %d before, %d after", p, a, b)
				}
			}
			for range c.CacheStats().Nodes / 2 { // evicted in the same order
				d.evict()
				c.evict()
			}
			for _, p := range prompts {
				if a, b := c.Peek(new(Cursor), p, len(p.Tokens)), d.Peek(new(Cursor), p, len(p.Tokens)); a != b {
					t.Errorf("%v: %d left before, %d after", p, a, b)
				}
			}
		}
	}
	d := cached(t, 4, 1)
	r := d.Restore(2)
	good := Saved{Parent: -1, Tokens: []int32{1, 2, 3, 4}, Prompt: 4}
	for _, bad := range []Saved{{Parent: -1, Tokens: []int32{1}}, {Parent: 0, Tokens: good.Tokens}, {Parent: -2, Tokens: good.Tokens}, {Parent: -1, Tokens: good.Tokens, Prompt: 5}} {
		if _, err := r.Add(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if _, err := r.Add(good); err != nil {
		t.Error(err)
	}
	if _, err := r.Add(good); err == nil {
		t.Error("a page more than the pool has")
	}
}

// Looking on from where a prefix was found to end gives what looking from the
// beginning does, whatever came and went meanwhile, and costs what has changed.
func TestPeekAgain(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	c := cached(t, 4, 64)
	type look struct {
		p Prefix
		Cursor
	}
	var looks []*look
	for range 60 {
		l := &look{p: Prefix{Salt: fmt.Sprint(rng.IntN(2))}}
		for range 40 + rng.IntN(40) {
			l.p.Tokens = append(l.p.Tokens, int32(rng.IntN(2)))
		}
		l.p.Prompt = len(l.p.Tokens)
		looks = append(looks, l)
	}
	for range 400 {
		switch l := looks[rng.IntN(len(looks))]; {
		case rng.IntN(3) > 0:
			cut := l.p
			cut.Tokens = cut.Tokens[:1+rng.IntN(len(cut.Tokens))]
			c.run(t, cut)
		case c.tree.idle > 0:
			c.evict()
		}
		for range 5 {
			l := looks[rng.IntN(len(looks))]
			limit := rng.IntN(len(l.p.Tokens) + 1)
			if a, b := c.Peek(&l.Cursor, l.p, limit), c.Peek(new(Cursor), l.p, limit); a != b {
				t.Fatalf("%d found of %d tokens, looked for again, %d anew", a, limit, b)
			}
		}
	}
	lookAtAll := func() int64 {
		before := c.CacheStats().Looked
		for _, l := range looks {
			c.Peek(&l.Cursor, l.p, len(l.p.Tokens))
		}
		return c.CacheStats().Looked - before
	}
	lookAtAll()
	if n := lookAtAll(); n > int64(len(looks)) {
		t.Errorf("%d pages looked for by %d that had been looked for just before", n, len(looks))
	}
}
