package grammar

import "slices"

// The shortest way to an end: for outputs whose room runs out. What is left of an
// output is a stack of places in nodes (cont), and what the fewest bytes are that
// complete one of them does not depend on those below. So the least of whole nodes
// is computed once (a rule's by iteration: Knuth's generalisation of Dijkstra's
// algorithm, here by sweeps until nothing gets less), the least of places in objects
// and arrays as they are met, and an output's is a sum.

// never is more bytes than any output has.
const never = 1 << 28

// leasts keeps what is known of a grammar's nodes and automata. nil maps: nothing.
type leasts struct {
	nodes  map[*node]int32
	spots  map[spot]int32
	exits  map[wayKey][]bytesTo // of automata's beginnings
	ways   map[wayKey][]way
	tables map[*dfa]*countdown
	held   int // bytes of ways and tables

	m   *meter // of the compilation
	err error
}

// bytesTo is how many bytes it is to a tag.
type bytesTo struct{ tag, bytes int32 }

// spot is a place in an object or array: see follow.
type spot struct {
	n    *node
	a, b int32
}

// way is a shortest text from a state of an automaton to where it is complete with a
// tag.
type way struct {
	tag  int32
	text []byte
}

type wayKey struct {
	t    *term
	q, c int32
}

const (
	mostWays   = 1 << 20 // bytes kept of ways
	mostPlaces = 1 << 14 // places of an automaton looked at for one
)

// waysOf lists for each tag the shortest text that completes t from (q, c).
func (l *leasts) waysOf(t *term, q, c int32) []way {
	key := wayKey{t, q, c}
	if w, ok := l.ways[key]; ok {
		return w
	}
	w := l.search(t, q, c)
	for _, x := range w {
		l.held += len(x.text) + 32
	}
	if l.held += 64; l.held > mostWays {
		l.ways, l.tables, l.held = map[wayKey][]way{}, map[*dfa]*countdown{}, 64
	}
	l.ways[key] = w
	return w
}

// search finds the ways, by a table where one helps.
func (l *leasts) search(t *term, q, c int32) []way {
	if t.remote(c) {
		return nil
	}
	if w, ok := l.counts(t, q, c); ok {
		return w
	}
	return t.ways(q, c)
}

// exitsOf is how far it is from where t begins, at one of its start states, to its tags.
func (l *leasts) exitsOf(t *term, start int32) []bytesTo {
	key := wayKey{t, start, 0}
	list, ok := l.exits[key]
	if !ok && l.err == nil {
		if l.m != nil {
			l.err = l.m.step(len(t.d.accept))
		}
		for _, w := range l.search(t, start, t.initial()) {
			list = append(list, bytesTo{w.tag, int32(len(w.text))})
		}
		l.exits[key] = list
	}
	return list
}

// stride is a place that the search has come to, from which, and by which byte.
type stride struct {
	at   place
	from int32
	by   byte
}

// ways searches breadth first. Automata whose tags are barred by what follows are
// searched without the bars: what leads to a tag that is allowed is never barred.
func (t *term) ways(q, c int32) []way {
	open := *t
	open.filtered = false
	bytes, fresh := t.d.bytes(), t.fresh()
	fresh(place{q, c})
	list := []stride{{at: place{q, c}, from: -1}}
	tags := map[int32]bool{}
	var out []way
	for i := 0; i < len(list) && len(list) < mostPlaces; i++ {
		at := list[i].at
		if tag := open.accepts(at.q, at.c, nil); tag != noTag && !tags[tag] {
			tags[tag] = true
			out = append(out, way{tag, trace(list, i)})
			if !t.filtered && !t.tagged {
				break // all tags are one
			}
		}
		if t.d.leaf[at.q] {
			continue
		}
		for _, b := range bytes {
			next, n := open.step(at.q, at.c, b, nil)
			if to := (place{next, n}); next != dead && fresh(to) {
				list = append(list, stride{to, int32(i), b})
			}
		}
	}
	return out
}

// fresh tells of each place, once, that it is new.
func (t *term) fresh() func(place) bool {
	if t.counted {
		seen := map[place]bool{}
		return func(p place) bool {
			was := seen[p]
			seen[p] = true
			return !was
		}
	}
	seen := make([]bool, len(t.d.accept))
	return func(p place) bool {
		was := seen[p.q]
		seen[p.q] = true
		return !was
	}
}

// trace reads the bytes that led to step i.
func trace(list []stride, i int) []byte {
	var text []byte
	for ; list[i].from >= 0; i = int(list[i].from) {
		text = append(text, list[i].by)
	}
	slices.Reverse(text)
	return text
}

