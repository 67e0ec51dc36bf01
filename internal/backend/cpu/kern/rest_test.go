package kern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"weir/internal/weights"
)

// guarded copies x between guards and returns the copy and a check of them.
func guarded(t *testing.T, x []float32) ([]float32, func()) {
	const n, mark = 17, -77
	all := make([]float32, len(x)+2*n)
	for i := range all {
		all[i] = mark
	}
	copy(all[n:], x)
	return all[n : n+len(x)], func() {
		t.Helper()
		for i, v := range all {
			if (i < n || i >= n+len(x)) && v != mark {
				t.Fatalf("float %d of %d was written", i-n, len(x))
			}
		}
	}
}

func TestNormHasThePortableBits(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 300 {
			n := 1 + rng.IntN(100)
			x, delta, w := random(rng, n, rng.IntN(4) == 0), random(rng, n, false), random(rng, n, false)
			const eps = 1e-5
			want := append([]float32(nil), x...)
			got, check := guarded(t, x)
			dst, checkDst := guarded(t, x)
			a := Norm{Dst: &dst[0], X: &got[0], W: &w[0], N: int64(n), Eps: eps}
			if rng.IntN(2) == 0 {
				a.Delta = &delta[0]
				for i := range want {
					want[i] += delta[i]
				}
			}
			l.Norm(&a)
			check()
			checkDst()
			var s [8]float64
			for i, v := range want {
				s[i%8] += float64(v) * float64(v)
			}
			sum := ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
			f := float32(1 / math.Sqrt(sum/float64(n)+float64(float32(eps))))
			for i := range want {
				if !sameBits(got[i], want[i]) || !sameBits(dst[i], float32(want[i]*f)*w[i]) {
					t.Fatalf("n %d: x[%d] = %v, want %v; dst %v, want %v", n, i, got[i], want[i], dst[i], float32(want[i]*f)*w[i])
				}
			}
		}
	})
}

func TestGate(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 300 {
			n := 1 + rng.IntN(70)
			x, up := random(rng, n, true), random(rng, n, false)
			for i := range x {
				if rng.IntN(3) == 0 {
					x[i] *= 30
				}
			}
			gelu := rng.IntN(2)
			got, check := guarded(t, x)
			l.Gate(&Gate{Dst: &got[0], Gate: &got[0], Up: &up[0], N: int64(n), GELU: int64(gelu)})
			check()
			for i, v := range x {
				u := float64(v)
				if gelu == 1 {
					u = 2 * math.Sqrt(2/math.Pi) * (u + 0.044715*u*u*u)
				}
				want := float64(v) / (1 + math.Exp(-u)) * float64(up[i])
				switch {
				case v != v:
					if got[i] == got[i] {
						t.Fatalf("a NaN became %v", got[i])
					}
				case math.IsInf(float64(v), 0) || math.Abs(want) > math.MaxFloat32:
				case math.Abs(float64(got[i])-want) > (1+math.Abs(u))*0x1p-21*math.Abs(want)+1e-30:
					t.Fatalf("act(%v)*%v = %v, want %v", v, up[i], got[i], want)
				}
			}
		}
	})
}

func TestRotateHasThePortableBits(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 200 {
			half, heads := 1+rng.IntN(70), 1+rng.IntN(3)
			dim := 2*half + rng.IntN(5)
			x, cos, sin := random(rng, heads*dim, false), random(rng, half, false), random(rng, half, false)
			want := append([]float32(nil), x...)
			pairs := rng.IntN(2)
			for h := range heads {
				for i := range half {
					p, q := h*dim+i, h*dim+half+i
					if pairs == 1 {
						p, q = h*dim+2*i, h*dim+2*i+1
					}
					a, b := want[p], want[q]
					want[p] = float32(a*cos[i]) - float32(b*sin[i])
					want[q] = float32(a*sin[i]) + float32(b*cos[i])
				}
			}
			got, check := guarded(t, x)
			l.Rotate(&Rotate{X: &got[0], Cos: &cos[0], Sin: &sin[0], Heads: int64(heads), Dim: int64(dim), Half: int64(half), Interleaved: int64(pairs)})
			check()
			for i := range want {
				if !sameBits(got[i], want[i]) {
					t.Fatalf("[%d] = %v, want %v", i, got[i], want[i])
				}
			}
		}
	})
}

