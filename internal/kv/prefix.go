package kv

import "slices"

// Caches tells whether there is a prefix cache.
func (c *Cache) Caches() bool { return c.tree != nil }

// Version changes whenever what the prefix cache holds does; never 0.
func (c *Cache) Version() uint64 {
	if c.tree == nil {
		return 1
	}
	return c.tree.version
}

// Cursor is where a prefix was last found to end, so that looking for it again
// costs only what has changed. The zero value has found nothing.
type Cursor struct {
	at    *node
	found int
}

// Peek tells how many of p's first limit tokens Match would find in whole pages.
// It changes nothing: what is only looked at does not become recently used. from
// is the prefix's own, which may have got longer since: who waits among many behind
// a long prefix is looked at in every step.
func (c *Cache) Peek(from *Cursor, p Prefix, limit int) int {
	if c.tree == nil {
		return 0
	}
	for from.at != nil && from.at.tokens != nil && from.at.pages == nil { // evicted; what is above may be there
		from.at, from.found = from.at.parent, from.found-c.pageSize
	}
	if from.at == nil || from.at.tokens == nil { // a root may have been forgotten and made anew
		from.at, from.found = c.tree.roots[p.Salt], 0
	}
	from.found, from.at = c.follow(from.at, p, from.found, limit)
	return min(from.found, limit/c.pageSize*c.pageSize)
}

// walk follows p through whole pages, to the last one's node.
func (c *Cache) walk(p Prefix, limit int) (same int, n *node) {
	if c.tree == nil {
		return 0, nil
	}
	return c.follow(c.tree.roots[p.Salt], p, 0, limit)
}

// follow walks on from n, which holds p's tokens before same.
func (c *Cache) follow(n *node, p Prefix, same, limit int) (int, *node) {
	for n != nil && same+c.pageSize <= limit {
		child := n.child(c.tree, p.Tokens[same:same+c.pageSize])
		if child == nil {
			break
		}
		n = child
		same += c.pageSize
	}
	return same, n
}

// Nearest finds what the cache has that begins like p: how many tokens are the
// same, and at most n of those that follow them in the cache where p goes on
// otherwise; none if nothing does. Of several that part from p at the same token
// it is the one that came last. Only what has p's salt is looked at.
func (c *Cache) Nearest(p Prefix, n int) (same int, theirs []int32) {
	same, at := c.walk(p, len(p.Tokens))
	if at == nil || len(at.kids) == 0 {
		return same, nil
	}
	kid, common := at.kids[len(at.kids)-1], 0
	for _, k := range slices.Backward(at.kids) {
		if m := commonPrefix(k.tokens, p.Tokens[same:]); m > common {
			kid, common = k, m
		}
	}
	same += common
	if same == len(p.Tokens) {
		return same, nil // the cache goes on where p ends
	}
	theirs = append(theirs, kid.tokens[common:]...)
	for len(theirs) < n && len(kid.kids) > 0 {
		kid = kid.kids[len(kid.kids)-1]
		theirs = append(theirs, kid.tokens...)
	}
	return same, theirs[:min(n, len(theirs))]
}

// Pin makes s, which holds nothing, hold the whole pages of p that are cached, so
// that they are not evicted until Unpin. If more than most pages would be pinned
// then, it changes nothing and reports false.
func (c *Cache) Pin(s *Seq, p Prefix, most int) (tokens int, ok bool) {
	t := c.tree
	if t == nil || t.roots[p.Salt] == nil {
		return 0, true
	}
	_, last := c.walk(p, len(p.Tokens))
	fresh := 0
	for n := last; n.tokens != nil; n = n.parent {
		if n.pins == 0 {
			fresh++
		}
	}
	if int(t.stats.Pinned)+fresh > most {
		return 0, false
	}
	s.tables = make([]Table, len(c.groups))
	for n := c.holdPages(s, t.roots[p.Salt], p.Tokens); n.tokens != nil; n = n.parent {
		n.pins++
	}
	t.stats.Pinned += int64(fresh)
	if s.cells == 0 {
		*s = Seq{}
	}
	return s.cells, true
}

// Unpin lets go of what Pin held.
func (c *Cache) Unpin(s *Seq) {
	if s.tables == nil {
		return
	}
	for n := s.node; n.tokens != nil; n = n.parent {
		if n.pins--; n.pins == 0 {
			c.tree.stats.Pinned--
		}
	}
	c.Release(s)
}
