//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// decodeCase is attention of the last rows positions of each of some sequences.
type decodeCase struct {
	kind, dim      int // of the cache
	lengths        []int
	rows           int
	heads, kvHeads int
	page, window   int
	sinks          bool
	prompt         [2]int // beside them one of so many positions, and its last rows
}

// decode is a case on the device.
type decode struct {
	decodeCase
	args  kern.Attend
	batch batch
	cells [][]int32 // of each sequence's positions
	sinks []float32
	how   fewLaunch
	parts int
}

// fewTypes are the caches that attention of few tokens has kernels for.
var fewTypes = []int{kern.F16, kern.BF16, kern.KeptE4M3, kern.KeptQ8}

const shortSpans = 512 // of four heads, of which short ones are a warp's

// kept is what a cache keeps of keys or values, with the scales of bytes, and what they are.
type kept struct {
	at, scales pointer
	values     []float32
}

// decode lays a case out, its pages scattered over k and v, which have room for so many positions.
func (b *bench) decode(c decodeCase, k, v kept, room int) *decode {
	e := &decode{decodeCase: c}
	spec := backend.KVSpec{PageSize: c.page, Pages: []int{room / c.page},
		Groups: []backend.KVGroup{{Layers: []int{0}, Heads: c.kvHeads, HeadDim: c.dim, Window: c.window}}}
	free := b.rng.Perm(spec.Pages[0])
	src := &backend.Batch{Cell: make([][]int32, 1)}
	if c.prompt[0] > 0 {
		c.lengths = append(slices.Clip(c.lengths), c.prompt[0])
	}
	for i, n := range c.lengths {
		pages, cells, rows := []int32{}, []int32{}, c.rows
		if i == len(c.lengths)-1 && c.prompt[0] > 0 {
			rows = c.prompt[1]
		}
		for p := range n {
			if p%c.page == 0 {
				pages, free = append(pages, int32(free[0])), free[1:]
			}
			cells = append(cells, pages[p/c.page]*int32(c.page)+int32(p%c.page))
		}
		for p := n - rows; p < n; p++ {
			src.Token, src.Pos, src.Seq = append(src.Token, 0), append(src.Pos, int32(p)), append(src.Seq, int32(i))
			src.Cell[0] = append(src.Cell[0], cells[p])
		}
		src.Seqs = append(src.Seqs, backend.SeqTable{Pages: [][]int32{pages}, First: []int32{0}, Stored: int32(n - rows)})
		e.cells = append(e.cells, cells)
	}
	rows, cols := len(src.Token), c.heads*c.dim
	e.batch = batch{plan: backend.Plan{Rows: rows, Seqs: len(c.lengths)}, perKV: c.heads / c.kvHeads}
	e.batch.set(src, spec)
	q := make([]uint16, rows*cols)
	for i := range q {
		q[i] = weights.F32ToF16(float32(b.rng.NormFloat64()))
	}
	e.args = kern.Attend{Q: kern.Act{At: uint64(put(b, q)), Ld: int32(cols), Type: kern.F16},
		Dst: kern.Act{At: uint64(put(b, make([]uint16, rows*cols))), Ld: int32(cols), Type: kern.BF16},
		Cache: kern.Cache{K: uint64(k.at), V: uint64(v.at), KS: uint64(k.scales), VS: uint64(v.scales), Heads: int32(c.kvHeads), Dim: int32(c.dim),
			Type: int32(c.kind), Page: int32(c.page), Window: int32(c.window)},
		Meta: uint64(put(b, e.batch.meta)), Heads: int32(c.heads), Scale: 0.088,
		Work: uint64(b.alloc(workBytes)), Counts: uint64(put(b, make([]uint32, countSlots)))}
	if c.sinks {
		for range c.heads {
			e.sinks = append(e.sinks, float32(b.rng.NormFloat64()))
		}
		e.args.Sinks = uint64(put(b, e.sinks))
	}
	s := &stream{device: b.device, launch: b.launcher, batch: e.batch}
	e.how = fewKernel(b.target, &e.args.Cache, e.batch.fewQueries)
	e.parts = s.attendParts(&e.args.Cache, e.batch.few*e.how.groups, e.how.blocks, e.how.least)
	return e
}

func (b *bench) startDecode(e *decode) {
	l := &e.how
	b.must(b.launch(b.kernel(l.name, l.shared), e.kvHeads*l.groups, e.batch.few, e.parts, 128, l.shared, unsafe.Pointer(&e.args)))
}

