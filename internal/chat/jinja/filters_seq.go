package jinja

import "strings"

// path is the attribute argument of many filters: names and indices, with
// dots between them.
type path []Value

func attrPath(v Value) path {
	if v == nil || v == None {
		return nil
	}
	s, ok := asString(v)
	if !ok {
		return path{v}
	}
	var p path
	for _, part := range strings.Split(s, ".") {
		if all(part, isDigit) {
			if n, ok := parseInt(part, 10); ok {
				p = append(p, n)
				continue
			}
		}
		p = append(p, part)
	}
	return p
}

// follow looks the path up; absent, if not nil, stands for what is undefined.
func (st *state) follow(p path, v, absent Value) (Value, error) {
	for _, part := range p {
		if err := st.tick(1); err != nil {
			return nil, err
		}
		var err error
		if v, err = st.getItem(v, part); err != nil {
			return nil, err
		}
		if _, ok := v.(*Undefined); ok && absent != nil && absent != None {
			v = absent
		}
	}
	return v, nil
}

// flag is an optional boolean argument.
func (st *state) flag(v Value) (bool, error) {
	if v == nil {
		return false, nil
	}
	return st.truth(v)
}

// fold makes strings small unless case matters.
func (st *state) fold(v Value, caseMatters bool) (Value, error) {
	s, ok := asString(v)
	if !ok || caseMatters {
		return v, nil
	}
	if err := st.mapping(s); err != nil {
		return nil, err
	}
	return lower(s), nil
}

func doList(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("list", 0); err != nil {
		return nil, err
	}
	if l, ok := in.(*List); ok {
		return st.newList(l.items)
	}
	vs, err := st.list(in)
	return &List{vs}, err
}

func doFirst(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("first", 0); err != nil {
		return nil, err
	}
	it, err := st.iterate(in)
	if err != nil {
		return nil, err
	}
	v, ok, err := it.next(st)
	if !ok && err == nil {
		v = undefinedHint("No first item, sequence was empty.")
	}
	return v, err
}

func doLast(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("last", 0); err != nil {
		return nil, err
	}
	vs, err := st.reversible(in)
	if err != nil {
		return nil, err
	}
	if len(vs) == 0 {
		return undefinedHint("No last item, sequence was empty."), nil
	}
	return vs[len(vs)-1], nil
}

// reversible lists what Python can walk backwards.
func (st *state) reversible(v Value) ([]Value, error) {
	switch v := v.(type) {
	case *lazy, *loopContext:
		return nil, typeError("'%s' object is not reversible", typeName(v))
	}
	vs, err := st.list(v)
	if isFault(err, "TypeError") {
		return nil, typeError("'%s' object is not reversible", typeName(v))
	}
	return vs, err
}

func doReverse(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("reverse", 0); err != nil {
		return nil, err
	}
	if s, ok := asString(in); ok {
		n, err := st.runes(s)
		if err != nil {
			return nil, err
		}
		out, err := st.pickRunes(s, n, n-1, -1, n)
		return like(in, out), err
	}
	kind := "list_reverseiterator"
	switch in.(type) {
	case *List, *Range:
	case *Dict, *dictView:
		kind = "dict_reversekeyiterator"
	case *Tuple, *Undefined:
		kind = "reversed"
	default:
		vs, err := st.list(in)
		if err != nil {
			if isFault(err, "TypeError") {
				err = filterError("argument must be iterable")
			}
			return nil, err
		}
		return reversed(st, vs)
	}
	vs, err := st.list(in)
	if err != nil {
		return nil, err
	}
	at := len(vs)
	return &lazy{kind: kind, next: func(*state) (Value, bool, error) {
		if at == 0 {
			return nil, false, nil
		}
		at--
		return vs[at], true, nil
	}}, nil
}

func reversed(st *state, vs []Value) (Value, error) {
	l, err := st.newList(vs)
	if err != nil {
		return nil, err
	}
	for i, j := 0, len(l.items)-1; i < j; i, j = i+1, j-1 {
		l.items[i], l.items[j] = l.items[j], l.items[i]
	}
	return l, nil
}

func doJoin(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("join", 0, "d", "attribute")
	if err != nil {
		return nil, err
	}
	sep := ""
	if vs[0] != nil {
		if sep, err = st.str(vs[0]); err != nil {
			return nil, err
		}
	}
	p := attrPath(vs[1])
	items, err := st.list(in)
	if err != nil {
		return nil, err
	}
	return st.join(sep, false, items, func(_ int, v Value) (string, error) {
		v, err := st.follow(p, v, nil)
		if err != nil {
			return "", err
		}
		return st.str(v)
	})
}

