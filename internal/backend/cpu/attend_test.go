package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// attendCase is one geometry of attention.
type attendCase struct {
	name                 string
	heads, kvHeads, dim  int
	window, pageSize     int
	typ                  backend.KVType
	softcap              float32
	sinks, tree, freeing bool
}

// token is a position's key and value, [kvHeads*dim] each, as stored.
type token struct{ k, v []float32 }

func TestAttendMatchesFloat64(t *testing.T) {
	rng := newRand(t)
	for _, c := range []attendCase{
		{name: "one head", heads: 1, kvHeads: 1, dim: 2, pageSize: 16},
		{name: "plain", heads: 4, kvHeads: 4, dim: 64, pageSize: 16},
		{name: "grouped", heads: 12, kvHeads: 2, dim: 40, pageSize: 5},
		{name: "many queries a key", heads: 150, kvHeads: 1, dim: 8, pageSize: 16},
		{name: "f16", heads: 6, kvHeads: 3, dim: 33, pageSize: 16, typ: backend.KVF16},
		{name: "bf16", heads: 6, kvHeads: 3, dim: 33, pageSize: 16, typ: backend.KVBF16},
		{name: "q8_0", heads: 6, kvHeads: 3, dim: 33, pageSize: 16, typ: backend.KVQ8},
		{name: "q4_0", heads: 6, kvHeads: 3, dim: 64, pageSize: 16, typ: backend.KVQ4, window: 80, tree: true, freeing: true},
		{name: "window", heads: 4, kvHeads: 2, dim: 16, pageSize: 3, window: 70},
		{name: "window of one", heads: 2, kvHeads: 2, dim: 16, pageSize: 4, window: 1},
		{name: "freed pages", heads: 4, kvHeads: 2, dim: 16, pageSize: 4, window: 37, freeing: true},
		{name: "soft cap", heads: 4, kvHeads: 2, dim: 16, pageSize: 8, softcap: 2},
		{name: "sinks", heads: 4, kvHeads: 2, dim: 16, pageSize: 8, sinks: true},
		{name: "tree", heads: 4, kvHeads: 2, dim: 16, pageSize: 8, tree: true},
		{name: "everything", heads: 10, kvHeads: 2, dim: 24, pageSize: 2, typ: backend.KVF16, window: 9, softcap: 3, sinks: true, tree: true, freeing: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			testAttend(t, rng, c)
		})
	}
}

func testAttend(t *testing.T, rng *rand.Rand, c attendCase) {
	const rows = 60
	plan := backend.Plan{Rows: rows, Seqs: 3, LogitRows: rows}
	q, out := plan.Act("q", c.heads*c.dim), plan.Act("out", c.heads*c.dim)
	k, v := plan.Act("k", c.kvHeads*c.dim), plan.Act("v", c.kvHeads*c.dim)
	g := newRig(t, 3, plan)
	spec := backend.KVSpec{Type: c.typ, PageSize: c.pageSize, Groups: []backend.KVGroup{
		{Layers: []int{0}, Heads: c.kvHeads, HeadDim: c.dim, Window: c.window}}}
	a := backend.Attention{Heads: c.heads, Scale: float32(1 / math.Sqrt(float64(c.dim))), Softcap: c.softcap}
	var sinks []float32
	if c.sinks {
		a.Sinks, sinks = g.load(rng, weights.F32, c.heads)
	}
	w := newWorld(g, rng, spec, 3, 300)
	history := make([][]token, 3) // of each sequence

	for step := range 15 {
		g.poison()
		w.reset()
		qv := uniform(rng, rows*c.heads*c.dim, 3)
		kv, vv := uniform(rng, rows*c.kvHeads*c.dim, 2), uniform(rng, rows*c.kvHeads*c.dim, 2)
		nth := func(r int) token {
			n := c.kvHeads * c.dim
			return token{asStored(kv[r*n:(r+1)*n], c.typ, c.dim), asStored(vv[r*n:(r+1)*n], c.typ, c.dim)}
		}
		var own [][]token // what each row sees
		for seq := range history {
			if c.tree && seq == 1 && step%2 == 1 {
				first := len(own)
				parent := []int{-1, 0, 0, 1, 2}
				w.addTree(seq, make([]int32, len(parent)), parent)
				for r := first; r < first+len(parent); r++ {
					path := slices.Clone(history[seq])
					for _, ancestor := range w.batch.Tree[r] {
						path = append(path, nth(int(ancestor)))
					}
					own = append(own, append(path, nth(r)))
				}
				continue
			}
			n := 1
			if step%2 == 0 {
				n = 1 + rng.IntN(20)*(3-seq)/2
			}
			w.add(seq, make([]int32, n))
			for range n {
				history[seq] = append(history[seq], nth(len(own)))
				own = append(own, slices.Clone(history[seq]))
			}
		}
		g.s.Begin(&w.batch, w.kv)
		g.set(q, qv)
		g.set(k, kv)
		g.set(v, vv)
		at := backend.Layer{}
		g.s.RopeWrite(q, k, v, at, nil, backend.HeadNorm{})
		g.s.Attend(out, q, at, a)
		got := g.get(out)
		for r, seen := range own {
			for h := range c.heads {
				lo := (r*c.heads + h) * c.dim
				sink := math.Inf(-1)
				if c.sinks {
					sink = float64(sinks[h])
				}
				want, tol := naiveAttend(qv[lo:lo+c.dim], seen, h/(c.heads/c.kvHeads), c, a, sink)
				near(t, fmt.Sprintf("step %d, row %d at %d, head %d", step, r, w.batch.Pos[r], h), got[lo:lo+c.dim], want, tol)
			}
		}
		if c.freeing {
			w.freeWindows()
		}
	}
}

