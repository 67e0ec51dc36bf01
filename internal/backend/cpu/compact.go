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
// been restored where the panel is to be.
//
// It is done behind a model that answers already: a matrix is compact from one item of
// work to the next, and both forms stay valid.

// compacted is a matrix in that form.
type compacted struct {
	level    kern.Level
	mem      []byte // the rows from a page's begin on, then what blocks have elsewhere
	rowBytes int
}

const (
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

// shared takes note of a weight that may become compact. Engines that share a backend and a file share it.
func (b *Backend) shared(w *weight) *weight {
	if !b.arith.compacts(w) {
		return w
	}
	if own := b.find(w.data); own != nil && own.cols == w.cols {
		return own
	}
	b.large = append(b.large, w)
	return w
}

// find returns the weight that may become compact and has that data, or nil.
func (b *Backend) find(data []byte) *weight {
	for _, w := range b.large {
		if len(data) == len(w.data) && &data[0] == &w.data[0] {
			return w
		}
	}
	return nil
}

// Compaction is what came of Compact.
type Compaction struct {
	Matrices, Left int   // made compact; that could be, and stay as they were
	From, To       int64 // bytes of those made compact
}

// Compact makes BF16 matrices compact, one after another, while streams may compute with them, and tells done of
// the bytes that are read no longer. It goes on while fits says of data that memory has room for it in size bytes more,
// until ctx ends. It must have returned before Close and before another Load.
func (b *Backend) Compact(ctx context.Context, fits func(data []byte, size int64) bool, done func(data []byte)) (Compaction, error) {
	var sum Compaction
	for _, w := range b.large {
		if w.compact.Load() != nil {
			continue
		}
		made, err := b.compact(ctx, w, fits)
		if err != nil {
			return sum, fmt.Errorf("tensor %q: %w", w.name, err)
		}
		if !made {
			sum.Left++
			continue
		}
		sum.Matrices++
		sum.From += int64(len(w.data))
		sum.To += w.Bytes()
		done(w.data)
	}
	return sum, nil
}

// compact makes a matrix compact, and tells whether it is.
func (b *Backend) compact(ctx context.Context, w *weight, fits func(data []byte, size int64) bool) (bool, error) {
	if ctx.Err() != nil || !fits(w.data, int64(w.rows*kern.CompactRowBytes(w.cols))) {
		return false, nil
	}
	c, err := newCompacted(ctx, b.arith.level, w)
	if c == nil {
		return false, err
	}
	w.compact.Store(c)
	return true, nil
}

// Held is what a step reads of a tensor that has been loaded.
func (b *Backend) Held(t weights.Tensor) int64 {
	if w := b.find(t.Data); w != nil {
		return w.Bytes()
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
	c := &compacted{l, mem, rowBytes}
	if !c.make(ctx, w) {
		return nil, c.free()
	}
	return c, nil
}

func (c *compacted) make(ctx context.Context, w *weight) bool {
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
		c.level.Compact(&k)
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

// cell is where the block of column col of row i begins, of rows of width columns.
func (c *compacted) cell(i, col, width int) *byte {
	return &c.mem[i*c.rowBytes+kern.CompactHeads(width)+col/kern.CompactCols*kern.CompactBytes]
}

// bf16Rows is memory for n rows of numbers in BF16, ld bytes from one to the next.
type bf16Rows struct {
	at          *byte
	n, cols, ld int
}

// restore makes BF16 of the rows and columns at a place, of rows of width columns.
func (c *compacted) restore(width int, at blockAt, to bf16Rows) {
	c.level.Restore(&kern.Compact{X: c.at(at.row), Y: to.at, Cols: int64(to.cols), From: int64(at.col), Width: int64(width),
		Rows: int64(to.n), LdX: int64(c.rowBytes), LdY: int64(to.ld)})
}

// tile decodes rows [lo, hi) into scratch.
func (c *compacted) tile(cols int, scratch []float32, lo, hi int) []float32 {
	k := c.inPlace(cols, scratch, lo, hi, 4*cols)
	c.level.Dequantize(weights.BF16, &k)
	return scratch[:(hi-lo)*cols]
}

// panel lays the panel of rows [lo, hi).
func (c *compacted) panel(cols, lo, hi int, panel []float32) {
	ld := c.level.PanelBytes(cols)
	if c.level.RoundsPrompts() {
		c.restore(cols, blockAt{lo, 0}, bf16Rows{bytesOf(panel), hi - lo, cols, ld})
		return
	}
	k := c.inPlace(cols, panel, lo, hi, ld)
	c.level.Panel(weights.BF16, &k)
}

// inPlace restores rows [lo, hi) in the second halves of where they are to be as float32, ld bytes apart: those
// grow towards the BF16 that they are made of, and never reach what has not been read.
func (c *compacted) inPlace(cols int, dst []float32, lo, hi, ld int) kern.Convert {
	bf16 := bf16Rows{bytesOf(dst[cols/2:]), hi - lo, cols, ld}
	c.restore(cols, blockAt{lo, 0}, bf16)
	return kern.Convert{X: bf16.at, Y: bytesOf(dst), Cols: int64(cols), Rows: int64(bf16.n), LdX: int64(ld), LdY: int64(ld)}
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
