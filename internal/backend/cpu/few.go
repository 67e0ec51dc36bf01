package cpu

import (
	"slices"

	"weir/internal/backend/cpu/kern"
)

// Decode rows at a level that takes them faster by spans that share a panel than each span by
// itself (kern.DecodeTurned), with the same bits (kern.Level.MultiplyFew). They are packed as a prompt's rows are, behind those, and
// weights are laid in the same panels; but each piece of a panel meets the rows at once, and
// is read in the order of the columns.

// fewSpans is how many spans of rows meet a panel that is laid once.
const fewSpans = 4

// fewSums is how many sums a span and a panel have.
func fewSums(l kern.Level) int { return kern.DecodeRows * 16 * l.IntegerWeights() }

// few tells whether a span's rows meet quantised weights by kern.MultiplyFew.
func (t *linearTask) few(sp span) bool {
	return t.byShared && int(sp.end-sp.begin) >= t.arith.level.FewRows()
}

// shares tells whether several spans have the rows to share panels.
func (t *linearTask) shares() bool {
	least, spans := t.arith.level.FewRows(), 0
	for _, sp := range t.classes.decode {
		if int(sp.end-sp.begin) >= least {
			spans++
		}
	}
	return least > 0 && spans > 1
}

// fewAt is where columns [c, c+width), a piece, of row i of a span lie.
func (t *linearTask) fewAt(sp span, i, c, width int) *byte {
	l, before := t.arith.level, len(t.classes.prefill)
	for _, other := range t.classes.decode {
		if other.begin < sp.begin {
			before += int(other.end - other.begin)
		}
	}
	at := before*l.IntegerBytes(t.x.cols) + int(sp.end-sp.begin)*l.IntegerBytes(c) + i*l.IntegerBytes(width)
	return bytesOf(t.packed.integers[at/4:])
}

// packFew packs row i of a span.
func (t *linearTask) packFew(sp span, i int) {
	x := t.x.row(int(sp.begin) + i)
	for c := 0; c < len(x); c += kern.IntegerCols {
		width := min(kern.IntegerCols, len(x)-c)
		t.arith.level.PackIntegers(&kern.Convert{X: bytesOf(x[c:]), Y: t.fewAt(sp, i, c, width), Cols: int64(width), Rows: 1})
	}
}

// decodeFew multiplies the spans of which few is true with rows [lo, hi) of a weight.
func (t *linearTask) decodeFew(p *projection, lo, hi int, scratch []float32) {
	n := t.arith.level.IntegerWeights()
	for spans := range slices.Chunk(t.classes.decode, fewSpans) {
		if !slices.ContainsFunc(spans, t.few) {
			continue
		}
		for i := lo; i < hi; i += n {
			t.fewPanel(p, spans, i, min(i+n, hi), scratch)
		}
	}
}

// fewPanel multiplies them with rows [lo, hi) of a weight, a panel.
func (t *linearTask) fewPanel(p *projection, spans []span, lo, hi int, scratch []float32) {
	l, cols := t.arith.level, t.x.cols
	panel := scratch[:l.IntegerPanelBytes(kern.IntegerCols)/4]
	acc := scratch[len(panel):]
	for c := 0; c < cols; c += kern.IntegerCols {
		width := min(kern.IntegerCols, cols-c)
		l.IntegerPanel(p.w.typ, &kern.Convert{X: p.w.cell(lo, c), Y: bytesOf(panel), Cols: int64(width), Rows: int64(hi - lo),
			LdX: int64(p.w.rowBytes)})
		next, bytes := p.w.next(lo, hi, c)
		for i, sp := range spans {
			if !t.few(sp) {
				continue
			}
			l.MultiplyFew(p.w.typ, &kern.Integers{X: t.fewAt(sp, 0, c, width), W: bytesOf(panel), Acc: &acc[i*fewSums(l)],
				Out: &p.dst.row(int(sp.begin))[lo], LdO: int64(p.dst.cols), Rows: int64(sp.end - sp.begin), N: int64(hi - lo),
				Blocks: int64(width / 32), LdX: int64(l.IntegerBytes(width)), First: flag(c == 0), Last: flag(c+width == cols),
				Next: next, NextBytes: bytes, LdNext: int64(p.w.rowBytes)})
			next, bytes = nil, 0 // once is enough
		}
	}
}

// next is where what is laid after columns from c on of rows [lo, hi) lies, and the bytes
// of a row of it: the next columns, or the next rows'.
func (w *weight) next(lo, hi, c int) (at *byte, bytes int64) {
	elems, size := w.typ.Block()
	c += kern.IntegerCols
	if c >= w.cols {
		lo, c = hi, 0
	}
	if lo >= w.rows {
		return nil, 0
	}
	return w.cell(lo, c), int64(min(kern.IntegerCols, w.cols-c) / elems * size)
}
