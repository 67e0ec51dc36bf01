//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

type blocksCase struct {
	typ       weights.Type
	tokens, k int
	rows      []int
	bias      bool
	size      float32 // of the tokens
}

var blocksCases = []blocksCase{
	{typ: weights.Q4_K, tokens: 1, k: 256, rows: []int{16}, size: 1},
	{typ: weights.Q4_K, tokens: 2, k: 4096, rows: []int{1001, 3, 40}, bias: true, size: 30},
	{typ: weights.Q4_K, tokens: 9, k: 1792, rows: []int{777}, size: 1e-3},
	{typ: weights.Q4_K, tokens: 64, k: 4096, rows: []int{500, 200}, size: 1e6},
	{typ: weights.Q4_K, tokens: 201, k: 768, rows: []int{130}, size: 1},
	{typ: weights.Q6_K, tokens: 1, k: 14336, rows: []int{300}, bias: true, size: 1},
	{typ: weights.Q6_K, tokens: 8, k: 256, rows: []int{129, 128}, size: 3e4},
	{typ: weights.Q6_K, tokens: 17, k: 2048, rows: []int{640}, size: 1e-5},
	{typ: weights.Q6_K, tokens: 65, k: 512, rows: []int{1000}, size: 1},
	{typ: weights.Q8_0, tokens: 1, k: 32, rows: []int{17}, size: 1},
	{typ: weights.Q8_0, tokens: 3, k: 896, rows: []int{896, 128, 128}, bias: true, size: 1},
	{typ: weights.Q8_0, tokens: 16, k: 4864, rows: []int{896}, size: 100},
	{typ: weights.Q8_0, tokens: 33, k: 2080, rows: []int{5, 131}, size: 1},
	{typ: weights.Q8_0, tokens: 300, k: 1024, rows: []int{260}, size: 1},
}

// Products of GGUF's blocks are what float64 makes of the same numbers, with one part of
// the columns, as many as the engine would have, and as many as there are.
func TestBlocks(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, c := range blocksCases {
			for _, parts := range []int{1, 0, int(blockSteps(c.k))} {
				b.blocksCase(c, parts)
			}
		}
	})
}

func (b *bench) blocksCase(c blocksCase, parts int) {
	b.Helper()
	x, xf := b.bf16s(c.tokens * c.k)
	for i := range xf {
		xf[i] *= c.size * float32(1+i/c.k%3)
		x[i] = weights.F32ToBF16(xf[i])
		xf[i] = math.Float32frombits(uint32(x[i]) << 16)
	}
	ld := padded(c.k)
	from := make([]uint16, c.tokens*ld)
	for t := range c.tokens {
		copy(from[t*ld:], x[t*c.k:(t+1)*c.k])
	}
	a := b.toBlocks(int32(c.typ), uint64(put(b, from)), c.tokens, c.k)
	var matrices [][]float32
	for i, rows := range c.rows {
		raw, w := b.rawBlocks(c.typ, rows*c.k)
		a.Out[i] = b.blocksOut(c.typ, raw, rows, c.k)
		a.Out[i].Dst = uint64(poison(b, c.tokens*rows))
		if c.bias {
			a.Out[i].Bias = uint64(put(b, b.floats(rows, -1, 1)))
		}
		matrices = append(matrices, w)
	}
	for range 2 { // the second must find the counters as they were
		b.startBlocks(a, c.typ, c.tokens, parts)
		b.must(b.wait())
		for i, n := range get[uint32](b, pointer(a.Counts), countSlots) {
			if n != 0 {
				b.Fatalf("%v, parts %d: counter %d is left at %d", c, parts, i, n)
			}
		}
	}
	for i, rows := range c.rows {
		got := get[float32](b, pointer(a.Out[i].Dst), c.tokens*rows)
		if c.bias {
			bias := get[float32](b, pointer(a.Out[i].Bias), rows)
			for j := range got {
				got[j] -= bias[j%rows]
			}
		}
		b.checkProduct(fmt.Sprintf("%v of matrix %d, parts %d", c, i, parts), got, xf, matrices[i], c.tokens, rows, c.k, rows, one)
	}
}

