//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"testing"

	"weir/internal/backend/cuda/kern"
)

// What a block may have: Ampere's and Hopper's data centre cards, and all others (8.6, 8.9, 12.0, 12.1).
const (
	sharedA100  = 163 << 10
	sharedH100  = 227 << 10
	sharedOther = 99 << 10
)

func TestTurnFits(t *testing.T) {
	for _, c := range []struct {
		dim    int
		target kern.Target
		shared int
		want   bool
	}{
		{64, kern.SM80, sharedOther, true}, {128, kern.SM80, sharedOther, false}, {128, kern.SM89, sharedOther, false},
		{128, kern.SM80, sharedA100, true}, {128, kern.SM90a, sharedH100, true},
	} {
		if got := turnFits(c.dim, c.target, c.shared); got != c.want {
			t.Errorf("heads of %d, %v, %d bytes a block: %v", c.dim, c.target, c.shared, got)
		}
	}
}

// Attention that takes over where attend_turn does not fit has to.
func TestFewFits(t *testing.T) {
	for _, typ := range []int32{kern.F16, kern.BF16, kern.KeptE4M3, kern.KeptQ8} {
		for _, dim := range []int32{64, 128} {
			for _, queries := range []int{1, 8, 16} {
				l := fewKernel(kern.SM89, &kern.Cache{Type: typ, Dim: dim}, queries)
				if l.shared+ownShared > sharedOther {
					t.Errorf("%s takes %d bytes of shared memory", l.name, l.shared)
				}
			}
		}
	}
}

// A group of warps that waits for a piece must not take the one that was in its place before for
// it. That one may be the other group's: all that is known is that the copies of three pieces
// are on their way, so that those before have arrived when a piece has been used.
func TestRingLeast(t *testing.T) {
	safe := func(stages, pieces int) bool {
		for group := range 2 {
			used := -1
			for at := range 8 * pieces * stages {
				if at%pieces%2 != group {
					continue
				}
				before := at - stages
				if arrived := before <= used-ringFlying || before%pieces%2 == group; before >= 0 && !arrived {
					return false
				}
				used = at
			}
		}
		return true
	}
	for stages := ringLeast(1); stages <= ringMost; stages++ {
		for pieces := 1; pieces <= 60; pieces++ {
			if !safe(stages, pieces) {
				t.Errorf("a ring of %d pieces is not safe for rows of %d", stages, pieces)
			}
		}
	}
	if safe(ringLeast(1)-2, 33) {
		t.Error("the least depth could be less")
	}
}

// Which attention turns what it reads, by what the kernels can.
func TestTurnName(t *testing.T) {
	turn := func(heads, kv, dim, rotated int32, kind int32) *kern.Turn {
		act := kern.Act{Type: kind}
		return &kern.Turn{Attend: kern.Attend{Heads: heads, Cache: kern.Cache{Heads: kv, Dim: dim}}, Rope: kern.Rope{Q: act, K: act, V: act, Cache: kern.Cache{Dim: dim}, Turns: 1, Rotated: rotated}}
	}
	still := turn(32, 8, 128, 0, kern.F32)
	still.Rope.Turns = 0
	for _, c := range []struct {
		turn   *kern.Turn
		decode bool
		want   string
	}{
		{turn(32, 8, 128, 128, kern.F32), true, "attend_one_128"},
		{turn(8, 1, 64, 64, kern.F32), true, "attend_one_64"},
		{still, true, "attend_one_128"},
		{turn(32, 8, 128, 128, kern.F32), false, "attend_turn_128"}, // rows of one sequence
		{turn(9, 1, 64, 64, kern.F32), true, "attend_turn_64"},
		{turn(32, 8, 128, 64, kern.F32), true, "attend_turn_128"},
		{turn(32, 8, 128, 128, kern.BF16), true, "attend_turn_128"},
	} {
		if got := turnName(c.turn, c.decode); got != c.want {
			t.Errorf("%+v, decode %v: %s, want %s", c.turn.Attend, c.decode, got, c.want)
		}
	}
}

// Attention is not divided into more parts than a batch of its depth can have use for.
func TestAttendParts(t *testing.T) {
	for _, c := range []struct{ few, depth, least, want int }{
		{1, 0, 256, 8}, {1, 0, 128, 16}, {1, 1, 256, 16}, {1, 2, 256, 32}, {1, maxDepth, 256, 32}, {2, 0, 256, 16}, {4, 0, 256, 16}, {16, 0, 256, 4}, {132, 0, 256, 1},
	} {
		s := &stream{device: &device{processors: 132}, batch: batch{depth: c.depth}}
		if got := s.attendParts(&kern.Cache{Heads: 8, Dim: 128}, c.few, 4, c.least); got != c.want {
			t.Errorf("%+v: %d parts", c, got)
		}
	}
}
