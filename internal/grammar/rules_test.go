package grammar

import (
	"context"
	"strings"
	"testing"
)

const jsonGBNF = `# llama.cpp's own
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
`

const sumLark = `
?start: sum
?sum: product
    | sum "+" product   -> add
    | sum "-" product   -> sub
?product: atom | product "*" atom
?atom: NUMBER -> number
     | "-" atom
     | "(" sum ")"
     | NAME "=" sum
NAME: /[a-z]\w*/i
%import common.NUMBER
%import common.WS_INLINE
%ignore WS_INLINE
`

func TestRules(t *testing.T) {
	for _, c := range []struct {
		e       Expr
		yes, no []string
	}{
		{GBNF(jsonGBNF), []string{`{}`, `{"a": [1, -2.5e3, "x\n"], "b":{"c":null}}`}, []string{`[]`, `{"a"}`, `{"a":1,}`}},
		{GBNF(`root ::= "a" root "b" | ""`), []string{"", "ab", "aaabbb"}, []string{"aab", "ba"}},
		{GBNF(`root ::= root "+" x | x` + "\n" + `x ::= [0-9]{1,2}`), []string{"1", "1+22+3"}, []string{"", "1+", "123"}},
		{GBNF("root ::= a | b\na ::= b \"x\" | \"1\"\nb ::= a \"y\" | \"2\""), []string{"1", "2", "1y", "2x", "1yx", "2xyxy"}, []string{"x", "1x", "2y"}},
		{GBNF(`root ::= s` + "\n" + `s ::= "a" s "b" | "a" s "c" | "a"`), []string{"a", "aab", "aaacb"}, []string{"ab", "aa"}},
		{Lark(sumLark), []string{"1", "1+2*3", "( 1 + x=2 ) * -4", "X1 = 3 - 2"}, []string{"", "1+", "(1", "1 2", "1  2"}},
		{Lark("start: \"a\"~2..3 \"B\"i [c]\nc: \"x\"..\"z\"+"), []string{"aab", "aaaB", "aabxyz"}, []string{"ab", "aabw"}},
	} {
		g := mustCompile(t, c.e)
		for _, s := range c.yes {
			if !matches(g, s) {
				t.Errorf("%.60v does not match %q", c.e, s)
			}
		}
		for _, s := range c.no {
			if matches(g, s) {
				t.Errorf("%.60v matches %q", c.e, s)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	l := DefaultLimits()
	for _, c := range []struct {
		e    Expr
		want string
	}{
		{GBNF(`a ::= "x"`), `no rule "root"`},
		{GBNF(`root ::= b`), "not defined"},
		{GBNF(`root ::= "x" root`), "matches nothing"},
		{GBNF(`root ::= "x`), "end of the grammar"},
		{GBNF("root ::= [a\n"), "end of the grammar"},
		{GBNF(`root ::= (root "a")* "b" | c` + "\n" + `c ::= "" root "x"`), "begin with itself"},
		{Lark(`start: a{b}`), "templates"},
		{Lark("start: /a(?=b)/"), "look-ahead"},
		{Lark("%import python.X\nstart: X"), "common"},
		{Regex(`(((((a{1,99}){1,99}){1,99}){1,99}){1,99})`), "too large"},
		{Regex(`(.*a.{30})`), "too large"},
		{Regex(`a(?=b)`), "look-ahead"},
		{Regex(`(a)\1`), "back references"},
		{Regex(`a\b`), "word boundaries"},
		{Regex(`(`), "missing )"},
		{Choice{}, "nothing to choose"},
		{Schema(`{"type":"array","uniqueItems":true}`), "uniqueItems"},
		{Schema(`{"$ref":"http://x/y"}`), "$ref"},
		{Schema(`{"$ref":"#"}`), "leads back to itself"},
		{Schema(`{"type":"strin"}`), "type"},
		{Schema(`{"unevaluatedProperties":false}`), "unevaluatedProperties"},
		{Schema(`{"min_length":3}`), "minLength"},
		{Schema(`{"minimun":3}`), "did you mean minimum"},
		{Schema(`{"properites":{}}`), "did you mean properties"},
		{Schema(`{"require":["a"]}`), "did you mean required"},
		{Schema(`{"type":"string","format":"date","formatMinimum":"2020-01-01"}`), "formatMinimum"},
		{Schema(`{"type":"string","format":"topic"}`), "format"},
		{Schema(`{"type":"object","minProperties":2,"patternProperties":{"^x-":{}},"additionalProperties":false}`), "minProperties"},
		{Schema(`{"type":"array","minItems":1,"items":{"type":"object","minProperties":3}}`), "minProperties"},
		{Schema(`{"type":"integer","multipleOf":1234567}`), `"multipleOf" at the root: 1234567`},
		{Schema(`{"type":"number","multipleOf":1e-30}`), `"multipleOf"`},
		{Regex(`a{,3}b`), "{0,3}"},
		{Schema(`{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}`), "no value can match"},
		{Schema(`{"type":"string","pattern":"^a$","minLength":2}`), "no value can match"},
		{Schema(`{"allOf":[{"type":"string"},{"type":"integer"}]}`), "no value can match"},
		{Schema(`{"type":"string","pattern":"a(?=b)"}`), "pattern"},
		{Schema(strings.Repeat(`{"items":`, 200) + "{}" + strings.Repeat("}", 200)), "nested deeper"},
		{Schema(`[1]`), "schema"},
		{Schema(`{"type":`), "JSON"},
	} {
		_, err := Compile(context.Background(), c.e, byteVocab(), l)
		if err == nil {
			t.Errorf("%.80s compiles", c.e)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: error %q does not speak of %q", c.e, err, c.want)
		}
	}
}

// TestAnnotationsAreNoMistakes: everybody may add keywords, and those that people add
// are no misspelled constraints.
func TestAnnotationsAreNoMistakes(t *testing.T) {
	for _, k := range []string{"readonly", "_format", "_uniqueItems", "x-type", "name", "self", "form", "options", "file", "definition", "inclusiveMinimum", "tsType",
		"markdownDescription", "max", "min", "multiple", "", "i"} {
		if near := misspelled(k); near != "" {
			t.Errorf("%q is taken for %q", k, near)
		}
	}
}
