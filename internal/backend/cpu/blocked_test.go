package cpu

import "testing"

// TestShares: items of prompts are all rows, each once, in whole panels that get fewer.
func TestShares(t *testing.T) {
	rng := newRand(t)
	for range 300 {
		threads, task := 1+rng.IntN(16), linearTask{}
		for task.n = 0; task.n < 1+rng.IntN(maxGroup); task.n++ {
			task.group[task.n].w = &weight{rows: 1 + rng.IntN(12000)}
		}
		task.shares(threads)
		at, last := share{}, mostPanels
		for i, s := range task.items {
			n := panelsOf(s.hi - s.lo)
			if s.lo != at.hi && (at.hi != task.group[at.projection].w.rows || s.lo != 0 || s.projection != at.projection+1) {
				t.Fatalf("%d threads, item %d: %+v follows %+v", threads, i, s, at)
			}
			whole := s.hi == task.group[s.projection].w.rows
			if s.hi <= s.lo || s.lo%panelRows != 0 || (s.hi%panelRows != 0 && !whole) || n > last {
				t.Fatalf("%d threads, item %d: %+v of %d rows, %d panels after %d", threads, i, s, task.group[s.projection].w.rows, n, last)
			}
			if !whole {
				last = n
			}
			at = s
		}
		if at.projection != task.n-1 || at.hi != task.group[at.projection].w.rows {
			t.Fatalf("%d threads: the last item is %+v", threads, at)
		}
		if n := panelsOf(at.hi - at.lo); len(task.items) > 2*threads && n > mostPanels/2 {
			t.Fatalf("%d threads: the last of %d items is %d panels", threads, len(task.items), n)
		}
	}
}
