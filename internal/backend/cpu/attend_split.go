package cpu

import (
	"math"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/exact"
)

// chunk is the number of positions after which the fast attention of decode rows
// begins anew: each chunk is summed up from nothing, and the chunks are joined in
// their order. So a long context can be shared out among threads, and gives the same
// bits if it is not. Chunks begin at multiples of it, absolute positions; a shorter
// context has one, and costs what it did.
const chunk = 1024

// chunkOf is where the first chunk of a span's rows ends. Rows of prompts have one
// chunk, however long: there are enough of them to share out.
func chunkOf(sp span) int {
	if sp.class == backend.Prefill {
		return math.MaxInt
	}
	return chunk
}

// laterChunks adds to queries, which have been over the first chunk, what the later
// ones have.
func (t *attendTask) laterChunks(sp span, kvHead, begin int, qs []kern.Query, worker int) {
	if sp.class == backend.Prefill {
		return
	}
	var parts [maxQueries]kern.Query
	for from := chunk; from <= t.lastSeen(sp); from += chunk {
		t.part(sp, kvHead, begin, parts[:len(qs)], from, t.parts[worker], t.scratch[worker])
		for i := range qs {
			joinPart(&qs[i], &parts[i], t.layer.headDim)
		}
	}
}

// part takes queries over one chunk alone, with outputs in mem.
func (t *attendTask) part(sp span, kvHead, begin int, qs []kern.Query, from int, mem, scratch []float32) {
	dim := t.layer.headDim
	for i := range qs {
		row, head := t.rowAndHead(sp, kvHead, begin+i)
		out := mem[i*dim : (i+1)*dim]
		clear(out)
		qs[i] = kern.Query{Q: &t.q.row(row)[head*dim], Out: &out[0], Max: float32(math.Inf(-1))}
	}
	t.fastBlocks(sp, kvHead, begin, qs, from, from+chunk, scratch)
}

// lastSeen is the last position that a row of the span sees.
func (t *attendTask) lastSeen(sp span) int {
	last := 0
	for r := sp.begin; r < sp.end; r++ {
		last = max(last, int(t.batch.pos[r]))
	}
	return last
}

// joinPart joins a chunk's maximum, sum and output to those of the chunks before, as
// blocks are joined. A query sees nothing of some chunks.
func joinPart(q, part *kern.Query, dim int) {
	if math.IsInf(float64(part.Max), -1) {
		return
	}
	top := max(q.Max, part.Max)
	old := float32(exact.Exp(float64(q.Max) - float64(top)))
	new := float32(exact.Exp(float64(part.Max) - float64(top)))
	q.Max, q.Sum = top, float32(q.Sum*old)+float32(part.Sum*new)
	out, more := queryOut(q, dim), queryOut(part, dim)
	for i := range out {
		out[i] = float32(out[i]*old) + float32(more[i]*new)
	}
}

// divide ends a query.
func divide(q *kern.Query, dim int) {
	l := 1 / q.Sum
	out := queryOut(q, dim)
	for i := range out {
		out[i] *= l
	}
}

func queryOut(q *kern.Query, dim int) []float32 { return unsafe.Slice(q.Out, dim) }

// How much can be shared out at once: the queries of all chunks, and the outputs of
// all chunks but the first. It is enough for a row of 32 heads of 128 at 128k tokens;
// where it is not, nothing is split.
const (
	splitQueries = 4096
	splitFloats  = splitQueries * 128
)

// splitTask shares out the chunks of few rows, which would leave threads idle
// otherwise. An item is a span of rows, a KV head and a chunk; then, to join them, a
// span and a KV head.
type splitTask struct {
	*attendTask
	chunks  int
	outs    []float32    // of the later chunks: [chunks-1, KV heads, rows * perKV, headDim]
	states  []kern.Query // [chunks, KV heads, rows * perKV]
	joining bool
}

// splitAttention attends as s.attend says, if its rows are few and their contexts
// long. It reports false otherwise, and has done nothing.
func (s *stream) splitAttention() bool {
	t := &s.attend
	if len(s.split.states) == 0 || t.layer.headDim > fastDim {
		return false
	}
	chunks := 0
	for _, sp := range s.batch.spans {
		if sp.class == backend.Prefill {
			return false
		}
		chunks = max(chunks, t.lastSeen(sp)/chunk+1)
	}
	items, queries := len(s.batch.spans)*t.layer.heads, t.q.rows*t.layer.heads*t.perKV
	if chunks < 2 || items >= 4*s.pool.Threads() || queries*chunks > len(s.split.states) || queries*(chunks-1)*t.layer.headDim > len(s.split.outs) {
		return false
	}
	s.split.attendTask, s.split.chunks = t, chunks
	s.split.joining = false
	s.run(items*chunks, t.work(), &s.split)
	s.split.joining = true
	s.run(items, queries*chunks*t.layer.headDim, &s.split)
	return true
}

func (t *splitTask) Do(worker, item int) {
	c := 0
	if !t.joining {
		c, item = item%t.chunks, item/t.chunks
	}
	sp, kvHead := t.batch.spans[item/t.layer.heads], item%t.layer.heads
	n := int(sp.end-sp.begin) * t.perKV
	for begin := 0; begin < n; begin += maxQueries {
		end := min(begin+maxQueries, n)
		if t.joining {
			t.join(sp, kvHead, begin, end)
		} else {
			t.chunk(sp, kvHead, begin, end, c, worker)
		}
	}
}

// at is the place of a query in a chunk's part of states.
func (t *splitTask) at(sp span, kvHead, c, query int) int {
	return (c*t.layer.heads+kvHead)*t.q.rows*t.perKV + int(sp.begin)*t.perKV + query
}

func (t *splitTask) chunk(sp span, kvHead, begin, end, c, worker int) {
	at := t.at(sp, kvHead, c, begin)
	qs := t.states[at : at+end-begin]
	if c > 0 {
		dim := t.layer.headDim
		at = t.at(sp, kvHead, c-1, begin) * dim
		t.part(sp, kvHead, begin, qs, c*chunk, t.outs[at:at+len(qs)*dim], t.scratch[worker])
		return
	}
	for i := range qs {
		row, head := t.rowAndHead(sp, kvHead, begin+i)
		t.startFast(&qs[i], row, head, t.output(row, head))
	}
	t.fastBlocks(sp, kvHead, begin, qs, 0, chunk, t.scratch[worker])
}

func (t *splitTask) join(sp span, kvHead, begin, end int) {
	for i := begin; i < end; i++ {
		q := &t.states[t.at(sp, kvHead, 0, i)]
		for c := 1; c < t.chunks; c++ {
			joinPart(q, &t.states[t.at(sp, kvHead, c, i)], t.layer.headDim)
		}
		divide(q, t.layer.headDim)
	}
}

// layoutParts takes what chunks of attention need out of a.
func (s *stream) layoutParts(a *arena) {
	s.parts = s.parts[:0]
	if !s.arith.fast() {
		return
	}
	for range s.pool.Threads() {
		s.parts = append(s.parts, a.take(maxQueries*fastDim))
	}
	if s.pool.Threads() > 1 {
		s.split.outs = a.take(splitFloats)
		if a.mem != nil {
			s.split.states = make([]kern.Query, splitQueries)
		}
	}
}
