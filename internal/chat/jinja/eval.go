package jinja

import "strings"

// eval computes an expression.
func (st *state) eval(x expr) (Value, error) {
	switch x := x.(type) {
	case *constExpr:
		return x.v, nil
	case *nameExpr:
		if v := *st.frame.at(x.slot); v != nil {
			return v, nil
		}
		return undefinedName(x.name), nil
	}
	if err := st.tick(1); err != nil {
		return nil, err
	}
	if st.evalDepth++; st.evalDepth > maxEvalDepth {
		return nil, limitError("maximum recursion depth exceeded: more than %d nested expressions", maxEvalDepth)
	}
	v, err := x.eval(st)
	st.evalDepth--
	return v, err
}

func (st *state) evalTruth(x expr) (bool, error) {
	v, err := st.eval(x)
	if err != nil {
		return false, err
	}
	return st.truth(v)
}

func (st *state) evalAll(xs []expr) ([]Value, error) {
	if err := st.alloc(product(len(xs), bytesPerValue)); err != nil {
		return nil, err
	}
	vs := make([]Value, len(xs))
	for i, x := range xs {
		v, err := st.eval(x)
		if err != nil {
			return nil, err
		}
		vs[i] = v
	}
	return vs, nil
}

func (x *constExpr) eval(*state) (Value, error)   { return x.v, nil }
func (x *nameExpr) eval(st *state) (Value, error) { return st.eval(x) }

// eval of a namespace's attribute does not happen: it is a target only.
func (x *nsExpr) eval(*state) (Value, error) { return undefinedName(x.name), nil }

func (x *listExpr) eval(st *state) (Value, error) {
	vs, err := st.evalAll(x.items)
	return &List{vs}, err
}

func (x *tupleExpr) eval(st *state) (Value, error) {
	vs, err := st.evalAll(x.items)
	return &Tuple{items: vs}, err
}

func (x *dictExpr) eval(st *state) (Value, error) {
	d := NewDict()
	for i := range x.keys {
		k, err := st.eval(x.keys[i])
		if err != nil {
			return nil, err
		}
		v, err := st.eval(x.vals[i])
		if err != nil {
			return nil, err
		}
		if err := st.setItem(d, k, v); err != nil {
			return nil, at(x.line, err)
		}
	}
	return d, nil
}

func (x *unaryExpr) eval(st *state) (Value, error) {
	v, err := st.eval(x.x)
	if err != nil {
		return nil, err
	}
	if x.op == "not" {
		yes, err := st.truth(v)
		return !yes, err
	}
	v, err = st.sign(x.op, v)
	return v, at(x.line, err)
}

func (x *binaryExpr) eval(st *state) (Value, error) {
	l, err := st.eval(x.l)
	if err != nil {
		return nil, err
	}
	r, err := st.eval(x.r)
	if err != nil {
		return nil, err
	}
	v, err := st.arithmetic(x.op, l, r)
	return v, at(x.line, err)
}

// eval joins the texts of the parts: ~ is plain, whatever is safe.
func (x *concatExpr) eval(st *state) (Value, error) {
	first, err := st.eval(x.parts[0])
	if err != nil {
		return nil, err
	}
	if t, ok := first.(*text); !ok || t.safe {
		if first, err = st.str(first); err != nil {
			return nil, err
		}
	}
	for _, part := range x.parts[1:] {
		v, err := st.eval(part)
		if err != nil {
			return nil, err
		}
		s, err := st.str(v)
		if err != nil {
			return nil, err
		}
		if first, err = st.concat(first, s); err != nil {
			return nil, err
		}
	}
	return first, nil
}

func (x *logicExpr) eval(st *state) (Value, error) {
	l, err := st.eval(x.l)
	if err != nil {
		return nil, err
	}
	yes, err := st.truth(l)
	if err != nil || yes == x.isOr {
		return l, err
	}
	return st.eval(x.r)
}

func (x *compareExpr) eval(st *state) (Value, error) {
	l, err := st.eval(x.first)
	if err != nil {
		return nil, err
	}
	for _, c := range x.rest {
		r, err := st.eval(c.x)
		if err != nil {
			return nil, err
		}
		yes, err := st.compare(c.op, l, r)
		if !yes || err != nil {
			return false, at(x.line, err)
		}
		l = r
	}
	return true, nil
}

