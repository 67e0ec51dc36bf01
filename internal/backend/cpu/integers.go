package cpu

import (
	"weir/internal/backend/cpu/kern"
)

// Prefill at a level that multiplies prompts in integers (kern.Level.IntegersFor).
//
// The rows of x are quantised once for all weights of a group. An item is panelRows
// weights; it takes the columns piece by piece, and for each piece its panels of
// IntegerWeights, which stay in the first-level cache while all rows of x pass, from
// the second. The sums of the rows and panels of an item wait in the second, too:
//
//	for each piece of columns            x: [integerRows][kern.IntegerCols], 1.5 to 2.5 bytes each
//	    for each panel of the item       w: [16 or 32][kern.IntegerCols], up to 24 KB
//	        for each six rows            sums: [6][16] or [6][32]

// integerRows is how many rows of x are taken at a time: of a piece of 512 columns and
// one panel, well below half a millisecond. A panel is laid once for them.
const integerRows = 512

// integers tells whether some prompts are multiplied in integers.
func (a arith) integers() bool { return a.fast() && a.level.IntegerWeights() > 0 }

// integerFloats is the scratch memory of integers: a panel, sums, outputs that can't go
// where they belong at once.
func (a arith) integerFloats() int {
	if !a.integers() {
		return 0
	}
	return a.level.IntegerPanelBytes(kern.IntegerCols)/4 + integerRows*(mostPanels*panelRows+a.level.IntegerWeights())
}

// integersAt is where columns [c, c+width), a piece, of prefill row i lie. The rows of a piece
// lie side by side: at the stride of whole rows they would share few sets of the caches.
func (t *linearTask) integersAt(i, c, width int) *byte {
	l := t.arith.level
	return bytesOf(t.packed.integers[(len(t.classes.prefill)*l.IntegerBytes(c)+i*l.IntegerBytes(width))/4:])
}

// packIntegers packs rows of prefill class, the first of which is at in their order.
func (t *linearTask) packIntegers(x []float32, at, rows int) {
	for c := 0; c < t.x.cols; c += kern.IntegerCols {
		width := min(kern.IntegerCols, t.x.cols-c)
		t.arith.level.PackIntegers(&kern.Convert{X: bytesOf(x[c:]), Y: t.integersAt(at, c, width), Cols: int64(width), Rows: int64(rows),
			LdX: 4 * int64(t.x.cols), LdY: int64(t.arith.level.IntegerBytes(width))})
	}
}

// integers multiplies the prefill rows with rows [lo, hi) of a weight.
func (t *linearTask) integers(p *projection, lo, hi int, scratch []float32) {
	l, cols := t.arith.level, t.x.cols
	for r := 0; r < len(t.classes.prefill); r += integerRows {
		rows, adjacent := t.prefillRows(r/kern.PackRows, integerRows)
		for c := 0; c < cols; c += kern.IntegerCols {
			width := min(kern.IntegerCols, cols-c)
			k := kern.Integers{X: t.integersAt(r, c, width), LdX: int64(l.IntegerBytes(width)), Rows: int64(len(rows)),
				Blocks: int64(width / 32), First: flag(c == 0), Last: flag(c+width == cols)}
			for i := lo; i < hi; i += l.IntegerWeights() {
				t.integerPanel(p, &k, rows, adjacent, c, width, i, hi, lo, scratch)
			}
		}
	}
}

// integerPanel multiplies k's rows with the weights from i on, up to hi, over the columns
// [c, c+width).
func (t *linearTask) integerPanel(p *projection, k *kern.Integers, rows []int32, adjacent bool, c, width, i, hi, lo int, scratch []float32) {
	l := t.arith.level
	most := l.IntegerWeights()
	n := min(most, hi-i)
	panel := scratch[:l.IntegerPanelBytes(kern.IntegerCols)/4]
	acc := scratch[len(panel):]
	aside := acc[integerRows*mostPanels*panelRows:]
	l.IntegerPanel(p.w.typ, &kern.Convert{X: p.w.cell(i, c), Y: bytesOf(panel), Cols: int64(width), Rows: int64(n),
		LdX: int64(p.w.rowBytes), LdY: int64(p.w.nextPanel(most, lo, hi, i, c))})
	k.W, k.N, k.Acc, k.Out, k.LdO = bytesOf(panel), int64(n), &acc[(i-lo)*integerRows], &aside[0], int64(most)
	if adjacent {
		k.Out, k.LdO = &p.dst.row(int(rows[0]))[i], int64(p.dst.cols)
	}
	l.MultiplyIntegers(p.w.typ, k)
	if k.Last != 0 && !adjacent {
		for j, r := range rows {
			copy(p.dst.row(int(r))[i:i+n], aside[j*most:])
		}
	}
}

// nextPanel is how far behind column c of row i that lies which is laid next, of rows [lo, hi)
// in panels of n: the next rows, the next columns of the first, or what follows.
func (w *weight) nextPanel(n, lo, hi, i, c int) int {
	elems, size := w.typ.Block()
	rows, piece := n*w.rowBytes, kern.IntegerCols/elems*size
	switch {
	case i+n < hi:
		return rows
	case c+kern.IntegerCols < w.cols:
		return piece - (i-lo)*w.rowBytes
	default:
		return rows - c/kern.IntegerCols*piece
	}
}
