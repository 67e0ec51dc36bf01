//go:build !linux && !darwin && !windows

package host

import (
	"errors"
	"fmt"
	"runtime"
)

// CPUs tells what processors the machine has.
func (h *Host) CPUs() (CPUs, error) {
	n := runtime.NumCPU()
	return CPUs{Online: n, Allowed: n, Cores: n}, nil
}

// Memory is not known on this system.
func (h *Host) Memory() (Memory, error) {
	return Memory{}, fmt.Errorf("the machine's memory is not known on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// DiskOf is not known on this system.
func DiskOf(path string) (Disk, error) {
	return Disk{}, fmt.Errorf("the disk of %s is not known on %s: %w", path, runtime.GOOS, errors.ErrUnsupported)
}
