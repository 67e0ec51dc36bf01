package grammar

import (
	"errors"
	"fmt"
	"math/big"
)

// What does not match a schema is, for not, oneOf and else, made of pieces: a
// value fails a schema if it fails one of its constraints. Where the opposite of
// a constraint cannot be said in a grammar it is left out, so that what is
// generated is certain not to match, and something may be missing.

// negated gives at most limit shapes of what is of no shape of a list.
func (s *schemas) negated(list []shape, limit int) []shape {
	out := []shape{anyShape()}
	for i := range list {
		var next []shape
		for _, piece := range s.pieces(&list[i]) {
			for j := range out {
				m := out[j].merged(&piece)
				if m.types != 0 && len(next) < limit {
					next = append(next, m)
				}
			}
		}
		out = next
	}
	return out
}

// pieces are the ways not to be of a shape.
func (s *schemas) pieces(a *shape) []shape {
	var out []shape
	add := func(t types, change func(*shape)) {
		if t &= a.types; t != 0 || change == nil {
			p := anyShape()
			p.types = t
			if change != nil {
				change(&p)
			}
			out = append(out, p)
		}
	}
	if other := allTypes &^ a.types; other != 0 {
		p := anyShape()
		p.types = other
		out = append(out, p)
	}
	if a.enum != nil {
		add(a.types, func(p *shape) { p.bars = a.enum })
	}
	if len(a.bars) > 0 {
		add(allTypes, func(p *shape) { p.enum = a.bars })
	}
	numberPieces(a, add)
	if a.minLength > 0 {
		add(typeString, func(p *shape) { p.maxLength = a.minLength - 1 })
	}
	if a.maxLength < endless {
		add(typeString, func(p *shape) { p.minLength = a.maxLength + 1 })
	}
	for _, x := range a.patterns {
		if x.format && !x.not {
			continue // what is generated is less than the format: its opposite would be too much
		}
		x.not = !x.not
		add(typeString, func(p *shape) { p.patterns = []pattern{x} })
	}
	s.arrayPieces(a, add)
	s.objectPieces(a, add)
	return out
}

func numberPieces(a *shape, add func(types, func(*shape))) {
	n := &a.num
	if n.integer {
		add(typeNumber, func(p *shape) { p.num.fractional = true })
	}
	if n.fractional {
		add(typeNumber, func(p *shape) { p.num.integer = true })
	}
	if n.lo != nil {
		add(typeNumber, func(p *shape) { p.num.hi, p.num.hiOut = n.lo, !n.loOut })
	}
	if n.hi != nil {
		add(typeNumber, func(p *shape) { p.num.lo, p.num.loOut = n.hi, !n.hiOut })
	}
}

func (s *schemas) arrayPieces(a *shape, add func(types, func(*shape))) {
	if a.minItems > 0 {
		add(typeArray, func(p *shape) { p.maxItems = a.minItems - 1 })
	}
	if a.maxItems < endless {
		add(typeArray, func(p *shape) { p.minItems = a.maxItems + 1 })
	}
	for _, l := range a.items {
		if l.rest != nil && len(l.prefix) == 0 {
			add(typeArray, func(p *shape) { p.contains, p.minItems = []*schema{s.not(l.rest)}, 1 })
		}
	}
	for _, c := range a.contains {
		add(typeArray, func(p *shape) { p.items = []*itemLayer{{rest: s.not(c)}} })
	}
}

func (s *schemas) objectPieces(a *shape, add func(types, func(*shape))) {
	for _, r := range a.required {
		add(typeObject, func(p *shape) { p.barred = []string{r} })
	}
	for _, r := range a.barred {
		add(typeObject, func(p *shape) { p.required = []string{r} })
	}
	if a.minProps > 0 {
		add(typeObject, func(p *shape) { p.maxProps = a.minProps - 1 })
	}
	if a.maxProps < endless {
		add(typeObject, func(p *shape) { p.minProps = a.maxProps + 1 })
	}
	for _, l := range a.props {
		for i, name := range l.names {
			add(typeObject, func(p *shape) {
				p.required = []string{name}
				p.props = []*propLayer{{names: []string{name}, values: []*schema{s.not(l.values[i])}}}
			})
		}
	}
}

// oneOf takes the shapes of each branch less those of the others, unless two
// branches have nothing in common.
func (r *reader) oneOf(v *value, parts [][]shape) error {
	s := r.s
	var all []shape
	for i := range parts {
		mine, err := s.product(r.alts, parts[i])
		if err != nil {
			return unsupported(r.v, "oneOf", "%v", err)
		}
		for j := range parts {
			if i == j || len(mine) == 0 {
				continue
			}
			if mine, err = s.minus(mine, parts[j]); err != nil {
				return unsupported(r.v, "oneOf", "%v", err)
			}
		}
		all = append(all, mine...)
		if len(all) > mostShapes {
			return unsupported(r.v, "oneOf", "its alternatives multiply to more than %d", mostShapes)
		}
	}
	if len(all) == 0 {
		return unsupported(r.v, "oneOf", "nothing that matches exactly one of its schemas can be generated")
	}
	r.alts = all
	return nil
}

