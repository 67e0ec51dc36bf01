package kern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"weir/internal/weights"
)

// floatBytes views floats as bytes.
func floatBytes(x []float32) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x)) }

func TestDequantizeHasTheBitsOfWeights(t *testing.T) {
	eachType(t, func(t *testing.T, l Level, typ weights.Type) {
		rng := newRand(t)
		elems, _ := typ.Block()
		for range 20 {
			rows, cols := 1+rng.IntN(4), elems*(1+rng.IntN(max(4, 700/elems)))
			w := blocks(rng, typ, rows, cols)
			if rng.IntN(2) == 0 { // any bits: infinities, denormals, NaNs
				for i := range w {
					w[i] = byte(rng.Uint32())
				}
			}
			const guard = 5
			size := len(w) / rows
			got := make([]float32, rows*(cols+guard))
			for i := range got {
				got[i] = -77
			}
			l.Dequantize(typ, &Convert{X: &w[0], Y: &floatBytes(got)[0], Cols: int64(cols), Rows: int64(rows), LdX: int64(size), LdY: 4 * int64(cols+guard)})
			want := make([]float32, cols)
			for r := range rows {
				weights.DequantizeRow(typ, want, w[r*size:(r+1)*size])
				for c, v := range got[r*(cols+guard) : (r+1)*(cols+guard)] {
					if c >= cols && v != -77 || c < cols && !sameBits(v, want[c]) {
						t.Fatalf("[%d][%d] of %d columns is %v", r, c, cols, v)
					}
				}
			}
		}
	})
}

// gemmCase is an operand, weights and all that Gemm needs.
type gemmCase struct {
	l             Level
	rows, n, cols int
	x             []float32
	packed, panel []byte
	typ           weights.Type
	w             []byte
	values        []float32 // of the weights
}

func newGemm(rng *rand.Rand, l Level, typ weights.Type, rows, n, cols int) *gemmCase {
	c := &gemmCase{l: l, typ: typ, rows: rows, n: n, cols: cols, x: random(rng, rows*cols, false)}
	c.packed = make([]byte, l.PackedBytes(rows, cols))
	c.pack()
	w := blocks(rng, typ, n, cols)
	c.w = w
	c.values = make([]float32, n*cols)
	weights.DequantizeRow(typ, c.values, w)
	if l.Blocked() {
		return c
	}
	c.panel = make([]byte, n*l.PanelBytes(cols))
	for i := range c.panel {
		c.panel[i] = 0xff // NaNs
	}
	l.Panel(typ, &Convert{X: &w[0], Y: &c.panel[0], Cols: int64(cols), Rows: int64(n), LdX: int64(len(w) / n), LdY: int64(l.PanelBytes(cols))})
	return c
}

func (c *gemmCase) pack() {
	c.l.Pack(&Convert{X: &floatBytes(c.x)[0], Y: &c.packed[0], Cols: int64(c.cols), Rows: int64(c.rows), LdX: 4 * int64(c.cols)})
}

// run multiplies rows [r, r+rows) with weights [i, i+n); r is a multiple of 16.
func (c *gemmCase) run(out []float32, ldo, r, rows, i, n int) {
	if c.l.Blocked() {
		c.runBlocks(out, ldo, r, rows, i, n)
		return
	}
	steps := c.l.Steps(c.cols)
	c.l.Gemm(&Gemm{X: &c.packed[r*steps*4], W: &c.panel[i*c.l.PanelBytes(c.cols)], Out: &out[0], Steps: int64(steps),
		Rows: int64(rows), N: int64(n), LdW: int64(c.l.PanelBytes(c.cols) / 4), LdO: int64(ldo)})
}

// runBlocks is run by pieces of the columns.
func (c *gemmCase) runBlocks(out []float32, ldo, r, rows, i, n int) {
	stride, ld := 16*c.l.Steps(c.cols), c.l.PanelBytes(BlockCols)
	size, _ := c.typ.RowBytes(c.cols)
	elems, bytes := c.typ.Block()
	panel := make([]byte, BlockWeights*ld)
	for j := range panel {
		panel[j] = 0xff // NaNs
	}
	acc := make([]float32, BlockAcc(rows))
	for k := 0; k < c.cols; k += BlockCols {
		width := min(BlockCols, c.cols-k)
		c.l.Panel(c.typ, &Convert{X: &c.w[i*size+k/elems*bytes], Y: &panel[0], Cols: int64(width), Rows: int64(n), LdX: int64(size), LdY: int64(ld)})
		b := Block{X: &c.packed[(r/16*stride+16*c.l.Steps(k))*4], W: &panel[0], Out: &out[0], Acc: &acc[0], Steps: int64(c.l.Steps(width)),
			Rows: int64(rows), N: int64(n), LdX: int64(stride), LdW: int64(ld / 4), LdO: int64(ldo)}
		if k == 0 {
			b.First = 1
		}
		if k+width == c.cols {
			b.Last = 1
		}
		if next := k + width; next < c.cols && min(BlockCols, c.cols-next)%32 == 0 {
			c.multiplyLaying(&b, next, i, n)
			continue
		}
		c.l.Multiply(&b)
	}
}