// kept draws what a cache keeps, numbers of about a size where the type has it. A million are
// drawn, which come again and again.
func (b *bench) kept(kind, n int, size float64) kept {
	draw := min(n, 999983)
	halves, values := make([]uint16, draw), make([]float32, draw)
	for i := range draw {
		v := float32(b.rng.NormFloat64())
		if kind == kern.BF16 {
			halves[i] = weights.F32ToBF16(v * float32(size))
			values[i] = weights.BF16ToF32(halves[i])
		} else {
			halves[i] = weights.F32ToF16(v)
			values[i] = weights.F16ToF32(halves[i])
		}
	}
	switch kind {
	case kern.KeptE4M3:
		data, values := b.e4m3s(draw)
		return kept{at: put(b, again(data, n)), values: again(values, n)}
	case kern.KeptQ8:
		return b.keptBytes(n, draw)
	}
	return kept{at: put(b, again(halves, n)), values: again(values, n)}
}

// keptBytes draws bytes with scales.
func (b *bench) keptBytes(n, draw int) kept {
	scales, data, values := make([]uint16, n/32), make([]int8, draw), make([]float32, n)
	for i := range scales {
		scales[i] = weights.F32ToF16(b.rng.Float32() / 40)
	}
	for i := range data {
		data[i] = int8(b.rng.IntN(255) - 127)
	}
	data = again(data, n)
	for i, v := range data {
		values[i] = float32(v) * weights.F16ToF32(scales[i/32])
	}
	return kept{at: put(b, data), scales: put(b, scales), values: values}
}

// again is x again and again, n of it.
func again[T any](x []T, n int) []T {
	for len(x) < n {
		x = append(x, x[:min(len(x), n-len(x))]...)
	}
	return x
}

// What attention of few tokens gives is what float64 makes of the same numbers: one and
// more queries a KV head, spans that blocks share and those that a warp has to itself.
func TestAttendFew(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		lengths := func(n, from, to int) (l []int) {
			for range n {
				l = append(l, from+b.rng.IntN(to-from))
			}
			return l
		}
		for _, kind := range fewTypes {
			for _, dim := range []int{64, 128} {
				for _, c := range []decodeCase{
					{lengths: []int{1}, rows: 1, heads: 4, kvHeads: 1, page: 16},
					{lengths: []int{3000, 15, 16, 17, 31, 32, 33, 700}, rows: 1, heads: 8, kvHeads: 2, page: 16},
					{lengths: lengths(9, 4, 1500), rows: 3, heads: 8, kvHeads: 2, page: 5, sinks: true},
					{lengths: lengths(20, 400, 900), rows: 2, heads: 16, kvHeads: 2, page: 7, window: 300},
					{lengths: lengths(shortSpans, 2, 150), rows: 1, heads: 16, kvHeads: 4, page: 16},
					{lengths: lengths(shortSpans+20, 3, 200), rows: 3, heads: 16, kvHeads: 4, page: 5, sinks: true, window: 90},
					{lengths: append(lengths(shortSpans, 2, 40), 513, 512, 1200), rows: 1, heads: 4, kvHeads: 4, page: 16},
				} {
					c.kind, c.dim = kind, dim
					b.decodeCase(c)
				}
			}
		}
	})
}

// room is how many positions the sequences' pages have.
func (c *decodeCase) room() (n int) {
	for _, l := range c.lengths {
		n += (l + c.page - 1) / c.page * c.page
	}
	return n
}

// firstOff is the first element of a head that is not what it should be, or -1; size is that of the values.
func firstOff(got []uint16, want []float64, size float64) int {
	for d, w := range want {
		if !(math.Abs(float64(weights.BF16ToF32(got[d]))-w) <= 0.004*math.Abs(w)+0.001*size) {
			return d
		}
	}
	return -1
}

