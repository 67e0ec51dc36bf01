package grammar

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (g Lark) compile(c *exprCompiler) (*node, error) {
	s, err := parseLark(string(g))
	if err != nil {
		return nil, err
	}
	return c.lower(s)
}

// larkParser reads Lark's EBNF, the part of it that says which texts there are:
// priorities, aliases and what shapes the tree are read over.
type larkParser struct {
	gbnfParser
	s       *ruleSet
	ignored []*tree
}

// parseLark reads a grammar in Lark's notation.
func parseLark(src string) (*ruleSet, error) {
	if !utf8.ValidString(src) {
		return nil, errors.New("the grammar is not UTF-8")
	}
	p := &larkParser{gbnfParser: gbnfParser{src: src}, s: newRuleSet("start")}
	for p.lines(); p.at < len(p.src); p.lines() {
		var err error
		if p.peek() == '%' {
			err = p.directive()
		} else {
			err = p.definition()
		}
		if err != nil {
			return nil, err
		}
	}
	p.ignore()
	return p.s, nil
}

// name reads a name: unlike GBNF's it has no hyphen.
func (p *larkParser) name() string {
	from := p.at
	for p.at < len(p.src) && p.src[p.at] != '-' && nameByte(p.src[p.at]) {
		p.at++
	}
	return p.src[from:p.at]
}

// whole marks a tree as one terminal: nothing that is ignored comes into it.
func (p *larkParser) whole(t *tree) *tree {
	c := *t
	c.atom = true
	return &c
}

// lines skips white space, newlines and comments.
func (p *larkParser) lines() {
	for p.spaces(); p.at < len(p.src) && (p.peek() == '\n' || p.peek() == '\r'); p.spaces() {
		p.at++
	}
}

// spaces skips white space and comments within a line.
func (p *larkParser) spaces() {
	for p.at < len(p.src) {
		switch {
		case p.peek() == ' ' || p.peek() == '\t':
			p.at++
		case strings.HasPrefix(p.src[p.at:], "//") || p.peek() == '#':
			if i := strings.IndexByte(p.src[p.at:], '\n'); i >= 0 {
				p.at += i
			} else {
				p.at = len(p.src)
			}
		default:
			return
		}
	}
}

// definition reads a rule or terminal.
func (p *larkParser) definition() error {
	for p.take("?") || p.take("!") {
	}
	name := p.name()
	if name == "" {
		return p.errorf("expected a rule: name: …")
	}
	if p.take("{") {
		return p.errorf("templates are not supported")
	}
	if p.take(".") {
		p.take("-")
		p.name() // a priority: it chooses among parses, not among texts
	}
	p.spaces()
	if !p.take(":") {
		return p.errorf("expected a colon after %q", name)
	}
	t, err := p.alternatives()
	if err != nil {
		return err
	}
	if err := p.s.define(name, t); err != nil {
		return p.errorf("%v", err)
	}
	return nil
}

// directive reads what begins with %.
func (p *larkParser) directive() error {
	p.at++
	switch name := p.name(); name {
	case "import":
		return p.imports()
	case "ignore":
		t, err := p.alternatives()
		p.ignored = append(p.ignored, t)
		return err
	default:
		return p.errorf("%%%s is not supported", name)
	}
}

// imports reads %import common.NAME, common.NAME -> OTHER and common (A, B).
func (p *larkParser) imports() error {
	p.spaces()
	p.take(".")
	if lib := p.name(); lib != "common" {
		return p.errorf("there is nothing to import but common, not %.40q", lib)
	}
	p.spaces()
	if p.take("(") {
		for p.spaces(); !p.take(")"); p.spaces() {
			if err := p.common(p.name(), ""); err != nil {
				return err
			}
			p.spaces()
			p.take(",")
		}
		return nil
	}
	if !p.take(".") {
		return p.errorf("expected %%import common.NAME")
	}
	name, as := p.name(), ""
	p.spaces()
	if p.take("->") {
		p.spaces()
		as = p.name()
	}
	return p.common(name, as)
}

// common defines a terminal of Lark's library.
func (p *larkParser) common(name, as string) error {
	src, ok := larkCommon[name]
	if !ok {
		return p.errorf("common has no %.40q", name)
	}
	t, err := parseRegex(src)
	if err == nil {
		err = p.s.define(choose(as == "", name, as), t)
	}
	return err
}

