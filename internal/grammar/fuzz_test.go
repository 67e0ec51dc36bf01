package grammar

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// smallLimits keep a fuzzer's inputs cheap.
func smallLimits() Limits { return Limits{States: 20_000, Rules: 5_000, Steps: 1_000_000} }

// checkShortest checks that the shortest text completes an output, and that no
// shorter one begins with b, which leads to another state.
func checkShortest(t *testing.T, s, after State, text []byte, b byte) {
	t.Helper()
	end, ok := s.Shortest()
	if !ok {
		return // it is longer than is looked for
	}
	if last, ok := s.AcceptBytes(end); !ok || !last.Accepting() {
		t.Fatalf("after %q the shortest text is said to be %.100q: taken %v, an end %v", text, end, ok, last.Accepting())
	}
	if other, ok := after.Shortest(); ok && len(other)+1 < len(end) {
		t.Fatalf("after %q the shortest text is said to be %.100q, but %q is shorter", text, end, string(b)+string(other))
	}
}

// explore compiles an expression and writes a text through it at random: no state
// may be a dead end.
func explore(t *testing.T, e Expr, seed uint64) (text []byte, done, compiled bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	g, err := Compile(ctx, e, byteVocab(), smallLimits())
	if err != nil {
		if err.Error() == "" {
			t.Error("an error that says nothing")
		}
		return nil, false, false
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	s := g.Start()
	mask := make([]uint64, byteVocab().Words())
	for range 60 {
		s.Mask(mask)
		var can []int32
		for id := range int32(257) {
			if hasBit(mask, id) {
				can = append(can, id)
			}
		}
		if len(can) == 0 {
			t.Fatalf("nothing may follow %q", text)
		}
		for id := range int32(257) { // the mask is what Accept says
			if _, ok := s.Accept(id); ok != hasBit(mask, id) {
				t.Fatalf("after %q token %d: mask %v, accept %v", text, id, !ok, ok)
			}
		}
		id := can[rng.IntN(len(can))]
		if id == 256 || s.Ended() {
			return text, true, true
		}
		before := s
		s, _ = s.Accept(id)
		checkShortest(t, before, s, text, byte(id))
		text = append(text, byte(id))
	}
	return text, s.Accepting(), true
}

// goReadsItAsLiteral finds a bound with a leading zero, as in a{00}: a
// quantifier in ECMA-262 and here, literal text in Go.
var goReadsItAsLiteral = regexp.MustCompile(`[{,]0[0-9]`)

func FuzzRegex(f *testing.F) {
	for _, s := range []string{`a+b?`, `[^\d\s]{2,5}|x`, `^(?!ab)[a-c]*$`, `(?i)é\x41\u{1F600}`, `[[:alpha:]-]\p{Lu}`, `(a|b)*?c{3}`, `a{1,2}{3}`, `[]a]`, `(?P<n>.)`, `a6{00}`, `b{01,02}`, `[[:]`, `\00`, `[^\D]`, `[^\Ss]{2,5}`} {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, src string, seed uint64) {
		text, done, ok := explore(t, Regex(src), seed)
		if !ok || !done {
			return
		}
		if goReadsItAsLiteral.MatchString(src) {
			return
		}
		if re, err := regexp.Compile(`\A(?:` + src + `)\z`); err == nil && !re.Match(text) {
			t.Errorf("%q: wrote %q, which Go does not match", src, text)
		}
	})
}

func FuzzGBNF(f *testing.F) {
	for _, s := range []string{jsonGBNF, `root ::= "a" root | "b"`, `root ::= root "x" | [^a-z\n]{2,}`, "root ::= (a|b)* # c\na ::= .\nb ::= \"\\x41\""} {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, src string, seed uint64) { explore(t, GBNF(src), seed) })
}

