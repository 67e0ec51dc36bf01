//go:build unix

package weights

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// mappedFile is a mapping of a file of that many bytes.
func mappedFile(t *testing.T, size int) (region, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := newRegion(file, size, Mmap, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.free(); err != nil {
			t.Error(err)
		}
	})
	return r, path
}

func TestPrefetchReports(t *testing.T) {
	const size = 2*prefetchChunk + 5
	r, path := mappedFile(t, size)
	if !r.mapped {
		t.Skip("this platform reads files, and maps none")
	}
	var seen []int64
	f := &File{regions: []region{r}, paths: []string{path}}
	err := f.Prefetch(t.Context(), func(of string, done, total int64) {
		if of != path || total != size {
			t.Errorf("reported %s of %d, want %s of %d", of, total, path, size)
		}
		seen = append(seen, done)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3 || seen[0] != prefetchChunk || seen[2] != size {
		t.Errorf("reported %v", seen)
	}
}

func TestPrefetchEndsWithItsContext(t *testing.T) {
	r, path := mappedFile(t, 3*prefetchChunk)
	if !r.mapped {
		t.Skip("this platform reads files, and maps none")
	}
	ctx, cancel := context.WithCancel(t.Context())
	reports := 0
	f := &File{regions: []region{r}, paths: []string{path}}
	if err := f.Prefetch(ctx, func(string, int64, int64) { reports++; cancel() }); err != nil || reports != 1 {
		t.Errorf("%d reports, error %v", reports, err)
	}
}

// A file that somebody truncates under the mapping is an error, not a crash, in
// both ways of bringing it in.
func TestPrefetchOfATruncatedFile(t *testing.T) {
	const size = 1 << 20
	for name, bring := range map[string]func([]byte) error{"populate": populate, "touch": touch} {
		r, path := mappedFile(t, size)
		if err := os.Truncate(path, size/4); err != nil {
			t.Fatal(err)
		}
		if err := bring(r.b); !errors.Is(err, errShrunk) {
			t.Errorf("%s on %s: %v, want %v", name, runtime.GOOS, err, errShrunk)
		}
	}
}

func TestReadReports(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	var done int64
	r, err := loadFile(path, Options{Load: Read, Progress: func(_ string, n, _ int64) { done = n }})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.free(); err != nil || done != 100 {
		t.Errorf("%d bytes reported, error %v", done, err)
	}
}
