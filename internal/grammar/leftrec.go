package grammar

import (
	"fmt"
	"slices"
)

// Left recursion (expr: expr "+" term) would make the matcher expand a rule for
// ever without reading a byte. It is taken out as Paull does: within a circle of
// rules the later refer to no earlier one at their beginning, and one that begins
// with itself becomes a repetition: expr: term ("+" term)*.

// straighten takes out left recursion where it stands at the beginning of an
// alternative.
func (l *lowering) straighten() error {
	for _, circle := range l.circles() {
		for i, name := range circle {
			alts := splitAlternatives(l.s.trees[name])
			for _, earlier := range circle[:i] {
				var err error
				if alts, err = l.substituted(alts, earlier); err != nil {
					return err
				}
			}
			l.s.trees[name] = withoutSelf(name, alts)
		}
	}
	return nil
}

// splitAlternatives gives the alternatives of a tree, each as a list of parts.
func splitAlternatives(t *tree) [][]*tree {
	switch t.op {
	case opAlt:
		var out [][]*tree
		for _, s := range t.subs {
			out = append(out, splitAlternatives(s)...)
		}
		return out
	case opSeq:
		if len(t.subs) > 0 && t.subs[0].op == opSeq {
			inner := t.subs[0]
			return splitAlternatives(&tree{op: opSeq, subs: slices.Concat(inner.subs, t.subs[1:])})
		}
		if len(t.subs) > 0 && t.subs[0].op == opAlt {
			var out [][]*tree
			for _, a := range splitAlternatives(t.subs[0]) {
				out = append(out, slices.Concat(a, t.subs[1:]))
			}
			return out
		}
		return [][]*tree{t.subs}
	}
	return [][]*tree{{t}}
}

// substituted puts a rule's alternatives where an alternative begins with it.
func (l *lowering) substituted(alts [][]*tree, name string) ([][]*tree, error) {
	const most = 2000
	var out [][]*tree
	for _, a := range alts {
		if len(a) == 0 || a[0].op != opRef || a[0].name != name {
			out = append(out, a)
			continue
		}
		for _, b := range splitAlternatives(l.s.trees[name]) {
			out = append(out, slices.Concat(b, a[1:]))
		}
		if len(out) > most {
			return nil, fmt.Errorf("%w: taking the left recursion out of rule %.60q makes more than %d alternatives", ErrTooLarge, name, most)
		}
	}
	return out, l.c.m.step(len(out))
}

// withoutSelf turns alternatives that begin with their own rule into a
// repetition.
func withoutSelf(name string, alts [][]*tree) *tree {
	first, more := &tree{op: opAlt}, &tree{op: opAlt}
	for _, a := range alts {
		if len(a) > 0 && a[0].op == opRef && a[0].name == name {
			if len(a) > 1 {
				more.subs = append(more.subs, seqOf(a[1:]...))
			}
			continue
		}
		first.subs = append(first.subs, seqOf(a...))
	}
	if len(more.subs) == 0 {
		return first
	}
	return seqOf(first, repeatOf(more, 0, unbounded))
}

// corners calls f with the rules that a tree may begin with.
func (l *lowering) corners(t *tree, f func(string)) {
	switch t.op {
	case opRef:
		f(t.name)
	case opSeq:
		for _, s := range t.subs {
			l.corners(s, f)
			if !l.isNullable(s) {
				return
			}
		}
	case opAlt, opRepeat:
		for _, s := range t.subs {
			l.corners(s, f)
		}
	}
}

// circles are the groups of rules that can begin with each other.
func (l *lowering) circles() [][]string {
	reach := map[string]map[string]bool{}
	for _, name := range l.s.names {
		seen := map[string]bool{}
		todo := []string{name}
		for len(todo) > 0 {
			x := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			l.corners(l.s.trees[x], func(n string) {
				if !seen[n] {
					seen[n] = true
					todo = append(todo, n)
				}
			})
		}
		reach[name] = seen
	}
	done := map[string]bool{}
	var out [][]string
	for _, a := range l.s.names {
		if done[a] || !reach[a][a] {
			continue
		}
		var circle []string
		for _, b := range l.s.names {
			if reach[a][b] && reach[b][a] {
				circle = append(circle, b)
				done[b] = true
			}
		}
		out = append(out, circle)
	}
	return out
}

// checkLeft refuses left recursion that is left: behind something that may be
// empty, or within a repetition.
func (l *lowering) checkLeft() error {
	if c := l.circles(); len(c) > 0 {
		return fmt.Errorf("rule %.60q can begin with itself behind something that may be empty; write it so that it begins with something else", c[0][0])
	}
	return nil
}
