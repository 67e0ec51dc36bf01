package kv

import (
	"container/heap"
	"fmt"
	"slices"
)

// tree is the prefix cache: pages of computed positions, found again by the
// tokens that they and everything before them hold.
//
// A node is a page in every group. The path from a root to a node spells a
// prefix, page by page; there is a root for each salt, which keeps tenants (and
// whatever else must not share) apart. The tree holds its pages like a sequence
// does: one reference each.
//
//	root("") ── [You are a helpful] ── [assistant. Today] ── [is Monday ...]
//	                                └─ [assistant. Write] ── ...
//
// Two rules make eviction safe and countable:
//
//   - A sequence that holds a node's page holds those of all its ancestors. So a
//     node that only the tree holds has only such descendants, all of them can
//     go, and their number is what a pool can still win.
//   - Only leaves go, the least recently used first; a parent follows its last
//     child.
//
// Windows would break the first rule (a sequence lets go of pages before its
// window), so a cache with a windowed group has no tree.
//
// Rejected: nodes of any number of tokens, as in SGLang's tree. They save
// nodes, but split and merge on the way; with pages of 16 a node costs one
// reference count that is there anyway, and a match within a page is made by
// copying cells.
type tree struct {
	roots  map[string]*node
	byPage []*node // of group 0
	leaves idleLeaves
	idle   int64 // nodes that only the tree holds
	tick   uint64
	// version changes when a node comes or goes.
	version uint64
	opts    PrefixOptions
	stats   CacheStats
	key     []byte
}

type node struct {
	parent   *node
	salt     string           // of a root
	tokens   []int32          // [pageSize]; nil for a root
	prompt   int              // of tokens, how many were computed as Prefill
	pages    []int32          // by group; nil: the node was evicted
	children map[string]*node // by tokens; nil while there are few
	kids     []*node          // the same, in the order in which they came
	used     uint64
	pins     int // pinned prefixes that hold it
	at       int // place in leaves, plus one; 0: not there
}

// CacheStats counts what the prefix cache did.
type CacheStats struct {
	Queried int64 // tokens of admitted sequences
	Hit     int64 // of them, those that were not computed again
	Evicted int64 // pages, of one group
	Nodes   int64 // pages held now, of one group
	Idle    int64 // of them, those that no sequence holds
	Pinned  int64 // of them, those of pinned prefixes
	Looked  int64 // pages looked for, whether found or not: the work of the tree
}

// HitRate is the share of queried tokens that were not computed again.
func (s CacheStats) HitRate() float64 {
	if s.Queried == 0 {
		return 0
	}
	return float64(s.Hit) / float64(s.Queried)
}

// maxSiblings bounds the search for the best partial match within a page.
const maxSiblings = 64

// PrefixOptions are the choices of EnablePrefixCache.
type PrefixOptions struct {
	// OneClass: Prefill and Decode are the same arithmetic, so that it does not
	// matter which of them computed a page.
	OneClass bool
}

// EnablePrefixCache makes sequences share the pages of equal prefixes. It
// reports false, and does nothing, for a cache with a windowed group.
func (c *Cache) EnablePrefixCache(o PrefixOptions) bool {
	for g := range c.groups {
		if c.groups[g].window > 0 {
			return false
		}
	}
	c.tree = &tree{opts: o, roots: map[string]*node{}, byPage: make([]*node, c.Pages(0)), version: 1}
	return true
}

// CacheStats returns the prefix cache's counts; zero if there is none.
func (c *Cache) CacheStats() CacheStats {
	if c.tree == nil {
		return CacheStats{}
	}
	s := c.tree.stats
	s.Idle = c.tree.idle
	return s
}

// Prefix is what a sequence's positions hold, for the prefix cache.
type Prefix struct {
	Salt   string
	Tokens []int32
	// Prompt is how many of Tokens are computed as Prefill; the rest, as Decode.
	Prompt int
}

// Match makes s, which holds nothing, hold the longest cached prefix of p, at
// most limit positions, and returns its length. Whole pages are shared; of the
// page where p and the cache part ways, cells are to be copied as the result
// says before s's next row is written.
func (c *Cache) Match(s *Seq, p Prefix, limit int) (int, []Copy) {
	t := c.tree
	if t == nil || limit <= 0 {
		return 0, nil
	}
	n := t.roots[p.Salt]
	if n == nil {
		return 0, nil
	}
	t.tick++
	s.tables = make([]Table, len(c.groups))
	n = c.holdPages(s, n, p.Tokens[:limit])
	copies := c.matchWithin(s, n, p.Tokens[s.cells:limit])
	if s.cells == 0 {
		*s = Seq{}
	}
	return s.cells, copies
}