// bytes has one byte of each class, letters and digits rather than others.
func (d *dfa) bytes() []byte {
	of := make([]int, d.count)
	for i := range of {
		of[i] = -1
	}
	for _, span := range [][2]int{{'a', 'z'}, {'0', '9'}, {' ', '~'}, {0, 255}} {
		for b := span[0]; b <= span[1]; b++ {
			if c := d.class[b]; of[c] < 0 {
				of[c] = b
			}
		}
	}
	var out []byte
	for _, b := range of {
		if b >= 0 {
			out = append(out, byte(b))
		}
	}
	return out
}

// node is the least of a whole node.
func (l *leasts) node(n *node) int32 {
	if n == nil {
		return 0
	}
	if v, ok := l.nodes[n]; ok {
		return v
	}
	return never
}

// of computes the nodes below root. It gives the bytes that they take, roughly.
func (l *leasts) of(root *node, m *meter) (int, error) {
	*l = leasts{m: m, nodes: map[*node]int32{}, spots: map[spot]int32{}, exits: map[wayKey][]bytesTo{}, ways: map[wayKey][]way{},
		tables: map[*dfa]*countdown{}}
	var order []*node
	seen := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		n.below(visit)
		order = append(order, n)
	}
	visit(root)
	for changed := true; changed && l.err == nil; {
		changed = false
		l.err = m.step(len(order))
		clear(l.spots)
		for _, n := range order {
			if v := l.compute(n); v < l.node(n) {
				l.nodes[n], changed = v, true
			}
		}
	}
	clear(l.spots)
	l.m = nil
	return 100*len(order) + 16*len(l.exits), l.err
}

// below visits what a node is made of.
func (n *node) below(visit func(*node)) {
	for _, s := range n.subs {
		visit(s)
	}
	if n.rule != nil {
		visit(n.rule.body)
	}
	if o := n.object; o != nil {
		for _, v := range o.values {
			visit(v)
		}
		for _, v := range o.extra {
			visit(v)
		}
	}
	if a := n.array; a != nil {
		for _, v := range a.prefix {
			visit(v)
		}
		visit(a.rest)
		for _, v := range a.contains {
			visit(v)
		}
	}
}

// sum adds leasts.
func sum(a, b int32) int32 { return min(a+b, never) }

func (l *leasts) compute(n *node) int32 {
	least := int32(never)
	switch n.kind {
	case nodeTerm:
		for _, x := range l.exitsOf(n.term, n.term.start) {
			least = min(least, x.bytes)
		}
	case nodeSwitch:
		for _, x := range l.exitsOf(n.term, n.term.start) {
			least = min(least, sum(x.bytes, l.node(n.subs[x.tag])))
		}
	case nodeAlt:
		for _, s := range n.subs {
			least = min(least, l.node(s))
		}
	case nodeRule:
		least = l.node(n.rule.body)
	default:
		least = l.spot(spot{n, 0, 0})
	}
	return least
}

// spot is the least from a place in a node on.
func (l *leasts) spot(s spot) int32 {
	switch s.n.kind {
	case nodeSeq:
		least := int32(0)
		for _, sub := range s.n.subs[s.a:] {
			least = sum(least, l.node(sub))
		}
		return least
	case nodeRepeat:
		times, each := int64(max(0, s.n.min-s.a)), l.node(s.n.subs[0])
		return int32(min(times*int64(each), never))
	case nodeObject, nodeArray:
		if v, ok := l.spots[s]; ok {
			return v
		}
		l.spots[s] = never // a way back to here is no shorter
		if s.n.kind == nodeObject {
			l.spots[s] = l.property(s)
		} else {
			l.spots[s] = l.item(s)
		}
		return l.spots[s]
	}
	return l.node(s.n)
}

// property is the least from a place in an object on: of what it is to the end, or to
// another property, its value and what is left then.
func (l *leasts) property(s spot) int32 {
	o := s.n.object
	f, size, least := o.filter(s.a, s.b), int32(len(o.values)), int32(never)
	for _, x := range l.exitsOf(o.keys, choose(s.b == 0, o.first, o.next)) {
		if !f.allows(o.keys.d, x.tag) {
			continue
		}
		v := x.bytes
		if n := o.counted(s.a, s.b, x.tag); x.tag != closeTag && x.tag <= size {
			v = sum(v, sum(l.node(o.values[x.tag-1]), l.spot(spot{s.n, x.tag, n})))
		} else if x.tag != closeTag {
			v = sum(v, sum(l.node(o.extra[x.tag-1-size]), l.spot(spot{s.n, size + 1, n})))
		}
		least = min(least, v)
	}
	return least
}

// item is the same in an array.
func (l *leasts) item(s spot) int32 {
	a := s.n.array
	f, more, least := a.filter(s.a, s.b == 1), int32(never), int32(never)
	for _, x := range a.following(s.a, s.b) {
		more = min(more, sum(l.node(x.n), l.spot(spot{s.n, x.a, x.b})))
	}
	if s.a == 0 && f.lo <= f.hi {
		least = more
	}
	for _, x := range l.exitsOf(a.seps, choose(s.a == 0, a.first, a.next)) {
		if f.allows(a.seps.d, x.tag) {
			least = min(least, sum(x.bytes, choose(x.tag == closeTag, 0, more)))
		}
	}
	return least
}

