package cpu

import (
	"fmt"
	"math"
	"testing"

	"weir/internal/backend"
	"weir/internal/weights"
)

const eps32 = 1.0 / (1 << 24) // half a unit in float32's last place

// dotTolerance bounds the rounding of a dot product of n terms whose sizes add
// up to size: n/16 additions a lane, four to fold the lanes, one rounding of
// each product and a few to spare.
func dotTolerance(n int, size float64) float64 { return (float64(n)/lanes + 8) * eps32 * size }

// naiveLinear returns w*x+bias for each row of x and a bound on the rounding.
func naiveLinear(x, w, bias []float32, rows, in, out int) (y, tolerance []float64) {
	for r := range rows {
		for o := range out {
			var sum, size float64
			for c := range in {
				p := float64(x[r*in+c]) * float64(w[o*in+c])
				sum, size = sum+p, size+math.Abs(p)
			}
			if bias != nil {
				sum += float64(bias[o])
				size += math.Abs(float64(bias[o]))
			}
			y, tolerance = append(y, sum), append(tolerance, dotTolerance(in, size))
		}
	}
	return y, tolerance
}

func TestLinearOfEveryType(t *testing.T) {
	rng := newRand(t)
	for _, typ := range weights.Types() {
		block, _ := typ.Block()
		for _, c := range []struct{ rows, in, out, threads int }{
			{1, block, 1, 1}, {1, 3 * block, 13, 2}, {5, 2 * block, 40, 3}, {33, block, 9, 2},
		} {
			t.Run(fmt.Sprintf("%v_%dx%dx%d", typ, c.rows, c.in, c.out), func(t *testing.T) {
				plan := backend.Plan{Rows: c.rows + 2, Seqs: c.rows}
				x, y, z := plan.Act("x", c.in), plan.Act("y", c.out), plan.Act("z", 2*c.out)
				g := newRig(t, c.threads, plan)
				w, wv := g.load(rng, typ, c.out, c.in)
				u, uv := g.load(rng, typ, 2*c.out, c.in)
				bias, bv := g.load(rng, weights.F32, c.out)
				in := uniform(rng, c.rows*c.in, 2)
				g.begin(c.rows)
				g.set(x, in)
				g.s.Linear(x, backend.Projection{Dst: y, W: w, Bias: bias}, backend.Projection{Dst: z, W: u})
				want, tol := naiveLinear(in, wv, bv, c.rows, c.in, c.out)
				near(t, "y", g.get(y), want, tol)
				want, tol = naiveLinear(in, uv, nil, c.rows, c.in, 2*c.out)
				near(t, "z", g.get(z), want, tol)
				sameBits(t, "x", g.get(x), in)
			})
		}
	}
}

// Odd widths exist in types without blocks.
func TestLinearOddColumns(t *testing.T) {
	rng := newRand(t)
	for _, typ := range []weights.Type{weights.F32, weights.F16, weights.BF16} {
		for _, in := range []int{1, 7, 15, 16, 17, 33, 251} {
			plan := backend.Plan{Rows: 3, Seqs: 3}
			x, y := plan.Act("x", in), plan.Act("y", 11)
			g := newRig(t, 2, plan)
			w, wv := g.load(rng, typ, 11, in)
			v := uniform(rng, 3*in, 1)
			g.begin(3)
			g.set(x, v)
			g.s.Linear(x, backend.Projection{Dst: y, W: w})
			want, tol := naiveLinear(v, wv, nil, 3, in, 11)
			near(t, fmt.Sprintf("%v of %d", typ, in), g.get(y), want, tol)
		}
	}
}

// A column belongs to a lane by its index: the order of sums is the contract
// between levels, so it is pinned here by a plain restatement.
func TestDotOrder(t *testing.T) {
	rng := newRand(t)
	for n := range 100 {
		a, b := uniform(rng, n, 1), uniform(rng, n, 1)
		var s [16]float32
		for i := range a {
			s[i%16] += float32(a[i] * b[i])
		}
		for i := range 8 {
			s[i] += s[i+8]
		}
		for i := range 4 {
			s[i] += s[i+4]
		}
		want := (s[0] + s[2]) + (s[1] + s[3])
		if got := dot(a, b); got != want {
			t.Fatalf("dot of %d = %v, want %v", n, got, want)
		}
	}
}

