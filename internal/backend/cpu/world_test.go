package cpu

import (
	"math/rand/v2"
	"slices"
	"testing"

	"weir/internal/backend"
)

// world is a toy engine: sequences with tokens, and block tables that scatter
// them over the pages of a cache.
type world struct {
	testing.TB
	spec  backend.KVSpec
	kv    *kvCache
	free  [][]int32 // [group]
	seqs  []*worldSeq
	batch backend.Batch
	// prompt is how many positions of a sequence are of class Prefill.
	prompt int
}

// usualPrompt is how many positions of a sequence are its prompt.
const usualPrompt = 23

type worldSeq struct {
	done   int // positions stored
	tables backend.SeqTable
}

// newWorld makes a world of n sequences of at most context positions.
func newWorld(g *rig, rng *rand.Rand, spec backend.KVSpec, n, context int) *world {
	g.Helper()
	perSeq := (context+spec.PageSize-1)/spec.PageSize + 1
	w := &world{TB: g.TB, prompt: usualPrompt}
	for range spec.Groups {
		spec.Pages = append(spec.Pages, n*perSeq+3)
	}
	w.spec, w.kv = spec, g.kv(spec)
	for i := range spec.Groups {
		free := make([]int32, spec.Pages[i])
		for j, p := range rng.Perm(len(free)) {
			free[j] = int32(p)
		}
		w.free = append(w.free, free)
	}
	for range n {
		s := &worldSeq{}
		s.tables.Pages = make([][]int32, len(spec.Groups))
		s.tables.First = make([]int32, len(spec.Groups))
		w.seqs = append(w.seqs, s)
	}
	return w
}

func (w *world) take(group int) int32 {
	f := w.free[group]
	if len(f) == 0 {
		w.Fatal("the toy engine has no pages left")
	}
	w.free[group] = f[:len(f)-1]
	return f[len(f)-1]
}

// reset begins a new batch.
func (w *world) reset() { w.batch.Reset(len(w.spec.Groups)) }

// add puts rows of one sequence into the batch: its next n positions, with
// every row's logits wanted.
func (w *world) add(seq int, tokens []int32) {
	s := w.seqs[seq]
	b := &w.batch
	s.tables.Stored = int32(s.done)
	w.grow(s, s.done+len(tokens))
	for i, token := range tokens {
		w.row(token, s.done+i)
		b.Tree = append(b.Tree, nil)
		for g := range w.spec.Groups {
			page := s.tables.Pages[g][(s.done+i)/w.spec.PageSize-int(s.tables.First[g])]
			b.Cell[g] = append(b.Cell[g], page*int32(w.spec.PageSize)+int32((s.done+i)%w.spec.PageSize))
		}
	}
	s.done += len(tokens)
	w.addSeq(s)
}

// row appends what chain rows and tree rows have in common.
func (w *world) row(token int32, pos int) {
	b := &w.batch
	b.Want = append(b.Want, int32(len(b.Token)))
	b.Token = append(b.Token, token)
	b.Pos = append(b.Pos, int32(pos))
	b.Slot = append(b.Slot, 0)
	if pos < w.prompt {
		b.Class = append(b.Class, backend.Prefill)
	} else {
		b.Class = append(b.Class, backend.Decode)
	}
	b.Seq = append(b.Seq, int32(len(b.Seqs)))
}

// addSeq appends the tables as they are now.
func (w *world) addSeq(s *worldSeq) {
	t := backend.SeqTable{Stored: s.tables.Stored, First: slices.Clone(s.tables.First)}
	for _, p := range s.tables.Pages {
		t.Pages = append(t.Pages, slices.Clone(p))
	}
	w.batch.Seqs = append(w.batch.Seqs, t)
}

// addTree puts a draft tree on a sequence into the batch without storing it for
// good: parent[i] < i is a node's parent, or -1. It returns the nodes' cells,
// which lie on pages of their own.
func (w *world) addTree(seq int, tokens []int32, parent []int) [][]int32 {
	s, b := w.seqs[seq], &w.batch
	base := int32(len(b.Token))
	paths := make([][]int32, len(tokens))
	cells := make([][]int32, len(w.spec.Groups))
	for i, token := range tokens {
		paths[i] = []int32{}
		if p := parent[i]; p >= 0 {
			paths[i] = append(slices.Clone(paths[p]), base+int32(p))
		}
		w.row(token, s.done+len(paths[i]))
		b.Tree = append(b.Tree, paths[i])
		for g := range w.spec.Groups {
			cell := w.take(g)*int32(w.spec.PageSize) + int32(w.spec.PageSize-1)
			cells[g] = append(cells[g], cell)
			b.Cell[g] = append(b.Cell[g], cell)
		}
	}
	s.tables.Stored = int32(s.done)
	w.addSeq(s)
	return cells
}

// accept makes tree cells the sequence's next positions, by copies.
func (w *world) accept(seq int, cells [][]int32, nodes []int) []backend.Copy {
	s := w.seqs[seq]
	w.grow(s, s.done+len(nodes))
	var copies []backend.Copy
	for g := range w.spec.Groups {
		for i, n := range nodes {
			pos := s.done + i
			page := s.tables.Pages[g][pos/w.spec.PageSize-int(s.tables.First[g])]
			copies = append(copies, backend.Copy{Group: g, From: cells[g][n], To: page*int32(w.spec.PageSize) + int32(pos%w.spec.PageSize)})
		}
	}
	s.done += len(nodes)
	return copies
}

// grow gives a sequence pages for n positions.
func (w *world) grow(s *worldSeq, n int) {
	for g := range w.spec.Groups {
		for (int(s.tables.First[g])+len(s.tables.Pages[g]))*w.spec.PageSize < n {
			s.tables.Pages[g] = append(s.tables.Pages[g], w.take(g))
		}
	}
}

// freeWindows takes away the pages that no later row of a sequence can see, and
// poisons them.
func (w *world) freeWindows() {
	for _, s := range w.seqs {
		for g, group := range w.spec.Groups {
			for len(s.tables.Pages[g]) > 0 && group.Window > 0 &&
				(int(s.tables.First[g])+1)*w.spec.PageSize <= firstSeen(s.done, group.Window) {
				page := s.tables.Pages[g][0]
				s.tables.Pages[g] = s.tables.Pages[g][1:]
				s.tables.First[g]++
				for _, l := range w.kv.layers[g] {
					l.poison(int(page)*w.spec.PageSize, (int(page)+1)*w.spec.PageSize)
				}
				w.free[g] = append(w.free[g], page)
			}
		}
	}
}
