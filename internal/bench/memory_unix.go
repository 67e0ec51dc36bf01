//go:build unix

package bench

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate returns n zero bytes that the garbage collector neither sees nor
// counts. They take memory when they are first touched.
func allocate(n int64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	preferLargePages(b)
	return b, nil
}

// release gives back what allocate returned. Nothing may touch it afterwards.
func release(b []byte) error { return os.NewSyscallError("munmap", unix.Munmap(b)) }
