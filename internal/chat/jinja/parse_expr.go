package jinja

import "strings"

// Where a tuple without brackets may stand decides what ends it.
type tuplePlace int

const (
	tupleAnywhere tuplePlace = iota
	tupleInParens            // may be empty
	tupleInBlock             // of for and if: holds no conditional expressions
)

func (p *parser) expression() expr { return p.conditional() }

// tuple parses an expression, or several with commas between them.
func (p *parser) tuple(place tuplePlace) expr {
	one := p.expression
	if place == tupleInBlock {
		one = p.or
	}
	var items []expr
	isTuple := false
	for !p.endsTuple() {
		items = append(items, one())
		if p.cur.kind != "," {
			break
		}
		isTuple = true
		p.next()
	}
	switch {
	case isTuple:
		return &tupleExpr{items}
	case items != nil:
		return items[0]
	case place != tupleInParens:
		p.fail(p.cur.line, "Expected an expression, got %s", quote(p.cur.describe()))
	}
	return &tupleExpr{}
}

func (p *parser) endsTuple() bool {
	return p.cur.kind == tokVarEnd || p.cur.kind == tokBlockEnd || p.cur.kind == ")"
}

func (p *parser) conditional() expr {
	defer p.nest()()
	line := p.cur.line
	x := p.or()
	for n := 0; p.skipName("if"); p.link(&n) {
		c := &condExpr{line: line, a: x, test: p.or()}
		if p.skipName("else") {
			c.b = p.conditional()
		}
		x = c
		line = p.cur.line
	}
	return x
}

func (p *parser) or() expr {
	x := p.and()
	for n := 0; p.skipName("or"); p.link(&n) {
		x = &logicExpr{isOr: true, l: x, r: p.and()}
	}
	return x
}

func (p *parser) and() expr {
	x := p.not()
	for n := 0; p.skipName("and"); p.link(&n) {
		x = &logicExpr{isOr: false, l: x, r: p.not()}
	}
	return x
}

func (p *parser) not() expr {
	if !p.cur.isName("not") {
		return p.comparison()
	}
	defer p.nest()()
	line := p.next().line
	return &unaryExpr{line, "not", p.not()}
}

func (p *parser) comparison() expr {
	c := &compareExpr{line: p.cur.line, first: p.sum()}
	for n := 0; ; p.link(&n) {
		op := p.cur.kind
		switch {
		case op == "==" || op == "!=" || op == "<" || op == "<=" || op == ">" || op == ">=":
			p.next()
		case p.skipName("in"):
			op = "in"
		case p.cur.isName("not") && p.look().isName("in"):
			p.next()
			p.next()
			op = "not in"
		case c.rest == nil:
			return c.first
		default:
			return c
		}
		c.rest = append(c.rest, comparand{op, p.sum()})
	}
}

func (p *parser) sum() expr {
	x := p.concat()
	for n := 0; p.cur.kind == "+" || p.cur.kind == "-"; p.link(&n) {
		op := p.next()
		x = &binaryExpr{op.line, op.kind, x, p.concat()}
	}
	return x
}

