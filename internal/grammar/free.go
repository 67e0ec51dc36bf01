package grammar

// watcher is Aho and Corasick's automaton: it looks for triggers in free text.
type watcher struct {
	b     *builder
	nodes []watchNode
	full  [][256]int32 // where each byte leads
}

type watchNode struct {
	next    map[byte]int32
	fail    int32
	special bool // within a special token, which is whole or not there
}

// watching makes the automaton of free text that ends with a trigger, or, if
// open, anywhere. Tag 0 is the end, tag i+1 trigger i.
func watching(triggers []string, open bool, m *meter) (*dfa, error) {
	w := &watcher{b: newBuilder(m), nodes: []watchNode{{next: map[byte]int32{}}}}
	tag := int32(noTag)
	if open {
		tag = 0
	}
	w.b.state(tag)
	for i, t := range triggers {
		w.add(t, tag, int32(i+1))
	}
	w.link()
	for s := range w.nodes {
		if w.ends(int32(s)) {
			continue // what follows is the trigger's
		}
		for c := range 256 {
			if to := w.full[s][c]; to != dead {
				w.b.on(int32(s), byte(c), to)
			}
		}
	}
	return w.b.finish(false)
}

// ends tells whether a trigger is complete in s.
func (w *watcher) ends(s int32) bool { return w.b.accept[s] > 0 }

// add adds the nodes of a trigger.
func (w *watcher) add(trigger string, tag, end int32) {
	at := int32(0)
	for i := range len(trigger) {
		to, ok := w.nodes[at].next[trigger[i]]
		if !ok {
			to = w.b.state(tag)
			w.nodes[at].next[trigger[i]] = to
			w.nodes = append(w.nodes, watchNode{next: map[byte]int32{}, special: trigger[0] == specialByte})
		}
		at = to
	}
	w.b.accept[at] = end
}

// link computes full, breadth first: a node's failure is nearer to the root, and
// complete.
func (w *watcher) link() {
	w.full = make([][256]int32, len(w.nodes))
	queue := []int32{0}
	for at := 0; at < len(queue); at++ {
		s := queue[at]
		for c := range 256 {
			to, ok := w.nodes[s].next[byte(c)]
			if !ok {
				w.full[s][c] = w.missing(s, c)
				continue
			}
			w.full[s][c] = to
			if s != 0 && !w.nodes[s].special {
				w.nodes[to].fail = w.full[w.nodes[s].fail][c]
			}
			if f := w.nodes[to].fail; w.ends(f) && !w.ends(to) {
				w.b.accept[to] = w.b.accept[f]
			}
			queue = append(queue, to)
		}
	}
}

// missing is where a byte leads from s that no trigger goes on with.
func (w *watcher) missing(s int32, c int) int32 {
	switch {
	case w.nodes[s].special, s == 0 && c == specialByte:
		return dead
	case s == 0:
		return 0
	}
	return w.full[w.nodes[s].fail][c]
}
