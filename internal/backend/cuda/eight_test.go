//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math"
	"testing"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// eightCase is decode over a cache of E4M3 with heads of 128: the last rows positions of
// each of some sequences.
type eightCase struct {
	lengths        []int
	rows           int
	heads, kvHeads int
	page, window   int
	sinks          bool
}

// eight is a case on the device.
type eight struct {
	eightCase
	args  kern.Attend
	batch batch
	cells [][]int32 // of each sequence's positions
	sinks []float32
	parts int
}

const (
	eightDim   = 128
	eightShort = 512 // spans of four heads, of which short ones are a warp's
)

// eight lays a case out, its pages scattered over k and v, which have room for so many positions.
func (b *bench) eight(c eightCase, k, v pointer, room int) *eight {
	e := &eight{eightCase: c}
	spec := backend.KVSpec{Type: backend.KVE4M3, PageSize: c.page, Pages: []int{room / c.page},
		Groups: []backend.KVGroup{{Layers: []int{0}, Heads: c.kvHeads, HeadDim: eightDim, Window: c.window}}}
	free := b.rng.Perm(spec.Pages[0])
	src := &backend.Batch{Cell: make([][]int32, 1)}
	for i, n := range c.lengths {
		pages, cells := []int32{}, []int32{}
		for p := range n {
			if p%c.page == 0 {
				pages, free = append(pages, int32(free[0])), free[1:]
			}
			cells = append(cells, pages[p/c.page]*int32(c.page)+int32(p%c.page))
		}
		for p := n - c.rows; p < n; p++ {
			src.Token, src.Pos, src.Seq = append(src.Token, 0), append(src.Pos, int32(p)), append(src.Seq, int32(i))
			src.Cell[0] = append(src.Cell[0], cells[p])
		}
		src.Seqs = append(src.Seqs, backend.SeqTable{Pages: [][]int32{pages}, First: []int32{0}, Stored: int32(n - c.rows)})
		e.cells = append(e.cells, cells)
	}
	rows, cols := len(src.Token), c.heads*eightDim
	e.batch = batch{plan: backend.Plan{Rows: rows, Seqs: len(c.lengths)}, perKV: c.heads / c.kvHeads}
	e.batch.set(src, spec)
	q := make([]uint16, rows*cols)
	for i := range q {
		q[i] = weights.F32ToF16(float32(b.rng.NormFloat64()))
	}
	e.args = kern.Attend{Q: kern.Act{At: uint64(put(b, q)), Ld: int32(cols), Type: kern.F16},
		Dst:   kern.Act{At: uint64(put(b, make([]uint16, rows*cols))), Ld: int32(cols), Type: kern.BF16},
		Cache: kern.Cache{K: uint64(k), V: uint64(v), Heads: int32(c.kvHeads), Dim: eightDim, Type: kern.KeptE4M3, Page: int32(c.page), Window: int32(c.window)},
		Meta:  uint64(put(b, e.batch.meta)), Heads: int32(c.heads), Scale: 0.088,
		Work: uint64(b.alloc(workBytes)), Counts: uint64(put(b, make([]uint32, countSlots)))}
	if c.sinks {
		for range c.heads {
			e.sinks = append(e.sinks, float32(b.rng.NormFloat64()))
		}
		e.args.Sinks = uint64(put(b, e.sinks))
	}
	s := &stream{device: b.device, launch: b.launcher}
	e.parts = s.attendParts(&e.args.Cache, e.batch.few*e.groups(), few8Blocks)
	return e
}

func (e *eight) groups() int { return (e.batch.fewQueries + 7) / 8 }

func (b *bench) startEight(e *eight) {
	b.must(b.launch(b.kernel("attend_few8_128", few8Shared), e.kvHeads*e.groups(), e.batch.few, e.parts, 128, few8Shared, unsafe.Pointer(&e.args)))
}

