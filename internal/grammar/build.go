package grammar

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// compiler turns plans into nodes.
type compiler struct {
	s     *schemas
	v     *Vocab
	m     *meter
	terms map[string]*node
	seps  *term
}

// compileSchema compiles a JSON Schema to a node.
func compileSchema(src []byte, v *Vocab, m *meter) (*node, error) {
	root, err := parseJSON(src)
	if err != nil {
		return nil, err
	}
	s := newSchemas(root, m)
	p := &planner{s: s, plans: map[string]*plan{}}
	top, err := p.plan([]*schema{s.of(root)})
	if err == nil {
		err = p.run()
	}
	if err != nil {
		return nil, err
	}
	c := &compiler{s: s, v: v, m: m, terms: map[string]*node{}}
	if err := c.compile(p); err != nil {
		return nil, err
	}
	if !top.alive {
		return nil, p.errNothing(root)
	}
	return &node{kind: nodeRule, rule: top.rule}, nil
}

// compile makes the rules of all plans that have values. That some have none may
// show only in the automata (two patterns that contradict each other): then those
// are taken out and the rest begins anew.
func (c *compiler) compile(p *planner) error {
	for again := true; again; {
		again = false
		p.decide()
		for _, x := range p.order {
			x.rule = &rule{name: "schema"}
		}
		for _, x := range p.order {
			if !x.alive {
				continue
			}
			empty, err := c.rule(x)
			if err != nil {
				return err
			}
			again = again || empty
		}
	}
	return nil
}

func patternKeys(list []pattern) []string {
	var keys []string
	for _, p := range list {
		keys = append(keys, fmt.Sprint(p.format, p.not, p.src))
	}
	return keys
}

func ref(x *plan) *node { return &node{kind: nodeRule, rule: x.rule} }

// rule makes the body of a plan's rule. It reports empty if some type of a shape
// turned out to have no values; the shape knows it then.
func (c *compiler) rule(x *plan) (empty bool, err error) {
	body := &node{kind: nodeAlt}
	for _, sp := range x.shapes {
		none, err := c.shape(sp, body)
		if err != nil {
			return false, err
		}
		empty = empty || none
	}
	x.rule.body = body
	if len(body.subs) == 1 {
		x.rule.body = body.subs[0]
	}
	return empty, c.m.rule(len(body.subs))
}

// shape adds the alternatives of a shape.
func (c *compiler) shape(sp *shapePlan, body *node) (empty bool, err error) {
	if sp.alive == 0 {
		return false, nil
	}
	if sp.enum != nil {
		n, err := c.values(sp.enum)
		body.subs = append(body.subs, n)
		return false, err
	}
	for _, part := range []struct {
		t types
		f func(*shapePlan) (*node, error)
	}{{typeNull | typeBool, c.literals}, {typeNumber, c.number}, {typeString, c.string}, {typeArray, c.array}, {typeObject, c.object}} {
		if sp.alive&part.t == 0 {
			continue
		}
		n, err := part.f(sp)
		if err != nil {
			return false, err
		}
		if n == nil {
			sp.types &^= part.t
			empty = true
			continue
		}
		body.subs = append(body.subs, n)
	}
	return empty, nil
}

// once makes a terminal, or returns the one that was made for the same key.
func (c *compiler) once(key string, make func() (*term, error)) (*node, error) {
	if n, ok := c.terms[key]; ok {
		return n, nil
	}
	t, err := make()
	if err != nil {
		return nil, err
	}
	var n *node
	if t != nil {
		t.d = c.v.intern(t.d)
		n = &node{kind: nodeTerm, term: t}
	}
	c.terms[key] = n
	return n, nil
}

// texts makes an automaton of some texts.
func texts(list []string, m *meter) (*term, error) {
	b := newBuilder(m)
	start := b.state(noTag)
	for _, text := range list {
		at := start
		for i := range len(text) {
			to := b.after(at, text[i])
			if to == dead {
				to = b.state(noTag)
				b.on(at, text[i], to)
			}
			at = to
		}
		b.accept[at] = 0
	}
	d, err := b.finish(false)
	return &term{d: d, start: start}, err
}

