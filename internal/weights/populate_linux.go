package weights

import (
	"errors"

	"golang.org/x/sys/unix"
)

// populate reads and maps the pages of a part of a mapping that begins at a page.
func populate(part []byte) error {
	err := unix.Madvise(part, unix.MADV_POPULATE_READ)
	switch {
	case errors.Is(err, unix.EINVAL): // Linux before 5.14
		return touch(part)
	case errors.Is(err, unix.EFAULT):
		return errShrunk
	}
	return err
}

// preferLargePages asks for large pages: reading weights should not cost walks of page
// tables. Memory of one's own gets them where they are free. A file's pages are large only if
// they are read from the disk after this, by a file system that has such; those in memory stay as
// they are. It is a wish; if it is refused, nothing changes.
func preferLargePages(b []byte) {
	if len(b) > 0 {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	}
}
