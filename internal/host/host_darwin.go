package host

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// CPUs tells what processors the machine has. macOS binds no process to some
// of them and knows no quotas.
func (h *Host) CPUs() (CPUs, error) {
	n := runtime.NumCPU()
	c := CPUs{Online: n, Allowed: n, Cores: n}
	if cores, err := unix.SysctlUint32("hw.physicalcpu"); err == nil && cores > 0 {
		c.Cores = int(cores)
	}
	return c, nil
}

// Memory tells what memory the machine has. Free counts the pages that are
// unused, purgeable or backed by a file, which is what the kernel gives away
// first; the exact figure needs C.
func (h *Host) Memory() (Memory, error) {
	total, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return Memory{}, fmt.Errorf("read the machine's memory: sysctl hw.memsize: %w", err)
	}
	pages := int64(0)
	for _, name := range []string{"vm.page_free_count", "vm.page_purgeable_count", "vm.page_pageable_external_count"} {
		n, err := unix.SysctlUint32(name)
		if err != nil {
			return Memory{}, fmt.Errorf("read the machine's free memory: sysctl %s: %w", name, err)
		}
		pages += int64(n)
	}
	return Memory{Total: int64(total), Free: pages * int64(unix.Getpagesize())}, nil
}
