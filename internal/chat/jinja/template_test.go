package jinja

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestErrorLines checks the line that an error at run time names.
func TestErrorLines(t *testing.T) {
	cases := []struct {
		source string
		want   string
	}{
		{"a\n{{ x.y }}", "chat template, line 2: 'x' is undefined"},
		{"a\n{% if 1 %}\n{{ 'a'\n + 1 }}{% endif %}", "chat template, line 4: can only concatenate str (not \"int\") to str"},
		{"{% for m in [1] %}\n\n{{ m | round('x') }}\n{% endfor %}", "chat template, line 3: 'str' object cannot be interpreted as an integer"},
		{"{% macro m() %}\n{{ none.x.y }}\n{% endmacro %}\n\n{{ m() }}", "chat template, line 2: 'None' has no attribute 'x'"},
		{"{% set a, b =\n [1] %}", "chat template, line 1: not enough values to unpack (expected 2, got 1)"},
		{"\n{% for x in 5 %}{% endfor %}", "chat template, line 2: 'int' object is not iterable"},
		{"\n\n{% if 'a' < 1 %}{% endif %}", "chat template, line 3: '<' not supported between instances of 'str' and 'int'"},
		{"\r\n\r{{ nope() }}", "chat template, line 3: 'nope' is undefined"},
		{"a\n{% include 'x' %}", "chat template, line 2: the tag 'include' is not supported: a chat template cannot load other templates"},
		{"a\n{% extends 'x' %}", "chat template, line 2: the tag 'extends' is not supported: a chat template cannot load other templates"},
		{"{% from 'a' import b %}", "chat template, line 1: the tag 'from' is not supported: a chat template cannot load other templates"},
		{"{% import 'a' as b %}", "chat template, line 1: the tag 'import' is not supported: a chat template cannot load other templates"},
		{"{% block a %}{% endblock %}", "chat template, line 1: the tag 'block' is not supported: a chat template has no parent to override"},
		{"\n{{ [1, 2] | random }}", "chat template, line 2: the filter 'random' is not supported: a chat template must give the same text each time"},
		{"\xff", "chat template, line 1: the template is not valid UTF-8"},
		{strings.Repeat("x", maxSource+1), "chat template, line 1: the template has 4194305 bytes, more than the 4194304 that are allowed"},
		{"{{ '\\N{BULLET}' }}", `chat template, line 1: escapes by name (\N{...}) are not supported: write the character itself, or \u and its number`},
	}
	for _, c := range cases {
		if _, err := renderWith(c.source, json.RawMessage(`{}`), Limits{}); err == nil || err.Error() != c.want {
			t.Errorf("%.60q:\n got %v\nwant %s", c.source, err, c.want)
		}
	}
}

func TestRaised(t *testing.T) {
	_, err := renderWith("a\n{% if true %}{{ raise_exception('Only users, ' ~ 1) }}{% endif %}", json.RawMessage(`{}`), Limits{})
	var raised *RaisedError
	if !errors.As(err, &raised) || raised.Message != "Only users, 1" || raised.Error() != raised.Message || raised.Line != 2 {
		t.Errorf("error %#v", err)
	}
}

