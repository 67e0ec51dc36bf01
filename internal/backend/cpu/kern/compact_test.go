package kern

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"weir/internal/weights"
)

// compactCase is BF16 weights and the same as compact rows.
type compactCase struct {
	rows, cols int
	plain      []uint16
	made       []byte
	others     int // blocks that have upper bytes elsewhere
}

func (c *compactCase) ld() int { return CompactRowBytes(c.cols) }

// lines gives n bytes that begin at a line of the cache.
func lines(n int) []byte {
	b := make([]byte, n+63)
	return b[-uintptr(unsafe.Pointer(&b[0]))%64:][:n]
}

func newCompact(t *testing.T, l Level, rows, cols int, plain []uint16) *compactCase {
	c := &compactCase{rows: rows, cols: cols, plain: plain}
	ld, blocks := c.ld(), rows*cols/CompactCols
	c.made = lines(rows*ld + blocks*CompactCols)
	a := c.whole()
	l.Compact(&a)
	left := c.made[rows*ld:]
	if !a.Others(func() []byte { c.others++; own := left[:CompactCols]; left = left[CompactCols:]; return own }) {
		t.Fatal("not all of the others are set")
	}
	return c
}

func (c *compactCase) whole() Compact {
	return Compact{X: (*byte)(unsafe.Pointer(&c.plain[0])), Y: &c.made[0], Cols: int64(c.cols), Width: int64(c.cols),
		Rows: int64(c.rows), LdX: 2 * int64(c.cols), LdY: int64(c.ld())}
}

// compactWeights are numbers of several kinds, a kind a row: as models have them, with small ones and
// zeros among them, all zeros, and any bits at all.
func compactWeights(rng *rand.Rand, rows, cols int) []uint16 {
	w := make([]uint16, rows*cols)
	for r := range rows {
		row, kind := w[r*cols:(r+1)*cols], rng.IntN(6)
		for i := range row {
			switch {
			case kind == 0:
				row[i] = uint16(rng.Uint32())
			case kind == 1 && rng.IntN(100) == 0, kind == 2 && rng.IntN(8) == 0, kind == 3:
				row[i] = uint16(rng.IntN(2)) << 15 // zeros of both signs
			case kind == 4 && rng.IntN(300) == 0:
				row[i] = uint16(rng.Uint32())
			default:
				row[i] = weights.F32ToBF16(float32(rng.NormFloat64() * 0.02))
			}
		}
	}
	return w
}

func TestCompactKeepsEveryBit(t *testing.T) {
	rng := newRand(t)
	eachLevel(t, func(t *testing.T, l Level) {
		one, many := 0, 0
		for range 40 {
			rows, cols := 1+rng.IntN(5), CompactCols*(1+rng.IntN(20))
			c := newCompact(t, l, rows, cols, compactWeights(rng, rows, cols))
			many += c.others
			for r := range rows {
				for i := range cols / CompactCols {
					one += int(c.made[r*c.ld()+4*i+3] & 1)
				}
			}
			c.restore(t, l, 0, rows, 0, cols)
			from, r := rng.IntN(cols/CompactCols)*CompactCols, rng.IntN(rows)
			c.restore(t, l, r, 1+rng.IntN(rows-r), from, (1+rng.IntN((cols-from)/CompactCols))*CompactCols)
		}
		if one == 0 || many == 0 {
			t.Errorf("%d blocks with one other, %d with many: not all is tested", one, many)
		}
	})
}

// restore restores columns [from, from+cols) of rows [r, r+rows), and looks at what lies around them.
func (c *compactCase) restore(t *testing.T, l Level, r, rows, from, cols int) {
	t.Helper()
	ld := cols + 3
	const guard = 0x1234
	got := slices.Repeat([]uint16{guard}, rows*ld+1)
	l.Restore(&Compact{X: &c.made[r*c.ld()], Y: (*byte)(unsafe.Pointer(&got[1])), Cols: int64(cols), From: int64(from),
		Width: int64(c.cols), Rows: int64(rows), LdX: int64(c.ld()), LdY: 2 * int64(ld)})
	want := slices.Repeat([]uint16{guard}, len(got))
	for i := range rows {
		copy(want[1+i*ld:], c.plain[(r+i)*c.cols+from:][:cols])
	}
	if !slices.Equal(got, want) {
		t.Fatalf("columns [%d, %d) of rows [%d, %d) of %d differ", from, from+cols, r, r+rows, c.cols)
	}
}

// Every level makes the same bytes.
func TestCompactIsTheSameAtEveryLevel(t *testing.T) {
	rng := newRand(t)
	rows, cols := 7, 5*CompactCols
	plain := compactWeights(rng, rows, cols)
	var first []byte
	eachLevel(t, func(t *testing.T, l Level) {
		made := newCompact(t, l, rows, cols, plain).made
		if first == nil {
			first = made
		}
		if !bytes.Equal(made, first) {
			t.Errorf("differs from %v's", lowest())
		}
	})
}

func TestCompactHasNoMoreRoomForOthers(t *testing.T) {
	plain := make([]uint16, CompactCols)
	plain[0] = 0x3f80 // 1, and zeros
	eachLevel(t, func(t *testing.T, l Level) {
		c := &compactCase{rows: 1, cols: CompactCols, plain: plain, made: lines(CompactRowBytes(CompactCols))}
		a := c.whole()
		l.Compact(&a)
		if a.Others(func() []byte { return nil }) {
			t.Error("others are set where there is no memory for them")
		}
	})
}

