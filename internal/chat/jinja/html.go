package jinja

import (
	"html"
	"strings"
)

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

func escapeHTML(s string) string { return htmlEscaper.Replace(s) }

// escaped is escapeHTML, paid for.
func (st *state) escaped(v Value, again bool) (Value, error) {
	if isMarkup(v) && !again {
		return v, nil
	}
	s, err := st.str(v)
	if err != nil {
		return nil, err
	}
	if err := st.alloc(6 * len(s)); err != nil {
		return nil, err
	}
	return &text{s: escapeHTML(s), safe: true}, nil
}

func doEscape(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("escape", 0); err != nil {
		return nil, err
	}
	return st.escaped(in, false)
}

func doForceEscape(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("forceescape", 0); err != nil {
		return nil, err
	}
	return st.escaped(in, true)
}

func doSafe(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("safe", 0); err != nil {
		return nil, err
	}
	s, err := st.str(in)
	if err != nil {
		return nil, err
	}
	return &text{s: s, safe: true}, nil
}

// doStripTags drops comments, then tags, and makes white space single.
func doStripTags(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("striptags", 0); err != nil {
		return nil, err
	}
	s, err := st.str(in)
	if err != nil {
		return nil, err
	}
	if err := st.alloc(2 * len(s)); err != nil {
		return nil, err
	}
	s = dropBetween(s, "<!--", "-->")
	s = dropBetween(s, "<", ">")
	return html.UnescapeString(strings.Join(strings.FieldsFunc(s, isSpace), " ")), nil
}

// dropBetween removes each stretch from left to right. What is not closed stays.
func dropBetween(s, left, right string) string {
	var b strings.Builder
	for {
		i := strings.Index(s, left)
		if i < 0 {
			break
		}
		j := strings.Index(s[i:], right)
		if j < 0 {
			break
		}
		b.WriteString(s[:i])
		s = s[i+j+len(right):]
	}
	b.WriteString(s)
	return b.String()
}

// quoteURL percent-encodes all but letters, digits, "_.-~" and the bytes of keep.
func quoteURL(s, keep string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case isDecimal(c), c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("_.-~", c) >= 0, strings.IndexByte(keep, c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

func (st *state) urlPart(v Value, query bool) (string, error) {
	s, err := st.str(v)
	if err != nil {
		return "", err
	}
	if err := st.alloc(3 * len(s)); err != nil {
		return "", err
	}
	if query {
		return strings.ReplaceAll(quoteURL(s, " "), " ", "+"), nil
	}
	return quoteURL(s, "/"), nil
}

func doURLEncode(st *state, in Value, a *args) (Value, error) {
	if _, err := a.bind("urlencode", 0); err != nil {
		return nil, err
	}
	if _, isString := asString(in); isString || !isIterable(in) {
		return stringOrErr(st.urlPart(in, false))
	}
	if d, ok := in.(*Dict); ok {
		in = &dictView{d, itemsView}
	}
	pairs, err := st.list(in)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range pairs {
		kv, err := st.unpack(p, 2)
		if err != nil {
			return nil, err
		}
		k, err := st.urlPart(kv[0], true)
		if err != nil {
			return nil, err
		}
		v, err := st.urlPart(kv[1], true)
		if err != nil {
			return nil, err
		}
		out = append(out, k+"="+v)
	}
	return strings.Join(out, "&"), nil
}
