package jinja

import (
	"math"
	"strings"
	"unicode"
)

// filterFunc is a filter: in stands left of the bar.
type filterFunc func(st *state, in Value, a *args) (Value, error)

// filters are Jinja's, with Transformers' tojson.
var filters = map[string]filterFunc{
	"abs":            doAbs,
	"attr":           doAttr,
	"batch":          doBatch,
	"capitalize":     strMapped("capitalize", capitalize),
	"center":         doCenter,
	"count":          doLength,
	"d":              doDefault,
	"default":        doDefault,
	"dictsort":       doDictSort,
	"e":              doEscape,
	"escape":         doEscape,
	"filesizeformat": doFileSize,
	"first":          doFirst,
	"float":          doFloat,
	"forceescape":    doForceEscape,
	"format":         doFormat,
	"groupby":        doGroupBy,
	"indent":         doIndent,
	"int":            doInt,
	"items":          doItems,
	"join":           doJoin,
	"last":           doLast,
	"length":         doLength,
	"list":           doList,
	"lower":          strMapped("lower", lower),
	"map":            doMap,
	"max":            extreme("max", 1),
	"min":            extreme("min", -1),
	"pprint":         refusedFilter("pprint", "use tojson(indent=2) to see a value"),
	"random":         refusedFilter("random", "a chat template must give the same text each time"),
	"reject":         selecting("reject", false, false),
	"rejectattr":     selecting("rejectattr", false, true),
	"replace":        doReplace,
	"reverse":        doReverse,
	"round":          doRound,
	"safe":           doSafe,
	"select":         selecting("select", true, false),
	"selectattr":     selecting("selectattr", true, true),
	"slice":          doSlice,
	"sort":           doSort,
	"string":         doString,
	"striptags":      doStripTags,
	"sum":            doSum,
	"title":          strMapped("title", titleWords),
	"tojson":         doToJSON,
	"trim":           doTrim,
	"truncate":       doTruncate,
	"unique":         doUnique,
	"upper":          strMapped("upper", upper),
	"urlencode":      doURLEncode,
	"urlize":         refusedFilter("urlize", "a chat template's output is not HTML"),
	"wordcount":      doWordCount,
	"wordwrap":       refusedFilter("wordwrap", "wrapped text depends on the width of a screen"),
	"xmlattr":        refusedFilter("xmlattr", "a chat template's output is not HTML"),
}

func refusedFilter(name, why string) filterFunc {
	return func(*state, Value, *args) (Value, error) {
		return nil, typeError("the filter %s is not supported: %s", quote(name), why)
	}
}

// soft is v if it is a string, else its text.
func (st *state) soft(v Value) (Value, string, error) {
	if s, ok := asString(v); ok {
		return v, s, nil
	}
	s, err := st.str(v)
	return s, s, err
}

func strMapped(name string, f func(string) string) filterFunc {
	return func(st *state, in Value, a *args) (Value, error) {
		if _, err := a.bind(name, 0); err != nil {
			return nil, err
		}
		v, s, err := st.soft(in)
		if err != nil {
			return nil, err
		}
		if err := st.mapping(s); err != nil {
			return nil, err
		}
		return like(v, f(s)), nil
	}
}

// titleWords is the filter title, which differs from the method: letters
// after an apostrophe stay small.
func titleWords(s string) string {
	var b strings.Builder
	start := true
	for _, r := range s {
		switch {
		case r == '-' || r == '(' || r == '{' || r == '[' || r == '<' || isSpace(r):
			start = true
			b.WriteRune(r)
			continue
		case start:
			b.WriteString(upper(string(r)))
		default:
			b.WriteString(lower(string(r)))
		}
		start = false
	}
	return b.String()
}

func doString(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("string", 0); err != nil {
		return nil, err
	}
	v, _, err := st.soft(in)
	return v, err
}

func doTrim(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("trim", 0, "chars")
	if err != nil {
		return nil, err
	}
	v, _, err := st.soft(in)
	if err != nil {
		return nil, err
	}
	b := &args{}
	if vs[0] != nil {
		b.pos = vs
	}
	return strMethods["strip"](st, v, b)
}

func doCenter(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("center", 0, "width")
	if err != nil {
		return nil, err
	}
	width, err := intOr(vs[0], 80)
	if err != nil {
		return nil, err
	}
	v, s, err := st.soft(in)
	if err != nil {
		return nil, err
	}
	out, err := st.pad(s, width, " ", nil)
	return like(v, out), err
}

func doReplace(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("replace", 2, "old", "new", "count")
	if err != nil {
		return nil, err
	}
	count, err := intOr(vs[2], -1)
	if err != nil {
		return nil, err
	}
	var texts [3]string
	for i, v := range []Value{in, vs[0], vs[1]} {
		if texts[i], err = st.str(v); err != nil {
			return nil, err
		}
	}
	return stringOrErr(st.replace(texts[0], texts[1], texts[2], count))
}

