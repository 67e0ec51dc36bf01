//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import "weir/internal/backend/cuda/kern"

// Attention of prompts is arithmetic, that of generated tokens reading. On Hopper a step that has
// both runs them side by side: attend_wide, which stays on the processors that it is given,
// begins first, lets attend_few begin at once, and that fills the others, and those of
// attend_wide as they become free.

const (
	// wideStep is how long a processor takes for 128 queries by 128 positions, in ns, while others
	// keep the memory busy; by itself it takes 2,000.
	wideStep = 2700.0
	// fewShare is of how many processors attend_few needs to read what memory gives, about: at
	// half of them it reads three quarters of that.
	fewShare = 0.55
	// wideMore is how many processors more attend_wide has than it needs to end with attend_few,
	// which has all of them then: the other way round most are idle. wideLeast is the share of them
	// that attend_few does not miss.
	wideMore, wideLeast = 10, 0.3
	// besideLeast is how long attend_few must take, in ns, for it to be worth it.
	besideLeast = 20e3
)

// besideBlocks is how many of the processors attend_wide takes beside attend_few: some more than are
// done when that is, where enough are left to read what memory gives, else so many that both end
// together. wide is in ns of one processor, few in ns of the memory.
func besideBlocks(wide, few float64, processors int) int {
	all := float64(processors)
	n := max(wide/few+wideMore, all*wideLeast)
	if n > all*(1-fewShare) {
		n = all * wide / (few*fewShare*all + wide)
	}
	return min(int(n)+1, processors)
}

// load is what a KV head's attention of a batch comes to.
type load struct {
	steps     int // of attend_wide, 128 queries by 128 positions
	positions int // that attend_few reads
}

// attention counts what layers with a window have to do.
func (b *batch) attention(window int) (l load) {
	pos, many, few := b.meta[b.meta[kern.MetaPos]:], b.meta[b.meta[kern.MetaMany]:], b.meta[b.meta[kern.MetaFew]:]
	seen := func(row, n int32) int {
		all := int(pos[row] + n)
		if window > 0 {
			all = min(all, window+int(n))
		}
		return all
	}
	for i := range b.many {
		row, n, first := many[3*i], many[3*i+1], many[3*i+2]
		l.steps += (seen(row, min(n, (first+manyRows-1)/int32(b.perKV)+1)) + 127) / 128
	}
	for i := range b.few {
		l.positions += seen(few[2*i], few[2*i+1])
	}
	return l
}

// keptBits is what a cache takes for an element, scales included.
func keptBits(kind int32) int {
	switch kind {
	case kern.KeptE4M3:
		return 8
	case kern.KeptQ8:
		return 9
	}
	return 16
}

// attendBeside starts both kinds of attention side by side, if that is worth it.
func (s *stream) attendBeside(a *kern.Attend, wide string) bool {
	c := &a.Cache
	l := s.batch.attention(int(c.Window))
	few := float64(2*l.positions*int(c.Heads*c.Dim)*keptBits(c.Type)/8) / s.device.reads
	if few < s.besideFrom {
		return false
	}
	blocks := besideBlocks(float64(l.steps)*float64(c.Heads)*wideStep, few, s.device.processors)
	s.settle()
	a.Beside = 1
	s.startWideAttend(a, wide, blocks)
	s.startFew(a, s.batch.few)
	a.Beside = 0
	return true
}
