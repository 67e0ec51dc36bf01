package grammar

// objects reads the keywords of objects.
func (r *reader) objects() error {
	if err := r.required(); err != nil {
		return err
	}
	l := &propLayer{}
	if p := r.v.get("properties"); p != nil {
		if p.kind != '{' {
			return unsupported(r.v, "properties", "must be an object")
		}
		for i, k := range p.keys {
			l.names = append(l.names, k)
			l.values = append(l.values, r.s.of(p.list[i]))
		}
	}
	if p := r.v.get("patternProperties"); p != nil {
		if p.kind != '{' {
			return unsupported(r.v, "patternProperties", "must be an object")
		}
		for i, k := range p.keys {
			l.patterns = append(l.patterns, k)
			l.matching = append(l.matching, r.s.of(p.list[i]))
		}
	}
	if p := r.v.get("additionalProperties"); p != nil {
		l.rest = r.s.of(p)
	}
	if len(l.names)+len(l.patterns) > 0 || l.rest != nil {
		r.shape.props = append(r.shape.props, l)
	}
	if p := r.v.get("propertyNames"); p != nil {
		r.shape.names = append(r.shape.names, r.s.of(p))
	}
	return r.dependencies()
}

func (r *reader) required() error {
	v := r.v.get("required")
	if v == nil {
		return nil
	}
	if v.kind == 't' || v.kind == 'f' { // draft 3 put it into the property
		return unsupported(r.v, "required", "must be an array of names")
	}
	names, err := r.names("required", v)
	r.shape.required = union(r.shape.required, names)
	return err
}

func (r *reader) names(k string, v *value) ([]string, error) {
	if v.kind != '[' {
		return nil, unsupported(r.v, k, "must be an array of names")
	}
	var names []string
	for _, n := range v.list {
		if n.kind != '"' {
			return nil, unsupported(r.v, k, "must be an array of names")
		}
		names = append(names, n.text)
	}
	return names, nil
}

// dependencies: a property is barred, or what depends on it holds.
func (r *reader) dependencies() error {
	for _, k := range []string{"dependencies", "dependentRequired", "dependentSchemas"} {
		v := r.v.get(k)
		if v == nil {
			continue
		}
		if v.kind != '{' {
			return unsupported(r.v, k, "must be an object")
		}
		for i, name := range v.keys {
			without, with := anyShape(), anyShape()
			without.barred = []string{name}
			with.required = []string{name}
			list := []shape{with}
			if d := v.list[i]; d.kind == '[' {
				names, err := r.names(k, d)
				if err != nil {
					return err
				}
				list[0].required = union(list[0].required, names)
			} else {
				more, err := r.s.expand(r.s.of(d))
				if err == nil {
					list, err = r.s.product(list, more)
				}
				if err != nil {
					return err
				}
			}
			if err := r.and(k, append(list, without)); err != nil {
				return err
			}
		}
	}
	return nil
}

// arrays reads the keywords of arrays.
func (r *reader) arrays() error {
	l := &itemLayer{}
	items := r.v.get("items")
	if p := r.v.get("prefixItems"); p != nil {
		if p.kind != '[' {
			return unsupported(r.v, "prefixItems", "must be an array of schemas")
		}
		for _, x := range p.list {
			l.prefix = append(l.prefix, r.s.of(x))
		}
	}
	switch {
	case items == nil:
	case items.kind == '[': // before 2020-12: a tuple
		for _, x := range items.list {
			l.prefix = append(l.prefix, r.s.of(x))
		}
		if a := r.v.get("additionalItems"); a != nil {
			l.rest = r.s.of(a)
		}
	default:
		l.rest = r.s.of(items)
	}
	if len(l.prefix) > 0 || l.rest != nil {
		r.shape.items = append(r.shape.items, l)
	}
	if len(l.prefix) > 1000 {
		return unsupported(r.v, "items", "a tuple of more than 1000 items")
	}
	return r.contains()
}

func (r *reader) contains() error {
	v := r.v.get("contains")
	if v == nil {
		return nil
	}
	for _, k := range []string{"minContains", "maxContains"} {
		if n := r.v.get(k); n != nil && (k != "minContains" || n.text != "1") {
			return unsupported(r.v, k, "not supported")
		}
	}
	c := anyShape()
	c.types = typeArray
	c.contains = []*schema{r.s.of(v)}
	c.minItems = 1
	other := anyShape()
	other.types &^= typeArray
	return r.and("contains", []shape{c, other})
}

// conditions reads if, then and else.
func (r *reader) conditions() error {
	v := r.v.get("if")
	if v == nil {
		return nil
	}
	cond := r.s.of(v)
	var list []shape
	for _, branch := range []struct {
		k   string
		if_ *schema
	}{{"then", cond}, {"else", r.s.not(cond)}} {
		conj := []*schema{branch.if_}
		if b := r.v.get(branch.k); b != nil {
			conj = append(conj, r.s.of(b))
		}
		more, err := r.s.all(conj)
		if err != nil {
			return err
		}
		list = append(list, more...)
	}
	return r.and("if", list)
}