func doDefault(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("default", 0, "default_value", "boolean")
	if err != nil {
		return nil, err
	}
	if vs[0] == nil {
		vs[0] = ""
	}
	if _, ok := in.(*Undefined); ok {
		return vs[0], nil
	}
	if vs[1] != nil {
		whenFalse, err := st.truth(vs[1])
		if err != nil {
			return nil, err
		}
		if whenFalse {
			if yes, err := st.truth(in); !yes || err != nil {
				return vs[0], err
			}
		}
	}
	return in, nil
}

func doLength(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("len", 0); err != nil {
		return nil, err
	}
	n, err := st.length(in)
	return int64(n), err
}

func doAbs(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("abs", 0); err != nil {
		return nil, err
	}
	if u, ok := in.(*Undefined); ok {
		return nil, typeError("bad operand type for abs(): '%s'", typeName(u))
	}
	if n, ok := asInt(in); ok {
		if n < 0 {
			return st.sign("-", n)
		}
		return n, nil
	}
	if f, ok := in.(float64); ok {
		return math.Abs(f), nil
	}
	return nil, typeError("bad operand type for abs(): '%s'", typeName(in))
}

func doAttr(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("attr", 1, "name")
	if err != nil {
		return nil, err
	}
	name, ok := asString(vs[0])
	if !ok {
		return nil, typeError("attribute name must be string, not '%s'", typeName(vs[0]))
	}
	v, err := st.attribute(in, name)
	if v == nil && err == nil {
		v = undefinedAttr(in, name)
	}
	return v, err
}

func doIndent(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("indent", 0, "width", "first", "blank")
	if err != nil {
		return nil, err
	}
	flags := [2]bool{}
	for i, v := range vs[1:] {
		if v != nil {
			if flags[i], err = st.truth(v); err != nil {
				return nil, err
			}
		}
	}
	margin, isText := "", false
	if vs[0] != nil {
		margin, isText = asString(vs[0])
	}
	if !isText {
		width, err := intOr(vs[0], 4)
		if err != nil {
			return nil, err
		}
		if err := st.alloc(max(0, width)); err != nil {
			return nil, err
		}
		margin = strings.Repeat(" ", max(0, width))
	}
	s, ok := asString(in)
	if !ok {
		if _, ok := in.(*List); ok { // Python adds the newline to the list first
			return nil, classError("AttributeError", "'list' object has no attribute 'splitlines'")
		}
		if u, ok := in.(*Undefined); ok {
			return nil, u.fail(st)
		}
		if _, err := st.addSequences(in, "\n"); isFault(err, "TypeError") && isSequence(in) {
			return nil, err
		}
		return nil, unsupported("+=", in, "\n")
	}
	out, err := st.indent(s, margin, flags[0], flags[1])
	return like(in, out), err
}

// indent puts the margin before each line but, unless asked to, not before
// the first one and empty ones.
func (st *state) indent(s, margin string, first, blank bool) (string, error) {
	ls, err := st.splitLines(s+"\n", false)
	if err != nil {
		return "", err
	}
	if err := st.alloc(len(s) + product(len(ls), len(margin)+1)); err != nil {
		return "", err
	}
	var b strings.Builder
	for i, line := range ls {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == 0 && first || i > 0 && (blank || line != "") {
			b.WriteString(margin)
		}
		b.WriteString(line)
	}
	return b.String(), nil
}

func doTruncate(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("truncate", 0, "length", "killwords", "end", "leeway")
	if err != nil {
		return nil, err
	}
	length, err := intOr(vs[0], 255)
	if err != nil {
		return nil, err
	}
	leeway, err := intOr(vs[3], 5)
	if err != nil {
		return nil, err
	}
	end := "..."
	if vs[2] != nil {
		if end, err = st.str(vs[2]); err != nil {
			return nil, err
		}
	}
	endLen, err := st.runes(end)
	if err != nil {
		return nil, err
	}
	if length < endLen {
		return nil, classError("AssertionError", "expected length >= %d, got %d", endLen, length)
	}
	if leeway < 0 {
		return nil, classError("AssertionError", "expected leeway >= 0, got %d", leeway)
	}
	n, err := st.length(in)
	if err != nil || n <= length+leeway {
		return in, err
	}
	head, err := st.slice(in, [3]Value{None, int64(length - endLen), None})
	if err != nil {
		return nil, err
	}
	kill, err := st.flag(vs[1])
	if err != nil {
		return nil, err
	}
	if !kill {
		s, ok := asString(head)
		if !ok {
			return nil, classError("AttributeError", "'%s' object has no attribute 'rsplit'", typeName(head))
		}
		if at := strings.LastIndexByte(s, ' '); at >= 0 {
			head = like(head, s[:at])
		}
	}
	return st.arithmetic("+", head, end)
}

