package server

import (
	"os"
	"strings"
	"testing"
)

// docs/api.md has a section for each route.
func TestRoutesDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range new(Server).table() {
		if name := rt.method + " " + strings.Replace(rt.path, "{id...}", "{id}", 1); !strings.Contains(string(b), "`"+name+"`") {
			t.Errorf("docs/api.md has no `%s`", name)
		}
	}
}