// What attention over a cache of E4M3 gives is what float64 makes of the same numbers: one and
// more queries a KV head, spans that blocks share and those that a warp has to itself.
func TestAttendE4M3(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		lengths := func(n, from, to int) (l []int) {
			for range n {
				l = append(l, from+b.rng.IntN(to-from))
			}
			return l
		}
		for _, c := range []eightCase{
			{lengths: []int{1}, rows: 1, heads: 4, kvHeads: 1, page: 16},
			{lengths: []int{3000, 31, 32, 33, 700}, rows: 1, heads: 8, kvHeads: 2, page: 16},
			{lengths: lengths(9, 4, 1500), rows: 3, heads: 8, kvHeads: 2, page: 5, sinks: true},
			{lengths: lengths(20, 400, 900), rows: 2, heads: 16, kvHeads: 2, page: 7, window: 300},
			{lengths: lengths(eightShort, 2, 150), rows: 1, heads: 16, kvHeads: 4, page: 16},
			{lengths: lengths(eightShort+20, 3, 200), rows: 3, heads: 16, kvHeads: 4, page: 5, sinks: true, window: 90},
			{lengths: append(lengths(eightShort, 2, 40), 513, 512, 1200), rows: 1, heads: 4, kvHeads: 4, page: 16},
		} {
			b.eightCase(c)
		}
	})
}

func (b *bench) eightCase(c eightCase) {
	keep, room := len(b.mine), 0
	for _, n := range c.lengths {
		room += (n + c.page - 1) / c.page * c.page
	}
	k8, kf := b.e4m3s(room * c.kvHeads * eightDim)
	v8, vf := b.e4m3s(len(k8))
	e := b.eight(c, put(b, k8), put(b, v8), room)
	for range 2 { // the second must not depend on what the first left
		b.startEight(e)
	}
	b.must(b.wait())
	cols := c.heads * eightDim
	q, got := get[uint16](b, pointer(e.args.Q.At), e.batch.rows*cols), get[uint16](b, pointer(e.args.Dst.At), e.batch.rows*cols)
	for row := range e.batch.rows {
		seq := row / c.rows
		last := c.lengths[seq] - c.rows + row%c.rows
		for head := range c.heads {
			at := row*cols + head*eightDim
			want, size := e.expected(q[at:at+eightDim], kf, vf, seq, last, head)
			for d, w := range want {
				g := float64(math.Float32frombits(uint32(got[at+d]) << 16))
				if !(math.Abs(g-w) <= 0.004*math.Abs(w)+0.001*size) {
					b.Errorf("%d sequences of %d rows, %d heads over %d, window %d: row %d (position %d), head %d, element %d is %v, want %v",
						len(c.lengths), c.rows, c.heads, c.kvHeads, c.window, row, last, head, d, g, w)
					return
				}
			}
		}
	}
	for _, p := range b.mine[keep:] {
		b.must(b.free(p))
	}
	b.mine = b.mine[:keep]
}

// expected is a head's result, and the greatest of the values.
func (e *eight) expected(q []uint16, k, v []float32, seq, last, head int) (out [eightDim]float64, size float64) {
	first := 0
	if e.window > 0 {
		first = max(0, last-e.window+1)
	}
	var w []float64
	top := math.Inf(-1)
	if e.sinks != nil {
		top = float64(e.sinks[head])
	}
	place := func(p int) int { return (int(e.cells[seq][p])*e.kvHeads + head/(e.heads/e.kvHeads)) * eightDim }
	var query [eightDim]float64
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
	for i, f := range w {
		at := place(first + i)
		for d := range out {
			out[d] += f / sum * float64(v[at+d])
			size = max(size, math.Abs(float64(v[at+d])))
		}
	}
	return out, size
}

// How fast attention of a token of each of many sequences reads a cache of E4M3, heads as
// Llama 3.1 8B has them.
func TestGPUDecodeSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		const room = 1 << 21
		k, v := b.random(room*1024, true), b.random(room*1024, true)
		for _, c := range [][2]int{{1, 2000}, {16, 2000}, {64, 256}, {64, 2000}, {256, 128}, {256, 512}, {256, 2000}, {1000, 192}, {1000, 700}, {1000, 1900}} {
			b.eightSpeed(c[0], c[1], k, v, room)
		}
	})
}

func (b *bench) eightSpeed(seqs, depth int, k, v pointer, room int) {
	keep, c, all := len(b.mine), eightCase{rows: 1, heads: 32, kvHeads: 8, page: 16}, 0
	for range seqs { // lengths differ by a fifth
		c.lengths = append(c.lengths, depth*9/10+b.rng.IntN(depth/5+1))
		all += c.lengths[len(c.lengths)-1]
	}
	e := b.eight(c, k, v, room)
	ms := b.time(20, func(int) { b.startEight(e) })
	fmt.Printf("attention of %d sequences of about %d, %d parts: %.1f us, %.0f GB/s\n", seqs, depth, e.parts, ms*1e3, float64(all)*2048/ms/1e6)
	for _, p := range b.mine[keep:] {
		b.must(b.free(p))
	}
	b.mine = b.mine[:keep]
}
