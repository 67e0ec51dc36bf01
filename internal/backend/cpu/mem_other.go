//go:build !unix

package cpu

import "unsafe"

// allocate returns n zero bytes, aligned to a cache line. Here they are on the
// Go heap: as they hold no pointers, the collector does not read them.
func allocate(n int) ([]byte, error) {
	const line = 64
	if n == 0 {
		return nil, nil
	}
	b := make([]byte, n+line)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) % line)
	return b[skip : skip+n : skip+n], nil
}

// release leaves it to the collector.
func release([]byte) error { return nil }