func (b *bench) decodeCase(c decodeCase) {
	keep, room := len(b.mine), c.room()
	k := b.kept(c.kind, room*c.kvHeads*c.dim, 1)
	v := b.kept(c.kind, len(k.values), 1<<20) // beyond what f16 holds
	e := b.decode(c, k, v, room)
	for range 2 { // the second must not depend on what the first left
		b.startDecode(e)
	}
	b.must(b.wait())
	cols, wrong, every := c.heads*c.dim, 0, 1+len(c.lengths)/100 // heads that are compared
	q, got := get[uint16](b, pointer(e.args.Q.At), e.batch.rows*cols), get[uint16](b, pointer(e.args.Dst.At), e.batch.rows*cols)
	for row := range e.batch.rows {
		seq := row / c.rows
		last := c.lengths[seq] - c.rows + row%c.rows
		for head := (row / every) % every; head < c.heads; head += every {
			at := row*cols + head*c.dim
			want, size := e.expected(q[at:at+c.dim], k.values, v.values, seq, last, head)
			if d := firstOff(got[at:], want, size); d >= 0 {
				wrong++
				b.Errorf("%s, %d sequences of %d rows, %d heads over %d, window %d: row %d (position %d), head %d, element %d is %v, want %v",
					e.how.name, len(c.lengths), c.rows, c.heads, c.kvHeads, c.window, row, last, head, d, weights.BF16ToF32(got[at+d]), want[d])
			}
			if wrong > 2 {
				return
			}
		}
	}
	b.freeTo(keep)
}

// expected is a head's result, and the greatest of the values.
func (e *decode) expected(q []uint16, k, v []float32, seq, last, head int) (out []float64, size float64) {
	first := 0
	if e.window > 0 {
		first = max(0, last-e.window+1)
	}
	var w []float64
	top := math.Inf(-1)
	if e.sinks != nil {
		top = float64(e.sinks[head])
	}
	place := func(p int) int { return (int(e.cells[seq][p])*e.kvHeads + head/(e.heads/e.kvHeads)) * e.dim }
	query := make([]float64, e.dim)
	for d := range query {
		query[d] = float64(weights.F16ToF32(q[d]))
	}
	for p := first; p <= last; p++ {
		s, at := 0.0, place(p)
		for d, x := range query {
			s += x * float64(k[at+d])
		}
		w = append(w, s*float64(e.args.Scale))
		top = max(top, w[len(w)-1])
	}
	sum := 0.0
	if e.sinks != nil {
		sum = math.Exp(float64(e.sinks[head]) - top)
	}
	for i := range w {
		w[i] = math.Exp(w[i] - top)
		sum += w[i]
	}
	out = make([]float64, e.dim)
	for i, f := range w {
		at := place(first + i)
		for d := range out {
			out[d] += f / sum * float64(v[at+d])
			size = max(size, math.Abs(float64(v[at+d])))
		}
	}
	return out, size
}

// How fast attention of a token or four of each of many sequences reads a cache, heads as
// Llama 3.1 8B has them, and as many of half the size.
func TestGPUDecodeSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		const room = 1 << 21
		k, v := b.random(room*2048, true), b.random(room*2048, true) // numbers whatever the type
		for _, c := range [][3]int{{1, 2000, 1}, {16, 2000, 1}, {64, 256, 1}, {64, 2000, 1}, {256, 128, 1}, {256, 512, 1}, {256, 2000, 1}, {1000, 192, 1}, {1000, 700, 1}, {1000, 1900, 1},
			{64, 2000, 4}, {256, 512, 4}} {
			for _, kind := range fewTypes {
				for _, dim := range []int{64, 128} {
					b.decodeSpeed(decodeCase{kind: kind, dim: dim, rows: c[2], heads: 32, kvHeads: 8, page: 16}, c[0], c[1], k, v, room)
				}
			}
		}
	})
}

func (b *bench) decodeSpeed(c decodeCase, seqs, depth int, k, v pointer, room int) {
	keep, all := len(b.mine), 0
	for range seqs { // lengths differ by a fifth
		c.lengths = append(c.lengths, depth*9/10+b.rng.IntN(depth/5+1))
		all += c.lengths[len(c.lengths)-1]
	}
	e := b.decode(c, kept{at: k, scales: k}, kept{at: v, scales: v}, room)
	bits := map[int]int{kern.F16: 16 * 32, kern.BF16: 16 * 32, kern.KeptE4M3: 8 * 32, kern.KeptQ8: 8*32 + 16}[c.kind] // of 32 elements
	ms := b.time(20, func(int) { b.startDecode(e) })
	fmt.Printf("%s, %d tokens of %d sequences of about %d, %d parts: %.1f us, %.0f GB/s\n", e.how.name, c.rows, seqs, depth, e.parts, ms*1e3, float64(all*2*c.kvHeads*c.dim/32*bits/8)/ms/1e6)
	b.freeTo(keep)
}
