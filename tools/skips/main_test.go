package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// events writes a run as `go test -json` does: "action package test output".
func events(t *testing.T, list ...event) string {
	t.Helper()
	var b strings.Builder
	for _, e := range list {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

func out(pkg, name, text string) event {
	return event{Action: "output", Package: "weir/" + pkg, Test: name, Output: text + "\n"}
}

func end(action, pkg, name string) event {
	return event{Action: action, Package: "weir/" + pkg, Test: name}
}

// check runs the tool on a list and events.
func check(t *testing.T, list, in string) (string, error) {
	t.Helper()
	allowed, err := readList(strings.NewReader(list), "list")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	r, err := readResults(strings.NewReader(in), &b)
	if err != nil {
		t.Fatal(err)
	}
	err = r.report(&b, allowed, "list")
	return b.String(), err
}

func TestPasses(t *testing.T) {
	in := events(t,
		out("a", "TestX", "=== RUN   TestX"), out("a", "TestX", "chatter"), end("pass", "a", "TestX"),
		out("a", "TestY", "    y_test.go:3: needs a tool"), out("a", "TestY", "--- SKIP: TestY (0.00s)"), end("skip", "a", "TestY"),
		out("a", "", "PASS"), out("a", "", "ok  \tweir/a\t0.1s"), end("pass", "a", ""),
		out("b", "", "?   \tweir/b\t[no test files]"), end("skip", "b", ""),
	)
	got, err := check(t, "# comment\n\na TestY always needs a tool that CI lacks\n", in)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"skipped tests: 1\n",
		"listed      a TestY: y_test.go:3: needs a tool (needs a tool that CI lacks)\n",
		"\nok  \tweir/a\t0.1s\n?   \tweir/b\t[no test files]\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "chatter") {
		t.Errorf("what a passing test said is shown:\n%s", got)
	}
}

func TestUnlistedSkip(t *testing.T) {
	in := events(t, end("pass", "a", "TestX"), end("skip", "a", "TestY/sub"), end("pass", "a", ""))
	for list, ok := range map[string]bool{
		"":                                      false,
		"a TestY always reason":                 false,
		"b TestY/sub always reason":             false,
		"a TestY/sub always reason":             true,
		"a TestY/* always reason":               true,
		"a Test* always reason":                 true,
		"a TestX* always reason":                false,
		"a TestY/sub goos=plan9 reason":         false,
		"a TestY/sub lacks=no_such_flag reason": true,
		"a TestY/sub without=/ reason":          false,
		"a TestY/sub without=/gone reason":      true,
	} {
		got, err := check(t, list, in)
		if (err == nil) != ok {
			t.Errorf("list %q: error %v", list, err)
		}
		if !ok && !strings.Contains(got, "NOT LISTED  a TestY/sub") {
			t.Errorf("list %q: the skip is not shown:\n%s", list, got)
		}
	}
}

func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want string // in the output
		err  string
	}{
		"a test": {
			events(t, out("a", "TestX", "the cause"), end("fail", "a", "TestX"), out("a", "", "FAIL\tweir/a\t0.1s"), end("fail", "a", "")),
			"the cause\n", "failed: a TestX",
		},
		"a build": {
			events(t, event{Action: "build-output", ImportPath: "weir/a", Output: "a.go:1: syntax error\n"},
				event{Action: "build-fail", ImportPath: "weir/a"}, out("a", "", "FAIL\tweir/a [build failed]"), end("fail", "a", "")),
			"syntax error", "failed: a",
		},
		"go itself": {"go: no such thing\n", "go: no such thing", "no test passed"},
		"nothing":   {"", "skipped tests: 0", "no test passed"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := check(t, "", c.in)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("no %q in:\n%s", c.want, got)
			}
		})
	}
}

func TestBadLists(t *testing.T) {
	for _, list := range []string{"a TestX always", "a TestX sometimes reason", "a TestX without= reason", "a TestX lacks= reason"} {
		if _, err := readList(strings.NewReader(list), "list"); err == nil || !strings.HasPrefix(err.Error(), "list:1: ") {
			t.Errorf("list %q: error %v, want one that names the line", list, err)
		}
	}
}

// TestCommittedList reads the list that CI uses, and checks that its entries
// name packages that there are.
func TestCommittedList(t *testing.T) {
	root := filepath.Join("..", "..")
	f, err := os.Open(filepath.Join(root, ".ci", "skips.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := readList(f, "skips.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if _, err := os.Stat(filepath.Join(root, e.pkg)); err != nil {
			t.Errorf("entry for %s %s: no such package", e.pkg, e.test)
		}
	}
}