func FuzzLark(f *testing.F) {
	for _, s := range []string{sumLark, "start: sum\nsum: p | sum \"+\" p\np: a | p a\na: /[0-9]+/ | \"-\" a | \"(\" sum \")\" | N \"\" sum\nN: /[a-z]\\w*/i\n%ignore \" \"", `start: "a"i~2..3 [b] /x[\/]/` + "\nb: \"0\"..\"9\"+ -> c\n | \"z\"", "start: WORD\n%import common.WORD\n%ignore \" \""} {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, src string, seed uint64) { explore(t, Lark(src), seed) })
}

func FuzzSchema(f *testing.F) {
	for _, s := range []string{personLike, `{"oneOf":[{"type":"integer"},{"minimum":3}]}`, `{"$defs":{"a":{"items":{"$ref":"#/$defs/a"}}},"$ref":"#/$defs/a"}`,
		`{"type":"object","patternProperties":{"^a":{"type":"null"}},"propertyNames":{"maxLength":3},"minProperties":1}`,
		`{"type":"array","contains":{"const":1},"prefixItems":[{"type":"string","format":"date"}],"maxItems":3}`,
		`{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"not":{"required":["c"]}},"type":"object"}`,
		`{"type":"number","minimum":-1.5,"exclusiveMaximum":7,"multipleOf":0.25}`, `{"type":"string","pattern":"^a+b","minLength":2,"maxLength":6}`} {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, src string, seed uint64) {
		text, done, ok := explore(t, Schema(src), seed)
		if ok && done && !json.Valid(text) {
			t.Errorf("%s: wrote %q", src, text)
		}
	})
}

const personLike = `{"type":"object","properties":{"name":{"type":"string","maxLength":3},"age":{"type":"integer","minimum":3,"maximum":12}},"required":["age"],"additionalProperties":false}`

// randomRegex writes a regular expression over a small alphabet.
func randomRegex(rng *rand.Rand, depth int) string {
	atoms := []string{"a", "b", "c", "[ab]", "[^a]", ".", `\d`, `\w`, "ab", "1"}
	if depth == 0 {
		return atoms[rng.IntN(len(atoms))]
	}
	x, y := randomRegex(rng, depth-1), randomRegex(rng, depth-1)
	switch rng.IntN(7) {
	case 0:
		return x + y
	case 1:
		return "(" + x + "|" + y + ")"
	case 2:
		return "(" + x + ")*"
	case 3:
		return "(?:" + x + ")+" + y
	case 4:
		return "(" + x + ")?"
	case 5:
		return fmt.Sprintf("(%s){%d,%d}", x, rng.IntN(2), 1+rng.IntN(3))
	}
	return x
}

// TestRegexAgainstGo compares what a grammar takes with what Go's engine matches,
// on texts over the same alphabet.
func TestRegexAgainstGo(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	v := byteVocab()
	yes := 0
	for range 300 {
		src := randomRegex(rng, 3)
		g, err := Compile(context.Background(), Regex(src), v, DefaultLimits())
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		re := regexp.MustCompile(`\A(?:` + src + `)\z`)
		for range 60 {
			text := make([]byte, rng.IntN(7))
			for i := range text {
				text[i] = "abc1 "[rng.IntN(5)]
			}
			if got, want := matches(g, string(text)), re.Match(text); got != want {
				t.Fatalf("%s on %q: got %v, want %v", src, text, got, want)
			} else if want {
				yes++
			}
		}
	}
	if yes < 100 {
		t.Errorf("only %d texts matched: the test says little", yes)
	}
}