// toBlocks brings tokens into the order of a type's blocks.
func (b *bench) toBlocks(typ int32, from uint64, tokens, k int) *kern.Blocks {
	x := kern.ToBlocks{From: from, To: uint64(b.alloc(tokens * int(blockSteps(k)) * blocksRecord)), Scales: uint64(b.alloc(4 * tokens)),
		Count: uint64(put(b, []int32{int32(tokens)})), K: int32(k), LdX: int32(padded(k)), Rows: int32(tokens), Type: typ}
	b.must(b.launch(b.kernel("to_blocks", 0), tokens, toBlocksParts(tokens, k), 1, 256, 0, unsafe.Pointer(&x)))
	return &kern.Blocks{X: x.To, XScale: x.Scales, Tokens: x.Count, Work: uint64(b.alloc(workBytes)), Counts: uint64(put(b, make([]uint32, countSlots))), K: int32(k), Rows: x.Rows}
}

// blocksOut uploads a matrix as loadBlocks does.
func (b *bench) blocksOut(typ weights.Type, raw []byte, rows, k int) kern.Out {
	at := put(b, raw)
	if typ == weights.Q4_K {
		return kern.Out{W: uint64(at), Rows: int32(rows), LdD: int32(rows), Type: kern.F32}
	}
	elems, size := typ.Block()
	n := int64(rows * k / elems)
	r := kern.Repack{From: uint64(at), To: uint64(b.alloc(int(n) * (size - 2))), Scales: uint64(put(b, make([]byte, 2*n+scalesBehind))), Blocks: n, Type: int32(typ)}
	b.must(b.launch(b.kernel("repack", 0), int(n+255)/256, 1, 1, 256, 0, unsafe.Pointer(&r)))
	return kern.Out{W: r.To, Scale: r.Scales, Rows: int32(rows), LdD: int32(rows), Type: kern.F32}
}

func (b *bench) startBlocks(a *kern.Blocks, typ weights.Type, tokens, parts int) {
	b.Helper()
	n, tiles := blocksTokens(tokens), 0
	a.N = 0
	for i := range a.Out {
		if a.Out[i].Rows > 0 {
			tiles += int(a.Out[i].Rows+127) / 128
			a.Out[i].Tiles = int32(tiles)
			a.N++
		}
	}
	tx := (tokens + n - 1) / n
	if parts == 0 {
		parts = blocksParts(tx*tiles, int(blockSteps(int(a.K))), blocksBeside(int32(typ), n)*b.processors)
	}
	shared := blocksShared(n)
	b.must(b.launch(b.kernel(blocksName(int32(typ), n), shared), tx, tiles, parts, 256, shared, unsafe.Pointer(a)))
}

// rawBlocks draws a matrix's blocks, all of their bits, and their values.
func (b *bench) rawBlocks(typ weights.Type, n int) ([]byte, []float32) {
	elems, size := typ.Block()
	raw := make([]byte, n/elems*size)
	for i := range raw {
		raw[i] = byte(b.rng.Uint32())
	}
	put16 := func(at int, v float32) { binary.LittleEndian.PutUint16(raw[at:], weights.F32ToF16(v)) }
	for at := 0; at < len(raw); at += size {
		scale := 0.01 + b.rng.Float32()/50
		switch typ {
		case weights.Q4_K:
			put16(at, scale/30)
			put16(at+2, scale/5)
		case weights.Q6_K:
			put16(at+size-2, -scale/100)
		default:
			put16(at, scale)
		}
	}
	f := make([]float32, n)
	weights.DequantizeRow(typ, f, raw)
	return raw, f
}