// holdPages makes s hold the whole pages under n that tokens begin with, and
// returns the last one's node.
func (c *Cache) holdPages(s *Seq, n *node, tokens []int32) *node {
	for s.cells+c.pageSize <= len(tokens) {
		child := n.child(c.tree, tokens[s.cells:s.cells+c.pageSize])
		if child == nil {
			break
		}
		n = child
		c.hold(s, n)
	}
	s.node, s.committed = n, len(s.tables[0].Pages)
	return n
}

// CountMatch records that a sequence of so many tokens was admitted with a hit.
func (c *Cache) CountMatch(tokens, hit int) {
	if c.tree != nil {
		c.tree.stats.Queried += int64(tokens)
		c.tree.stats.Hit += int64(hit)
	}
}

// hold appends a node's pages to s.
func (c *Cache) hold(s *Seq, n *node) {
	for g, p := range n.pages {
		c.retain(g, p)
		s.tables[g].Pages = append(s.tables[g].Pages, p)
	}
	s.cells += c.pageSize
}

// matchWithin takes over the beginning of the page under n that has most tokens
// in common with rest, by copying.
func (c *Cache) matchWithin(s *Seq, n *node, rest []int32) []Copy {
	best, common := (*node)(nil), 0
	for _, kid := range n.kids[max(0, len(n.kids)-maxSiblings):] {
		if same := commonPrefix(kid.tokens, rest); same > common {
			best, common = kid, same
		}
	}
	if best == nil {
		return nil
	}
	// The source is held meanwhile: making room must not evict it.
	for g, p := range best.pages {
		c.retain(g, p)
	}
	defer func() {
		for g, p := range best.pages {
			c.release(g, p)
		}
	}()
	if !c.onePageEach() {
		return nil
	}
	var copies []Copy
	for g := range c.groups {
		page := c.take(g)
		s.tables[g].Pages = append(s.tables[g].Pages, page)
		for i := range common {
			copies = append(copies, Copy{Group: g, From: c.cell(best.pages[g], i), To: c.cell(page, i)})
		}
	}
	s.cells += common
	return copies
}

