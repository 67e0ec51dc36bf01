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
	o := DefaultOptions()
	withMetrics(&o)
	s, err := New(o, Static{}, new(fakeHealth))
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range s.routes {
		if name := rt.method + " " + pathOf(rt); !strings.Contains(string(b), "`"+name+"`") {
			t.Errorf("docs/api.md has no `%s`", name)
		}
	}
}
