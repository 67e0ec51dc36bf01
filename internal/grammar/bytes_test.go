package grammar

import (
	"context"
	"testing"
)

// byteTokens is a vocabulary of single bytes, and an end token.
type byteTokens struct{}

func (byteTokens) VocabSize() int { return 257 }
func (byteTokens) Piece(id int32) []byte {
	if id < 256 {
		return []byte{byte(id)}
	}
	return nil
}
func (byteTokens) IsSpecial(id int32) bool { return id == 256 }

func byteVocab() *Vocab { return NewVocab(byteTokens{}, 257, []int32{256}) }

func mustCompile(t testing.TB, e Expr) *Grammar {
	t.Helper()
	g, err := Compile(context.Background(), e, byteVocab(), DefaultLimits())
	if err != nil {
		t.Fatalf("%.200v: %v", e, err)
	}
	return g
}

// matches tells whether a grammar takes a text as a whole.
func matches(g *Grammar, text string) bool {
	s, ok := g.Start().AcceptBytes([]byte(text))
	return ok && s.Accepting()
}

func TestExprs(t *testing.T) {
	tool := Alternatives{
		Sequence{Literal(`{"name": "f", "arguments": `), Schema(`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`), Literal("}")},
		Sequence{Literal(`{"name": "g", "arguments": `), Schema(`{"type":"array","items":{"type":"boolean"}}`), Literal("}")},
	}
	free := Free{Triggers: []Trigger{{Text: "<tool>", Then: Sequence{tool, Literal("</tool>")}}}, Again: true}
	for _, c := range []struct {
		e       Expr
		yes, no []string
	}{
		{Literal("abc"), []string{"abc"}, []string{"", "ab", "abcd"}},
		{Regex("[[:]x|[[:digit:]]"), []string{"[x", ":x", "7"}, []string{"", "["}},
		{Regex(`[^\Sx][^\s]`), []string{" x", "\ty"}, []string{"\ufeffx", "\u2028x", " \ufeff", "  "}}, // ECMA-262 and Go agree on all of yes
		{Regex(`[^\D][^\d]`), []string{"1x"}, []string{"\u0663x", "1\u0663", "11"}},
		{Regex("a+b?"), []string{"a", "aab"}, []string{"", "b", "abb"}},
		{Choice{"yes", "no", "nope"}, []string{"yes", "no", "nope"}, []string{"n", "yesno"}},
		{Repeat{Literal("ab"), 1, 3}, []string{"ab", "ababab"}, []string{"", "aba", "abababab"}},
		{FreeUntil("end"), []string{"end", "this is the endend"[:15], "eend", "enend"}, []string{"", "en", "end "}},
		{tool, []string{`{"name": "f", "arguments": {"a":1}}`, `{"name": "g", "arguments": [true, false]}`}, []string{`{"name": "f", "arguments": []}`, `{"name": "g"`}},
		{free, []string{"", "hello <tool", `x<tool>{"name": "f", "arguments": {"a":1}}</tool>y`, `<tool>{"name": "g", "arguments": []}</tool><tool>{"name": "g", "arguments": []}</tool>`},
			[]string{"<tool>", "a<tool>b", `<tool>{"name": "g", "arguments": []}`}},
	} {
		g := mustCompile(t, c.e)
		for _, s := range c.yes {
			if !matches(g, s) {
				t.Errorf("%v does not match %q", c.e, s)
			}
		}
		for _, s := range c.no {
			if matches(g, s) {
				t.Errorf("%v matches %q", c.e, s)
			}
		}
	}
}

func TestForced(t *testing.T) {
	g := mustCompile(t, Schema(`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"],"additionalProperties":false}`))
	for _, c := range []struct{ text, want string }{
		{`{`, ``},        // a blank, a newline or a key
		{`{"`, `name":`}, // and then a blank or not
		{`{"name": "a`, ``},
		{`{"name": "a"`, `,`}, // what follows commas is not known yet
		{`{"name": "a", `, `"age": `},
		{`{"name":"a",`, `"age":`[:0]},
		{`{"name":"a","`, `age":`},
		{`{"name":"a","age":1`, ``},
	} {
		s, ok := g.Start().AcceptBytes([]byte(c.text))
		if !ok {
			t.Fatalf("%s is not taken", c.text)
		}
		if got := string(s.Forced(100)); got != c.want {
			t.Errorf("after %s: forced %q, want %q", c.text, got, c.want)
		}
	}
}

