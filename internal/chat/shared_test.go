package chat

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sharedDir is the folder of third-party test data beside the checkout.
func sharedDir(t testing.TB) string {
	dir := os.Getenv("WEIR_SHARED")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			if root == filepath.Dir(root) {
				t.Fatal("no go.mod above the test's folder")
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(dir, "templates")); err != nil {
		t.Skipf("needs ../shared/templates: not found")
	}
	return dir
}

// caseTime is when the clock stood as the cases were made.
var caseTime = time.Date(2024, 7, 26, 9, 30, 0, 0, time.UTC)

type sharedCase struct {
	Case   string
	Input  json.RawMessage
	Output *string
	Error  *string
}

// TestSharedTemplates renders each case of ../shared/templates: real
// templates, with what Transformers' Jinja gives.
func TestSharedTemplates(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(sharedDir(t), "templates", "*.jinja"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jinja")
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(strings.TrimSuffix(file, ".jinja") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var cases []sharedCase
		if err := json.Unmarshal(raw, &cases); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			t.Run(name+"/"+c.Case, func(t *testing.T) { checkShared(t, string(source), c) })
		}
	}
}

func checkShared(t *testing.T, source string, c sharedCase) {
	got, err := RenderCase(source, c.Input, caseTime)
	if c.Error != nil {
		var raised *RaisedError
		if !errors.As(err, &raised) || raised.Message != *c.Error {
			t.Fatalf("error %v, want the refusal %q", err, *c.Error)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.Output == nil {
		t.Fatal("the case has neither output nor error")
	}
	if got != *c.Output {
		t.Errorf("got\n%q\nwant\n%q", got, *c.Output)
	}
}
