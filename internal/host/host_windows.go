package host

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

// CPUs tells what processors this process may use. Windows tells physical
// cores only through tables that are not worth their length here.
func (h *Host) CPUs() (CPUs, error) {
	n := runtime.NumCPU()
	return CPUs{Online: n, Allowed: n, Cores: n}, nil
}

// memoryStatusEx is the system's MEMORYSTATUSEX.
type memoryStatusEx struct {
	length               uint32
	memoryLoad           uint32
	totalPhys            uint64
	availPhys            uint64
	totalPageFile        uint64
	availPageFile        uint64
	totalVirtual         uint64
	availVirtual         uint64
	availExtendedVirtual uint64
}

// Memory tells what memory the machine has.
func (h *Host) Memory() (Memory, error) {
	s := memoryStatusEx{length: uint32(unsafe.Sizeof(memoryStatusEx{}))}
	proc := windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")
	if ok, _, err := proc.Call(uintptr(unsafe.Pointer(&s))); ok == 0 {
		return Memory{}, fmt.Errorf("read the machine's memory: GlobalMemoryStatusEx: %w", err)
	}
	return Memory{Total: int64(s.totalPhys), Free: int64(s.availPhys)}, nil
}

// DiskOf tells the size of the file system that holds a folder, which must
// exist.
func DiskOf(path string) (Disk, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return Disk{}, fmt.Errorf("measure the disk of %s: %w", path, err)
	}
	var free, total uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, &total, nil); err != nil {
		return Disk{}, fmt.Errorf("measure the disk of %s: %w", path, err)
	}
	return Disk{Total: int64(total), Free: int64(free)}, nil
}