// Compact rows have the products of the rows they were made of, bit for bit, whatever the weights, by what is fast
// on whichever maker's processors.
func TestDecodeCompactHasTheBitsOfDecode(t *testing.T) {
	own := decodeAhead
	t.Cleanup(func() { decodeAhead = own })
	for _, decodeAhead = range []ahead{{far: 6144}, {near: 3072, far: 12288}} {
		eachLevel(t, testDecodeCompact)
	}
}

func testDecodeCompact(t *testing.T, l Level) {
	rng := newRand(t)
	for range 60 {
		rows, n, cols := 1+rng.IntN(DecodeRows), 1+rng.IntN(6), CompactCols*(1+rng.IntN(40))
		if rng.IntN(3) == 0 {
			rows = 1 + rng.IntN(4)
		}
		plain := compactWeights(rng, n, cols)
		c, x := newCompact(t, l, n, cols, plain), random(rng, rows*cols, rng.IntN(3) == 0)
		want := make([]float32, rows*n)
		d := Decode{W: (*byte)(unsafe.Pointer(&plain[0])), X: (*byte)(unsafe.Pointer(&x[0])), Out: &want[0],
			Cols: int64(cols), Rows: int64(rows), N: int64(n), LdW: 2 * int64(cols), LdX: 4 * int64(cols), LdO: int64(n)}
		l.Decode(weights.BF16, &d)
		const unused = -77
		size, shift, ldo := max(CompactFloats, l.TurnedFloats()), rng.IntN(16), n+3
		scratch, got := slices.Repeat([]float32{unused}, size+16), slices.Repeat([]float32{unused}, rows*ldo+1)
		d.W, d.LdW, d.Out, d.LdO, d.Scratch = &c.made[0], int64(c.ld()), &got[0], int64(ldo), &scratch[shift]
		l.DecodeCompact(&d)
		for i, v := range scratch {
			if (i < shift || i >= shift+size) && v != unused {
				t.Fatalf("%dx%d, %d columns: scratch[%d] was written", rows, n, cols, i-shift)
			}
		}
		for i, v := range got {
			w, r, j := float32(unused), i/ldo, i%ldo
			if r < rows && j < n {
				w = want[r*n+j]
			}
			if !sameBits(w, v) {
				t.Fatalf("%dx%d, %d columns: output %d is %v, of BF16 %v", rows, n, cols, i, v, w)
			}
		}
	}
}

// BenchmarkCompact makes compact rows of 16 MiB of weights.
func BenchmarkCompact(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	rows, cols := 4096, 2048
	plain := make([]uint16, rows*cols)
	for i := range plain {
		plain[i] = weights.F32ToBF16(float32(rng.NormFloat64() * 0.02))
	}
	for _, l := range Levels()[1:] {
		b.Run(l.String(), func(b *testing.B) {
			c := &compactCase{rows: rows, cols: cols, plain: plain, made: lines(rows * CompactRowBytes(cols))}
			a := c.whole()
			b.SetBytes(int64(2 * len(plain)))
			for b.Loop() {
				l.Compact(&a)
			}
		})
	}
}

// BenchmarkDecodeCompact multiplies rows with compact weights and with BF16, and restores, from the second-level cache and
// from memory. Bytes are those of BF16.
func BenchmarkDecodeCompact(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	const cols = 2048
	for _, size := range []struct {
		name string
		n    int
	}{{"cache", 128}, {"memory", 64 << 10}} {
		plain := make([]uint16, size.n*cols)
		for i := range plain {
			plain[i] = weights.F32ToBF16(float32(rng.NormFloat64() * 0.02))
		}
		x, out := make([]float32, DecodeRows*cols), make([]float32, DecodeRows*size.n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		for _, l := range Levels()[1:] {
			c := &compactCase{rows: size.n, cols: cols, plain: plain, made: lines(size.n * CompactRowBytes(cols))}
			a, some := c.whole(), lines(size.n*cols/64)
			l.Compact(&a)
			a.Others(func() []byte { own := some[:CompactCols]; some = some[CompactCols:]; return own })
			run := func(name string, f func()) {
				b.Run(size.name+"/"+l.String()+"/"+name, func(b *testing.B) {
					b.SetBytes(int64(2 * len(plain)))
					for b.Loop() {
						f()
					}
				})
			}
			for _, rows := range []int64{1, 2, 3, 4, 8, 16} {
				d := Decode{W: (*byte)(unsafe.Pointer(&plain[0])), X: (*byte)(unsafe.Pointer(&x[0])), Out: &out[0], Cols: cols, Rows: rows,
					N: int64(size.n), LdW: 2 * cols, LdX: 4 * cols, LdO: int64(size.n), Scratch: &make([]float32, max(CompactFloats, l.TurnedFloats()))[0]}
				run(fmt.Sprint("bf16/rows=", rows), func() {
					if n := l.TurnedRows(false); n > 0 && int(rows) >= n {
						l.DecodeTurned(weights.BF16, &d)
					} else {
						l.Decode(weights.BF16, &d)
					}
				})
				k := d
				k.W, k.LdW = &c.made[0], int64(c.ld())
				run(fmt.Sprint("compact/rows=", rows), func() { l.DecodeCompact(&k) })
			}
			back := make([]uint16, 8*cols+32)
			run("restore", func() {
				for i := 0; i < size.n; i += 8 {
					l.Restore(&Compact{X: &c.made[i*c.ld()], Y: (*byte)(unsafe.Pointer(&back[0])), Cols: cols, Width: cols, Rows: 8, LdX: int64(c.ld()), LdY: 2 * cols})
				}
			})
		}
	}
}
