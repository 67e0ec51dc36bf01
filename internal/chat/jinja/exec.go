package jinja

// run executes statements up to the end, a break or a continue.
func (st *state) run(body []stmt) (control, error) {
	for _, s := range body {
		if err := st.tick(1); err != nil {
			return goOn, at(lineOf(s), err)
		}
		goes, err := s.exec(st)
		if goes != goOn || err != nil {
			return goes, err
		}
	}
	return goOn, nil
}

// lineOf is the line on which a statement stands.
func lineOf(s stmt) int {
	switch s := s.(type) {
	case *outputStmt:
		return s.parts[0].line
	case *setStmt:
		return s.line
	case *setBlockStmt:
		return s.line
	case *ifStmt:
		return s.line
	case *forStmt:
		return s.line
	case *withStmt:
		return s.line
	case *macroStmt:
		return s.line
	case *callBlockStmt:
		return s.line
	case *generationStmt:
		return s.line
	case *filterBlockStmt:
		return s.line
	case *loopControlStmt:
		return s.line
	}
	return 0
}

func (s *outputStmt) exec(st *state) (control, error) {
	for i := range s.parts {
		if err := st.print(&s.parts[i]); err != nil {
			return goOn, at(s.parts[i].line, err)
		}
	}
	return goOn, nil
}

func (st *state) print(part *outputPart) error {
	if part.x == nil {
		return st.write(part.text)
	}
	v, err := st.eval(part.x)
	if err != nil {
		return err
	}
	text, err := st.str(v)
	if err != nil {
		return err
	}
	return st.write(text)
}

func (s *setStmt) exec(st *state) (control, error) {
	if err := st.checkNamespaces(s.target); err != nil {
		return goOn, at(s.line, err)
	}
	v, err := st.eval(s.value)
	if err == nil {
		err = st.assign(s.target, v)
	}
	return goOn, at(s.line, err)
}

// checkNamespaces refuses attributes of what is no namespace, before the
// value is computed.
func (st *state) checkNamespaces(target expr) error {
	switch t := target.(type) {
	case *nsExpr:
		if _, ok := (*st.frame.at(t.slot)).(*Namespace); !ok {
			return classError("TemplateRuntimeError", "cannot assign attribute on non-namespace object")
		}
	case *tupleExpr:
		for _, item := range t.items {
			if err := st.checkNamespaces(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (st *state) assign(target expr, v Value) error {
	switch t := target.(type) {
	case *nameExpr:
		*st.frame.at(t.slot) = v
	case *nsExpr:
		ns, ok := (*st.frame.at(t.slot)).(*Namespace)
		if !ok {
			return classError("TemplateRuntimeError", "cannot assign attribute on non-namespace object")
		}
		return st.setItem(ns.attrs, t.attr, v)
	case *tupleExpr:
		vs, err := st.unpack(v, len(t.items))
		if err != nil {
			return err
		}
		for i, item := range t.items {
			if err := st.assign(item, vs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *setBlockStmt) exec(st *state) (control, error) {
	st.enterScope(&s.scope)
	defer st.leaveScope(&s.scope)
	text, goes, err := st.capture(s.body)
	if goes != goOn || err != nil { // a break leaves the text behind
		return goes, at(s.line, err)
	}
	var v Value = text
	if s.filter != nil {
		v, err = s.filter.apply(st, text)
	}
	if err == nil {
		if err = st.checkNamespaces(s.target); err == nil {
			err = st.assign(s.target, v)
		}
	}
	return goOn, at(s.line, err)
}

func (s *ifStmt) exec(st *state) (control, error) {
	for _, b := range s.branches {
		v, err := st.eval(b.test)
		if err != nil {
			return goOn, at(s.line, err)
		}
		yes, err := st.truth(v)
		if err != nil {
			return goOn, at(s.line, err)
		}
		if yes {
			return st.run(b.body)
		}
	}
	return st.run(s.els)
}

func (s *withStmt) exec(st *state) (control, error) {
	st.enterScope(&s.scope)
	defer st.leaveScope(&s.scope)
	for i, target := range s.targets {
		v, err := st.eval(s.values[i])
		if err == nil {
			err = st.assign(target, v)
		}
		if err != nil {
			return goOn, at(s.line, err)
		}
	}
	return st.run(s.body)
}

func (s *macroStmt) exec(st *state) (control, error) {
	*st.frame.at(s.slot) = &macro{decl: s.decl, outer: st.frame}
	return goOn, nil
}

func (s *callBlockStmt) exec(st *state) (control, error) {
	caller := &macro{decl: s.decl, outer: st.frame}
	v, err := s.call.call(st, caller)
	if err == nil {
		err = st.writeString(v)
	}
	return goOn, at(s.line, err)
}

// exec renders the block: the tag marks what the assistant wrote, for those
// who train on it; here it only makes a scope.
func (s *generationStmt) exec(st *state) (control, error) {
	text, err := (&macro{decl: s.decl, outer: st.frame}).call(st, &args{})
	if err == nil {
		err = st.write(text)
	}
	return goOn, at(s.line, err)
}

func (s *filterBlockStmt) exec(st *state) (control, error) {
	st.enterScope(&s.scope)
	defer st.leaveScope(&s.scope)
	text, goes, err := st.capture(s.body)
	if goes != goOn || err != nil { // a break leaves the text behind
		return goes, at(s.line, err)
	}
	v, err := s.filter.apply(st, text)
	if err == nil {
		err = st.writeString(v)
	}
	return goOn, at(s.line, err)
}

// writeString writes what a call or filter block gives, which must be a string.
func (st *state) writeString(v Value) error {
	s, ok := asString(v)
	if !ok {
		return typeError("sequence item 0: expected str instance, %s found", typeName(v))
	}
	return st.write(s)
}

func (s *loopControlStmt) exec(*state) (control, error) { return s.goes, nil }
