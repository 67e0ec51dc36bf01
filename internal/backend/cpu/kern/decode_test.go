package kern

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"weir/internal/weights"
)

// blocks returns rows of a type at an odd address: random bits, with scales of a
// sane size, some of them negative and some zero.
func blocks(rng *rand.Rand, typ weights.Type, rows, cols int) []byte {
	size, err := typ.RowBytes(cols)
	if err != nil {
		panic(err)
	}
	data := make([]byte, rows*size+1)[1:]
	switch typ {
	case weights.F32, weights.F16, weights.BF16:
		row := make([]float32, cols)
		for r := range rows {
			for i := range row {
				row[i] = float32(rng.NormFloat64())
			}
			weights.QuantizeRow(typ, data[r*size:(r+1)*size], row)
		}
		return data
	}
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	_, bytes := typ.Block()
	for b := 0; b < len(data); b += bytes {
		for _, at := range scaleOffsets(typ) {
			d := float32(rng.NormFloat64()) * 0.01
			if rng.IntN(20) == 0 {
				d = 0
			}
			binary.LittleEndian.PutUint16(data[b+at:], weights.F32ToF16(d))
		}
		if rng.IntN(20) == 0 { // a block of extremes
			fill := byte(rng.IntN(2) * 255)
			if typ == weights.Q8_0 {
				fill = 0x80
			}
			at := scaleOffsets(typ)
			for i := range bytes {
				if i != at[0] && i != at[0]+1 && i != at[len(at)-1] && i != at[len(at)-1]+1 {
					data[b+i] = fill
				}
			}
		}
	}
	return data
}

// scaleOffsets is where a block has its f16 scales.
func scaleOffsets(typ weights.Type) []int {
	switch typ {
	case weights.Q4_1, weights.Q5_1, weights.Q4_K, weights.Q5_K:
		return []int{0, 2}
	case weights.Q2_K:
		return []int{80, 82}
	case weights.Q3_K:
		return []int{108}
	case weights.Q6_K:
		return []int{208}
	}
	return []int{0}
}

func isFloat(t weights.Type) bool { return t == weights.F32 || t == weights.F16 || t == weights.BF16 }

// operand is rows of X as Decode wants them, and the numbers that they stand for.
type operand struct {
	data  []byte
	ld    int
	exact [][]float64
}

// quantized is quantisation in plain Go: values, not layout.
func quantized(x []float32) []float64 {
	out := make([]float64, len(x))
	for b := 0; b < len(x); b += 32 {
		var most float32
		bad := false
		for _, v := range x[b : b+32] {
			most = max(most, float32(math.Abs(float64(v))))
			bad = bad || v-v != 0
		}
		d, inverse := most/127, 127/most
		for i, v := range x[b : b+32] {
			switch {
			case bad:
				out[b+i] = math.NaN()
			case most >= 0x1p-118:
				out[b+i] = float64(d) * math.RoundToEven(float64(v*inverse))
			}
		}
	}
	return out
}

func newOperand(l Level, t weights.Type, x []float32, rows, cols int) operand {
	if isFloat(t) {
		o := operand{data: unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x)), ld: 4 * cols}
		for r := range rows {
			row := make([]float64, cols)
			for i := range row {
				row[i] = float64(x[r*cols+i])
			}
			o.exact = append(o.exact, row)
		}
		return o
	}
	const guard = 64
	o := operand{ld: QuantizedBytes(cols) + guard}
	o.data = make([]byte, rows*o.ld)
	for i := range o.data {
		o.data[i] = 0xa5
	}
	l.Quantize(&Convert{X: (*byte)(unsafe.Pointer(&x[0])), Y: &o.data[0], Cols: int64(cols), Rows: int64(rows), LdX: int64(4 * cols), LdY: int64(o.ld)})
	for r := range rows {
		for i := range guard {
			if o.data[(r+1)*o.ld-guard+i] != 0xa5 {
				panic("Quantize wrote behind a row")
			}
		}
		o.exact = append(o.exact, quantized(x[r*cols:(r+1)*cols]))
	}
	return o
}

// decodeAll runs a Decode of all rows, and fails if it writes elsewhere.
func decodeAll(t *testing.T, l Level, typ weights.Type, w []byte, o operand, rows, n, cols int) []float32 {
	t.Helper()
	const untouched = -77
	ldo := n + 3
	out := make([]float32, rows*ldo+4)
	for i := range out {
		out[i] = untouched
	}
	l.Decode(typ, &Decode{W: &w[0], X: &o.data[0], Out: &out[0], Cols: int64(cols), Rows: int64(rows), N: int64(n),
		LdW: int64(len(w) / n), LdX: int64(o.ld), LdO: int64(ldo)})
	var got []float32
	for i, v := range out {
		if i/ldo < rows && i%ldo < n {
			got = append(got, v)
		} else if v != untouched {
			t.Fatalf("out[%d] was written", i)
		}
	}
	return got
}

