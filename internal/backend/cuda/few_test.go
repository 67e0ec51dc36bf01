//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// fewCase is a product for a few tokens with what it takes along.
type fewCase struct {
	tokens, k            int
	rows                 []int
	fp8, norm, res, bias bool
	gate                 int32
	typ                  weights.Type // of GGUF's, if not F32
	room                 int          // shared memory that gemv.h may have, if not all
}

var fewCases = []fewCase{
	{tokens: 1, k: 64, rows: []int{16}},
	{tokens: 1, k: 64, rows: []int{256}, fp8: true, bias: true},
	{tokens: 1, k: 4096, rows: []int{1024, 256, 264}, norm: true},
	{tokens: 1, k: 4096, rows: []int{1001, 3, 40}, norm: true, fp8: true, bias: true},
	{tokens: 2, k: 512, rows: []int{1001}, res: true},
	{tokens: 3, k: 1028, rows: []int{777}, norm: true, res: true},
	{tokens: 3, k: 1028, rows: []int{777}, norm: true, res: true, fp8: true},
	{tokens: 4, k: 4096, rows: []int{5000}, fp8: true, res: true},
	{tokens: 1, k: 14336, rows: []int{4096}, res: true},
	{tokens: 1, k: 14336, rows: []int{4096}, fp8: true, res: true, bias: true},
	{tokens: 1, k: 5120, rows: []int{500, 500}, norm: true, gate: kern.PairSiLU},
	{tokens: 4, k: 320, rows: []int{3001, 3001}, norm: true, gate: kern.PairGELU, bias: true},
	{tokens: 2, k: 4096, rows: []int{2004, 2004}, norm: true, gate: kern.PairSiLU, fp8: true},
	{tokens: 1, k: 192, rows: []int{36, 36}, gate: kern.PairGELU, fp8: true},
	// Odd numbers of a ring's pieces, and more units than a block has turns.
	{tokens: 1, k: 3584, rows: []int{4700}, norm: true},
	{tokens: 2, k: 1536, rows: []int{20000}, res: true},
	{tokens: 1, k: 5120, rows: []int{7000, 1000}, fp8: true, norm: true},
	{tokens: 2, k: 3072, rows: []int{9000, 9000}, fp8: true, gate: kern.PairSiLU},
	{tokens: 1, k: 512, rows: []int{20000}},
	// GGUF's blocks: rows that end within a step of 1024 columns, scales of odd numbers, more rows than warps.
	{tokens: 1, k: 256, rows: []int{3}, typ: weights.Q4_K},
	{tokens: 2, k: 256, rows: []int{1}, typ: weights.Q6_K, bias: true},
	{tokens: 1, k: 32, rows: []int{9}, typ: weights.Q8_0},
	{tokens: 1, k: 4096, rows: []int{4096, 1024, 1024}, typ: weights.Q4_K, norm: true},
	{tokens: 3, k: 1792, rows: []int{501, 7, 30}, typ: weights.Q4_K, norm: true, bias: true},
	{tokens: 4, k: 14336, rows: []int{700}, typ: weights.Q4_K, res: true},
	{tokens: 1, k: 3072, rows: []int{9001, 9001}, typ: weights.Q4_K, norm: true, gate: kern.PairSiLU},
	{tokens: 2, k: 1280, rows: []int{33, 33}, typ: weights.Q4_K, gate: kern.PairGELU, bias: true},
	{tokens: 1, k: 14336, rows: []int{4096}, typ: weights.Q6_K, res: true, bias: true},
	{tokens: 4, k: 2304, rows: []int{999, 999}, typ: weights.Q6_K, norm: true, gate: kern.PairSiLU},
	{tokens: 3, k: 4096, rows: []int{20000, 11}, typ: weights.Q6_K, norm: true},
	{tokens: 1, k: 2080, rows: []int{777, 3}, typ: weights.Q8_0, norm: true, bias: true},
	{tokens: 2, k: 4864, rows: []int{896}, typ: weights.Q8_0, res: true},
	{tokens: 4, k: 4096, rows: []int{5000, 5000}, typ: weights.Q8_0, norm: true, gate: kern.PairGELU},
	{tokens: 1, k: 2048, rows: []int{3001}, typ: weights.Q8_0, res: true}, // twelve warps a block on an H200
	// As few warps as cards with less shared memory have.
	{tokens: 4, k: 14336, rows: []int{600}, typ: weights.Q4_K, res: true, room: 99 << 10},
	{tokens: 4, k: 4864, rows: []int{900, 2}, typ: weights.Q8_0, bias: true, room: 80 << 10},
	{tokens: 2, k: 14336, rows: []int{300, 300}, typ: weights.Q6_K, gate: kern.PairSiLU, room: 99 << 10},
}

