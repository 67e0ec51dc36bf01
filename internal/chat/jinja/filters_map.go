package jinja

// doMap is map: another filter, or the lookup of an attribute, for each item.
func doMap(st *state, in Value, a *args) (Value, error) {
	if yes, err := st.truth(in); !yes || err != nil {
		return nothing(), err
	}
	var apply func(st *state, v Value) (Value, error)
	return generate(in, func(st *state, v Value) (Value, bool, error) {
		if apply == nil {
			var err error
			if apply, err = mapping(st, a); err != nil {
				return nil, false, err
			}
		}
		out, err := apply(st, v)
		return out, err == nil, err
	}), nil
}

func nothing() Value {
	return &lazy{kind: "generator", next: func(*state) (Value, bool, error) { return nil, false, nil }}
}

// generate is a generator over in: each gives an item's value, or false to
// leave it out.
func generate(in Value, each func(st *state, v Value) (Value, bool, error)) Value {
	var it iterator
	return &lazy{kind: "generator", next: func(st *state) (Value, bool, error) {
		if it == nil {
			var err error
			if it, err = st.iterate(in); err != nil {
				return nil, false, err
			}
		}
		for {
			if err := st.tick(1); err != nil {
				return nil, false, err
			}
			v, ok, err := it.next(st)
			if !ok || err != nil {
				return nil, false, err
			}
			if v, ok, err = each(st, v); ok || err != nil {
				return v, ok, err
			}
		}
	}}
}

func mapping(st *state, a *args) (func(st *state, v Value) (Value, error), error) {
	if len(a.pos) == 0 && indexOf(a.names, "attribute") >= 0 {
		var p path
		var absent Value
		for i, name := range a.names {
			switch name {
			case "attribute":
				p = attrPath(a.vals[i])
			case "default":
				absent = a.vals[i]
			default:
				return nil, filterError("Unexpected keyword argument %s", quote(name))
			}
		}
		return func(st *state, v Value) (Value, error) { return st.follow(p, v, absent) }, nil
	}
	if len(a.pos) == 0 {
		return nil, filterError("map requires a filter argument")
	}
	name, _ := asString(a.pos[0])
	f := st.filters[name]
	if f == nil {
		return nil, classError("TemplateRuntimeError", "No filter named %s.", quote(name))
	}
	rest := &args{pos: a.pos[1:], names: a.names, vals: a.vals}
	return func(st *state, v Value) (Value, error) { return f(st, v, rest) }, nil
}

// selecting is select, reject, selectattr and rejectattr: the items for
// which a test holds, or does not.
func selecting(name string, keep, byAttr bool) filterFunc {
	return func(st *state, in Value, a *args) (Value, error) {
		if yes, err := st.truth(in); !yes || err != nil {
			return nothing(), err
		}
		var holds func(st *state, v Value) (bool, error)
		return generate(in, func(st *state, v Value) (Value, bool, error) {
			if holds == nil {
				var err error
				if holds, err = condition(st, a, byAttr); err != nil {
					return nil, false, err
				}
			}
			yes, err := holds(st, v)
			return v, err == nil && yes == keep, err
		}), nil
	}
}

func condition(st *state, a *args, byAttr bool) (func(st *state, v Value) (bool, error), error) {
	pos := a.pos
	var p path
	if byAttr {
		if len(pos) == 0 {
			return nil, filterError("Missing parameter for attribute name")
		}
		p, pos = attrPath(pos[0]), pos[1:]
	}
	test := func(st *state, v Value, _ *args) (bool, error) { return st.truth(v) }
	rest := &args{}
	if len(pos) > 0 {
		name, _ := asString(pos[0])
		known := st.tests[name]
		if known == nil {
			return nil, classError("TemplateRuntimeError", "No test named %s.", quote(name))
		}
		test = known
		rest = &args{pos: pos[1:], names: a.names, vals: a.vals}
	}
	return func(st *state, v Value) (bool, error) {
		v, err := st.follow(p, v, nil)
		if err != nil {
			return false, err
		}
		return test(st, v, rest)
	}, nil
}