// partsOf is how large what a row's numbers are made of may be. With minimums they are
// differences, which may be next to nothing where one column has all the weight: a block of 16
// has a number that is not, since its numbers differ.
func partsOf(typ weights.Type, row []float32) []float64 {
	parts := make([]float64, len(row))
	for c := range row {
		parts[c] = math.Abs(float64(row[c]))
		switch typ {
		case weights.Q4_1, weights.Q5_1, weights.Q2_K, weights.Q4_K, weights.Q5_K:
			for _, v := range row[c/16*16 : min(c/16*16+16, len(row))] {
				parts[c] = max(parts[c], math.Abs(float64(v)))
			}
		}
	}
	return parts
}

// checkDecode compares with float64: the products of a row are added in 16 (or
// 32) float32 sums, so a result may be off by some 2^-24 of the sum of their
// magnitudes for every term of a sum.
func checkDecode(t *testing.T, typ weights.Type, w []byte, o operand, got []float32, n, cols int) {
	t.Helper()
	row := make([]float32, cols)
	size := len(w) / n
	for i := range n {
		weights.DequantizeRow(typ, row, w[i*size:(i+1)*size])
		parts := partsOf(typ, row)
		for r, x := range o.exact {
			var want, sum float64
			for c, v := range row {
				want += float64(v) * x[c]
				sum += parts[c] * math.Abs(x[c])
			}
			v := float64(got[r*n+i])
			bound := 4*sum*float64(cols/512+8)*0x1p-24 + 1e-36
			if want != want {
				if v == v {
					t.Fatalf("row %d of x has a NaN, out[%d] = %v", r, i, v)
				}
			} else if math.Abs(v-want) > bound {
				t.Fatalf("%v: out[%d][%d] = %v, want %v: off by %.3g, bound %.3g", typ, r, i, v, want, math.Abs(v-want), bound)
			}
		}
	}
}

func eachType(t *testing.T, f func(*testing.T, Level, weights.Type)) {
	eachLevel(t, func(t *testing.T, l Level) {
		for _, typ := range weights.Types() {
			t.Run(typ.String(), func(t *testing.T) { f(t, l, typ) })
		}
	})
}

func TestDecode(t *testing.T) {
	eachType(t, func(t *testing.T, l Level, typ weights.Type) {
		rng := newRand(t)
		elems, _ := typ.Block()
		for range 30 {
			rows, n, cols := 1+rng.IntN(DecodeRows), 1+rng.IntN(5), elems*(1+rng.IntN(max(4, 1500/elems)))
			w, x := blocks(rng, typ, n, cols), random(rng, rows*cols, false)
			if rng.IntN(3) == 0 {
				clear(x[:min(len(x), 64)])
			}
			if !isFloat(typ) && rng.IntN(3) == 0 {
				x[rng.IntN(len(x))] = []float32{float32(math.NaN()), float32(math.Inf(1)), 1e30, 1e-45}[rng.IntN(4)]
			}
			o := newOperand(l, typ, x, rows, cols)
			got := decodeAll(t, l, typ, w, o, rows, n, cols)
			checkDecode(t, typ, w, o, got, n, cols)
		}
	})
}

// TestDecodeLargestSums: where sums are narrow they hold the largest there are, every weight's and
// every product's.
func TestDecodeLargestSums(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		for _, typ := range weights.Types() {
			if !isFloat(typ) {
				t.Run(typ.String(), func(t *testing.T) { testLargestSums(t, l, typ) })
			}
		}
	})
}

func testLargestSums(t *testing.T, l Level, typ weights.Type) {
	const rows, n, cols = 2, 3, 1024
	_, bytes := typ.Block()
	for _, fill := range []byte{0, 0x7f, 0x80, 0xff} {
		for _, sign := range []float32{-1, 1} {
			w, x := blocks(newRand(t), typ, n, cols), make([]float32, rows*cols)
			for i := range x {
				x[i] = sign
			}
			for b := 0; b < len(w); b += bytes {
				for i := range bytes {
					w[b+i] = fill
				}
				for _, at := range scaleOffsets(typ) {
					binary.LittleEndian.PutUint16(w[b+at:], weights.F32ToF16(0.01))
				}
			}
			o := newOperand(l, typ, x, rows, cols)
			checkDecode(t, typ, w, o, decodeAll(t, l, typ, w, o, rows, n, cols), n, cols)
		}
	}
}