// Matrices brought to bf16 have the numbers that the CPU makes of them, rounded.
func TestDecodeBlocks(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			typ     weights.Type
			rows, k int
		}{{weights.Q4_K, 33, 2304}, {weights.Q6_K, 5, 256}, {weights.Q6_K, 300, 4096}, {weights.Q8_0, 7, 32}, {weights.Q8_0, 64, 2080}} {
			raw, want := b.rawBlocks(c.typ, c.rows*c.k)
			o, ld := b.blocksOut(c.typ, raw, c.rows, c.k), padded(c.k)
			to := poison(b, c.rows*ld/2)
			d := kern.Decode{M: kern.Matrix{At: o.W, Scales: o.Scale, Rows: o.Rows, Cols: int32(c.k), Type: int32(c.typ)}, To: uint64(to), Ld: int32(ld)}
			b.must(b.launch(b.kernel("decode", 0), min(c.rows, 16), 1, 1, 256, 0, unsafe.Pointer(&d)))
			b.must(b.wait())
			for i, v := range get[uint16](b, to, c.rows*ld) {
				w := 0.0
				if i%ld < c.k {
					w = float64(want[i/ld*c.k+i%ld])
				}
				if got := float64(math.Float32frombits(uint32(v) << 16)); !(math.Abs(got-w) <= math.Abs(w)/256+1e-6) {
					t.Fatalf("%v: [%d, %d] is %v, want %v", c, i/ld, i%ld, got, w)
				}
			}
		}
	})
}

// How many columns a part has and that none is left out.
func TestBlocksParts(t *testing.T) {
	for _, c := range []struct{ blocks, steps, want int }{
		{32, 56, 8}, {32, 16, 8}, {8, 16, 16}, {48, 16, 4}, {224, 16, 1}, {1002, 16, 1}, {countSlots, 16, 1}, {1, 1, 1}, {32, 3, 3},
	} {
		n := blocksParts(c.blocks, c.steps, 264)
		if n != c.want {
			t.Errorf("%d blocks of %d steps are divided into %d parts, want %d", c.blocks, c.steps, n, c.want)
		}
		if per := (c.steps + n - 1) / n; per*(n-1) >= c.steps {
			t.Errorf("%d blocks of %d steps: the last of %d parts is empty", c.blocks, c.steps, n)
		}
	}
}

// How fast a layer of Llama 3.1 8B's shape is read, by type and how many tokens there are.
func TestGPUBlocksSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		for _, typ := range []weights.Type{weights.Q4_K, weights.Q6_K, weights.Q8_0} {
			for _, tokens := range []int{1, 16, 32, 64, 128} {
				for _, c := range []struct{ rows, k int }{{4096, 4096}, {28672, 4096}, {4096, 14336}} {
					b.blocksSpeed(typ, tokens, c.rows, c.k)
				}
			}
		}
	})
}

func (b *bench) blocksSpeed(typ weights.Type, tokens, rows, k int) {
	keep := len(b.mine)
	elems, size := typ.Block()
	bytes := rows * k / elems * size
	raw, _ := b.rawBlocks(typ, 1<<20)
	copies := max(2, 256<<20/bytes) // more than the L2 cache holds
	x, _ := b.bf16s(tokens * k)
	a := make([]*kern.Blocks, copies)
	for i := range a {
		if i == 0 {
			a[0] = b.toBlocks(int32(typ), uint64(put(b, x)), tokens, k)
		} else {
			one := *a[0]
			a[i] = &one
		}
		all := make([]byte, 0, bytes)
		for len(all) < bytes {
			all = append(all, raw[:min(len(raw), bytes-len(all))]...)
		}
		a[i].Out[0] = b.blocksOut(typ, all, rows, k)
		a[i].Out[0].Dst = uint64(b.alloc(4 * tokens * rows))
	}
	ms := b.time(40, func(i int) { b.startBlocks(a[i%copies], typ, tokens, 0) })
	fmt.Printf("%v %v, %d tokens, %d x %d: %.1f us, %.0f GB/s, %.0f TFLOP/s\n", b.target, typ, tokens, rows, k, ms*1e3, float64(bytes)/ms/1e6, 2*float64(tokens)*float64(rows)*float64(k)/ms/1e9)
	b.freeTo(keep)
}
