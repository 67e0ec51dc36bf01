package grammar

import (
	"cmp"
	"slices"
)

// A plan is a conjunction of schemas with its shapes, before there are automata:
// first all plans that can be reached are made, then those of which there is no
// value are found (a type that must contain itself), then the rest is compiled.

type plan struct {
	key    string
	list   []*schema
	shapes []*shapePlan
	alive  bool
	rule   *rule
}

// shapePlan is a shape with the plans of what is in it.
type shapePlan struct {
	shape
	props    []propPlan
	extra    []extraPlan
	prefix   []*plan
	rest     *plan
	contain  []*plan // what an array must contain, as prefix and then rest
	extraKey *chars  // keys of additional properties; labels say of which kind
	labels   []int32
	alive    types // the types of which there are values
	short    bool  // of objects there are none, as additional properties may repeat a key
}

type propPlan struct {
	name     string
	required bool
	value    *plan
}

type extraPlan struct{ value *plan }

// planner makes plans.
type planner struct {
	s     *schemas
	plans map[string]*plan
	order []*plan
	todo  []*plan
}

// plan gives the plan for what is of all schemas of a list.
func (p *planner) plan(list []*schema) (*plan, error) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *schema) int { return cmp.Compare(a.id, b.id) })
	list = slices.Compact(list)
	key := make([]byte, 0, 4*len(list))
	for _, c := range list {
		key = append(key, byte(c.id), byte(c.id>>8), byte(c.id>>16))
	}
	x := p.plans[string(key)]
	if x != nil {
		return x, nil
	}
	x = &plan{key: string(key), list: list}
	p.plans[x.key] = x
	p.order = append(p.order, x)
	p.todo = append(p.todo, x)
	return x, p.s.m.rule(1)
}

// run makes the plans of everything that the plans so far need.
func (p *planner) run() error {
	for len(p.todo) > 0 {
		x := p.todo[len(p.todo)-1]
		p.todo = p.todo[:len(p.todo)-1]
		shapes, err := p.s.all(x.list)
		if err != nil {
			return err
		}
		for i := range shapes {
			sp := &shapePlan{shape: shapes[i]}
			if err := p.parts(sp); err != nil {
				return err
			}
			x.shapes = append(x.shapes, sp)
		}
	}
	return nil
}

func (p *planner) parts(sp *shapePlan) error {
	if sp.enum != nil {
		return p.s.filterEnum(&sp.shape)
	}
	if sp.types&typeArray != 0 {
		if err := p.arrayParts(sp); err != nil {
			return err
		}
	}
	if sp.types&typeObject != 0 {
		return p.objectParts(sp)
	}
	return nil
}

func (p *planner) arrayParts(sp *shapePlan) error {
	longest := 0
	for _, l := range sp.items {
		longest = max(longest, len(l.prefix))
	}
	var err error
	at := func(i int) (list []*schema) {
		for _, l := range sp.items {
			switch {
			case i < len(l.prefix):
				list = append(list, l.prefix[i])
			case l.rest != nil:
				list = append(list, l.rest)
			}
		}
		return list
	}
	if len(sp.contains) > 1 {
		return unsupported(firstValue(sp.contains), "contains", "two of them for one array are not supported")
	}
	for i := 0; i <= longest && err == nil; i++ {
		list := at(i)
		var item, in *plan
		item, err = p.plan(list)
		if len(sp.contains) > 0 && err == nil {
			in, err = p.plan(append(list, sp.contains...))
			sp.contain = append(sp.contain, in)
		}
		if i < longest {
			sp.prefix = append(sp.prefix, item)
		} else {
			sp.rest = item
		}
	}
	return err
}

func firstValue(list []*schema) *value {
	for _, c := range list {
		if c.v != nil {
			return c.v
		}
		if c.of.v != nil {
			return c.of.v
		}
	}
	return &value{}
}

func (p *planner) objectParts(sp *shapePlan) error {
	var names []string
	for _, l := range sp.shape.props {
		names = union(names, l.names)
	}
	names = union(names, sp.required)
	nameChars, err := p.s.nameChars(sp.names)
	if err != nil {
		return err
	}
	for _, n := range names {
		if slices.Contains(sp.barred, n) || nameChars != nil && !nameChars.match(n) {
			if slices.Contains(sp.required, n) {
				sp.types &^= typeObject
			}
			continue
		}
		if err := p.s.m.step((len(sp.required) + len(sp.barred)) / 16); err != nil {
			return err
		}
		list, err := p.s.property(&sp.shape, n)
		if err != nil {
			return err
		}
		v, err := p.plan(list)
		if err != nil {
			return err
		}
		sp.props = append(sp.props, propPlan{n, slices.Contains(sp.required, n), v})
	}
	return p.extraParts(sp, nameChars)
}

