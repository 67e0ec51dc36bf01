package grammar

import (
	"fmt"
	"slices"
)

// ruleSet is the rules of a GBNF or Lark grammar, as trees that refer to each
// other.
type ruleSet struct {
	names []string // in order
	trees map[string]*tree
	root  string
}

func newRuleSet(root string) *ruleSet { return &ruleSet{trees: map[string]*tree{}, root: root} }

// define adds a rule.
func (s *ruleSet) define(name string, t *tree) error {
	if _, twice := s.trees[name]; twice {
		return fmt.Errorf("rule %.60q is defined twice", name)
	}
	s.names = append(s.names, name)
	s.trees[name] = t
	return nil
}

// check refuses rules that are missing.
func (s *ruleSet) check() error {
	if s.trees[s.root] == nil {
		return fmt.Errorf("the grammar has no rule %q, with which it would begin", s.root)
	}
	for _, name := range s.names {
		missing := ""
		s.trees[name].walk(func(t *tree) {
			if t.op == opRef && s.trees[t.name] == nil {
				missing = t.name
			}
		})
		if missing != "" {
			return fmt.Errorf("rule %.60q refers to %.60q, which is not defined", name, missing)
		}
	}
	return nil
}

// lowering turns a rule set into nodes. What is regular becomes an automaton as a
// whole, the rest nodes around such automata.
type lowering struct {
	s        *ruleSet
	c        *exprCompiler
	rules    map[string]*rule
	regular  map[string]bool // rules that lead to no recursion
	fruitful map[string]bool // rules that match something
	nullable map[string]bool
}

// lower compiles a rule set.
func (c *exprCompiler) lower(s *ruleSet) (*node, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	l := &lowering{s: s, c: c, rules: map[string]*rule{}, regular: map[string]bool{}, fruitful: map[string]bool{}, nullable: map[string]bool{}}
	l.facts()
	if !l.fruitful[s.root] {
		return nil, fmt.Errorf("rule %q matches nothing: every way through it goes on for ever", s.root)
	}
	if err := l.straighten(); err != nil {
		return nil, err
	}
	l.facts()
	if err := l.checkLeft(); err != nil {
		return nil, err
	}
	n, err := l.tree(refTo(s.root))
	if err == nil && n == nil {
		err = fmt.Errorf("the grammar matches nothing")
	}
	return n, err
}

// facts finds out which rules are fruitful, nullable and regular.
func (l *lowering) facts() {
	for changed := true; changed; {
		changed = false
		for _, name := range l.s.names {
			t := l.s.trees[name]
			for _, f := range []struct {
				m   map[string]bool
				has func(*tree) bool
			}{{l.fruitful, l.isFruitful}, {l.nullable, l.isNullable}, {l.regular, l.isRegular}} {
				if !f.m[name] && f.has(t) {
					f.m[name], changed = true, true
				}
			}
		}
	}
}

func (l *lowering) isFruitful(t *tree) bool {
	switch t.op {
	case opRef:
		return l.fruitful[t.name]
	case opAlt:
		return slices.ContainsFunc(t.subs, l.isFruitful)
	case opRepeat:
		return t.min == 0 || l.isFruitful(t.subs[0])
	case opClass:
		return len(t.set) > 0
	}
	return !slices.ContainsFunc(t.subs, func(s *tree) bool { return !l.isFruitful(s) })
}

func (l *lowering) isNullable(t *tree) bool {
	switch t.op {
	case opRef:
		return l.nullable[t.name]
	case opAlt:
		return slices.ContainsFunc(t.subs, l.isNullable)
	case opRepeat:
		return t.min == 0 || l.isNullable(t.subs[0])
	case opClass:
		return false
	}
	return !slices.ContainsFunc(t.subs, func(s *tree) bool { return !l.isNullable(s) })
}

func (l *lowering) isRegular(t *tree) bool {
	regular := true
	t.walk(func(x *tree) { regular = regular && (x.op != opRef || l.regular[x.name]) })
	return regular
}

// mostInline bounds the tree that a regular rule becomes when what it refers to is
// put in.
const mostInline = 20_000