// values makes the listed values: arrays and objects without blanks, or with one
// after each comma and colon.
func (c *compiler) values(list []*value) (*node, error) {
	var all []string
	for _, v := range list {
		all = append(all, string(v.write(nil, ",", ":")))
		if len(v.list) > 0 {
			all = append(all, string(v.write(nil, ", ", ": ")))
		}
	}
	return c.once("values "+fmt.Sprintf("%q", all), func() (*term, error) { return texts(all, c.m) })
}

func (c *compiler) literals(sp *shapePlan) (*node, error) {
	var all []string
	add := func(kind byte, text string, t types) {
		if sp.alive&t != 0 && !slices.ContainsFunc(sp.bars, func(v *value) bool { return v.kind == kind }) {
			all = append(all, text)
		}
	}
	add('n', "null", typeNull)
	add('t', "true", typeBool)
	add('f', "false", typeBool)
	if len(all) == 0 {
		return nil, nil
	}
	return c.once(fmt.Sprint("literals ", all), func() (*term, error) { return texts(all, c.m) })
}

func (c *compiler) number(sp *shapePlan) (*node, error) {
	b := &sp.num
	key := fmt.Sprint("number ", b.integer, b.fractional, b.lo, b.loOut, b.hi, b.hiOut, b.multiples, sp.barredNumbers())
	return c.once(key, func() (*term, error) {
		d, err := numberChars(b, c.m)
		for _, r := range sp.barredNumbers() {
			var is *chars
			if err == nil {
				is, err = numberChars(&bounds{lo: r, hi: r}, c.m)
			}
			if err == nil {
				d, err = combined(d, is, butNot, c.m)
			}
		}
		if err != nil || d.empty() {
			return nil, at("minimum", err)
		}
		x, err := raw(d, c.m)
		return &term{d: x}, err
	})
}

// at names a keyword in an error that has none. That time is over is no keyword's
// fault.
func at(keyword string, err error) error {
	if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	if named := (*UnsupportedError)(nil); errors.As(err, &named) && named.Keyword != "" {
		return err
	}
	return &UnsupportedError{Keyword: keyword, Path: "", Reason: err.Error(), err: err}
}

func (c *compiler) string(sp *shapePlan) (*node, error) {
	key := fmt.Sprint("string ", sp.minLength, sp.maxLength, fmt.Sprintf("%+q", patternKeys(sp.patterns)))
	for _, v := range sp.bars {
		key += fmt.Sprintf("%q", v.text)
	}
	return c.once(key, func() (*term, error) {
		d, err := c.s.content(&sp.shape)
		keyword := "pattern"
		if len(sp.patterns) > 0 && sp.patterns[0].format {
			keyword = "format"
		}
		if err != nil || d.empty() {
			return nil, at(keyword, err)
		}
		lo, hi := int32(sp.minLength), int32(sp.maxLength)
		for _, p := range sp.patterns {
			if f := formats()[p.src].longest; p.format && !p.not && f > 0 {
				hi = min(hi, int32(f))
			}
		}
		t, err := stringTerm(d, lo, hi, c.m)
		return t, at(keyword, err)
	})
}

// stringTerm makes the terminal of strings of lo to hi characters; nil if there
// are none.
func stringTerm(d *chars, lo, hi int32, m *meter) (*term, error) {
	if lo == 0 && hi == endless {
		x, err := quotedString(d, false, m)
		return &term{d: x}, err
	}
	x, err := quotedString(d, true, m)
	if err != nil {
		return nil, err
	}
	t := &term{d: x, counted: true, min: lo, max: hi}
	if !d.universal() && lo > 0 && hi < endless {
		if t.lengths, err = x.lengths(hi, m); err != nil {
			return nil, err
		}
	}
	if !t.alive(x.to(0, '"'), 0) {
		return nil, nil
	}
	return t, nil
}

