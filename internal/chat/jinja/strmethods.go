package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// strMethods are the methods of str. Those that deal in bytes (encode) or
// tables (translate) are left out.
var strMethods = map[string]methodFunc{
	"upper":      mapped("upper", upper),
	"lower":      mapped("lower", lower),
	"casefold":   mapped("casefold", func(s string) string { return strings.ReplaceAll(lower(s), "ß", "ss") }),
	"title":      mapped("title", title),
	"capitalize": mapped("capitalize", capitalize),
	"swapcase":   mapped("swapcase", swapCase),

	"strip":  strip("strip", strings.TrimFunc),
	"lstrip": strip("lstrip", strings.TrimLeftFunc),
	"rstrip": strip("rstrip", strings.TrimRightFunc),

	"isalpha":   tested("isalpha", func(s string) bool { return all(s, unicode.IsLetter) }),
	"isdigit":   tested("isdigit", func(s string) bool { return all(s, isDigit) }),
	"isdecimal": tested("isdecimal", func(s string) bool { return all(s, func(r rune) bool { return unicode.Is(unicode.Nd, r) }) }),
	"isnumeric": tested("isnumeric", func(s string) bool { return all(s, unicode.IsNumber) }),
	"isalnum": tested("isalnum", func(s string) bool {
		return all(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	}),
	"isspace":      tested("isspace", func(s string) bool { return all(s, isSpace) }),
	"isupper":      tested("isupper", func(s string) bool { return hasCase(s, unicode.IsUpper, unicode.IsLower) }),
	"islower":      tested("islower", func(s string) bool { return hasCase(s, unicode.IsLower, unicode.IsUpper) }),
	"istitle":      tested("istitle", isTitle),
	"isascii":      tested("isascii", isASCII),
	"isidentifier": tested("isidentifier", isIdentifier),
	"isprintable":  tested("isprintable", func(s string) bool { return s == "" || all(s, unicode.IsPrint) }),

	"startswith":   affix("startswith", strings.HasPrefix),
	"endswith":     affix("endswith", strings.HasSuffix),
	"removeprefix": trimmed("removeprefix", strings.TrimPrefix),
	"removesuffix": trimmed("removesuffix", strings.TrimSuffix),

	"find":   search("find", strings.Index, false),
	"rfind":  search("rfind", strings.LastIndex, false),
	"index":  search("index", strings.Index, true),
	"rindex": search("rindex", strings.LastIndex, true),

	"partition":  partition("partition", strings.Index),
	"rpartition": partition("rpartition", strings.LastIndex),

	"ljust":  justified("ljust", func(gap int) (int, int) { return 0, gap }),
	"rjust":  justified("rjust", func(gap int) (int, int) { return gap, 0 }),
	"center": justified("center", nil),

	"count":      strCount,
	"replace":    strReplace,
	"split":      strSplit,
	"rsplit":     strRSplit,
	"splitlines": strSplitLines,
	"join":       strJoin,
	"zfill":      strZfill,
	"expandtabs": strExpandTabs,
	"format":     strFormat,
	"format_map": strFormatMap,
}

// like marks s as safe if the string it was made from is.
func like(self Value, s string) Value {
	if isMarkup(self) {
		return &text{s: s, safe: true}
	}
	return s
}

func (st *state) likeAll(self Value, parts []string) (*List, error) {
	if err := st.alloc(product(len(parts), 2*bytesPerValue)); err != nil {
		return nil, err
	}
	l := &List{make([]Value, len(parts))}
	for i, p := range parts {
		l.items[i] = like(self, p)
	}
	return l, nil
}

// strArg is the i-th argument, which must be a string.
func (a *args) strArg(fn string, i int) (string, error) {
	s, ok := asString(a.pos[i])
	if !ok {
		return "", typeError("%s() argument %d must be str, not %s", fn, i+1, typeName(a.pos[i]))
	}
	return s, nil
}

// intOr is an optional integer argument.
func intOr(v Value, absent int) (int, error) {
	if v == nil || v == None {
		return absent, nil
	}
	n, ok := asInt(v)
	if !ok {
		return 0, typeError("'%s' object cannot be interpreted as an integer", typeName(v))
	}
	const most = 1 << 50 // keeps sums of such numbers within an int
	return int(min(max(n, -most), most)), nil
}

// mapping pays for an operation that maps each character of s.
func (st *state) mapping(s string) error {
	if err := st.walk(len(s)); err != nil {
		return err
	}
	return st.alloc(2 * len(s))
}

func mapped(name string, f func(string) string) methodFunc {
	return func(st *state, self Value, a *args) (Value, error) {
		s, _ := asString(self)
		if err := a.positional("str."+name, 0, 0); err != nil {
			return nil, err
		}
		if err := st.mapping(s); err != nil {
			return nil, err
		}
		return like(self, f(s)), nil
	}
}

func tested(name string, f func(string) bool) methodFunc {
	return func(st *state, self Value, a *args) (Value, error) {
		s, _ := asString(self)
		if err := a.positional("str."+name, 0, 0); err != nil {
			return nil, err
		}
		return f(s), st.walk(len(s))
	}
}

func strip(name string, trim func(string, func(rune) bool) string) methodFunc {
	return func(st *state, self Value, a *args) (Value, error) {
		s, _ := asString(self)
		if err := a.positional(name, 0, 1); err != nil {
			return nil, err
		}
		drop := isSpace
		if len(a.pos) == 1 && a.pos[0] != None {
			chars, ok := asString(a.pos[0])
			if !ok {
				return nil, typeError("%s arg must be None or str", name)
			}
			drop = func(r rune) bool { return strings.ContainsRune(chars, r) }
			if err := st.scan(len(chars)); err != nil {
				return nil, err
			}
		}
		out := trim(s, drop)
		if len(out) == len(s) {
			return self, nil
		}
		return like(self, out), st.walk(len(s) - len(out))
	}
}

func affix(name string, has func(s, affix string) bool) methodFunc {
	return func(st *state, self Value, a *args) (Value, error) {
		if err := a.positional(name, 1, 3); err != nil {
			return nil, err
		}
		s, _, inside, err := st.window(self, a.pos[1:])
		if err != nil {
			return nil, err
		}
		candidates := []Value{a.pos[0]}
		if t, ok := a.pos[0].(*Tuple); ok {
			candidates = t.items
		}
		for _, c := range candidates {
			fix, ok := asString(c)
			if !ok {
				return nil, typeError("%s first arg must be str or a tuple of str, not %s", name, typeName(c))
			}
			if inside && has(s, fix) {
				return true, st.scan(len(fix))
			}
		}
		return false, nil
	}
}

// window is the part of a string between optional bounds in code points, and
// how many code points stand before it. inside is false if the start lies
// behind the string's end.
func (st *state) window(self Value, bounds []Value) (part string, before int, inside bool, err error) {
	s, _ := asString(self)
	if len(bounds) == 0 {
		return s, 0, true, nil
	}
	n, err := st.runes(s)
	if err != nil {
		return "", 0, false, err
	}
	start, err := intOr(bounds[0], 0)
	if err != nil {
		return "", 0, false, err
	}
	end := n
	if len(bounds) > 1 {
		if end, err = intOr(bounds[1], n); err != nil {
			return "", 0, false, err
		}
	}
	if start < 0 {
		start = max(0, start+n)
	}
	if end < 0 {
		end = max(0, end+n)
	}
	if start > min(end, n) {
		return "", start, false, nil
	}
	from, to := byteOffset(s, start), byteOffset(s, min(end, n))
	return s[from:to], start, true, nil
}

func trimmed(name string, trim func(s, fix string) string) methodFunc {
	return func(st *state, self Value, a *args) (Value, error) {
		s, _ := asString(self)
		if err := a.positional("str."+name, 1, 1); err != nil {
			return nil, err
		}
		fix, ok := asString(a.pos[0])
		if !ok {
			return nil, typeError("%s() argument must be str, not %s", name, typeName(a.pos[0]))
		}
		return like(self, trim(s, fix)), st.scan(len(fix))
	}
}

func search(name string, index func(s, sub string) int, must bool) methodFunc {
	return func(st *state, self Value, a *args) (Value, error) {
		if err := a.positional(name, 1, 3); err != nil {
			return nil, err
		}
		sub, ok := asString(a.pos[0])
		if !ok {
			return nil, typeError("must be str, not %s", typeName(a.pos[0]))
		}
		s, before, inside, err := st.window(self, a.pos[1:])
		if err != nil {
			return nil, err
		}
		at := -1
		if inside {
			at = index(s, sub)
		}
		if at < 0 {
			if must {
				return nil, valueError("substring not found")
			}
			return int64(-1), st.scan(len(s))
		}
		n, err := st.runes(s[:at])
		return int64(before + n), err
	}
}

func partition(name string, index func(s, sub string) int) methodFunc {
	return func(st *state, self Value, a *args) (Value, error) {
		s, _ := asString(self)
		if err := a.positional("str."+name, 1, 1); err != nil {
			return nil, err
		}
		sep, ok := asString(a.pos[0])
		if !ok {
			return nil, typeError("must be str, not %s", typeName(a.pos[0]))
		}
		if sep == "" {
			return nil, valueError("empty separator")
		}
		parts := [3]string{s, "", ""}
		if at := index(s, sep); at >= 0 {
			parts = [3]string{s[:at], sep, s[at+len(sep):]}
		} else if name == "rpartition" {
			parts = [3]string{"", "", s}
		}
		t := &Tuple{}
		for _, p := range parts {
			t.items = append(t.items, like(self, p))
		}
		return t, st.scan(len(s))
	}
}

// justified pads a string to a width; share splits the gap into left and
// right, nil meaning as str.center does.
func justified(name string, share func(gap int) (left, right int)) methodFunc {
	return func(st *state, self Value, a *args) (Value, error) {
		if err := a.positional(name, 1, 2); err != nil {
			return nil, err
		}
		fill := " "
		if len(a.pos) == 2 {
			var ok bool
			if fill, ok = asString(a.pos[1]); !ok || utf8.RuneCountInString(fill) != 1 {
				return nil, typeError("The fill character must be exactly one character long")
			}
		}
		width, err := intOr(a.pos[0], 0)
		if err != nil {
			return nil, err
		}
		s, _ := asString(self)
		out, err := st.pad(s, width, fill, share)
		return like(self, out), err
	}
}

func (st *state) pad(s string, width int, fill string, share func(gap int) (left, right int)) (string, error) {
	n, err := st.runes(s)
	if err != nil || width <= n {
		return s, err
	}
	gap := width - n
	left := gap/2 + gap&width&1 // as CPython rounds
	right := gap - left
	if share != nil {
		left, right = share(gap)
	}
	if err := st.alloc(len(s) + product(gap, len(fill))); err != nil {
		return "", err
	}
	return strings.Repeat(fill, left) + s + strings.Repeat(fill, right), nil
}

func strCount(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("count", 1, 3); err != nil {
		return nil, err
	}
	sub, ok := asString(a.pos[0])
	if !ok {
		return nil, typeError("must be str, not %s", typeName(a.pos[0]))
	}
	s, _, inside, err := st.window(self, a.pos[1:])
	if err != nil || !inside {
		return int64(0), err
	}
	return int64(strings.Count(s, sub)), st.scan(len(s))
}

func strReplace(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("replace", 2, 3); err != nil {
		return nil, err
	}
	old, err := a.strArg("replace", 0)
	if err != nil {
		return nil, err
	}
	with, err := a.strArg("replace", 1)
	if err != nil {
		return nil, err
	}
	count := -1
	if len(a.pos) == 3 {
		if count, err = intOr(a.pos[2], -1); err != nil {
			return nil, err
		}
	}
	if isMarkup(self) && !isMarkup(a.pos[1]) {
		with = escapeHTML(with)
	}
	s, _ := asString(self)
	out, err := st.replace(s, old, with, count)
	return like(self, out), err
}

func (st *state) replace(s, old, with string, count int) (string, error) {
	if count < 0 {
		count = -1
	}
	n := strings.Count(s, old)
	if count >= 0 {
		n = min(n, count)
	}
	if n == 0 {
		return s, st.scan(len(s))
	}
	if err := st.alloc(len(s) + product(n, max(0, len(with)-len(old)))); err != nil {
		return "", err
	}
	return strings.Replace(s, old, with, count), nil
}

func strZfill(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("str.zfill", 1, 1); err != nil {
		return nil, err
	}
	width, err := intOr(a.pos[0], 0)
	if err != nil {
		return nil, err
	}
	s, _ := asString(self)
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	out, err := st.pad(s, width-len(sign), "0", func(gap int) (int, int) { return gap, 0 })
	return like(self, sign+out), err
}

func strExpandTabs(st *state, self Value, a *args) (Value, error) {
	vs, err := a.bind("expandtabs", 0, "tabsize")
	if err != nil {
		return nil, err
	}
	size, err := intOr(vs[0], 8)
	if err != nil {
		return nil, err
	}
	s, _ := asString(self)
	if err := st.alloc(len(s) + product(strings.Count(s, "\t"), size)); err != nil {
		return nil, err
	}
	var b strings.Builder
	column := 0
	for _, r := range s {
		switch {
		case r == '\t' && size > 0:
			n := size - column%size
			b.WriteString(strings.Repeat(" ", n))
			column += n
			continue
		case r == '\t':
			continue
		case r == '\n' || r == '\r':
			column = -1
		}
		b.WriteRune(r)
		column++
	}
	return like(self, b.String()), nil
}
