package cpu

import "golang.org/x/sys/unix"

// preferLargePages asks for large pages where b has room for them: memory that is
// used all the time should not cost walks of page tables, which are costly in a
// virtual machine. It is a wish; if it is refused, nothing changes.
func preferLargePages(b []byte) {
	if len(b) > 0 {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	}
}
