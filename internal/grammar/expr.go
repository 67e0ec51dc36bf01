// Package grammar keeps a model's output to a grammar: it compiles JSON Schema,
// regular expressions, GBNF, Lark's EBNF and lists of choices, and tells at each
// token which ones may follow. It is pure.
//
// # How it works
//
// Every front end ends in the same grammar (node): automata over bytes, put
// together by sequence, alternative, repetition and rules, and two nodes for
// JSON's own objects and arrays. A [State] is the set of places where the text so
// far may stand: each is a state of an automaton and what follows it (cont), a
// stack that shares its lower part with others, as in a generalised LR parser.
// States are immutable, so that a tree of guesses can be checked along each path.
//
// # Masks
//
// A [Vocab] holds the vocabulary as a trie of bytes. What a place lets through is
// found by walking trie and automaton together, once: tokens that stay within
// the automaton are remembered for the vocabulary, those that reach across its
// end for the grammar. In the steady state a mask is a copy.
//
// # Limits
//
// Schemas and expressions come from outside. Compiling counts states, rules and
// steps against [Limits], and looks at a context; what is refused is an error that
// says why, never a constraint left out.
package grammar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Expr is a grammar before it is compiled. Exprs are composed:
//
//	Sequence{Literal(`{"name": "f", "arguments": `), Schema(params), Literal("}")}
type Expr interface {
	compile(c *exprCompiler) (*node, error)
}

type (
	// Literal is a text.
	Literal string
	// Special is a special token, by its id.
	Special int32
	// Schema is the JSON documents of a JSON Schema.
	Schema json.RawMessage
	// Regex is the texts that a regular expression matches as a whole.
	Regex string
	// Choice is one of some texts.
	Choice []string
	// GBNF is a grammar as llama.cpp writes it; its rule root is meant.
	GBNF string
	// Lark is a grammar in the EBNF of Lark; its rule start is meant.
	Lark string
	// Alternatives is any of its parts.
	Alternatives []Expr
	// Sequence is its parts, one after another.
	Sequence []Expr
)

// Repeat is X again and again.
type Repeat struct {
	X        Expr
	Min, Max int // Max < 0: no bound
}

// Free is free text, in which triggers are looked for: once one has occurred, its
// Then follows. Special tokens do not occur in free text, but as triggers.
type Free struct {
	Triggers []Trigger
	// Again says that free text goes on after a trigger's Then.
	Again bool
	// Required says that the text cannot end without a trigger; with Again, that
	// at least one must have occurred.
	Required bool
}

// Trigger begins something constrained within free text.
type Trigger struct {
	Text    string // what is looked for, if Special is nil
	Special *int32 // a special token
	Then    Expr   // after it; nil: nothing
}

// FreeUntil is free text up to and including a text.
func FreeUntil(trigger string) Free {
	return Free{Triggers: []Trigger{{Text: trigger}}, Required: true}
}

// JSONObject is any JSON object.
func JSONObject() Expr { return Schema(`{"type":"object"}`) }

// exprCompiler turns exprs into nodes.
type exprCompiler struct {
	v     *Vocab
	m     *meter
	depth int
}

// Compile makes a grammar of e for a vocabulary. It may be called off the loop
// that uses the vocabulary; ctx bounds its time.
func Compile(ctx context.Context, e Expr, v *Vocab, l Limits) (*Grammar, error) {
	c := &exprCompiler{v: v, m: newMeter(ctx, l)}
	root, err := c.expr(e)
	if err != nil {
		return nil, err
	}
	rankRules(root)
	g := &Grammar{vocab: v, root: root, size: 40*c.m.states + 200*c.m.rules + 4096}
	g.conts.reset()
	size, err := g.least.of(root, c.m)
	if err != nil {
		return nil, err
	}
	g.size += size
	s := g.Start()
	if s.Ended() && !s.Accepting() {
		return nil, errors.New("the grammar matches nothing")
	}
	return g, nil
}

// Size is roughly the bytes that the grammar takes.
func (g *Grammar) Size() int { return g.size }

func (c *exprCompiler) expr(e Expr) (*node, error) {
	if c.depth++; c.depth > maxNesting {
		return nil, fmt.Errorf("nested deeper than %d", maxNesting)
	}
	defer func() { c.depth-- }()
	if e == nil {
		return &node{kind: nodeSeq}, nil
	}
	if err := c.m.rule(1); err != nil {
		return nil, err
	}
	return e.compile(c)
}

