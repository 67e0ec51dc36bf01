//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

const (
	gemvRows  = 4  // the most tokens that kernels for few take
	gemvWarps = 16 // the most of a block
	gemvLeast = 8  // fewer are not better for few rows: a block's warps bring the tokens to 8 bits together
	gemvShort = 4  // the fewest where shared memory is short
)

// gemvStep is a step of gemv.h by how the weights are stored: its columns, what two rows take of a
// warp's ring (SLOT), how many are in that, and what a token takes (STEP).
type gemvStep struct{ cols, slot, stages, token int }

var gemvSteps = map[int32]gemvStep{
	kern.TypeQ8_0: {512, 2 * (512 + 48), 4, 512 + 128},
	kern.TypeQ4_K: {1024, 2 * 576, 4, 1024 + 256},
	kern.TypeQ6_K: {1024, 2 * (832 + 16), 3, 1024 + 128},
}

// gemvShared is the shared memory of a kernel: the warps' rings, and the tokens.
func gemvShared(kind int32, tokens, cols, warps int) int {
	s := gemvSteps[kind]
	return warps*s.slot*s.stages + tokens*((cols+s.cols-1)/s.cols)*s.token
}

// gemvFit is how many warps of a kernel find room, and its shared memory; none: rows are too long.
func gemvFit(kind int32, tokens, cols, room int) (warps, shared int) {
	for warps = gemvWarps; warps >= gemvShort; warps /= 2 {
		if shared = gemvShared(kind, tokens, cols, warps); shared+ownShared <= room {
			return warps, shared
		}
	}
	return 0, 0
}

// gemv is the kernel for a product of GGUF's blocks.
func gemv(kind int32, tokens, cols, room int) few {
	f := few{name: fmt.Sprintf("gemv_%s_%d", blockNames[kind], tokens), unit: 2}
	f.warps, f.shared = gemvFit(kind, tokens, cols, room)
	return f
}

// gemvBlocks is over how many blocks units are divided, of so many warps at most, and the warps of each: of few
// units fewer, so that more processors have some.
func gemvBlocks(units, warps, processors int) (blocks, each int) {
	each = min(warps, max(gemvLeast, (units+processors-1)/processors))
	return min((units+each-1)/each, processors), each
}

// startGemv starts it.
func (s *stream) startGemv(p *few) {
	a := &p.args
	blocks, warps := gemvBlocks(int(a.Units), p.warps, s.device.processors)
	s.run(p.name, blocks, 1, 1, 32*warps, p.shared, args(a), unsafe.Sizeof(*a))
}