func TestEmbedOfEveryType(t *testing.T) {
	rng := newRand(t)
	for _, typ := range weights.Types() {
		plan := backend.Plan{Rows: 6, Seqs: 6}
		x := plan.Act("x", 256)
		g := newRig(t, 2, plan)
		w, v := g.load(rng, typ, 5, 256)
		g.begin(5)
		g.s.Embed(x, w, 1)
		sameBits(t, typ.String(), g.get(x), v)
		g.s.Embed(x, w, 3)
		for i := range v {
			v[i] *= 3
		}
		sameBits(t, typ.String()+" scaled", g.get(x), v)
		mustPanic(t, "a token outside the table", func() { g.begin(6); g.s.Embed(x, w, 1) })
	}
}

func naiveNorm(x, w []float32, eps float32) (y []float64) {
	for at := 0; at < len(x); at += len(w) {
		var sum float64
		for i := range w {
			sum += float64(x[at+i]) * float64(x[at+i])
		}
		f := 1 / math.Sqrt(sum/float64(len(w))+float64(eps))
		for i := range w {
			y = append(y, float64(x[at+i])*f*float64(w[i]))
		}
	}
	return y
}

func TestNorms(t *testing.T) {
	rng := newRand(t)
	for _, cols := range []int{1, 2, 9, 64, 257} {
		plan := backend.Plan{Rows: 9, Seqs: 9, LogitRows: 4}
		x, d, y := plan.Act("x", cols), plan.Act("d", cols), plan.Act("y", cols)
		gx, gy := plan.GatheredAct("gx", cols), plan.GatheredAct("gy", cols)
		g := newRig(t, 3, plan)
		w, wv := g.load(rng, weights.F16, cols)
		xv, dv := uniform(rng, 7*cols, 3), uniform(rng, 7*cols, 3)
		g.begin(7, 1, 4)
		g.set(x, xv)
		g.set(d, dv)
		g.s.RMSNorm(y, x, w, 1e-5)
		want := naiveNorm(xv, wv, 1e-5)
		near(t, "RMSNorm", g.get(y), want, relative(want, 4*eps32))

		g.s.AddRMSNorm(y, x, d, w, 1e-5)
		sum := make([]float32, len(xv))
		for i := range sum {
			sum[i] = xv[i] + dv[i]
		}
		sameBits(t, "residual", g.get(x), sum)
		want = naiveNorm(sum, wv, 1e-5)
		near(t, "AddRMSNorm", g.get(y), want, relative(want, 4*eps32))

		g.s.Gather(gx, x)
		sameBits(t, "Gather", g.get(gx), append(append([]float32(nil), sum[cols:2*cols]...), sum[4*cols:5*cols]...))
		g.s.RMSNorm(gy, gx, w, 1e-5)
		sameBits(t, "gathered norm", g.get(gy)[cols:], g.get(y)[4*cols:5*cols])

		g.s.Add(x, d)
		for i := range sum {
			sum[i] += dv[i]
		}
		sameBits(t, "Add", g.get(x), sum)
		g.get(d)
	}
}

func TestGate(t *testing.T) {
	rng := newRand(t)
	plan := backend.Plan{Rows: 5, Seqs: 5}
	a, b, c := plan.Act("a", 37), plan.Act("b", 37), plan.Act("c", 37)
	g := newRig(t, 2, plan)
	av, bv := uniform(rng, 4*37, 8), uniform(rng, 4*37, 8)
	for _, f := range []backend.Activation{backend.SiLU, backend.GELUTanh} {
		want := make([]float64, len(av))
		for i, x := range av {
			v := float64(x)
			u := v
			if f == backend.GELUTanh {
				u = 2 * math.Sqrt(2/math.Pi) * (v + 0.044715*v*v*v)
			}
			want[i] = v / (1 + math.Exp(-u)) * float64(bv[i])
		}
		g.begin(4)
		g.set(a, av)
		g.set(b, bv)
		g.s.Gate(c, a, b, f)
		near(t, "gate", g.get(c), want, relative(want, 4*eps32))
		g.s.Gate(a, a, b, f)
		sameBits(t, "gate in place", g.get(a), g.get(c))
	}
	mustPanic(t, "an unknown activation", func() { g.s.Gate(c, a, b, 9) })
}

