//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"bytes"
	"errors"
	"testing"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// Rows are spread over the processors, and each has a warp.
func TestGemvBlocks(t *testing.T) {
	for _, c := range []struct{ units, warps, blocks, each int }{
		{14336, 16, 132, 16}, {2048, 16, 128, 16}, {1056, 16, 132, 8}, {1057, 16, 118, 9}, {1280, 16, 128, 10}, {1536, 16, 128, 12},
		{512, 16, 64, 8}, {1, 16, 1, 8}, {2112, 16, 132, 16}, {64128, 16, 132, 16}, {2048, 4, 132, 4},
	} {
		blocks, each := gemvBlocks(c.units, c.warps, 132)
		if blocks != c.blocks || each != c.each {
			t.Errorf("%d units of up to %d warps: %d blocks of %d warps, want %d of %d", c.units, c.warps, blocks, each, c.blocks, c.each)
		}
	}
}

// A block has fewer warps where shared memory is short, and none where rows are too long: then others multiply.
func TestGemvRoom(t *testing.T) {
	for _, c := range []struct {
		kind                               int32
		tokens, cols, shared, warps, takes int
	}{
		{kern.TypeQ4_K, 4, 14336, 227 << 10, 16, 145408}, {kern.TypeQ6_K, 4, 14336, 227 << 10, 16, 145920}, {kern.TypeQ6_K, 1, 14336, 99 << 10, 16, 97536},
		{kern.TypeQ8_0, 4, 8192, 99 << 10, 8, 76800}, {kern.TypeQ4_K, 4, 14336, 99 << 10, 4, 90112}, {kern.TypeQ4_K, 4, 28672, 99 << 10, 0, 0}, {kern.TypeQ4_K, 1, 28672, 99 << 10, 8, 72704},
	} {
		if warps, shared := gemvFit(c.kind, c.tokens, c.cols, c.shared); warps != c.warps || shared != c.takes {
			t.Errorf("type %d, %d tokens of %d columns, %d bytes of shared memory: %d warps take %d, want %d and %d", c.kind, c.tokens, c.cols, c.shared, warps, shared, c.warps, c.takes)
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
		for _, n := range []int64{7 * 3 * int64(size), 7 * 3 * int64(size-2), 7*3*2 + scalesBehind} {
			b.dirty(t, n)
		}
		w, err := b.load(weights.Tensor{Name: "w", Type: typ, Shape: []int{7, 3 * elems}, Data: make([]byte, 7*3*size)})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, scalesBehind)
		if err := errors.Join(b.device.download(got, w.scales+7*3*2), b.device.free(w.at), b.device.free(w.scales)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, make([]byte, scalesBehind)) {
			t.Errorf("behind the scales of %v: % x", typ, got)
		}
	}
}

// dirty leaves what is no number where the next n bytes are likely to lie.
func (b *Backend) dirty(t *testing.T, n int64) {
	t.Helper()
	var all []pointer
	for range 64 {
		p, err := b.device.allocate(n)
		if err == nil {
			all, err = append(all, p), b.device.upload(p, bytes.Repeat([]byte{0xff}, int(n)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range all {
		if err := b.device.free(p); err != nil {
			t.Fatal(err)
		}
	}
}