// multiplyLaying multiplies, and panics if what is laid meanwhile, the columns from k on of n
// weights, differs from Panel's.
func (c *gemmCase) multiplyLaying(b *Block, k, i, n int) {
	size, _ := c.typ.RowBytes(c.cols)
	elems, bytes := c.typ.Block()
	width, ld := min(BlockCols, c.cols-k), c.l.PanelBytes(BlockCols)
	got, want := make([]byte, BlockWeights*ld), make([]byte, BlockWeights*ld)
	b.Raw, b.LdRaw, b.Lay, b.LdLay = &c.w[i*size+k/elems*bytes], int64(size), &got[0], int64(ld)
	b.RawRows, b.RawCols = int64(n), int64(width)
	c.l.MultiplyLaying(c.typ, b)
	c.l.Panel(c.typ, &Convert{X: b.Raw, Y: &want[0], Cols: int64(width), Rows: int64(n), LdX: int64(size), LdY: int64(ld)})
	for at, v := range got {
		if v != want[at] {
			panic(fmt.Sprintf("MultiplyLaying: %v: byte %d of a panel of %d rows and %d columns is %#x, Panel's %#x", c.typ, at, n, width, v, want[at]))
		}
	}
}

func TestGemm(t *testing.T) {
	eachType(t, func(t *testing.T, l Level, typ weights.Type) {
		rng := newRand(t)
		elems, _ := typ.Block()
		for range 12 {
			c := newGemm(rng, l, typ, 1+rng.IntN(70), 1+rng.IntN(32), elems*(1+rng.IntN(max(3, 1100/elems))))
			ldo := c.n + 3
			out := make([]float32, c.rows*ldo)
			for i := range out {
				out[i] = -77
			}
			c.run(out, ldo, 0, c.rows, 0, c.n)
			for at, got := range out {
				r, i := at/ldo, at%ldo
				if i >= c.n {
					if got != -77 {
						t.Fatalf("%d rows of %d: out[%d] was written", c.rows, c.n, at)
					}
					continue
				}
				var want, sum float64
				for k, v := range c.values[i*c.cols : (i+1)*c.cols] {
					p := float64(v) * float64(c.x[r*c.cols+k])
					want, sum = want+p, sum+math.Abs(p)
				}
				bound := sum*float64(c.cols)*0x1p-24 + 1e-30
				if l.RoundsPrompts() { // two roundings to 8 bits
					bound += sum * 0x1.02p-7
				}
				if math.Abs(float64(got)-want) > bound {
					t.Fatalf("%d rows, %d weights, %d columns: out[%d][%d] = %v, want %v", c.rows, c.n, c.cols, r, i, got, want)
				}
			}
		}
	})
}

// TestGemmIsTheSameHoweverSplit: a row's place in the batch, its neighbours and
// the pieces that a call is cut into change no bit.
func TestGemmIsTheSameHoweverSplit(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := newRand(t)
		for range 20 {
			c := newGemm(rng, l, weights.Q4_K, 1+rng.IntN(70), 1+rng.IntN(30), 256*(1+rng.IntN(3)))
			want := make([]float32, c.rows*c.n)
			c.run(want, c.n, 0, c.rows, 0, c.n)
			r, i := rng.IntN(c.rows), rng.IntN(c.n)
			// The same row, alone and somewhere else.
			alone := *c
			alone.rows = 1 + rng.IntN(40)
			at := rng.IntN(alone.rows)
			alone.x = random(rng, alone.rows*c.cols, true)
			copy(alone.x[at*c.cols:(at+1)*c.cols], c.x[r*c.cols:(r+1)*c.cols])
			alone.packed = make([]byte, l.PackedBytes(alone.rows, c.cols))
			alone.pack()
			n := 1 + rng.IntN(c.n-i)
			got := make([]float32, alone.rows*n)
			from := at / 16 * 16
			alone.run(got[from*n:], n, from, alone.rows-from, i, n)
			for j := range n {
				if !sameBits(got[at*n+j], want[r*c.n+i+j]) {
					t.Fatalf("row %d, weight %d: %v, alone %v", r, i+j, want[r*c.n+i+j], got[at*n+j])
				}
			}
		}
	})
}

