package sched

import (
	"slices"
	"testing"

	"weir/internal/kv"
)

// What the prefix cache adds to a step is bounded by counts, not by a clock: pages
// looked for in the tree. Each costs about as much as a map's entry.

// serve runs prompts to their ends, each with one token generated, and returns the steps.
func serve(t *testing.T, s *Scheduler, prompts [][]int32) (steps int) {
	t.Helper()
	for i, p := range prompts {
		s.Add(&Seq{Tokens: p, Arrival: uint64(i + 1), Length: len(p), Prompt: len(p)})
	}
	for s.Waiting()+s.RunningSeqs() > 0 {
		if steps++; steps > 100000 {
			t.Fatal("it does not end")
		}
		for _, item := range slices.Clone(s.Next().Items) {
			s.Advance(item)
			if item.To == item.Seq.Length {
				s.Remove(item.Seq)
			}
		}
	}
	return steps
}

func caching(page, pages int, l Limits) (*Scheduler, *kv.Cache) {
	c := kv.New(page, []kv.Group{{Pages: pages}})
	c.EnablePrefixCache(kv.PrefixOptions{OneClass: true})
	return New(l, c), c
}

// counted is a prompt of tokens that begin at from.
func counted(from, n int) []int32 {
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(from + i)
	}
	return p
}

// Prompts that nobody has sent before, in a pool that they fill again and again:
// a page is looked for a few times (in the queue, when it is admitted, when it is
// computed), however many wait.
func TestWorkOfUniquePrompts(t *testing.T) {
	const page, length, waiting = 16, 576, 64
	s, c := caching(page, 8*length/page+64, Limits{BatchTokens: 256, Running: 8, LogitRows: 8})
	var prompts [][]int32
	for i := range waiting {
		prompts = append(prompts, counted(1e6*(i+1), length))
	}
	steps := serve(t, s, prompts)
	stats := c.CacheStats()
	pages := int64(waiting * length / page)
	if stats.Evicted < pages/2 {
		t.Fatalf("%d pages evicted of %d: this is no pressure", stats.Evicted, pages)
	}
	// Once to be committed; and who waits is looked at in each step that admits.
	if most := pages + int64(steps*waiting) + 2*waiting; stats.Looked > most {
		t.Errorf("%d pages looked for in %d steps, at most %d should be", stats.Looked, steps, most)
	}
}

// A queue behind a long prefix that is cached is looked through in every step, but
// not from the beginning of each prompt: that would be 500 pages for each of 64, a
// millisecond or two a step.
func TestWorkOfWaitingBehindAPrefix(t *testing.T) {
	const page, shared, tail, waiting = 16, 8000, 256, 64
	s, c := caching(page, 16384, Limits{BatchTokens: 256, Running: 64, LogitRows: 64})
	prefix := counted(1, shared)
	serve(t, s, [][]int32{prefix})
	before := c.CacheStats()
	var prompts [][]int32
	for i := range waiting {
		prompts = append(prompts, append(slices.Clone(prefix), counted(1e6*(i+1), tail)...))
	}
	steps := serve(t, s, prompts)
	after := c.CacheStats()
	if hit := after.Hit - before.Hit; hit != waiting*shared {
		t.Fatalf("%d tokens found of %d", hit, waiting*shared)
	}
	// Each prompt twice as a whole (in the queue and when it is admitted), its own
	// pages once more, and a look for each that waits in each step.
	most := int64(waiting * (2*(shared+tail)/page + tail/page + steps))
	if n := after.Looked - before.Looked; n > most {
		t.Errorf("%d pages looked for in %d steps, at most %d should be", n, steps, most)
	}
}
