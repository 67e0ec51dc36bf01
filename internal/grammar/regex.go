package grammar

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The dialect of regular expressions is what ECMA-262 (which JSON Schema names),
// RE2 and Python agree on, less what is not regular. Where they differ, a class
// is what all of them have, so that a text that the grammar lets through matches
// everywhere: . leaves out every line terminator, \d and \w are ASCII, \s is
// blank, tab, newline, return and form feed.

// maxNesting bounds the nesting of every front end's input.
const maxNesting = 200

// maxCount bounds a count in braces. What is counted decides what it costs; that
// is limited elsewhere.
const maxCount = 1 << 24

// regexParser reads a regular expression.
type regexParser struct {
	src      string
	at       int
	depth    int
	fold     bool // (?i)
	dot      bool // (?s): a dot takes newlines
	inverted bool // within [^…]
}

// parseRegex reads a regular expression.
func parseRegex(src string) (*tree, error) {
	if !utf8.ValidString(src) {
		return nil, fmt.Errorf("the regular expression is not UTF-8")
	}
	p := &regexParser{src: src}
	t, err := p.alternatives()
	if err == nil && p.at < len(src) {
		err = p.errorf("unmatched )")
	}
	return t, err
}

func (p *regexParser) errorf(format string, args ...any) error {
	return fmt.Errorf("regular expression %.80q at byte %d: %s", p.src, p.at, fmt.Sprintf(format, args...))
}

func (p *regexParser) peek() rune {
	if p.at >= len(p.src) {
		return -1
	}
	r, _ := utf8.DecodeRuneInString(p.src[p.at:])
	return r
}

func (p *regexParser) next() rune {
	if p.at >= len(p.src) {
		return -1
	}
	r, n := utf8.DecodeRuneInString(p.src[p.at:])
	p.at += n
	return r
}

