//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package weights

import "golang.org/x/sys/unix"

func mapPages(fd, size, prot, flags int) ([]byte, error) { return unix.Mmap(fd, 0, size, prot, flags) }

func unmapPages(b []byte) error { return unix.Munmap(b) }
