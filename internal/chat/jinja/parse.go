package jinja

import "strings"

const (
	// maxSource is far above any template that is written by hand.
	maxSource = 4 << 20
	// maxNesting bounds how deep brackets and blocks nest, and maxChain how
	// many operators of one kind follow each other: so the tree's depth, and
	// with it Go's stack, is bounded. (CPython compiles no more than about
	// 200 levels either.)
	maxNesting = 200
	maxChain   = 500
)

// parser builds the tree. It panics with an error to unwind; parse recovers it.
type parser struct {
	lex     *lexer
	cur     token
	ahead   []token
	nesting int
	tags    []string   // blocks that are open
	looking [][]string // end tags that are looked for
}

type parseFault struct{ err error }

// parse returns the statements of a template.
func parse(source string) (body []stmt, err error) {
	if len(source) > maxSource {
		return nil, syntaxError(1, "the template has %d bytes, more than the %d that are allowed", len(source), maxSource)
	}
	p := &parser{lex: newLexer(source)}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case parseFault:
			body, err = nil, r.err
		default:
			panic(r)
		}
	}()
	p.next()
	return p.statements(nil), nil
}

func (p *parser) fail(line int, format string, args ...any) {
	panic(parseFault{syntaxError(line, format, args...)})
}

func (p *parser) lexNext() token {
	t, err := p.lex.next()
	if err != nil {
		panic(parseFault{err})
	}
	return t
}

// next returns the current token and moves on.
func (p *parser) next() token {
	t := p.cur
	if len(p.ahead) > 0 {
		p.cur, p.ahead = p.ahead[0], p.ahead[1:]
	} else {
		p.cur = p.lexNext()
	}
	return t
}

// look returns the token after the current one.
func (p *parser) look() token {
	if len(p.ahead) == 0 {
		p.ahead = append(p.ahead, p.lexNext())
	}
	return p.ahead[0]
}

func (p *parser) skip(kind string) bool {
	if p.cur.kind == kind {
		p.next()
		return true
	}
	return false
}