func (p *regexParser) take(s string) bool {
	if strings.HasPrefix(p.src[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

func (p *regexParser) alternatives() (*tree, error) {
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

func (p *regexParser) sequence() (*tree, error) {
	t := &tree{op: opSeq}
	for {
		if c := p.peek(); c < 0 || c == '|' || c == ')' {
			return seqOf(t.subs...), nil
		}
		a, err := p.atom()
		if err != nil {
			return nil, err
		}
		if a, err = p.quantified(a); err != nil {
			return nil, err
		}
		t.subs = append(t.subs, a)
	}
}

// quantified reads what may follow an atom. Laziness changes which match is
// found, not whether there is one.
func (p *regexParser) quantified(a *tree) (*tree, error) {
	lo, hi, ok, err := p.quantifier()
	if err != nil || !ok {
		return a, err
	}
	if a.op == opBegin || a.op == opEnd || a.op == opAhead {
		return nil, p.errorf("an assertion cannot be repeated")
	}
	p.take("?")
	if c := p.peek(); c == '*' || c == '+' || c == '?' {
		return nil, p.errorf("a repetition of a repetition; possessive ones are not supported")
	}
	return repeatOf(a, lo, hi), nil
}

func (p *regexParser) quantifier() (lo, hi int, ok bool, err error) {
	switch {
	case p.take("*"):
		return 0, unbounded, true, nil
	case p.take("+"):
		return 1, unbounded, true, nil
	case p.take("?"):
		return 0, 1, true, nil
	case p.peek() == '{':
		return p.counts()
	}
	return 0, 0, false, nil
}

// counts reads {m}, {m,} or {m,n}. A brace that is none of these is a brace.
func (p *regexParser) counts() (lo, hi int, ok bool, err error) {
	end := strings.IndexByte(p.src[p.at:], '}')
	if end < 0 {
		return 0, 0, false, nil
	}
	body := p.src[p.at+1 : p.at+end]
	first, second, two := strings.Cut(body, ",")
	lo, ok = parseCount(first)
	hi = lo
	if two {
		hi = unbounded
		if second != "" && ok {
			hi, ok = parseCount(second)
		}
	}
	if two && first == "" && isDigits(second) { // the dialects do not agree
		return 0, 0, false, p.errorf("{%s} is a count in some dialects and a text in others; write {0,%s} or \\{%s\\}", body, second, body)
	}
	if !ok {
		if len(first) > 0 && isDigits(first) {
			return 0, 0, false, p.errorf("a count is larger than %d", maxCount)
		}
		return 0, 0, false, nil
	}
	if hi != unbounded && hi < lo {
		return 0, 0, false, p.errorf("{%s} counts backwards", body)
	}
	p.at += end + 1
	return lo, hi, true, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func parseCount(s string) (int, bool) {
	if !isDigits(s) {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n <= maxCount
}

func (p *regexParser) atom() (*tree, error) {
	switch c := p.next(); c {
	case '.':
		return classOf(p.dotSet()), nil
	case '^':
		return &tree{op: opBegin}, nil
	case '$':
		return &tree{op: opEnd}, nil
	case '(':
		return p.group()
	case '[':
		set, err := p.class()
		return classOf(set), err
	case '\\':
		return p.escaped()
	case '*', '+', '?':
		return nil, p.errorf("%c repeats nothing", c)
	default:
		return classOf(p.cased(oneRune(c))), nil
	}
}

func (p *regexParser) cased(set runes) runes {
	if p.fold {
		return set.folded()
	}
	return set
}

func (p *regexParser) dotSet() runes {
	if p.dot {
		return anyRune()
	}
	return makeRunes([]span{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}).not()
}

// group reads what follows an opening parenthesis.
func (p *regexParser) group() (*tree, error) {
	fold, dot := p.fold, p.dot
	defer func() { p.fold, p.dot = fold, dot }()
	ahead := false
	switch {
	case p.take("?:"):
	case p.take("?="), p.take("?<="), p.take("?<!"):
		return nil, p.errorf("look-ahead (?=…) and look-behind are not supported")
	case p.take("?!"):
		ahead = true
	case p.take("?P<"), p.take("?<"):
		end := strings.IndexByte(p.src[p.at:], '>')
		if end < 1 {
			return nil, p.errorf("a group's name has no end")
		}
		p.at += end + 1
	case p.take("?"):
		if done, err := p.flags(&fold, &dot); done || err != nil {
			return seqOf(), err
		}
	}
	t, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, p.errorf("missing )")
	}
	if ahead {
		return &tree{op: opAhead, subs: []*tree{t}}, nil
	}
	return t, nil
}

// flags reads (?i) and (?i:. It reports done for the first, whose flags hold for
// the rest of the group around it.
func (p *regexParser) flags(fold, dot *bool) (done bool, err error) {
	on := true
	for {
		switch c := p.next(); c {
		case 'i':
			p.fold = on
		case 's':
			p.dot = on
		case '-':
			on = false
		case ':':
			return false, nil
		case ')':
			*fold, *dot = p.fold, p.dot
			return true, nil
		default:
			return false, p.errorf("group (?%c…) is not supported", c)
		}
	}
}

// escaped reads what follows a backslash outside a class.
func (p *regexParser) escaped() (*tree, error) {
	c := p.peek()
	switch {
	case c == 'b' || c == 'B':
		return nil, p.errorf("word boundaries (\\%c) are not supported", c)
	case c == 'A':
		p.next()
		return &tree{op: opBegin}, nil
	case c == 'z' || c == 'Z':
		p.next()
		return &tree{op: opEnd}, nil
	case c >= '1' && c <= '9' || c == 'k':
		return nil, p.errorf("back references are not supported")
	}
	set, err := p.escape()
	return classOf(p.cased(set)), err
}

func digitSet() runes { return runes{{'0', '9'}} }
func wordSet() runes  { return makeRunes([]span{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}) }
func blankSet() runes { return makeRunes([]span{{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}) }

// wideDigitSet and wideBlankSet are what some dialect takes for digits and white
// space; digitSet and blankSet are what every one does.
func wideDigitSet() runes { return digitSet().or(table(unicode.Nd)) }
func wideBlankSet() runes {
	return blankSet().or(makeRunes([]span{{'\v', '\v'}, {0x85, 0x85}, {0xFEFF, 0xFEFF}})).or(table(unicode.White_Space))
}

// agreed is the set of every dialect, or what none has in its own: an output must
// satisfy whichever reads it. Within [^…] the wide set is the one that is safe.
func (p *regexParser) agreed(narrow, wide runes, not bool) runes {
	set := narrow
	if not != p.inverted {
		set = wide
	}
	if not {
		set = set.not()
	}
	return set
}

// escape reads an escape that stands for characters.
func (p *regexParser) escape() (runes, error) {
	switch c := p.next(); c {
	case 'd', 'D':
		return p.agreed(digitSet(), wideDigitSet(), c == 'D'), nil
	case 'w':
		return wordSet(), nil
	case 'W':
		return wordSet().not(), nil
	case 's', 'S':
		return p.agreed(blankSet(), wideBlankSet(), c == 'S'), nil
	case 'p', 'P':
		return p.property(c == 'P')
	case 'x':
		return p.hex(2)
	case 'u':
		return p.hex(4)
	case 'c':
		if l := p.next(); l >= 'A' && l <= 'Z' || l >= 'a' && l <= 'z' {
			return oneRune(l & 31), nil
		}
		return nil, p.errorf("\\c needs a letter")
	case -1:
		return nil, p.errorf("a backslash at the end")
	default:
		return p.plainEscape(c)
	}
}

func (p *regexParser) plainEscape(c rune) (runes, error) {
	if next := p.peek(); c == '0' && next >= '0' && next <= '9' {
		return nil, p.errorf("octal escapes are not supported: write \\xHH")
	}
	if i := strings.IndexRune("tnrfv0a", c); i >= 0 {
		return oneRune(rune("\t\n\r\f\v\x00\a"[i])), nil
	}
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '1' && c <= '9' {
		return nil, p.errorf("escape \\%c is not supported", c)
	}
	return oneRune(c), nil
}

// hex reads the digits of \xHH, \x{…}, \uHHHH or \u{…}.
func (p *regexParser) hex(n int) (runes, error) {
	digits := ""
	if p.take("{") {
		end := strings.IndexByte(p.src[p.at:], '}')
		if end < 0 {
			return nil, p.errorf("missing }")
		}
		digits = p.src[p.at : p.at+end]
		p.at += end + 1
	} else if p.at+n <= len(p.src) {
		digits = p.src[p.at : p.at+n]
		p.at += n
	}
	v, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || v > unicode.MaxRune {
		return nil, p.errorf("%.20q is no character's number in hexadecimal", digits)
	}
	if v >= surrogateLo && v <= surrogateHi {
		return nil, p.errorf("surrogates are not supported: write the character itself or \\u{…}")
	}
	return oneRune(rune(v)), nil
}

// property reads what follows \p.
func (p *regexParser) property(not bool) (runes, error) {
	name := ""
	if p.take("{") {
		end := strings.IndexByte(p.src[p.at:], '}')
		if end < 0 {
			return nil, p.errorf("missing }")
		}
		name = p.src[p.at : p.at+end]
		p.at += end + 1
	} else if c := p.next(); c > 0 {
		name = string(c)
	}
	set, ok := propertySet(name)
	if !ok {
		return nil, p.errorf("Unicode property %.40q is not known", name)
	}
	if not {
		set = set.not()
	}
	return set, nil
}

func propertySet(name string) (runes, bool) {
	for _, prefix := range []string{"General_Category=", "gc=", "Script=", "sc="} {
		name = strings.TrimPrefix(name, prefix)
	}
	long := map[string]string{"Letter": "L", "Alphabetic": "L", "Lowercase_Letter": "Ll", "Uppercase_Letter": "Lu", "Number": "N",
		"Decimal_Number": "Nd", "Punctuation": "P", "Symbol": "S", "Separator": "Z", "Mark": "M"}
	if s, ok := long[name]; ok {
		name = s
	}
	if t := unicode.Categories[name]; t != nil {
		return table(t), true
	}
	if t := unicode.Scripts[name]; t != nil {
		return table(t), true
	}
	return nil, false
}

// class reads a bracket expression after its opening bracket.
func (p *regexParser) class() (runes, error) {
	not := p.take("^")
	p.inverted = not
	defer func() { p.inverted = false }()
	var set runes
	for first := true; ; first = false {
		if p.peek() < 0 {
			return nil, p.errorf("missing ]")
		}
		if !first && p.take("]") || first && p.peek() == ']' && p.emptyClass() {
			break
		}
		part, err := p.classPart()
		if err != nil {
			return nil, err
		}
		set = set.or(part)
	}
	set = p.cased(set)
	if not {
		set = set.not()
	}
	return set, nil
}

// emptyClass tells apart []…] (a bracket first, as RE2 and Python have it) from
// [] (nothing, as ECMA-262 has it): the latter if no other bracket closes it.
func (p *regexParser) emptyClass() bool {
	if strings.IndexByte(p.src[p.at+1:], ']') < 0 {
		p.at++
		return true
	}
	return false
}

// classPart reads a character, a range or an escape of a class.
func (p *regexParser) classPart() (runes, error) {
	if strings.HasPrefix(p.src[p.at:], "[:") {
		return p.posix()
	}
	lo, single, err := p.classItem()
	if err != nil || !single || p.peek() != '-' {
		return lo, err
	}
	rest := p.src[p.at+1:]
	if rest == "" || rest[0] == ']' {
		return lo, nil
	}
	p.at++
	hi, single, err := p.classItem()
	if err != nil {
		return nil, err
	}
	if !single { // [a-\d]: three things
		return lo.or(oneRune('-')).or(hi), nil
	}
	if lo[0].lo > hi[0].lo {
		return nil, p.errorf("range %c-%c is backwards", lo[0].lo, hi[0].lo)
	}
	return makeRunes([]span{{lo[0].lo, hi[0].lo}}), nil
}

// classItem reads a single character or a set.
func (p *regexParser) classItem() (set runes, single bool, err error) {
	c := p.next()
	if c < 0 {
		return nil, false, p.errorf("missing ]")
	}
	if c != '\\' {
		return oneRune(c), true, nil
	}
	if p.take("b") {
		return oneRune('\b'), true, nil
	}
	if set, err = p.escape(); err != nil {
		return nil, false, err
	}
	return set, len(set) == 1 && set[0].lo == set[0].hi, nil
}

// posix reads [:alpha:] and kin.
func (p *regexParser) posix() (runes, error) {
	name, _, closed := strings.Cut(p.src[p.at+len("[:"):], ":]")
	if !closed || strings.ContainsRune(name, ']') { // [[:] is a class of two characters
		p.next()
		return oneRune('['), nil
	}
	letters := makeRunes([]span{{'A', 'Z'}, {'a', 'z'}})
	sets := map[string]runes{"alpha": letters, "digit": digitSet(), "alnum": letters.or(digitSet()), "word": wordSet(), "space": blankSet(),
		"upper": {{'A', 'Z'}}, "lower": {{'a', 'z'}}, "blank": makeRunes([]span{{' ', ' '}, {'\t', '\t'}}), "cntrl": makeRunes([]span{{0, 31}, {127, 127}}),
		"print": {{' ', '~'}}, "graph": {{'!', '~'}}, "xdigit": makeRunes([]span{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}),
		"punct": makeRunes([]span{{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}})}
	set, ok := sets[name]
	if !ok {
		return nil, p.errorf("class [:%.20s:] is not known", name)
	}
	p.at += len("[:" + name + ":]")
	return set, nil
}
