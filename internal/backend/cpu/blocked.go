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
	// mostPanels is the most panels of an item, whose columns of x come from the second-level
	// cache for all panels but the first. From eight on no more is gained by it; their sums
	// take as much of that cache as x does.
	mostPanels = 8
)

// share is an item of prompts: rows [lo, hi) of a projection.
type share struct{ projection, lo, hi int }

// shares cuts the group for prompts. Many panels make an item less work, and few are shared
// out better: so items shrink towards the end.
func (t *linearTask) shares(threads int) {
	left := 0
	for i := range t.n {
		left += panelsOf(t.group[i].w.rows)
	}
	t.items = t.items[:0]
	for i := range t.n {
		rows := t.group[i].w.rows
		for lo := 0; lo < rows; {
			n := max(1, min(mostPanels, left/(2*threads)))
			hi := min(lo+n*panelRows, rows)
			t.items = append(t.items, share{i, lo, hi})
			left -= panelsOf(hi - lo)
			lo = hi
		}
	}
}

// panelsOf is how many panels some rows of weights are.
func panelsOf(rows int) int { return (rows + panelRows - 1) / panelRows }

// sharesPrompts tells whether items shrink: prompts are multiplied by panels that share x.
func (t *linearTask) sharesPrompts() bool {
	return t.arith.fast() && len(t.classes.prefill) > 0 && (t.arith.level.Blocked() || !t.byPanels)
}

// blockFloats is the scratch memory of blocks: two panels, sums, outputs that can't go
// where they belong at once.
func (a arith) blockFloats() int {
	return 2*a.blockPanel() + mostPanels*kern.BlockAcc(blockRows) + blockRows*panelRows
}

func (a arith) blockPanel() int { return panelRows * a.level.PanelBytes(kern.BlockCols) / 4 }

// blocks multiplies the prefill rows with rows [lo, hi) of a weight. While a panel is
// multiplied, the one that follows it is laid.
func (t *linearTask) blocks(p *projection, lo, hi int, scratch []float32) {
	size := t.arith.blockPanel()
	panels := [2][]float32{scratch[:size], scratch[size : 2*size]}
	acc := scratch[2*size:]
	aside := acc[mostPanels*kern.BlockAcc(blockRows):]
	for r := 0; r < len(t.classes.prefill); r += blockRows {
		rows, adjacent := t.prefillRows(r/kern.PackRows, blockRows)
		at, laid, direct := blockAt{lo, 0}, 0, adjacent && !t.left
		t.layPanel(p, at, hi, panels[laid])
		for more := true; more; laid ^= 1 {
			b := t.block(p, at, hi, r, len(rows))
			b.W, b.Acc = bytesOf(panels[laid]), &acc[(at.row-lo)/panelRows*kern.BlockAcc(blockRows)]
			b.Out, b.LdO = &aside[0], panelRows
			if direct {
				b.Out, b.LdO = &p.dst.row(int(rows[0]))[at.row], int64(p.dst.cols)
			}
			next := t.following(at, lo, hi)
			more = next.col < t.x.cols
			t.multiplyBlock(p, &b, next, lo, hi, panels[laid^1])
			if b.Last != 0 && !direct {
				for j, r := range rows {
					t.put(p.dst.row(int(r))[at.row:at.row+int(b.N)], aside[j*panelRows:])
				}
			}
			at = next
		}
	}
}

// blockAt is where the weights of a block begin.
type blockAt struct{ row, col int }

// following is the block after one, of those of rows [lo, hi); behind the last columns there
// is none.
func (t *linearTask) following(at blockAt, lo, hi int) blockAt {
	if at.row += panelRows; at.row >= hi {
		at = blockAt{lo, at.col + kern.BlockCols}
	}
	return at
}

// block is the product of some rows, from r on, with the weights at a place.
func (t *linearTask) block(p *projection, at blockAt, hi, r, rows int) kern.Block {
	l, width := t.arith.level, min(kern.BlockCols, t.x.cols-at.col)
	return kern.Block{X: bytesOf(t.packed.packed[t.packedAt(r/kern.PackRows, at.col, width):]), LdX: int64(kern.PackRows * l.Steps(width)),
		Rows: int64(rows), N: int64(min(panelRows, hi-at.row)), LdW: int64(l.PanelBytes(kern.BlockCols) / 4),
		Steps: int64(l.Steps(width)), First: flag(at.col == 0), Last: flag(at.col+width == t.x.cols)}
}

// layPanel lays the weights at a place.
func (t *linearTask) layPanel(p *projection, at blockAt, hi int, panel []float32) {
	l := t.arith.level
	if c := p.w.compact.Load(); c != nil {
		c.restore(t.x.cols, at, bf16Rows{bytesOf(panel), min(panelRows, hi-at.row), min(kern.BlockCols, t.x.cols-at.col), l.PanelBytes(kern.BlockCols)})
		return
	}
	l.Panel(p.w.typ, &kern.Convert{X: p.w.cell(at.row, at.col), Y: bytesOf(panel), Cols: int64(min(kern.BlockCols, t.x.cols-at.col)),
		Rows: int64(min(panelRows, hi-at.row)), LdX: int64(p.w.rowBytes), LdY: int64(l.PanelBytes(kern.BlockCols))})
}

// multiplyBlock multiplies, and lays what comes next, if something does.
func (t *linearTask) multiplyBlock(p *projection, b *kern.Block, next blockAt, lo, hi int, panel []float32) {
	l := t.arith.level
	if next.col >= t.x.cols {
		t.expect(p, b, blockAt{hi, 0}) // most likely this thread has the next item, too
		l.Multiply(b)
		return
	}
	t.expect(p, b, t.following(next, lo, hi))
	if width := min(kern.BlockCols, t.x.cols-next.col); width%32 == 0 && p.w.compact.Load() == nil {
		b.Raw, b.LdRaw, b.Lay, b.LdLay = p.w.cell(next.row, next.col), int64(p.w.rowBytes), bytesOf(panel), int64(l.PanelBytes(kern.BlockCols))
		b.RawRows, b.RawCols = int64(min(panelRows, hi-next.row)), int64(width)
		l.MultiplyLaying(p.w.typ, b)
		return
	}
	l.Multiply(b)
	t.layPanel(p, next, hi, panel)
}

// expect has b ask memory for the weights at a place, if there are any.
func (t *linearTask) expect(p *projection, b *kern.Block, at blockAt) {
	if at.col >= t.x.cols || at.row+panelRows > p.w.rows {
		return
	}
	if c := p.w.compact.Load(); c != nil {
		b.Next, b.LdNext = c.cell(at.row, at.col, t.x.cols), int64(c.rowBytes)
		b.NextBytes = int64(min(kern.BlockCols, t.x.cols-at.col) / kern.CompactCols * kern.CompactBytes)
		return
	}
	elems, size := p.w.typ.Block()
	b.Next, b.LdNext = p.w.cell(at.row, at.col), int64(p.w.rowBytes)
	b.NextBytes = int64(min(kern.BlockCols, t.x.cols-at.col) / elems * size)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