// TestKeepRoundsLikeWeights is about the plain types; package cpu compares the
// others with its own code.
func TestKeepRoundsLikeWeights(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for _, c := range []struct {
			typ   KVType
			round func(float32) uint16
		}{{KVF16, weights.F32ToF16}, {KVBF16, weights.F32ToBF16}} {
			for range 300 {
				n := 1 + rng.IntN(70)
				x := random(rng, n, true)
				for i := range x {
					if rng.IntN(2) == 0 {
						x[i] = math.Float32frombits(rng.Uint32())
					}
				}
				y := make([]uint16, n+8)
				l.Keep(c.typ, &Convert{X: &floatBytes(x)[0], Y: (*byte)(unsafe.Pointer(&y[0])), Cols: int64(n), Rows: 1})
				for i, got := range y {
					want := uint16(0)
					if i < n {
						want = c.round(x[i])
					}
					if got != want && !(i < n && x[i] != x[i] && got&0x7f80 == 0x7f80 || c.typ == KVF16 && got&0x7e00 == 0x7e00) {
						t.Fatalf("%v became %#x, want %#x", x[i], got, want)
					}
				}
			}
		}
	})
}

// stored is how a type's keys look as weights.
var stored = map[KVType]weights.Type{KVF32: weights.F32, KVF16: weights.F16, KVBF16: weights.BF16, KVQ8: weights.Q8_0, KVQ4: weights.Q4_0}

// attention is random keys and values in scattered cells, and queries.
type attention struct {
	dim, stride    int // stride in bytes
	typ            KVType
	k, v           []byte
	keys, values   [][]float32 // by position
	cells          []int32
	scale, softcap float32
}

func newAttention(rng *rand.Rand, positions int) *attention {
	a := &attention{dim: 1 + rng.IntN(140), typ: KVType(rng.IntN(5)), scale: 0.2}
	if rng.IntN(3) == 0 {
		a.dim = 64 + 64*rng.IntN(2) // of which kernels take several columns at once
	}
	if rng.IntN(3) == 0 {
		a.softcap = 5
	}
	typ := stored[a.typ]
	elems, _ := typ.Block()
	wide := (a.dim + elems - 1) / elems * elems
	size, _ := typ.RowBytes(wide)
	a.stride = size + 4*rng.IntN(9)
	n := positions + 5
	a.k, a.v = make([]byte, n*a.stride), make([]byte, n*a.stride)
	for i := range a.k {
		a.k[i], a.v[i] = 0xff, 0xff // NaNs
	}
	for _, c := range rng.Perm(n)[:positions] {
		for _, m := range []struct {
			bytes []byte
			rows  *[][]float32
		}{{a.k, &a.keys}, {a.v, &a.values}} {
			row := append(random(rng, a.dim, false), make([]float32, wide-a.dim)...)
			b := m.bytes[c*a.stride : c*a.stride+size]
			weights.QuantizeRow(typ, b, row)
			weights.DequantizeRow(typ, row, b)
			*m.rows = append(*m.rows, row[:a.dim])
		}
		a.cells = append(a.cells, int32(c))
	}
	return a
}