func TestLogits(t *testing.T) {
	rng := newRand(t)
	const cols, vocab = 64, 101
	plan := backend.Plan{Rows: 6, Seqs: 6, LogitRows: 4, Vocab: vocab}
	x, gx := plan.Act("x", cols), plan.GatheredAct("gx", cols)
	g := newRig(t, 2, plan)
	w, wv := g.load(rng, weights.Q8_0, vocab, cols)
	for _, c := range []struct{ scale, softcap float32 }{{1, 0}, {0.5, 0}, {2, 3}} {
		v := uniform(rng, 6*cols, 4)
		g.begin(6, 0, 2, 5)
		g.set(x, v)
		g.s.Gather(gx, x)
		g.s.Logits(gx, w, c.scale, c.softcap)
		res, err := g.s.Wait()
		if err != nil || len(res.Logits) != 3 || res.Drawn != nil {
			t.Fatalf("Wait: %d rows of logits, drawn %v, %v", len(res.Logits), res.Drawn, err)
		}
		for i, r := range []int{0, 2, 5} {
			want, tol := naiveLinear(v[r*cols:(r+1)*cols], wv, nil, 1, cols, vocab)
			for j := range want {
				want[j] *= float64(c.scale)
				tol[j] = 2*tol[j]*float64(c.scale) + 4*eps32*math.Abs(want[j])
				if c.softcap > 0 {
					want[j] = float64(c.softcap) * math.Tanh(want[j]/float64(c.softcap))
				}
			}
			near(t, fmt.Sprintf("logits of row %d", r), res.Logits[i], want, tol)
		}
	}
	g.begin(6)
	g.s.Gather(gx, x)
	g.s.Logits(gx, w, 1, 0)
	if res, _ := g.s.Wait(); len(res.Logits) != 0 {
		t.Errorf("%d rows of logits, none wanted", len(res.Logits))
	}
}

// A NaN in one row stays in that row.
func TestNaNStaysInItsRow(t *testing.T) {
	rng := newRand(t)
	plan := backend.Plan{Rows: 3, Seqs: 3}
	x, y := plan.Act("x", 32), plan.Act("y", 32)
	g := newRig(t, 2, plan)
	w, _ := g.load(rng, weights.Q4_0, 32, 32)
	nw, _ := g.load(rng, weights.F32, 32)
	v := uniform(rng, 3*32, 1)
	v[32+5] = float32(math.NaN())
	for name, op := range map[string]func(){
		"Linear":  func() { g.s.Linear(x, backend.Projection{Dst: y, W: w}) },
		"RMSNorm": func() { g.s.RMSNorm(y, x, nw, 1e-5) },
	} {
		g.begin(3)
		g.set(x, v)
		op()
		for i, got := range g.get(y) {
			if nan := got != got; nan != (i/32 == 1) {
				t.Errorf("%s: y[%d, %d] = %v", name, i/32, i%32, got)
			}
		}
	}
}

// naiveRope rotates one head in float64.
func naiveRope(x []float64, pos int, r *backend.Rope) {
	for i, f := range r.Freq {
		a, b := i, i+r.Dim/2
		if r.Interleaved {
			a, b = 2*i, 2*i+1
		}
		s, c := math.Sincos(float64(pos) * f)
		s, c = s*float64(r.Scale), c*float64(r.Scale)
		x[a], x[b] = x[a]*c-x[b]*s, x[a]*s+x[b]*c
	}
}

