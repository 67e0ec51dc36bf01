package cpu

import (
	"fmt"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
)

// tileRows is how many rows of a weight are decoded at a time. Every row of
// the batch passes over the tile while it is in the cache.
const tileRows = 8

// maxGroup is the most projections of one Linear.
const maxGroup = 8

// projection is one matrix of a linearTask.
type projection struct {
	w    *weight
	bias []float32 // [rows of w], or nil
	dst  mat
	end  int // tiles of this and the ones before
}

// linearTask is matrices times the rows of x. An item is a tile of a weight.
type linearTask struct {
	arith   arith
	x       mat
	classes *classes // of the rows of x
	packed  *operands
	tile    int     // rows of a tile
	items   []share // items of prompts, which are of different sizes; else none
	group   [maxGroup]projection
	n       int
	scratch [][]float32
	// How the prefill rows are multiplied: with the group's weights one or both.
	byIntegers, byPanels bool
	left                 bool // what rounding left of x is multiplied, and added to dst (finer.go)

	// What becomes of logits.
	scale, softcap float32
}

// Linear multiplies x by each matrix of the group, in one share-out.
func (s *stream) Linear(x backend.Act, group ...backend.Projection) {
	if len(group) > maxGroup {
		panic(fmt.Sprintf("cpu: Linear: %d projections in a group, at most %d", len(group), maxGroup))
	}
	t := &s.linear
	t.reset(s, s.act(x, "Linear"), s.classesOf(x))
	for _, p := range group {
		dst := s.act(p.Dst, "Linear")
		distinct("Linear", p.Dst, x)
		w := matrix(p.W, t.x.cols, "Linear")
		var bias []float32
		if p.Bias != nil {
			bias = vector(p.Bias, w.rows, "Linear")
		}
		t.add(w, bias, dst)
	}
	s.runLinear()
	for _, p := range group {
		s.finer(x, p)
	}
}

// Logits multiplies the gathered rows by the output matrix.
func (s *stream) Logits(x backend.Act, w backend.Weight, scale, softcap float32) {
	if !s.gathered(x) {
		panic("cpu: Logits: wants a gathered activation")
	}
	t := &s.linear
	t.reset(s, s.act(x, "Logits"), s.classesOf(x))
	t.scale, t.softcap = scale, softcap
	m := matrix(w, t.x.cols, "Logits")
	if m.rows != s.plan.Vocab {
		panic(fmt.Sprintf("cpu: Logits: tensor %q has %d rows, the plan a vocabulary of %d", m.name, m.rows, s.plan.Vocab))
	}
	dst := mat{s.logits, t.x.rows, m.rows}
	t.add(m, nil, dst)
	s.runLinear()
	s.result.Logits = s.result.Logits[:0]
	for i := range dst.rows {
		s.result.Logits = append(s.result.Logits, dst.row(i))
	}
}

func (s *stream) runLinear() {
	t := &s.linear
	if t.x.rows == 0 {
		return
	}
	if s.arith.fast() {
		s.pack(t)
	}
	rows := 0
	for i := range t.n {
		rows += t.group[i].w.rows
	}
	s.run(t.cut(s.pool.Threads()), rows*t.x.cols*(t.x.rows+1), t)
}

func (s *stream) classesOf(x backend.Act) *classes {
	if s.gathered(x) {
		return &s.batch.byWant
	}
	return &s.batch.byRow
}

func (t *linearTask) reset(s *stream, x mat, c *classes) {
	t.x, t.n, t.scratch, t.scale, t.softcap = x, 0, s.scratch, 1, 0
	t.arith, t.classes, t.packed = s.arith, c, &s.packed
	t.byIntegers, t.byPanels, t.left = false, false, false
}

func (t *linearTask) add(w *weight, bias []float32, dst mat) {
	if dst.rows != t.x.rows || dst.cols != w.rows {
		panic(fmt.Sprintf("cpu: Linear: tensor %q [%d, %d] takes [%d, %d] to [%d, %d]", w.name, w.rows, w.cols, t.x.rows, t.x.cols, dst.rows, dst.cols))
	}
	t.group[t.n] = projection{w: w, bias: bias, dst: dst}
	t.n++
	if t.arith.level.IntegersFor(w.typ) {
		t.byIntegers = true
	} else {
		t.byPanels = true
	}
}

// cut makes the items, and returns how many there are.
func (t *linearTask) cut(threads int) int {
	t.items = t.items[:0]
	if t.sharesPrompts() {
		t.shares(threads)
		return len(t.items)
	}
	t.tile = tileRows
	if t.arith.fast() {
		t.tile = panelRows
	}
	end := 0
	for i := range t.n {
		end += (t.group[i].w.rows + t.tile - 1) / t.tile
		t.group[i].end = end
	}
	return end
}

// share returns what an item is.
func (t *linearTask) share(item int) share {
	if len(t.items) > 0 {
		return t.items[item]
	}
	begin, i := 0, 0
	for item >= t.group[i].end {
		begin = t.group[i].end
		i++
	}
	lo := (item - begin) * t.tile
	return share{i, lo, min(lo+t.tile, t.group[i].w.rows)}
}

// Do computes one tile's outputs for all rows.
func (t *linearTask) Do(worker, item int) {
	at := t.share(item)
	p, lo, hi := &t.group[at.projection], at.lo, at.hi
	if t.arith.fast() {
		t.decode(p, lo, hi, t.scratch[worker])
		t.prefill(p, lo, hi, t.scratch[worker])
	} else {
		t.multiply(p, lo, hi, p.w.tile(t.arith, t.scratch[worker], lo, hi))
	}
	for r := range t.x.rows {
		t.finish(p.dst.row(r)[lo:hi], p.bias, lo)
	}
}

// multiply multiplies all rows with a tile [hi-lo, cols], exactly.
func (t *linearTask) multiply(p *projection, lo, hi int, tile []float32) {
	if t.arith.level == kern.Portable {
		for r := range t.x.rows {
			t.arith.dots(p.dst.row(r)[lo:hi], t.x.row(r), tile)
		}
		return
	}
	atOnce := piece(t.x.cols*(hi-lo), 1)
	for r := 0; r < t.x.rows; r += atOnce {
		t.arith.level.Dots(&kern.Dots{X: &t.x.row(r)[0], W: &tile[0], Out: &p.dst.row(r)[lo], Cols: int64(t.x.cols),
			Rows: int64(min(atOnce, t.x.rows-r)), N: int64(hi - lo), LdX: int64(t.x.cols), LdO: int64(p.dst.cols)})
	}
}

// finish adds the bias, or does what is done to logits.
func (t *linearTask) finish(out, bias []float32, lo int) {
	if bias != nil {
		add(out, bias[lo:lo+len(out)])
	}
	if t.scale != 1 {
		scale(out, t.scale)
	}
	if t.softcap > 0 {
		for i, v := range out {
			out[i] = softcap(v, t.softcap)
		}
	}
}
