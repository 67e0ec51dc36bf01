//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"bytes"
	"testing"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
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

// What lies behind a matrix's scales are zeros, whatever the memory had: kernels read it.
func TestScalesBehind(t *testing.T) {
	b := openGPU(t, Options{})
	defer b.Close()
	done, err := b.device.use()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, typ := range []weights.Type{weights.Q8_0, weights.Q6_K} {
		elems, size := typ.Block()
		for range 20 { // of memory that had other things
			dirty, err := b.device.allocate(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.device.upload(dirty, bytes.Repeat([]byte{0xff}, 1<<20)); err != nil {
				t.Fatal(err)
			}
			if err := b.device.free(dirty); err != nil {
				t.Fatal(err)
			}
			w, err := b.load(weights.Tensor{Name: "w", Type: typ, Shape: []int{7, 3 * elems}, Data: make([]byte, 7*3*size)})
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, scalesBehind)
			if err := b.device.download(got, w.scales+7*3*2); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, make([]byte, scalesBehind)) {
				t.Errorf("behind the scales of %v: % x", typ, got)
			}
			for _, p := range []pointer{w.at, w.scales} {
				if err := b.device.free(p); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
