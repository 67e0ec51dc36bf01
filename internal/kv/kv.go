// Package kv keeps the books of the paged KV cache: which page holds which
// token positions of which sequence. It knows integers only; the keys and
// values themselves belong to a backend.
//
// # Pages, tables, groups
//
// A page holds PageSize consecutive positions of one sequence, in every layer
// of one group. Groups are layers that share a geometry and a window; each has
// its own pool of pages. A sequence has one block table a group: entry i holds
// positions [(first+i)*PageSize, (first+i+1)*PageSize).
//
//	positions   0 ......... 15 | 16 ........ 31 | 32 ........ 47 |
//	window 0    page 7         | page 2         | page 9         |   first = 0
//	window 16     (freed)      | page 4         | page 1         |   first = 1
//
// # Ownership
//
// A page is free, or held by one or more sequences; its reference count is the
// number of block tables that list it. Only a page with one holder is written:
// Fork shares the full pages of a prefix and asks for a copy of the last,
// partly filled one. [Cache.Check] verifies all this after every test.
//
// All operations are O(pages touched). Nothing here is safe for concurrent
// use: the engine's loop owns it.
package kv

import "fmt"

// Group is the geometry that matters to the books.
type Group struct {
	Pages  int // size of the pool
	Window int // positions that a row sees, itself included; 0: all
}

// Cache holds the pools of all groups.
type Cache struct {
	pageSize int
	groups   []group
	tree     *tree // the prefix cache; nil: none
}

type group struct {
	window int
	refs   []int32 // by page
	free   []int32 // a stack: the page freed last is used next, while it is warm
}

// Seq is a sequence's hold on the cache. The zero value holds nothing.
type Seq struct {
	tables []Table
	cells  int // positions [0, cells) have a place, but for those that left the window

	// The prefix cache's view: the first committed pages are node's and its
	// ancestors'. Once detached, no more are committed.
	node      *node
	committed int
	detached  bool
}

// Held is the number of pages that s holds, of all groups, shared ones included.
func (s *Seq) Held() int {
	n := 0
	for _, t := range s.tables {
		n += len(t.Pages)
	}
	return n
}

// Table is one group's block table.
type Table struct {
	First int // page index of Pages[0]; pages before it left the window
	Pages []int32
}

// Copy asks the backend to copy a cell within a group.
type Copy struct {
	Group    int
	From, To int32
}

// New makes empty pools.
func New(pageSize int, groups []Group) *Cache {
	c := &Cache{pageSize: pageSize}
	for _, g := range groups {
		pool := group{window: g.Window, refs: make([]int32, g.Pages), free: make([]int32, g.Pages)}
		for i := range pool.free {
			pool.free[i] = int32(g.Pages - 1 - i)
		}
		c.groups = append(c.groups, pool)
	}
	return c
}

// PageSize is the number of positions a page holds.
func (c *Cache) PageSize() int { return c.pageSize }

// Groups is the number of groups.
func (c *Cache) Groups() int { return len(c.groups) }

// FreePages is the number of pages of group g that can be had: free ones, and
// those that only the prefix cache holds.
func (c *Cache) FreePages(g int) int {
	n := len(c.groups[g].free)
	if c.tree != nil {
		n += int(c.tree.idle)
	}
	return n
}

// Pages is the size of group g's pool.
func (c *Cache) Pages(g int) int { return len(c.groups[g].refs) }

// Use is the share of pages held, of the fullest group, in [0, 1].
func (c *Cache) Use() float64 {
	var most float64
	for g := range c.groups {
		if n := c.Pages(g); n > 0 {
			most = max(most, 1-float64(c.FreePages(g))/float64(n))
		}
	}
	return most
}

// Fits tells whether Grow(s, n) would succeed and leave at least spare pages
// free in every group. It changes nothing.
func (c *Cache) Fits(s *Seq, n, spare int) bool {
	for g := range c.groups {
		if c.missing(s, g, n)+spare > c.FreePages(g) {
			return false
		}
	}
	return true
}

// Holds tells whether the pools could take s through position n, computed at
// most chunk positions at a time, and still have spare pages free: a group with
// a window needs room for the window and a chunk only. It changes nothing.
func (c *Cache) Holds(s *Seq, n, chunk, spare int) bool {
	for g := range c.groups {
		need := c.missing(s, g, n)
		if w := c.groups[g].window; w > 0 {
			need = min(need, c.pagesFor(w+chunk)+1)
		}
		if need+spare > c.FreePages(g) {
			return false
		}
	}
	return true
}