// cont is the least of all that is still to come.
func (l *leasts) cont(k *cont) int32 {
	switch {
	case k == nil:
		return 0
	case k.least > 0:
		return k.least - 1
	}
	least := int32(never)
	if k.n != nil {
		least = sum(l.spot(spot{k.n, k.a, k.b}), l.cont(k.next))
	}
	for _, x := range k.any {
		least = min(least, l.cont(x))
	}
	k.least = least + 1
	return least
}

// shortest appends the shortest text that completes one of items, or what there is of
// it in limit bytes. It reports false if none is known.
func (g *Grammar) shortest(items []item, done bool, limit int) ([]byte, bool) {
	var text []byte
	for !done && len(text) < limit {
		w, k, least := g.nearest(items)
		if least >= never {
			return nil, false
		}
		text = append(text, w.text...)
		o := g.conts.open(k)
		items, done = o.items, o.done
	}
	return text, true
}

// nearest is the way out of the automata of items that leads to the nearest end, and
// what follows it and the bytes to that end.
func (g *Grammar) nearest(items []item) (best way, k *cont, least int32) {
	least = never
	for i := range items {
		if w, next, v := g.way(&items[i]); v < least {
			best, k, least = w, next, v
		}
	}
	return best, k, least
}

// way is the same of one item.
func (g *Grammar) way(it *item) (best way, k *cont, least int32) {
	least = never
	f := it.k.barring()
	for _, w := range g.least.waysOf(it.t, it.q, it.c) {
		// Where the automaton is complete already, what follows is among the items.
		if len(w.text) == 0 || it.t.filtered && !f.allows(it.t.d, w.tag) {
			continue
		}
		next := g.conts.after(*it, w.tag)
		if v := sum(int32(len(w.text)), g.least.cont(next)); v < least {
			best, k, least = w, next, v
		}
	}
	return best, k, least
}

// mostShortest bounds the shortest text that is looked for.
const mostShortest = 1 << 12

// Shortest is a shortest text that may follow and end the output, empty where it
// may end here. It reports false if that is longer than can be looked for.
func (s State) Shortest() ([]byte, bool) {
	if !s.done && s.least() >= mostShortest {
		return nil, false
	}
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shortest(s.items, s.done, mostShortest)
}

// spell writes text in tokens of the vocabulary, each the longest that goes on with
// it. It reports false if there are none.
func (v *Vocab) spell(text []byte) ([]int32, bool) {
	var ids []int32
	for len(text) > 0 {
		id, n := v.longest(text)
		if n == 0 {
			return nil, false
		}
		ids, text = append(ids, id), text[n:]
	}
	return ids, true
}

// longest is the longest token that text begins with, and its bytes.
func (v *Vocab) longest(text []byte) (id int32, n int) {
	tr := &v.full
	at := int32(0)
	for i, b := range text {
		x := at + 1
		for x < tr.end[at] && tr.char[x] != b {
			x = tr.end[x]
		}
		if x >= tr.end[at] {
			break
		}
		if at = x; tr.first[x] < tr.first[x+1] {
			id, n = tr.ids[tr.first[x]], i+1
		}
	}
	return id, n
}

// ending is a shortest end of the output in tokens, at most room of them. It reports
// false if there is none that short.
func (s State) ending(room int) ([]int32, bool) {
	text, ok := s.Shortest()
	if !ok {
		return nil, false
	}
	ids, ok := s.g.vocab.spell(text)
	return ids, ok && len(ids) <= room
}

// ends tells whether the output can end within room tokens.
func (s State) ends(room int) bool {
	if s.done || s.least() <= room { // no token has less than a byte
		return true
	}
	_, ok := s.ending(room)
	return ok
}

// least is the length of the shortest text that ends the output.
func (s State) least() int {
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _, least := g.nearest(s.items)
	return int(least)
}

// Within decides on a token that was drawn where room tokens are left, it included. If
// the output could not end within what is left after it, though it can now, the token
// is replaced, and hurried is true: by the first of the shortest end, or an end token
// where the text may end.
func (s State) Within(room int, drawn int32) (id int32, hurried bool) {
	next, ok := s.Accept(drawn)
	if !ok || slices.Contains(s.g.vocab.eog, drawn) || next.ends(room-1) {
		return drawn, false
	}
	end, ok := s.ending(room)
	switch {
	case !ok:
		return drawn, false
	case len(end) > 0:
		return end[0], true
	case len(s.g.vocab.eog) > 0:
		return s.g.vocab.eog[0], true
	}
	return drawn, false
}
