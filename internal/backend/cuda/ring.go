//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

const (
	pieceBytes = 16 * 1024 // PIECE_BYTES of ring.h
	// ringMost is the greatest depth of the ring: with sixteen pieces a warp of the second group could be
	// eight units ahead of one that reads its sums.
	ringMost = 15
	// ringEnough is a depth whose pieces last until the kernel ahead has ended.
	ringEnough = 5
	// ringFlying is how many pieces are on their way at once: two or four were slower. Behind
	// attention of tokens, whose reading they would delay, ringEarly are until it has ended.
	ringFlying, ringEarly = 3, 2
	// ringRest is what a block has besides: the ring's alignment, shared variables.
	ringRest = 1024 + 512
	// ringBeside is what a processor keeps of its shared memory for each of two blocks.
	ringBeside = 2 * 1024
)

// ringGroups is how many groups of eight warps multiply (RING_OF of ring.h).
func ringGroups(tokens int) int {
	if tokens <= 2 {
		return 2
	}
	return 1
}

// ringLeast is the least depth of the ring that is worth it. With two groups a group could take a piece's
// place for filled again where less than six are (TestRingLeast).
func ringLeast(tokens int) int {
	if ringGroups(tokens) == 2 {
		return 6
	}
	return 4
}

// ringThreads are those of a block: one more warp copies.
func ringThreads(tokens int) int { return 32 * (8*ringGroups(tokens) + 1) }

// ringSums is the shared memory where the warps' sums meet.
func ringSums(tokens int) int { return ringGroups(tokens) * fewSums(tokens) }

// ringStages is how deep the ring can be, beside tokens of so many bytes. Where it
// stays deep enough it leaves room for a block of attention, which then begins while
// this kernel runs if it finds registers, too (RING_OF of ring.h), as the next kernel's blocks begin where this one's end.
func ringStages(tokens, bytes, shared int) int {
	depth := func(shared int) int {
		return min(ringMost, (shared-ringRest-bytes-ringSums(tokens))/pieceBytes)
	}
	if n := depth(shared - turnShared(128, kern.SM90a) - ringBeside); n >= max(ringEnough, ringLeast(tokens)) {
		return n
	}
	return depth(shared)
}

func ringShared(tokens, bytes, stages int) int {
	return 1024 + stages*pieceBytes + bytes + ringSums(tokens)
}

// ringXs is what the tokens take of shared memory, in whole pieces.
func ringXs(tokens, ldw int, e4m3 bool) int {
	size := 2
	if e4m3 {
		size = 1
	}
	piece := 1024 / size
	return fewBytes(tokens, (ldw+piece-1)/piece*piece, e4m3)
}

// startRing starts a product on Hopper.
func (s *stream) startRing(p *few) {
	a := ringArgs(&p.args, p.pieces, slots(p.rows), p.shared, s.device.shared, p.e4m3)
	if s.attended {
		a.Early = ringEarly
	}
	s.run(p.name, s.device.processors, 1, 1, ringThreads(slots(p.rows)), ringShared(slots(p.rows), p.shared, int(a.Stages)), args(&a), unsafe.Sizeof(a))
}

// ringArgs are a product's, of tokens that take so many bytes.
func ringArgs(p *kern.Few, w [kern.Group]kern.TensorMap, tokens, bytes, shared int, e4m3 bool) kern.Ring {
	stages := ringStages(tokens, bytes, shared)
	flying := int32(min(ringFlying, stages))
	a := kern.Ring{Units: p.Units, Gate: p.Gate, N: p.N, Blocks: p.LdW / 64, Stages: int32(stages), XBytes: int32(bytes), Flying: flying, Early: flying, W: w, Few: *p}
	if e4m3 {
		a.Blocks = p.LdW / 128
	}
	for i := range a.Tiles {
		a.Tiles[i] = p.Out[i].Tiles
	}
	return a
}
