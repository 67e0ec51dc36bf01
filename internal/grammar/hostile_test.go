package grammar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestHostileSchemasEnd compiles schemas that are small and once took minutes or all
// memory. The limit of work is what must stop them, if anything does: there is no time
// limit here.
func TestHostileSchemasEnd(t *testing.T) {
	chain := func(depth int, link, end string) string {
		var b strings.Builder
		for i := range depth {
			fmt.Fprintf(&b, `"d%d":`+link+",", i, i+1, i+1)
		}
		return fmt.Sprintf(`{"$ref":"#/$defs/d0","$defs":{%s"d%d":%s}}`, b.String(), depth, end)
	}
	both := `{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`
	list := func(n int, form string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(form, i)
		}
		return strings.Join(parts, ",")
	}
	for name, src := range map[string]string{
		"properties doubled": chain(60, both, `{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`),
		"items doubled":      chain(60, both, `{"type":"array","items":{"type":"null"}}`),
		"multiples doubled":  chain(60, both, `{"type":"integer","multipleOf":7}`),
		"bars doubled":       chain(60, both, `{"type":"string","not":{"enum":["a","b"]}}`),
		"strings":            `{"enum":[` + list(10_000, `"value %d"`) + `]}`,
		"objects":            `{"enum":[` + list(3000, `{"a":%d,"b":[1,2,3]}`) + `]}`,
		"two lists":          `{"allOf":[{"enum":[` + list(3000, "%d") + `]},{"enum":[` + list(3000, "%d.0") + `]}]}`,
		"list and bars":      `{"enum":[` + list(3000, "%d") + `],"not":{"enum":[` + list(300, "%d") + `]}}`,
		"many keys":          `{"properties":{` + list(100_000, `"p%d":true`) + `}}`,
		"required":           `{"type":"object","properties":{` + list(2000, `"p%d":{"type":"null"}`) + `},"required":[` + list(2000, `"p%d"`) + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(context.Background(), DefaultLimits())
			if _, err := compileSchema([]byte(src), byteVocab(), m); err != nil && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
			if m.steps > DefaultLimits().Steps+1<<20 {
				t.Errorf("%d steps", m.steps)
			}
		})
	}
}

// TestEqualValues holds comparison to JSON Schema's.
func TestEqualValues(t *testing.T) {
	same := [][]string{
		{`1`, `1.0`, `10e-1`}, {`{"a":1,"b":[2]}`, `{"b":[2.0],"a":1}`}, {`"1"`}, {`[1]`}, {`[[1]]`}, {`["1"]`}, {`{"a":[]}`}, {`{"a":{}}`}, {`[]`}, {`{}`},
		{`[[],[]]`}, {`[[[]]]`}, {`["a,b"]`}, {`["a","b"]`}, {`null`}, {`true`}, {`false`}, {`1e500`}, {`{"a\"":1}`}, {`0`, `-0`},
	}
	for i, a := range same {
		for j, b := range same {
			for _, x := range a {
				for _, y := range b {
					v, err := parseJSON([]byte(x))
					if err != nil {
						t.Fatal(err)
					}
					w, err := parseJSON([]byte(y))
					if err != nil {
						t.Fatal(err)
					}
					if v.equal(w) != (i == j) || among([]*value{w, w, w, w, w, w, w, w})(v) != (i == j) {
						t.Errorf("%s and %s: equal is %v", x, y, v.equal(w))
					}
				}
			}
		}
	}
}
