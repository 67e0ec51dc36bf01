package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Output     string
}

// test names a test.
type test struct{ pkg, name string }

// results is what became of a run.
type results struct {
	closing []string        // go test's last line of each package
	passed  int             // tests, subtests not counted
	failed  []test          // a name of "" is a package that failed as such
	skipped []test          // in the order in which they ended
	reasons map[test]string // why each skipped, as it said
}

// readResults reads the events, and writes to w what failed as soon as it did.
func readResults(r io.Reader, w io.Writer) (*results, error) {
	res := &results{reasons: map[test]string{}}
	output := map[test][]string{}
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		var e event
		if json.Unmarshal([]byte(line), &e) == nil {
			res.take(e, output, w)
		} else if line != "" {
			fmt.Fprint(w, line) // go itself speaks: a pattern that matches nothing, say
		}
		if err == io.EOF {
			return res, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the results: %w", err)
		}
	}
}

// take notes one event; output holds what unfinished tests said.
func (r *results) take(e event, output map[test][]string, w io.Writer) {
	t := test{strings.TrimPrefix(e.Package, "weir/"), e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "output":
		output[t] = append(output[t], e.Output)
		if e.Test == "" && isClosing(e.Output) {
			r.closing = append(r.closing, strings.TrimRight(e.Output, "\n"))
		}
	case "pass", "fail", "skip":
		r.end(t, e.Action, output[t], w)
		delete(output, t)
	}
}

// end notes how a test, or a package, ended.
func (r *results) end(t test, action string, said []string, w io.Writer) {
	switch {
	case action == "fail":
		r.failed = append(r.failed, t)
		fmt.Fprint(w, strings.Join(said, ""))
	case t.name == "": // a package that passed, or has no tests
	case action == "skip":
		r.skipped = append(r.skipped, t)
		r.reasons[t] = reasonIn(said)
	case !strings.Contains(t.name, "/"):
		r.passed++
	}
}

// isClosing tells go test's last line about a package.
func isClosing(line string) bool {
	for _, start := range []string{"ok  \t", "FAIL\t", "?   \t"} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return false
}

// reasonIn finds what a skipped test said: the last line that is not go test's.
func reasonIn(said []string) string {
	reason := "no reason given"
	for _, s := range said {
		if s = strings.TrimSpace(s); s != "" && !strings.HasPrefix(s, "=== ") && !strings.HasPrefix(s, "--- ") {
			reason = s
		}
	}
	return reason
}

// report prints skips and closing lines, and returns an error if the run is no
// success.
func (r *results) report(w io.Writer, allowed []entry, listFile string) error {
	var failures []error
	fmt.Fprintf(w, "\nskipped tests: %d\n", len(r.skipped))
	for _, t := range r.skipped {
		e, ok := allows(allowed, t)
		if ok {
			fmt.Fprintf(w, "  listed      %s %s: %s (%s)\n", t.pkg, t.name, r.reasons[t], e.reason)
			continue
		}
		fmt.Fprintf(w, "  NOT LISTED  %s %s: %s\n", t.pkg, t.name, r.reasons[t])
		failures = append(failures, fmt.Errorf("%s %s skips and is not in %s: make it run, or list it with the reason", t.pkg, t.name, listFile))
	}
	for _, t := range r.failed {
		failures = append(failures, fmt.Errorf("failed: %s %s", t.pkg, t.name))
	}
	if r.passed == 0 {
		failures = append(failures, errors.New("no test passed"))
	}
	fmt.Fprintln(w)
	for _, line := range r.closing {
		fmt.Fprintln(w, line)
	}
	return errors.Join(failures...)
}
