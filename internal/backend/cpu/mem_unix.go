//go:build unix

package cpu

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// allocate returns n zero bytes outside the Go heap, aligned to a page. They
// take memory when they are first touched.
func allocate(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes: %w", n, err)
	}
	return b, nil
}

// release gives back what allocate returned. Nothing may touch it afterwards.
func release(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := unix.Munmap(b); err != nil {
		return fmt.Errorf("release %d bytes: %w", len(b), err)
	}
	return nil
}
