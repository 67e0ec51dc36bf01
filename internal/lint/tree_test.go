package lint

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// source is a Go file of the project.
type source struct {
	path  string // from the module's root, with slashes
	dir   string // the package's folder
	text  []byte
	file  *ast.File
	fset  *token.FileSet
	tests bool // a _test.go file, or one of a package that only tests use
}

// module returns the folder of go.mod.
func module(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "go.mod"))
	}
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	return dir
}

// skipped are folders that hold no sources of the project.
var skipped = map[string]bool{".git": true, ".venv": true, "dist": true, "testdata": true, "node_modules": true, "__pycache__": true}

// walk calls f with each file of the project, by its path from the root.
func walk(t *testing.T, f func(name string)) {
	t.Helper()
	root := module(t)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipped[d.Name()]:
			return fs.SkipDir
		case d.Type().IsRegular():
			name, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			f(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// read returns a file of the project.
func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(module(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var parsed struct {
	once    sync.Once
	sources []source
}

// sources parses the project's Go files, once.
func sources(t *testing.T) []source {
	t.Helper()
	parsed.once.Do(func() {
		walk(t, func(name string) {
			if strings.HasSuffix(name, ".go") {
				parsed.sources = append(parsed.sources, parse(t, name))
			}
		})
	})
	if len(parsed.sources) < 20 {
		t.Fatalf("only %d Go files found: the walk is broken", len(parsed.sources))
	}
	return parsed.sources
}

func parse(t *testing.T, name string) source {
	t.Helper()
	s := source{path: name, dir: path.Dir(name), text: read(t, name), fset: token.NewFileSet()}
	s.tests = strings.HasSuffix(name, "_test.go") || strings.HasSuffix(s.dir, "test")
	var err error
	s.file, err = parser.ParseFile(s.fset, name, s.text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// line returns the number of the line that a node begins on.
func (s *source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

func (s *source) lines() int { return bytes.Count(s.text, []byte("\n")) }

// imported returns the path that a name of the file stands for, "" if it is
// not an import.
func (s *source) imported(name string) string {
	for _, i := range s.file.Imports {
		p := strings.Trim(i.Path.Value, `"`)
		if i.Name != nil && i.Name.Name == name || i.Name == nil && path.Base(p) == name {
			return p
		}
	}
	return ""
}

// uses calls f with each qualified name that the file uses: "os", "Getenv".
func (s *source) uses(f func(pkg, name string, at ast.Node)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil {
				if p := s.imported(id.Name); p != "" {
					f(p, sel.Sel.Name, sel)
				}
			}
		}
		return true
	})
}

// usesOnly tells whether all that the file uses of an import begins with a
// prefix, which must not be empty.
func (s *source) usesOnly(imp, prefix string) bool {
	only := prefix != ""
	s.uses(func(pkg, name string, _ ast.Node) {
		if pkg == imp && !strings.HasPrefix(name, prefix) {
			only = false
		}
	})
	return only
}

// exceptions are the files that a rule does not hold for, each with the reason.
type exceptions map[string]string

// covers tells whether a file is excepted, and notes that it was needed.
func (e exceptions) covers(used map[string]bool, name string) bool {
	_, ok := e[name]
	if ok {
		used[name] = true
	}
	return ok
}

// checkUsed fails for exceptions that nothing needs.
func (e exceptions) checkUsed(t *testing.T, used map[string]bool) {
	t.Helper()
	for name := range e {
		if !used[name] {
			t.Errorf("%s needs no exception any more: remove it", name)
		}
	}
}
