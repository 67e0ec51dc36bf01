package jinja

// macro is a macro, or the block of a call, together with the frame it was
// defined in: names from there have the values of the time of the call.
type macro struct {
	decl  *macroDecl
	outer *frame
}

// call runs the macro and returns what it writes.
func (m *macro) call(st *state, a *args) (string, error) {
	d := m.decl
	if err := st.enter(); err != nil {
		return "", err
	}
	defer st.leave()
	fr := &frame{slots: make([]Value, d.fn.slots), outer: m.outer}
	if err := m.bind(st, fr, a); err != nil {
		return "", err
	}
	callers := st.frame
	st.frame = fr
	defer func() { st.frame = callers }()
	st.enterScope(&d.scope)
	if err := d.fillIn(st); err != nil {
		return "", err
	}
	text, _, err := st.capture(d.body)
	return text, err
}

// bind puts the arguments into the macro's frame.
func (m *macro) bind(st *state, fr *frame, a *args) error {
	d := m.decl
	used := make([]bool, len(a.names))
	named := func(name string) Value {
		for i, n := range a.names {
			if n == name && !used[i] {
				used[i] = true
				return a.vals[i]
			}
		}
		return nil
	}
	foundCaller := false
	for i, name := range d.params {
		if name == "caller" && i >= len(a.pos) {
			foundCaller = true
		}
		if i < len(a.pos) {
			fr.slots[d.slots[i].idx] = a.pos[i]
		} else {
			fr.slots[d.slots[i].idx] = named(name)
		}
	}
	if d.usesCaller && !foundCaller {
		caller := named("caller")
		if caller == nil || caller == None {
			caller = &Undefined{hint: "No caller defined", name: "caller"}
		}
		fr.slots[d.caller.idx] = caller
	}
	return m.bindRest(st, fr, a, used)
}

// bindRest deals with the arguments that no parameter took.
func (m *macro) bindRest(st *state, fr *frame, a *args, used []bool) error {
	d := m.decl
	rest := NewDict()
	for i, name := range a.names {
		if used[i] {
			continue
		}
		if err := st.setItem(rest, name, a.vals[i]); err != nil {
			return err
		}
	}
	shown := "None"
	if d.name != "" {
		shown = quote(d.name)
	}
	switch {
	case d.usesKwargs:
		fr.slots[d.kwargs.idx] = rest
	case rest.Len() > 0:
		if _, ok := rest.Get("caller"); ok {
			return typeError("macro %s was invoked with two values for the special caller argument. This is most likely a bug.", shown)
		}
		first, _ := asString(rest.keys[0])
		return typeError("macro %s takes no keyword argument %s", shown, quote(first))
	}
	more := a.pos[min(len(a.pos), len(d.params)):]
	switch {
	case d.usesVarargs:
		fr.slots[d.varargs.idx] = &Tuple{items: more}
	case len(more) > 0:
		return typeError("macro %s takes not more than %d argument(s)", shown, len(d.params))
	}
	return nil
}

// fillIn gives parameters without an argument their defaults.
func (d *macroDecl) fillIn(st *state) error {
	for i, name := range d.params {
		at := st.frame.at(d.slots[i])
		if *at != nil {
			continue
		}
		k := i - len(d.params) + len(d.defaults)
		if k < 0 {
			*at = &Undefined{hint: "parameter " + quote(name) + " was not provided", name: name}
			continue
		}
		v, err := st.eval(d.defaults[k])
		if err != nil {
			return err
		}
		*at = v
	}
	return nil
}

func (m *macro) attr(name string) Value {
	d := m.decl
	switch name {
	case "name":
		if d.name == "" {
			return None
		}
		return d.name
	case "arguments":
		t := &Tuple{}
		for _, p := range d.params {
			t.items = append(t.items, p)
		}
		return t
	case "catch_kwargs":
		return d.usesKwargs
	case "catch_varargs":
		return d.usesVarargs
	case "caller":
		return d.usesCaller
	}
	return nil
}