// run takes queries that see [first[i], last[i]] over all blocks.
func (a *attention) run(l Level, by func(Level, *Attend), q [][]float32, first, last []int) [][]float32 {
	queries := make([]Query, len(q))
	out := make([][]float32, len(q))
	for i := range q {
		out[i] = make([]float32, a.dim)
		queries[i] = Query{Q: &q[i][0], Out: &out[i][0], Max: float32(math.Inf(-1))}
	}
	scratch := make([]float32, AttendScratch(len(q), a.dim))
	for i := range scratch {
		scratch[i] = float32(math.NaN())
	}
	for base := 0; base < len(a.cells); base += AttendPositions {
		lo, hi := AttendPositions, 0
		for i := range queries {
			begin, end := max(first[i]-base, 0), min(last[i]+1-base, AttendPositions)
			queries[i].Begin, queries[i].End = int32(begin), int32(end)
			if begin < end {
				lo, hi = min(lo, begin), max(hi, end)
			}
		}
		if lo >= hi {
			continue
		}
		by(l, &Attend{Queries: &queries[0], K: &a.k[0], V: &a.v[0], Cells: &a.cells[base], Scratch: &scratch[0], N: int64(len(q)),
			Dim: int64(a.dim), Stride: int64(a.stride), Lo: int64(lo), Hi: int64(hi), Type: a.typ, Scale: a.scale, Softcap: a.softcap})
	}
	for i := range out {
		for j := range out[i] {
			out[i][j] /= queries[i].Sum
		}
	}
	return out
}

// want is the same in float64.
func (a *attention) want(q []float32, first, last int) []float64 {
	out := make([]float64, a.dim)
	var sum float64
	for p := first; p <= last; p++ {
		var s float64
		for i, v := range q {
			s += float64(v) * float64(a.keys[p][i])
		}
		s *= float64(a.scale)
		if a.softcap > 0 {
			s = float64(a.softcap) * math.Tanh(s/float64(a.softcap))
		}
		e := math.Exp(s)
		sum += e
		for i, v := range a.values[p] {
			out[i] += e * float64(v)
		}
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

func TestAttend(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) { testAttend(t, l, Level.Attend, 9) })
}

func TestAttendMany(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) { testAttend(t, l, Level.AttendMany, 30) })
}

// testAttend: a query has the same bits alone and among others, which see the same positions
// or others, and at every level.
func testAttend(t *testing.T, l Level, by func(Level, *Attend), most int) {
	rng := newRand(t)
	for range 60 {
		positions := 1 + rng.IntN(200)
		a := newAttention(rng, positions)
		var q [][]float32
		var first, last []int
		for range 1 + rng.IntN(most) {
			q = append(q, random(rng, a.dim, false))
			if n := len(first); n > 0 && rng.IntN(4) > 0 {
				first, last = append(first, first[n-1]), append(last, last[n-1])
				continue
			}
			end := rng.IntN(positions)
			first, last = append(first, rng.IntN(end+1)), append(last, end)
		}
		got := a.run(l, by, q, first, last)
		for i := range q {
			for j, want := range a.want(q[i], first[i], last[i]) {
				// Scores have errors of some 1e-6 times their terms; values are of size 1.
				if math.Abs(float64(got[i][j])-want) > 3e-5 {
					t.Fatalf("dim %d, positions [%d, %d]: out[%d] = %v, want %v", a.dim, first[i], last[i], j, got[i][j], want)
				}
			}
			for j, v := range a.run(l, by, q[i:i+1], first[i:i+1], last[i:i+1])[0] {
				if !sameBits(v, got[i][j]) {
					t.Fatalf("query %d: %v alone, %v with others", i, v, got[i][j])
				}
			}
		}
		for i, row := range a.run(lowest(), by, q, first, last) {
			for j := range row {
				if !sameBits(row[j], got[i][j]) {
					t.Fatal("levels differ")
				}
			}
		}
	}
}

// runPrompt is run by AttendPrompt; memory behind the outputs stays as it is.
func (a *attention) runPrompt(l Level, q [][]float32, first, last []int) [][]float32 {
	queries := make([]Query, len(q))
	out := make([][]float32, len(q))
	for i := range q {
		out[i] = make([]float32, a.dim+1)
		for j := range out[i] {
			out[i][j] = -77
		}
		queries[i] = Query{Q: &q[i][0], Out: &out[i][0], Max: float32(math.Inf(-1))}
	}
	scratch := make([]float32, PromptScratch(len(q), a.dim))
	for i := range scratch {
		scratch[i] = float32(math.NaN())
	}
	lowest, highest := slices.Min(first), slices.Max(last)
	for base := lowest / AttendPositions * AttendPositions; base <= highest; base += AttendPositions {
		for i := range queries {
			queries[i].Begin, queries[i].End = int32(max(first[i]-base, 0)), int32(min(last[i]+1-base, AttendPositions))
		}
		b := Attend{Queries: &queries[0], K: &a.k[0], V: &a.v[0], Cells: &a.cells[base], Scratch: &scratch[0], N: int64(len(q)),
			Dim: int64(a.dim), Stride: int64(a.stride), Lo: int64(max(lowest-base, 0)), Hi: int64(min(highest+1-base, AttendPositions)),
			Type: a.typ, Scale: a.scale, Softcap: a.softcap}
		if base <= lowest {
			b.First = 1
		}
		if base+AttendPositions > highest {
			b.Last = 1
		}
		l.AttendPrompt(&b)
	}
	for i := range out {
		if out[i][a.dim] != -77 {
			panic("AttendPrompt wrote behind an output")
		}
		out[i] = out[i][:a.dim]
	}
	return out
}

