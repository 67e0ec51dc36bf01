package jinja

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// bombs are templates that would take all memory, all time or all stack.
var bombs = map[string]string{
	"repeat a string":           `{{ 'a' * 10 ** 12 }}`,
	"repeat a list":             `{{ ([1] * 10 ** 12) | length }}`,
	"repeat a tuple":            `{{ ((1, 2) * 10 ** 12) | length }}`,
	"double a string":           `{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`,
	"double with tilde":         `{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}`,
	"double a list":             `{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}`,
	"double by replace":         `{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s | replace('a', 'aa') %}{% endfor %}`,
	"double by join":            `{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] | join(ns.s) %}{% endfor %}`,
	"double by format":          `{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% endfor %}`,
	"double by str.format":      `{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = '{0}{0}'.format(ns.s) %}{% endfor %}`,
	"double by capture":         `{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}{% endfor %}`,
	"double by tojson":          `{% set ns = namespace(s='""') %}{% for i in range(60) %}{% set ns.s = ns.s | tojson %}{% endfor %}`,
	"double by repr":            `{% set ns = namespace(s='\'"') %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] | string %}{% endfor %}`,
	"print a shared tree":       `{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}`,
	"tojson of a shared tree":   `{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}`,
	"compare shared trees":      `{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}`,
	"hash a shared tree":        `{% set ns = namespace(l=(1,)) %}{% for i in range(60) %}{% set ns.l = (ns.l, ns.l) %}{% endfor %}{{ {ns.l: 1} }}`,
	"a namespace in itself":     `{% set ns = namespace() %}{% set ns.ns = ns %}{{ ns }}`,
	"a deep list":               `{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}`,
	"compare deep lists":        `{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% set ns.m = [ns.m] %}{% endfor %}{{ ns.l == ns.m }}`,
	"endless recursion":         `{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}`,
	"recursion in the default":  `{% macro m(x=m()) %}{% endmacro %}{{ m() }}`,
	"mutual recursion":          `{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}`,
	"recursion by call blocks":  `{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}`,
	"recursion deep inside":     `{% macro m() %}{{ ` + strings.Repeat("(", 150) + "m()" + strings.Repeat(" ~ 'x')", 150) + ` }}{% endmacro %}{{ ` + strings.Repeat("(", 150) + "m()" + strings.Repeat(")", 150) + ` }}`,
	"a recursive loop":          `{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}`,
	"two ways of recursion":     `{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}`,
	"exponential recursion":     `{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}`,
	"nested loops":              `{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}`,
	"nested conditions":         `{% for a in range(100000) if range(100000) | select('eq', -1) | list %}{% endfor %}`,
	"search in a large string":  `{% set s = 'a' * 10 ** 7 %}{% for i in range(100000) %}{{ 'b' in s }}{% endfor %}`,
	"count in a large string":   `{% set s = 'ä' * 10 ** 6 %}{% for i in range(100000) %}{{ s | length }}{{ s.find('b') }}{% endfor %}`,
	"index a large string":      `{% set s = 'ä' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s[i] %}{% endfor %}`,
	"split a large string":      `{% set s = 'a ' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s.split() %}{% endfor %}`,
	"lines of a large string":   `{% set s = '\n' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s.splitlines() %}{% endfor %}`,
	"sort in a loop":            `{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | sort %}{% endfor %}`,
	"lists in a list":           `{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + [range(100000) | list] %}{% endfor %}`,
	"generators of generators":  `{% set ns = namespace(g=range(100000)) %}{% for i in range(100000) %}{% set ns.g = ns.g | map('string') %}{% endfor %}{{ ns.g | first }}`,
	"conditions of conditions":  `{% set ns = namespace(g=[1]) %}{% for i in range(100000) %}{% set ns.g = ns.g | select %}{% endfor %}{{ ns.g | list }}`,
	"a wide format":             `{{ '%1000000000000d' % 1 }}`,
	"a wide star":               `{{ '%*d' % (10 ** 12, 1) }}`,
	"a precise format":          `{{ '%.1000000000f' % 1.5 }}`,
	"a wide str.format":         `{{ '{:1000000000000}'.format(1) }}`,
	"a wide grouped format":     `{{ '{:01000000000000,}'.format(1) }}`,
	"center":                    `{{ 'a' | center(10 ** 12) }}`,
	"ljust":                     `{{ 'a'.ljust(10 ** 12) }}`,
	"zfill":                     `{{ 'a'.zfill(10 ** 12) }}`,
	"expandtabs":                `{{ '\t\t'.expandtabs(10 ** 12) }}`,
	"indent":                    `{{ 'a\nb' | indent(10 ** 12) }}`,
	"indent many lines":         `{{ ('\na' * 10 ** 5) | indent(10 ** 5) }}`,
	"tojson indent":             `{{ [[[1]]] | tojson(indent=10 ** 12) }}`,
	"tojson indent by text":     `{{ (range(10 ** 4) | list) | tojson(indent='a' * 10 ** 6) }}`,
	"tojson separators":         `{{ (range(10 ** 5) | list) | tojson(separators=['a' * 10 ** 6, '']) }}`,
	"batch":                     `{{ [1] | batch(10 ** 12, 'x') | list }}`,
	"slice":                     `{{ [1] | slice(10 ** 12, 'x') | list }}`,
	"a large output":            `{% for i in range(100000) %}{{ 'a' * 1000 }}{% endfor %}`,
	"a large output of text":    `{% for i in range(100000) %}` + strings.Repeat("x", 1000) + `{% endfor %}`,
	"strftime":                  `{{ strftime_now('%Y' * 10 ** 8) }}`,
	"join with long separators": `{{ range(100000) | join('a' * 10 ** 5) }}`,
	"replace nothing":           `{{ ('a' * 10 ** 5).replace('', 'b' * 10 ** 5) }}`,
	"keyword arguments":         `{% macro f() %}{{ f(**kwargs) }}{% endmacro %}{{ f(**dict(range(1000) | map('string') | list | batch(2) | list)) }}`,
	"unique":                    `{% for i in range(100000) %}{{ range(100000) | unique | list | length }}{% endfor %}`,
	"groupby":                   `{% for i in range(100000) %}{% set x = range(100000) | list | groupby('real') %}{% endfor %}`,
	"a power":                   `{{ 10 ** 10 ** 10 }}`,
	"a loop over the loop":      `{% for x in range(10) %}{% for y in loop %}{% for z in loop %}{{ loop.length }}{% endfor %}{% endfor %}{% endfor %}{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}`,
	"set blocks in a loop":      `{% for i in range(100000) %}{% set x %}{{ 'a' * 10000 }}{% endset %}{% endfor %}`,
	"casing":                    `{% set s = 'ß' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s | upper | lower | title %}{% endfor %}`,
	"strip":                     `{% set s = ' ' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s.strip() %}{% endfor %}`,
	"startswith many":           `{% set s = 'a' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s.startswith(s) %}{% endfor %}`,
	"wordcount":                 `{% set s = 'a ' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s | wordcount %}{% endfor %}`,
	"int":                       `{% set s = '1' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s | int %}{% endfor %}`,
	"float":                     `{% set s = '1' * 10 ** 6 %}{% for i in range(100000) %}{% set x = s | float %}{% endfor %}`,
}

