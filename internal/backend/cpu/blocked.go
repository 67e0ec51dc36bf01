package cpu

import (
	"weir/internal/backend/cpu/kern"
)

// Prefill at a level whose products are blocked (kern.Level.Blocked).
//
// Three things want to be near: a panel of 32 weights, decoded for some columns, in
// the first-level cache; those columns of all rows of x, which pass over panel after
// panel, in the second; the sums of the rows and panels of an item, in the second
// too. So an item takes the columns piece by piece, and for each piece its panels:
//
//	for each piece of columns          x: [blockRows][kern.BlockCols] bf16, 512 KB
//	    for each panel of the item     w: [32][kern.BlockCols] bf16, 32 KB
//	        for each two tiles of x    sums: [32][32], 4 KB of 64 KB a panel

const (
	// blockRows is how many rows of x are taken at a time.
	blockRows = 512
	// mostPanels is the most panels of an item.
	mostPanels = 4
)

// panels is how many panels an item has: more make less traffic, fewer share out
// better.
func (t *linearTask) panels(threads int) int {
	if !t.arith.level.Blocked() && t.byPanels || len(t.classes.prefill) == 0 {
		return 1
	}
	rows := 0
	for i := range t.n {
		rows += t.group[i].w.rows
	}
	n := mostPanels
	for n > 1 && rows < 16*threads*n*panelRows {
		n /= 2
	}
	return n
}

// blockFloats is the scratch memory of blocks: a panel, sums, outputs that can't go
// where they belong at once.
func (a arith) blockFloats() int {
	return a.blockPanel() + mostPanels*kern.BlockAcc(blockRows) + blockRows*panelRows
}

func (a arith) blockPanel() int { return panelRows * a.level.PanelBytes(kern.BlockCols) / 4 }

// blocks multiplies the prefill rows with rows [lo, hi) of a weight.
func (t *linearTask) blocks(p *projection, lo, hi int, scratch []float32) {
	l, cols := t.arith.level, t.x.cols
	panel := scratch[:t.arith.blockPanel()]
	acc := scratch[len(panel):]
	aside := acc[mostPanels*kern.BlockAcc(blockRows):]
	for r := 0; r < len(t.classes.prefill); r += blockRows {
		rows, adjacent := t.prefillRows(r/kern.PackRows, blockRows)
		b := kern.Block{W: bytesOf(panel), Rows: int64(len(rows)), LdW: int64(l.PanelBytes(kern.BlockCols) / 4)}
		for c := 0; c < cols; c += kern.BlockCols {
			width := min(kern.BlockCols, cols-c)
			b.X, b.LdX = bytesOf(t.packed.packed[t.packedAt(r/kern.PackRows, c, width):]), int64(kern.PackRows*l.Steps(width))
			b.Steps, b.First, b.Last = int64(l.Steps(width)), flag(c == 0), flag(c+width == cols)
			for i := lo; i < hi; i += panelRows {
				n := min(panelRows, hi-i)
				l.Panel(p.w.typ, &kern.Convert{X: p.w.cell(i, c), Y: bytesOf(panel), Cols: int64(width), Rows: int64(n), LdX: int64(p.w.rowBytes), LdY: 4 * b.LdW})
				b.Next, b.NextBytes, b.LdNext = t.nextBlock(p, lo, hi, i, c)
				b.N, b.Acc = int64(n), &acc[(i-lo)/panelRows*kern.BlockAcc(blockRows)]
				b.Out, b.LdO = &aside[0], panelRows
				if adjacent {
					b.Out, b.LdO = &p.dst.row(int(rows[0]))[i], int64(p.dst.cols)
				}
				l.Multiply(&b)
				if b.Last != 0 && !adjacent {
					for j, r := range rows {
						copy(p.dst.row(int(r))[i:i+n], aside[j*panelRows:])
					}
				}
			}
		}
	}
}

// nextBlock is where the weights lie that blocks takes after those of panel i and the
// columns from c on.
func (t *linearTask) nextBlock(p *projection, lo, hi, i, c int) (at *byte, bytes, ld int64) {
	i += panelRows
	if i >= hi {
		i, c = lo, c+kern.BlockCols
	}
	if c >= t.x.cols { // most likely this thread has the next tile, too
		i, c = hi, 0
	}
	if i+panelRows > p.w.rows {
		return nil, 0, 0
	}
	elems, size := p.w.typ.Block()
	return p.w.cell(i, c), int64(min(kern.BlockCols, t.x.cols-c) / elems * size), int64(p.w.rowBytes)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
