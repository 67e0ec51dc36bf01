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
