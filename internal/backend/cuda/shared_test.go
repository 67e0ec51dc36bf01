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