// Products for few tokens, with a norm, a gate, biases and a residual, are what float64
// makes of the same numbers.
func TestFew(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, c := range fewCases {
			size := slots(c.tokens)
			if c.typ == weights.F32 && b.target != kern.SM90a && fewShared(size, padded(c.k), c.fp8) > b.shared {
				continue
			}
			b.fewCase(c, size)
		}
	})
}

func (b *bench) fewCase(c fewCase, size int) {
	ld := padded(c.k)
	if c.fp8 && b.target == kern.SM90a {
		ld = (ld + 127) / 128 * 128 // as the ring wants it
	}
	a := kern.Few{Tokens: uint64(put(b, []int32{int32(c.tokens)})), N: int32(len(c.rows)), Cols: int32(c.k), LdX: int32(ld), LdW: int32(ld), Gate: c.gate, Eps: 1e-5}
	x := b.fewTokens(c, &a, ld)
	unit := int32(16)
	var want [][]float64 // of each matrix: [tokens * rows]
	var size2 [][]float64
	for i, rows := range c.rows {
		o := &a.Out[i]
		var wf, ws []float32
		if *o, wf, ws = b.fewOut(&c, rows, ld); c.typ != weights.F32 {
			unit = 2
		}
		o.Dst, o.Rows, o.LdD = uint64(poison(b, 4*rows)), int32(rows), int32(rows)
		bias := make([]float32, rows)
		if c.bias {
			for r := range bias {
				bias[r] = b.rng.Float32() - 0.5
			}
			o.Bias = uint64(put(b, bias))
		}
		a.Units += (int32(rows) + unit - 1) / unit
		o.Tiles = a.Units
		v, s := make([]float64, c.tokens*rows), make([]float64, c.tokens*rows)
		for t := range c.tokens {
			for r := range rows {
				for j := range c.k {
					p := x[t*c.k+j] * float64(wf[r*c.k+j]) * float64(ws[r])
					v[t*rows+r], s[t*rows+r] = v[t*rows+r]+p, s[t*rows+r]+math.Abs(p)
				}
				v[t*rows+r] += float64(bias[r])
			}
		}
		want, size2 = append(want, v), append(size2, s)
	}
	rows := c.rows[0]
	if c.gate != 0 {
		half := unit / 2
		a.Units = (int32(rows) + half - 1) / half
	}
	res := make([]float32, 4*rows)
	for i := range res {
		res[i] = b.rng.Float32()
	}
	name := fmt.Sprintf("few_%s_%d", map[bool]string{true: "e4m3", false: "bf16"}[c.fp8], size)
	for range 2 { // the second must not depend on what the first left
		if c.res {
			a.Residual, a.LdR = uint64(put(b, res)), int32(rows)
		}
		if c.typ != weights.F32 {
			room := b.shared
			if c.room > 0 {
				room = min(room, c.room)
			}
			g := gemv(int32(c.typ), size, c.k, room)
			blocks, warps := gemvBlocks(int(a.Units), g.warps, b.processors)
			name = g.name
			b.must(b.launch(b.kernel(name, g.shared), blocks, 1, 1, 32*warps, g.shared, unsafe.Pointer(&a)))
			continue
		}
		b.startFew(name, &a, size, ld, c.fp8)
	}
	b.must(b.wait())
	limit := func(i, at int) float64 { return 2e-3*size2[i][at]/math.Sqrt(float64(c.k)) + 1e-6 }
	if c.norm || c.fp8 { // the tokens are rounded to bf16, or f16
		limit = func(i, at int) float64 { return 1.5e-2*size2[i][at]/math.Sqrt(float64(c.k)) + 1e-6 }
	}
	if c.typ != weights.F32 { // to 8 bits
		limit = func(i, at int) float64 { return 6e-2*size2[i][at]/math.Sqrt(float64(c.k)) + 1e-6 }
	}
	what := fmt.Sprintf("%v %+v", name, c)
	for i, n := range c.rows {
		if c.gate != 0 {
			b.fewGate(what, c, get[float32](b, pointer(a.Out[0].Dst), c.tokens*n), want, limit)
			break
		}
		got := get[float32](b, pointer(a.Out[i].Dst), 4*n)
		for at, v := range want[i] {
			if d := math.Abs(float64(got[at]) - v); !(d <= limit(i, at)) {
				b.Errorf("%s: matrix %d [%d, %d] = %v, want %v", what, i, at/n, at%n, got[at], v)
				return
			}
		}
		for at := len(want[i]); at < len(got); at++ {
			if math.Float32bits(got[at]) != poisonF32 {
				b.Errorf("%s: row %d of the result is written, of %d", what, at/n, c.tokens)
				return
			}
		}
	}
	if c.res {
		got, sums := get[float32](b, pointer(a.Residual), 4*rows), get[float32](b, pointer(a.Out[0].Dst), 4*rows)
		for at := range res {
			w := res[at]
			if at < c.tokens*rows {
				w += sums[at]
			}
			if got[at] != w {
				b.Errorf("%s: the residual [%d, %d] is %v, want %v", what, at/rows, at%rows, got[at], w)
				return
			}
		}
	}
}