// lengths computes which numbers of characters up to most may still come from
// each state.
func (d *dfa) lengths(most int32, m *meter) (*lengths, error) {
	most++ // the opening quote counts
	l := &lengths{most: most, bits: make([][]uint64, len(d.accept))}
	if err := m.step(len(d.accept) * int(most)); err != nil {
		return nil, err
	}
	words := int(most)/64 + 1
	if len(d.accept)*words > 1<<21 {
		return nil, fmt.Errorf("%w: a pattern with a minimum and a maximum of %d characters", ErrTooLarge, most-1)
	}
	var mids, wholes []int32
	for q := range d.accept {
		l.bits[q] = make([]uint64, words)
		if d.accept[q] != noTag {
			l.bits[q][0] |= 1
		}
		if d.whole[q] {
			wholes = append(wholes, int32(q))
		} else {
			mids = append(mids, int32(q))
		}
	}
	targets := make([][]int32, len(d.accept))
	for q := range d.accept {
		for _, to := range d.trans[q*d.count : (q+1)*d.count] {
			if to != dead && !slices.Contains(targets[q], to) {
				targets[q] = append(targets[q], to)
			}
		}
	}
	reach := func(q, n int32) bool {
		return slices.ContainsFunc(targets[q], func(to int32) bool {
			m := n
			if d.whole[to] {
				m--
			}
			return m >= 0 && l.bits[to][m>>6]>>(m&63)&1 == 1
		})
	}
	for n := int32(0); n <= most; n++ {
		for changed := true; changed; { // characters take several bytes
			changed = false
			for _, list := range [][]int32{mids, wholes} {
				for _, q := range list {
					if l.bits[q][n>>6]>>(n&63)&1 == 0 && reach(q, n) {
						l.bits[q][n>>6] |= 1 << (n & 63)
						changed = true
					}
				}
			}
		}
		if err := m.step(4 * len(d.accept)); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (c *compiler) array(sp *shapePlan) (*node, error) {
	seps, err := c.separators()
	if err != nil {
		return nil, err
	}
	a := &array{seps: seps, first: 0, next: 1, min: int32(sp.minItems), max: int32(sp.maxItems)}
	for i, x := range sp.prefix {
		if !x.alive {
			a.max = min(a.max, int32(i))
			break
		}
		a.prefix = append(a.prefix, ref(x))
	}
	if sp.rest.alive && len(a.prefix) == len(sp.prefix) {
		a.rest = ref(sp.rest)
	} else {
		a.max = min(a.max, int32(len(a.prefix)))
	}
	for _, x := range sp.contain {
		var n *node
		if x.alive {
			n = ref(x)
		}
		a.contains = append(a.contains, n)
	}
	if a.min > a.max {
		return nil, nil
	}
	open, err := c.once("[", func() (*term, error) { return texts([]string{"["}, c.m) })
	return &node{kind: nodeSeq, subs: []*node{open, {kind: nodeArray, array: a}}}, err
}

func (c *compiler) object(sp *shapePlan) (*node, error) {
	o := &object{min: int32(sp.minProps), max: int32(sp.maxProps)}
	var names []string
	for _, p := range sp.props {
		if !p.value.alive {
			continue
		}
		names = append(names, p.name)
		o.values = append(o.values, ref(p.value))
		o.required = append(o.required, p.required)
	}
	kinds := make([]int32, len(sp.extra)) // tags of additional properties
	for i, e := range sp.extra {
		kinds[i] = noTag
		if e.value.alive {
			o.extra = append(o.extra, ref(e.value))
			kinds[i] = int32(len(names) + len(o.extra))
		}
	}
	size := int32(len(names))
	o.nextReq, o.left = make([]int32, size+2), make([]int32, size+2)
	o.nextReq[size], o.nextReq[size+1] = size, size
	for i := size - 1; i >= 0; i-- {
		o.nextReq[i], o.left[i] = o.nextReq[i+1], o.left[i+1]
		if o.required[i] {
			o.nextReq[i] = i
			o.left[i]++
		}
	}
	if o.max < endless && len(o.extra) > 0 && o.min > max(1, o.left[0]) {
		return nil, unsupported(firstValue(nil), "minProperties", "with maxProperties and additional properties it is supported only up to the number of required ones")
	}
	var err error
	if o.keys, err = c.keys(sp, names, kinds); err != nil {
		return nil, err
	}
	o.first, o.next = 0, 1
	if f := o.filter(0, 0); !f.alive(o.keys.d, o.first) {
		return nil, nil
	}
	open, err := c.once("{", func() (*term, error) { return texts([]string{"{"}, c.m) })
	return &node{kind: nodeSeq, subs: []*node{open, {kind: nodeObject, object: o}}}, err
}
