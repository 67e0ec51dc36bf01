package bench

import "golang.org/x/sys/unix"

// preferLargePages asks for large pages: what memory gives at most is not to be measured
// through walks of page tables. It is a wish; if it is refused, nothing changes.
func preferLargePages(b []byte) {
	if len(b) > 0 {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	}
}