// TestIntegersBeyond64Bits: they pass through, but are not computed with.
func TestIntegersBeyond64Bits(t *testing.T) {
	vars := json.RawMessage(`{"big": 123456789012345678901234567890}`)
	for source, want := range map[string]string{
		"{{ big }} {{ -big }} {{ [big] }} {{ big | tojson }} {{ big == big }} {{ big > 1 }} {{ big | string | length }}": "123456789012345678901234567890 -123456789012345678901234567890 [123456789012345678901234567890] 123456789012345678901234567890 True True 30",
		"{{ 9223372036854775807 }} {{ 9223372036854775808 }} {{ -9223372036854775808 }}":                                 "9223372036854775807 9223372036854775808 -9223372036854775808",
		"{{ '9223372036854775808' | int }} {{ 1e30 | int }} {{ big / 10 }}":                                              "9223372036854775808 1000000000000000019884624838656 1.2345678901234568e+28",
	} {
		if got, err := renderWith(source, vars, Limits{}); got != want || err != nil {
			t.Errorf("%s:\n got %q, %v\nwant %q", source, got, err, want)
		}
	}
	for _, source := range []string{"{{ big + 1 }}", "{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 4611686018427387904 * 2 }}", "{{ 2 ** 63 }}", "{{ (-9223372036854775807 - 1) // -1 }}", "{{ -(-9223372036854775807 - 1) }}"} {
		var e *Error
		if got, err := renderWith(source, vars, Limits{}); !errors.As(err, &e) || e.Class != "OverflowError" {
			t.Errorf("%s: %q, %v", source, got, err)
		}
	}
}

// TestStrftimeWeeks checks the fields that count weeks, on days where they differ
// (values from Python).
func TestStrftimeWeeks(t *testing.T) {
	cases := map[string]string{
		"2021-01-01": "00 00 53 2020 21 5 5 001",
		"2024-12-30": "52 53 01 2025 24 1 1 365",
		"2023-01-01": "01 00 52 2022 23 7 0 001",
		"2024-02-29": "08 09 09 2024 24 4 4 060",
	}
	for day, want := range cases {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := strftime("%U %W %V %G %y %u %w %j", at); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", day, got, err, want)
		}
	}
}

// TestConcurrentRenderings share one template.
func TestConcurrentRenderings(t *testing.T) {
	tmpl, err := Parse("{% set ns = namespace(n=0) %}{% macro m(x) %}<{{ x }}>{% endmacro %}{% for i in l %}{% set ns.n = ns.n + i %}{{ m(i) }}{% endfor %}{{ ns.n }}")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for range 50 {
				d := NewDict()
				d.Set("l", NewList(int64(g), int64(1)))
				out, err := tmpl.Render(Call{Vars: d})
				want := strings.ReplaceAll("<G><1>", "G", string(rune('0'+g))) + string(rune('0'+g+1))
				if out != want || err != nil {
					t.Errorf("got %q, %v, want %q", out, err, want)
					return
				}
			}
		})
	}
	wait.Wait()
}

// TestFromJSON checks reading against what Python prints of the same values.
func TestFromJSON(t *testing.T) {
	cases := map[string]string{
		`{"b": 1, "a": {"z": [], "y": {}}, "b": 2}`:           `{'b': 2, 'a': {'z': [], 'y': {}}}`,
		` [1, -0, 1.0, 1e2, 1E-2, -1.5e+3, 0.1] `:             `[1, 0, 1.0, 100.0, 0.01, -1500.0, 0.1]`,
		`["\u00e9\ud83e\udd99\n\/\"", "é🦙", "\b\f\t\r"]`:      `['é🦙\n/"', 'é🦙', '\x08\x0c\t\r']`,
		`[true, false, null, NaN, Infinity, -Infinity]`:       `[True, False, None, nan, inf, -inf]`,
		`[18446744073709551616, -9223372036854775808, 1e400]`: `[18446744073709551616, -9223372036854775808, inf]`,
		`"\ud800"`: "\uFFFD",
	}
	for in, want := range cases {
		v, err := FromJSON([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		d := NewDict()
		d.Set("v", v)
		tmpl, _ := Parse("{{ v }}")
		if got, err := tmpl.Render(Call{Vars: d}); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "{", "[1,]", `{"a":1,}`, `{a: 1}`, `{"a" 1}`, "01", "-", "1.", ".5", "1e", "+1", "tru", `"a`, `"\x"`, `"\u12g4"`, "\"\n\"", "1 2", "'a'",
		strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 100_000), strings.Repeat("1", maxDigits+1)} {
		if v, err := FromJSON([]byte(in)); err == nil {
			t.Errorf("%.40q: no error but %v", in, v)
		}
	}
}
