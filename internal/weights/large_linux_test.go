package weights

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func always(int64) bool { return true }

// randomRegion is a mapping of a file of random bytes.
func randomRegion(t *testing.T, size int) (region, []byte, string) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	want := make([]byte, size)
	from := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	if _, err := from.Read(want); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := loadFile(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.free(); err != nil {
			t.Error(err)
		}
	})
	return r, want, path
}

// TestEnlarge: bytes are the same before, while and after they are moved into other pages, at the same
// place, and the file's pages are given back.
func TestEnlarge(t *testing.T) {
	const size = prefetchChunk + 12345
	r, want, path := randomRegion(t, size)
	if uintptr(unsafe.Pointer(&r.b[0]))%largePage != 0 {
		t.Errorf("a file is mapped at %p", &r.b[0])
	}
	var stop atomic.Bool
	var reading sync.WaitGroup
	reading.Go(func() {
		for at := 0; !stop.Load(); at = (at + 4099) % size {
			if r.b[at] != want[at] {
				t.Error("bytes changed")
				return
			}
		}
	})
	moved, err := r.exchange(t.Context(), always) // the file may be in large pages already
	stop.Store(true)
	reading.Wait()
	if moved != size || err != nil {
		t.Fatalf("%d bytes copied, error %v", moved, err)
	}
	if err := os.Truncate(path, 0); err != nil { // the file is needed no longer
		t.Fatal(err)
	}
	if !bytes.Equal(r.b, want) {
		t.Error("bytes are not the file's")
	}
	fault := func() (err error) { // a stray write still faults
		return copyMapped(r.b[:1], []byte{want[0]})
	}
	if fault() == nil {
		t.Error("weights can be written to")
	}
}

// TestEnlargeEnds: it copies only what memory has room for, until it is told to end.
func TestEnlargeEnds(t *testing.T) {
	const size = 2*prefetchChunk + 1
	for name, c := range map[string]struct {
		pieces int
		cancel bool
	}{"no room": {0, false}, "room for a piece": {1, false}, "ended": {1, true}} {
		r, want, _ := randomRegion(t, size)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var asked []int64
		moved, err := r.exchange(ctx, func(left int64) bool {
			asked = append(asked, left)
			if c.cancel {
				cancel()
				return true
			}
			return len(asked) <= c.pieces
		})
		if err != nil || moved != int64(c.pieces*prefetchChunk) || asked[0] != size {
			t.Errorf("%s: %d bytes copied, asked of %v, error %v", name, moved, asked, err)
		}
		if !bytes.Equal(r.b, want) {
			t.Errorf("%s: bytes changed", name)
		}
	}
}

// TestEnlargeTruncated: a file that is cut short is an error, not a crash.
func TestEnlargeTruncated(t *testing.T) {
	r, want, path := randomRegion(t, prefetchChunk+1<<20)
	if err := os.Truncate(path, prefetchChunk); err != nil {
		t.Fatal(err)
	}
	moved, err := r.exchange(t.Context(), always)
	if !errors.Is(err, errShrunk) || moved != prefetchChunk || !bytes.Equal(r.b[:moved], want[:moved]) {
		t.Errorf("%d bytes copied, error %v", moved, err)
	}
}

// TestEnlargeLeavesLargePages: what the kernel has in large pages is not copied. (A file in memory can have
// them wherever the kernel has them at all.)
func TestEnlargeLeavesLargePages(t *testing.T) {
	fd, err := unix.MemfdCreate("weights", 0)
	if err != nil {
		t.Skip("no files in memory here:", err)
	}
	file := os.NewFile(uintptr(fd), "weights")
	defer file.Close()
	if _, err := file.Write(make([]byte, 2*largePage)); err != nil {
		t.Fatal(err)
	}
	r, err := newRegion(file, 2*largePage, Mmap, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.free(); err != nil {
			t.Error(err)
		}
	}()
	if isLarge(r.b) {
		t.Error("nothing is mapped, and in large pages")
	}
	if err := unix.Madvise(r.b, unix.MADV_COLLAPSE); err != nil {
		t.Skip("no large pages for files in memory here:", err)
	}
	if err := populate(r.b); err != nil {
		t.Fatal(err)
	}
	f := &File{regions: []region{{b: make([]byte, 5)}, r}}
	if moved, err := f.Enlarge(t.Context(), always); moved != 0 || err != nil {
		t.Errorf("%d bytes copied, error %v", moved, err)
	}
}

func TestLargeIn(t *testing.T) {
	const maps = "7f0000000000-7f0000400000 r--s 00000000 fe:00 12 /m.gguf\nSize: 4096 kB\nFilePmdMapped:     2048 kB\nVmFlags: rd mr\n" +
		"7f0000400000-7f0000800000 r--s 00000000 fe:00 13 /tmp/a-b\nShmemPmdMapped:     4096 kB\nFilePmdMapped:        2 kB\n"
	for at, want := range map[uintptr]int64{0x7f0000000000: 2 << 20, 0x7f0000400000: 4<<20 + 2<<10, 0x7f0000200000: 0} {
		if got := largeIn([]byte(maps), at); got != want {
			t.Errorf("at %x: %d bytes, want %d", at, got, want)
		}
	}
	for _, cut := range []string{"", "-", "x-\n", fmt.Sprintf("%x-\nFilePmdMapped:", 5)} {
		_ = largeIn([]byte(cut), 5)
	}
}

// TestRest: pages that are given back come again as they were, of a mapped file, and are not given back where they
// are copies.
func TestRest(t *testing.T) {
	const size = 3 * prefetchChunk
	r, want, _ := randomRegion(t, size)
	f := &File{regions: []region{{b: []byte("in memory")}, r}}
	part := r.b[1000 : size-1000]
	if !f.Maps(part) || f.Maps(want) || f.Maps(f.regions[0].b) || f.Maps(nil) {
		t.Error("what is mapped is not told from what is not")
	}
	f.Rest(f.regions[0].b)
	if !bytes.Equal(r.b, want) { // and all pages are there
		t.Error("bytes are not the file's")
	}
	before := resident(t)
	f.Rest(part)
	if gone := before - resident(t); gone < size*9/10 {
		t.Errorf("%d of %d bytes were given back", gone, len(part))
	}
	if !bytes.Equal(r.b, want) {
		t.Error("bytes are not the file's")
	}
	if _, err := r.exchange(t.Context(), always); err != nil {
		t.Fatal(err)
	}
	f.enlarged.Store(true)
	if f.Rest(part); !bytes.Equal(r.b, want) {
		t.Error("copies were given back: their bytes are gone")
	}
}

// resident is how much memory the process holds.
func resident(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