func commonPrefix(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// Commit puts those pages of s into the tree whose positions are all below
// computed. Where the tree has the same tokens already, computed with the same
// arithmetic, s takes over the tree's pages: they hold the same bits. Where the
// arithmetic differs (one's prompt is another's output) s keeps its own and
// shares nothing from there on, so that nobody's output depends on who ran
// beside it.
func (c *Cache) Commit(s *Seq, p Prefix, computed int) {
	t := c.tree
	if t == nil || s.detached {
		return
	}
	for (s.committed+1)*c.pageSize <= computed && !s.detached {
		if s.committed == 0 {
			s.node = t.root(p.Salt) // the one that Match saw may have been forgotten since
		}
		from := s.committed * c.pageSize
		tokens := p.Tokens[from : from+c.pageSize]
		prompt := c.pageSize
		if !t.opts.OneClass {
			prompt = min(max(p.Prompt-from, 0), c.pageSize)
		}
		switch child := s.node.child(t, tokens); {
		case child == nil:
			s.node = c.insert(s, tokens, prompt)
		case child.prompt == prompt:
			c.adopt(s, child)
		default:
			s.detached = true
			return
		}
		s.committed++
	}
}

// insert makes a node of s's next uncommitted page.
func (c *Cache) insert(s *Seq, tokens []int32, prompt int) *node {
	t := c.tree
	n := &node{parent: s.node, tokens: slices.Clone(tokens), prompt: prompt, pages: make([]int32, len(c.groups))}
	for g := range c.groups {
		n.pages[g] = s.tables[g].Pages[s.committed]
		c.retain(g, n.pages[g])
	}
	t.attach(n)
	return n
}

// fewKids are looked through one by one: most nodes have one kid, and a map each would
// be most of what the tree allocates.
const fewKids = 4

// attach makes n its parent's child.
func (t *tree) attach(n *node) {
	up := n.parent
	up.kids = append(up.kids, n)
	switch {
	case up.children != nil:
		up.children[string(t.keyOf(n.tokens))] = n
	case len(up.kids) > fewKids:
		up.children = make(map[string]*node, 2*len(up.kids))
		for _, k := range up.kids {
			up.children[string(t.keyOf(k.tokens))] = k
		}
	}
	t.byPage[n.pages[0]] = n
	t.stats.Nodes++
	t.version++
}

// adopt gives s the pages of n in place of its own.
func (c *Cache) adopt(s *Seq, n *node) {
	for g, p := range n.pages {
		own := s.tables[g].Pages[s.committed]
		if own == p {
			continue
		}
		c.retain(g, p)
		c.release(g, own)
		s.tables[g].Pages[s.committed] = p
	}
	s.node = n
}

func (t *tree) root(salt string) *node {
	r := t.roots[salt]
	if r == nil {
		r = &node{salt: salt}
		t.roots[salt] = r
	}
	return r
}

func (n *node) child(t *tree, tokens []int32) *node {
	t.stats.Looked++
	return n.find(t, tokens)
}

func (n *node) find(t *tree, tokens []int32) *node {
	if n.children != nil {
		return n.children[string(t.keyOf(tokens))]
	}
	for _, k := range n.kids {
		if slices.Equal(k.tokens, tokens) {
			return k
		}
	}
	return nil
}

// keyOf is a page's tokens as bytes; valid until the next call.
func (t *tree) keyOf(tokens []int32) []byte {
	t.key = t.key[:0]
	for _, id := range tokens {
		t.key = append(t.key, byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
	}
	return t.key
}

// becameIdle is told when only the tree holds n any more.
func (t *tree) becameIdle(n *node) {
	t.idle++
	n.used = t.tick
	if len(n.kids) == 0 {
		heap.Push(&t.leaves, n)
	}
}

// becameBusy is told when a sequence holds n again.
func (t *tree) becameBusy(n *node) {
	t.idle--
	if n.at > 0 {
		heap.Remove(&t.leaves, n.at-1)
	}
}

// evict frees the pages of the least recently used leaf that nobody holds.
func (c *Cache) evict() {
	t := c.tree
	n := heap.Pop(&t.leaves).(*node)
	t.idle--
	t.stats.Evicted++
	t.stats.Nodes--
	t.version++
	t.byPage[n.pages[0]] = nil
	for g, p := range n.pages {
		c.release(g, p)
	}
	n.pages = nil
	up := n.parent
	if up.children != nil {
		delete(up.children, string(t.keyOf(n.tokens)))
	}
	i := slices.Index(up.kids, n) // the least recently used are mostly among the first
	up.kids = slices.Delete(up.kids, i, i+1)
	if len(up.kids) == 0 && up.tokens != nil && c.groups[0].refs[up.pages[0]] == 1 {
		heap.Push(&t.leaves, up)
	}
	if up.tokens == nil && len(up.kids) == 0 {
		delete(t.roots, up.salt) // salts come from clients and must not pile up
	}
}

// idleLeaves is a heap, least recently used first.
type idleLeaves []*node

func (h idleLeaves) Len() int           { return len(h) }
func (h idleLeaves) Less(i, j int) bool { return h[i].used < h[j].used }
func (h idleLeaves) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i+1, j+1
}
func (h *idleLeaves) Push(x any) {
	n := x.(*node)
	*h = append(*h, n)
	n.at = len(*h)
}
func (h *idleLeaves) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	*h = (*h)[:last]
	n.at = 0
	return n
}

// check adds the tree's holds to holders and verifies its shape.
func (t *tree) check(g int, holders []int32) error {
	var nodes, idle, pinned int64
	var walk func(n *node, busyAbove bool) error
	walk = func(n *node, busyAbove bool) error {
		if n.children != nil && len(n.children) != len(n.kids) || n.children == nil && len(n.kids) > fewKids {
			return fmt.Errorf("a node has %d children and %d kids", len(n.children), len(n.kids))
		}
		for _, kid := range n.kids {
			if kid.parent != n || n.find(t, kid.tokens) != kid || t.byPage[kid.pages[0]] != kid {
				return fmt.Errorf("the node of page %d is not where it should be", kid.pages[0])
			}
			// holders counts sequences so far, for this group.
			busy := holders[kid.pages[g]] > 0
			if busy && !busyAbove {
				return fmt.Errorf("page %d is held, its parent's is not", kid.pages[g])
			}
			if (kid.at > 0) != (!busy && len(kid.kids) == 0) {
				return fmt.Errorf("page %d: idle leaf %v, but listed %v", kid.pages[g], !busy && len(kid.kids) == 0, kid.at > 0)
			}
			if !busy {
				idle++
			}
			if kid.pins > 0 {
				pinned++
			}
			if kid.pins > 0 && !busy {
				return fmt.Errorf("page %d is pinned but nobody holds it", kid.pages[g])
			}
			nodes++
			holders[kid.pages[g]]++
			if err := walk(kid, busy); err != nil {
				return err
			}
		}
		return nil
	}
	for _, r := range t.roots {
		if err := walk(r, true); err != nil {
			return err
		}
	}
	if idle != t.idle || nodes != t.stats.Nodes || pinned != t.stats.Pinned {
		return fmt.Errorf("%d idle and %d pinned of %d nodes, but %d and %d of %d are counted", idle, pinned, nodes, t.idle, t.stats.Pinned, t.stats.Nodes)
	}
	return nil
}
