package jinja

import (
	"strings"
	"unicode/utf8"
)

// The methods of str that take strings apart and join them.

// splitArgs are the arguments of split and rsplit; a nil sep means white space.
func (st *state) splitArgs(name string, self Value, a *args) (s string, sep *string, most int, err error) {
	s, _ = asString(self)
	vs, err := a.bind(name, 0, "sep", "maxsplit")
	if err != nil {
		return "", nil, 0, err
	}
	if most, err = intOr(vs[1], -1); err != nil {
		return "", nil, 0, err
	}
	if vs[0] != nil && vs[0] != None {
		given, ok := asString(vs[0])
		switch {
		case !ok:
			return "", nil, 0, typeError("must be str or None, not %s", typeName(vs[0]))
		case given == "":
			return "", nil, 0, valueError("empty separator")
		}
		sep = &given
	}
	pieces := len(s)/2 + 1
	if sep != nil {
		pieces = strings.Count(s, *sep) + 1
	}
	if most >= 0 {
		pieces = min(pieces, most+1)
	}
	if err := st.walk(len(s)); err != nil {
		return "", nil, 0, err
	}
	return s, sep, most, st.alloc(product(pieces, bytesPerValue))
}

func strSplit(st *state, self Value, a *args) (Value, error) {
	s, sep, most, err := st.splitArgs("split", self, a)
	if err != nil {
		return nil, err
	}
	if sep == nil {
		return st.likeAll(self, fields(s, most))
	}
	if most < 0 {
		return st.likeAll(self, strings.Split(s, *sep))
	}
	return st.likeAll(self, strings.SplitN(s, *sep, most+1))
}

// fields splits at white space, at most so many times if most is not negative;
// the rest then keeps its white space.
func fields(s string, most int) []string {
	if most < 0 {
		return strings.FieldsFunc(s, isSpace)
	}
	var out []string
	s = strings.TrimLeftFunc(s, isSpace)
	for s != "" {
		end := strings.IndexFunc(s, isSpace)
		if end < 0 || len(out) == most {
			out = append(out, s)
			break
		}
		out = append(out, s[:end])
		s = strings.TrimLeftFunc(s[end:], isSpace)
	}
	return out
}

func strRSplit(st *state, self Value, a *args) (Value, error) {
	s, sep, most, err := st.splitArgs("rsplit", self, a)
	if err != nil {
		return nil, err
	}
	if most < 0 {
		return strSplit(st, self, a)
	}
	var out []string
	if sep == nil {
		s = strings.TrimRightFunc(s, isSpace)
	}
	for len(out) < most {
		at, end := -1, 0
		if sep != nil {
			at = strings.LastIndex(s, *sep)
			end = at + len(*sep)
		} else if at = strings.LastIndexFunc(s, isSpace); at >= 0 {
			_, n := utf8.DecodeRuneInString(s[at:])
			end = at + n
		}
		if at < 0 {
			break
		}
		out = append(out, s[end:])
		if s = s[:at]; sep == nil {
			s = strings.TrimRightFunc(s, isSpace)
		}
	}
	if sep != nil || s != "" {
		out = append(out, s)
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return st.likeAll(self, out)
}

// lines splits after each of the line ends Python knows.
func lines(s string, keepEnds bool) []string {
	var out []string
	for s != "" {
		end, size := len(s), 0
		for i, r := range s {
			if r == '\n' || r == '\v' || r == '\f' || r == '\r' || r >= 0x1c && r <= 0x1e || r == 0x85 || r == 0x2028 || r == 0x2029 {
				end, size = i, utf8.RuneLen(r)
				if strings.HasPrefix(s[i:], "\r\n") {
					size = 2
				}
				break
			}
		}
		line := s[:end]
		if keepEnds {
			line = s[:end+size]
		}
		out = append(out, line)
		s = s[end+size:]
	}
	return out
}

// splitLines is lines, paid for.
func (st *state) splitLines(s string, keepEnds bool) ([]string, error) {
	if err := st.walk(len(s)); err != nil {
		return nil, err
	}
	out := lines(s, keepEnds)
	return out, st.alloc(product(len(out), bytesPerValue))
}

func strSplitLines(st *state, self Value, a *args) (Value, error) {
	vs, err := a.bind("splitlines", 0, "keepends")
	if err != nil {
		return nil, err
	}
	keep := false
	if vs[0] != nil {
		if keep, err = st.truth(vs[0]); err != nil {
			return nil, err
		}
	}
	s, _ := asString(self)
	out, err := st.splitLines(s, keep)
	if err != nil {
		return nil, err
	}
	return st.likeAll(self, out)
}

func strJoin(st *state, self Value, a *args) (Value, error) {
	if err := a.positional("str.join", 1, 1); err != nil {
		return nil, err
	}
	vs, err := st.list(a.pos[0])
	if err != nil {
		if isFault(err, "TypeError") {
			return nil, typeError("can only join an iterable")
		}
		return nil, err
	}
	sep, _ := asString(self)
	return st.join(sep, isMarkup(self), vs, func(i int, v Value) (string, error) {
		s, ok := asString(v)
		if !ok {
			return "", typeError("sequence item %d: expected str instance, %s found", i, typeName(v))
		}
		if isMarkup(self) && !isMarkup(v) {
			s = escapeHTML(s)
		}
		return s, nil
	})
}

// join joins what text gives for each value.
func (st *state) join(sep string, safe bool, vs []Value, textOf func(i int, v Value) (string, error)) (Value, error) {
	var b strings.Builder
	for i, v := range vs {
		s, err := textOf(i, v)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			s2 := len(s) + len(sep)
			if err := st.alloc(2 * s2); err != nil {
				return nil, err
			}
			b.WriteString(sep)
		} else if err := st.alloc(2 * len(s)); err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	if safe {
		return &text{s: b.String(), safe: true}, nil
	}
	return b.String(), st.tick(len(vs))
}
