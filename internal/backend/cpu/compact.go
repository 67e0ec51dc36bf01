package cpu

import (
	"context"
	"fmt"

	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// Matrices in BF16 with fewer bytes (kern.Compact).
//
// A generated token waits for its weights, so what is read in three quarters of the bytes is
// a third faster; all bits of the numbers are there, so what comes of them is the same.
// Generated tokens are multiplied with compact rows as they are. Prompts meet panels that are laid of rows that have
// been restored, in a thread's own memory, or in the panel if it is of BF16.
//
// It is done behind a model that answers already: a matrix is compact from one item of
// work to the next, and both forms stay valid.

// compacted is a matrix in that form.
type compacted struct {
	mem      []byte // the rows from a page's begin on, then what blocks have elsewhere
	rowBytes int
}

const (
	// restoredRows is how many rows are restored at a time where nothing else says so.
	restoredRows = 8
	// leastCompact is the least weights of a matrix that is worth it.
	leastCompact = 32 << 10
	// compactPiece is how many weights are made compact in a call of a kernel: some 20 µs.
	compactPiece = 128 << 10
)

// compacts tells whether a weight can be made compact, and is worth it.
func (a arith) compacts(w *weight) bool {
	return a.fast() && w.typ == weights.BF16 && !w.vector && w.rows*w.cols >= leastCompact &&
		w.cols%kern.CompactCols == 0 && kern.CompactRowBytes(w.cols) < w.rowBytes*9/10
}

// restoredFloats is the memory of a thread for rows of at most cols columns that are restored.
func (a arith) restoredFloats(cols int) int {
	if !a.fast() || a.level.PlainPanels() {
		return 0
	}
	return (restoredRows*cols + 1) / 2
}

// Compaction is what came of Compact.
type Compaction struct {
	Matrices, Left int   // made compact; that stay as they were, of those in BF16
	From, To       int64 // bytes of those made compact
}

// Compact makes BF16 matrices compact, one after another, while streams may compute with them. It goes on
// while fits says of a matrix's bytes that memory has room for them, until ctx ends. It must have returned before Close.
func (b *Backend) Compact(ctx context.Context, fits func(bytes int64) bool) (Compaction, error) {
	var sum Compaction
	for _, w := range b.large {
		if w.compact.Load() != nil {
			continue
		}
		size := int64(w.rows * kern.CompactRowBytes(w.cols))
		if ctx.Err() != nil || !fits(size) {
			sum.Left++
			continue
		}
		c, err := newCompacted(ctx, b.arith.level, w)
		if err != nil {
			return sum, fmt.Errorf("tensor %q: %w", w.name, err)
		}
		if c == nil {
			sum.Left++
			continue
		}
		sum.Matrices++
		sum.From += int64(len(w.data))
		sum.To += size
		w.compact.Store(c)
	}
	return sum, nil
}

// Held is what a step reads of a tensor that has been loaded.
func (b *Backend) Held(t weights.Tensor) int64 {
	for _, w := range b.large {
		if len(t.Data) > 0 && &w.data[0] == &t.Data[0] {
			return w.Bytes()
		}
	}
	return int64(len(t.Data))
}

// newCompacted makes w compact: nil, where it would save too little, or ctx ended.
func newCompacted(ctx context.Context, l kern.Level, w *weight) (*compacted, error) {
	rowBytes := kern.CompactRowBytes(w.cols)
	spare := 16 + w.rows*w.cols/kern.CompactCols/64 // blocks that have upper bytes elsewhere; of trained weights hardly any
	mem, err := allocate(w.rows*rowBytes + spare*kern.CompactCols)
	if err != nil {
		return nil, err
	}
	preferLargePages(mem)
	c := &compacted{mem, rowBytes}
	if !c.make(ctx, l, w) {
		return nil, c.free()
	}
	return c, nil
}

func (c *compacted) make(ctx context.Context, l kern.Level, w *weight) bool {
	spare := c.mem[w.rows*c.rowBytes:]
	take := func() []byte {
		if len(spare) < kern.CompactCols {
			return nil
		}
		own := spare[:kern.CompactCols]
		spare = spare[kern.CompactCols:]
		return own
	}
	atOnce := max(1, compactPiece/w.cols)
	for i := 0; i < w.rows; i += atOnce {
		k := kern.Compact{X: w.at(i), Y: c.at(i), Cols: int64(w.cols), Width: int64(w.cols), Rows: int64(min(atOnce, w.rows-i)),
			LdX: int64(w.rowBytes), LdY: int64(c.rowBytes)}
		l.Compact(&k)
		if ctx.Err() != nil || !k.Others(take) {
			return false
		}
	}
	return true
}

// free gives the memory back. c may be nil.
func (c *compacted) free() error {
	if c == nil {
		return nil
	}
	return release(c.mem)
}

// at is where row i begins.
func (c *compacted) at(i int) *byte { return &c.mem[i*c.rowBytes] }

// row is row i, and what lies behind it.
func (c *compacted) row(i int) []byte { return c.mem[i*c.rowBytes:] }

// cell is where the block of column col of row i begins, of rows of width columns.
func (c *compacted) cell(i, col, width int) *byte {
	return &c.mem[i*c.rowBytes+kern.CompactHeads(width)+col/kern.CompactCols*kern.CompactBytes]
}

// rows is memory for numbers in BF16, ld bytes from a row to the next.
type rows struct {
	at          *byte
	n, cols, ld int
}

// restore makes BF16 of the rows and columns at a place, of rows of width columns.
func (c *compacted) restore(l kern.Level, width int, at blockAt, to rows) {
	l.Restore(&kern.Compact{X: c.at(at.row), Y: to.at, Cols: int64(to.cols), From: int64(at.col), Width: int64(width),
		Rows: int64(to.n), LdX: int64(c.rowBytes), LdY: int64(to.ld)})
}

// tile decodes rows [lo, hi) into scratch. BF16 of a row is restored in the second half of its place
// there, from where float32 grow towards it and never reach it.
func (c *compacted) tile(a arith, w *weight, scratch []float32, lo, hi int) []float32 {
	for i := lo; i < hi; i++ {
		dst := scratch[(i-lo)*w.cols : (i-lo+1)*w.cols]
		bf16 := rows{bytesOf(dst[w.cols/2:]), 1, w.cols, 2 * w.cols}
		c.restore(a.level, w.cols, blockAt{i, 0}, bf16)
		a.level.Dequantize(w.typ, &kern.Convert{X: bf16.at, Y: bytesOf(dst), Cols: int64(w.cols), Rows: 1})
	}
	return scratch[:(hi-lo)*w.cols]
}

// panel lays the panel of rows [lo, hi).
func (c *compacted) panel(l kern.Level, cols, lo, hi int, panel, restored []float32) {
	ld := l.PanelBytes(cols)
	if l.PlainPanels() {
		c.restore(l, cols, blockAt{lo, 0}, rows{bytesOf(panel), hi - lo, cols, ld})
		return
	}
	for i := lo; i < hi; i += restoredRows {
		bf16 := rows{bytesOf(restored), min(restoredRows, hi-i), cols, 2 * cols}
		c.restore(l, cols, blockAt{i, 0}, bf16)
		l.Panel(weights.BF16, &kern.Convert{X: bf16.at, Y: bytesOf(panel[(i-lo)*ld/4:]), Cols: int64(cols), Rows: int64(bf16.n),
			LdX: int64(bf16.ld), LdY: int64(ld)})
	}
}

// compactPieces multiplies d's rows, from r on, with the rows [lo, hi) of a compact weight.
func (t *linearTask) compactPieces(c *compacted, p *projection, d *kern.Decode, r, lo, hi int) {
	d.LdW = int64(c.rowBytes)
	atOnce := piece(int(d.Rows)*t.x.cols, 1)
	for i := lo; i < hi; i += atOnce {
		d.W, d.Out, d.N = c.at(i), &p.dst.row(r)[i], int64(min(atOnce, hi-i))
		t.arith.level.DecodeCompact(d)
	}
}