func TestRopeWrite(t *testing.T) {
	rng := newRand(t)
	const heads, kvHeads, dim, cells = 6, 2, 20, 5
	plan := backend.Plan{Rows: 4, Seqs: 4}
	q, k, v := plan.Act("q", heads*dim), plan.Act("k", kvHeads*dim), plan.Act("v", kvHeads*dim)
	g := newRig(t, 2, plan)
	qn, qw := g.load(rng, weights.F32, dim)
	kn, kw := g.load(rng, weights.F32, dim)
	rope := func(dim int, interleaved bool, scale float32) *backend.Rope {
		r := &backend.Rope{Dim: dim, Interleaved: interleaved, Scale: scale}
		for i := range dim / 2 {
			r.Freq = append(r.Freq, math.Pow(10000, -2*float64(i)/float64(dim)))
		}
		return r
	}
	for _, typ := range []backend.KVType{backend.KVF32, backend.KVF16} {
		// One page: every position is the cell of its number.
		kv := g.kv(backend.KVSpec{Type: typ, PageSize: 100_001, Pages: []int{1},
			Groups: []backend.KVGroup{{Layers: []int{3, 7}, Heads: kvHeads, HeadDim: dim}}})
		for _, r := range []*backend.Rope{nil, rope(20, false, 1), rope(20, true, 1), rope(8, false, 1.25), rope(8, true, 0.75)} {
			for _, norm := range []backend.HeadNorm{{}, {Q: qn, K: kn, Eps: 1e-6}} {
				var b backend.Batch
				b.Reset(1)
				for i, pos := range []int32{0, 1, 4097, 100_000} {
					b.Token, b.Pos, b.Seq = append(b.Token, 0), append(b.Pos, pos), append(b.Seq, int32(i))
					b.Cell[0] = append(b.Cell[0], pos)
					b.Seqs = append(b.Seqs, backend.SeqTable{Pages: [][]int32{{0}}, First: []int32{0}})
				}
				g.s.Begin(&b, kv)
				qv, kvv, vv := uniform(rng, 4*heads*dim, 2), uniform(rng, 4*kvHeads*dim, 2), uniform(rng, 4*kvHeads*dim, 2)
				g.set(q, qv)
				g.set(k, kvv)
				g.set(v, vv)
				g.s.RopeWrite(q, k, v, backend.Layer{Group: 0, Index: 1}, r, norm)

				expect := func(x, w []float32, perRow int) []float64 {
					y := make([]float64, len(x))
					for i := range x {
						y[i] = float64(x[i])
					}
					if norm.Q != nil {
						y = naiveNorm(x, w, 1e-6)
					}
					for i := 0; i < len(y) && r != nil; i += dim {
						naiveRope(y[i:i+dim], int(b.Pos[i/perRow]), r)
					}
					return y
				}
				tol := func(n int) []float64 {
					x := make([]float64, n)
					for i := range x {
						x[i] = 16 * eps32 * 2.5
					}
					return x
				}
				near(t, "q", g.get(q), expect(qv, qw, heads*dim), tol(len(qv)))
				wantK := expect(kvv, kw, kvHeads*dim)
				near(t, "k", g.get(k), wantK, tol(len(kvv)))
				sameBits(t, "v", g.get(v), vv)
				g.checkStored(kv, b.Cell[0], g.get(k), vv, kvHeads, dim)
			}
		}
	}
}

// checkStored fails unless the second layer has keys and values in the cells, in
// its type, and the first nothing.
func (g *rig) checkStored(kv *kvCache, cells []int32, k, v []float32, heads, dim int) {
	g.Helper()
	stored := func(x []float32) []float32 {
		y := append([]float32(nil), x...)
		if kv.spec.Type == backend.KVF16 {
			for i := range y {
				y[i] = weights.F16ToF32(weights.F32ToF16(y[i]))
			}
		}
		return y
	}
	scratch := make([]float32, dim)
	for r, cell := range cells {
		for h := range heads {
			at := (r*heads + h) * dim
			l := kv.layers[0][1]
			sameBits(g, "stored key", l.key(scratch, int(cell), h), stored(k[at:at+dim]))
			sameBits(g, "stored value", l.value(scratch, int(cell), h), stored(v[at:at+dim]))
			if other := kv.layers[0][0].key(scratch, int(cell), h)[0]; other == other {
				g.Fatalf("the other layer has %v in cell %d", other, cell)
			}
		}
	}
	if next := kv.layers[0][1].key(scratch, 2, 0)[0]; next == next {
		g.Fatalf("cell 2 was written: %v", next)
	}
}

