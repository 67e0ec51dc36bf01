//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package weights

import (
	"io"
	"os"
)

// region is a file's bytes in memory. Without mmap they live on the Go heap,
// as one object without pointers, and both ways of loading read the file.
type region struct{ b []byte }

func newRegion(f *os.File, size int, _ Load) (region, error) {
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return region{}, err
	}
	return region{b}, nil
}

// free leaves the bytes to the collector.
func (r region) free() error { return nil }
