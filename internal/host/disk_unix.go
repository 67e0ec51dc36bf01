//go:build linux || darwin

package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// DiskOf tells the size of the file system that holds a path, which must exist.
func DiskOf(path string) (Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Disk{}, fmt.Errorf("measure the disk of %s: %w", path, err)
	}
	unit := int64(s.Bsize)
	return Disk{Total: int64(s.Blocks) * unit, Free: int64(s.Bavail) * unit}, nil
}
