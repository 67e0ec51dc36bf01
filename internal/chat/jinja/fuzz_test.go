package jinja

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"
)

// fuzzLimits keep one input short.
var fuzzLimits = Limits{Steps: 20_000, Output: 1 << 16, Memory: 1 << 20, Depth: 20}

func seeds(f *testing.F) goldenFile {
	file := loadGoldens(f, "testdata/goldens.json")
	n := 0
	for _, c := range file.Cases {
		f.Add(c.Template)
		n++
	}
	for _, source := range bombs {
		f.Add(source)
		n++
	}
	if n < 1000 {
		f.Fatalf("only %d seeds", n)
	}
	return file
}

// FuzzParse: any text gives a template or an *Error with a line, never a panic.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, source string) {
		_, err := Parse(source)
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Line == 0) {
			t.Fatalf("%q: error %T %v", source, err, err)
		}
	})
}

// FuzzRender: any template renders to valid UTF-8 within its limits or gives
// an error with a line, never a panic.
func FuzzRender(f *testing.F) {
	file := seeds(f)
	f.Fuzz(func(t *testing.T, source string) {
		out, err := renderWith(source, file.Vars, fuzzLimits)
		var e *Error
		var raised *RaisedError
		switch {
		case err == nil && len(out) > fuzzLimits.Output:
			t.Fatalf("%q: %d bytes", source, len(out))
		case err == nil && !utf8.ValidString(out):
			t.Fatalf("%q: the text %q is not UTF-8", source, out)
		case errors.As(err, &raised):
		case err != nil && (!errors.As(err, &e) || e.Line == 0):
			t.Fatalf("%q: error %T %v", source, err, err)
		}
	})
}

// FuzzJSON: what is read as JSON is written as JSON that reads as the same.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,-0,1e5,true,null,"x\u00e9\n\ud83e\udd99"]}`, `[]`, `{"a":1,"a":2}`, `12345678901234567890`, `NaN`, `"\ud800"`, `{"a"`, `[[[[`, "\"\xff\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := FromJSON([]byte(s))
		if json.Valid([]byte(s)) && err != nil && len(s) < 1000 {
			t.Fatalf("%q: %v", s, err)
		}
		if err != nil {
			return
		}
		render := func(v Value) string {
			d := NewDict()
			d.Set("v", v)
			out, err := dump.Render(Call{Vars: d, Size: len(s)})
			if err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			return out
		}
		once := render(v)
		again, err := FromJSON([]byte(once))
		if err != nil || render(again) != once {
			t.Fatalf("%q: written as %q: %v", s, once, err)
		}
	})
}

var dump, _ = Parse("{{ v | tojson }}")
