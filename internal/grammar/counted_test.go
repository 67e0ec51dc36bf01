package grammar

import (
	"fmt"
	"testing"
)

// TestCountedWaysAreShortest holds the table of counting automata to the search.
func TestCountedWaysAreShortest(t *testing.T) {
	for _, c := range []struct {
		pattern string
		lo, hi  int32
	}{
		{"", 9, endless}, {"", 40, 41}, {`^a+é*$`, 12, 30}, {`^(ab)*$`, 20, 22}, {`^(abc)*$`, 10, 13}, {`^["\n]*x$`, 15, endless}, {`^.*\u4f60$`, 10, 12},
	} {
		t.Run(fmt.Sprint(c.pattern, c.lo, c.hi), func(t *testing.T) {
			g := mustCompile(t, Schema(fmt.Sprintf(`{"type":"string","pattern":%q,"minLength":%d,"maxLength":%d}`, c.pattern, c.lo, c.hi)))
			s := g.Start()
			for range 30 {
				for i := range s.items {
					it := &s.items[i]
					table, ok := g.least.counts(it.t, it.q, it.c)
					search := it.t.ways(it.q, it.c)
					if ok && (len(table) != len(search) || len(table[0].text) != len(search[0].text)) {
						t.Fatalf("the table says %v, the search %v", table, search)
					}
				}
				text, ok := s.Shortest()
				if !ok {
					t.Fatal("no end is known")
				}
				if len(text) == 0 {
					return
				}
				if s, ok = s.AcceptBytes(text[:min(3, len(text))]); !ok {
					t.Fatalf("%q is not in the grammar", text)
				}
			}
		})
	}
}

// TestFarEndsCostLittle counts what is looked at for a string that is far from its
// end, not the time.
func TestFarEndsCostLittle(t *testing.T) {
	for _, least := range []int{1000, 4000, 100_000} {
		g := mustCompile(t, Schema(fmt.Sprintf(`{"type":"string","minLength":%d}`, least)))
		s := g.Start()
		text, ok := s.Shortest()
		if want := least + 2; ok != (want < mostShortest) || ok && len(text) != want {
			t.Errorf("minLength %d: a shortest end of %d bytes, %v", least, len(text), ok)
		}
		for _, i := range s.items {
			if _, ok := g.least.counts(i.t, i.q, i.c); !ok && !i.t.remote(i.c) {
				t.Errorf("minLength %d: places are searched one by one", least)
			}
		}
	}
}
