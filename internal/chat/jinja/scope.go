package jinja

import "sort"

// Jinja decides which variable a name means before it renders: it compiles a
// template to Python functions whose local variables are the template's, and
// works out for each block which names the block sets, which it only reads,
// and where they come from. Its rules are visible: a name that is set
// anywhere in a block (even later, even if the branch is not taken) belongs
// to that block in loops and macros inside of it. So we follow the same
// scheme: each name becomes a slot of a function's frame.

// slot is a variable: the frame of the function hops levels out, the
// place in it.
type slot struct{ hops, idx int }

// function is a body with a frame of its own: the template, a macro, the
// caller's block, a recursive loop, a loop's condition.
type function struct{ slots int }

// scope is a block that has variables of its own in a function's frame.
type scope struct {
	enter []load
	leave []int // slots that lose their values at the end
}

// load gives a variable its value on entering its scope: that of a variable
// further out (from), that of a name the rendering was given (name), or none.
type load struct {
	idx  int
	kind loadKind
	name string
	from slot
}

type loadKind int

const (
	loadNothing loadKind = iota
	loadName
	loadOuter
	loadParam // set by who enters the scope
)

// fnScope is a function while it is analysed.
type fnScope struct {
	parent *fnScope
	slots  map[slotKey]*variable
	loops  int // open loops at the place that is analysed
}

// slotKey: blocks of one level that follow each other share their slots, as
// they share Python's local variables.
type slotKey struct {
	level int
	name  string
}

type variable struct {
	fn  *fnScope
	idx int
}

func newFunction(parent *fnScope) *fnScope {
	return &fnScope{parent: parent, slots: map[slotKey]*variable{}}
}

func (f *fnScope) function() function { return function{len(f.slots)} }

// slotOf addresses a variable from inside f.
func (f *fnScope) slotOf(v *variable) slot {
	hops := 0
	for ; f != v.fn; f = f.parent {
		hops++
	}
	return slot{hops, v.idx}
}

// symbols is a block while it is analysed.
type symbols struct {
	parent *symbols
	level  int
	fn     *fnScope
	refs   map[string]*variable
	loads  map[*variable]symLoad
	stores map[string]bool
}

type symLoad struct {
	kind  loadKind
	name  string
	outer *variable
}

func newSymbols(parent *symbols, fn *fnScope) *symbols {
	s := &symbols{parent: parent, fn: fn, refs: map[string]*variable{},
		loads: map[*variable]symLoad{}, stores: map[string]bool{}}
	if parent != nil {
		s.level = parent.level + 1
	}
	return s
}

func (s *symbols) find(name string) *variable {
	for ; s != nil; s = s.parent {
		if v := s.refs[name]; v != nil {
			return v
		}
	}
	return nil
}

func (s *symbols) define(name string, how symLoad) *variable {
	key := slotKey{s.level, name}
	v := s.fn.slots[key]
	if v == nil {
		v = &variable{s.fn, len(s.fn.slots)}
		s.fn.slots[key] = v
	}
	s.refs[name] = v
	s.loads[v] = how
	return v
}

func (s *symbols) param(name string) *variable {
	s.stores[name] = true
	return s.define(name, symLoad{kind: loadParam})
}

// read notes that the block reads a name.
func (s *symbols) read(name string) {
	if s.find(name) == nil {
		s.define(name, symLoad{kind: loadName, name: name})
	}
}

// store notes that the block sets a name.
func (s *symbols) store(name string) {
	s.stores[name] = true
	if s.refs[name] != nil {
		return
	}
	if outer := s.parent.find(name); outer != nil {
		s.define(name, symLoad{kind: loadOuter, outer: outer})
		return
	}
	s.define(name, symLoad{kind: loadNothing})
}

func (s *symbols) fork() *symbols {
	c := newSymbols(s.parent, s.fn)
	c.level = s.level
	c.merge(s)
	return c
}

func (s *symbols) merge(o *symbols) {
	for k, v := range o.refs {
		s.refs[k] = v
	}
	for k, v := range o.loads {
		s.loads[k] = v
	}
	for k := range o.stores {
		s.stores[k] = true
	}
}

// join takes in the branches of an if. A name that a branch sets may still
// have its value from further out afterwards.
func (s *symbols) join(branches []*symbols) {
	var set []string
	for _, b := range branches {
		for name := range b.stores {
			if !s.stores[name] {
				set = append(set, name)
			}
		}
	}
	for _, b := range branches {
		s.merge(b)
	}
	for _, name := range set {
		v := s.find(name)
		if outer := s.parent.find(name); outer != nil {
			s.loads[v] = symLoad{kind: loadOuter, outer: outer}
			continue
		}
		s.loads[v] = symLoad{kind: loadName, name: name}
	}
}

