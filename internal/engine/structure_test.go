package engine

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/llm"
	"weir/internal/token"
)

const personSchema = `{"type":"object","properties":{"name":{"type":"string","maxLength":5},"kind":{"enum":["cat","dog"]},"age":{"type":"integer","minimum":0,"maximum":30}},
	"required":["name","kind","age"],"additionalProperties":false}`

// structured is a random request whose output has a structure.
func structured(rng *rand.Rand, i int) *llm.Request {
	r := randomRequest(rng, i)
	r.Params.MaxTokens, r.Params.Stop = ptr(20+rng.IntN(80)), nil
	r.Params.Structure = []*llm.Structure{
		{Schema: json.RawMessage(personSchema), Field: "schema"},
		{Object: true, Field: "object"},
		{Regex: `[a-f]{3,9}(-[0-9]{4}){2}`, Field: "regex"},
		{Choice: []string{"yes", "no", "yes, please"}, Field: "choice"},
		{Grammar: `root ::= "<" [a-z]{1,5} ">" root? "</>"`, Field: "grammar"},
	}[i%5]
	return r
}

// TestStructuredSameTokens: a structure's masks and the drafts of forced text
// change no more of an answer than anything else that shares a step.
func TestStructuredSameTokens(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var requests []*llm.Request
	for i := range 30 {
		requests = append(requests, structured(rng, i))
	}
	e := startTiny(t, usual)
	e.structures.noDrafts = true
	var want []answer
	for _, r := range requests {
		want = append(want, mustCollect(t, e, r))
	}
	if n := counted(t, e).Guessed; n != 0 {
		t.Fatalf("%d tokens guessed where nothing drafts", n)
	}
	for _, v := range variants(usual, oracle(requests, want)) {
		t.Run(v.name, func(t *testing.T) { together(t, v, requests, want) })
	}
	for i, a := range want {
		for _, c := range a.choices {
			checkStructure(t, requests[i].Params.Structure, c)
		}
	}
}

// checkStructure holds a complete output to what was asked.
func checkStructure(t *testing.T, s *llm.Structure, c reply) {
	t.Helper()
	if c.finish != llm.FinishStop {
		return
	}
	ok := false
	switch {
	case s.Schema != nil:
		var p struct {
			Name, Kind string
			Age        *int
		}
		d := json.NewDecoder(strings.NewReader(c.text))
		d.DisallowUnknownFields()
		ok = d.Decode(&p) == nil && len([]rune(p.Name)) <= 5 && (p.Kind == "cat" || p.Kind == "dog") && p.Age != nil && *p.Age >= 0 && *p.Age <= 30
	case s.Object:
		var m map[string]any
		ok = json.Unmarshal([]byte(c.text), &m) == nil
	case s.Regex != "":
		ok = regexp.MustCompile("^(" + s.Regex + ")$").MatchString(c.text)
	case s.Choice != nil:
		ok = slices.Contains(s.Choice, c.text)
	default:
		ok = strings.Count(c.text, "</>")*2 == strings.Count(c.text, ">")
	}
	if !ok {
		t.Errorf("%s: got %q", s.Field, c.text)
	}
}

// Forced text is drafted, checked, and true.
func TestForcedTextIsDrafted(t *testing.T) {
	c := usual
	c.draft.Always.SetChain(1) // whether it pays on this machine or not
	e := startTiny(t, c)
	r := textRequest("x", func(p *llm.Params) {
		p.MaxTokens = ptr(120)
		p.Structure = &llm.Structure{Regex: `a very long text that cannot be otherwise[0-9]`}
	})
	a := mustCollect(t, e, r)
	s := counted(t, e)
	if !strings.HasPrefix(a.choices[0].text, "a very long text that cannot be otherwise") || a.choices[0].finish != llm.FinishStop {
		t.Fatalf("got %q, finish %q", a.choices[0].text, a.choices[0].finish)
	}
	if s.Held < 35 || s.Held != s.Guessed {
		t.Errorf("%d of %d guesses of forced bytes held", s.Held, s.Guessed)
	}
	if s.Masks != int64(len(a.choices[0].tokens)) || s.Compiled != 1 {
		t.Errorf("%d masks for %d tokens, %d compiled", s.Masks, len(a.choices[0].tokens), s.Compiled)
	}
	mustCollect(t, e, r)
	if s := counted(t, e); s.Compiled != 1 || s.CompileHits != 1 {
		t.Errorf("asked again: compiled %d, found %d", s.Compiled, s.CompileHits)
	}
}

