package grammar

import "slices"

// How masks are made. What a place in an automaton lets through is in two parts:
// tokens that stay within the automaton, which depend on nothing else, and the
// nodes of the trie at which the automaton is complete and something else
// follows. The first part, with a list of those nodes (local), is kept for the
// vocabulary, and serves all grammars that have the same automaton: every JSON
// string without constraints is one. The second depends on what follows, and is
// kept for the grammar: an entry is a local and the few tokens that reach across
// its end.

// tokenSet is a set of tokens, as a list or, when that is shorter, as a mask.
type tokenSet struct {
	ids  []int32
	mask []uint64
}

func (s *tokenSet) addTo(dst []uint64) {
	for i, w := range s.mask {
		dst[i] |= w
	}
	for _, id := range s.ids {
		setBit(dst, id)
	}
}

func (s *tokenSet) bytes() int { return 4*len(s.ids) + 8*len(s.mask) + 64 }

// localKey is a place in an automaton, with the little of counts and bars that
// matters to single tokens.
type localKey struct {
	d          *dfa
	q          int32
	need, room int32 // characters, no more than a token has
	lo, hi     int32
	extra      bool
	close      bool
}

type local struct {
	tokens tokenSet
	exits  []exit
}

// exit is a node of the trie at which an automaton is complete.
type exit struct{ node, tag int32 }

// key makes the place's key.
func (t *term) key(v *Vocab, q, c int32, f *filter) localKey {
	k := localKey{d: t.d, q: q}
	if t.counted {
		if t.exact() {
			k.need, k.room = t.min-c, t.max-c
		} else {
			k.need = min(max(t.min-c, 0), v.chars+1)
			k.room = min(t.max-c, v.chars+1+t.d.maxNear)
		}
	}
	if t.filtered {
		k.lo, k.hi, k.extra, k.close = f.lo, f.hi, f.extra, f.close
	}
	return k
}

// exact tells whether every count may matter, not only those near a bound.
func (t *term) exact() bool { return t.lengths != nil || t.d.finite }

// wide tells whether plain tokens are possible whatever they are.
func (t *term) wide(q, c int32, f *filter) bool {
	switch {
	case t.d.run[q] < plainRun || t.filtered && !f.extra:
		return false
	case t.counted:
		return !t.exact() && t.max-c >= plainRun+t.d.maxNear
	}
	return true
}

// mostLocals bounds the memory of a vocabulary's locals, in bytes.
const mostLocals = 64 << 20

// local computes what a place lets through by itself, or remembers it.
func (v *Vocab) local(w *walker, it *item, f *filter) *local {
	key := it.t.key(v, it.q, it.c, f)
	v.mu.Lock()
	l := v.locals[key]
	v.mu.Unlock()
	if l != nil {
		return l
	}
	l = w.local(v, it, f)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.held += l.tokens.bytes() + 8*len(l.exits) + 128; v.held > mostLocals {
		clear(v.locals)
		clear(v.known)
		v.held = 0
	}
	v.locals[key] = l
	return l
}

// walker has the working memory of walks through a trie.
type walker struct {
	mask   []uint64
	states []place
	exits  []exit
	ids    []int32
	bufs   [][]item
}

type place struct{ q, c int32 }

func (w *walker) local(v *Vocab, it *item, f *filter) *local {
	if len(w.mask) != v.Words() {
		w.mask = make([]uint64, v.Words())
	}
	clear(w.mask)
	w.exits = w.exits[:0]
	tr, toFull := &v.full, []int32(nil)
	if it.t.wide(it.q, it.c, f) {
		copy(w.mask, v.plain)
		tr, toFull = &v.rest, v.toFull
	}
	if it.t.counted || it.t.filtered {
		w.walk(tr, it, f)
	} else {
		w.walkPlain(tr, it)
	}
	l := &local{tokens: newTokenSet(w.mask), exits: slices.Clone(w.exits)}
	if toFull != nil {
		for i := range l.exits {
			l.exits[i].node = toFull[l.exits[i].node]
		}
	}
	return l
}

// newTokenSet copies a mask.
func newTokenSet(mask []uint64) tokenSet {
	if popcount(mask) > len(mask)*2 {
		return tokenSet{mask: slices.Clone(mask)}
	}
	var ids []int32
	for i, word := range mask {
		for ; word != 0; word &= word - 1 {
			ids = append(ids, int32(i*64+trailingZeros(word)))
		}
	}
	return tokenSet{ids: ids}
}

// walkPlain walks the trie with a plain automaton: the loop that makes wide masks.
func (w *walker) walkPlain(tr *trie, it *item) {
	d := it.t.d
	if len(w.states) == 0 {
		w.states = make([]place, 1024)
	}
	w.states[0].q = it.q
	for i := int32(1); i < int32(len(tr.char)); {
		depth := tr.depth[i]
		q := d.trans[int(w.states[depth-1].q)*d.count+int(d.class[tr.char[i]])]
		if q == dead {
			i = tr.end[i]
			continue
		}
		for _, id := range tr.ids[tr.first[i]:tr.first[i+1]] {
			setBit(w.mask, id)
		}
		if tag := d.accept[q]; tag != noTag && tr.end[i] > i+1 {
			w.exits = append(w.exits, exit{i, tag})
		}
		if d.leaf[q] {
			i = tr.end[i]
			continue
		}
		if int(depth) >= len(w.states) {
			w.states = append(w.states, make([]place, len(w.states))...)
		}
		w.states[depth].q = q
		i++
	}
}