func (p *parser) concat() expr {
	parts := []expr{p.product()}
	for p.skip("~") {
		parts = append(parts, p.product())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &concatExpr{parts}
}

func (p *parser) product() expr {
	x := p.power()
	for n := 0; p.cur.kind == "*" || p.cur.kind == "/" || p.cur.kind == "//" || p.cur.kind == "%"; p.link(&n) {
		op := p.next()
		x = &binaryExpr{op.line, op.kind, x, p.power()}
	}
	return x
}

// power is left-associative in Jinja, and a sign binds closer.
func (p *parser) power() expr {
	x := p.unary(true)
	for n := 0; p.cur.kind == "**"; p.link(&n) {
		op := p.next()
		x = &binaryExpr{op.line, op.kind, x, p.unary(true)}
	}
	return x
}

func (p *parser) unary(withFilters bool) expr {
	var x expr
	if p.cur.kind == "-" || p.cur.kind == "+" {
		defer p.nest()()
		op := p.next()
		x = &unaryExpr{op.line, op.kind, p.unary(false)}
	} else {
		x = p.primary()
	}
	n := 0
	x = p.postfix(x, &n)
	if withFilters {
		x = p.filters(x, &n)
	}
	return x
}

func (p *parser) primary() expr {
	t := p.cur
	switch t.kind {
	case tokName:
		p.next()
		return nameOrConst(t)
	case tokString:
		var b strings.Builder
		for p.cur.kind == tokString { // adjacent literals are one
			b.WriteString(p.next().text)
		}
		return &constExpr{b.String()}
	case tokInteger, tokFloat:
		p.next()
		return &constExpr{t.num}
	case "(":
		p.next()
		x := p.tuple(tupleInParens)
		p.expect(")")
		return x
	case "[":
		return p.list()
	case "{":
		return p.dict()
	}
	p.fail(t.line, "unexpected %s", quote(t.describe()))
	return nil
}

func nameOrConst(t token) expr {
	switch t.text {
	case "true", "True":
		return &constExpr{true}
	case "false", "False":
		return &constExpr{false}
	case "none", "None":
		return &constExpr{None}
	}
	return &nameExpr{line: t.line, name: t.text}
}

func (p *parser) list() expr {
	p.expect("[")
	l := &listExpr{}
	for p.cur.kind != "]" {
		if l.items != nil {
			p.expect(",")
		}
		if p.cur.kind == "]" {
			break
		}
		l.items = append(l.items, p.expression())
	}
	p.expect("]")
	return l
}

func (p *parser) dict() expr {
	d := &dictExpr{line: p.expect("{").line}
	for p.cur.kind != "}" {
		if d.keys != nil {
			p.expect(",")
		}
		if p.cur.kind == "}" {
			break
		}
		d.keys = append(d.keys, p.expression())
		p.expect(":")
		d.vals = append(d.vals, p.expression())
	}
	p.expect("}")
	return d
}

func (p *parser) postfix(x expr, n *int) expr {
	for ; ; p.link(n) {
		switch p.cur.kind {
		case ".":
			x = p.attribute(x)
		case "[":
			x = p.subscript(x)
		case "(":
			x = p.call(x)
		default:
			return x
		}
	}
}

func (p *parser) filters(x expr, n *int) expr {
	for ; ; p.link(n) {
		switch {
		case p.cur.kind == "|":
			p.next()
			x = p.filter(x)
		case p.cur.isName("is"):
			x = p.test(x)
		case p.cur.kind == "(":
			x = p.call(x)
		default:
			return x
		}
	}
}

func (p *parser) attribute(x expr) expr {
	line := p.expect(".").line
	t := p.next()
	switch t.kind {
	case tokName:
		return &attrExpr{line, x, t.text}
	case tokInteger:
		return &itemExpr{line, x, &constExpr{t.num}}
	}
	p.fail(t.line, "expected name or number")
	return nil
}

func (p *parser) subscript(x expr) expr {
	line := p.expect("[").line
	var keys []expr
	for p.cur.kind != "]" {
		if keys != nil {
			p.expect(",")
		}
		key := p.sliceOrKey(x, line)
		if _, isSlice := key.(*sliceExpr); isSlice && (keys != nil || p.cur.kind != "]") {
			p.fail(p.cur.line, "a slice cannot be one of several subscripts")
		}
		keys = append(keys, key)
	}
	p.expect("]")
	if len(keys) != 1 {
		return &itemExpr{line, x, &tupleExpr{keys}}
	}
	if s, ok := keys[0].(*sliceExpr); ok && s.obj == x {
		return s
	}
	return &itemExpr{line, x, keys[0]}
}

func (p *parser) sliceOrKey(x expr, line int) expr {
	s := &sliceExpr{line: line, obj: x}
	if p.cur.kind != ":" {
		key := p.expression()
		if p.cur.kind != ":" {
			return key
		}
		s.start = key
	}
	p.next()
	part := func() expr {
		if p.cur.kind == ":" || p.cur.kind == "]" || p.cur.kind == "," {
			return nil
		}
		return p.expression()
	}
	s.stop = part()
	if p.skip(":") {
		s.step = part()
	}
	return s
}

func (p *parser) call(fn expr) expr {
	line := p.cur.line
	return &callExpr{line, fn, p.arguments()}
}

func (p *parser) arguments() argList {
	line := p.expect("(").line
	var a argList
	ensure := func(ok bool) {
		if !ok {
			p.fail(line, "invalid syntax for function call expression")
		}
	}
	for first := true; p.cur.kind != ")"; first = false {
		if !first {
			p.expect(",")
			if p.cur.kind == ")" {
				break
			}
		}
		switch {
		case p.cur.kind == "*":
			ensure(a.dynPos == nil && a.dynNamed == nil)
			p.next()
			a.dynPos = p.expression()
		case p.cur.kind == "**":
			ensure(a.dynNamed == nil)
			p.next()
			a.dynNamed = p.expression()
		case p.cur.kind == tokName && p.look().kind == "=":
			ensure(a.dynNamed == nil)
			p.keyword(&a)
		default:
			ensure(a.dynPos == nil && a.dynNamed == nil && a.names == nil)
			a.pos = append(a.pos, p.expression())
		}
	}
	p.expect(")")
	return a
}

func (p *parser) keyword(a *argList) {
	name := p.next()
	for _, other := range a.names {
		if other == name.text {
			p.fail(name.line, "keyword argument repeated: %s", name.text)
		}
	}
	p.next() // the equals sign
	a.names = append(a.names, name.text)
	a.vals = append(a.vals, p.expression())
}

// dotted parses a filter's or test's name.
func (p *parser) dotted() token {
	t := p.expect(tokName)
	for n := 0; p.cur.kind == "."; p.link(&n) {
		p.next()
		t.text += "." + p.expect(tokName).text
	}
	return t
}

func (p *parser) filter(x expr) *filterExpr {
	name := p.dotted()
	f := &filterExpr{line: name.line, x: x, name: name.text, fn: filters[name.text]}
	if p.cur.kind == "(" {
		f.args = p.arguments()
	}
	return f
}

func (p *parser) test(x expr) expr {
	line := p.next().line
	negated := p.skipName("not")
	t := &testExpr{line: line, x: x, name: p.dotted().text}
	t.fn = tests[t.name]
	if p.cur.kind == "(" {
		t.args = p.arguments()
	} else if p.startsTestArgument() {
		if p.cur.isName("is") {
			p.fail(p.cur.line, "You cannot chain multiple tests with is")
		}
		n := 0
		defer p.nest()()
		t.args.pos = []expr{p.postfix(p.primary(), &n)}
	}
	if negated {
		return &unaryExpr{line, "not", t}
	}
	return t
}

// startsTestArgument reports whether a test's argument follows without brackets.
func (p *parser) startsTestArgument() bool {
	switch p.cur.kind {
	case tokName:
		return p.cur.text != "else" && p.cur.text != "or" && p.cur.text != "and"
	case tokString, tokInteger, tokFloat, "[", "{":
		return true
	}
	return false
}

// targetPlace is where an assignment's target stands.
type targetPlace int

const (
	targetInSet targetPlace = iota // may be an attribute of a namespace
	targetElsewhere
)

func (p *parser) targetName() *nameExpr {
	t := p.expect(tokName)
	name, ok := nameOrConst(t).(*nameExpr)
	if !ok {
		p.fail(t.line, "can't assign to 'name'")
	}
	return name
}

// target parses a name, or several with commas between them.
func (p *parser) target(place targetPlace) expr {
	line := p.cur.line
	var items []expr
	isTuple := false
	for !p.endsTuple() {
		if place == targetInSet && p.cur.kind == tokName && p.look().kind == "." {
			name := p.next()
			p.next()
			items = append(items, &nsExpr{line: name.line, name: name.text, attr: p.expect(tokName).text})
		} else {
			items = append(items, p.primary())
		}
		if p.cur.kind != "," {
			break
		}
		isTuple = true
		p.next()
	}
	if items == nil {
		p.fail(p.cur.line, "Expected an expression, got %s", quote(p.cur.describe()))
	}
	var x expr = &tupleExpr{items}
	if !isTuple {
		x = items[0]
	}
	if kind := unassignable(x); kind != "" {
		p.fail(line, "can't assign to '%s'", kind)
	}
	return x
}

// unassignable names the kind of expression that cannot be assigned to, "" if x can.
func unassignable(x expr) string {
	switch x := x.(type) {
	case *nameExpr, *nsExpr:
		return ""
	case *tupleExpr:
		for _, item := range x.items {
			if unassignable(item) != "" {
				return "tuple"
			}
		}
		return ""
	case *constExpr:
		return "const"
	case *listExpr:
		return "list"
	case *dictExpr:
		return "dict"
	}
	return "expression"
}