func doItems(_ *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("items", 0); err != nil {
		return nil, err
	}
	i := 0
	return &lazy{kind: "generator", next: func(*state) (Value, bool, error) {
		if _, ok := in.(*Undefined); ok {
			return nil, false, nil
		}
		d, ok := in.(*Dict)
		if !ok {
			return nil, false, typeError("Can only get item pairs from a mapping.")
		}
		if i >= len(d.keys) {
			return nil, false, nil
		}
		i++
		return (&dictView{d, itemsView}).at(i - 1), true, nil
	}}, nil
}

func doDictSort(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("dictsort", 0, "case_sensitive", "by", "reverse")
	if err != nil {
		return nil, err
	}
	byValue := 0
	if vs[1] != nil {
		switch by, _ := asString(vs[1]); by {
		case "key":
		case "value":
			byValue = 1
		default:
			return nil, filterError(`You can only sort by either "key" or "value"`)
		}
	}
	caseMatters, err := st.flag(vs[0])
	if err != nil {
		return nil, err
	}
	backwards, err := st.flag(vs[2])
	if err != nil {
		return nil, err
	}
	d, ok := in.(*Dict)
	if !ok {
		if u, isUndefined := in.(*Undefined); isUndefined {
			return nil, u.fail(st)
		}
		return nil, classError("AttributeError", "'%s' object has no attribute 'items'", typeName(in))
	}
	pairs, err := st.list(&dictView{d, itemsView})
	if err != nil {
		return nil, err
	}
	out, err := st.sorted(pairs, backwards, func(v Value) (Value, error) {
		return st.fold(v.(*Tuple).items[byValue], caseMatters)
	})
	return &List{out}, err
}

func doSort(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("sort", 0, "reverse", "case_sensitive", "attribute")
	if err != nil {
		return nil, err
	}
	backwards, err := st.flag(vs[0])
	if err != nil {
		return nil, err
	}
	caseMatters, err := st.flag(vs[1])
	if err != nil {
		return nil, err
	}
	var paths []path
	if s, ok := asString(vs[2]); ok {
		for _, part := range strings.Split(s, ",") {
			paths = append(paths, attrPath(part))
		}
	} else {
		paths = []path{attrPath(vs[2])}
	}
	items, err := st.list(in)
	if err != nil {
		return nil, err
	}
	out, err := st.sorted(items, backwards, func(v Value) (Value, error) {
		key := &List{make([]Value, len(paths))}
		for i, p := range paths {
			x, err := st.follow(p, v, nil)
			if err != nil {
				return nil, err
			}
			if key.items[i], err = st.fold(x, caseMatters); err != nil {
				return nil, err
			}
		}
		return key, st.alloc(product(len(paths), bytesPerValue))
	})
	return &List{out}, err
}

func doUnique(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("unique", 0, "case_sensitive", "attribute")
	if err != nil {
		return nil, err
	}
	caseMatters, err := st.flag(vs[0])
	if err != nil {
		return nil, err
	}
	p := attrPath(vs[1])
	seen := map[any]bool{}
	var it iterator
	return &lazy{kind: "generator", next: func(st *state) (Value, bool, error) {
		if it == nil {
			if it, err = st.iterate(in); err != nil {
				return nil, false, err
			}
		}
		for {
			v, ok, err := it.next(st)
			if !ok || err != nil {
				return nil, false, err
			}
			key, err := st.follow(p, v, nil)
			if err != nil {
				return nil, false, err
			}
			if key, err = st.fold(key, caseMatters); err != nil {
				return nil, false, err
			}
			hash, err := st.hashKey(key)
			if err != nil {
				return nil, false, err
			}
			if err := st.alloc(bytesPerEntry); err != nil {
				return nil, false, err
			}
			if !seen[hash] {
				seen[hash] = true
				return v, true, nil
			}
		}
	}}, nil
}

// extreme is max and min.
func extreme(name string, wanted int) filterFunc {
	op := map[int]string{1: ">", -1: "<"}[wanted]
	return func(st *state, in Value, a *args) (Value, error) {
		vs, err := a.bind(name, 0, "case_sensitive", "attribute")
		if err != nil {
			return nil, err
		}
		caseMatters, err := st.flag(vs[0])
		if err != nil {
			return nil, err
		}
		p := attrPath(vs[1])
		items, err := st.list(in)
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			return undefinedHint("No aggregated item, sequence was empty."), nil
		}
		var best, bestKey Value
		for _, v := range items {
			key, err := st.follow(p, v, nil)
			if err != nil {
				return nil, err
			}
			if key, err = st.fold(key, caseMatters); err != nil {
				return nil, err
			}
			if best == nil {
				best, bestKey = v, key
				continue
			}
			c, ordered, err := st.order(key, bestKey, op)
			if err != nil {
				return nil, err
			}
			if ordered && c == wanted {
				best, bestKey = v, key
			}
		}
		return best, nil
	}
}

