package grammar

import (
	"slices"
)

// dfa is a deterministic automaton over bytes, as the matcher runs it. It has no
// state but dead from which nothing is accepted.
type dfa struct {
	class  [256]uint8
	count  int     // of classes
	trans  []int32 // [state*count+class]
	accept []int32 // the tag of what is accepted here; none: nothing
	leaf   []bool  // nothing follows
	// run is how many plain characters may follow whatever they are, at most
	// plainRun: where it is plainRun the masks take a shortcut.
	run []uint8

	// whole says of states that a character ends there: arriving counts it. nil:
	// nothing is counted.
	whole []bool
	// near and far are the fewest and the most characters until it accepts.
	near, far []int32
	maxNear   int32 // of near
	finite    bool  // some far is not endless

	// For an automaton whose tags may be barred (filter): what can be reached.
	reach        [][]int32 // tags of properties, ascending
	extra, close []bool
	extraFrom    int32 // tags from here on are extra
}

const (
	noTag    = -1
	plainRun = 16
	endless  = 1 << 30 // characters: no bound
)

func (d *dfa) to(q int32, b byte) int32 { return d.trans[int(q)*d.count+int(d.class[b])] }

// edge leads to a state by a byte in [lo, hi].
type edge struct {
	lo, hi byte
	to     int32
}

// builder makes a dfa state by state.
type builder struct {
	edges  [][]edge
	accept []int32
	whole  []bool
	mids   map[string]int32
	m      *meter
	err    error
}

func newBuilder(m *meter) *builder { return &builder{mids: map[string]int32{}, m: m} }

// state adds a state. After an error it returns valid numbers still; finish
// reports it.
func (b *builder) state(tag int32) int32 {
	b.edges = append(b.edges, nil)
	b.accept = append(b.accept, tag)
	b.whole = append(b.whole, false)
	if b.err == nil {
		b.err = b.m.state(1)
	}
	return int32(len(b.edges) - 1)
}

func (b *builder) edge(from int32, lo, hi byte, to int32) {
	b.edges[from] = append(b.edges[from], edge{lo, hi, to})
}

func (b *builder) on(from int32, c byte, to int32) { b.edge(from, c, c, to) }

// after returns where a byte leads.
func (b *builder) after(from int32, c byte) int32 {
	if from == dead {
		return dead
	}
	for _, e := range b.edges[from] {
		if e.lo <= c && c <= e.hi {
			return e.to
		}
	}
	return dead
}

// override makes a byte lead elsewhere.
func (b *builder) override(from int32, c byte, to int32) {
	var kept []edge
	for _, e := range b.edges[from] {
		if c < e.lo || c > e.hi {
			kept = append(kept, e)
			continue
		}
		if e.lo < c {
			kept = append(kept, edge{e.lo, c - 1, e.to})
		}
		if c < e.hi {
			kept = append(kept, edge{c + 1, e.hi, e.to})
		}
	}
	b.edges[from] = append(kept, edge{c, c, to})
}

// finish makes the automaton; counted says that characters are counted.
func (b *builder) finish(counted bool) (*dfa, error) {
	d, err := b.table()
	if err != nil {
		return nil, err
	}
	if counted {
		d.whole = b.whole
		d.distances()
	}
	d.runs()
	return d, b.m.step(len(d.accept))
}

// table makes the automaton's table alone.
func (b *builder) table() (*dfa, error) {
	if b.err != nil {
		return nil, b.err
	}
	d := &dfa{accept: b.accept}
	n := len(b.edges)
	var cut [257]bool
	for _, edges := range b.edges {
		for _, e := range edges {
			cut[e.lo], cut[int(e.hi)+1] = true, true
		}
	}
	class := 0
	for i := range 256 {
		if i > 0 && cut[i] {
			class++
		}
		d.class[i] = uint8(class)
	}
	d.count = class + 1
	d.trans = make([]int32, n*d.count)
	for i := range d.trans {
		d.trans[i] = dead
	}
	d.leaf = make([]bool, n)
	for q, edges := range b.edges {
		d.leaf[q] = len(edges) == 0
		row := d.trans[q*d.count : (q+1)*d.count]
		for _, e := range edges {
			for c := d.class[e.lo]; ; c++ {
				row[c] = e.to
				if c == d.class[e.hi] {
					break
				}
			}
		}
	}
	return d, nil
}

