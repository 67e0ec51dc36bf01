package grammar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func (g GBNF) compile(c *exprCompiler) (*node, error) {
	s, err := parseGBNF(string(g))
	if err != nil {
		return nil, err
	}
	return c.lower(s)
}

// gbnfParser reads GBNF. A rule ends where the next begins (a name and ::=), so
// that it may go over several lines.
type gbnfParser struct {
	src   string
	at    int
	depth int
}

// parseGBNF reads a grammar in llama.cpp's notation.
func parseGBNF(src string) (*ruleSet, error) {
	if !utf8.ValidString(src) {
		return nil, errors.New("the grammar is not UTF-8")
	}
	p := &gbnfParser{src: src}
	s := newRuleSet("root")
	for p.blank(); p.at < len(src); p.blank() {
		name := p.name()
		if name == "" || !p.defines() {
			return nil, p.errorf("expected a rule: name ::= …")
		}
		t, err := p.alternatives()
		if err != nil {
			return nil, err
		}
		if err := s.define(name, t); err != nil {
			return nil, p.errorf("%v", err)
		}
	}
	return s, nil
}

func (p *gbnfParser) errorf(format string, args ...any) error {
	return grammarError(p.src, p.at, fmt.Sprintf(format, args...))
}

// grammarError names the place in a grammar.
func grammarError(src string, at int, what string) error {
	at = min(at, len(src))
	line := 1 + strings.Count(src[:at], "\n")
	column := at - strings.LastIndexByte(src[:at], '\n')
	return fmt.Errorf("grammar at line %d, column %d: %s", line, column, what)
}

// blank skips white space and comments.
func (p *gbnfParser) blank() {
	for p.at < len(p.src) {
		switch c := p.src[p.at]; c {
		case ' ', '\t', '\r', '\n':
			p.at++
		case '#':
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

func (p *gbnfParser) peek() byte {
	if p.at < len(p.src) {
		return p.src[p.at]
	}
	return 0
}

func (p *gbnfParser) take(s string) bool {
	if strings.HasPrefix(p.src[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func (p *gbnfParser) name() string {
	from := p.at
	for p.at < len(p.src) && nameByte(p.src[p.at]) {
		p.at++
	}
	return p.src[from:p.at]
}

func (p *gbnfParser) defines() bool {
	p.blank()
	return p.take("::=")
}

func (p *gbnfParser) alternatives() (*tree, error) {
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
		if !p.take("|") {
			return altOf(subs...), nil
		}
	}
}

func (p *gbnfParser) sequence() (*tree, error) {
	var subs []*tree
	for {
		p.blank()
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

// element reads an element, nil where the sequence ends.
func (p *gbnfParser) element() (*tree, error) {
	switch c := p.peek(); {
	case c == '"':
		p.at++
		s, err := p.quoted('"')
		return textOf(s), err
	case c == '[':
		p.at++
		return p.class()
	case c == '.':
		p.at++
		return classOf(anyRune()), nil
	case c == '(':
		p.at++
		t, err := p.alternatives()
		if err != nil {
			return nil, err
		}
		if !p.take(")") {
			return nil, p.errorf("missing )")
		}
		return t, nil
	case nameByte(c):
		from := p.at
		name := p.name()
		end := p.at
		if p.defines() { // the next rule
			p.at = from
			return nil, nil
		}
		p.at = end
		return refTo(name), nil
	case c == 0 && p.at >= len(p.src), c == '|', c == ')':
		return nil, nil
	}
	return nil, p.errorf("unexpected %q", p.peek())
}

// repeated reads a repetition behind an element, if there is one.
func (p *gbnfParser) repeated(t *tree) (*tree, bool, error) {
	switch {
	case p.take("*"):
		return repeatOf(t, 0, unbounded), true, nil
	case p.take("+"):
		return repeatOf(t, 1, unbounded), true, nil
	case p.take("?"):
		return repeatOf(t, 0, 1), true, nil
	case p.take("{"):
		end := strings.IndexByte(p.src[p.at:], '}')
		if end < 0 {
			return nil, false, p.errorf("missing }")
		}
		lo, hi, err := parseCounts(p.src[p.at : p.at+end])
		if err != nil {
			return nil, false, p.errorf("%v", err)
		}
		p.at += end + 1
		return repeatOf(t, lo, hi), true, nil
	}
	return t, false, nil
}

// parseCounts reads m, m, or m,n.
func parseCounts(body string) (lo, hi int, err error) {
	first, second, two := strings.Cut(body, ",")
	lo, ok := parseCount(strings.TrimSpace(first))
	if strings.TrimSpace(first) == "" && two {
		lo, ok = 0, true
	}
	hi = lo
	if two && ok {
		hi = unbounded
		if second = strings.TrimSpace(second); second != "" {
			hi, ok = parseCount(second)
		}
	}
	if !ok || hi != unbounded && hi < lo {
		return 0, 0, fmt.Errorf("{%.40s} is no repetition", body)
	}
	return lo, hi, nil
}

// quoted reads up to a closing quote.
func (p *gbnfParser) quoted(end rune) (string, error) {
	var b strings.Builder
	for {
		r, err := p.char()
		if err != nil {
			return "", err
		}
		if r.plain && r.r == end {
			return b.String(), nil
		}
		b.WriteRune(r.r)
	}
}

type gbnfChar struct {
	r     rune
	plain bool // not escaped
}

func (p *gbnfParser) char() (gbnfChar, error) {
	if p.at >= len(p.src) {
		return gbnfChar{}, p.errorf("the end of the grammar within quotes or brackets")
	}
	r, n := utf8.DecodeRuneInString(p.src[p.at:])
	p.at += n
	if r != '\\' {
		return gbnfChar{r, true}, nil
	}
	c := p.peek()
	p.at++
	if i := strings.IndexByte("nrt", c); i >= 0 && c != 0 {
		return gbnfChar{rune("\n\r\t"[i]), false}, nil
	}
	if i := strings.IndexByte("xuU", c); i >= 0 && c != 0 {
		digits := []int{2, 4, 8}[i]
		if p.at+digits > len(p.src) {
			return gbnfChar{}, p.errorf("\\%c needs %d hexadecimal digits", c, digits)
		}
		v, err := strconv.ParseUint(p.src[p.at:p.at+digits], 16, 32)
		if err != nil || v > unicode.MaxRune || v >= surrogateLo && v <= surrogateHi {
			return gbnfChar{}, p.errorf("\\%c%s is no character", c, p.src[p.at:p.at+digits])
		}
		p.at += digits
		return gbnfChar{rune(v), false}, nil
	}
	if strings.IndexByte(`"\[]-^/.*+?(){}|'`, c) < 0 || c == 0 {
		return gbnfChar{}, p.errorf("escape \\%c is not known", c)
	}
	return gbnfChar{rune(c), false}, nil
}

// class reads a set of characters after its opening bracket.
func (p *gbnfParser) class() (*tree, error) {
	not := p.take("^")
	var spans []span
	for !p.take("]") {
		lo, err := p.char()
		if err != nil {
			return nil, err
		}
		hi := lo
		if p.peek() == '-' && p.at+1 < len(p.src) && p.src[p.at+1] != ']' {
			p.at++
			if hi, err = p.char(); err != nil {
				return nil, err
			}
		}
		if lo.r > hi.r {
			return nil, p.errorf("range %c-%c is backwards", lo.r, hi.r)
		}
		spans = append(spans, span{lo.r, hi.r})
	}
	set := makeRunes(spans)
	if not {
		set = set.not()
	}
	return classOf(set), nil
}
