package cpu

import (
	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// arith says how a stream computes: with portable loops; with kernels that give
// the portable loops' bits (exact); or with fast kernels, which have two
// arithmetics, one per backend.Class.
type arith struct {
	level kern.Level
	exact bool
}

func (a arith) fast() bool { return a.level > kern.Portable && !a.exact }

// dots sets out[i] to the dot product of x and row i of tile, exactly.
func (a arith) dots(out, x, tile []float32) {
	if a.level > kern.Portable {
		a.level.Dots(&kern.Dots{X: &x[0], W: &tile[0], Out: &out[0], Cols: int64(len(x)), Rows: 1, N: int64(len(out)), LdX: int64(len(x)), LdO: int64(len(out))})
		return
	}
	for i := range out {
		out[i] = dot(x, tile[i*len(x):(i+1)*len(x)])
	}
}

// axpy adds f*x to y, exactly.
func (a arith) axpy(y, x []float32, f float32) {
	if a.level > kern.Portable {
		a.level.Axpy(&kern.Axpy{Y: &y[0], X: &x[0], N: int64(len(x)), F: f})
		return
	}
	axpy(y, x, f)
}

// norm adds delta, if it is not nil, to x, and sets dst to w * x * rms(x),
// exactly. dst may be x.
func (a arith) norm(dst, x, delta, w []float32, eps float32) {
	if a.level > kern.Portable {
		k := kern.Norm{Dst: &dst[0], X: &x[0], W: &w[0], N: int64(len(x)), Eps: eps}
		if delta != nil {
			k.Delta = &delta[0]
		}
		a.level.Norm(&k)
		return
	}
	if delta != nil {
		add(x, delta)
	}
	norm(dst, x, w, eps)
}

// gate sets dst to act(g) * up.
func (a arith) gate(dst, g, up []float32, act backend.Activation) {
	if !a.fast() {
		gate(dst, g, up, act)
		return
	}
	k := kern.Gate{Dst: &dst[0], Gate: &g[0], Up: &up[0], N: int64(len(g))}
	if act == backend.GELUTanh {
		k.GELU = 1
	}
	a.level.Gate(&k)
}

// rotate turns the pairs of every head of x, dim floats apart, exactly.
func (a arith) rotate(x []float32, dim int, r *backend.Rope, cos, sin []float32) {
	if a.level > kern.Portable && len(cos) > 0 {
		k := kern.Rotate{X: &x[0], Cos: &cos[0], Sin: &sin[0], Heads: int64(len(x) / dim), Dim: int64(dim), Half: int64(len(cos))}
		if r.Interleaved {
			k.Interleaved = 1
		}
		a.level.Rotate(&k)
		return
	}
	for i := 0; i < len(x); i += dim {
		head := x[i : i+r.Dim]
		if r.Interleaved {
			rotatePairs(head, cos, sin)
		} else {
			rotateHalves(head, cos, sin)
		}
	}
}

// A piece of work that is given to a kernel at once takes well under half a
// millisecond: nothing can interrupt it, and a garbage collection would wait.
const pieceWork = 4 << 20 // multiplications

// piece is how many items of some multiplications each make a piece: a multiple of
// unit.
func piece(work, unit int) int { return max(1, pieceWork/(work*unit)) * unit }

// panelRows is how many rows of a weight the fast kernels take at a time.
const panelRows = 32

// gemmRows is the most rows of x that meet a panel in one call.
const gemmRows = 128

// tileScratch is what Linear needs of scratch memory, in floats, where the
// widest operand has cols columns.
func (a arith) tileScratch(cols int) int {
	if !a.fast() {
		return tileRows * cols
	}
	if a.level.Blocked() {
		return max(kern.PackRows*cols, a.blockFloats(), a.level.TurnedFloats(), kern.CompactFloats, kern.PromptScratch(maxQueries, fastDim))
	}
	return max(a.panelFloats(cols)+gemmRows*panelRows, a.integerFloats(), a.level.TurnedFloats(), kern.CompactFloats)
}

func (a arith) panelFloats(cols int) int {
	return max(panelRows*a.level.PanelBytes(cols)/4, kern.PackRows*cols)
}

// operands are the rows of a Linear's x as the fast kernels want them.
type operands struct {
	quantized []float32 // decode rows, by row
	packed    []float32 // prefill rows, in the order of classes.prefill
	integers  []float32 // prefill rows once more, for weights of kern.Level.IntegersFor
}

func (o *operands) layout(a *arena, how arith, rows, cols int) {
	if !how.fast() {
		return
	}
	o.quantized = a.take(rows * kern.QuantizedBytes(cols) / 4)
	o.packed = a.take(how.level.PackedBytes(rows, cols) / 4)
	if how.integers() {
		o.integers = a.take(rows * how.level.IntegerBytes(cols) / 4)
	}
}

// pack prepares t's rows: an item is a row of decode class, or a tile of prefill rows.
func (s *stream) pack(t *linearTask) {
	p := &s.packing
	*p = packTask{linear: t}
	if t.wantsIntegers() {
		for _, sp := range t.classes.decode {
			p.decodes += int(sp.end - sp.begin)
		}
	}
	tiles := (len(t.classes.prefill) + kern.PackRows - 1) / kern.PackRows
	if n := p.decodes + tiles; n > 0 {
		s.run(n, 2*(p.decodes+tiles*kern.PackRows)*t.x.cols, p)
	}
}

// turned tells whether a span's rows meet weights by kern.DecodeTurned.
func (t *linearTask) turned(sp span, quantized bool) bool {
	n := t.arith.level.TurnedRows(quantized)
	return n > 0 && int(sp.end-sp.begin) >= n
}

// turn rearranges a quantised row for it.
func (t *linearTask) turn(r int) {
	n := kern.QuantizedBytes(t.x.cols)
	t.arith.level.Turn(&kern.Convert{Y: bytesOf(t.packed.quantized[r*n/4:]), Cols: int64(t.x.cols), Rows: 1, LdY: int64(n)})
}

// wantsIntegers tells whether a weight of the group is multiplied with quantised
// rows.
func (t *linearTask) wantsIntegers() bool {
	for i := range t.n {
		if !isFloat(t.group[i].w.typ) {
			return true
		}
	}
	return false
}

func isFloat(t weights.Type) bool {
	return t == weights.F32 || t == weights.F16 || t == weights.BF16
}

type packTask struct {
	linear  *linearTask
	decodes int // items that are decode rows
}

func (p *packTask) Do(worker, item int) {
	t := p.linear
	if item >= p.decodes {
		t.packTile(item-p.decodes, t.scratch[worker])
		return
	}
	for _, sp := range t.classes.decode {
		if n := int(sp.end - sp.begin); item >= n {
			item -= n
			continue
		}
		t.quantize(int(sp.begin) + item)
		if t.turned(sp, true) {
			t.turn(int(sp.begin) + item)
		}
		return
	}
}

// quantize packs a row.
func (t *linearTask) quantize(r int) {
	n := kern.QuantizedBytes(t.x.cols)
	t.arith.level.Quantize(&kern.Convert{X: bytesOf(t.x.row(r)), Y: bytesOf(t.packed.quantized[r*n/4:]),
		Cols: int64(t.x.cols), Rows: 1, LdX: 4 * int64(t.x.cols), LdY: int64(n)})
}

// prefillTile returns the rows [begin, end) of the tiles of prefill rows from i
// on, at most n, and whether they lie side by side in x.
func (t *linearTask) prefillRows(i, n int) (rows []int32, adjacent bool) {
	begin := i * kern.PackRows
	rows = t.classes.prefill[begin:min(begin+n, len(t.classes.prefill))]
	return rows, int(rows[len(rows)-1]-rows[0]) == len(rows)-1
}

func (t *linearTask) packTile(i int, scratch []float32) {
	rows, adjacent := t.prefillRows(i, kern.PackRows)
	x := t.x.row(int(rows[0]))
	if !adjacent || t.left {
		for j, r := range rows {
			t.take(scratch[j*t.x.cols:(j+1)*t.x.cols], t.x.row(int(r)))
		}
		x = scratch
	}
	l, cols := t.arith.level, t.x.cols
	if t.byIntegers {
		t.packIntegers(x, i*kern.PackRows, len(rows))
	}
	if !t.byPanels {
		return
	}
	width := cols
	if l.Blocked() {
		width = kern.BlockCols
	}
	for c := 0; c < cols; c += width {
		n := min(width, cols-c)
		l.Pack(&kern.Convert{X: bytesOf(x[c:]), Y: bytesOf(t.packed.packed[t.packedAt(i, c, n):]), Cols: int64(n), Rows: int64(len(rows)), LdX: 4 * int64(cols)})
	}
}

// packedAt is where columns [c, c+n) of tile i lie: columns that are multiplied
// together lie together, of all tiles.
func (t *linearTask) packedAt(i, c, n int) int {
	l, tiles := t.arith.level, (len(t.classes.prefill)+kern.PackRows-1)/kern.PackRows
	return kern.PackRows * (tiles*l.Steps(c) + i*l.Steps(n))
}

// decode multiplies the decode rows with rows [lo, hi) of a weight.
func (t *linearTask) decode(p *projection, lo, hi int, scratch []float32) {
	x, ld := t.x.data, 4*t.x.cols
	quantized := !isFloat(p.w.typ)
	if quantized {
		x, ld = t.packed.quantized, kern.QuantizedBytes(t.x.cols)
	}
	for _, sp := range t.classes.decode {
		r, rows := int(sp.begin), int(sp.end-sp.begin)
		d := kern.Decode{X: bytesOf(x[r*ld/4:]), Cols: int64(t.x.cols), Rows: int64(rows),
			LdW: int64(p.w.rowBytes), LdX: int64(ld), LdO: int64(p.dst.cols), Scratch: &scratch[0]}
		if c := p.w.compact.Load(); c != nil {
			t.compactPieces(c, p, &d, r, lo, hi)
		} else {
			t.pieces(p, &d, r, lo, hi, t.turned(sp, quantized))
		}
	}
}

// pieces multiplies d's rows, from r on, with the rows [lo, hi) of a weight.
func (t *linearTask) pieces(p *projection, d *kern.Decode, r, lo, hi int, turned bool) {
	l, typ := t.arith.level, p.w.typ
	atOnce := piece(int(d.Rows)*t.x.cols, 1)
	for i := lo; i < hi; i += atOnce {
		d.W, d.Out, d.N = p.w.at(i), &p.dst.row(r)[i], int64(min(atOnce, hi-i))
		if turned {
			l.DecodeTurned(typ, d)
		} else {
			l.Decode(typ, d)
		}
	}
}

// prefill multiplies the prefill rows with rows [lo, hi) of a weight.
func (t *linearTask) prefill(p *projection, lo, hi int, scratch []float32) {
	n := len(t.classes.prefill)
	if n == 0 {
		return
	}
	if t.arith.level.Blocked() {
		t.blocks(p, lo, hi, scratch)
		return
	}
	if t.arith.level.IntegersFor(p.w.typ) {
		t.integers(p, lo, hi, scratch)
		return
	}
	l, cols := t.arith.level, t.x.cols
	panel, ld := scratch, l.PanelBytes(cols)
	if c := p.w.compact.Load(); c != nil {
		c.panel(cols, lo, hi, panel)
	} else {
		l.Panel(p.w.typ, &kern.Convert{X: p.w.at(lo), Y: bytesOf(panel), Cols: int64(cols), Rows: int64(hi - lo), LdX: int64(p.w.rowBytes), LdY: int64(ld)})
	}
	aside := scratch[t.arith.panelFloats(cols):]
	tileFloats := l.PackedBytes(kern.PackRows, cols) / 4
	atOnce := min(gemmRows, piece(cols*(hi-lo), kern.PackRows))
	for r := 0; r < n; r += atOnce {
		rows, adjacent := t.prefillRows(r/kern.PackRows, atOnce)
		g := kern.Gemm{X: bytesOf(t.packed.packed[r/kern.PackRows*tileFloats:]), W: bytesOf(panel), Out: &aside[0],
			Steps: int64(l.Steps(cols)), Rows: int64(len(rows)), N: int64(hi - lo), LdW: int64(ld / 4), LdO: int64(hi - lo)}
		direct := adjacent && !t.left
		if direct {
			g.Out, g.LdO = &p.dst.row(int(rows[0]))[lo], int64(p.dst.cols)
		}
		l.Gemm(&g)
		if !direct {
			for j, r := range rows {
				t.put(p.dst.row(int(r))[lo:hi], aside[j*(hi-lo):])
			}
		}
	}
}
