//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

// chain is products for few tokens that start as one kernel of Hopper (chain.h). By
// default that is one product: the next one's kernel begins while it ends, and layers
// were read faster so. With Options.Chain several follow each other, all blocks
// meeting in between: so they must all run at once, and nothing of this process may take
// their place; a backend with a second stream starts them one by one.
type chain struct {
	args   kern.Chain
	name   string // of the kernel, the same for all
	tokens int    // that it has room for
	xs     int    // bytes of the widest tokens
}

// chains tells whether products for few tokens wait for others that follow.
func (s *stream) chains() bool {
	return s.backend.options.Chain && s.launch.target == kern.SM90a && len(s.backend.streams) <= 1
}

const (
	pieceBytes = 16 * 1024 // PIECE_BYTES of chain.h
	// chainLeast is the least depth of the ring that is worth it, chainMost the greatest.
	chainLeast, chainMost = 4, 16
	// chainEnough is a depth whose pieces last for as long as the blocks take to meet.
	chainEnough = 5
	// chainAhead is how many pieces are on their way at once: two or four were slower.
	chainAhead = 3
	// chainRest is what a block has besides: the ring's alignment, shared variables.
	chainRest = 1024 + 512
	// chainBeside is what a processor keeps of its shared memory for each of two blocks.
	chainBeside = 2 * 1024
)

// chainStages is how deep the ring can be, beside tokens of so many bytes. Where it
// stays deep enough it leaves room for a block of attention, which then begins while the
// chain ahead of it runs, as the next chain's blocks begin where that one's end.
func chainStages(tokens, bytes, shared int) int {
	depth := func(shared int) int {
		return min(chainMost, (shared-chainRest-bytes-fewSums(tokens))/(pieceBytes+16))
	}
	if n := depth(shared - turnShared(128, kern.SM90a) - chainBeside); n >= chainEnough {
		return n
	}
	return depth(shared)
}

func chainShared(tokens, bytes, stages int) int {
	return 1024 + stages*(pieceBytes+16) + bytes + fewSums(tokens)
}

// chainXs is what the tokens take of shared memory, in whole pieces.
func chainXs(tokens, ldw int, e4m3 bool) int {
	size := 2
	if e4m3 {
		size = 1
	}
	piece := 1024 / size
	return fewBytes(tokens, (ldw+piece-1)/piece*piece, e4m3)
}

// link adds a product to the chain.
func (s *stream) link(p *few) {
	c := &s.wait.chain
	if c.args.N > 0 && (c.name != p.name || c.args.N == kern.ChainMost) {
		s.startChain()
	}
	c.name, c.tokens, c.xs = p.name, slots(p.rows), max(c.xs, p.shared)
	c.args.At[c.args.N], c.args.W[c.args.N] = p.args, p.pieces
	c.args.N++
}

// startChain starts the products that are chained.
func (s *stream) startChain() {
	c := &s.wait.chain
	if c.args.N == 0 {
		return
	}
	stages := chainStages(c.tokens, c.xs, s.device.shared)
	c.args.Meeting, c.args.Stages, c.args.XBytes, c.args.Ahead = uint64(s.meeting), int32(stages), int32(c.xs), int32(min(chainAhead, stages))
	s.run(c.name, s.device.processors, 1, 1, 288, chainShared(c.tokens, c.xs, stages), args(&c.args), unsafe.Sizeof(c.args))
	*c = chain{}
}
