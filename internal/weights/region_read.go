//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package weights

import "os"

// region is a file's bytes in memory. Without mmap they live on the Go heap,
// as one object without pointers, and both ways of loading read the file.
type region struct {
	b      []byte
	mapped bool // never, here
}

func newRegion(f *os.File, size int, _ Load, p Progress) (region, error) {
	b := make([]byte, size)
	if err := readAll(f, b, p); err != nil {
		return region{}, err
	}
	return region{b: b}, nil
}

// free leaves the bytes to the collector.
func (r region) free() error { return nil }

// rest is for mappings.
func rest([]byte) {}

// populate is for mappings.
func populate([]byte) error { return nil }
