package cpu

import (
	"fmt"
	"math"

	"weir/internal/backend"
	"weir/internal/exact"
)

// posBlock is the number of positions that attention sums up by themselves
// before they join the rest. Blocks begin at multiples of it, absolute
// positions, so that they are the same for every page size, chunk and window;
// the value is part of the arithmetic and cannot change without changing bits.
const posBlock = 64

// maxQueries is the most queries (a row and a head) that pass over a block
// together, sharing the decoding of its keys and values.
const maxQueries = 128

// attendTask is one layer's attention. An item is a span of rows and a KV head.
//
// A row's result is defined like this, whoever computes it. In each block, over
// the positions p that the row sees, in order:
//
//	s[p] = softcap(scale * dot(q, k[p])),  m = max s[p]
//	e[p] = exp(s[p] - m),  l = sum e[p],  o = sum e[p] * v[p]
//
// Blocks are joined in order to the running (M, L, O), which begin as
// (-Inf, 0, 0), or as (sink, 1, 0):
//
//	M' = max(M, m),  L' = L*exp(M-M') + l*exp(m-M'),  O' likewise
//
// and the result is O / L. Weights and values are float32, sums of weights
// float64.
type attendTask struct {
	arith    arith
	dst, q   mat
	batch    *batch
	layer    *kvLayer
	cells    []int32 // of the batch's rows
	group    int     // KV group
	perKV    int     // query heads of a KV head
	pageSize int
	window   int
	scale    float32
	softcap  float32
	sinks    []float32 // [heads], or nil
	scratch  [][]float32
	parts    [][]float32 // by thread: outputs of a later chunk
}

// Attend computes the rows' attention over the cells that they see.
func (s *stream) Attend(dst, q backend.Act, layer backend.Layer, a backend.Attention) {
	const op = "Attend"
	l := s.kv.layers[layer.Group][layer.Index]
	t := &s.attend
	*t = attendTask{
		arith: s.arith, dst: s.act(dst, op), q: s.act(q, op), batch: &s.batch, layer: l,
		cells: s.batch.cell[layer.Group], group: layer.Group, perKV: a.Heads / l.heads,
		pageSize: s.kv.spec.PageSize, window: s.kv.spec.Groups[layer.Group].Window,
		scale: a.Scale, softcap: a.Softcap, scratch: s.scratch, parts: s.parts,
	}
	same(op, t.dst, t.q)
	distinct(op, dst, q)
	if a.Heads%l.heads != 0 || t.q.cols != a.Heads*l.headDim || t.q.rows != len(s.batch.token) {
		panic(fmt.Sprintf("cpu: %s: q [%d, %d] for %d heads of %d over %d KV heads", op, t.q.rows, t.q.cols, a.Heads, l.headDim, l.heads))
	}
	if a.Sinks != nil {
		t.sinks = vector(a.Sinks, a.Heads, op)
	}
	if !s.splitAttention() {
		s.run(len(s.batch.spans)*l.heads, t.work(), t)
	}
}

// work counts the multiplications.
func (t *attendTask) work() int {
	n := 0
	for _, p := range t.batch.pos {
		n += int(p) - firstSeen(int(p), t.window) + 1
	}
	return 2 * n * t.q.cols
}

// query is one head of one row on its way over the blocks.
type query struct {
	row, head    int
	first, last  int // positions that it sees
	begin, end   int // those of them in the block at hand
	max          float32
	sum          float64
	old, new     float32   // what O and o are multiplied with when they join
	q, out       []float32 // [headDim]; out is O, in place
	scores, part []float32 // of the block: s then e [posBlock], o [headDim]
}

// Do attends a span's rows with the query heads of one KV head.
func (t *attendTask) Do(worker, item int) {
	sp := t.batch.spans[item/t.layer.heads]
	kvHead := item % t.layer.heads
	scratch := t.scratch[worker]
	dim := t.layer.headDim
	if t.arith.fast() && dim <= fastDim {
		t.fast(sp, kvHead, worker)
		return
	}
	decoded := scratch[:dim]
	scratch = scratch[dim:]

	var queries [maxQueries]query
	atOnce := min(maxQueries, len(scratch)/(posBlock+dim))
	n := int(sp.end-sp.begin) * t.perKV
	for begin := 0; begin < n; begin += atOnce {
		qs := queries[:min(atOnce, n-begin)]
		for i := range qs {
			row, head := int(sp.begin)+(begin+i)/t.perKV, kvHead*t.perKV+(begin+i)%t.perKV
			mem := scratch[i*(posBlock+dim) : (i+1)*(posBlock+dim)]
			t.start(&qs[i], row, head, mem)
		}
		t.attend(qs, t.batch.shared(sp), kvHead, decoded)
	}
}