// asStored rounds heads of dim elements as the cache does.
func asStored(x []float32, typ backend.KVType, dim int) []float32 {
	y := append([]float32(nil), x...)
	l := &kvLayer{typ: typ, heads: 1, headDim: dim, size: typ.HeadBytes(dim)}
	for i := 0; i < len(y); i += dim {
		b := make([]byte, l.size)
		arith{level: kern.Portable}.keep(l, b, x[i:i+dim])
		copy(y[i:i+dim], l.load(make([]float32, dim), b))
	}
	return y
}

// naiveAttend is one head's attention of the last of the seen tokens, and a
// bound on the rounding.
func naiveAttend(q []float32, seen []token, kvHead int, c attendCase, a backend.Attention, sink float64) (out, tolerance []float64) {
	if c.window > 0 && len(seen) > c.window { // a window counts the row's own position
		seen = seen[len(seen)-c.window:]
	}
	at := kvHead * c.dim
	scores := make([]float64, len(seen))
	var size float64 // of the largest score's products
	for p, tok := range seen {
		var s, abs float64
		for i, x := range q {
			s += float64(x) * float64(tok.k[at+i])
			abs += math.Abs(float64(x) * float64(tok.k[at+i]))
		}
		size = max(size, abs)
		if s *= float64(a.Scale); a.Softcap > 0 {
			s = float64(a.Softcap) * math.Tanh(s/float64(a.Softcap))
		}
		scores[p] = s
	}
	total := math.Exp(sink)
	out = make([]float64, len(q))
	for p, s := range scores {
		e := math.Exp(s)
		total += e
		for i := range out {
			out[i] += e * float64(seen[p].v[at+i])
		}
	}
	// An error of a score is a relative error of its weight. Values are below 2.
	score := dotTolerance(c.dim, size)*float64(a.Scale) + 4*eps32*size*float64(a.Scale)
	blocks := float64(len(seen)/posBlock + 1)
	for i := range out {
		out[i] /= total
		tolerance = append(tolerance, 2*(2*score+(posBlock+4*blocks)*eps32))
	}
	return out, tolerance
}

// A NaN in a key reaches the rows that see it, no other.
func TestAttendKeepsNaNInItsSequence(t *testing.T) {
	rng := newRand(t)
	c := attendCase{heads: 2, kvHeads: 1, dim: 8, pageSize: 4}
	plan := backend.Plan{Rows: 20, Seqs: 2, LogitRows: 20}
	q, out := plan.Act("q", 16), plan.Act("out", 16)
	k, v := plan.Act("k", 8), plan.Act("v", 8)
	g := newRig(t, 2, plan)
	w := newWorld(g, rng, backend.KVSpec{Type: backend.KVF32, PageSize: c.pageSize, Groups: []backend.KVGroup{{Layers: []int{0}, Heads: 1, HeadDim: 8}}}, 2, 20)
	w.reset()
	w.add(0, make([]int32, 10))
	w.add(1, make([]int32, 10))
	g.s.Begin(&w.batch, w.kv)
	kv := uniform(rng, 20*8, 1)
	kv[4*8] = float32(math.NaN()) // row 4: position 4 of the first sequence
	g.set(q, uniform(rng, 20*16, 1))
	g.set(k, kv)
	g.set(v, uniform(rng, 20*8, 1))
	g.s.RopeWrite(q, k, v, backend.Layer{}, nil, backend.HeadNorm{})
	g.s.Attend(out, q, backend.Layer{}, backend.Attention{Heads: 2, Scale: 1})
	for i, x := range g.get(out) {
		if row := i / 16; (x != x) != (row >= 4 && row < 10) {
			t.Errorf("out[%d] = %v", row, x)
		}
	}
}
