//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package weights

import (
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// touch reads a byte of each page, after telling the kernel that it will. A page
// that is not there any more faults, which this contains.
func touch(part []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = errShrunk
		}
	}()
	_ = unix.Madvise(part, unix.MADV_WILLNEED) // advice: without it, the same but slower
	var sum byte
	for i := 0; i < len(part); i += os.Getpagesize() {
		sum += part[i]
	}
	runtime.KeepAlive(sum)
	return nil
}