// extraParts finds the kinds of additional properties: their names differ in
// which patterns they match, and so their values in which schemas hold.
func (p *planner) extraParts(sp *shapePlan, names *chars) error {
	var sources []string
	for _, l := range sp.shape.props {
		sources = union(sources, l.patterns)
	}
	if len(sources) > 20 {
		return unsupported(p.s.root, "patternProperties", "more than 20 patterns for one object are not supported")
	}
	d := everything()
	if names != nil {
		d = names
	}
	labels := make([]int32, len(d.accept)) // sets of patterns
	for i, src := range sources {
		x, err := p.s.pattern(pattern{src: src})
		if err != nil {
			return p.patternError(sp, src, err)
		}
		if d, labels, err = labelled(d, labels, x, int32(1)<<i, p.s.m); err != nil {
			return err
		}
	}
	kinds := map[int32]int32{}
	sp.labels = make([]int32, len(labels))
	for s, set := range labels {
		sp.labels[s] = noTag
		if !d.accept[s] {
			continue
		}
		kind, ok := kinds[set]
		if !ok {
			list, allowed := p.extraSchemas(sp, sources, set)
			kind = noTag
			if allowed {
				kind = int32(len(sp.extra))
				v, err := p.plan(list)
				if err != nil {
					return err
				}
				sp.extra = append(sp.extra, extraPlan{v})
			}
			kinds[set] = kind
		}
		sp.labels[s] = kind
	}
	sp.extraKey = d
	return nil
}

func (p *planner) patternError(sp *shapePlan, src string, err error) error {
	for _, l := range sp.shape.props {
		if i := slices.Index(l.patterns, src); i >= 0 && l.matching[i].v != nil {
			return unsupported(l.matching[i].v, "patternProperties", "%v", err)
		}
	}
	return err
}

// extraSchemas are those of a property that no layer lists and that matches a
// set of patterns.
func (p *planner) extraSchemas(sp *shapePlan, sources []string, set int32) (list []*schema, allowed bool) {
	for _, l := range sp.shape.props {
		found := false
		for j, src := range l.patterns {
			if set>>slices.Index(sources, src)&1 == 1 {
				list, found = append(list, l.matching[j]), true
			}
		}
		if !found && l.rest != nil {
			list = append(list, l.rest)
		}
	}
	for _, c := range list {
		if c.v != nil && c.v.kind == 'f' {
			return nil, false
		}
	}
	return list, true
}

// labelled runs d beside x and adds a bit to the labels of d's states where x
// matches.
func labelled(d *chars, labels []int32, x *chars, bit int32, m *meter) (*chars, []int32, error) {
	out := &chars{alphabet: joined(d.alphabet, x.alphabet)}
	toD, toX := classMap(out.alphabet, d.alphabet), classMap(out.alphabet, x.alphabet)
	type pair struct{ d, x int32 }
	first := pair{0, 0}
	if d.empty() {
		return d, labels, nil
	}
	if x.empty() {
		first.x = dead
	}
	ids, pairs := map[pair]int32{first: 0}, []pair{first}
	var sets []int32
	for at := 0; at < len(pairs); at++ {
		s := pairs[at]
		out.accept = append(out.accept, d.accept[s.d])
		set := labels[s.d]
		if s.x != dead && x.accept[s.x] {
			set |= bit
		}
		sets = append(sets, set)
		if err := m.state(1); err != nil {
			return nil, nil, err
		}
		if err := m.step(out.alphabet.count); err != nil {
			return nil, nil, err
		}
		for class := range out.alphabet.count {
			to := pair{d.to(s.d, toD[class]), dead}
			if to.d == dead {
				out.trans = append(out.trans, dead)
				continue
			}
			if s.x != dead {
				to.x = x.to(s.x, toX[class])
			}
			id, ok := ids[to]
			if !ok {
				id = int32(len(pairs))
				ids[to] = id
				pairs = append(pairs, to)
			}
			out.trans = append(out.trans, id)
		}
	}
	return out, sets, nil
}

// nameChars makes the automaton of the names that propertyNames allows; nil: all.
func (s *schemas) nameChars(list []*schema) (*chars, error) {
	if len(list) == 0 {
		return nil, nil
	}
	shapes, err := s.all(list)
	if err != nil {
		return nil, err
	}
	out := &chars{alphabet: alphabetOf(nil)}
	for i := range shapes {
		d, err := s.textChars(&shapes[i])
		if err == nil {
			out, err = combined(out, d, either, s.m)
		}
		if err != nil {
			return nil, unsupported(firstValue(list), "propertyNames", "%v", err)
		}
	}
	return out, nil
}

// textChars makes the automaton of the strings of a shape.
func (s *schemas) textChars(a *shape) (*chars, error) {
	if a.types&typeString == 0 {
		return &chars{alphabet: alphabetOf(nil)}, nil
	}
	d, err := s.content(a)
	if err == nil && a.enum != nil {
		t := &tree{op: opAlt}
		for _, v := range a.enum {
			if v.kind == '"' {
				t.subs = append(t.subs, textOf(v.text))
			}
		}
		var x *chars
		if x, err = charsOf(t, whole, s.m); err == nil {
			d, err = combined(d, x, both, s.m)
		}
	}
	if err != nil || a.minLength == 0 && a.maxLength == endless {
		return d, err
	}
	hi := a.maxLength
	if hi == endless {
		hi = unbounded
	}
	x, err := charsOf(repeatOf(classOf(anyRune()), a.minLength, hi), whole, s.m)
	if err != nil {
		return nil, err
	}
	return combined(d, x, both, s.m)
}

