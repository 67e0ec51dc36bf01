package jinja

// dictMethods, listMethods and tupleMethods (ranges have those too) leave their object as it is;
// those that would change it are withheld (attr.go).
var dictMethods = map[string]methodFunc{
	"keys":     view("keys", keysView),
	"values":   view("values", valuesView),
	"items":    view("items", itemsView),
	"get":      dictGet,
	"copy":     dictCopy,
	"fromkeys": dictFromKeys,
}

var listMethods = map[string]methodFunc{
	"index": seqIndex,
	"count": seqCount,
	"copy":  listCopy,
}

var tupleMethods = map[string]methodFunc{
	"index": seqIndex,
	"count": seqCount,
}

func view(name string, kind viewKind) methodFunc {
	return func(_ *state, self Value, a *args) (Value, error) {
		if err := a.positional("dict."+name, 0, 0); err != nil {
			return nil, err
		}
		return &dictView{self.(*Dict), kind}, nil
	}
}

func dictGet(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("get", 1, 2); err != nil {
		return nil, err
	}
	v, ok, err := st.lookup(self.(*Dict), a.pos[0])
	switch {
	case ok || err != nil:
		return v, err
	case len(a.pos) == 2:
		return a.pos[1], nil
	}
	return None, nil
}

func dictCopy(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("dict.copy", 0, 0); err != nil {
		return nil, err
	}
	return st.copyDict(self.(*Dict))
}

func dictFromKeys(st *state, _ Value, a *args) (Value, error) {
	if err := a.positional("fromkeys", 1, 2); err != nil {
		return nil, err
	}
	keys, err := st.list(a.pos[0])
	if err != nil {
		return nil, err
	}
	v := None
	if len(a.pos) == 2 {
		v = a.pos[1]
	}
	d := NewDict()
	for _, k := range keys {
		if err := st.setItem(d, k, v); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func listCopy(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("list.copy", 0, 0); err != nil {
		return nil, err
	}
	return st.newList(self.(*List).items)
}

func seqIndex(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("index", 1, 3); err != nil {
		return nil, err
	}
	vs, err := st.list(self)
	if err != nil {
		return nil, err
	}
	start, end := 0, len(vs)
	if len(a.pos) > 1 {
		if start, err = intOr(a.pos[1], 0); err != nil {
			return nil, err
		}
	}
	if len(a.pos) > 2 {
		if end, err = intOr(a.pos[2], end); err != nil {
			return nil, err
		}
	}
	if start < 0 {
		start = max(0, start+len(vs))
	}
	if end < 0 {
		end += len(vs)
	}
	for i := start; i < min(end, len(vs)); i++ {
		if eq, err := st.equal(vs[i], a.pos[0]); eq || err != nil {
			return int64(i), err
		}
	}
	if _, ok := self.(*Tuple); ok {
		return nil, valueError("tuple.index(x): x not in tuple")
	}
	in := "list"
	if _, ok := self.(*Range); ok {
		in = "range"
	}
	shown, err := st.repr(a.pos[0])
	if err != nil {
		return nil, err
	}
	return nil, valueError("%s is not in %s", shown, in)
}

func seqCount(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("count", 1, 1); err != nil {
		return nil, err
	}
	vs, err := st.list(self)
	if err != nil {
		return nil, err
	}
	n := int64(0)
	for _, v := range vs {
		eq, err := st.equal(v, a.pos[0])
		if err != nil {
			return nil, err
		}
		if eq {
			n++
		}
	}
	return n, nil
}