// Capacity is the longest sequence that the pools can hold alone when it is
// computed chunk positions at a time.
func (c *Cache) Capacity(chunk int) int {
	least := int(^uint(0) >> 1)
	for g := range c.groups {
		room := c.Pages(g) * c.pageSize
		if w := c.groups[g].window; w > 0 && c.Pages(g) >= c.pagesFor(w+chunk)+1 {
			continue // the window moves on within its pages for ever
		}
		least = min(least, room)
	}
	return least
}

// missing counts the pages that group g needs for positions [0, n) of s.
func (c *Cache) missing(s *Seq, g, n int) int {
	have := 0
	if len(s.tables) > 0 {
		have = s.tables[g].First + len(s.tables[g].Pages)
	}
	return max(0, c.pagesFor(n)-have)
}

func (c *Cache) pagesFor(n int) int { return (n + c.pageSize - 1) / c.pageSize }

// Grow gives positions [0, n) of s a place, all of them or, when a pool is
// short, none: then it changes nothing and reports false.
func (c *Cache) Grow(s *Seq, n int) bool {
	if n <= s.cells {
		return true
	}
	if !c.Fits(s, n, 0) {
		return false
	}
	if s.tables == nil {
		s.tables = make([]Table, len(c.groups))
	}
	for g := range c.groups {
		for range c.missing(s, g, n) {
			s.tables[g].Pages = append(s.tables[g].Pages, c.take(g))
		}
	}
	s.cells = n
	return true
}

// Trim frees the pages that no row at position next or later sees.
func (c *Cache) Trim(s *Seq, next int) {
	for g := range s.tables {
		w := c.groups[g].window
		if w == 0 {
			continue
		}
		t := &s.tables[g]
		// Row next sees (next-w, next]; the first page that matters holds next-w+1.
		drop := min(max(0, next-w+1)/c.pageSize-t.First, len(t.Pages))
		for i := range max(0, drop) {
			c.release(g, t.Pages[i])
		}
		if drop > 0 {
			t.Pages = append(t.Pages[:0], t.Pages[drop:]...)
			t.First += drop
		}
	}
}

// Truncate takes back positions n and later, as after rejected drafts, and
// frees the pages that hold nothing else. It never cuts into a shared page:
// what was shared was final when it was forked.
func (c *Cache) Truncate(s *Seq, n int) {
	if n >= s.cells {
		return
	}
	if c.cutsShared(s, n) {
		panic(fmt.Sprintf("kv: internal error: position %d to be written again is in a shared page", n))
	}
	for g := range s.tables {
		t := &s.tables[g]
		keep := max(0, c.pagesFor(n)-t.First)
		for i := keep; i < len(t.Pages); i++ {
			c.release(g, t.Pages[i])
		}
		t.Pages = t.Pages[:min(keep, len(t.Pages))]
	}
	s.cells = n
	for s.committed > n/c.pageSize {
		s.committed--
		s.node = s.node.parent
	}
}

func (c *Cache) cutsShared(s *Seq, n int) bool {
	if n%c.pageSize == 0 {
		return false
	}
	for g, t := range s.tables {
		i := n/c.pageSize - t.First
		if i >= 0 && i < len(t.Pages) && c.groups[g].refs[t.Pages[i]] > 1 {
			return true
		}
	}
	return false
}

// Release gives back everything that s holds.
func (c *Cache) Release(s *Seq) {
	if c.tree != nil {
		c.tree.tick++
	}
	for g := range s.tables {
		for _, p := range s.tables[g].Pages {
			c.release(g, p)
		}
	}
	*s = Seq{}
}

// Fork makes dst, which holds nothing, hold the first n positions of src: full
// pages are shared, and the cells of a last partial page are to be copied as
// the result says before dst's next row is written. It reports false, and
// changes nothing, when a pool lacks the page for that copy or src has freed
// positions that a row at n would see through its window.
func (c *Cache) Fork(dst, src *Seq, n int) ([]Copy, bool) {
	if dst.tables != nil || n > src.cells {
		panic(fmt.Sprintf("kv: internal error: fork of %d positions from %d onto a sequence in use", n, src.cells))
	}
	partial := n % c.pageSize
	if partial > 0 && !c.onePageEach() || !c.sees(src, n) {
		return nil, false
	}
	dst.tables = make([]Table, len(c.groups))
	dst.cells = n
	dst.node, dst.committed, dst.detached = src.node, src.committed, src.detached
	for dst.committed > n/c.pageSize {
		dst.committed--
		dst.node = dst.node.parent
	}
	var copies []Copy
	for g := range c.groups {
		copies = append(copies, c.forkGroup(g, dst, src, n)...)
	}
	return copies, true
}