// distances computes near and far.
func (d *dfa) distances() {
	n := len(d.accept)
	d.near, d.far = make([]int32, n), make([]int32, n)
	for q := range n {
		d.near[q] = endless
	}
	back := make([][]int32, n)
	for q := range n {
		seen := int32(dead)
		for _, to := range d.trans[q*d.count : (q+1)*d.count] {
			if to != dead && to != seen {
				back[to] = append(back[to], int32(q))
				seen = to
			}
		}
	}
	cost := func(to int32) int32 {
		if d.whole[to] {
			return 1
		}
		return 0
	}
	// Breadth first with costs 0 and 1: two lists.
	var now, later []int32
	for q := range n {
		if d.accept[q] != noTag {
			d.near[q] = 0
			now = append(now, int32(q))
		}
	}
	for level := int32(0); len(now)+len(later) > 0; level++ {
		for len(now) > 0 {
			q := now[len(now)-1]
			now = now[:len(now)-1]
			if d.near[q] != level {
				continue
			}
			for _, p := range back[q] {
				if v := level + cost(q); v < d.near[p] {
					d.near[p] = v
					if v == level {
						now = append(now, p)
					} else {
						later = append(later, p)
					}
				}
			}
		}
		now, later = later, now
	}
	d.longest(back, cost)
}

// longest computes far: endless where a cycle that counts can be reached (every
// cycle does), else the longest path.
func (d *dfa) longest(back [][]int32, cost func(int32) int32) {
	n := len(d.accept)
	out := make([]int32, n) // edges not yet settled
	for q := range n {
		for _, p := range back[q] {
			out[p]++
		}
	}
	var todo []int32
	for q := range n {
		d.far[q] = endless
		if out[q] == 0 {
			todo = append(todo, int32(q))
		}
	}
	best := make([]int32, n)
	for len(todo) > 0 {
		q := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		d.far[q] = best[q]
		for _, p := range back[q] {
			best[p] = max(best[p], best[q]+cost(q))
			if out[p]--; out[p] == 0 {
				todo = append(todo, p)
			}
		}
	}
	for q := range n {
		if d.accept[q] == noTag {
			d.maxNear = max(d.maxNear, d.near[q])
			d.finite = d.finite || d.far[q] < endless
		}
	}
}

// plain bytes: what a plain character is made of, in a JSON string or anywhere:
// no control, quote or backslash.
func plainASCII(c byte) bool { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' }

// utf8Next is the automaton of one character of more than a byte: from a state it
// gives the range of the next byte and the state after it; 0 is the end.
type utf8Range struct {
	lo, hi byte
	to     int
}

var utf8States = [][]utf8Range{
	0: {{0xC2, 0xDF, 1}, {0xE0, 0xE0, 4}, {0xE1, 0xEC, 2}, {0xED, 0xED, 5}, {0xEE, 0xEF, 2}, {0xF0, 0xF0, 6}, {0xF1, 0xF3, 3}, {0xF4, 0xF4, 7}},
	1: {{0x80, 0xBF, 0}},
	2: {{0x80, 0xBF, 1}},
	3: {{0x80, 0xBF, 2}},
	4: {{0xA0, 0xBF, 1}},
	5: {{0x80, 0x9F, 1}},
	6: {{0x90, 0xBF, 2}},
	7: {{0x80, 0x8F, 2}},
}

// runs computes run.
func (d *dfa) runs() {
	n := len(d.accept)
	d.run = make([]uint8, n)
	targets := make([][]int32, n)
	var able []int32
	for q := range n {
		if t, ok := d.plainTargets(int32(q)); ok {
			targets[q] = t
			able = append(able, int32(q))
		}
	}
	for level := uint8(0); level < plainRun; level++ {
		for _, q := range able {
			ok := !slices.ContainsFunc(targets[q], func(t int32) bool { return d.run[t] < level })
			if ok && d.run[q] == level {
				d.run[q] = level + 1
			}
		}
	}
}

// plainTargets returns the states after one plain character, if every one is
// possible.
func (d *dfa) plainTargets(q int32) ([]int32, bool) {
	var out []int32
	last := int32(dead)
	add := func(t int32) {
		if t != last && !slices.Contains(out, t) {
			out = append(out, t)
		}
		last = t
	}
	for c := byte(0x20); c < 0x80; c++ {
		if !plainASCII(c) {
			continue
		}
		t := d.to(q, c)
		if t == dead {
			return nil, false
		}
		add(t)
	}
	return out, d.plainWide(q, 0, add)
}

// plainWide follows the bytes of the longer characters.
func (d *dfa) plainWide(q int32, at int, add func(int32)) bool {
	for _, r := range utf8States[at] {
		last := int32(dead)
		for c := int(r.lo); c <= int(r.hi); c++ {
			t := d.to(q, byte(c))
			if t == dead {
				return false
			}
			if t == last {
				continue
			}
			last = t
			if r.to == 0 {
				add(t)
			} else if !d.plainWide(t, r.to, add) {
				return false
			}
		}
	}
	return true
}