func doSum(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("sum", 0, "attribute", "start")
	if err != nil {
		return nil, err
	}
	var total Value = int64(0)
	if vs[1] != nil {
		total = vs[1]
	}
	if _, ok := asString(total); ok {
		return nil, typeError("sum() can't sum strings [use ''.join(seq) instead]")
	}
	p := attrPath(vs[0])
	items, err := st.list(in)
	if err != nil {
		return nil, err
	}
	for _, v := range items {
		if v, err = st.follow(p, v, nil); err != nil {
			return nil, err
		}
		if total, err = st.arithmetic("+", total, v); err != nil {
			return nil, err
		}
	}
	return total, nil
}

// batches are the lists batch and slice give: lazily, as Jinja does.
func batches(next func(st *state) ([]Value, bool, error)) Value {
	return &lazy{kind: "generator", next: func(st *state) (Value, bool, error) {
		vs, ok, err := next(st)
		if !ok || err != nil {
			return nil, false, err
		}
		l, err := st.newList(vs)
		return l, err == nil, err
	}}
}

func doBatch(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("batch", 1, "linecount", "fill_with")
	if err != nil {
		return nil, err
	}
	size, isInt := asInt(vs[0])
	items, err := st.list(in)
	if err != nil {
		return nil, err
	}
	return batches(func(st *state) ([]Value, bool, error) {
		if len(items) == 0 {
			return nil, false, nil
		}
		n := len(items)
		if isInt && size > 0 && size < int64(n) {
			n = int(size)
		}
		out := items[:n:n]
		items = items[n:]
		if vs[1] != nil && vs[1] != None && isInt && size > int64(n) {
			if err := st.alloc(product(int(size), bytesPerValue)); err != nil {
				return nil, false, err
			}
			for int64(len(out)) < size {
				out = append(out, vs[1])
			}
		}
		return out, true, nil
	}), nil
}

func doSlice(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("slice", 1, "slices", "fill_with")
	if err != nil {
		return nil, err
	}
	count, err := intOr(vs[0], 0)
	if err != nil {
		return nil, err
	}
	if count == 0 {
		return nil, zeroDivision("integer division or modulo by zero")
	}
	items, err := st.list(in)
	if err != nil {
		return nil, err
	}
	i, at := 0, 0
	return batches(func(st *state) ([]Value, bool, error) {
		if i >= count {
			return nil, false, nil
		}
		n := len(items) / count
		long := i < len(items)%count
		if long {
			n++
		}
		out := items[at : at+n : at+n]
		at += n
		i++
		if vs[1] != nil && vs[1] != None && !long {
			out = append(out, vs[1])
		}
		return out, true, st.tick(1)
	}), nil
}

func doGroupBy(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("groupby", 1, "attribute", "default", "case_sensitive")
	if err != nil {
		return nil, err
	}
	caseMatters, err := st.flag(vs[2])
	if err != nil {
		return nil, err
	}
	p := attrPath(vs[0])
	key := func(v Value) (Value, error) {
		k, err := st.follow(p, v, vs[1])
		if err != nil {
			return nil, err
		}
		return st.fold(k, caseMatters)
	}
	items, err := st.list(in)
	if err != nil {
		return nil, err
	}
	if items, err = st.sorted(items, false, key); err != nil {
		return nil, err
	}
	out := &List{}
	var last Value
	for i, v := range items {
		k, err := key(v)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			eq, err := st.equal(k, last)
			if err != nil {
				return nil, err
			}
			if eq {
				group := out.items[len(out.items)-1].(*Tuple).items[1].(*List)
				group.items = append(group.items, v)
				continue
			}
		}
		last = k
		shown, err := st.follow(p, v, vs[1])
		if err != nil {
			return nil, err
		}
		if err := st.alloc(6 * bytesPerValue); err != nil {
			return nil, err
		}
		out.items = append(out.items, &Tuple{items: []Value{shown, &List{[]Value{v}}}, names: []string{"grouper", "list"}})
	}
	return out, nil
}
