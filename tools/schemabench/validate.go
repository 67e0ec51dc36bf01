package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/dlclark/regexp2/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// validator is the independent judge.
type validator struct{ schema *jsonschema.Schema }

func newValidator(src []byte) (*validator, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if bytes.Contains(src, []byte(`"prefixItems"`)) || bytes.Contains(src, []byte(`"$defs"`)) {
		c.DefaultDraft(jsonschema.Draft2020)
	}
	c.AssertFormat()
	c.UseRegexpEngine(compilePattern)
	c.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is fetched
	if err := c.AddResource("mem:///schema", doc); err != nil {
		return nil, err
	}
	s, err := c.Compile("mem:///schema")
	if err != nil {
		return nil, err
	}
	return &validator{s}, nil
}

// check tells what is wrong with a document.
func (v *validator) check(text []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return v.schema.Validate(doc)
}

// compilePattern reads a pattern as Go does, and if it cannot, as ECMAScript.
func compilePattern(src string) (jsonschema.Regexp, error) {
	if re, err := regexp.Compile(src); err == nil {
		return re, nil
	}
	re, err := regexp2.Compile(src, regexp2.ECMAScript)
	if err != nil {
		return nil, err
	}
	return ecma{re}, nil
}

type ecma struct{ re *regexp2.Regexp }

func (e ecma) MatchString(s string) bool {
	ok, err := e.re.MatchString(s)
	return ok && err == nil
}

func (e ecma) String() string { return e.re.String() }

// respell writes a JSON text with every character as itself where JSON allows it,
// without blanks, the order of keys kept.
func respell(src []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	var out bytes.Buffer
	err := respellValue(d, &out)
	return out.Bytes(), err
}

func respellValue(d *json.Decoder, out *bytes.Buffer) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return respellScalar(t, out)
	}
	out.WriteString(delim.String())
	for i := 0; d.More(); i++ {
		if i > 0 {
			out.WriteByte(',')
		}
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			if err := respellScalar(key, out); err != nil {
				return err
			}
			out.WriteByte(':')
		}
		if err := respellValue(d, out); err != nil {
			return err
		}
	}
	end, err := d.Token()
	if err == nil {
		out.WriteString(end.(json.Delim).String())
	}
	return err
}

func respellScalar(t json.Token, out *bytes.Buffer) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(t); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1)
	for _, r := range []string{"\u2028", "\u2029"} { // which Go escapes for JavaScript
		if old := strings.ToLower(`\u` + map[string]string{"\u2028": "2028", "\u2029": "2029"}[r]); strings.Contains(out.String(), old) {
			text := strings.ReplaceAll(out.String(), old, r)
			out.Reset()
			out.WriteString(text)
		}
	}
	return nil
}