func isWordRune(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r)
}

func doWordCount(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("wordcount", 0); err != nil {
		return nil, err
	}
	_, s, err := st.soft(in)
	if err != nil {
		return nil, err
	}
	n, inWord := int64(0), false
	for _, r := range s {
		is := isWordRune(r)
		if is && !inWord {
			n++
		}
		inWord = is
	}
	return n, st.walk(len(s))
}

func doFormat(st *state, in Value, a *args) (Value, error) {
	if len(a.pos) > 0 && len(a.names) > 0 {
		return nil, filterError("can't handle positional and keyword arguments at the same time")
	}
	v, s, err := st.soft(in)
	if err != nil {
		return nil, err
	}
	var operand Value = &Tuple{items: a.pos}
	if len(a.names) > 0 {
		d := NewDict()
		for i, name := range a.names {
			if err := st.setItem(d, name, a.vals[i]); err != nil {
				return nil, err
			}
		}
		operand = d
	}
	return st.percent(s, isMarkup(v), operand)
}

func doRound(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("round", 0, "precision", "method")
	if err != nil {
		return nil, err
	}
	precision, err := intOr(vs[0], 0)
	if err != nil {
		return nil, err
	}
	how := "common"
	if vs[1] != nil {
		how, _ = asString(vs[1])
	}
	if how != "common" && how != "ceil" && how != "floor" {
		return nil, filterError("method must be common, ceil or floor")
	}
	if u, ok := in.(*Undefined); ok && how != "common" {
		return nil, u.fail(st)
	}
	if !isNumber(in) {
		return nil, typeError("type %s doesn't define __round__ method", typeName(in))
	}
	if how == "common" {
		return roundNumber(in, precision)
	}
	x, _ := toFloat(in)
	scale := math.Pow(10, float64(precision))
	if how == "ceil" {
		return math.Ceil(x*scale) / scale, nil
	}
	return math.Floor(x*scale) / scale, nil
}

func doInt(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("int", 0, "default", "base")
	if err != nil {
		return nil, err
	}
	if vs[0] == nil {
		vs[0] = int64(0)
	}
	base, err := intOr(vs[1], 10)
	if err != nil {
		return nil, err
	}
	if u, ok := in.(*Undefined); ok {
		return nil, u.fail(st)
	}
	if s, ok := asString(in); ok {
		if err := st.walk(2 * len(s)); err != nil {
			return nil, err
		}
		if n, ok := parseInt(s, base); ok {
			return n, nil
		}
		f, ok := parseFloat(s)
		if !ok {
			return vs[0], nil
		}
		in = f
	}
	if f, ok := in.(float64); ok {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return vs[0], nil
		}
		return truncateFloat(f), nil
	}
	if !isNumber(in) {
		return vs[0], nil
	}
	if n, ok := asInt(in); ok {
		return n, nil
	}
	return in, nil
}

func doFloat(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("float", 0, "default")
	if err != nil {
		return nil, err
	}
	if vs[0] == nil {
		vs[0] = 0.0
	}
	if u, ok := in.(*Undefined); ok {
		return nil, u.fail(st)
	}
	if s, ok := asString(in); ok {
		if err := st.walk(2 * len(s)); err != nil {
			return nil, err
		}
		if f, ok := parseFloat(s); ok {
			return f, nil
		}
		return vs[0], nil
	}
	if f, ok := toFloat(in); ok {
		return f, nil
	}
	return vs[0], nil
}

func doFileSize(st *state, in Value, a *args) (Value, error) {
	vs, err := a.bind("filesizeformat", 0, "binary")
	if err != nil {
		return nil, err
	}
	v, err := doFloat(st, in, &args{pos: []Value{None}})
	if err != nil {
		return nil, err
	}
	size, ok := v.(float64)
	if !ok {
		return nil, valueError("could not convert to float: %s", scalarRepr(in))
	}
	base, suffix := 1000.0, "B"
	units := "kMGTPEZY"
	if vs[0] != nil {
		binary, err := st.truth(vs[0])
		if err != nil {
			return nil, err
		}
		if binary {
			base, suffix, units = 1024, "iB", "KMGTPEZY"
		}
	}
	switch {
	case size == 1:
		return "1 Byte", nil
	case size < base:
		return scalarRepr(truncateFloat(size)) + " Bytes", nil
	}
	unit := base
	for i := range units {
		unit *= base
		if size < unit || i == len(units)-1 {
			return formatFixed(base*size/unit, 1) + " " + units[i:i+1] + suffix, nil
		}
	}
	return nil, nil
}
