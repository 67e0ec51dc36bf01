package kern

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// hasTiles tells whether AMX can be used. Its registers are large, and Linux keeps
// them only for processes that have asked; the permission is then every thread's.
var hasTiles = sync.OnceValue(func() bool {
	x := cpu.X86
	if !x.HasAMXTile || !x.HasAMXBF16 {
		return false
	}
	const tileState = 1<<17 | 1<<18 // configuration and data
	var state Probe
	amx_state(unsafe.Pointer(&state))
	if state.Sum&tileState != tileState {
		return false
	}
	const archReqXcompPerm, tileData = 0x1023, 18
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, archReqXcompPerm, tileData, 0)
	return errno == 0
})