func TestMixture(t *testing.T) {
	rng := newRand(t)
	const cols, width, experts, rows = 64, 96, 7, 9
	for _, topK := range []int{1, 3, 7} {
		for _, renormalise := range []bool{false, true} {
			plan := backend.Plan{Rows: rows + 1, Seqs: rows, Experts: backend.ExpertSpec{Count: experts, TopK: topK, Width: width}}
			x, y := plan.Act("x", cols), plan.Act("y", cols)
			g := newRig(t, 3, plan)
			m := &backend.Mixture{TopK: topK, Renormalise: renormalise, Act: backend.SiLU}
			var router []float32
			m.Router, router = g.load(rng, weights.F32, experts, cols)
			var values [experts][3][]float32
			for e := range experts {
				var w [3]backend.Weight
				w[0], values[e][0] = g.load(rng, weights.Q8_0, width, cols)
				w[1], values[e][1] = g.load(rng, weights.Q4_1, width, cols)
				w[2], values[e][2] = g.load(rng, weights.F16, cols, width)
				m.Gate, m.Up, m.Down = append(m.Gate, w[0]), append(m.Up, w[1]), append(m.Down, w[2])
			}
			v := uniform(rng, rows*cols, 4)
			g.begin(rows)
			g.set(x, v)
			g.s.Mixture(y, x, m)
			got := g.get(y)
			for r := range rows {
				want, size := naiveMixture(v[r*cols:(r+1)*cols], router, values[:], width, m)
				tol := make([]float64, cols)
				for i := range tol {
					tol[i] = 40 * eps32 * size
				}
				near(t, fmt.Sprintf("top %d of row %d", topK, r), got[r*cols:(r+1)*cols], want, tol)
			}
			checkRowsAlone(t, g, x, y, v, got, m)
		}
	}
}

// checkRowsAlone fails unless each row by itself gives the bits it gave in the batch.
func checkRowsAlone(t *testing.T, g *rig, x, y backend.Act, v, got []float32, m *backend.Mixture) {
	t.Helper()
	cols := x.Cols()
	for at := 0; at < len(v); at += cols {
		g.poison()
		g.begin(1)
		g.set(x, v[at:at+cols])
		g.s.Mixture(y, x, m)
		sameBits(t, "row alone", g.get(y), got[at:at+cols])
	}
}

// Of equal probabilities the first expert is chosen, whatever the order of
// their numbers would do.
func TestMixtureTies(t *testing.T) {
	rng := newRand(t)
	plan := backend.Plan{Rows: 1, Seqs: 1, Experts: backend.ExpertSpec{Count: 4, TopK: 2, Width: 8}}
	x, y := plan.Act("x", 4), plan.Act("y", 4)
	g := newRig(t, 1, plan)
	m := &backend.Mixture{TopK: 2, Act: backend.SiLU, Router: g.loadF32(make([]float32, 16), 4, 4)}
	for range 4 {
		w, _ := g.load(rng, weights.F32, 8, 4)
		m.Gate, m.Up = append(m.Gate, w), append(m.Up, w)
		d, _ := g.load(rng, weights.F32, 4, 8)
		m.Down = append(m.Down, d)
	}
	g.begin(1)
	g.set(x, []float32{1, 2, 3, 4})
	g.s.Mixture(y, x, m)
	if got := g.s.mix.expert[:2]; got[0] != 0 || got[1] != 1 {
		t.Errorf("experts %v of four equals, want the first two", got)
	}
}

// naiveMixture returns one row's result and the size of what was added up.
func naiveMixture(x, router []float32, w [][3][]float32, width int, m *backend.Mixture) (y []float64, size float64) {
	p, _ := naiveLinear(x, router, nil, 1, len(x), len(w))
	var total float64
	for i := range p {
		p[i] = math.Exp(p[i])
		total += p[i]
	}
	chosen := map[int]float64{}
	var sum float64
	for range m.TopK {
		best := -1
		for e := range p {
			if _, taken := chosen[e]; !taken && (best < 0 || p[e] > p[best]) {
				best = e
			}
		}
		chosen[best] = p[best] / total
		sum += p[best] / total
	}
	y = make([]float64, len(x))
	for e, f := range chosen {
		if m.Renormalise {
			f /= sum
		}
		gate, _ := naiveLinear(x, w[e][0], nil, 1, len(x), width)
		up, _ := naiveLinear(x, w[e][1], nil, 1, len(x), width)
		for o := range y {
			for i := range gate {
				h := gate[i] / (1 + math.Exp(-gate[i])) * up[i] * float64(w[e][2][o*width+i])
				y[o] += f * h
				size += f * math.Abs(h)
			}
		}
	}
	return y, size
}
