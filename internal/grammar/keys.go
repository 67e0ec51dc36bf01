package grammar

import "slices"

// blanks adds the states of white space that may stand between parts of a
// document: nothing, a blank, or one or two newlines and an indentation. So it
// has an end, whatever the model likes. It returns the states in which it may be
// over, from the first of them on.
func (b *builder) blanks(from int32) []int32 {
	const indent = 20
	ends := []int32{from}
	one := b.state(noTag)
	b.on(from, ' ', one)
	line, second := b.state(noTag), b.state(noTag)
	b.on(from, '\n', line)
	b.on(line, '\n', second)
	ends = append(ends, one, line, second)
	last := []int32{line, second}
	for range indent {
		s := b.state(noTag)
		for _, l := range last {
			b.on(l, ' ', s)
			b.on(l, '\t', s)
		}
		ends = append(ends, s)
		last = []int32{s}
	}
	return ends
}

// separators makes the terminal that stands before an array's items and its end.
func (c *compiler) separators() (*term, error) {
	if c.seps != nil {
		return c.seps, nil
	}
	b := newBuilder(c.m)
	first, next, end := b.state(noTag), b.state(noTag), b.state(closeTag)
	const itemTag = 1
	for _, s := range b.blanks(first) {
		b.on(s, ']', end)
		if s != first {
			b.accept[s] = itemTag
		}
	}
	for _, s := range b.blanks(next) {
		b.on(s, ']', end)
	}
	comma := b.state(noTag)
	b.on(next, ',', comma)
	for _, s := range b.blanks(comma) {
		b.accept[s] = itemTag
	}
	d, err := b.finish(false)
	if err != nil {
		return nil, err
	}
	d.setReach(2)
	c.seps = &term{d: c.v.intern(d), start: first, filtered: true}
	return c.seps, nil
}

// setReach computes which tags can be reached; those from extraFrom on are of
// additional properties.
func (d *dfa) setReach(extraFrom int32) {
	n := len(d.accept)
	d.extraFrom = extraFrom
	d.reach = make([][]int32, n)
	isExtra, isClose := make([]bool, n), make([]bool, n)
	for q, tag := range d.accept {
		isExtra[q], isClose[q] = tag >= extraFrom, tag == closeTag
	}
	d.extra, d.close = make([]bool, n), reaching(n, isClose, d.edges)
	if slices.Contains(isExtra, true) {
		d.extra = reaching(n, isExtra, d.edges)
	}
	done := make([]bool, n)
	var visit func(q int32) []int32
	visit = func(q int32) []int32 {
		if done[q] { // or begun: only additional keys go round, and reach none
			return d.reach[q]
		}
		done[q] = true
		var all []int32
		if tag := d.accept[q]; tag > closeTag && tag < extraFrom {
			all = append(all, tag)
		}
		last := int32(dead)
		d.edges(int(q), func(to int32) {
			if to != dead && to != last {
				all = append(all, visit(to)...)
				last = to
			}
		})
		slices.Sort(all)
		d.reach[q] = slices.Compact(all)
		return d.reach[q]
	}
	for q := range int32(n) {
		visit(q)
	}
}

// keys makes the terminal that stands before an object's values and its end.
func (c *compiler) keys(sp *shapePlan, names []string, kinds []int32) (*term, error) {
	b := newBuilder(c.m)
	first, next, end := b.state(noTag), b.state(noTag), b.state(closeTag)
	colons := map[int32]int32{}
	colon := func(tag int32) int32 { // after a key's closing quote
		s, ok := colons[tag]
		if !ok {
			s = b.state(noTag)
			colons[tag] = s
			one, two := b.state(tag), b.state(tag)
			b.on(s, ':', one)
			b.on(one, ' ', two)
		}
		return s
	}
	key := b.state(noTag) // after a key's opening quote
	b.trie(key, c.extraKeys(sp, b, kinds, colon), names, sp.listed(names), colon)
	for _, s := range b.blanks(first) {
		b.on(s, '}', end)
		b.on(s, '"', key)
	}
	for _, s := range b.blanks(next) {
		b.on(s, '}', end)
	}
	comma := b.state(noTag)
	b.on(next, ',', comma)
	for _, s := range b.blanks(comma) {
		b.on(s, '"', key)
	}
	d, err := b.table()
	if err != nil {
		return nil, err
	}
	d.prune()
	d.runs()
	d.setReach(int32(len(names)) + 1)
	return &term{d: c.v.intern(d), start: first, filtered: true}, c.m.step(len(d.accept))
}

// prune makes the states that lead nowhere dead.
func (d *dfa) prune() {
	goal := make([]bool, len(d.accept))
	for q, tag := range d.accept {
		goal[q] = tag != noTag
	}
	useful := reaching(len(goal), goal, d.edges)
	for i, to := range d.trans {
		if to != dead && !useful[to] {
			d.trans[i] = dead
		}
	}
}

func (d *dfa) edges(q int, f func(int32)) {
	for _, to := range d.trans[q*d.count : (q+1)*d.count] {
		f(to)
	}
}

// extraKeys adds the states of additional properties' keys and returns the first,
// dead if there are none.
func (c *compiler) extraKeys(sp *shapePlan, b *builder, kinds []int32, colon func(int32) int32) int32 {
	if !slices.ContainsFunc(kinds, func(k int32) bool { return k != noTag }) || sp.extraKey.empty() {
		return dead
	}
	d := sp.extraKey
	base := int32(len(b.edges))
	for range d.accept {
		b.state(noTag)
	}
	for s := range d.accept {
		at := base + int32(s)
		b.quoted(at, d.chunks(int32(s), base), false)
		if l := sp.labels[s]; d.accept[s] && l != noTag && kinds[l] != noTag {
			b.on(at, '"', colon(kinds[l]))
		}
	}
	return base
}

// listed are the names that are listed and may not occur: they must not pass for
// additional ones.
func (sp *shapePlan) listed(names []string) []string {
	var out []string
	for _, l := range sp.shape.props {
		out = union(out, l.names)
	}
	out = union(out, sp.barred)
	have := make(map[string]bool, len(names))
	for _, n := range names {
		have[n] = true
	}
	return slices.DeleteFunc(out, func(n string) bool { return have[n] })
}

// trie adds the keys of listed properties: each node has beside it the state in
// which an additional key would be there, which what is not listed goes on from.
func (b *builder) trie(root, beside int32, names, barred []string, colon func(int32) int32) {
	besides := map[int32]int32{root: beside}
	if beside != dead {
		b.edges[root] = slices.Clone(b.edges[beside])
	}
	inside := map[int32]bool{root: true}
	for i, name := range slices.Concat(names, barred) {
		at := root
		text := spelled(name)
		for j := range len(text) {
			to := b.after(at, text[j])
			if to == dead || !inside[to] {
				next := b.state(noTag)
				inside[next] = true
				besides[next] = b.after(besides[at], text[j])
				if s := besides[next]; s != dead {
					b.edges[next] = slices.Clone(b.edges[s])
				}
				b.override(at, text[j], next)
				to = next
			}
			at = to
		}
		if i < len(names) {
			b.override(at, '"', colon(int32(i+1)))
		} else {
			b.override(at, '"', b.state(noTag)) // it leads nowhere
		}
	}
}
