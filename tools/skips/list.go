package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// entry allows tests to skip.
type entry struct {
	pkg       string
	test      string // may end in *
	condition string
	reason    string
}

// readList reads the list; name is for errors.
func readList(r io.Reader, name string) ([]entry, error) {
	var list []entry
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			return nil, fmt.Errorf("%s:%d: a line has a package, a test, a condition and a reason; this has %d words", name, n, len(f))
		}
		e := entry{f[0], f[1], f[2], strings.Join(f[3:], " ")}
		if _, err := e.holds(); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		list = append(list, e)
	}
	return list, s.Err()
}

// holds tells whether the entry's condition is met on this machine.
func (e entry) holds() (bool, error) {
	key, value, _ := strings.Cut(e.condition, "=")
	switch {
	case e.condition == "always":
		return true, nil
	case key == "without" && value != "":
		_, err := os.Stat(value)
		return os.IsNotExist(err), nil
	case key == "lacks" && value != "":
		info, _ := os.ReadFile("/proc/cpuinfo") // elsewhere than on Linux it lacks all
		return !slices.Contains(strings.Fields(string(info)), value), nil
	case key == "goos" && value != "":
		return runtime.GOOS == value, nil
	}
	return false, fmt.Errorf("condition %q is none of: always, without=PATH, goos=NAME, lacks=FLAG", e.condition)
}

// covers tells whether the entry is about a test.
func (e entry) covers(t test) bool {
	if e.pkg != t.pkg {
		return false
	}
	prefix, open := strings.CutSuffix(e.test, "*")
	return e.test == t.name || open && strings.HasPrefix(t.name, prefix)
}

// allows finds the entry that lets a test skip here.
func allows(list []entry, t test) (entry, bool) {
	for _, e := range list {
		if ok, _ := e.holds(); ok && e.covers(t) {
			return e, true
		}
	}
	return entry{}, false
}