// mostPieces bounds the alternatives that come of telling one branch of a oneOf
// from another; further ones are left out.
const mostPieces = 24

// minus is the shapes of what is of a and not of b.
func (s *schemas) minus(a, b []shape) ([]shape, error) {
	var out []shape
	for i := range a {
		var clash []shape
		for j := range b {
			m := a[i].merged(&b[j])
			ok, err := s.possible(&m, 2)
			if err != nil {
				return nil, err
			}
			if ok {
				clash = append(clash, b[j])
			}
		}
		if len(clash) == 0 {
			out = append(out, a[i])
			continue
		}
		kept := 0
		for _, n := range s.negated(clash, mostPieces*4) {
			m := a[i].merged(&n)
			ok, err := s.possible(&m, 2)
			if err != nil {
				return nil, err
			}
			if ok && kept < mostPieces {
				out = append(out, m)
				kept++
			}
		}
	}
	if len(out) > mostShapes {
		return nil, fmt.Errorf("its alternatives multiply to more than %d", mostShapes)
	}
	return out, nil
}

// possible tells whether there may be a value of a shape, looking depth levels
// down.
func (s *schemas) possible(a *shape, depth int) (bool, error) {
	if err := s.m.step(20); err != nil {
		return false, err
	}
	if a.types&^(typeObject|typeString|typeArray) != 0 || a.enum != nil {
		return a.types != 0, nil
	}
	if a.types&typeString != 0 {
		d, err := s.content(a)
		if err != nil {
			return false, err
		}
		if !d.empty() {
			return true, nil
		}
	}
	if a.types&typeArray != 0 {
		return true, nil
	}
	if a.types&typeObject == 0 || depth == 0 {
		return a.types&typeObject != 0, nil
	}
	for _, r := range a.required {
		list, err := s.property(a, r)
		if err != nil {
			return false, err
		}
		ok, err := s.anyPossible(list, depth-1)
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// anyPossible is possible for what is of all schemas of a list.
func (s *schemas) anyPossible(list []*schema, depth int) (bool, error) {
	shapes, err := s.all(list)
	if errors.Is(err, errLoop) {
		return true, nil // not decided here
	}
	if err != nil {
		return false, err
	}
	for i := range shapes {
		if ok, err := s.possible(&shapes[i], depth); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// property gives the schemas of a property in a shape.
func (s *schemas) property(a *shape, name string) ([]*schema, error) {
	var list []*schema
	for i := range a.props {
		l := a.props[i]
		j, found := l.find(name)
		if found {
			list = union(list, []*schema{l.values[j]})
		}
		for j, src := range l.patterns {
			d, err := s.pattern(pattern{src: src})
			if err != nil {
				return nil, unsupported(l.matching[j].v, "patternProperties", "%v", err)
			}
			if d.match(name) {
				list, found = union(list, []*schema{l.matching[j]}), true
			}
		}
		if !found && l.rest != nil {
			list = union(list, []*schema{l.rest})
		}
	}
	return list, nil
}

// pattern makes the automaton of a constraint on strings, or remembers it.
func (s *schemas) pattern(p pattern) (*chars, error) {
	key := fmt.Sprint(p.format, p.not, p.src)
	if d := s.strings[key]; d != nil {
		return d, nil
	}
	var d *chars
	var err error
	switch {
	case p.not:
		p.not = false
		if d, err = s.pattern(p); err == nil {
			d, err = d.without(s.m)
		}
	case p.format:
		if d, err = patternChars(formats()[p.src].pattern, whole, s.m); err != nil {
			err = fmt.Errorf("format %s: %w", p.src, err)
		}
	default:
		d, err = patternChars(p.src, anywhere, s.m)
	}
	if err == nil {
		s.strings[key] = d
	}
	return d, err
}

// content makes the automaton of a string's characters, its lengths aside.
func (s *schemas) content(a *shape) (*chars, error) {
	d := everything()
	for _, p := range a.patterns {
		x, err := s.pattern(p)
		if err != nil {
			return nil, err
		}
		if d.universal() {
			d = x
		} else if d, err = combined(d, x, both, s.m); err != nil {
			return nil, err
		}
	}
	for _, v := range a.bars {
		if v.kind != '"' {
			continue
		}
		x, err := charsOf(textOf(v.text), whole, s.m)
		if err == nil {
			d, err = combined(d, x, butNot, s.m)
		}
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// barredNumbers are the numbers among the values that a shape bars.
func (a *shape) barredNumbers() []*big.Rat {
	var out []*big.Rat
	for _, v := range a.bars {
		if r := v.rat(); r != nil {
			out = append(out, r)
		}
	}
	return out
}