// startFew starts a product, on Hopper by its ring.
func (b *bench) startFew(name string, a *kern.Few, tokens, ld int, fp8 bool) {
	b.Helper()
	if b.target == kern.SM90a {
		b.startRing(a, tokens, ringXs(tokens, ld, fp8), fp8)
		return
	}
	shared := fewShared(tokens, ld, fp8)
	b.must(b.launch(b.kernel(name, shared), min(b.processors, int(a.Units)), 1, 1, 256, shared, unsafe.Pointer(a)))
}

// fewTokens draws the tokens and returns what is multiplied.
func (b *bench) fewTokens(c fewCase, a *kern.Few, ld int) []float64 {
	x := make([]float64, c.tokens*c.k)
	if !c.norm {
		h, f := b.bf16s(4 * c.k)
		rows := make([]uint16, 4*ld)
		for t := range 4 {
			copy(rows[t*ld:], h[t*c.k:(t+1)*c.k])
		}
		a.X = uint64(put(b, rows))
		for i := range x {
			x[i] = float64(f[i])
		}
		return x
	}
	raw, w := make([]float32, 4*c.k), make([]float32, c.k)
	for i := range raw {
		raw[i] = float32(b.rng.NormFloat64() * 30)
	}
	for i := range w {
		w[i] = 0.5 + b.rng.Float32()
	}
	a.X, a.LdX, a.Norm = uint64(put(b, raw)), int32(c.k), uint64(put(b, w))
	for t := range c.tokens {
		sum := 0.0
		for _, v := range raw[t*c.k : (t+1)*c.k] {
			sum += float64(v) * float64(v)
		}
		f := 1 / math.Sqrt(sum/float64(c.k)+1e-5)
		for j := range c.k {
			x[t*c.k+j] = float64(raw[t*c.k+j]) * f * float64(w[j])
		}
	}
	return x
}

// fewOut draws a matrix of a case, its values and its rows' scales.
func (b *bench) fewOut(c *fewCase, rows, ld int) (o kern.Out, f, scale []float32) {
	if c.typ == weights.F32 {
		w, f, scale := b.fewMatrix(rows, c.k, ld, c.fp8)
		return kern.Out{W: uint64(w), Scale: uint64(put(b, scale))}, f, scale
	}
	raw, f := b.rawBlocks(c.typ, rows*c.k)
	return b.blocksOut(c.typ, raw, rows, c.k), f, slices.Repeat([]float32{1}, rows)
}