// A model that spells forced text in other tokens than the tokeniser does is not
// given it again and again: each would be a row for nothing.
func TestForcedTextSpeltOtherwise(t *testing.T) {
	e := startTiny(t, usual)
	both := e.opts.Tokenizer.Encode("ab", token.EncodeOptions{})
	if len(both) != 1 {
		t.Fatalf("the tokeniser spells it %v", both)
	}
	a := mustCollect(t, e, textRequest("x", func(p *llm.Params) {
		p.MaxTokens, p.LogitBias = ptr(200), map[int32]float64{both[0]: -100}
		p.Structure = &llm.Structure{Regex: `(ab){80}`}
	}))
	n := len(a.choices[0].tokens)
	if s := counted(t, e); n != 160 || s.Guessed > int64(4*n) || s.Masks != int64(n) {
		t.Errorf("%d guesses for %d tokens, which are all spelt otherwise but for each second one's first; %d masks", s.Guessed, n, s.Masks)
	}
}

func TestStructureAndTheRest(t *testing.T) {
	e := startTiny(t, usual)
	ask := func(s llm.Structure, change func(*llm.Params)) reply {
		r := textRequest("x", func(p *llm.Params) {
			p.Structure, p.IgnoreEOS = &s, false
			change(p)
		})
		return mustCollect(t, e, r).choices[0]
	}
	// A stop string ends a structured output, too.
	if c := ask(llm.Structure{Regex: `abcdef`}, func(p *llm.Params) { p.Stop = []string{"cd"} }); c.text != "ab" || c.finish != llm.FinishStop {
		t.Errorf("with a stop string: %q, %q", c.text, c.finish)
	}
	// Bias chooses among what is allowed, and brings back nothing else.
	id := func(s string) int32 { return e.opts.Tokenizer.Encode(s, token.EncodeOptions{})[0] }
	for _, want := range []string{"p", "q"} {
		bias := map[int32]float64{id(want): 50, id("r"): 100}
		if c := ask(llm.Structure{Choice: []string{"p", "q"}}, func(p *llm.Params) { p.LogitBias = bias }); c.text != want {
			t.Errorf("biased to %q: got %q", want, c.text)
		}
	}
	// min_tokens cannot make a complete text longer.
	if c := ask(llm.Structure{Regex: `ok`}, func(p *llm.Params) { p.MinTokens = 10 }); c.text != "ok" || c.finish != llm.FinishStop {
		t.Errorf("with min_tokens: %q, %q", c.text, c.finish)
	}
	// Where the text may end or go on, min_tokens makes it go on.
	if c := ask(llm.Structure{Regex: `z{1,30}`}, func(p *llm.Params) { p.MinTokens = 10 }); len(c.tokens) < 10 {
		t.Errorf("%d tokens in spite of min_tokens", len(c.tokens))
	}
	if c := ask(llm.Structure{Regex: `z+`}, func(p *llm.Params) { p.IgnoreEOS = true }); c.finish != llm.FinishLength {
		t.Errorf("ignore_eos: finish %q", c.finish)
	}
}

func TestStructureRefusals(t *testing.T) {
	e := startTiny(t, usual)
	e.structures.timeout = time.Nanosecond
	for _, c := range []struct {
		s    llm.Structure
		want string
	}{
		{llm.Structure{Regex: "(", Field: "guided_regex"}, "missing )"},
		{llm.Structure{Regex: "[ab]{1,9000}", Field: "guided_regex"}, "--grammar-timeout"},
		{llm.Structure{Schema: json.RawMessage(`{"uniqueItems":true}`), Field: "f"}, "uniqueItems"},
		{llm.Structure{Grammar: strings.Repeat(" ", mostSourceBytes+1), Field: "f"}, "bytes are too many"},
	} {
		r := textRequest("x", func(p *llm.Params) { p.Structure = &c.s })
		_, err := collect(t.Context(), e, r)
		var l *llm.Error
		if !errors.As(err, &l) || l.Kind != llm.Invalid || l.Param != c.s.Field || !strings.Contains(l.Message, c.want) {
			t.Errorf("%.60v: error %v", c.s, err)
		}
	}
}
