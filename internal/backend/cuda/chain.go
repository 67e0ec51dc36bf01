//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

// chain is products for few tokens that start as one kernel (chain.h): each of a
// processor's only block, all blocks meeting between two products. So they must all
// run at once, and nothing of this process may take their place: a backend with a
// second stream has no chains.
type chain struct {
	args kern.Chain
	name string // of the kernel, the same for all
	xs   int    // bytes of the widest tokens
}

// chains tells whether products for few tokens are chained.
func (s *stream) chains() bool {
	return s.backend.options.Chain && s.launch.target == kern.SM90a && len(s.backend.streams) <= 1
}

const (
	pieceBytes = 16 * (1024 + 16) // PIECE_BYTES of chain.h
	// chainLeast is the least depth of the ring that is worth it, chainMost the greatest.
	chainLeast, chainMost = 4, 16
	// chainRest is what a block has besides: barriers' alignment, shared variables.
	chainRest = 1024
)

// chainStages is how deep the ring can be, beside tokens of so many bytes.
func chainStages(tokens, bytes, shared int) int {
	return min(chainMost, (shared-chainRest-bytes-fewSums(tokens))/(pieceBytes+16))
}

func chainShared(tokens, bytes, stages int) int {
	return 128 + stages*(pieceBytes+16) + bytes + fewSums(tokens)
}

// link adds a product to the chain.
func (s *stream) link(p *few) {
	c := &s.wait.chain
	if c.args.N > 0 && (c.name != p.name || c.args.N == kern.ChainMost) {
		s.startChain()
	}
	c.name, c.xs = p.name, max(c.xs, p.shared)
	c.args.At[c.args.N] = p.args
	c.args.N++
}

// startChain starts the products that are chained.
func (s *stream) startChain() {
	c := &s.wait.chain
	if c.args.N == 0 {
		return
	}
	tokens := slots(int(c.name[len(c.name)-1] - '0'))
	stages := chainStages(tokens, c.xs, s.device.shared)
	c.args.Meeting, c.args.Stages, c.args.XBytes = uint64(s.meeting), int32(stages), int32(c.xs)
	s.run(c.name, s.device.processors, 1, 1, 288, chainShared(tokens, c.xs, stages), args(&c.args), unsafe.Sizeof(c.args))
	*c = chain{}
}
