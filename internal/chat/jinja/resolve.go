package jinja

// resolver makes the second pass: it gives every name its slot, every block
// its scope, and refuses what Jinja's compiler refuses. It panics with a
// parseFault to unwind.
type resolver struct {
	forLoops int // loops around the place that is resolved, across functions
}

// resolve completes a parsed template, and returns its frame and scope.
func resolve(body []stmt) (fn function, sc scope, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case parseFault:
			err = r.err
		default:
			panic(r)
		}
	}()
	root := newSymbols(nil, newFunction(nil))
	root.readBody(body)
	new(resolver).body(body, root, false)
	return root.fn.function(), root.scope(), nil
}

func (r *resolver) fail(line int, format string, args ...any) {
	panic(parseFault{syntaxError(line, format, args...)})
}

// body resolves statements. lazily is true where Jinja reports unknown
// filters and tests only when they are reached: directly inside an if.
func (r *resolver) body(body []stmt, s *symbols, lazily bool) {
	for _, st := range body {
		r.stmt(st, s, lazily)
	}
}

func (r *resolver) stmt(st stmt, s *symbols, lazily bool) {
	switch st := st.(type) {
	case *outputStmt:
		for _, part := range st.parts {
			r.expr(part.x, s, lazily)
		}
	case *setStmt:
		r.expr(st.value, s, lazily)
		r.target(st.target, s)
	case *setBlockStmt:
		r.target(st.target, s)
		inner := newSymbols(s, s.fn)
		inner.readBody(st.body)
		r.body(st.body, inner, false)
		r.expr(asExpr(st.filter), inner, false)
		st.scope = inner.scope()
	case *ifStmt:
		for _, b := range st.branches {
			r.expr(b.test, s, true)
			r.body(b.body, s, true)
		}
		r.body(st.els, s, true)
	case *forStmt:
		r.forStmt(st, s, lazily)
	case *withStmt:
		r.exprs(st.values, s, lazily)
		inner := newSymbols(s, s.fn)
		for _, t := range st.targets {
			inner.params(t)
		}
		inner.readBody(st.body)
		for _, t := range st.targets {
			r.target(t, inner)
		}
		r.body(st.body, inner, false)
		st.scope = inner.scope()
	case *macroStmt:
		r.macro(st.decl, s)
		st.slot = s.slot(st.decl.name)
	case *callBlockStmt:
		r.macro(st.decl, s)
		r.expr(st.call, s, lazily)
	case *generationStmt:
		r.macro(st.decl, s)
	case *filterBlockStmt:
		inner := newSymbols(s, s.fn)
		inner.readBody(st.body)
		inner.readExpr(st.filter)
		r.body(st.body, inner, false)
		r.expr(st.filter, inner, false)
		st.scope = inner.scope()
	case *loopControlStmt:
		if s.fn.loops == 0 {
			r.fail(st.line, "'%s' outside loop", map[control]string{breakLoop: "break", continueLoop: "continue"}[st.goes])
		}
	}
}

func (r *resolver) forStmt(st *forStmt, s *symbols, lazily bool) {
	r.expr(st.iter, s, lazily)
	fn := s.fn
	if st.recursive {
		fn = newFunction(s.fn)
	}
	body, els := newSymbols(s, fn), newSymbols(s, fn)
	st.usesLoop = st.recursive || mentions(st.body, "loop")
	r.forLoops++
	if st.usesLoop {
		st.loop = fn.slotOf(body.param("loop"))
	}
	body.params(st.target)
	body.readBody(st.body)
	els.readBody(st.els)
	if st.test != nil {
		r.loopTest(st, s)
	}
	r.target(st.target, body)
	fn.loops++
	r.body(st.body, body, false)
	fn.loops--
	r.body(st.els, els, false)
	r.forLoops--
	st.scope, st.elseScope = body.scope(), els.scope()
	if st.recursive {
		st.loopFunc = fn.function()
	}
}

// loopTest resolves a loop's condition: a function of its own, which
// takes the items before the loop does.
func (r *resolver) loopTest(st *forStmt, s *symbols) {
	test := newSymbols(s, newFunction(s.fn))
	test.params(st.target)
	test.readExpr(st.test)
	st.testTarget = cloneTarget(st.target)
	r.target(st.testTarget, test)
	r.expr(st.test, test, false)
	st.testScope, st.testFunc = test.scope(), test.fn.function()
}

func cloneTarget(x expr) expr {
	switch x := x.(type) {
	case *nameExpr:
		c := *x
		return &c
	case *tupleExpr:
		c := &tupleExpr{make([]expr, len(x.items))}
		for i, item := range x.items {
			c.items[i] = cloneTarget(item)
		}
		return c
	}
	return x
}

