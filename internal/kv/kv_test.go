package kv

import (
	"math/rand/v2"
	"testing"
	"time"
)

// model is the naive truth: which cells each position of a sequence was written
// to, by whom. Contents are followed through copies.
type model struct {
	t     *testing.T
	c     *Cache
	cells []map[int32]int // by group: cell -> value written
	seqs  []*tracked
	next  int
}

type tracked struct {
	Seq
	values []int // by position: what was written there
}

func (m *model) live() []*Seq {
	var all []*Seq
	for _, s := range m.seqs {
		all = append(all, &s.Seq)
	}
	return all
}

// extend grows s to n positions and writes a fresh value to each new one.
func (m *model) extend(s *tracked, n int) bool {
	fits := m.c.Fits(&s.Seq, n, 0)
	if m.c.Grow(&s.Seq, n) != fits {
		m.t.Fatalf("Grow to %d disagrees with Fits = %v", n, fits)
	}
	if !fits {
		return false
	}
	for pos := len(s.values); pos < n; pos++ {
		m.next++
		s.values = append(s.values, m.next)
		for g := range m.cells {
			m.cells[g][m.c.Cell(&s.Seq, g, pos)] = m.next
		}
	}
	m.c.Trim(&s.Seq, n)
	return true
}

func (m *model) fork(src *tracked, n int) {
	dst := &tracked{values: append([]int(nil), src.values[:n]...)}
	copies, ok := m.c.Fork(&dst.Seq, &src.Seq, n)
	if !ok {
		return
	}
	for _, cp := range copies {
		m.cells[cp.Group][cp.To] = m.cells[cp.Group][cp.From]
	}
	m.seqs = append(m.seqs, dst)
}

// check compares every position that a next row could see with the truth.
func (m *model) check() {
	if err := m.c.Check(m.live()); err != nil {
		m.t.Fatal(err)
	}
	for _, s := range m.seqs {
		for g := range m.cells {
			from := 0
			if w := m.c.groups[g].window; w > 0 {
				from = max(0, len(s.values)-w+1)
			}
			for pos := from; pos < len(s.values); pos++ {
				if got := m.cells[g][m.c.Cell(&s.Seq, g, pos)]; got != s.values[pos] {
					m.t.Fatalf("group %d position %d holds %d, want %d", g, pos, got, s.values[pos])
				}
			}
		}
	}
}

func TestAgainstNaiveModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, pageSize := range []int{1, 4, 16} {
		c := New(pageSize, []Group{{Pages: 40}, {Pages: 30, Window: 10}})
		m := &model{t: t, c: c, cells: []map[int32]int{{}, {}}}
		for range 3000 {
			m.randomStep(rng)
			m.check()
		}
		for _, s := range m.seqs {
			c.Release(&s.Seq)
		}
		for g := range c.groups {
			if c.FreePages(g) != c.Pages(g) {
				t.Fatalf("page size %d: %d of %d pages leaked", pageSize, c.Pages(g)-c.FreePages(g), c.Pages(g))
			}
		}
	}
}

func (m *model) randomStep(rng *rand.Rand) {
	if len(m.seqs) == 0 || rng.IntN(10) == 0 {
		m.seqs = append(m.seqs, &tracked{})
	}
	i := rng.IntN(len(m.seqs))
	s := m.seqs[i]
	switch op := rng.IntN(10); {
	case op < 6:
		m.extend(s, len(s.values)+1+rng.IntN(12))
	case op < 7:
		if n := len(s.values); n > 0 {
			m.fork(s, 1+rng.IntN(n))
		}
	case op < 8 && s.Cells() > 2: // as after rejected drafts: a few positions back
		back := s.Cells() - rng.IntN(3)
		if s.tables[1].First*m.c.pageSize > back-m.c.groups[1].window || m.c.cutsShared(&s.Seq, back) {
			return // neither happens to drafts
		}
		m.c.Truncate(&s.Seq, back)
		s.values = s.values[:back]
	case op < 10:
		m.c.Release(&s.Seq)
		m.seqs = append(m.seqs[:i], m.seqs[i+1:]...)
	}
}

func TestGrowIsAllOrNothing(t *testing.T) {
	c := New(4, []Group{{Pages: 4}, {Pages: 2}})
	var s Seq
	if c.Grow(&s, 9) {
		t.Fatal("grew to 9 positions with 2 pages of 4 in the second group")
	}
	if c.FreePages(0) != 4 || c.FreePages(1) != 2 || s.Cells() != 0 {
		t.Fatalf("a failed Grow kept pages: %d and %d free", c.FreePages(0), c.FreePages(1))
	}
	if !c.Grow(&s, 8) {
		t.Fatal("8 positions fit")
	}
}

func TestWindowMovesForEver(t *testing.T) {
	c := New(4, []Group{{Pages: 6, Window: 8}})
	var s Seq
	for n := 1; n < 1000; n++ {
		if !c.Grow(&s, n) {
			t.Fatalf("no room at position %d: a window of 8 needs 3 pages of 4", n)
		}
		c.Trim(&s, n)
	}
	if held := c.Pages(0) - c.FreePages(0); held > 3 {
		t.Fatalf("holds %d pages, want at most 3", held)
	}
}

func TestCheckFindsLeaks(t *testing.T) {
	c := New(4, []Group{{Pages: 4}})
	var s Seq
	c.Grow(&s, 8)
	if c.Check(nil) == nil {
		t.Fatal("Check missed two pages that nobody admits to holding")
	}
	c.groups[0].refs[s.tables[0].Pages[0]]++
	if c.Check([]*Seq{&s}) == nil {
		t.Fatal("Check missed a wrong reference count")
	}
}

func TestGrowDoesNotAllocateWithinAPage(t *testing.T) {
	c := New(16, []Group{{Pages: 8}})
	var s Seq
	c.Grow(&s, 1)
	n := 1
	if a := testing.AllocsPerRun(10, func() { n++; c.Grow(&s, n); c.Trim(&s, n) }); a != 0 {
		t.Fatalf("%v allocations a token", a)
	}
}