var larkCommon = map[string]string{
	"DIGIT": `[0-9]`, "HEXDIGIT": `[0-9a-fA-F]`, "INT": `[0-9]+`, "SIGNED_INT": `[+-]?[0-9]+`,
	"DECIMAL": `[0-9]+\.[0-9]*|\.[0-9]+`, "FLOAT": `[0-9]+[eE][+-]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?`,
	"SIGNED_FLOAT":   `[+-]?([0-9]+[eE][+-]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)`,
	"NUMBER":         `[0-9]+([eE][+-]?[0-9]+)?|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?`,
	"SIGNED_NUMBER":  `[+-]?([0-9]+([eE][+-]?[0-9]+)?|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)`,
	"ESCAPED_STRING": `"([^"\\\n]|\\[^\n])*"`,
	"LCASE_LETTER":   `[a-z]`, "UCASE_LETTER": `[A-Z]`, "LETTER": `[A-Za-z]`, "WORD": `[A-Za-z]+`, "CNAME": `[_A-Za-z][_A-Za-z0-9]*`,
	"WS_INLINE": `[ \t]+`, "WS": `[ \t\f\r\n]+`, "CR": `\r`, "LF": `\n`, "NEWLINE": `(\r?\n)+`,
	"SH_COMMENT": `#[^\n]*`, "CPP_COMMENT": `//[^\n]*`,
}

func (p *larkParser) alternatives() (*tree, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, p.errorf("nested deeper than %d", maxNesting)
	}
	defer func() { p.depth-- }()
	var subs []*tree
	for {
		t, err := p.sequence()
		if err != nil {
			return nil, err
		}
		subs = append(subs, t)
		p.spaces()
		if p.take("->") {
			p.spaces()
			p.name() // an alias: it names a branch of the tree
		}
		from := p.at
		p.lines()
		if !p.take("|") {
			if p.depth == 1 {
				p.at = from
			}
			return altOf(subs...), nil
		}
	}
}

func (p *larkParser) sequence() (*tree, error) {
	var subs []*tree
	for {
		if p.spaces(); p.depth > 1 {
			p.lines()
		}
		t, err := p.element()
		if err != nil {
			return nil, err
		}
		if t == nil {
			return seqOf(subs...), nil
		}
		for more := true; more; {
			if t, more, err = p.repeated(t); err != nil {
				return nil, err
			}
		}
		subs = append(subs, t)
	}
}

func (p *larkParser) element() (*tree, error) {
	switch c := p.peek(); {
	case c == '"':
		return p.text()
	case c == '/':
		return p.regex()
	case c == '(' || c == '[':
		p.at++
		t, err := p.alternatives()
		if err != nil {
			return nil, err
		}
		if p.lines(); !p.take(choose(c == '(', ")", "]")) {
			return nil, p.errorf("a bracket is not closed")
		}
		if c == '[' {
			t = repeatOf(t, 0, 1)
		}
		return t, nil
	case nameByte(c) && c != '-':
		name := p.name()
		if p.peek() == '{' {
			return nil, p.errorf("templates are not supported")
		}
		return refTo(name), nil
	case c == 0 && p.at >= len(p.src), strings.IndexByte("|)]\r\n", c) >= 0, strings.HasPrefix(p.src[p.at:], "->"):
		return nil, nil
	}
	return nil, p.errorf("unexpected %q", p.peek())
}

// text reads "…", "…"i or "a".."z".
func (p *larkParser) text() (*tree, error) {
	p.at++
	s, err := p.larkString()
	if err != nil {
		return nil, err
	}
	if p.take("i") {
		return p.whole(foldedText(s)), nil
	}
	if !strings.HasPrefix(p.src[p.at:], "..") {
		return p.whole(textOf(s)), nil
	}
	p.at += 2
	if !p.take(`"`) {
		return nil, p.errorf("a range needs a second character")
	}
	hi, err := p.larkString()
	if err != nil {
		return nil, err
	}
	a, b := []rune(s), []rune(hi)
	if len(a) != 1 || len(b) != 1 || a[0] > b[0] {
		return nil, p.errorf("%q..%q is no range of characters", s, hi)
	}
	return p.whole(classOf(makeRunes([]span{{a[0], b[0]}}))), nil
}

