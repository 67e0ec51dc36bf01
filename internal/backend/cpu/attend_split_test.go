package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
)

// TestLongContextsSplit: decode rows at long contexts get the same bits however many
// threads share their chunks, alone and together, in chains and trees, with
// windows; and they are right.
func TestLongContextsSplit(t *testing.T) {
	if kern.Best() == kern.Portable {
		t.Skip("needs a processor with a fast level")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, c := range []attendCase{
		{name: "groups", heads: 8, kvHeads: 2, dim: 64, typ: backend.KVF16},
		{name: "window", heads: 4, kvHeads: 2, dim: 32, typ: backend.KVF32, window: 1500},
		{name: "q8_0", heads: 4, kvHeads: 1, dim: 128, typ: backend.KVQ8, softcap: 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []float32
			for _, threads := range []int{1, 2, 3, 8} {
				got, split := longContexts(t, c, threads, rand.New(rand.NewPCG(seed, 1)))
				if split != (threads > 1 && 5*c.kvHeads < 4*threads) {
					t.Errorf("%d threads: split %v", threads, split)
				}
				if want == nil {
					want = got
				}
				if !slices.Equal(bits(got), bits(want)) {
					t.Errorf("%d threads give other bits than one", threads)
				}
			}
		})
	}
}

func bits(x []float32) []uint32 {
	out := make([]uint32, len(x))
	for i, v := range x {
		out[i] = math.Float32bits(v)
	}
	return out
}

// longContexts attends with one row at 3000 positions, one at 1023, 1024 and 1025,
// and a tree at 2047, and checks them against the definition.
func longContexts(t *testing.T, c attendCase, threads int, rng *rand.Rand) (out []float32, split bool) {
	const seqs, rows = 5, 9
	contexts := []int{3000, 1023, 1024, 1025, 2047}
	plan := backend.Plan{Rows: rows, Seqs: seqs, LogitRows: rows}
	q, k, v, o := plan.Act("q", c.heads*c.dim), plan.Act("k", c.kvHeads*c.dim), plan.Act("v", c.kvHeads*c.dim), plan.Act("out", c.heads*c.dim)
	g := newRigOf(t, Options{Threads: threads}, plan)
	spec := backend.KVSpec{Type: c.typ, PageSize: 16, Groups: []backend.KVGroup{{Layers: []int{0}, Heads: c.kvHeads, HeadDim: c.dim, Window: c.window}}}
	a := backend.Attention{Heads: c.heads, Scale: float32(1 / math.Sqrt(float64(c.dim))), Softcap: c.softcap}
	w := newWorld(g, rng, spec, seqs, 3100)
	history := make([][]token, seqs)
	n := c.kvHeads * c.dim
	for s, context := range contexts {
		for pos := range context - 1 {
			key, value := uniform(rng, n, 2), uniform(rng, n, 2)
			put(w, s, pos, key, value)
			history[s] = append(history[s], token{asStored(key, c.typ, c.dim), asStored(value, c.typ, c.dim)})
		}
		w.seqs[s].done = context - 1
	}
	w.reset()
	for s := range seqs - 1 {
		w.add(s, []int32{0})
	}
	parent := []int{-1, 0, 0, 1, 2}
	w.addTree(seqs-1, make([]int32, len(parent)), parent)
	qv, kv, vv := uniform(rng, rows*c.heads*c.dim, 3), uniform(rng, rows*n, 2), uniform(rng, rows*n, 2)
	g.s.Begin(&w.batch, w.kv)
	g.set(q, qv)
	g.set(k, kv)
	g.set(v, vv)
	g.s.RopeWrite(q, k, v, backend.Layer{}, nil, backend.HeadNorm{})
	g.s.Attend(o, q, backend.Layer{}, a)
	split = g.s.split.attendTask != nil
	out = slices.Clone(g.get(o))
	checkLong(t, c, a, w, history, qv, kv, vv, out)
	return out, split
}

// put stores a position of a sequence as an earlier step would have.
func put(w *world, seq, pos int, key, value []float32) {
	s := w.seqs[seq]
	w.grow(s, pos+1)
	page := s.tables.Pages[0][pos/w.spec.PageSize]
	w.kv.layers[0][0].put(arith{}, page*int32(w.spec.PageSize)+int32(pos%w.spec.PageSize), key, value)
}

func checkLong(t *testing.T, c attendCase, a backend.Attention, w *world, history [][]token, qv, kv, vv, out []float32) {
	n := c.kvHeads * c.dim
	nth := func(r int) token {
		return token{asStored(kv[r*n:(r+1)*n], c.typ, c.dim), asStored(vv[r*n:(r+1)*n], c.typ, c.dim)}
	}
	for r := range w.batch.Pos {
		seen := slices.Clone(history[w.batch.Seq[r]])
		for _, ancestor := range w.batch.Tree[r] {
			seen = append(seen, nth(int(ancestor)))
		}
		seen = append(seen, nth(r))
		for h := range c.heads {
			lo := (r*c.heads + h) * c.dim
			want, tol := naiveAttend(qv[lo:lo+c.dim], seen, h/(c.heads/c.kvHeads), c, a, math.Inf(-1))
			near(t, fmt.Sprintf("row %d at %d, head %d", r, w.batch.Pos[r], h), out[lo:lo+c.dim], want, tol)
		}
	}
}
