package cpu

import (
	"math"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
)

// fastDim is the widest head that fast attention takes: a block of its keys
// and maxQueries queries fit minScratch.
const fastDim = 256

// fast attends a span's rows with the query heads of one KV head, by kern.Attend:
// the definition above, with its own order of sums within a block.
func (t *attendTask) fast(sp span, kvHead, worker int) {
	scratch := t.scratch[worker]
	if t.promptKernel(sp) && t.batch.tree[sp.begin] != nil && sp.end-sp.begin > 1 {
		// Its rows see different cells, and the kernel wants all queries in every block.
		for r := sp.begin; r < sp.end; r++ {
			t.fast(span{r, r + 1, sp.class}, kvHead, worker)
		}
		return
	}
	var queries [maxQueries]kern.Query
	n := int(sp.end-sp.begin) * t.perKV
	for begin := 0; begin < n; begin += maxQueries {
		qs := queries[:min(maxQueries, n-begin)]
		for i := range qs {
			row, head := t.rowAndHead(sp, kvHead, begin+i)
			t.startFast(&qs[i], row, head, t.output(row, head))
		}
		t.fastBlocks(sp, kvHead, begin, qs, 0, chunkOf(sp), scratch)
		if t.promptKernel(sp) { // it has divided
			continue
		}
		t.laterChunks(sp, kvHead, begin, qs, worker)
		for i := range qs {
			divide(&qs[i], t.layer.headDim)
		}
	}
}

// promptKernel tells whether a span is attended to by kern.AttendPrompt.
func (t *attendTask) promptKernel(sp span) bool {
	return sp.class == backend.Prefill && t.arith.level.HasPrompts()
}

func (t *attendTask) rowAndHead(sp span, kvHead, i int) (row, head int) {
	return int(sp.begin) + i/t.perKV, kvHead*t.perKV + i%t.perKV
}

func (t *attendTask) output(row, head int) []float32 {
	dim := t.layer.headDim
	return t.dst.row(row)[head*dim : (head+1)*dim]
}

// startFast makes q the query of a head of a row, before the first block.
func (t *attendTask) startFast(q *kern.Query, row, head int, out []float32) {
	clear(out)
	*q = kern.Query{Q: &t.q.row(row)[head*t.layer.headDim], Out: &out[0], Max: float32(math.Inf(-1))}
	if t.sinks != nil {
		q.Max, q.Sum = t.sinks[head], 1
	}
}

// fastBlocks takes queries from begin on over all blocks in [from, to) that one of
// them sees. Those of different rows go together where they find the same in every
// cell.
func (t *attendTask) fastBlocks(sp span, kvHead, begin int, qs []kern.Query, from, to int, scratch []float32) {
	firstRow, _ := t.rowAndHead(sp, kvHead, begin)
	lastRow, _ := t.rowAndHead(sp, kvHead, begin+len(qs)-1)
	first, last := math.MaxInt, 0
	for row := firstRow; row <= lastRow; row++ {
		pos := int(t.batch.pos[row])
		first, last = min(first, firstSeen(pos, t.window)), max(last, pos)
	}
	first, last = max(first, from), min(last, to-1)
	l := t.layer
	a := kern.Attend{Queries: &qs[0], Scratch: &scratch[0], N: int64(len(qs)), Dim: int64(l.headDim), Scale: t.scale, Softcap: t.softcap}
	a.K, a.V = &l.k[kvHead*l.size], &l.v[kvHead*l.size]
	a.Stride, a.Type = int64(l.heads*l.size), kernTypes[l.typ]
	var cells [posBlock]int32
	a.Cells = &cells[0]
	shared := t.batch.shared(sp)
	for base := first - first%posBlock; base <= last; base += posBlock {
		for i, n := 0, len(qs); i < len(qs); i += n {
			row, _ := t.rowAndHead(sp, kvHead, begin+i)
			end := last
			if base+posBlock > shared { // to the end of the row
				n = min(t.perKV-(begin+i)%t.perKV, len(qs)-i)
				end = min(int(t.batch.pos[row]), last)
			}
			if end < base {
				continue
			}
			a.Queries, a.N = &qs[i], int64(n)
			a.First, a.Last = flag(base <= first), flag(base+posBlock > last)
			t.fastBlock(&a, &cells, sp, begin+i, qs[i:i+n], base, max(base, first), min(base+posBlock-1, end))
		}
	}
}

// fastBlock takes queries over the positions [lo, hi] of the block at base.
func (t *attendTask) fastBlock(a *kern.Attend, cells *[posBlock]int32, sp span, begin int, qs []kern.Query, base, lo, hi int) {
	row, _ := t.rowAndHead(sp, 0, begin)
	for pos := lo; pos <= hi; pos++ {
		cells[pos-base] = int32(t.layer.place(t.cell(row, pos)))
	}
	for i := range qs {
		row, _ := t.rowAndHead(sp, 0, begin+i)
		pos := int(t.batch.pos[row])
		qs[i].Begin = int32(max(base, firstSeen(pos, t.window)) - base)
		qs[i].End = int32(min(base+posBlock, pos+1) - base)
	}
	a.Lo, a.Hi = int64(lo-base), int64(hi+1-base)
	switch {
	case t.promptKernel(sp):
		t.arith.level.AttendPrompt(a)
	case sp.class == backend.Prefill:
		t.arith.level.AttendMany(a)
	default:
		t.arith.level.Attend(a)
	}
}
