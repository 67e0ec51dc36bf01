package jinja

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// goldenTime is when the clock stood as testdata/make_goldens.py ran.
var goldenTime = time.Date(2024, 7, 6, 9, 5, 3, 1234000, time.UTC)

type golden struct {
	Template string
	Output   *string
	Error    string
	Message  string
	Line     int
	Loose    bool
}

type goldenFile struct {
	Vars  json.RawMessage
	Cases []golden
}

func loadGoldens(t testing.TB, path string) goldenFile {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file goldenFile
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatalf("no cases in %s", path)
	}
	return file
}

func renderWith(source string, vars json.RawMessage, limits Limits) (string, error) {
	t, err := Parse(source)
	if err != nil {
		return "", err
	}
	v, err := FromJSON(vars)
	if err != nil {
		return "", err
	}
	return t.Render(Call{Vars: v.(*Dict), Size: len(vars), Now: goldenTime, Limits: limits})
}

// TestGoldens compares with Jinja itself: text for text, and errors by class,
// message and, where Jinja knows it exactly, line. The files come from
// testdata/make_goldens.py; WEIR_JINJA_CASES names one more.
func TestGoldens(t *testing.T) {
	paths := []string{"testdata/goldens.json", "testdata/random.json"}
	if more := os.Getenv("WEIR_JINJA_CASES"); more != "" {
		paths = append(paths, more)
	}
	for _, path := range paths {
		file := loadGoldens(t, path)
		for _, c := range file.Cases {
			checkGolden(t, c, file.Vars)
		}
	}
}

func checkGolden(t *testing.T, c golden, vars json.RawMessage) {
	got, err := renderWith(c.Template, vars, Limits{})
	switch {
	case c.Error == "" && err != nil:
		t.Errorf("%q:\n got error %v\nwant %q", c.Template, err, *c.Output)
	case c.Error == "" && got != *c.Output:
		t.Errorf("%q:\n got %q\nwant %q", c.Template, got, *c.Output)
	case c.Error != "" && err == nil:
		t.Errorf("%q:\n got %q\nwant %s: %s", c.Template, got, c.Error, c.Message)
	case c.Error != "":
		compareError(t, c, err)
	}
}

func compareError(t *testing.T, c golden, err error) {
	class, msg, line := errorParts(t, err)
	if c.Error == "TemplateAssertionError" { // a kind of TemplateSyntaxError
		c.Error = "TemplateSyntaxError"
	}
	if c.Error == "SyntaxError" { // of the Python code that Jinja makes: its message and line are of that code
		c.Error, c.Loose, c.Line = "TemplateSyntaxError", true, 0
	}
	// Which pair of a list cannot be compared depends on how it is sorted.
	const incomparable = "not supported between instances of"
	c.Loose = c.Loose || strings.Contains(msg, incomparable) && strings.Contains(c.Message, incomparable)
	if class != c.Error || !c.Loose && msg != c.Message || c.Line > 0 && line != c.Line {
		t.Errorf("%q:\n got line %d, %s: %s\nwant line %d, %s: %s", c.Template, line, class, msg, c.Line, c.Error, c.Message)
	}
}

func errorParts(t *testing.T, err error) (class, msg string, line int) {
	var raised *RaisedError
	if errors.As(err, &raised) {
		return "TemplateError", raised.Message, raised.Line
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("an error of type %T: %v", err, err)
	}
	if e.Line == 0 || !strings.HasPrefix(e.Error(), "chat template, line ") {
		t.Errorf("an error without a line: %v", e)
	}
	return e.Class, e.Msg, e.Line
}
