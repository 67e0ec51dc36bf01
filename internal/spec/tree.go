package spec

// Root is the parent of what follows the sequence's last known token.
const Root = -1

// None is no node.
const None = -2

// Tree is a draft: tokens, each of which follows its parent. Parents come before
// their children, so that the first n nodes of a tree are one, too. The zero
// value is empty.
type Tree struct {
	Token  []int32
	Parent []int32 // by node; Root for the first of a branch
	Depth  []int32 // 1 below the root
}

// Len is the number of nodes.
func (t *Tree) Len() int { return len(t.Token) }

// Reset empties t and keeps its memory.
func (t *Tree) Reset() { t.Cut(0) }

// Copy makes t the first nodes of another, at most n.
func (t *Tree) Copy(from *Tree, n int) {
	n = min(n, from.Len())
	t.Token = append(t.Token[:0], from.Token[:n]...)
	t.Parent = append(t.Parent[:0], from.Parent[:n]...)
	t.Depth = append(t.Depth[:0], from.Depth[:n]...)
}

// Cut keeps the first n nodes.
func (t *Tree) Cut(n int) {
	if n < len(t.Token) {
		t.Token, t.Parent, t.Depth = t.Token[:n], t.Parent[:n], t.Depth[:n]
	}
}

// Add makes a child of parent and returns it: the one with that token, if there
// is one.
func (t *Tree) Add(parent int, token int32) int {
	if n := t.Child(parent, token); n >= 0 {
		return n
	}
	depth := int32(1)
	if parent >= 0 {
		depth = t.Depth[parent] + 1
	}
	t.Token = append(t.Token, token)
	t.Parent = append(t.Parent, int32(parent))
	t.Depth = append(t.Depth, depth)
	return len(t.Token) - 1
}

// Child is the child of parent with a token, or None.
func (t *Tree) Child(parent int, token int32) int {
	for n := max(parent, 0); n < len(t.Token); n++ {
		if t.Token[n] == token && int(t.Parent[n]) == parent {
			return n
		}
	}
	return None
}

// Chain tells whether every node follows the one before it.
func (t *Tree) Chain() bool {
	for n, p := range t.Parent {
		if int(p) != n-1 {
			return false
		}
	}
	return true
}

// MaxDepth is the length of the longest path.
func (t *Tree) MaxDepth() int {
	var most int32
	for _, d := range t.Depth {
		most = max(most, d)
	}
	return int(most)
}

// Rank is a node's place among its siblings.
func (t *Tree) Rank(node int) int {
	rank := 0
	for n := range node {
		if t.Parent[n] == t.Parent[node] {
			rank++
		}
	}
	return rank
}

// SetChain makes t a chain of n nodes of rank 0: a shape.
func (t *Tree) SetChain(n int) {
	t.Reset()
	for i := range n {
		t.Add(i-1, 0)
	}
}