// TestBombs renders each bomb, with a fifth of the default limits to save
// time: an error with a line,
// soon, without much memory. Some have a smaller harmless part that Python's own
// rules refuse (a sandbox's range, an overflow): that counts as well.
func TestBombs(t *testing.T) {
	for name, source := range bombs {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := renderWith(source, json.RawMessage(`{}`), Limits{Steps: defaultSteps / 5, Memory: defaultMemory / 5})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			var e *Error
			if !errors.As(err, &e) || e.Line == 0 {
				t.Fatalf("error %v", err)
			}
			if !errors.Is(err, ErrLimit) && e.Class != "OverflowError" && e.Class != "ValueError" {
				t.Errorf("not a limit: %s: %v", e.Class, err)
			}
			if took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if made := after.TotalAlloc - before.TotalAlloc; made > 1<<30 {
				t.Errorf("allocated %d MiB in all", made>>20)
			}
		})
	}
}

// TestNesting parses templates that nest or chain: an error, or a tree that renders.
func TestNesting(t *testing.T) {
	const n = 100_000
	r := strings.Repeat
	sources := map[string]string{
		"parens":           "{{ " + r("(", n) + "1" + r(")", n) + " }}",
		"lists":            "{{ " + r("[", n) + r("]", n) + " }}",
		"dicts":            "{{ " + r("{1:", n) + "1" + r("}", n) + " }}",
		"subscripts":       "{{ a" + r("[a", n) + r("]", n) + " }}",
		"calls":            "{{ " + r("a(", n) + r(")", n) + " }}",
		"filters":          "{{ a" + r("|upper", n) + " }}",
		"filter arguments": "{{ a" + r("|default(a", n) + r(")", n) + " }}",
		"tests":            "{{ a" + r(" is defined", n) + " }}",
		"not":              "{{ " + r("not ", n) + "a }}",
		"minus":            "{{ " + r("- ", n) + "1 }}",
		"plus":             "{{ 1" + r(" + 1", n) + " }}",
		"and":              "{{ 1" + r(" and 1", n) + " }}",
		"power":            "{{ 1" + r(" ** 1", n) + " }}",
		"if":               "{{ 1" + r(" if 1 else 1", n) + " }}",
		"if without":       "{{ 1" + r(" if 1", n) + " }}",
		"attributes":       "{{ a" + r(".a", n) + " }}",
		"slices":           "{{ a" + r("[1:]", n) + " }}",
		"if blocks":        r("{% if 1 %}", n) + r("{% endif %}", n),
		"for blocks":       r("{% for a in b %}", n) + r("{% endfor %}", n),
		"macros":           r("{% macro a() %}", n) + r("{% endmacro %}", n),
		"targets":          "{% set " + r("(", n) + "a" + r(")", n) + " = 1 %}",
		"set filters":      "{% set a" + r("|upper", n) + " %}{% endset %}",
		"dotted filter":    "{{ a|b" + r(".b", n) + " }}",
		"open":             r("{{", n),
		"open if":          r("{% if 1 %}", n),
		"is arguments":     "{{ a is eq " + r("(", n) + " }}",
	}
	for name, source := range sources {
		_, err := renderWith(source, json.RawMessage(`{}`), Limits{})
		var e *Error
		if !errors.As(err, &e) || e.Line != 1 {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for name, source := range map[string]string{
		"tilde":    "{{ 1" + r(" ~ 1", n) + " }}",
		"elif":     "{% if 0 %}" + r("{% elif 0 %}", n) + "{% endif %}",
		"list":     "{{ [" + r("1,", n) + "] | length }}",
		"compare":  "{{ 1" + r(" <= 1", 400) + " }}",
		"sum":      "{{ 1" + r(" + 1", 400) + " }}",
		"parens":   "{{ " + r("(", 150) + "1" + r(")", 150) + " }}",
		"strings":  "{{ " + r("'a' ", n) + "| length }}",
		"comments": r("{# #}", n),
	} {
		if _, err := renderWith(source, json.RawMessage(`{}`), Limits{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLimitsAreExact checks that each limit can be set, and is named in its error.
func TestLimitsAreExact(t *testing.T) {
	cases := []struct {
		source string
		limits Limits
		want   string
	}{
		{"{% for i in range(1000) %}{% endfor %}", Limits{Steps: 500}, "chat template, line 1: the template takes more than 500 steps"},
		{"\n{{ 'abcdef' }}", Limits{Output: 4}, "chat template, line 2: the rendered text would exceed 4 bytes"},
		{"{{ 'a' * 2000 }}", Limits{Memory: 1000}, "chat template, line 1: the template makes more than 1000 bytes of intermediate values"},
		{"{% macro m(n) %}\n{{ m(n) }}{% endmacro %}{{ m(1) }}", Limits{Depth: 5}, "chat template, line 2: maximum recursion depth exceeded: more than 5"},
	}
	for _, c := range cases {
		_, err := renderWith(c.source, json.RawMessage(`{}`), c.limits)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || !errors.Is(err, ErrLimit) {
			t.Errorf("%q: error %v", c.source, err)
		}
		if _, err := renderWith(c.source, json.RawMessage(`{}`), Limits{}); err != nil && c.limits.Depth == 0 {
			t.Errorf("%q with the default limits: %v", c.source, err)
		}
	}
}

// TestLongConversations checks that the default limits allow what people do:
// collecting the output in a variable, looking at all later messages from each
// one, in time linear or nearly so in the input.
func TestLongConversations(t *testing.T) {
	var messages []map[string]string
	for i := range 1500 {
		messages = append(messages, map[string]string{"role": []string{"user", "assistant"}[i%2], "content": fmt.Sprintf("message %d %s", i, strings.Repeat("lorem ipsum ", 60))})
	}
	vars, err := json.Marshal(map[string]any{"messages": messages})
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{
		`{% set ns = namespace(out='') %}{% for m in messages %}{% set ns.out = ns.out + '<' + m.role + '>' + m.content %}{% endfor %}{{ ns.out }}`,
		`{% set ns = namespace(out='') %}{% for m in messages %}{% set ns.out = ns.out ~ '<' ~ m.role ~ '>' ~ m.content %}{% endfor %}{{ ns.out }}`,
		`{% macro all() %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% endmacro %}{{ all() }}`,
		`{% set out %}{% for m in messages %}{% filter trim %}<{{ m.role }}>{{ m.content }}{% endfilter %} {% endfor %}{% endset %}{{ out }}`,
		`{% for m in messages %}{% set ns = namespace(last=true) %}{% for later in messages[loop.index:] %}{% if later.role == 'tool' %}{% set ns.last = false %}{% endif %}{% endfor %}<{{ m.role }}>{{ m.content }}{% endfor %}`,
	} {
		start := time.Now()
		out, err := renderWith(source, vars, Limits{})
		if err != nil || len(out) < 1_000_000 {
			t.Errorf("%q: %d bytes, error %v", source, len(out), err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q: took %v", source, took)
		}
	}
}
