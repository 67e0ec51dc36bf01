package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shared is the folder of data that belongs to others and is not part of the
// project; tests that need it are skipped without it.
func shared(t *testing.T, elem ...string) string {
	t.Helper()
	dir := os.Getenv("WEIR_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	path, err := filepath.Abs(filepath.Join(append([]string{dir}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs ../shared/%s: not found", filepath.Join(elem...))
	}
	return path
}

// TestSharedTemplates renders each case through the command line: byte for byte
// what Transformers renders, refusals on standard error with exit code 1.
func TestSharedTemplates(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared(t, "templates"), "*.jinja"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, template := range files {
		data, err := os.ReadFile(strings.TrimSuffix(template, ".jinja") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var cases []json.RawMessage
		if err := json.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
			t.Fatalf("%s: %d cases, %v", template, len(cases), err)
		}
		for _, raw := range cases {
			checkCase(t, template, raw)
		}
	}
}

// checkCase gives the case as it stands in its file, and its input alone.
func checkCase(t *testing.T, template string, raw json.RawMessage) {
	t.Helper()
	var c struct {
		Case          string
		Input         json.RawMessage
		Output, Error *string
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(template) + ", " + c.Case
	for _, input := range []json.RawMessage{raw, c.Input} {
		file := filepath.Join(t.TempDir(), "input.json")
		if err := os.WriteFile(file, input, 0o666); err != nil {
			t.Fatal(err)
		}
		r := weir(t, "", nil, "template", template, file, "--now", "2024-07-26T09:30:00")
		switch {
		case c.Output != nil && (r.code != exitOK || r.out != *c.Output || r.err != ""):
			t.Errorf("%s: exit %d, %s\ngot  %q\nwant %q", name, r.code, r.err, r.out, *c.Output)
		case c.Output == nil && (r.code != exitError || r.out != "" || !strings.Contains(r.err, *c.Error)):
			t.Errorf("%s: exit %d, got %q on standard error, want the refusal %q", name, r.code, r.err, *c.Error)
		}
	}
}