// fewMatrix draws a matrix of rows of ld, its values and scales.
func (b *bench) fewMatrix(rows, k, ld int, fp8 bool) (p pointer, f, scale []float32) {
	scale = make([]float32, rows)
	for i := range scale {
		scale[i] = 1
	}
	if !fp8 {
		h, v := b.bf16s(rows * k)
		w := make([]uint16, rows*ld)
		for r := range rows {
			copy(w[r*ld:], h[r*k:(r+1)*k])
		}
		return put(b, w), v, scale
	}
	h, v := b.e4m3s(rows * k)
	w := make([]uint8, rows*ld)
	for r := range rows {
		copy(w[r*ld:], h[r*k:(r+1)*k])
		scale[r] = 0.5 + b.rng.Float32()
	}
	return put(b, w), v, scale
}

func (b *bench) fewGate(what string, c fewCase, got []float32, want [][]float64, limit func(int, int) float64) {
	for at := range got {
		g, u := want[0][at], want[1][at]
		act := func(g float64) float64 {
			if c.gate == kern.PairSiLU {
				return g / (1 + math.Exp(-g))
			}
			return 0.5 * g * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(g+0.044715*g*g*g)))
		}
		// The activation is nowhere steeper than 1.13.
		allowed := 1.2*limit(0, at)*math.Abs(u) + math.Abs(act(g))*limit(1, at) + 1e-4*math.Abs(act(g)*u) + 1e-4
		if d := math.Abs(float64(got[at]) - act(g)*u); !(d <= allowed) {
			b.Errorf("%s: gate at %d is %v, want %v", what, at, got[at], act(g)*u)
			return
		}
	}
}

// fewSpeed prints how fast weights of a shape are read.
func (b *bench) fewSpeed(rows, k, tokens int, fp8 bool) {
	if b.target == kern.SM90a {
		return
	}
	size, name := 2, fmt.Sprintf("few_bf16_%d", tokens)
	if fp8 {
		size, name = 1, fmt.Sprintf("few_e4m3_%d", tokens)
	}
	shared := fewShared(tokens, k, fp8)
	if shared > b.shared {
		return
	}
	keep := len(b.mine)
	sets := max(1, 400<<20/(rows*k*size)) // beyond the L2 cache
	a := make([]kern.Few, sets)
	tk, x, out, scale := put(b, []int32{int32(tokens)}), b.random(4*k*2, false), b.alloc(4*rows*4), b.random(rows*4, false)
	for i := range a {
		a[i] = kern.Few{X: uint64(x), Tokens: uint64(tk), N: 1, Cols: int32(k), LdX: int32(k), LdW: int32(k), Units: int32(rows+15) / 16}
		a[i].Out[0] = kern.Out{W: uint64(b.random(rows*k*size, fp8)), Scale: uint64(scale), Dst: uint64(out), Rows: int32(rows), LdD: int32(rows), Tiles: a[i].Units}
	}
	line := fmt.Sprintf("%v %s [%d, %d]:", b.target, name, rows, k)
	for _, per := range []int{1, 2} {
		kn := b.kernel(name, shared)
		ms := b.time(40, func(i int) {
			b.must(b.launch(kn, min(per*b.processors, int(a[0].Units)), 1, 1, 256, shared, unsafe.Pointer(&a[i%sets])))
		})
		line += fmt.Sprintf("  x%d %.1f us %.0f GB/s", per, ms*1e3, float64(rows*k*size)/ms/1e6)
	}
	fmt.Println(line)
	b.freeTo(keep)
}

// What makes E4M3 at once gives the bits of what makes bf16 first.
func TestToE4M3(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, cols := range []int{36, 512, 4096, 5000, 14336, 20004} {
			for _, kind := range []int32{kern.F32, kern.BF16} {
				b.e4m3Case(3, cols, kind)
			}
		}
	})
}

