package kv

import (
	"cmp"
	"container/heap"
	"errors"
	"slices"
)

// Saved is a page of the prefix cache as it is kept across a restart.
type Saved struct {
	Parent int    // place in the list; -1: the page is a prefix's first
	Salt   string // of a prefix's first page
	Tokens []int32
	Prompt int     // of Tokens, how many were computed as Prefill
	Pages  []int32 // by group: where its keys and values are
}

// Snapshot lists at most that many pages of the prefix cache, the most recently
// used first and each after its parent. No sequence may hold any.
func (c *Cache) Snapshot(most int) []Saved {
	if c.tree == nil {
		return nil
	}
	var all []*node
	for _, n := range c.tree.byPage {
		if n != nil {
			all = append(all, n)
		}
	}
	// Whoever held a page held its parent, so a parent was used at least as
	// recently; of those used at once, the one nearer to the root goes first.
	slices.SortStableFunc(all, func(a, b *node) int {
		return cmp.Or(cmp.Compare(b.used, a.used), cmp.Compare(a.depth(), b.depth()))
	})
	place := map[*node]int{}
	var list []Saved
	for i, n := range all[:min(most, len(all))] {
		place[n] = i
		s := Saved{Parent: -1, Salt: n.parent.salt, Tokens: n.tokens, Prompt: n.prompt, Pages: n.pages}
		if n.parent.tokens != nil {
			s.Parent, s.Salt = place[n.parent], ""
		}
		list = append(list, s)
	}
	return list
}

func (n *node) depth() int {
	d := 0
	for ; n.parent != nil; n = n.parent {
		d++
	}
	return d
}

// Restorer puts the pages of a snapshot back into an empty prefix cache.
type Restorer struct {
	c     *Cache
	nodes []*node
	left  uint64 // pages that may come
}

// Restore begins with a cache that holds nothing; at most that many pages come.
func (c *Cache) Restore(most int) *Restorer {
	c.tree.tick += uint64(most) + 1
	return &Restorer{c: c, left: uint64(most)}
}

// ErrFull says that a pool has no page left.
var ErrFull = errors.New("the pool of pages is full")

var errSnapshot = errors.New("the list of pages contradicts itself")

// Add makes the next page of the list and returns where its keys and values
// belong, by group. Where they come from and whether s is to be trusted is the
// caller's business, its consistency is checked here.
func (r *Restorer) Add(s Saved) ([]int32, error) {
	c, t := r.c, r.c.tree
	if len(s.Tokens) != c.pageSize || s.Prompt < 0 || s.Prompt > c.pageSize || s.Parent >= len(r.nodes) || s.Parent < -1 || r.left == 0 {
		return nil, errSnapshot
	}
	for g := range c.groups {
		if len(c.groups[g].free) == 0 {
			return nil, ErrFull
		}
	}
	var up *node
	if s.Parent >= 0 {
		up = r.nodes[s.Parent]
	} else {
		up = t.root(s.Salt)
	}
	if up.child(t, s.Tokens) != nil {
		return nil, errSnapshot
	}
	n := &node{parent: up, tokens: slices.Clone(s.Tokens), prompt: s.Prompt, pages: make([]int32, len(c.groups)), used: r.left}
	for g := range c.groups {
		n.pages[g] = c.take(g)
	}
	if up.at > 0 {
		heap.Remove(&t.leaves, up.at-1)
	}
	t.attach(n)
	t.idle++
	heap.Push(&t.leaves, n)
	r.nodes = append(r.nodes, n)
	r.left--
	return n.pages, nil
}