// BenchmarkGemm is a prompt of 512 against 4096 x 4096 weights of random data,
// decoding included, beside the arithmetic peak measured by turns with it.
func BenchmarkGemm(b *testing.B) {
	const rows, n, cols, repeats = 512, 1024, 4096, 9
	for _, l := range Levels()[1:] {
		for threads := 1; threads <= min(2, runtime.NumCPU()); threads++ {
			for _, typ := range []weights.Type{weights.Q8_0, weights.Q4_0, weights.Q4_K, weights.Q6_K, weights.BF16} {
				b.Run(fmt.Sprintf("%v/threads=%d/%v", l, threads, typ), func(b *testing.B) {
					g := newPrefill(l, typ, rows, n, cols)
					for b.Loop() {
						var speeds, peaks, shares []float64
						for range repeats {
							before := g.peak(threads)
							v := g.speed(threads)
							peak := (before + g.peak(threads)) / 2
							speeds, peaks, shares = append(speeds, v), append(peaks, peak), append(shares, v/peak)
						}
						b.ReportMetric(median(speeds), "GFLOP/s")
						b.ReportMetric(median(peaks), "peak-GFLOP/s")
						b.ReportMetric(median(shares), "share")
						b.ReportMetric(slices.Max(speeds)/slices.Max(peaks), "best-share")
						b.ReportMetric(0, "ns/op")
					}
				})
			}
		}
	}
}

// prefill multiplies rows with weights in pieces, as a backend does.
type prefill struct {
	*gemmCase
	typ weights.Type
	out []float32
}

func newPrefill(l Level, typ weights.Type, rows, n, cols int) *prefill {
	rng := rand.New(rand.NewPCG(1, 2))
	return &prefill{newGemm(rng, l, typ, rows, n, cols), typ, make([]float32, rows*n)}
}

// panelRows is the weight rows that are decoded at a time.
const panelRows = 32

func (p *prefill) speed(threads int) float64 {
	if p.l.Blocked() {
		return p.blockedSpeed(threads)
	}
	size, _ := p.typ.RowBytes(p.cols)
	n := len(p.w) / size
	begin := time.Now()
	share(threads, n/panelRows, func(item int, panel []byte) {
		ld := p.l.PanelBytes(p.cols)
		p.l.Panel(p.typ, &Convert{X: &p.w[item*panelRows*size], Y: &panel[0], Cols: int64(p.cols), Rows: panelRows, LdX: int64(size), LdY: int64(ld)})
		c := *p.gemmCase
		c.panel = panel
		c.run(p.out[item*panelRows:], n, 0, p.rows, 0, panelRows)
	}, panelRows*p.l.PanelBytes(p.cols))
	return 2 * float64(p.rows) * float64(n) * float64(p.cols) / time.Since(begin).Seconds() / 1e9
}

// blockedSpeed is speed in pieces of the columns, four panels at a time.
func (p *prefill) blockedSpeed(threads int) float64 {
	const item = 4 * BlockWeights
	n, ld, stride := p.n, p.l.PanelBytes(BlockCols), 16*p.l.Steps(p.cols)
	size, _ := p.typ.RowBytes(p.cols)
	elems, bytes := p.typ.Block()
	begin := time.Now()
	share(threads, n/item, func(at int, mem []byte) {
		acc := mem[BlockWeights*ld:]
		for k := 0; k < p.cols; k += BlockCols {
			b := Block{X: &p.packed[16*p.l.Steps(k)*4], W: &mem[0], Steps: int64(p.l.Steps(BlockCols)), Rows: int64(p.rows), N: BlockWeights,
				LdX: int64(stride), LdW: int64(ld / 4), LdO: int64(n)}
			if k == 0 {
				b.First = 1
			}
			if k+BlockCols == p.cols {
				b.Last = 1
			}
			for i := 0; i < item; i += BlockWeights {
				p.l.Panel(p.typ, &Convert{X: &p.w[(at*item+i)*size+k/elems*bytes], Y: &mem[0], Cols: BlockCols, Rows: BlockWeights, LdX: int64(size), LdY: int64(ld)})
				b.Out, b.Acc = &p.out[at*item+i], (*float32)(unsafe.Pointer(&acc[4*BlockAcc(p.rows)*i/BlockWeights]))
				p.l.Multiply(&b)
			}
		}
	}, BlockWeights*ld+4*4*BlockAcc(p.rows))
	return 2 * float64(p.rows) * float64(n) * float64(p.cols) / time.Since(begin).Seconds() / 1e9
}

func (p *prefill) peak(threads int) float64 {
	const each, items = 10000, 256
	begin := time.Now()
	share(threads, items, func(int, []byte) { p.l.Peak(&Probe{Data: &p.packed[0], N: each}) }, 1)
	return 2 * each * items * float64(p.l.PeakOps()) / time.Since(begin).Seconds() / 1e9
}

// share runs items on threads, each with scratch memory of its own.
func share(threads, items int, do func(item int, scratch []byte), scratch int) {
	work := make(chan int, items)
	for i := range items {
		work <- i
	}
	close(work)
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			mem := make([]byte, scratch)
			for i := range work {
				do(i, mem)
			}
		})
	}
	wg.Wait()
}
