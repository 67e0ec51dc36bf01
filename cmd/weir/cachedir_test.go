package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestCacheDirReplacesWholeFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c, err := newCacheDir(dir, "org/Model 7B")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing was saved, but %v", err)
	}
	write := func(text string, fail error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, fail)
		}
	}
	full := errors.New("no space left on device")
	for _, step := range []struct {
		text string
		fail error
		want string
	}{{"first", nil, "first"}, {"sec", full, "first"}, {"third", nil, "third"}} {
		if err := c.Save(write(step.text, step.fail)); !errors.Is(err, step.fail) || (err == nil) != (step.fail == nil) {
			t.Errorf("%s: %v", step.text, err)
		}
		f, err := c.Load()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(f)
		f.Close()
		if string(got) != step.want {
			t.Errorf("after %s: %q", step.text, got)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != filepath.Base(c.path) || !regexp.MustCompile(`^org_Model_7B-[0-9a-f]{8}\.prefixes$`).MatchString(files[0].Name()) {
		t.Errorf("%v, %v", files, err)
	}
	if info, err := os.Stat(c.path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
}

func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{"../x": "_x", "..": "", "a/../b": "a_.._b", "é": "_", strings.Repeat("x", 300): strings.Repeat("x", 100)} {
		if got := plainName(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

// What a server computed is there when it starts again.
func TestServeKeepsItsCache(t *testing.T) {
	dir := t.TempDir()
	prompt := strings.Repeat("All that is said here is said again after the restart. ", 4)
	var cached [2]string
	for i := range cached {
		s := serve(t, "--cache-dir", dir)
		body := fmt.Sprintf(`{"prompt":%q,"max_tokens":1}`, prompt)
		_, cached[i] = s.post(t, "/v1/completions", body)
		s.stop(t)
		if !strings.Contains(s.log.String(), "prefix cache saved") {
			t.Errorf("start %d: the log does not say that the cache was saved:\n%s", i, s.log.String())
		}
	}
	if !strings.Contains(cached[0], `"cached_tokens":0`) || strings.Contains(cached[1], `"cached_tokens":0`) {
		t.Errorf("first %s\nthen %s", cached[0], cached[1])
	}
}

// TestFilesApart: models whose names look alike on a disk have files of their own.
func TestFilesApart(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a b", "a_b", "A_B", "модель", "мадель", "..", strings.Repeat("x", 100), strings.Repeat("x", 101)} {
		file := strings.ToLower(fileName(name))
		if other, ok := seen[file]; ok {
			t.Errorf("%q and %q share %s", name, other, file)
		}
		seen[file] = name
	}
}

// TestSweep: what an ended process was writing goes, what another may be writing stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{".weir-1.tmp": time.Hour, ".weir-2.tmp": 0, "mine": time.Hour} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newCacheDir(dir, "m"); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 || files[0].Name() != ".weir-2.tmp" {
		t.Errorf("%v, %v", files, err)
	}
}
