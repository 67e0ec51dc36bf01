package jinja

// loopContext is the variable "loop", and the iterator behind the loop.
type loopContext struct {
	source  Value // what is iterated, for its length
	it      iterator
	n       int // the length once it is known, else -1
	index0  int
	current Value
	before  Value
	after   Value // the next item, if it was peeked at
	last    Value // what changed() saw
	depth0  int
	recurse *forStmt // of a recursive loop
	outer   *frame   // the frame the loop stands in
}

func (l *loopContext) next(st *state) (Value, bool, error) {
	v := l.after
	l.after = nil
	if v == nil {
		var ok bool
		var err error
		if v, ok, err = l.it.next(st); !ok || err != nil {
			return nil, false, err
		}
	}
	l.index0++
	l.before, l.current = l.current, v
	return v, true, nil
}

// peek returns the next item, nil if there is none.
func (l *loopContext) peek(st *state) (Value, error) {
	if l.after == nil {
		v, ok, err := l.it.next(st)
		if !ok || err != nil {
			return nil, err
		}
		l.after = v
	}
	return l.after, nil
}

func (l *loopContext) length(st *state) (int, error) {
	if l.n >= 0 {
		return l.n, nil
	}
	if _, isLoop := l.source.(*loopContext); l.source != nil && !isLoop {
		n, err := st.length(l.source)
		if err == nil || !isFault(err, "TypeError") {
			l.n = n
			return n, err
		}
	}
	var rest []Value
	for {
		v, ok, err := l.it.next(st)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		if err := st.alloc(2 * bytesPerValue); err != nil {
			return 0, err
		}
		rest = append(rest, v)
	}
	l.it = &items{rest}
	l.n = len(rest) + l.index0 + 1
	if l.after != nil {
		l.n++
	}
	return l.n, nil
}

func (l *loopContext) attr(st *state, name string) (Value, error) {
	n := 0
	var err error
	if name == "length" || name == "revindex" || name == "revindex0" {
		if n, err = l.length(st); err != nil {
			return nil, err
		}
	}
	switch name {
	case "index0":
		return int64(l.index0), nil
	case "index":
		return int64(l.index0 + 1), nil
	case "length":
		return int64(n), nil
	case "revindex0":
		return int64(n - l.index0 - 1), nil
	case "revindex":
		return int64(n - l.index0), nil
	case "first":
		return l.index0 == 0, nil
	case "last":
		v, err := l.peek(st)
		return v == nil, err
	case "nextitem":
		v, err := l.peek(st)
		if v == nil {
			v = undefinedHint("there is no next item")
		}
		return v, err
	case "previtem":
		if l.index0 == 0 {
			return undefinedHint("there is no previous item"), nil
		}
		return l.before, nil
	case "depth0":
		return int64(l.depth0), nil
	case "depth":
		return int64(l.depth0 + 1), nil
	case "cycle":
		return &Func{name: "cycle", kind: "method", call: l.cycle}, nil
	case "changed":
		return &Func{name: "changed", kind: "method", call: l.changed}, nil
	}
	return nil, nil
}

func (l *loopContext) cycle(_ *state, a *args) (Value, error) {
	if len(a.pos) == 0 {
		return nil, typeError("no items for cycling given")
	}
	return a.pos[l.index0%len(a.pos)], nil
}

func (l *loopContext) changed(st *state, a *args) (Value, error) {
	now := &Tuple{items: a.pos}
	if l.last != nil {
		if eq, err := st.equal(l.last, now); eq || err != nil {
			return false, err
		}
	}
	l.last = now
	return true, nil
}

// call renders a recursive loop's body for another iterable.
func (l *loopContext) call(st *state, a *args) (Value, error) {
	if l.recurse == nil {
		return nil, typeError("The loop must have the 'recursive' marker to be called recursively.")
	}
	vs, err := a.bind("__call__", 1, "iterable")
	if err != nil {
		return nil, err
	}
	return l.recurse.recursively(st, vs[0], l.outer, l.depth0+1)
}

func (s *forStmt) exec(st *state) (control, error) {
	v, err := st.eval(s.iter)
	if err != nil {
		return goOn, at(s.line, err)
	}
	if s.recursive {
		text, err := s.recursively(st, v, st.frame, 0)
		if err == nil {
			err = st.write(text)
		}
		return goOn, at(s.line, err)
	}
	return s.loopOver(st, v, 0, st.frame)
}

// recursively runs the loop as a function of its own.
func (s *forStmt) recursively(st *state, v Value, outer *frame, depth int) (string, error) {
	if err := st.enter(); err != nil {
		return "", err
	}
	defer st.leave()
	callers, out := st.frame, st.out
	defer func() { st.frame, st.out = callers, out }()
	st.frame = &frame{slots: make([]Value, s.loopFunc.slots), outer: outer}
	st.out = &output{}
	_, err := s.loopOver(st, v, depth, outer)
	return st.out.b.String(), err
}

// loopOver runs the loop in the current frame.
func (s *forStmt) loopOver(st *state, v Value, depth int, outer *frame) (control, error) {
	it, err := st.iterate(v)
	if err != nil {
		return goOn, at(s.line, err)
	}
	if s.test != nil {
		it = s.filtered(it, outer)
		v = nil
	}
	if s.usesLoop {
		loop := &loopContext{source: v, it: it, n: -1, index0: -1, depth0: depth, outer: outer}
		if s.recursive {
			loop.recurse = s
		}
		it = loop
	}
	none, err := s.iterations(st, it)
	if err != nil {
		return goOn, at(s.line, err)
	}
	if none {
		st.enterScope(&s.elseScope)
		defer st.leaveScope(&s.elseScope)
		return st.run(s.els)
	}
	return goOn, nil
}

// iterations runs the body for each item. It reports whether no run of the
// body reached its end, which is when Jinja takes the else branch.
func (s *forStmt) iterations(st *state, it iterator) (none bool, err error) {
	none = true
	defer st.leaveScope(&s.scope)
	for {
		if err := st.tick(1); err != nil {
			return false, err
		}
		v, ok, err := it.next(st)
		if !ok || err != nil {
			return none, err
		}
		if name, ok := s.target.(*nameExpr); ok {
			*st.frame.at(name.slot) = v
		} else if err := st.assign(s.target, v); err != nil {
			return false, err
		}
		if s.usesLoop {
			*st.frame.at(s.loop) = it.(*loopContext)
		}
		st.enterScope(&s.scope)
		goes, err := st.run(s.body)
		if err != nil {
			return false, err
		}
		switch goes {
		case breakLoop:
			return none, nil
		case goOn:
			none = false
		}
	}
}

// filtered lets through the items for which the loop's condition holds.
func (s *forStmt) filtered(it iterator, outer *frame) iterator {
	own := &frame{slots: make([]Value, s.testFunc.slots), outer: outer}
	entered := false
	return lazyIter{&lazy{kind: "generator", next: func(st *state) (Value, bool, error) {
		callers := st.frame
		st.frame = own
		defer func() { st.frame = callers }()
		if !entered {
			st.enterScope(&s.testScope)
			entered = true
		}
		for {
			if err := st.tick(1); err != nil {
				return nil, false, err
			}
			v, ok, err := it.next(st)
			if !ok || err != nil {
				return nil, false, err
			}
			if err := st.assign(s.testTarget, v); err != nil {
				return nil, false, err
			}
			keep, err := st.evalTruth(s.test)
			if err != nil {
				return nil, false, err
			}
			if keep {
				return v, true, nil
			}
		}
	}}}
}