func (p *parser) skipName(name string) bool {
	if p.cur.isName(name) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(kind string) token {
	if p.cur.kind != kind {
		p.unexpected(kind)
	}
	return p.next()
}

func (p *parser) expectName(name string) token {
	if !p.cur.isName(name) {
		p.unexpected(name)
	}
	return p.next()
}

func (p *parser) unexpected(want string) {
	if p.cur.kind == tokEOF {
		p.fail(p.cur.line, "unexpected end of template, expected %s.", quote(want))
	}
	p.fail(p.cur.line, "expected token %s, got %s", quote(want), quote(p.cur.describe()))
}

// nest counts one more level of brackets or blocks; call what it returns at its end.
func (p *parser) nest() func() {
	p.nesting++
	if p.nesting > maxNesting {
		p.fail(p.cur.line, "brackets and blocks nest more than %d levels deep", maxNesting)
	}
	return func() { p.nesting-- }
}

// link counts one more operator of a chain.
func (p *parser) link(n *int) {
	*n++
	if *n > maxChain {
		p.fail(p.cur.line, "more than %d operators in a row", maxChain)
	}
}

// statements parses up to one of the end tags, which stays the current
// token, or to the template's end if there are none.
func (p *parser) statements(ends []string) []stmt {
	if ends != nil {
		p.looking = append(p.looking, ends)
		defer func() { p.looking = p.looking[:len(p.looking)-1] }()
	}
	var body []stmt
	var out []outputPart
	flush := func() {
		if out != nil {
			body = append(body, &outputStmt{out})
			out = nil
		}
	}
	for {
		switch p.cur.kind {
		case tokData:
			out = append(out, outputPart{text: p.cur.text, line: p.cur.line})
			p.next()
		case tokVarBegin:
			line := p.next().line
			out = append(out, outputPart{x: p.tuple(tupleAnywhere), line: line})
			p.expect(tokVarEnd)
		case tokBlockBegin:
			flush()
			p.next()
			for _, end := range ends {
				if p.cur.isName(end) {
					return body
				}
			}
			body = append(body, p.statement())
			p.expect(tokBlockEnd)
		default: // the end of the template
			flush()
			if ends != nil {
				p.failUnknown("", p.cur.line)
			}
			return body
		}
	}
}

// block parses the statements of a block, and leaves the end tag's name as
// the current token.
func (p *parser) block(ends ...string) []stmt {
	defer p.nest()()
	p.skip(":")
	p.expect(tokBlockEnd)
	return p.statements(ends)
}

// closedBlock is a block with one possible end tag, which it consumes.
func (p *parser) closedBlock(end string) []stmt {
	body := p.block(end)
	p.next()
	return body
}

// failUnknown reports a tag that does not belong here; an empty name stands
// for the template's end.
func (p *parser) failUnknown(name string, line int) {
	var msg []string
	if name == "" {
		msg = append(msg, "Unexpected end of template.")
	} else {
		msg = append(msg, "Encountered unknown tag "+quote(name)+".")
	}
	if len(p.looking) > 0 {
		var quoted []string
		for _, end := range p.looking[len(p.looking)-1] {
			quoted = append(quoted, quote(end))
		}
		wanted := strings.Join(quoted, " or ")
		if name != "" && p.isWanted(name) {
			msg = append(msg, "You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for "+wanted+".")
		} else {
			msg = append(msg, "Jinja was looking for the following tags: "+wanted+".")
		}
	}
	if len(p.tags) > 0 {
		msg = append(msg, "The innermost block that needs to be closed is "+quote(p.tags[len(p.tags)-1])+".")
	}
	p.fail(line, "%s", strings.Join(msg, " "))
}

func (p *parser) isWanted(name string) bool {
	for _, ends := range p.looking {
		for _, end := range ends {
			if end == name {
				return true
			}
		}
	}
	return false
}

// refused are tags of Jinja that chat templates cannot have, and why.
var refused = map[string]string{
	"include":    "a chat template cannot load other templates",
	"import":     "a chat template cannot load other templates",
	"from":       "a chat template cannot load other templates",
	"extends":    "a chat template cannot load other templates",
	"block":      "a chat template has no parent to override",
	"autoescape": "a chat template's output is not HTML",
}

func (p *parser) statement() stmt {
	tag := p.cur
	if tag.kind != tokName {
		p.fail(tag.line, "tag name expected")
	}
	if why, ok := refused[tag.text]; ok {
		p.fail(tag.line, "the tag %s is not supported: %s", quote(tag.text), why)
	}
	parse, ok := statementParsers()[tag.text]
	if !ok {
		p.failUnknown(tag.text, tag.line)
	}
	p.tags = append(p.tags, tag.text)
	p.next()
	s := parse(p, tag.line)
	p.tags = p.tags[:len(p.tags)-1]
	return s
}

// statementParsers is a function, for the parsers lead back to it.
func statementParsers() map[string]func(p *parser, line int) stmt {
	return map[string]func(p *parser, line int) stmt{
		"for":        (*parser).forStatement,
		"if":         (*parser).ifStatement,
		"set":        (*parser).setStatement,
		"with":       (*parser).withStatement,
		"macro":      (*parser).macroStatement,
		"call":       (*parser).callStatement,
		"filter":     (*parser).filterStatement,
		"print":      (*parser).printStatement,
		"generation": (*parser).generationStatement,
		"break":      func(_ *parser, line int) stmt { return &loopControlStmt{line, breakLoop} },
		"continue":   func(_ *parser, line int) stmt { return &loopControlStmt{line, continueLoop} },
	}
}

func (p *parser) forStatement(line int) stmt {
	s := &forStmt{line: line}
	s.target = p.target(targetElsewhere)
	p.expectName("in")
	s.iter = p.tuple(tupleInBlock)
	if p.skipName("if") {
		s.test = p.expression()
	}
	s.recursive = p.skipName("recursive")
	s.body = p.block("endfor", "else")
	if p.next().text == "else" {
		s.els = p.closedBlock("endfor")
	}
	return s
}

func (p *parser) ifStatement(line int) stmt {
	s := &ifStmt{line: line}
	for {
		b := branch{test: p.tuple(tupleInBlock)}
		b.body = p.block("elif", "else", "endif")
		s.branches = append(s.branches, b)
		switch p.next().text {
		case "elif":
			continue
		case "else":
			s.els = p.closedBlock("endif")
		}
		return s
	}
}

func (p *parser) setStatement(line int) stmt {
	target := p.target(targetInSet)
	if p.skip("=") {
		return &setStmt{line: line, target: target, value: p.tuple(tupleAnywhere)}
	}
	s := &setBlockStmt{line: line, target: target}
	for n := 0; p.cur.kind == "|"; {
		p.link(&n)
		p.next()
		s.filter = p.filter(asExpr(s.filter))
	}
	s.body = p.closedBlock("endset")
	return s
}

// asExpr keeps a nil filter a nil expression.
func asExpr(f *filterExpr) expr {
	if f == nil {
		return nil
	}
	return f
}

func (p *parser) withStatement(line int) stmt {
	s := &withStmt{line: line}
	for p.cur.kind != tokBlockEnd {
		if s.targets != nil {
			p.expect(",")
		}
		s.targets = append(s.targets, p.target(targetElsewhere))
		p.expect("=")
		s.values = append(s.values, p.expression())
	}
	s.body = p.closedBlock("endwith")
	return s
}

func (p *parser) macroStatement(line int) stmt {
	d := &macroDecl{line: line}
	d.name = p.targetName().name
	p.signature(d)
	d.body = p.closedBlock("endmacro")
	return &macroStmt{line: line, decl: d}
}

func (p *parser) signature(d *macroDecl) {
	p.expect("(")
	for p.cur.kind != ")" {
		if d.params != nil {
			p.expect(",")
		}
		name := p.targetName()
		for _, other := range d.params {
			if other == name.name {
				p.fail(name.line, "duplicate argument %s in function definition", quote(name.name))
			}
		}
		if p.skip("=") {
			d.defaults = append(d.defaults, p.expression())
		} else if d.defaults != nil {
			p.fail(p.cur.line, "non-default argument follows default argument")
		}
		d.params = append(d.params, name.name)
	}
	p.expect(")")
}

func (p *parser) callStatement(line int) stmt {
	d := &macroDecl{line: line}
	if p.cur.kind == "(" {
		p.signature(d)
	}
	call, ok := p.expression().(*callExpr)
	if !ok {
		p.fail(line, "expected call")
	}
	d.body = p.closedBlock("endcall")
	return &callBlockStmt{line: line, call: call, decl: d}
}

func (p *parser) generationStatement(line int) stmt {
	return &generationStmt{line: line, decl: &macroDecl{line: line, body: p.closedBlock("endgeneration")}}
}

func (p *parser) filterStatement(line int) stmt {
	s := &filterBlockStmt{line: line}
	s.filter = p.filter(nil)
	for n := 0; p.cur.kind == "|"; {
		p.link(&n)
		p.next()
		s.filter = p.filter(s.filter)
	}
	s.body = p.closedBlock("endfilter")
	return s
}

func (p *parser) printStatement(int) stmt {
	s := &outputStmt{}
	for p.cur.kind != tokBlockEnd {
		if s.parts != nil {
			p.expect(",")
		}
		s.parts = append(s.parts, outputPart{x: p.expression(), line: p.cur.line})
	}
	return s
}