// randomSchema writes a schema.
func randomSchema(rng *rand.Rand, depth int) map[string]any {
	n := func() int { return rng.IntN(4) }
	scalars := []func() map[string]any{
		func() map[string]any {
			return map[string]any{"type": "integer", "minimum": n() - 2, "maximum": n() + 1}
		},
		func() map[string]any { return map[string]any{"type": "string", "minLength": n(), "maxLength": n() + 2} },
		func() map[string]any {
			return map[string]any{"type": "string", "pattern": "^[ab]{1,3}$", "maxLength": n() + 1}
		},
		func() map[string]any { return map[string]any{"enum": []any{"a", n(), nil, true}} },
		func() map[string]any { return map[string]any{"type": []any{"null", "boolean"}} },
		func() map[string]any {
			return map[string]any{"type": "number", "exclusiveMinimum": 0.5, "maximum": n() + 1, "multipleOf": 0.5}
		},
	}
	if depth == 0 {
		return scalars[rng.IntN(len(scalars))]()
	}
	sub := func() any { return randomSchema(rng, depth-1) }
	switch rng.IntN(9) {
	case 0:
		return map[string]any{"anyOf": []any{sub(), sub()}}
	case 1:
		return map[string]any{"oneOf": []any{sub(), sub()}}
	case 2:
		return map[string]any{"allOf": []any{map[string]any{"not": sub()}, map[string]any{"type": []any{"string", "integer", "object"}}}}
	case 3:
		return map[string]any{"type": "array", "items": sub(), "minItems": rng.IntN(2), "maxItems": 2 + rng.IntN(2)}
	case 4:
		return map[string]any{"if": sub(), "then": sub(), "else": sub()}
	case 5:
		return map[string]any{"type": "object", "properties": map[string]any{"a": sub(), "b": sub()}, "required": []any{"a"}, "additionalProperties": rng.IntN(2) == 0}
	case 6:
		return map[string]any{"type": "object", "patternProperties": map[string]any{"^a": sub()}, "additionalProperties": sub(), "minProperties": rng.IntN(3), "maxProperties": 3}
	case 7:
		return map[string]any{"type": "array", "contains": sub(), "maxItems": 2}
	}
	return scalars[rng.IntN(len(scalars))]()
}

// TestSchemaAgainstValidator writes documents for random schemas, complete and
// then damaged: what the grammar takes, an independent validator must.
func TestSchemaAgainstValidator(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	complete, damaged := 0, 0
	for range 250 {
		src, err := json.Marshal(randomSchema(rng, 2))
		if err != nil {
			t.Fatal(err)
		}
		check := validatorOf(t, src)
		g, err := Compile(context.Background(), Schema(src), byteVocab(), DefaultLimits())
		if err != nil {
			continue // nothing matches it, or nothing certain
		}
		for range 4 {
			text, ok := writeDocument(g, rng)
			if !ok {
				continue
			}
			complete++
			if err := check(text); err != nil {
				t.Fatalf("%s: wrote %s: %v", src, text, err)
			}
			for range 5 {
				bad := bytes.Clone(text)
				bad[rng.IntN(len(bad))] = `"0129ab,:[]{}-. `[rng.IntN(16)]
				if matches(g, string(bad)) {
					damaged++
					if err := check(bad); err != nil {
						t.Fatalf("%s: takes %s: %v", src, bad, err)
					}
				}
			}
		}
	}
	if complete < 300 || damaged < 100 {
		t.Errorf("%d documents, %d of the damaged ones taken: the test says little", complete, damaged)
	}
}

func validatorOf(t *testing.T, src []byte) func([]byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///s", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem:///s")
	if err != nil {
		t.Fatal(err)
	}
	return func(text []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		return s.Validate(v)
	}
}

// writeDocument walks a grammar at random, with a liking for what ends things.
func writeDocument(g *Grammar, rng *rand.Rand) ([]byte, bool) {
	s := g.Start()
	mask := make([]uint64, byteVocab().Words())
	var text []byte
	for range 400 {
		if s.Ended() || s.Accepting() && rng.IntN(3) == 0 {
			return text, len(text) > 0
		}
		s.Mask(mask)
		var can []int32
		for id := range int32(256) {
			if !hasBit(mask, id) || id >= 0x80 && rng.IntN(20) > 0 && !bytes.ContainsAny(text, "\x80") && len(can) > 0 {
				continue
			}
			weight := 1
			if strings.ContainsRune(`"}],:0a`, rune(id)) {
				weight = 20
			}
			for range weight {
				can = append(can, id)
			}
		}
		if len(can) == 0 {
			return text, s.Accepting()
		}
		id := can[rng.IntN(len(can))]
		s, _ = s.Accept(id)
		text = append(text, byte(id))
	}
	return nil, false
}