// Every character is one, in its shortest form, and nothing else is.
func TestUTF8(t *testing.T) {
	for _, g := range []*Grammar{mustCompile(t, Regex("(?s).")), mustCompile(t, Schema(`{"type":"string","minLength":1,"maxLength":1}`))} {
		quote := ""
		if matches(g, `"a"`) {
			quote = `"`
		}
		for _, s := range []string{"a", "\u007f", "é", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"} {
			if s == `\` {
				continue
			}
			if !matches(g, quote+s+quote) {
				t.Errorf("%q is not matched", s)
			}
		}
		for _, s := range []string{"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\x80", "\xff"} {
			if matches(g, quote+s+quote) {
				t.Errorf("%q is matched", s)
			}
		}
	}
}

func TestSchemas(t *testing.T) {
	for _, c := range []struct {
		schema  string
		yes, no []string
	}{
		{`{}`, []string{`null`, `{"a":[1,2,{"b":"c"}]}`, `-1.5e3`, `"\u00e9\ud83d\ude00"`}, []string{``, `{`, `nul`, `01`, `"\ud83d"`, `[1,]`}},
		{`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["b"]}`,
			[]string{`{"b":"x"}`, `{"a": 1, "b": "x"}`, `{"b":"x","c":null}`, "{\n  \"b\": \"x\"\n}"},
			[]string{`{"a":1}`, `{"a":"1","b":"x"}`, `{"b":"x","a":"1"}`, `{}`}},
		{`{"type":"object","properties":{"a":{}, "b":{}},"additionalProperties":false,"minProperties":1}`, []string{`{"a":1}`, `{"b":1}`}, []string{`{}`, `{"c":1}`}},
		{`{"type":"integer","minimum":-5,"maximum":120}`, []string{"-5", "0", "9", "99", "120", "-0"}, []string{"-6", "121", "1000", "1.5", "007"}},
		{`{"type":"number","minimum":0.5,"exclusiveMaximum":10}`, []string{"0.5", "0.51", "9.999", "1", "1.0"}, []string{"0.49", "10", "10.0", "-1", "0"}},
		{`{"type":"number","multipleOf":0.25}`, []string{"0.25", "1", "1.50", "-0.75", "2.0"}, []string{"0.2", "1.3"}},
		{`{"type":"string","minLength":2,"maxLength":3}`, []string{`"ab"`, `"ééé"`, `"\n\u0041"`}, []string{`"a"`, `"abcd"`, `""`}},
		{`{"type":"string","pattern":"^a+$","minLength":2,"maxLength":3}`, []string{`"aa"`, `"aaa"`}, []string{`"a"`, `"aaaa"`, `"ab"`}},
		{`{"type":"string","pattern":"b"}`, []string{`"abc"`}, []string{`"ac"`}},
		{`{"type":"string","format":"date"}`, []string{`"2024-02-29"`, `"2023-12-31"`}, []string{`"2023-02-29"`, `"2023-13-01"`}},
		{`{"enum":[1,"a",null,{"x":[1,2]}]}`, []string{`1`, `"a"`, `null`, `{"x":[1,2]}`, `{"x": [1, 2]}`}, []string{`2`, `"b"`, `{}`}},
		{`{"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3}`, []string{`[1]`, `[1, 2,3]`}, []string{`[]`, `[1,2,3,4]`, `["a"]`}},
		{`{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false}`, []string{`[]`, `[1]`, `[1,"a"]`}, []string{`["a"]`, `[1,"a",2]`}},
		{`{"$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"$ref":"#/$defs/n"}},"required":["v"],"additionalProperties":false}},"$ref":"#/$defs/n"}`,
			[]string{`{"v":1}`, `{"v":1,"next":{"v":2,"next":{"v":3}}}`}, []string{`{"v":1,"next":{}}`}},
		{`{"oneOf":[{"type":"integer"},{"type":"string","maxLength":1}]}`, []string{`1`, `"a"`}, []string{`"ab"`, `1.5`}},
		{`{"oneOf":[{"required":["a"]},{"required":["b"]}],"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"additionalProperties":false}`,
			[]string{`{"a":1}`, `{"b":1}`}, []string{`{}`, `{"a":1,"b":1}`}},
		{`{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}}},{"properties":{"a":{"minimum":3}},"required":["a"]}]}`, []string{`{"a":3}`}, []string{`{"a":2}`, `{}`}},
		{`{"type":"object","patternProperties":{"^x":{"type":"integer"}},"additionalProperties":{"type":"string"}}`, []string{`{"x1":1,"y":"a"}`}, []string{`{"x1":"a"}`, `{"y":1}`}},
		{`{"type":"object","properties":{"k":{"enum":["a","b"]}},"required":["k"],"if":{"properties":{"k":{"const":"a"}}},"then":{"required":["x"]},"else":{"required":["y"]}}`,
			[]string{`{"k":"a","x":1}`, `{"k":"b","y":1}`}, []string{`{"k":"a","y":1}`, `{"k":"b","x":1}`}},
		{`{"not":{"type":"string"}}`, []string{`1`, `{}`}, []string{`"a"`}},
		{`{"type":"string","not":{"enum":["ab","cd"]}}`, []string{`"a"`, `"abc"`}, []string{`"ab"`, `"cd"`}},
		{`{"type":"array","contains":{"type":"string"},"maxItems":2}`, []string{`["a"]`, `[1,"a"]`, `["a",1]`}, []string{`[]`, `[1,2]`, `[1]`}},
		{`{"type":["string","null"]}`, []string{`null`, `"a"`}, []string{`1`}},
		{`{"properties":{"a":{"type":"integer"}},"dependentRequired":{"a":["b"]},"type":"object"}`, []string{`{}`, `{"b":1}`, `{"a":1,"b":1}`}, []string{`{"a":1}`}},
		{`{"type":"object","propertyNames":{"pattern":"^[a-z]+$"}}`, []string{`{"abc":1}`}, []string{`{"A":1}`}},
		{`{"type":"object","properties":{"a":false},"additionalProperties":{"type":"integer"}}`, []string{`{"b":1,"ab":2}`}, []string{`{"a":1}`}},
	} {
		g := mustCompile(t, Schema(c.schema))
		for _, s := range c.yes {
			if !matches(g, s) {
				t.Errorf("%s does not match %s", c.schema, s)
			}
		}
		for _, s := range c.no {
			if matches(g, s) {
				t.Errorf("%s matches %s", c.schema, s)
			}
		}
	}
}

func hasBit(mask []uint64, id int32) bool {
	return int(id>>6) < len(mask) && mask[id>>6]>>(id&63)&1 == 1
}
