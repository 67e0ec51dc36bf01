package cpu

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"unsafe"

	"weir/internal/backend"
)

// A pool's memory is asked for in large pages. With small ones a prompt whose
// pages have not been used before costs a fault for each 4 KiB of keys and values,
// which was some percent of its time in a virtual machine: the prefix cache, which
// hands out pages that are new as long as there are any, looked slower than none.
func TestPoolPrefersLargePages(t *testing.T) {
	probe, err := allocate(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = release(probe) }()
	preferLargePages(probe)
	if !slices.Contains(mappingFlags(t, probe), "hg") {
		t.Skip("the kernel takes no wishes for large pages")
	}
	c, err := newKV(backend.KVSpec{Type: backend.KVF16, PageSize: 16, Pages: []int{256, 128},
		Groups: []backend.KVGroup{{Layers: []int{0, 2}, Heads: 4, HeadDim: 64}, {Layers: []int{1}, Heads: 4, HeadDim: 64}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for g, b := range c.groups {
		if flags := mappingFlags(t, b); !slices.Contains(flags, "hg") {
			t.Errorf("the pages of group %d have flags %v, not hg", g, flags)
		}
	}
}

// mappingFlags are those that the kernel has for the mapping that b begins in.
func mappingFlags(t *testing.T, b []byte) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip("the kernel does not tell of mappings: ", err)
	}
	at, inside := uint64(uintptr(unsafe.Pointer(&b[0]))), false
	for line := range bytes.Lines(data) {
		var from, to uint64
		if n, _ := fmt.Sscanf(string(line), "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
		}
		if flags, ok := bytes.CutPrefix(line, []byte("VmFlags:")); ok && inside {
			var list []string
			for _, f := range bytes.Fields(flags) {
				list = append(list, string(f))
			}
			return list
		}
	}
	return nil
}