// start makes q the query of a head of a row; mem is [posBlock+headDim].
func (t *attendTask) start(q *query, row, head int, mem []float32) {
	dim := t.layer.headDim
	pos := int(t.batch.pos[row])
	*q = query{
		row: row, head: head, first: firstSeen(pos, t.window), last: pos,
		max: float32(math.Inf(-1)),
		q:   t.q.row(row)[head*dim : (head+1)*dim], out: t.dst.row(row)[head*dim : (head+1)*dim],
		scores: mem[:posBlock], part: mem[posBlock:],
	}
	if t.sinks != nil {
		q.max, q.sum = t.sinks[head], 1
	}
	clear(q.out)
}

// attend takes the queries over all blocks that one of them sees. Those of
// different rows go together where they find the same in every cell: in blocks
// before position shared.
func (t *attendTask) attend(qs []query, shared, kvHead int, decoded []float32) {
	first, last := qs[0].first, qs[0].last
	for i := range qs {
		first, last = min(first, qs[i].first), max(last, qs[i].last)
	}
	for base := first - first%posBlock; base <= last; base += posBlock {
		for rest := qs; len(rest) > 0; {
			n := len(rest)
			if base+posBlock > shared {
				n = sameRow(rest)
			}
			t.block(rest[:n], kvHead, base, max(base, first), min(base+posBlock-1, last), decoded)
			rest = rest[n:]
		}
	}
	for i := range qs {
		l := float32(qs[i].sum)
		for j := range qs[i].out {
			qs[i].out[j] /= l
		}
	}
}

// sameRow is how many of the first queries are of one row.
func sameRow(qs []query) int {
	n := 1
	for n < len(qs) && qs[n].row == qs[0].row {
		n++
	}
	return n
}

// block takes the queries over the positions [lo, hi] of the block at base.
func (t *attendTask) block(qs []query, kvHead, base, lo, hi int, decoded []float32) {
	last := lo - 1
	for i := range qs {
		q := &qs[i]
		q.begin, q.end = max(base, q.first)-base, min(base+posBlock, q.last+1)-base
		last = max(last, q.last)
	}
	hi = min(hi, last)
	t.score(qs, kvHead, base, lo, hi, decoded)
	for i := range qs {
		qs[i].weigh()
	}
	t.mix(qs, kvHead, base, lo, hi, decoded)
	for i := range qs {
		qs[i].join()
	}
}

// cell returns where a row sees a position. Rows of a chain see it through the
// block table; a tree's row sees what is not stored yet along its path.
func (t *attendTask) cell(row, pos int) int {
	if path := t.batch.tree[row]; path != nil {
		depth := pos - int(t.batch.stored[t.batch.seq[row]])
		switch {
		case depth >= len(path):
			return int(t.cells[row])
		case depth >= 0:
			return int(t.cells[path[depth]])
		}
	}
	return t.batch.table(row, t.group).cellAt(pos, t.pageSize)
}

// score fills in s for the positions [lo, hi].
func (t *attendTask) score(qs []query, kvHead, base, lo, hi int, decoded []float32) {
	for pos := lo; pos <= hi; pos++ {
		key := t.layer.key(decoded, t.cell(qs[0].row, pos), kvHead)
		at := pos - base
		for i := range qs {
			if q := &qs[i]; at >= q.begin && at < q.end {
				t.arith.dots(q.scores[at:at+1], q.q, key)
				s := q.scores[at] * t.scale
				if t.softcap > 0 {
					s = softcap(s, t.softcap)
				}
				q.scores[at] = s
			}
		}
	}
}

// weigh turns the block's s into e and joins its max and sum to the running
// ones. It leaves in old and new the factors that join needs.
func (q *query) weigh() {
	if q.begin >= q.end { // sees nothing here
		return
	}
	scores := q.scores[q.begin:q.end]
	m := scores[0]
	for _, s := range scores[1:] {
		m = max(m, s)
	}
	var sum float64
	for i, s := range scores {
		e := float32(exact.Exp(float64(s) - float64(m)))
		scores[i] = e
		sum += float64(e)
	}
	top := max(q.max, m)
	old, new := exact.Exp(float64(q.max)-float64(top)), exact.Exp(float64(m)-float64(top))
	q.sum = float64(q.sum*old) + float64(sum*new)
	q.max, q.old, q.new = top, float32(old), float32(new)
}

// mix fills in o.
func (t *attendTask) mix(qs []query, kvHead, base, lo, hi int, decoded []float32) {
	for i := range qs {
		clear(qs[i].part)
	}
	for pos := lo; pos <= hi; pos++ {
		value := t.layer.value(decoded, t.cell(qs[0].row, pos), kvHead)
		at := pos - base
		for i := range qs {
			if q := &qs[i]; at >= q.begin && at < q.end {
				t.arith.axpy(q.part, value, q.scores[at])
			}
		}
	}
}

// join adds o to O.
func (q *query) join() {
	if q.begin >= q.end {
		return
	}
	out := q.out[:len(q.part)]
	for i, o := range q.part {
		out[i] = float32(out[i]*q.old) + float32(o*q.new)
	}
}
