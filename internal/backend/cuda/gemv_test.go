//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"testing"

	"weir/internal/backend/cuda/kern"
)

// Rows are spread over the processors, and each has a warp.
func TestGemvBlocks(t *testing.T) {
	for _, c := range []struct{ units, warps, blocks, each int }{
		{14336, 16, 132, 16}, {2048, 16, 128, 16}, {1056, 16, 132, 8}, {512, 16, 64, 8}, {1, 16, 1, 8}, {2112, 16, 132, 16}, {64128, 16, 132, 16}, {2048, 4, 132, 4},
	} {
		blocks, each := gemvBlocks(c.units, c.warps, 132)
		if blocks != c.blocks || each != c.each {
			t.Errorf("%d units of up to %d warps: %d blocks of %d warps, want %d of %d", c.units, c.warps, blocks, each, c.blocks, c.each)
		}
		if blocks < 132 && blocks*each < c.units {
			t.Errorf("%d units: %d blocks of %d warps leave processors without", c.units, blocks, each)
		}
	}
}

// A block has fewer warps where shared memory is short, and none where rows are too long: then others multiply.
func TestGemvRoom(t *testing.T) {
	for _, c := range []struct {
		kind                        int32
		tokens, cols, shared, warps int
	}{
		{kern.TypeQ4_K, 4, 14336, 227 << 10, 16}, {kern.TypeQ6_K, 4, 14336, 227 << 10, 16}, {kern.TypeQ6_K, 1, 14336, 99 << 10, 16},
		{kern.TypeQ8_0, 4, 8192, 99 << 10, 8}, {kern.TypeQ4_K, 4, 28672, 99 << 10, 0}, {kern.TypeQ4_K, 1, 28672, 99 << 10, 8},
	} {
		f := (&device{shared: c.shared}).gemv(c.kind, c.tokens, c.cols)
		if f.warps != c.warps {
			t.Errorf("%s of %d columns, %d bytes of shared memory: %d warps, want %d", f.name, c.cols, c.shared, f.warps, c.warps)
		}
		if f.warps > 0 && f.shared+ownShared > c.shared {
			t.Errorf("%s of %d columns takes %d bytes of %d", f.name, c.cols, f.shared, c.shared)
		}
	}
}
