//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package weights

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// region is a file's bytes in memory that the garbage collector never sees.
type region struct {
	b      []byte
	mapped bool // from the file: its pages come in as they are touched
}

// newRegion maps the file, or reads it into anonymous memory. Either way the
// pages are read-only in the end: a stray write faults instead of corrupting
// the model.
func newRegion(f *os.File, size int, how Load, p Progress) (region, error) {
	if how == Mmap {
		b, err := mapPages(int(f.Fd()), size, unix.PROT_READ, unix.MAP_SHARED)
		preferLargePages(b)
		return region{b: b, mapped: true}, os.NewSyscallError("mmap", err)
	}
	b, err := mapPages(-1, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return region{}, os.NewSyscallError("mmap", err)
	}
	preferLargePages(b)
	if err = readAll(f, b, p); err == nil {
		err = os.NewSyscallError("mprotect", unix.Mprotect(b, unix.PROT_READ))
	}
	if err != nil {
		return region{}, errors.Join(err, region{b: b}.free())
	}
	return region{b: b}, nil
}

// rest lets go of pages of a mapped file. The mapping stays.
func rest(pages []byte) { _ = unix.Madvise(pages, unix.MADV_DONTNEED) } // advice: without it, the same in more memory

func (r region) free() error { return os.NewSyscallError("munmap", unmapPages(r.b)) }