// sees tells whether src still holds all that a row at position n looks at.
func (c *Cache) sees(src *Seq, n int) bool {
	for g := range src.tables {
		w := c.groups[g].window
		if w > 0 && src.tables[g].First*c.pageSize > max(0, n-w+1) {
			return false
		}
	}
	return true
}

func (c *Cache) onePageEach() bool {
	for g := range c.groups {
		if c.FreePages(g) == 0 {
			return false
		}
	}
	return true
}

func (c *Cache) forkGroup(g int, dst, src *Seq, n int) []Copy {
	from, to := &src.tables[g], &dst.tables[g]
	to.First = from.First
	full := max(0, n/c.pageSize-from.First)
	to.Pages = append(to.Pages, from.Pages[:full]...)
	for _, p := range to.Pages {
		c.retain(g, p)
	}
	var copies []Copy
	if partial := n % c.pageSize; partial > 0 {
		page := c.take(g)
		to.Pages = append(to.Pages, page)
		for i := range partial {
			copies = append(copies, Copy{Group: g, From: c.cell(from.Pages[full], i), To: c.cell(page, i)})
		}
	}
	return copies
}

// Cell is where group g stores position pos of s.
func (c *Cache) Cell(s *Seq, g, pos int) int32 {
	t := &s.tables[g]
	return c.cell(t.Pages[pos/c.pageSize-t.First], pos%c.pageSize)
}

func (c *Cache) cell(page int32, offset int) int32 { return page*int32(c.pageSize) + int32(offset) }

// Table is s's block table of group g; valid until s changes.
func (s *Seq) Table(g int) Table { return s.tables[g] }

// Cells is the number of positions that have a place.
func (s *Seq) Cells() int { return s.cells }

// take gives a page with one holder, evicting from the prefix cache if none is
// free. The caller has seen that FreePages is not 0.
func (c *Cache) take(g int) int32 {
	if len(c.groups[g].free) == 0 {
		c.evict()
	}
	pool := &c.groups[g]
	last := len(pool.free) - 1
	p := pool.free[last]
	pool.free = pool.free[:last]
	pool.refs[p] = 1
	return p
}

func (c *Cache) retain(g int, p int32) {
	refs := &c.groups[g].refs[p]
	if *refs++; *refs == 2 && g == 0 && c.tree != nil && c.tree.byPage[p] != nil {
		c.tree.becameBusy(c.tree.byPage[p])
	}
}

func (c *Cache) release(g int, p int32) {
	pool := &c.groups[g]
	pool.refs[p]--
	switch refs := pool.refs[p]; {
	case refs < 0:
		panic(fmt.Sprintf("kv: internal error: page %d released more often than held", p))
	case refs == 0:
		pool.free = append(pool.free, p)
	case refs == 1 && g == 0 && c.tree != nil && c.tree.byPage[p] != nil:
		c.tree.becameIdle(c.tree.byPage[p])
	}
}

// Check verifies the books against all sequences that hold pages: each page's
// reference count equals the number of tables that list it, free pages are
// listed once, tables cover exactly what they should.
func (c *Cache) Check(seqs []*Seq) error {
	for g := range c.groups {
		if err := c.checkGroup(g, seqs); err != nil {
			return fmt.Errorf("kv: group %d: %w", g, err)
		}
	}
	return nil
}

func (c *Cache) checkGroup(g int, seqs []*Seq) error {
	holders := make([]int32, c.Pages(g))
	for _, s := range seqs {
		if s.tables == nil {
			continue
		}
		t := s.tables[g]
		if end := t.First + len(t.Pages); end != c.pagesFor(s.cells) && len(t.Pages) > 0 {
			return fmt.Errorf("a table ends at page index %d but %d cells need %d", end, s.cells, c.pagesFor(s.cells))
		}
		for _, p := range t.Pages {
			holders[p]++
		}
	}
	if c.tree != nil {
		if err := c.tree.check(g, holders); err != nil {
			return err
		}
	}
	for _, p := range c.groups[g].free {
		if holders[p] != 0 {
			return fmt.Errorf("page %d is free and held or listed twice", p)
		}
		holders[p] = -1
	}
	for p, n := range holders {
		if refs := c.groups[g].refs[p]; max(n, 0) != refs || n == 0 {
			return fmt.Errorf("page %d has reference count %d, holders %d", p, refs, n)
		}
	}
	return nil
}
