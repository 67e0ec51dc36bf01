//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"regexp"
	"testing"
	"unsafe"
)

// spilled is what kernels may have in memory: some assemblers give draw too few registers on
// cards other than Ampere's and Hopper's first (docs/backends.md).
var spilled = map[string]int32{"draw": 24}

// What the driver itself makes of the kernels keeps everything in registers: offline a
// compiler that takes them as a whole showed nothing of what the driver's linker did.
func TestGPUNoSpills(t *testing.T) {
	entries := regexp.MustCompile(`\.entry (\w+)\(`)
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, found := range entries.FindAllStringSubmatch(b.target.PTX(), -1) {
			const localBytes = 3
			var n int32
			b.must(b.call(cuFuncGetAttribute, uintptr(unsafe.Pointer(&n)), localBytes, b.kernel(found[1], 0).handle))
			if n > spilled[found[1]] {
				t.Errorf("%s on %v: %d bytes of a thread lie in memory", found[1], b.target, n)
			}
		}
	})
}