// TestAttendPrompt: scores and weights are rounded to 8 bits, and what a query does not
// see, an infinity among it, changes none of its bits.
func TestAttendPrompt(t *testing.T) {
	withTiles(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 100 {
			positions := 1 + rng.IntN(200)
			a := newAttention(rng, positions)
			var q [][]float32
			var first, last []int
			for range 1 + rng.IntN(40) {
				q = append(q, random(rng, a.dim, false))
				end := rng.IntN(positions)
				first, last = append(first, rng.IntN(end+1)), append(last, end)
			}
			got := a.runPrompt(l, q, first, last)
			for i := range q {
				for j, want := range a.want(q[i], first[i], last[i]) {
					if math.Abs(float64(got[i][j])-want) > 0.1 {
						t.Fatalf("dim %d, positions [%d, %d]: out[%d] = %v, want %v", a.dim, first[i], last[i], j, got[i][j], want)
					}
				}
				for j, v := range a.runPrompt(l, q[i:i+1], first[i:i+1], last[i:i+1])[0] {
					if !sameBits(v, got[i][j]) {
						t.Fatalf("query %d: %v alone, %v with others", i, v, got[i][j])
					}
				}
			}
			if a.typ != KVF16 {
				continue
			}
			at := rng.IntN(positions) // its values become infinities
			for j := range a.dim {
				v := a.v[int(a.cells[at])*a.stride+2*j:]
				v[0], v[1] = 0, 0x7c
			}
			for i, row := range a.runPrompt(l, q, first, last) {
				for j, v := range row {
					if at >= first[i] && at <= last[i] {
						if !math.IsInf(float64(v), 1) && v == v {
							t.Fatalf("query %d sees an infinity, and out[%d] = %v", i, j, v)
						}
					} else if !sameBits(v, got[i][j]) {
						t.Fatalf("query %d does not see the infinity, which made %v of %v", i, v, got[i][j])
					}
				}
			}
		}
	})
}

func BenchmarkAttend(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	a := newAttention(rng, AttendPositions)
	for _, dim := range []int{64, 128} {
		a.dim, a.stride, a.softcap = dim, 2*dim*4, 0
		a.k, a.v = make([]byte, a.stride*(AttendPositions+5)), make([]byte, a.stride*(AttendPositions+5))
		for _, l := range Levels()[1:] {
			for _, n := range []int{1, 8, 128} {
				var q [][]float32
				queries := make([]Query, n)
				out := make([]float32, n*dim)
				for i := range n {
					q = append(q, random(rng, dim, false))
					queries[i] = Query{Q: &q[i][0], Out: &out[i*dim], End: AttendPositions}
				}
				scratch := make([]float32, AttendScratch(n, dim))
				b.Run(fmt.Sprintf("%v/dim=%d/queries=%d", l, dim, n), func(b *testing.B) {
					for b.Loop() {
						l.Attend(&Attend{Queries: &queries[0], K: &a.k[0], V: &a.v[0], Cells: &a.cells[0], Scratch: &scratch[0], N: int64(n),
							Dim: int64(dim), Stride: int64(a.stride), Hi: AttendPositions, Type: KVF16, Scale: 0.1})
					}
					b.ReportMetric(float64(2*2*n*dim*AttendPositions)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
		}
	}
}