// walk is walkPlain for an automaton that counts or has barred tags.
func (w *walker) walk(tr *trie, it *item, f *filter) {
	t := it.t
	if len(w.states) == 0 {
		w.states = make([]place, 1024)
	}
	w.states[0] = place{it.q, it.c}
	for i := int32(1); i < int32(len(tr.char)); {
		depth := tr.depth[i]
		at := w.states[depth-1]
		q, c := t.step(at.q, at.c, tr.char[i], f)
		tag := int32(noTag)
		if q != dead {
			tag = t.accepts(q, c, f)
		}
		if q == dead || t.d.leaf[q] && tag == noTag {
			i = tr.end[i]
			continue
		}
		for _, id := range tr.ids[tr.first[i]:tr.first[i+1]] {
			setBit(w.mask, id)
		}
		if tag != noTag && tr.end[i] > i+1 {
			w.exits = append(w.exits, exit{i, tag})
		}
		if t.d.leaf[q] {
			i = tr.end[i]
			continue
		}
		if int(depth) >= len(w.states) {
			w.states = append(w.states, make([]place, len(w.states))...)
		}
		w.states[depth] = place{q, c}
		i++
	}
}

// masks keeps what places let through.
type masks struct {
	made map[item]*entry
	held int
}

// entry is the tokens that a place lets through.
type entry struct {
	l      *local
	across []int32 // tokens that reach across the end of the automaton
}

// mostMasks bounds the memory of a grammar's entries, in bytes.
const mostMasks = 2 << 20

// Mask sets the bits of the tokens that may follow, those that end the output
// among them if it may end here, and clears the others. dst has Words words.
func (s State) Mask(dst []uint64) {
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(dst)
	for i := range s.items {
		e := g.entry(&s.items[i])
		e.l.tokens.addTo(dst)
		for _, id := range e.across {
			setBit(dst, id)
		}
	}
	if s.done {
		for _, id := range g.vocab.eog {
			setBit(dst, id)
		}
	}
}

func (g *Grammar) entry(it *item) *entry {
	f := it.k.barring()
	key := *it
	if it.t.counted && !it.t.exact() { // far from a bound all counts are alike
		k := it.t.key(g.vocab, it.q, it.c, f)
		key.c = k.need<<20 | k.room
	}
	if e := g.masks.made[key]; e != nil {
		return e
	}
	e := &entry{l: g.vocab.local(&g.w, it, f)}
	e.across = g.across(it, e.l)
	if g.masks.held += 4*len(e.across) + 128; g.masks.made == nil || g.masks.held > mostMasks {
		g.masks.made, g.masks.held = map[item]*entry{}, 0
	}
	g.masks.made[key] = e
	return e
}

// across finds the tokens that reach across the end of an item's automaton.
func (g *Grammar) across(it *item, l *local) []int32 {
	tr := &g.vocab.full
	g.w.ids = g.w.ids[:0]
	for _, x := range l.exits {
		k := g.conts.after(*it, x.tag)
		o := g.conts.open(k)
		if len(o.items) == 0 {
			continue
		}
		firsts := g.firsts(k, o)
		for c := x.node + 1; c < tr.end[x.node]; c = tr.end[c] {
			if b := tr.char[c]; firsts[b>>6]>>(b&63)&1 == 1 {
				g.child(tr, c, o.items, 0)
			}
		}
	}
	slices.Sort(g.w.ids)
	return slices.Clone(slices.Compact(g.w.ids))
}

// child walks the trie from node c on, with the places before it.
func (g *Grammar) child(tr *trie, c int32, items []item, depth int) {
	if depth == len(g.w.bufs) {
		g.w.bufs = append(g.w.bufs, nil)
	}
	next, done := g.advance(g.w.bufs[depth][:0], items, tr.char[c])
	g.w.bufs[depth] = next
	if len(next) == 0 && !done {
		return
	}
	g.w.ids = append(g.w.ids, tr.ids[tr.first[c]:tr.first[c+1]]...)
	if len(next) == 0 {
		return
	}
	for x := c + 1; x < tr.end[c]; x = tr.end[x] {
		g.child(tr, x, next, depth+1)
	}
}

// firsts tells by which bytes k can begin.
func (g *Grammar) firsts(k *cont, o *opening) *[4]uint64 {
	if k.firsts != nil {
		return k.firsts
	}
	set := new([4]uint64)
	for i := range o.items {
		it := &o.items[i]
		f := it.k.barring()
		for b := range 256 {
			if q, _ := it.t.step(it.q, it.c, byte(b), f); q != dead {
				set[b>>6] |= 1 << (b & 63)
			}
		}
	}
	k.firsts = set
	return set
}

// known finds an automaton that equals d among those that the vocabulary has
// seen, so that masks are shared.
func (v *Vocab) intern(d *dfa) *dfa {
	h := d.hash()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.known[h] {
		if k.equal(d) {
			return k
		}
	}
	v.known[h] = append(v.known[h], d)
	v.held += 4*len(d.trans) + 400
	return d
}

// hash is FNV-1a over whole numbers.
func (d *dfa) hash() uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for _, s := range [][]int32{d.trans, d.accept} {
		for _, x := range s {
			h = (h ^ uint64(uint32(x))) * prime
		}
	}
	for _, c := range d.class {
		h = (h ^ uint64(c)) * prime
	}
	return h
}

func (d *dfa) equal(e *dfa) bool {
	return d.count == e.count && d.class == e.class && slices.Equal(d.trans, e.trans) && slices.Equal(d.accept, e.accept) &&
		slices.Equal(d.whole, e.whole) && d.extraFrom == e.extraFrom
}
