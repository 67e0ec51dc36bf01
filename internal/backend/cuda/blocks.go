//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

const blocksRecord = 33 * 16 // RECORD of blocks.h

// blockSteps is how many 256 columns there are.
func blockSteps(cols int) int64 { return int64(cols+255) / 256 }

// blocksTokens is for how many tokens the kernel is that is to multiply so many.
func blocksTokens(rows int) int {
	n := 8
	for n < rows && n < 64 {
		n *= 2
	}
	return n
}

// blocksShared is the shared memory of a kernel for so many tokens: TOGETHER and STAGES of blocks.h.
func blocksShared(tokens int) int {
	const record = 576
	if tokens == 64 {
		return 2*tokens*record + 1024
	}
	return 3*32*record + 1024
}

// blocksBeside is how many blocks of a kernel a processor holds (launch bounds of blocks.h).
func blocksBeside(kind int32, tokens int) int {
	if tokens == 64 || tokens == 32 && kind == kern.TypeQ6_K {
		return 1
	}
	return 2
}

// blocksParts is over how many blocks the columns are divided, where so many blocks would have them whole:
// so many that all run at once.
func blocksParts(blocks, steps, wanted int) int {
	if blocks >= countSlots {
		return 1
	}
	n := min(max(1, wanted/blocks), steps)
	per := (steps + n - 1) / n
	return (steps + per - 1) / per
}

// toBlocksParts is over how many blocks a token is divided: of few tokens a thread has eight columns. Each
// block looks for the whole token's greatest.
func toBlocksParts(tokens, cols int) int {
	if tokens > 64 {
		return 1
	}
	return (cols + 2047) / 2048
}

// blocks multiplies GGUF's blocks as they lie.
func (s *stream) blocks(p *product) {
	w, k := p.w[0], p.x.spec.Cols
	x := kern.ToBlocks{From: uint64(p.x.half), To: uint64(s.blockX), Scales: uint64(s.blockScale), Count: s.count(p.x.spec.Gathered),
		K: int32(k), LdX: int32(p.x.ld), Rows: int32(p.rows), Type: w.kind}
	s.run("to_blocks", p.rows, toBlocksParts(p.rows, k), 1, 256, 0, args(&x), unsafe.Sizeof(x))
	a := kern.Blocks{X: x.To, XScale: x.Scales, Tokens: x.Count, Work: uint64(s.work), Counts: uint64(s.counts), N: int32(len(p.w)), K: int32(k), Rows: x.Rows}
	n, tiles := blocksTokens(p.rows), p.tiles()
	copy(a.Out[:], p.out)
	tx := (p.rows + n - 1) / n
	s.run(blocksName(w.kind, n), tx, tiles, blocksParts(tx*tiles, int(blockSteps(k)), blocksBeside(w.kind, n)*s.device.processors), 256, blocksShared(n), args(&a), unsafe.Sizeof(a))
}

// blockNames are GGUF's types in the names of kernels.
var blockNames = map[int32]string{kern.TypeQ8_0: "q8_0", kern.TypeQ4_K: "q4_k", kern.TypeQ6_K: "q6_k"}

func blocksName(kind int32, tokens int) string {
	return fmt.Sprintf("blocks_%s_%d", blockNames[kind], tokens)
}