// inlined puts the rules that a regular tree refers to in their places; not ok
// if that takes too much.
func (l *lowering) inlined(t *tree, left *int) (*tree, bool) {
	if *left--; *left < 0 {
		return nil, false
	}
	if t.op == opRef {
		return l.inlined(l.s.trees[t.name], left)
	}
	if len(t.subs) == 0 {
		return t, true
	}
	c := *t
	c.subs = make([]*tree, len(t.subs))
	cost := 1
	if t.op == opRepeat {
		cost = max(t.min, t.max, 1)
	}
	before := *left
	for i, s := range t.subs {
		var ok bool
		if c.subs[i], ok = l.inlined(s, left); !ok {
			return nil, false
		}
	}
	if used := before - *left; used*(cost-1) > *left {
		return nil, false
	} else {
		*left -= used * (cost - 1)
	}
	return &c, true
}

// tree compiles a tree; nil if it matches nothing.
func (l *lowering) tree(t *tree) (*node, error) {
	if err := l.c.m.rule(1); err != nil {
		return nil, err
	}
	if !l.isFruitful(t) {
		return nil, nil
	}
	if l.isRegular(t) {
		left := mostInline
		if flat, ok := l.inlined(t, &left); ok {
			return l.automaton(flat)
		}
	}
	switch t.op {
	case opRef:
		return l.ref(t.name)
	case opAlt:
		return l.alternatives(t)
	case opRepeat:
		return l.repeat(t)
	}
	return l.sequence(t)
}

func (l *lowering) automaton(t *tree) (*node, error) {
	d, err := charsOf(t, whole, l.c.m)
	if err != nil || d.empty() {
		return nil, err
	}
	return l.c.terminal(raw(d, l.c.m))
}

func (l *lowering) ref(name string) (*node, error) {
	r := l.rules[name]
	if r == nil {
		r = &rule{name: name}
		l.rules[name] = r
		body, err := l.tree(l.s.trees[name])
		if err != nil {
			return nil, err
		}
		r.body = body
	}
	return &node{kind: nodeRule, rule: r}, nil
}

// grouped compiles subs, those that are regular and stand together as one.
func (l *lowering) grouped(subs []*tree, together op) ([]*node, error) {
	var out []*node
	for i := 0; i < len(subs); {
		j := i
		for j < len(subs) && l.isRegular(subs[j]) {
			j++
		}
		part := subs[i]
		if j > i+1 {
			part = &tree{op: together, subs: subs[i:j]}
		}
		n, err := l.tree(part)
		if err != nil {
			return nil, err
		}
		if n == nil && j > i+1 || n == nil && together == opSeq {
			return nil, nil
		}
		if n != nil {
			out = append(out, n)
		}
		i = max(j, i+1)
	}
	return out, nil
}

func (l *lowering) sequence(t *tree) (*node, error) {
	if l.isRegular(t) { // too large as one
		var out []*node
		for _, s := range t.subs {
			n, err := l.tree(s)
			if err != nil || n == nil {
				return nil, err
			}
			out = append(out, n)
		}
		return &node{kind: nodeSeq, subs: out}, nil
	}
	subs, err := l.grouped(t.subs, opSeq)
	if subs == nil {
		return nil, err
	}
	return &node{kind: nodeSeq, subs: subs}, err
}

func (l *lowering) alternatives(t *tree) (*node, error) {
	regular, other := &tree{op: opAlt}, []*tree{}
	for _, s := range t.subs {
		if l.isRegular(s) && !l.isRegular(t) {
			regular.subs = append(regular.subs, s)
		} else {
			other = append(other, s)
		}
	}
	n := &node{kind: nodeAlt}
	if len(regular.subs) > 0 {
		other = append(other, regular)
	}
	for _, s := range other {
		x, err := l.tree(s)
		if err != nil {
			return nil, err
		}
		if x != nil {
			n.subs = append(n.subs, x)
		}
	}
	return n, nil
}

// mostEmpty bounds how often something that may be empty is repeated: each time
// is a place of its own.
const mostEmpty = 1000

func (l *lowering) repeat(t *tree) (*node, error) {
	x, err := l.tree(t.subs[0])
	if err != nil {
		return nil, err
	}
	if x == nil {
		return &node{kind: nodeSeq}, nil
	}
	lo, hi := t.min, t.max
	if l.isNullable(t.subs[0]) {
		lo = 0
		if hi > mostEmpty {
			return nil, fmt.Errorf("something that may be empty is repeated up to %d times; at most %d are supported", hi, mostEmpty)
		}
	}
	return &node{kind: nodeRepeat, subs: []*node{x}, min: int32(lo), max: int32(hi)}, nil
}