func (b *bench) e4m3Case(rows, cols int, kind int32) {
	ld := padded(cols)
	count := uint64(put(b, []int32{int32(rows)}))
	make1 := func() (kern.Act, kern.Act) { // the same twice: an addition changes it
		if kind == kern.F32 {
			v := make([]float32, rows*cols)
			for i := range v {
				v[i] = float32(b.rng.NormFloat64())
			}
			return kern.Act{At: uint64(put(b, v)), Ld: int32(cols), Type: kind}, kern.Act{At: uint64(put(b, v)), Ld: int32(cols), Type: kind}
		}
		h, _ := b.bf16s(rows * ld)
		return kern.Act{At: uint64(put(b, h)), Ld: int32(ld), Type: kind}, kern.Act{At: uint64(put(b, h)), Ld: int32(ld), Type: kind}
	}
	half, eight, scale := put(b, make([]uint16, rows*ld)), b.alloc(rows*ld), b.alloc(4*rows)
	dst := kern.Act{At: uint64(half), Ld: int32(ld), Type: kern.BF16}
	check := func(what string) {
		e := kern.E4M3{From: uint64(half), To: uint64(b.alloc(rows * ld)), Scales: uint64(b.alloc(4 * rows)), Count: count, Ld: int32(ld)}
		b.must(b.launch(b.kernel("to_e4m3_rows", 0), rows, 1, 1, 256, 0, unsafe.Pointer(&e)))
		b.must(b.wait())
		if !slices.Equal(get[uint8](b, pointer(e.To), rows*ld), get[uint8](b, eight, rows*ld)) || !slices.Equal(get[float32](b, pointer(e.Scales), rows), get[float32](b, scale, rows)) {
			b.Errorf("%s of %d columns, type %d: E4M3 made at once differs", what, cols, kind)
		}
	}
	if kind == kern.BF16 {
		from, _ := make1()
		e := kern.E4M3{From: from.At, To: uint64(eight), Scales: uint64(scale), Count: count, Ld: int32(ld)}
		name, threads, shared := toE4M3(ld, b.target)
		b.must(b.launch(b.kernel(name, shared), rows, 1, 1, threads, shared, unsafe.Pointer(&e)))
		b.must(b.wait())
		half = pointer(from.At)
		check("bf16")
		half = pointer(dst.At)
	}
	x, _ := make1()
	y, _ := make1()
	p := kern.Pair{Dst: dst, X: x, Y: y, Count: count, Cols: int32(cols), What: kern.PairSiLU}
	b.must(b.launch(b.kernel("pairwise", 0), rows, (cols+1023)/1024, 1, 256, 0, unsafe.Pointer(&p)))
	g := kern.GateE4M3{Pair: p, To: uint64(eight), Scales: uint64(scale), Ld: int32(ld)}
	name, threads, shared := gateE4M3(&g, b.target)
	b.must(b.launch(b.kernel(name, shared), rows, 1, 1, threads, shared, unsafe.Pointer(&g)))
	check("a gate")

	_, w := b.bf16s(cols)
	for _, add := range []int32{0, 1} {
		x, again := make1()
		delta, _ := make1()
		n := kern.Norm{Dst: dst, X: x, Delta: delta, W: uint64(put(b, w)), Count: count, Cols: int32(cols), Add: add, Eps: 1e-5}
		b.must(b.launch(b.kernel("norm", 0), rows, 1, 1, min(256, (cols/4+31)/32*32), 0, unsafe.Pointer(&n)))
		n.X = again
		m := kern.NormE4M3{Norm: n, To: uint64(eight), Scales: uint64(scale), Ld: int32(ld)}
		b.must(b.launch(b.kernel(normE4M3(&m), 0), rows, 1, 1, 256, 0, unsafe.Pointer(&m)))
		// Sums of another number of threads may differ in the last bit: then so may
		// the bits of E4M3. The factor is 1 part in 2^23 off at most.
		if cols >= 1024 {
			check(fmt.Sprintf("a norm, add %d,", add))
		}
	}
}