// filterEnum leaves those values of a list that fit the rest of the shape.
func (s *schemas) filterEnum(a *shape) error {
	kept, rest := []*value{}, *a
	rest.enum = nil // of which each value is one
	for _, v := range a.enum {
		ok, err := s.admits(&rest, v)
		if err != nil {
			return err
		}
		if ok {
			kept = append(kept, v)
		}
	}
	a.enum = kept
	return nil
}

// admits tells whether a value is of a shape.
func (s *schemas) admits(a *shape, v *value) (bool, error) {
	if err := s.m.step(4 + len(a.bars)/4 + len(a.enum)/4 + len(a.required)); err != nil {
		return false, err
	}
	if typeOf(v)&a.types == 0 || !a.admitsScalar(v) || slices.ContainsFunc(a.bars, v.equal) {
		return false, nil
	}
	if a.enum != nil && !slices.ContainsFunc(a.enum, v.equal) {
		return false, nil
	}
	switch v.kind {
	case '"':
		d, err := s.content(a)
		return err == nil && d.match(v.text), err
	case '[':
		for i, x := range v.list {
			for _, l := range a.items {
				c := l.rest
				if i < len(l.prefix) {
					c = l.prefix[i]
				}
				if ok, err := s.matches(c, x); err != nil || !ok {
					return false, err
				}
			}
		}
		return s.containsEach(a, v)
	case '{':
		return s.admitsObject(a, v)
	}
	return true, nil
}

func (s *schemas) containsEach(a *shape, v *value) (bool, error) {
	for _, c := range a.contains {
		found := false
		for _, x := range v.list {
			ok, err := s.matches(c, x)
			if err != nil {
				return false, err
			}
			found = found || ok
		}
		if !found {
			return false, nil
		}
	}
	return true, nil
}

func (s *schemas) admitsObject(a *shape, v *value) (bool, error) {
	names, err := s.nameChars(a.names)
	if err != nil {
		return false, err
	}
	for i, k := range v.keys {
		if names != nil && !names.match(k) {
			return false, nil
		}
		list, err := s.property(a, k)
		if err != nil {
			return false, err
		}
		for _, c := range list {
			if ok, err := s.matches(c, v.list[i]); err != nil || !ok {
				return false, err
			}
		}
	}
	return true, nil
}

// matches tells whether a value is of a schema (nil: any value is).
func (s *schemas) matches(c *schema, v *value) (bool, error) {
	if c == nil {
		return true, nil
	}
	shapes, err := s.expand(c)
	if err != nil {
		return false, err
	}
	for i := range shapes {
		if ok, err := s.admits(&shapes[i], v); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// decide finds which plans have values: first none has, then those that need
// nothing, then those that need only such.
func (p *planner) decide() {
	for _, x := range p.order {
		x.alive = false
		for _, sp := range x.shapes {
			sp.alive = 0
		}
	}
	for changed := true; changed; {
		changed = false
		for _, x := range p.order {
			for _, sp := range x.shapes {
				if t := sp.possible(); t != sp.alive {
					sp.alive, changed = t, true
					x.alive = x.alive || t != 0
				}
			}
		}
	}
}

func (sp *shapePlan) possible() types {
	t := sp.types
	if sp.enum != nil {
		if len(sp.enum) == 0 {
			return 0
		}
		return t
	}
	if t&typeObject != 0 {
		count := 0
		extra := slices.ContainsFunc(sp.extra, func(e extraPlan) bool { return e.value.alive })
		for _, q := range sp.props {
			if q.value.alive {
				count++
			} else if q.required {
				t &^= typeObject
			}
		}
		if extra {
			count++
		}
		if count < sp.minProps {
			t &^= typeObject
			sp.short = extra
		}
	}
	if t&typeArray != 0 && !sp.possibleArray() {
		t &^= typeArray
	}
	return t
}

func (sp *shapePlan) possibleArray() bool {
	for i := range sp.minItems {
		if i < len(sp.prefix) && !sp.prefix[i].alive || i >= len(sp.prefix) && !sp.rest.alive {
			return false
		}
		if i > len(sp.prefix) {
			break
		}
	}
	return len(sp.contain) == 0 || slices.ContainsFunc(sp.contain, func(c *plan) bool { return c.alive })
}

// errNothing says why no value of the whole can be made.
func (p *planner) errNothing(v *value) error {
	for _, x := range p.order {
		if slices.ContainsFunc(x.shapes, func(sp *shapePlan) bool { return sp.short }) {
			return unsupported(v, "minProperties", "not supported where additional properties must make it up: that their keys differ is not a property of a grammar; list them in properties")
		}
	}
	return &UnsupportedError{Path: v.path, Reason: ErrNothing.Error(), err: ErrNothing}
}