func (c *exprCompiler) terminal(d *dfa, err error) (*node, error) {
	if err != nil {
		return nil, err
	}
	return &node{kind: nodeTerm, term: &term{d: c.v.intern(d)}}, nil
}

func (c *exprCompiler) texts(list []string) (*node, error) {
	t, err := texts(list, c.m)
	if err != nil {
		return nil, err
	}
	return c.terminal(t.d, nil)
}

func (l Literal) compile(c *exprCompiler) (*node, error) {
	if slices.Contains([]byte(l), specialByte) {
		return nil, errors.New("a literal is not UTF-8")
	}
	return c.texts([]string{string(l)})
}

func (s Special) compile(c *exprCompiler) (*node, error) {
	return c.texts([]string{string(specialText(int32(s)))})
}

func (s Schema) compile(c *exprCompiler) (*node, error) { return compileSchema(s, c.v, c.m) }

func (r Regex) compile(c *exprCompiler) (*node, error) {
	d, err := patternChars(string(r), whole, c.m)
	if err != nil {
		return nil, err
	}
	if d.empty() {
		return nil, fmt.Errorf("regular expression %.80q matches nothing", string(r))
	}
	return c.terminal(raw(d, c.m))
}

func (l Choice) compile(c *exprCompiler) (*node, error) {
	if len(l) == 0 {
		return nil, errors.New("there is nothing to choose from")
	}
	for _, s := range l {
		if s == "" {
			return nil, errors.New("an empty choice")
		}
	}
	return c.texts(l)
}

func (c *exprCompiler) all(list []Expr) ([]*node, error) {
	var out []*node
	for _, e := range list {
		n, err := c.expr(e)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func (a Alternatives) compile(c *exprCompiler) (*node, error) {
	subs, err := c.all(a)
	return &node{kind: nodeAlt, subs: subs}, err
}

func (s Sequence) compile(c *exprCompiler) (*node, error) {
	subs, err := c.all(s)
	return &node{kind: nodeSeq, subs: subs}, err
}

func (r Repeat) compile(c *exprCompiler) (*node, error) {
	x, err := c.expr(r.X)
	if r.Max < 0 {
		r.Max = unbounded
	}
	return &node{kind: nodeRepeat, subs: []*node{x}, min: int32(r.Min), max: int32(r.Max)}, err
}

func (f Free) compile(c *exprCompiler) (*node, error) {
	n := &node{kind: nodeSwitch, subs: []*node{nil}}
	r := &rule{name: "free text"} // what follows a trigger may be free text again
	var triggers []string
	for _, t := range f.Triggers {
		text := t.Text
		if t.Special != nil {
			text = string(specialText(*t.Special))
		}
		if text == "" {
			return nil, errors.New("an empty trigger")
		}
		triggers = append(triggers, text)
		then, err := c.expr(t.Then)
		if err != nil {
			return nil, err
		}
		if f.Again {
			then = &node{kind: nodeSeq, subs: []*node{then, {kind: nodeRule, rule: r}}}
		}
		n.subs = append(n.subs, then)
	}
	if f.Required && len(triggers) == 0 {
		return nil, errors.New("free text without an end")
	}
	d, err := watching(triggers, !f.Required, c.m)
	if err != nil {
		return nil, err
	}
	n.term = &term{d: c.v.intern(d), tagged: true}
	r.body = n
	if f.Again && f.Required { // after the first, none is
		d, err := watching(triggers, true, c.m)
		if err != nil {
			return nil, err
		}
		r.body = &node{kind: nodeSwitch, subs: n.subs, term: &term{d: c.v.intern(d), tagged: true}}
	}
	return n, nil
}

// rankRules orders rules: one stands before those that it can begin with.
func rankRules(root *node) {
	state := map[*rule]int{}
	var order []*rule
	var visit func(n *node)
	seen := map[*node]bool{}
	visit = func(n *node) {
		if n == nil || n.kind != nodeRule && seen[n] {
			return
		}
		seen[n] = true
		if n.kind == nodeRule {
			if state[n.rule] == 0 {
				state[n.rule] = 1
				visit(n.rule.body)
				order = append(order, n.rule)
			}
			return
		}
		for _, s := range n.subs {
			visit(s)
		}
		if o := n.object; o != nil {
			for _, s := range slices.Concat(o.values, o.extra) {
				visit(s)
			}
		}
		if a := n.array; a != nil {
			for _, s := range slices.Concat(a.prefix, []*node{a.rest}, a.contains) {
				visit(s)
			}
		}
	}
	visit(root)
	for i, r := range slices.Backward(order) {
		r.rank = len(order) - i
	}
}