// scope lists what is to be done on entering and leaving the block.
func (s *symbols) scope() scope {
	var sc scope
	for v, l := range s.loads {
		sc.leave = append(sc.leave, v.idx)
		if l.kind == loadParam {
			continue
		}
		out := load{idx: v.idx, kind: l.kind, name: l.name}
		if l.outer != nil {
			out.from = s.fn.slotOf(l.outer)
		}
		sc.enter = append(sc.enter, out)
	}
	sort.Ints(sc.leave)
	sort.Slice(sc.enter, func(i, j int) bool { return sc.enter[i].idx < sc.enter[j].idx })
	return sc
}

func (s *symbols) slot(name string) slot {
	if s.find(name) == nil { // names that only a filter's arguments mention
		s.read(name)
	}
	return s.fn.slotOf(s.find(name))
}

// The first pass over a block: which names it reads and sets, in order. It
// stops at blocks inside that have variables of their own.

func (s *symbols) readBody(body []stmt) {
	for _, st := range body {
		s.readStmt(st)
	}
}

func (s *symbols) readStmt(st stmt) {
	switch st := st.(type) {
	case *outputStmt:
		for _, part := range st.parts {
			s.readExpr(part.x)
		}
	case *setStmt:
		s.readExpr(st.value)
		s.readTarget(st.target)
	case *setBlockStmt:
		s.readTarget(st.target)
	case *ifStmt:
		s.readIf(st.branches, st.els)
	case *forStmt:
		s.readExpr(st.iter)
	case *withStmt:
		s.readExprs(st.values)
	case *macroStmt:
		s.store(st.decl.name)
	case *callBlockStmt:
		s.readExpr(st.call)
	case *filterBlockStmt:
		s.readExpr(st.filter)
	}
}

// readIf: an elif is an if inside of the first one's third branch.
func (s *symbols) readIf(branches []branch, els []stmt) {
	s.readExpr(branches[0].test)
	body, elifs, last := s.fork(), s.fork(), s.fork()
	body.readBody(branches[0].body)
	for _, b := range branches[1:] {
		elifs.readIf([]branch{b}, nil)
	}
	last.readBody(els)
	s.join([]*symbols{body, elifs, last})
}

func (s *symbols) readTarget(x expr) {
	switch x := x.(type) {
	case *nameExpr:
		s.store(x.name)
	case *nsExpr:
		s.read(x.name)
	case *tupleExpr:
		for _, item := range x.items {
			s.readTarget(item)
		}
	}
}

func (s *symbols) params(x expr) {
	switch x := x.(type) {
	case *nameExpr:
		s.param(x.name)
	case *tupleExpr:
		for _, item := range x.items {
			s.params(item)
		}
	}
}

func (s *symbols) readExpr(x expr) {
	if name, ok := x.(*nameExpr); ok {
		s.read(name.name)
		return
	}
	children(x, s.readExpr)
}

func (s *symbols) readExprs(xs []expr) {
	for _, x := range xs {
		s.readExpr(x)
	}
}

// children calls visit for the expressions directly inside of x.
func children(x expr, visit func(expr)) {
	all := func(xs ...expr) {
		for _, x := range xs {
			if x != nil {
				visit(x)
			}
		}
	}
	list := func(a *argList) {
		all(a.pos...)
		all(a.vals...)
		all(a.dynPos, a.dynNamed)
	}
	switch x := x.(type) {
	case *listExpr:
		all(x.items...)
	case *tupleExpr:
		all(x.items...)
	case *dictExpr:
		all(x.keys...)
		all(x.vals...)
	case *unaryExpr:
		all(x.x)
	case *binaryExpr:
		all(x.l, x.r)
	case *concatExpr:
		all(x.parts...)
	case *logicExpr:
		all(x.l, x.r)
	case *compareExpr:
		all(x.first)
		for _, c := range x.rest {
			all(c.x)
		}
	case *condExpr:
		all(x.test, x.a, x.b)
	case *attrExpr:
		all(x.obj)
	case *itemExpr:
		all(x.obj, x.key)
	case *sliceExpr:
		all(x.obj, x.start, x.stop, x.step)
	case *callExpr:
		all(x.fn)
		list(&x.args)
	case *filterExpr:
		all(x.x)
		list(&x.args)
	case *testExpr:
		all(x.x)
		list(&x.args)
	}
}
