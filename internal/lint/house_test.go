package lint

import (
	"go/ast"
	"path"
	"regexp"
	"strings"
	"testing"
)

const (
	maxFileLines = 600
	maxFuncLines = 60
)

// longFiles may be longer than maxFileLines. Tests may be, too.
var longFiles = exceptions{}

// longFuncs may be longer than maxFuncLines.
var longFuncs = exceptions{
	"internal/chat/jinja/strftime.go:timeField": "a table: a line for each letter that strftime knows",
}

// sleepers may sleep.
var sleepers = exceptions{
	"internal/backend/cpu/pool_test.go": "polls until the runtime has let go of threads, which it tells nobody",
	"internal/router/router_test.go":    "its time is that of testing/synctest, where a sleep is over as soon as everybody waits",
}

// watches may look at the clock where others are handed the time.
var watches = exceptions{
	"internal/backend/cpu/pool.go": "threads wait awake for a time, which moves no result",
}

func TestPackageNames(t *testing.T) {
	vague := map[string]bool{"util": true, "utils": true, "common": true, "helper": true, "helpers": true, "misc": true, "shared": true, "lib": true, "base": true}
	for _, s := range sources(t) {
		if vague[s.file.Name.Name] || vague[path.Base(s.dir)] {
			t.Errorf("%s: a package is named for what it provides; %q says nothing, so everything ends up in it", s.path, s.file.Name.Name)
		}
	}
}

func TestPackageDocs(t *testing.T) {
	documented, found := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		found[s.dir] = true
		if s.file.Doc == nil {
			continue
		}
		documented[s.dir] = true
		if text := s.file.Doc.Text(); s.file.Name.Name != "main" && !strings.HasPrefix(text, "Package "+s.file.Name.Name+" ") {
			t.Errorf("%s: the doc comment must begin with \"Package %s\"", s.path, s.file.Name.Name)
		}
	}
	for dir := range found {
		if !documented[dir] {
			t.Errorf("%s: no file has a doc comment for the package: a package's doc teaches it", dir)
		}
	}
}

func TestSizes(t *testing.T) {
	files, funcs := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.tests {
			continue
		}
		if n := s.lines(); n > maxFileLines && !longFiles.covers(files, s.path) {
			t.Errorf("%s has %d lines, more than %d: split it by what it is about", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.line(f) + 1
			if n > maxFuncLines && !longFuncs.covers(funcs, s.path+":"+f.Name.Name) {
				t.Errorf("%s:%d: func %s has %d lines, more than %d: give its steps names", s.path, s.line(f), f.Name.Name, n, maxFuncLines)
			}
		}
	}
	longFiles.checkUsed(t, files)
	longFuncs.checkUsed(t, funcs)
}

func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s:%d: no init functions: what happens when a program starts stands in cmd, in order", s.path, s.line(f))
			}
		}
	}
}

// environment are the functions that read or change it.
var environment = map[string]bool{"Getenv": true, "LookupEnv": true, "Environ": true, "ExpandEnv": true, "Setenv": true, "Unsetenv": true, "Clearenv": true}

func TestNoEnvironment(t *testing.T) {
	for _, s := range sources(t) {
		if s.tests || within(s.dir, "cmd") || within(s.dir, "tools") {
			continue
		}
		s.uses(func(pkg, name string, at ast.Node) {
			if (pkg == "os" || pkg == "syscall") && environment[name] {
				t.Errorf("%s:%d: %s.%s: only cmd reads the environment; a package is told through its Options", s.path, s.line(at), pkg, name)
			}
			if pkg == "os" && name == "Exit" {
				t.Errorf("%s:%d: os.Exit: only cmd ends the process; a package returns an error", s.path, s.line(at))
			}
		})
	}
}

func TestNoSleeps(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		s.uses(func(pkg, name string, at ast.Node) {
			if pkg == "time" && name == "Sleep" && !sleepers.covers(used, s.path) {
				t.Errorf("%s:%d: time.Sleep: wait for the event itself (a channel, a context, testing/synctest): a sleep is too short on a busy machine and too long on any other", s.path, s.line(at))
			}
		})
	}
	sleepers.checkUsed(t, used)
}

// TestClock keeps the clock out of what decides, which is handed the time.
func TestClock(t *testing.T) {
	pure := []string{"internal/kv", "internal/sample", "internal/sched", "internal/spec", "internal/grammar", "internal/chat", "internal/model", "internal/backend"}
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.tests || !withinAny(s.dir, pure) {
			continue
		}
		s.uses(func(pkg, name string, at ast.Node) {
			if pkg == "time" && (name == "Now" || name == "Since" || name == "After") && !watches.covers(used, s.path) {
				t.Errorf("%s:%d: time.%s: %s is pure; hand it the time", s.path, s.line(at), name, s.dir)
			}
		})
	}
	watches.checkUsed(t, used)
}

// words that do not belong into a file. They are put together here so that this
// file has none.
var words = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`), "finish it, or file an issue"},
	{regexp.MustCompile(`(?i)not ` + `implemented|\bun` + `implemented`), "say what is supported instead, or build it"},
	{regexp.MustCompile(`(^|[^\w.])/(wo` + `rk|ro` + `ot|ho` + `me|Us` + `ers)/[\w.]`), "a path of one machine means nothing on another"},
}

// textFiles are the kinds of files that are searched for words.
var textFiles = map[string]bool{".go": true, ".md": true, ".py": true, ".sh": true, ".c": true, ".h": true, ".cu": true, ".js": true, ".html": true, ".css": true, ".txt": true, ".json": true, ".yaml": true, ".mod": true, "": true}

// wordyFiles may have them.
var wordyFiles = exceptions{}

func TestWords(t *testing.T) {
	used := map[string]bool{}
	walk(t, func(name string) {
		if !textFiles[path.Ext(name)] || name == "LICENSE" {
			return
		}
		for i, line := range strings.Split(string(read(t, name)), "\n") {
			for _, w := range words {
				if m := w.pattern.FindString(line); m != "" && !wordyFiles.covers(used, name) {
					t.Errorf("%s:%d: %q: %s", name, i+1, strings.TrimSpace(m), w.why)
				}
			}
		}
	})
	wordyFiles.checkUsed(t, used)
}