func (st *state) compare(op string, l, r Value) (bool, error) {
	switch op {
	case "==":
		return st.equal(l, r)
	case "!=":
		eq, err := st.equal(l, r)
		return !eq, err
	case "in":
		return st.contains(r, l)
	case "not in":
		in, err := st.contains(r, l)
		return !in, err
	}
	c, ordered, err := st.order(l, r, op)
	if err != nil || !ordered {
		return false, err
	}
	switch op {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

func (x *condExpr) eval(st *state) (Value, error) {
	yes, err := st.evalTruth(x.test)
	switch {
	case err != nil:
		return nil, err
	case yes:
		return st.eval(x.a)
	case x.b != nil:
		return st.eval(x.b)
	}
	return undefinedHint("the inline if-expression on line " + scalarRepr(int64(x.line)) +
		" evaluated to false and no else section was defined."), nil
}

func (x *attrExpr) eval(st *state) (Value, error) {
	obj, err := st.eval(x.obj)
	if err != nil {
		return nil, err
	}
	v, err := st.getAttr(obj, x.name)
	return v, at(x.line, err)
}

func (x *itemExpr) eval(st *state) (Value, error) {
	obj, err := st.eval(x.obj)
	if err != nil {
		return nil, err
	}
	key, err := st.eval(x.key)
	if err != nil {
		return nil, err
	}
	v, err := st.getItem(obj, key)
	return v, at(x.line, err)
}

func (x *sliceExpr) eval(st *state) (Value, error) {
	obj, err := st.eval(x.obj)
	if err != nil {
		return nil, err
	}
	var bounds [3]Value
	for i, b := range []expr{x.start, x.stop, x.step} {
		bounds[i] = None
		if b != nil {
			if bounds[i], err = st.eval(b); err != nil {
				return nil, err
			}
		}
	}
	v, err := st.slice(obj, bounds)
	return v, at(x.line, err)
}

func (x *callExpr) eval(st *state) (Value, error) {
	v, err := x.call(st, nil)
	return v, at(x.line, err)
}

// call evaluates the call; a caller that is not nil is passed on to the macro.
func (x *callExpr) call(st *state, caller *macro) (Value, error) {
	if attr, ok := x.fn.(*attrExpr); ok && caller == nil {
		obj, err := st.eval(attr.obj)
		if err != nil {
			return nil, err
		}
		if m := st.methods.of(obj, attr.name); m != nil { // the usual case, without making a bound method
			a, err := st.evalArgs(&x.args)
			if err != nil {
				return nil, err
			}
			return m(st, obj, a)
		}
		fn, err := st.getAttr(obj, attr.name)
		if err != nil {
			return nil, at(attr.line, err)
		}
		return x.apply(st, fn, nil)
	}
	fn, err := st.eval(x.fn)
	if err != nil {
		return nil, err
	}
	return x.apply(st, fn, caller)
}

func (x *callExpr) apply(st *state, fn Value, caller *macro) (Value, error) {
	a, err := st.evalArgs(&x.args)
	if err != nil {
		return nil, err
	}
	if caller != nil {
		a.names = append(a.names, "caller")
		a.vals = append(a.vals, caller)
	}
	return st.call(fn, a)
}

// call is Python's fn(...).
func (st *state) call(fn Value, a *args) (Value, error) {
	switch fn := fn.(type) {
	case *macro:
		return stringOrErr(fn.call(st, a))
	case *method:
		return fn.fn(st, fn.self, a)
	case *Func:
		return fn.call(st, a)
	case *loopContext:
		return fn.call(st, a)
	case *joiner:
		return fn.call(), nil
	case *Undefined:
		return nil, fn.fail(st)
	}
	return nil, typeError("'%s' object is not callable", typeName(fn))
}

// stringOrErr keeps the value nil on an error.
func stringOrErr(s string, err error) (Value, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (x *filterExpr) eval(st *state) (Value, error) {
	v, err := st.eval(x.x)
	if err != nil {
		return nil, err
	}
	v, err = x.run(st, v)
	return v, at(x.line, err)
}

// apply runs a chain of filters whose innermost has a block's text as input.
func (x *filterExpr) apply(st *state, text string) (Value, error) {
	var v Value = text
	if inner, ok := x.x.(*filterExpr); ok {
		var err error
		if v, err = inner.apply(st, text); err != nil {
			return nil, err
		}
	}
	v, err := x.run(st, v)
	return v, at(x.line, err)
}

func (x *filterExpr) run(st *state, in Value) (Value, error) {
	if x.fn == nil {
		return nil, classError("TemplateRuntimeError", "No filter named %s found.", quote(x.name))
	}
	a, err := st.evalArgs(&x.args)
	if err != nil {
		return nil, err
	}
	return x.fn(st, in, a)
}

func (x *testExpr) eval(st *state) (Value, error) {
	v, err := st.eval(x.x)
	if err != nil {
		return nil, err
	}
	if x.fn == nil {
		return nil, at(x.line, classError("TemplateRuntimeError", "No test named %s found.", quote(x.name)))
	}
	a, err := st.evalArgs(&x.args)
	if err != nil {
		return nil, err
	}
	yes, err := x.fn(st, v, a)
	return yes, at(x.line, err)
}

// args are the values of a call's arguments.
type args struct {
	pos   []Value
	names []string
	vals  []Value
}

func (st *state) evalArgs(l *argList) (*args, error) {
	if l.pos == nil && l.names == nil && l.dynPos == nil && l.dynNamed == nil {
		return &args{}, nil
	}
	a := &args{names: l.names[:len(l.names):len(l.names)]}
	var err error
	if a.pos, err = st.evalAll(l.pos); err != nil {
		return nil, err
	}
	if l.dynPos != nil {
		if err := st.spreadList(a, l.dynPos); err != nil {
			return nil, err
		}
	}
	if a.vals, err = st.evalAll(l.vals); err != nil {
		return nil, err
	}
	if l.dynNamed != nil {
		if err := st.spreadDict(a, l.dynNamed); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (st *state) spreadList(a *args, x expr) error {
	v, err := st.eval(x)
	if err != nil {
		return err
	}
	vs, err := st.list(v)
	if err != nil {
		if isFault(err, "TypeError") {
			return typeError("Value after * must be an iterable, not %s", typeName(v))
		}
		return err
	}
	if err := st.alloc(product(len(vs), bytesPerValue)); err != nil {
		return err
	}
	a.pos = append(a.pos, vs...)
	return nil
}

func (st *state) spreadDict(a *args, x expr) error {
	v, err := st.eval(x)
	if err != nil {
		return err
	}
	d, ok := v.(*Dict)
	if !ok {
		return typeError("argument after ** must be a mapping, not %s", typeName(v))
	}
	if err := st.alloc(product(len(d.keys), 2*bytesPerValue)); err != nil {
		return err
	}
	for i, k := range d.keys {
		name, ok := asString(k)
		if !ok {
			return typeError("keywords must be strings")
		}
		for _, other := range a.names {
			if other == name {
				return typeError("got multiple values for keyword argument %s", quote(name))
			}
		}
		a.names = append(a.names, name)
		a.vals = append(a.vals, d.vals[i])
		if err := st.tick(1 + len(a.names)/16); err != nil {
			return err
		}
	}
	return nil
}

// bind matches the arguments with parameters, of which the first required
// ones must be given. Those that are not given are nil.
func (a *args) bind(fn string, required int, params ...string) ([]Value, error) {
	if len(a.pos) > len(params) {
		return nil, typeError("%s() takes at most %d arguments (%d given)", fn, len(params), len(a.pos))
	}
	out := make([]Value, len(params))
	copy(out, a.pos)
	for i, name := range a.names {
		k := indexOf(params, name)
		switch {
		case k < 0:
			return nil, typeError("%s() got an unexpected keyword argument %s", fn, quote(name))
		case out[k] != nil:
			return nil, typeError("%s() got multiple values for argument %s", fn, quote(name))
		}
		out[k] = a.vals[i]
	}
	var missing []string
	for i := 0; i < required; i++ {
		if out[i] == nil {
			missing = append(missing, quote(params[i]))
		}
	}
	if missing != nil {
		return nil, typeError("%s() missing %d required argument(s): %s", fn, len(missing), strings.Join(missing, ", "))
	}
	return out, nil
}

// positional checks a call of a method that knows no parameter names.
func (a *args) positional(fn string, least, most int) error {
	if len(a.names) > 0 {
		return typeError("%s() takes no keyword arguments", fn)
	}
	n := len(a.pos)
	switch {
	case n < least && least == most, n > most && least == most:
		if most == 0 {
			return typeError("%s() takes no arguments (%d given)", fn, n)
		}
		if most == 1 {
			return typeError("%s() takes exactly one argument (%d given)", fn, n)
		}
		return typeError("%s expected %d arguments, got %d", fn, most, n)
	case n < least:
		return typeError("%s expected at least %d argument%s, got %d", fn, least, plural(least), n)
	case n > most:
		return typeError("%s expected at most %d argument%s, got %d", fn, most, plural(most), n)
	}
	return nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func indexOf(list []string, s string) int {
	for i, x := range list {
		if x == s {
			return i
		}
	}
	return -1
}
