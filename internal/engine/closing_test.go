package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"sync"
	"testing"

	"weir/internal/llm"
)

// TestOutputsEndInTime: however little room an output with a structure has, as long
// as the shortest fits, it is complete, and a client is told that it was cut short.
func TestOutputsEndInTime(t *testing.T) {
	e := startTiny(t, usual)
	schema := llm.Structure{Field: "schema", Schema: json.RawMessage(
		`{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"array","items":{"type":"object","required":["c"],"properties":{"c":{"type":"integer"}}}}},"required":["a","b"],"additionalProperties":false}`)}
	regex := llm.Structure{Field: "regex", Regex: `([a-z]+\.)*[a-z]+-[0-9]{4}`}
	for _, c := range []struct {
		s     llm.Structure
		least int // tokens: all but one of this vocabulary are bytes
		ok    func(string) bool
	}{
		{schema, len(`{"a":"","b":[]}`), func(s string) bool { return json.Valid([]byte(s)) }},
		{regex, len(`a-0000`), regexp.MustCompile(`^([a-z]+\.)*[a-z]+-[0-9]{4}$`).MatchString},
	} {
		hurried := 0
		for n := c.least - 3; n < c.least+40; n++ {
			r := textRequest("x", func(p *llm.Params) {
				p.Structure, p.MaxTokens, p.IgnoreEOS, p.Temperature, p.Seed, p.Logprobs = &c.s, ptr(n), false, 1, ptr(uint64(n)), nil
				if n%2 == 0 {
					p.Logprobs = ptr(1)
				}
			})
			got := mustCollect(t, e, r).choices[0]
			if ok := c.ok(got.text); ok != (n >= c.least) && n != c.least-1 { // "ab" may save one
				t.Errorf("%s in %d tokens: %q", c.s.Field, n, got.text)
			}
			for _, x := range got.tokens {
				if n%2 == 0 && (x.Logprob == nil || math.IsNaN(*x.Logprob) || *x.Logprob > 0) {
					t.Errorf("the log probability of %q is %v", x.Bytes, x.Logprob)
				}
			}
			if len(got.tokens) > n {
				t.Errorf("%d tokens of at most %d", len(got.tokens), n)
			}
			if got.finish == llm.FinishLength && n >= c.least {
				hurried++
			}
		}
		if hurried < 10 {
			t.Errorf("%s: %d outputs were made to end: the test is of too many that end by themselves", c.s.Field, hurried)
		}
	}
}

// TestOutputsThatMustNotEnd: with ignore_eos the limit is what ends them.
func TestOutputsThatMustNotEnd(t *testing.T) {
	e := startTiny(t, usual)
	s := llm.Structure{Field: "regex", Regex: `[a-z]*`}
	got := mustCollect(t, e, textRequest("x", func(p *llm.Params) { p.Structure, p.MaxTokens = &s, ptr(12) })).choices[0]
	if len(got.tokens) != 12 || got.finish != llm.FinishLength {
		t.Errorf("%d tokens, finish %q", len(got.tokens), got.finish)
	}
}

// An output with a structure that is made to end gets tokens that the device did not draw,
// which the step that was begun ahead does not know of.
func TestOutputsEndInTimeAhead(t *testing.T) {
	base := usual
	base.running = 20
	requests := make([]*llm.Request, 40)
	for i := range requests {
		p := llm.DefaultParams()
		p.MaxTokens, p.Seed, p.IgnoreEOS = ptr(40+i), ptr(uint64(i)), true
		if i%10 == 5 {
			p.Structure, p.MaxTokens, p.IgnoreEOS = &llm.Structure{Regex: `([a-z]+\.)*[a-z]+-[0-9]{4}`}, ptr(8+i), false
		}
		requests[i] = &llm.Request{ID: fmt.Sprint("r", i), Prompt: llm.Tokens{int32(i), 2, 3}, Params: p}
	}
	want := alone(t, base, requests)
	hurried := 0
	for i := range want {
		want[i].usage.Guesses = nil // of a structure's text, as it pays
		if requests[i].Params.Structure != nil && want[i].choices[0].finish == llm.FinishLength {
			hurried++
		}
	}
	base.device = true
	e := startTiny(t, base)
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() { wants(t, e, r, want[i]) })
	}
	wg.Wait()
	if s := counted(t, e); hurried == 0 || s.Ahead < s.Steps/2 {
		t.Errorf("%d outputs were made to end, %d of %d steps begun ahead: the test does not test it", hurried, s.Ahead, s.Steps)
	}
}
