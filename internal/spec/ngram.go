package spec

// NGram finds the places where the sequence's latest tokens stood before, and
// guesses what followed there: prompt look-up. It needs no model and is good at
// whatever repeats: code, JSON, quotations, edits of a given text.
//
// Among the latest places it prefers the one that agrees with the sequence for
// longest, backwards from its end. Where a draft may branch, other places with
// another continuation make the further branches.
//
// The zero value is ready. A token costs a look into a map and a walk over at
// most maxPlaces places.
type NGram struct {
	last map[uint64]int32 // hash of order tokens -> index after their last place
	prev []int32          // by index after a place: the place before with that hash, 0: none
	done int              // places that end at or before it are entered
}

const (
	// order is how many tokens must agree before what followed them is guessed.
	// Fewer guess more often and worse: with 2, ordinary prose is full of wrong
	// guesses.
	order = 3
	// maxPlaces bounds the search for the longest match.
	maxPlaces = 16
	// longest is the length beyond which matches are equal.
	longest = 32
)

// NewNGram makes a proposer of an NGram for each sequence.
func NewNGram() Proposer {
	return Each("ngram", func(*Ask) Guesser { return &NGram{} })
}

// Guess implements Guesser.
func (g *NGram) Guess(t, shape *Tree, tokens []int32) {
	if g.last == nil {
		g.last = map[uint64]int32{}
	}
	g.enter(tokens, len(tokens)-1) // what ends here must not find itself
	if len(tokens) < order || shape.Len() == 0 {
		return
	}
	places := g.places(tokens)
	left, depth := shape.Len(), shape.MaxDepth()
	for rank := 0; rank < len(places) && left > 0; rank++ {
		if rank > 0 {
			depth = min(depth, shape.below(rank))
		}
		left -= t.follow(tokens[places[rank].at:], min(depth, left))
	}
}

// below is the depth of the longest path whose first node has a rank.
func (t *Tree) below(rank int) int {
	first, most := t.Child(Root, int32(rank)), int32(0)
	for n := max(first, 0); first >= 0 && n < t.Len(); n++ {
		top := n
		for t.Parent[top] >= 0 {
			top = int(t.Parent[top])
		}
		if top == first {
			most = max(most, t.Depth[n])
		}
	}
	return int(most)
}

// follow adds the beginning of tokens as a branch, at most n nodes of it, and
// returns how many are new.
func (t *Tree) follow(tokens []int32, n int) int {
	before, at := t.Len(), Root
	for _, id := range tokens[:min(n, len(tokens))] {
		at = t.Add(at, id)
	}
	return t.Len() - before
}

// enter makes known the places that end at or before end.
func (g *NGram) enter(tokens []int32, end int) {
	for at := max(g.done, order-1) + 1; at <= end; at++ {
		for len(g.prev) <= at {
			g.prev = append(g.prev, 0)
		}
		h := hash(tokens[at-order : at])
		g.prev[at] = g.last[h]
		g.last[h] = int32(at)
		g.done = at
	}
}

// place is where the latest tokens stood before: at is the index after them.
type place struct {
	at, length int
}

// places lists earlier places of the latest tokens, those that agree for longest
// first, later ones before earlier ones.
func (g *NGram) places(tokens []int32) []place {
	n := len(tokens)
	var list [maxPlaces]place
	found := list[:0]
	at := int(g.last[hash(tokens[n-order:])])
	for i := 0; i < maxPlaces && at > 0; i, at = i+1, int(g.prev[at]) {
		p := place{at, agree(tokens[:at], tokens)}
		if p.length < order {
			continue // another run of tokens with the same hash
		}
		found = append(found, p)
		for j := len(found) - 1; j > 0 && found[j-1].length < p.length; j-- {
			found[j-1], found[j] = found[j], found[j-1]
		}
	}
	return found
}

// agree is the length of the common suffix, at most longest.
func agree(a, b []int32) int {
	n := 0
	for n < longest && n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// hash is FNV-1a over whole ids.
func hash(ids []int32) uint64 {
	h := uint64(14695981039346656037)
	for _, id := range ids {
		h = (h ^ uint64(uint32(id))) * 1099511628211
	}
	return h
}