// larkString reads a string, whose escapes are Python's.
func (p *larkParser) larkString() (string, error) {
	from := p.at
	for p.at < len(p.src) && p.src[p.at] != '"' && p.src[p.at] != '\n' {
		if p.src[p.at] == '\\' {
			p.at++
		}
		p.at++
	}
	if p.at >= len(p.src) || p.src[p.at] != '"' {
		return "", p.errorf("a string has no end")
	}
	body := p.src[from:p.at]
	p.at++
	s, err := strconv.Unquote(`"` + strings.ReplaceAll(body, `\/`, "/") + `"`)
	if err != nil || !utf8.ValidString(s) {
		return "", p.errorf("%.60q is no string", body)
	}
	return s, nil
}

// regex reads /…/ and its flags.
func (p *larkParser) regex() (*tree, error) {
	p.at++
	from := p.at
	class := false
	for ; p.at < len(p.src) && p.src[p.at] != '\n' && (class || p.src[p.at] != '/'); p.at++ {
		switch p.src[p.at] {
		case '\\':
			p.at++
		case '[':
			class = true
		case ']':
			class = false
		}
	}
	if p.at >= len(p.src) || p.src[p.at] != '/' {
		return nil, p.errorf("a regular expression has no end")
	}
	body := p.src[from:p.at]
	p.at++
	for flags := "imslux"; p.at < len(p.src) && strings.IndexByte(flags, p.src[p.at]) >= 0; p.at++ {
		switch f := p.src[p.at]; f {
		case 'i', 's':
			body = fmt.Sprintf("(?%c)", f) + body
		case 'm', 'u', 'l':
		default:
			return nil, p.errorf("flag %c is not supported", f)
		}
	}
	t, err := parseRegex(body)
	if err != nil {
		return nil, p.errorf("%v", err)
	}
	bad := false
	t.walk(func(x *tree) { bad = bad || x.op == opBegin || x.op == opEnd || x.op == opAhead })
	if bad {
		return nil, p.errorf("anchors and look-aheads are not supported in a terminal")
	}
	return p.whole(t), nil
}

// repeated reads *, +, ? and ~n or ~n..m.
func (p *larkParser) repeated(t *tree) (*tree, bool, error) {
	switch {
	case p.take("*"):
		return repeatOf(t, 0, unbounded), true, nil
	case p.take("+"):
		return repeatOf(t, 1, unbounded), true, nil
	case p.take("?"):
		return repeatOf(t, 0, 1), true, nil
	}
	from := p.at
	p.spaces()
	if !p.take("~") {
		p.at = from
		return t, false, nil
	}
	p.spaces()
	body := p.name()
	if p.take("..") {
		body += "," + p.name()
	}
	lo, hi, err := parseCounts(body)
	if err != nil {
		return nil, false, p.errorf("~%s: %v", body, err)
	}
	return repeatOf(t, lo, hi), true, nil
}

// ignore lets what %ignore names stand once before and after each terminal in
// rules. Terminals (their names have no small letters) are whole.
func (p *larkParser) ignore() {
	if len(p.ignored) == 0 {
		return
	}
	const name = "%ignore"
	_ = p.s.define(name, repeatOf(altOf(p.ignored...), 0, 1))
	for _, rule := range slices.Clone(p.s.names) {
		if rule != name && strings.ToUpper(rule) != rule {
			p.s.trees[rule] = spaced(p.s.trees[rule], refTo(name))
		}
	}
	if t := p.s.trees["start"]; t != nil {
		p.s.trees["start"] = seqOf(refTo(name), t)
	}
}

// spaced puts gap behind every terminal of a tree.
func spaced(t, gap *tree) *tree {
	if t.atom || t.op == opRef && strings.ToUpper(t.name) == t.name {
		return seqOf(t, gap)
	}
	if len(t.subs) == 0 {
		return t
	}
	c := *t
	c.subs = make([]*tree, len(t.subs))
	for i, s := range t.subs {
		c.subs[i] = spaced(s, gap)
	}
	return &c
}
