package grammar

// op says what a tree stands for.
type op uint8

const (
	opSeq    op = iota // subs, one after another; none: the empty text
	opClass            // one character of set
	opAlt              // one of subs; none: nothing at all
	opRepeat           // subs[0], min to max times
	opBegin            // the text's beginning
	opEnd              // its end
	opRef              // the rule named name
	opAhead            // from here on the text must not match subs[0]; only where a pattern begins
)

// unbounded is a Repeat's max.
const unbounded = -1

// tree is what the front ends for regular expressions, GBNF and Lark read: a
// regular expression that may refer to rules.
type tree struct {
	op       op
	set      runes
	subs     []*tree
	min, max int
	name     string
	atom     bool // of Lark: a terminal
}

func seqOf(subs ...*tree) *tree {
	if len(subs) == 1 {
		return subs[0]
	}
	return &tree{op: opSeq, subs: subs}
}

func altOf(subs ...*tree) *tree {
	if len(subs) == 1 {
		return subs[0]
	}
	return &tree{op: opAlt, subs: subs}
}

func classOf(set runes) *tree { return &tree{op: opClass, set: set} }
func refTo(name string) *tree { return &tree{op: opRef, name: name} }
func repeatOf(x *tree, lo, hi int) *tree {
	return &tree{op: opRepeat, subs: []*tree{x}, min: lo, max: hi}
}

// textOf matches a text and nothing else.
func textOf(s string) *tree {
	t := &tree{op: opSeq}
	for _, r := range s {
		t.subs = append(t.subs, classOf(oneRune(r)))
	}
	return t
}

// foldedText matches a text in any case.
func foldedText(s string) *tree {
	t := &tree{op: opSeq}
	for _, r := range s {
		t.subs = append(t.subs, classOf(oneRune(r).folded()))
	}
	return t
}

// walk calls f with t and all below it.
func (t *tree) walk(f func(*tree)) {
	f(t)
	for _, s := range t.subs {
		s.walk(f)
	}
}