// TestDecodeIsTheSameHoweverSplit: neither the rows of a call, nor the level,
// change a bit.
func TestDecodeIsTheSameHoweverSplit(t *testing.T) {
	eachType(t, func(t *testing.T, l Level, typ weights.Type) {
		rng := newRand(t)
		elems, _ := typ.Block()
		for range 10 {
			const n = 5
			rows, cols := 1+rng.IntN(DecodeRows), elems*(1+rng.IntN(max(4, 1500/elems)))
			w, x := blocks(rng, typ, n, cols), random(rng, rows*cols, false)
			o := newOperand(l, typ, x, rows, cols)
			want := decodeAll(t, l, typ, w, o, rows, n, cols)
			size := len(w) / n
			for r := range rows {
				one := operand{data: o.data[r*o.ld:], ld: o.ld}
				for i := range n {
					got := decodeAll(t, l, typ, w[i*size:(i+1)*size], one, 1, 1, cols)
					if !sameBits(got[0], want[r*n+i]) {
						t.Fatalf("out[%d][%d] = %v alone, %v with others", r, i, got[0], want[r*n+i])
					}
				}
			}
			got := decodeAll(t, lowest(), typ, w, newOperand(lowest(), typ, x, rows, cols), rows, n, cols)
			for i := range got {
				if !sameBits(got[i], want[i]) {
					t.Fatalf("out[%d] = %v at %v, %v at %v", i, got[i], lowest(), want[i], l)
				}
			}
		}
	})
}

// TestDecodeReadsItsRowsAlone: the scales of a row, however bad, change no other row,
// also where a row's end is read together with what follows it.
func TestDecodeReadsItsRowsAlone(t *testing.T) {
	eachType(t, func(t *testing.T, l Level, typ weights.Type) {
		if isFloat(typ) {
			return
		}
		rng := newRand(t)
		elems, bytes := typ.Block()
		for range 10 {
			const n = 5
			rows, cols := 1+rng.IntN(DecodeRows), elems*(1+rng.IntN(max(4, 1500/elems)))
			w, x := blocks(rng, typ, n, cols), random(rng, rows*cols, false)
			o := newOperand(l, typ, x, rows, cols)
			want := decodeAll(t, l, typ, w, o, rows, n, cols)
			bad, size := rng.IntN(n), len(w)/n
			for b := bad * size; b < (bad+1)*size; b += bytes {
				for _, at := range scaleOffsets(typ) {
					binary.LittleEndian.PutUint16(w[b+at:], []uint16{0x7c00, 0xfc00, 0x7e00}[rng.IntN(3)]) // infinities, NaN
				}
			}
			got := decodeAll(t, l, typ, w, o, rows, n, cols)
			for i := range got {
				if i%n != bad && !sameBits(got[i], want[i]) {
					t.Fatalf("out[%d][%d] = %v, %v beside row %d's bad scales", i/n, i%n, want[i], got[i], bad)
				}
			}
		}
	})
}

func TestQuantizeIsTheSameAtAllLevels(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 50 {
			rows, cols := 1+rng.IntN(3), 32*(1+rng.IntN(40))
			x := random(rng, rows*cols, rng.IntN(2) == 0)
			a, b := newOperand(l, weights.Q8_0, x, rows, cols), newOperand(lowest(), weights.Q8_0, x, rows, cols)
			if string(a.data) != string(b.data) {
				t.Fatal("levels differ")
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	const n, cols = 1024, 2048 // from the cache: the kernels' own speed
	rng := rand.New(rand.NewPCG(1, 2))
	for _, l := range Levels()[1:] {
		for _, typ := range weights.Types() {
			w := blocks(rng, typ, 64, cols)
			for _, rows := range []int{1, 2, 4, 16} {
				o := newOperand(l, typ, random(rng, rows*cols, false), rows, cols)
				out := make([]float32, rows*n)
				b.Run(fmt.Sprintf("%v/%v/rows=%d", l, typ, rows), func(b *testing.B) {
					b.SetBytes(int64(len(w)))
					for b.Loop() {
						l.Decode(typ, &Decode{W: &w[0], X: &o.data[0], Out: &out[0], Cols: cols, Rows: int64(rows), N: 64,
							LdW: int64(len(w) / 64), LdX: int64(o.ld), LdO: n})
					}
				})
			}
		}
	}
}