func (r *resolver) macro(d *macroDecl, s *symbols) {
	inner := newSymbols(s, newFunction(s.fn))
	for _, name := range d.params {
		inner.param(name)
	}
	inner.readExprs(d.defaults)
	inner.readBody(d.body)
	d.slots = make([]slot, len(d.params))
	for i, name := range d.params {
		d.slots[i] = inner.slot(name)
	}
	d.usesCaller, d.caller = r.special(d, inner, "caller")
	d.usesKwargs, d.kwargs = r.special(d, inner, "kwargs")
	d.usesVarargs, d.varargs = r.special(d, inner, "varargs")
	r.exprs(d.defaults, inner, false)
	r.body(d.body, inner, false)
	d.scope, d.fn = inner.scope(), inner.fn.function()
}

// special declares one of the parameters a macro has only if its body
// mentions them, unless it stands among the parameters anyway.
func (r *resolver) special(d *macroDecl, s *symbols, name string) (used bool, at slot) {
	if !mentions(d.body, name) {
		return false, slot{}
	}
	for i, p := range d.params {
		if p != name {
			continue
		}
		if name == "caller" && i < len(d.params)-len(d.defaults) {
			r.fail(d.line, "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default.")
		}
		return false, slot{}
	}
	return true, s.fn.slotOf(s.param(name))
}

func (r *resolver) target(x expr, s *symbols) {
	switch x := x.(type) {
	case *nameExpr:
		if r.forLoops > 0 && x.name == "loop" {
			r.fail(x.line, "Can't assign to special loop variable in for-loop target")
		}
		x.slot = s.slot(x.name)
	case *nsExpr:
		x.slot = s.slot(x.name)
	case *tupleExpr:
		for _, item := range x.items {
			r.target(item, s)
		}
	}
}

func (r *resolver) exprs(xs []expr, s *symbols, lazily bool) {
	for _, x := range xs {
		r.expr(x, s, lazily)
	}
}

func (r *resolver) expr(x expr, s *symbols, lazily bool) {
	switch x := x.(type) {
	case *nameExpr:
		x.slot = s.slot(x.name)
	case *condExpr:
		lazily = true
	case *filterExpr:
		if x.fn == nil && !lazily {
			r.fail(x.line, "No filter named %s.", quote(x.name))
		}
	case *testExpr:
		if x.fn == nil && !lazily {
			r.fail(x.line, "No test named %s.", quote(x.name))
		}
	}
	children(x, func(c expr) { r.expr(c, s, lazily) })
}

// mentions reports whether a body reads a name before it sets it, at any depth.
func mentions(body []stmt, name string) bool {
	m := &mention{name: name}
	m.body(body)
	return m.found
}

type mention struct {
	name        string
	found, over bool
}

func (m *mention) set(name string) {
	if name == m.name && !m.found {
		m.over = true
	}
}

func (m *mention) expr(x expr) {
	if m.found || m.over {
		return
	}
	if n, ok := x.(*nameExpr); ok && n.name == m.name {
		m.found = true
		return
	}
	children(x, m.expr)
}

func (m *mention) target(x expr) {
	switch x := x.(type) {
	case *nameExpr:
		m.set(x.name)
	case *tupleExpr:
		for _, item := range x.items {
			m.target(item)
		}
	}
}

func (m *mention) macro(d *macroDecl) {
	for _, p := range d.params {
		m.set(p)
	}
	for _, x := range d.defaults {
		m.expr(x)
	}
	m.body(d.body)
}

func (m *mention) body(body []stmt) {
	for _, st := range body {
		if m.found || m.over {
			return
		}
		m.stmt(st)
	}
}

func (m *mention) stmt(st stmt) {
	switch st := st.(type) {
	case *outputStmt:
		for _, part := range st.parts {
			m.expr(part.x)
		}
	case *setStmt:
		m.target(st.target)
		m.expr(st.value)
	case *setBlockStmt:
		m.target(st.target)
		m.expr(asExpr(st.filter))
		m.body(st.body)
	case *ifStmt:
		for _, b := range st.branches {
			m.expr(b.test)
			m.body(b.body)
		}
		m.body(st.els)
	case *forStmt:
		m.target(st.target)
		m.expr(st.iter)
		m.body(st.body)
		m.body(st.els)
		m.expr(st.test)
	case *withStmt:
		for i, t := range st.targets {
			m.target(t)
			m.expr(st.values[i])
		}
		m.body(st.body)
	case *macroStmt:
		m.macro(st.decl)
	case *callBlockStmt:
		m.expr(st.call)
		m.macro(st.decl)
	case *generationStmt:
		m.macro(st.decl)
	case *filterBlockStmt:
		m.body(st.body)
		m.expr(st.filter)
	}
}
