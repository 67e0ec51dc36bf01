package grammar

import (
	"fmt"
	"slices"
	"sort"
)

// dead is the state from which nothing matches.
const dead = -1

// alphabet cuts the characters into classes that no set of an automaton tells
// apart.
type alphabet struct {
	starts  []rune  // of intervals, ascending, from 0
	classes []int32 // of each interval; -1: surrogates
	count   int
}

// alphabetOf makes the coarsest alphabet for some sets.
func alphabetOf(sets []runes) *alphabet {
	cuts := []rune{0, surrogateLo, surrogateHi + 1}
	for _, set := range sets {
		for _, s := range set {
			cuts = append(cuts, s.lo, s.hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	if cuts[len(cuts)-1] > 0x10FFFF {
		cuts = cuts[:len(cuts)-1]
	}
	a := &alphabet{starts: cuts}
	ids := map[string]int32{}
	for _, r := range cuts {
		if r == surrogateLo {
			a.classes = append(a.classes, -1)
			continue
		}
		key := make([]byte, (len(sets)+7)/8)
		for i, set := range sets {
			if set.has(r) {
				key[i/8] |= 1 << (i % 8)
			}
		}
		id, ok := ids[string(key)]
		if !ok {
			id = int32(len(ids))
			ids[string(key)] = id
		}
		a.classes = append(a.classes, id)
	}
	a.count = len(ids)
	return a
}

// sample gives a character of a class.
func (a *alphabet) sample(class int) rune {
	return a.starts[slices.Index(a.classes, int32(class))]
}

// of returns the class of a character, -1 for a surrogate.
func (a *alphabet) of(r rune) int32 {
	i := sort.Search(len(a.starts), func(i int) bool { return a.starts[i] > r })
	return a.classes[i-1]
}

// intervals calls f with each interval and its class.
func (a *alphabet) intervals(f func(lo, hi rune, class int32)) {
	for i, lo := range a.starts {
		hi := rune(0x10FFFF)
		if i+1 < len(a.starts) {
			hi = a.starts[i+1] - 1
		}
		if a.classes[i] >= 0 {
			f(lo, hi, a.classes[i])
		}
	}
}

// chars is a deterministic automaton over characters. State 0 is the start; it
// has no other state from which nothing matches than dead.
type chars struct {
	alphabet *alphabet
	trans    []int32 // [state*count+class]
	accept   []bool
}

// to returns the state after a class of character.
func (d *chars) to(s, class int32) int32 { return d.trans[int(s)*d.alphabet.count+int(class)] }

// empty tells whether nothing matches.
func (d *chars) empty() bool { return len(d.accept) == 0 }

// universal tells whether everything matches by a single state.
func (d *chars) universal() bool {
	return len(d.accept) == 1 && d.accept[0] && !slices.Contains(d.trans, dead)
}

func (d *chars) match(s string) bool {
	if d.empty() {
		return false
	}
	at := int32(0)
	for _, r := range s {
		class := d.alphabet.of(r)
		if class < 0 {
			return false
		}
		if at = d.to(at, class); at == dead {
			return false
		}
	}
	return d.accept[at]
}

// everything matches every text.
func everything() *chars {
	return &chars{alphabet: alphabetOf(nil), trans: []int32{0}, accept: []bool{true}}
}

// trimmed leaves out the states that reach no match.
func (d *chars) trimmed() *chars {
	k := d.alphabet.count
	useful := reaching(len(d.accept), d.accept, func(s int, f func(int32)) {
		for _, to := range d.trans[s*k : (s+1)*k] {
			f(to)
		}
	})
	out := &chars{alphabet: d.alphabet}
	if len(useful) == 0 || !useful[0] {
		return out
	}
	ids := make([]int32, len(useful))
	n := int32(0)
	for s, u := range useful {
		ids[s] = dead
		if u {
			ids[s] = n
			n++
		}
	}
	for s, u := range useful {
		if !u {
			continue
		}
		out.accept = append(out.accept, d.accept[s])
		for _, to := range d.trans[s*k : (s+1)*k] {
			if to != dead {
				to = ids[to]
			}
			out.trans = append(out.trans, to)
		}
	}
	return out
}

// reaching tells which of n states reach one of the goals.
func reaching(n int, goal []bool, edges func(s int, f func(to int32))) []bool {
	// The edges backwards: those into s are from[start[s]:start[s+1]].
	start := make([]int32, n+2)
	each := func(s int, f func(int32)) {
		last := int32(dead) // classes in a row often lead to one state
		edges(s, func(to int32) {
			if to != dead && to != last {
				f(to)
			}
			last = to
		})
	}
	for s := range n {
		each(s, func(to int32) { start[to+2]++ })
	}
	for s := range n {
		start[s+2] += start[s+1]
	}
	from := make([]int32, start[n+1])
	for s := range n {
		each(s, func(to int32) {
			from[start[to+1]] = int32(s)
			start[to+1]++
		})
	}
	useful := slices.Clone(goal)
	var todo []int32
	for s := range n {
		if goal[s] {
			todo = append(todo, int32(s))
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, b := range from[start[s]:start[s+1]] {
			if !useful[b] {
				useful[b] = true
				todo = append(todo, b)
			}
		}
	}
	return useful
}

// combined runs two automata side by side; keep says which of their answers
// make a match.
func combined(a, b *chars, keep func(a, b bool) bool, m *meter) (*chars, error) {
	d := &chars{alphabet: joined(a.alphabet, b.alphabet)}
	toA, toB := classMap(d.alphabet, a.alphabet), classMap(d.alphabet, b.alphabet)
	type pair struct{ a, b int32 }
	first := pair{0, 0}
	if a.empty() {
		first.a = dead
	}
	if b.empty() {
		first.b = dead
	}
	ids := map[pair]int32{first: 0}
	pairs := []pair{first}
	accepts := func(d *chars, s int32) bool { return s != dead && d.accept[s] }
	step := func(d *chars, s, class int32) int32 {
		if s == dead {
			return dead
		}
		return d.to(s, class)
	}
	hopeless := func(p pair) bool { // nothing that follows can match
		return p.a == dead && p.b == dead && !keep(false, false) ||
			p.a == dead && !keep(false, true) && !keep(false, false) ||
			p.b == dead && !keep(true, false) && !keep(false, false)
	}
	for at := 0; at < len(pairs); at++ {
		p := pairs[at]
		d.accept = append(d.accept, keep(accepts(a, p.a), accepts(b, p.b)))
		if err := m.step(d.alphabet.count); err != nil {
			return nil, err
		}
		for class := range d.alphabet.count {
			to := pair{step(a, p.a, toA[class]), step(b, p.b, toB[class])}
			if hopeless(to) {
				d.trans = append(d.trans, dead)
				continue
			}
			id, ok := ids[to]
			if !ok {
				id = int32(len(pairs))
				ids[to] = id
				pairs = append(pairs, to)
				if err := m.state(1); err != nil {
					return nil, err
				}
			}
			d.trans = append(d.trans, id)
		}
	}
	return d.trimmed(), nil
}

// joined is the coarsest alphabet that is as fine as both.
func joined(a, b *alphabet) *alphabet {
	cuts := slices.Concat(a.starts, b.starts)
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	out := &alphabet{starts: cuts}
	type pair struct{ a, b int32 }
	ids := map[pair]int32{}
	for _, r := range cuts {
		p := pair{a.of(r), b.of(r)}
		if p.a < 0 {
			out.classes = append(out.classes, -1)
			continue
		}
		id, ok := ids[p]
		if !ok {
			id = int32(len(ids))
			ids[p] = id
		}
		out.classes = append(out.classes, id)
	}
	out.count = len(ids)
	return out
}

// classMap tells which class of coarse each class of fine is in.
func classMap(fine, coarse *alphabet) []int32 {
	m := make([]int32, fine.count)
	for class := range m {
		m[class] = coarse.of(fine.sample(class))
	}
	return m
}

func both(a, b bool) bool   { return a && b }
func butNot(a, b bool) bool { return a && !b }
func either(a, b bool) bool { return a || b }

// without matches what d does not.
func (d *chars) without(m *meter) (*chars, error) { return combined(everything(), d, butNot, m) }

// patternChars makes the automaton of the texts that a regular expression of
// the dialect matches, with a negative look-ahead where it begins.
func patternChars(src string, how searching, m *meter) (*chars, error) {
	t, err := parseRegex(src)
	if err != nil {
		return nil, err
	}
	return treeChars(t, how, src, m)
}

// treeChars is patternChars for a pattern already read.
func treeChars(t *tree, how searching, src string, m *meter) (*chars, error) {
	rest, aheads, err := splitAheads(t, how, src)
	if err != nil {
		return nil, err
	}
	d, err := charsOf(rest, how, m)
	for _, a := range aheads {
		if err != nil {
			return nil, err
		}
		var not *chars
		if not, err = charsOf(seqOf(&tree{op: opBegin}, a, repeatOf(classOf(anyRune()), 0, unbounded)), whole, m); err == nil {
			d, err = combined(d, not, butNot, m)
		}
	}
	return d, err
}

// splitAheads takes the negative look-aheads off a pattern's beginning, the only
// place where they may stand.
func splitAheads(t *tree, how searching, src string) (rest *tree, aheads []*tree, err error) {
	subs := t.subs
	if t.op != opSeq {
		subs = []*tree{t}
	}
	anchored := how == whole
	kept := []*tree{}
	for i, s := range subs {
		switch {
		case s.op == opBegin && !anchored:
			anchored = true
			kept = append(kept, s)
			continue
		case s.op == opAhead && anchored:
			aheads = append(aheads, s.subs[0])
			continue
		}
		kept = append(kept, subs[i:]...)
		break
	}
	rest = seqOf(kept...)
	bad := false
	rest.walk(func(x *tree) { bad = bad || x.op == opAhead })
	for _, a := range aheads {
		a.walk(func(x *tree) { bad = bad || x.op == opAhead })
	}
	if bad {
		return nil, nil, lookAheadError(src)
	}
	return rest, aheads, nil
}

func lookAheadError(src string) error {
	return fmt.Errorf("regular expression %.80q: a negative look-ahead is supported only where the pattern begins, after ^", src)
}
