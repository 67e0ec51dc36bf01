package jinja

// globals are the names every template has. lipsum is left out: it is random.
var globals = map[string]Value{
	"range":           &Func{name: "range", call: makeRange},
	"dict":            &Func{name: "dict", kind: "type", call: makeDict},
	"namespace":       &Func{name: "jinja2.utils.Namespace", kind: "type", call: makeNamespace},
	"cycler":          &Func{name: "jinja2.utils.Cycler", kind: "type", call: makeCycler},
	"joiner":          &Func{name: "jinja2.utils.Joiner", kind: "type", call: makeJoiner},
	"raise_exception": &Func{name: "raise_exception", call: raise},
	"strftime_now":    &Func{name: "strftime_now", call: strftimeNow},
	"lipsum": &Func{name: "lipsum", call: func(*state, *args) (Value, error) {
		return nil, typeError("lipsum() is not supported: a chat template must give the same text each time")
	}},
}

// maxRange is the longest range Jinja's sandbox makes.
const maxRange = 100_000

func makeRange(_ *state, a *args) (Value, error) {
	if err := a.positional("range", 1, 3); err != nil {
		return nil, err
	}
	var bounds [3]int64
	for i, v := range a.pos {
		n, ok := asInt(v)
		if !ok {
			return nil, typeError("'%s' object cannot be interpreted as an integer", typeName(v))
		}
		bounds[i] = n
	}
	r := &Range{bounds[0], bounds[1], 1}
	switch len(a.pos) {
	case 1:
		r = &Range{0, bounds[0], 1}
	case 3:
		if r.step = bounds[2]; r.step == 0 {
			return nil, valueError("range() arg 3 must not be zero")
		}
	}
	if n := r.len(); n > maxRange || n < 0 {
		return nil, classError("OverflowError", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", maxRange)
	}
	return r, nil
}

func makeDict(st *state, a *args) (Value, error) {
	d := NewDict()
	if len(a.pos) > 1 {
		return nil, typeError("dict expected at most 1 argument, got %d", len(a.pos))
	}
	if len(a.pos) == 1 {
		if err := st.fillDict(d, a.pos[0]); err != nil {
			return nil, err
		}
	}
	for i, name := range a.names {
		if err := st.setItem(d, name, a.vals[i]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// fillDict adds the entries of a dictionary or of a list of pairs.
func (st *state) fillDict(d *Dict, from Value) error {
	if src, ok := from.(*Dict); ok {
		for i, k := range src.keys {
			if err := st.setItem(d, k, src.vals[i]); err != nil {
				return err
			}
		}
		return nil
	}
	pairs, err := st.list(from)
	if err != nil {
		return err
	}
	for i, p := range pairs {
		kv, err := st.list(p)
		if err != nil {
			if isFault(err, "TypeError") {
				return typeError("cannot convert dictionary update sequence element #%d to a sequence", i)
			}
			return err
		}
		if len(kv) != 2 {
			return valueError("dictionary update sequence element #%d has length %d; 2 is required", i, len(kv))
		}
		if err := st.setItem(d, kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

func makeNamespace(st *state, a *args) (Value, error) {
	d, err := makeDict(st, a)
	if err != nil {
		return nil, err
	}
	return &Namespace{d.(*Dict)}, nil
}

// raise is raise_exception: the template refuses its input.
func raise(st *state, a *args) (Value, error) {
	vs, err := a.bind("raise_exception", 1, "message")
	if err != nil {
		return nil, err
	}
	msg, err := st.str(vs[0])
	if err != nil {
		return nil, err
	}
	return nil, &RaisedError{Message: msg}
}

// cycler gives its items in turn.
type cycler struct {
	items []Value
	pos   int
}

func makeCycler(_ *state, a *args) (Value, error) {
	if len(a.names) > 0 {
		return nil, typeError("Cycler.__init__() got an unexpected keyword argument %s", quote(a.names[0]))
	}
	if len(a.pos) == 0 {
		return nil, classError("RuntimeError", "at least one item has to be provided")
	}
	return &cycler{items: a.pos}, nil
}

func (c *cycler) attr(name string) Value {
	switch name {
	case "current":
		return c.items[c.pos]
	case "items":
		return &Tuple{items: c.items}
	case "pos":
		return int64(c.pos)
	case "next":
		return &Func{name: name, kind: "method", call: func(*state, *args) (Value, error) {
			v := c.items[c.pos]
			c.pos = (c.pos + 1) % len(c.items)
			return v, nil
		}}
	case "reset":
		return &Func{name: name, kind: "method", call: func(*state, *args) (Value, error) {
			c.pos = 0
			return None, nil
		}}
	}
	return nil
}

// joiner is empty the first time it is called.
type joiner struct {
	sep  Value
	used bool
}

func makeJoiner(_ *state, a *args) (Value, error) {
	vs, err := a.bind("joiner", 0, "sep")
	if err != nil {
		return nil, err
	}
	j := &joiner{sep: ", "}
	if vs[0] != nil {
		j.sep = vs[0]
	}
	return j, nil
}

func (j *joiner) call() Value {
	if !j.used {
		j.used = true
		return ""
	}
	return j.sep
}

func strftimeNow(st *state, a *args) (Value, error) {
	vs, err := a.bind("strftime_now", 1, "format")
	if err != nil {
		return nil, err
	}
	format, ok := asString(vs[0])
	if !ok {
		return nil, typeError("strftime() argument 1 must be str, not %s", typeName(vs[0]))
	}
	if err := st.alloc(len(format)); err != nil {
		return nil, err
	}
	out, err := strftime(format, st.now)
	if err != nil {
		return nil, err
	}
	return out, st.alloc(len(out))
}
