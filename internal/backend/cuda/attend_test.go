//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// attendCase is attention over heads of 128: each span is rows of a sequence behind some
// that it has already.
type attendCase struct {
	heads, kvHeads, page, window int
	sinks                        bool
	spans                        [][2]int // positions of before, rows
}

func attendCases() []attendCase {
	return []attendCase{
		{heads: 8, kvHeads: 2, page: 16, spans: [][2]int{{0, 300}}},
		{heads: 8, kvHeads: 2, page: 16, spans: [][2]int{{0, 37}, {64, 5}, {1000, 77}, {127, 1}, {126, 33}}},
		{heads: 4, kvHeads: 4, page: 1, window: 40, sinks: true, spans: [][2]int{{0, 129}, {70, 64}, {3, 17}}},
		{heads: 7, kvHeads: 1, page: 5, sinks: true, spans: [][2]int{{3, 200}, {1, 3}}},
		{heads: 16, kvHeads: 16, page: 7, window: 256, spans: [][2]int{{500, 300}}},
		{heads: 16, kvHeads: 1, page: 64, window: 100, spans: [][2]int{{0, 9}, {1500, 2}, {255, 33}}},
		{heads: 40, kvHeads: 10, page: 16, spans: [][2]int{{10, 200}, {0, 128}, {300, 127}, {0, 65}, {1200, 130}}},
	}
}

// attendBench is a case on the device.
type attendBench struct {
	*bench
	attendCase
	batch   batch
	args    kern.Attend
	q, k, v []float64 // [rows, heads, 128], [cells, kvHeads, 128]
	sink    []float32
	ld      int
}

func (b *bench) attend(c attendCase, kv int32) *attendBench {
	b.Helper()
	a := &attendBench{bench: b, attendCase: c}
	src, cells := a.source()
	rows := len(src.Token)
	spec := backend.KVSpec{PageSize: c.page, Groups: []backend.KVGroup{{Layers: []int{0}, Heads: c.kvHeads, HeadDim: 128, Window: c.window}}, Pages: []int{cells / c.page}}
	a.batch = batch{plan: backend.Plan{Rows: rows, Seqs: len(c.spans), LogitRows: rows}, perKV: c.heads / c.kvHeads}
	a.batch.set(src, spec)
	a.ld = padded(c.heads * 128)
	var q, k, v pointer
	a.q, q = b.attendValues(rows*c.heads*128, kern.F16)
	a.k, k = b.attendValues(cells*c.kvHeads*128, kv)
	a.v, v = b.attendValues(cells*c.kvHeads*128, kv)
	a.args = kern.Attend{Q: kern.Act{At: uint64(q), Ld: int32(a.ld), Type: kern.F16}, Dst: kern.Act{Ld: int32(a.ld), Type: kern.BF16}, Heads: int32(c.heads), Scale: 0.11,
		Cache: kern.Cache{K: uint64(k), V: uint64(v), Heads: int32(c.kvHeads), Dim: 128, Type: kv, Page: int32(c.page), Window: int32(c.window)},
		Meta:  uint64(put(b, a.batch.meta))}
	if c.sinks {
		a.sink = make([]float32, c.heads)
		for i := range a.sink {
			a.sink[i] = float32(b.rng.NormFloat64())
		}
		a.args.Sinks = uint64(put(b, a.sink))
	}
	return a
}

// source is the batch, with pages in random places, and how many cells there are.
func (a *attendBench) source() (*backend.Batch, int) {
	pages := 3
	for _, s := range a.spans {
		pages += (s[0] + s[1] + a.page - 1) / a.page
	}
	free := a.rng.Perm(pages)
	src := &backend.Batch{Cell: make([][]int32, 1)}
	for i, s := range a.spans {
		var mine []int32
		for len(mine)*a.page < s[0]+s[1] {
			mine, free = append(mine, int32(free[0])), free[1:]
		}
		first := 0
		if a.window > 0 { // pages that nobody sees any more are gone
			first = max(0, s[0]-a.window+1) / a.page
		}
		for p := s[0]; p < s[0]+s[1]; p++ {
			src.Token, src.Pos, src.Seq = append(src.Token, 0), append(src.Pos, int32(p)), append(src.Seq, int32(i))
			src.Cell[0] = append(src.Cell[0], mine[p/a.page]*int32(a.page)+int32(p%a.page))
		}
		src.Seqs = append(src.Seqs, backend.SeqTable{Pages: [][]int32{mine[first:]}, First: []int32{int32(first)}, Stored: int32(s[0])})
	}
	return src, pages * a.page
}

// attendValues draws numbers of a type.
func (b *bench) attendValues(n int, kind int32) ([]float64, pointer) {
	values := make([]float64, n)
	if kind == kern.KeptE4M3 {
		data := make([]uint8, n)
		for i := range data {
			data[i] = uint8(b.rng.UintN(256))
			if data[i]&0x7f >= 0x48 { // beyond 4, and NaN
				data[i] &= 0xbf
			}
			values[i] = float64(e4m3Value(data[i]))
		}
		return values, put(b, data)
	}
	data := make([]uint16, n)
	for i := range data {
		data[i] = weights.F32ToF16(float32(b.rng.NormFloat64()))
		values[i] = float64(weights.F16ToF32(data[i]))
	}
	return values, put(b, data)
}

// start starts a kernel over the case's tiles.
func (a *attendBench) start(name string) {
	a.Helper()
	if strings.HasPrefix(name, "attend_wide") {
		jobs := a.batch.many * a.kvHeads
		a.must(a.launch(a.kernel(name, attendWideShared), min(jobs, a.processors), 1, 1, 384, attendWideShared, unsafe.Pointer(&a.args)))
		return
	}
	stages := 2
	if a.target == kern.SM90a {
		stages = 3
	}
	shared := (1+stages)*8*16*128*2 + 1024
	a.must(a.launch(a.kernel(name, shared), a.batch.many, a.kvHeads, 1, 256, shared, unsafe.Pointer(&a.args)))
}

// want is a head of a row by float64.
func (a *attendBench) want(row, head int) []float64 {
	meta := a.batch.meta
	seq, pos := int(meta[int(meta[kern.MetaSeq])+row]), int(meta[int(meta[kern.MetaPos])+row])
	group := meta[kern.MetaGroups:]
	first, table := int(meta[int(group[kern.GroupFirst])+seq]), int(meta[int(group[kern.GroupTable])+seq])
	from := 0
	if a.window > 0 {
		from = max(0, pos-a.window+1)
	}
	kv := head / (a.heads / a.kvHeads)
	q := a.q[row*a.ld+head*128:][:128]
	top, scores, cells := math.Inf(-1), []float64{}, []int{}
	for p := from; p <= pos; p++ {
		cell := int(meta[int(group[kern.GroupPages])+table+p/a.page-first])*a.page + p%a.page
		s := 0.0
		for i, k := range a.k[(cell*a.kvHeads+kv)*128:][:128] {
			s += q[i] * k
		}
		s *= float64(a.args.Scale)
		top, scores, cells = max(top, s), append(scores, s), append(cells, cell)
	}
	sum, out := 0.0, make([]float64, 128)
	if a.sinks {
		sum = math.Exp(float64(a.sink[head]) - top)
	}
	for i, s := range scores {
		e := math.Exp(s - top)
		sum += e
		for d, v := range a.v[(cells[i]*a.kvHeads+kv)*128:][:128] {
			out[d] += e * v
		}
	}
	for d := range out {
		out[d] /= sum
	}
	return out
}

// compare runs a kernel twice and compares one of so many heads of the rows whose spans
// are long enough for it; the others' are not written.
func (a *attendBench) compare(name string, every int) {
	a.Helper()
	rows := a.batch.rows
	blank := make([]uint16, rows*a.ld)
	for i := range blank {
		blank[i] = 0x7fc1
	}
	out := put(a.bench, blank)
	a.args.Dst.At = uint64(out)
	a.start(name)
	a.must(a.wait())
	first := get[uint16](a.bench, out, len(blank))
	a.start(name)
	a.must(a.wait())
	got := get[uint16](a.bench, out, len(blank))
	worst, row0, wrong := 0.0, 0, 0
	for _, s := range a.spans {
		for r := row0; r < row0+s[1]; r++ {
			many := s[1]*(a.heads/a.kvHeads) > fewRows
			for h := range a.heads {
				here := got[r*a.ld+h*128:][:128]
				if (r+h)%every != 0 && many {
					continue
				}
				off, size := 0.0, 0.0
				if many {
					for d, w := range a.want(r, h) {
						off, size = off+sq(float64(weights.BF16ToF32(here[d]))-w), size+w*w
					}
				}
				for d := range here {
					if here[d] != first[r*a.ld+h*128+d] || !many && here[d] != 0x7fc1 {
						off = math.Inf(1)
					}
				}
				e := math.Sqrt(off / max(size, 1e-30))
				worst = max(worst, e)
				if !(e <= 5e-3) {
					worst = e
					if wrong++; wrong < 4 {
						a.Errorf("%s: %+v: row %d, head %d is off by %.4f of its size: %v..., or differs from run to run", name, a.attendCase, r, h, e, here[:4])
					}
				}
			}
		}
		row0 += s[1]
	}
	a.Logf("%s: %d tiles of %+v: at most %.5f off, %d heads wrong", name, a.batch.many, a.attendCase, worst, wrong)
}

func sq(v float64) float64 { return v * v }

// attendKernels are those that a target has for a type of cache.
func attendKernels(target kern.Target, kv int32) []string {
	names := []string{"attend_many_128"}
	if kv != kern.F16 {
		names[0] = "attend_kept_many_128"
	}
	if target == kern.SM90a && kv == kern.F16 {
		names = append(names, "attend_wide_128")
	}
	if target == kern.SM90a && kv == kern.KeptE4M3 {
		names = append(names, "attend_wide8_128")
	}
	return names
}

// The attention of prompts is what float64 makes of the same numbers: behind prefixes,
// with windows and sinks, over pages of any size.
func TestAttendMany(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, kv := range []int32{kern.F16, kern.KeptE4M3} {
			for _, c := range attendCases() {
				a := b.attend(c, kv)
				for _, name := range attendKernels(b.target, kv) {
					a.compare(name, 7)
				}
			}
		}
	})
}

// Tiles are taken from the last: that one sees most, whatever the order of the spans.
func TestTilesSorted(t *testing.T) {
	rng := newRand(t)
	for range 200 {
		a := &attendBench{bench: &bench{TB: t, rng: rng}, attendCase: attendCase{heads: 8, kvHeads: 8 >> rng.IntN(4), page: 16}}
		for range 1 + rng.IntN(6) {
			a.spans = append(a.spans, [2]int{rng.IntN(500), 1 + rng.IntN(400)})
		}
		src, cells := a.source()
		per := a.heads / a.kvHeads
		b := batch{plan: backend.Plan{Rows: len(src.Token), Seqs: len(a.spans), LogitRows: 1}, perKV: per}
		b.set(src, backend.KVSpec{PageSize: 16, Groups: []backend.KVGroup{{Heads: a.kvHeads, HeadDim: 128}}, Pages: []int{cells / 16}})
		tiles := b.meta[b.meta[kern.MetaMany]:][:3*b.many]
		last, queries := -1, map[[2]int32]bool{}
		for i := 0; i < len(tiles); i += 3 {
			row, n, first := tiles[i], tiles[i+1], tiles[i+2]
			sees := int(src.Pos[row]) + min(int(n)-1, (int(first)+manyRows-1)/per)
			if sees < last {
				t.Fatalf("%v: tile %d sees %d positions, the one before %d", a.spans, i/3, sees+1, last+1)
			}
			last, queries[[2]int32{row, first}] = sees, true
		}
		row, want := 0, 0
		for _, s := range a.spans {
			for first := 0; s[1]*per > fewRows && first < s[1]*per; first += manyRows {
				want++
				if !queries[[2]int32{int32(row), int32(first)}] {
					t.Fatalf("%v: queries from %d of row %d are in no tile", a.spans, first, row)
				}
			}
			row += s[1]
		}
		if want != b.many {
			t.Fatalf("%v: %d tiles, want %d", a.spans, b.many, want)
		}
	}
}

// How fast the attention of prompts is with Llama 3.1 8B's heads.
func TestAttendSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		var short [][2]int
		for range 16 {
			short = append(short, [2]int{0, 128})
		}
		for _, spans := range [][][2]int{{{0, 2048}}, {{4096, 1024}}, short, {{0, 8192}}} {
			for _, kv := range []int32{kern.F16, kern.KeptE4M3} {
				a := b.attend(attendCase{heads: 32, kvHeads: 8, page: 16, spans: spans}, kv)
				for _, name := range attendKernels(b.target, kv) {
					a.compare(name, 4001)
					a.show(name)
				}
			}
		}
	})
}

func (a *attendBench) show(name string) {
	flops := 0.0
	for _, s := range a.spans {
		for p := s[0]; p < s[0]+s[1]; p++ {
			flops += 4 * 128 * float64(a.heads) * float64(p+1)
		}
	}
	ms := a.time(40, func(int) { a.start(name) })
	fmt.Printf("%s, %d prompts of %d behind %d: %.1f us %.0f TFLOP/s\n", name, len(a.spans), a.spans[0][1], a.spans[0][0], ms*1e3, flops/ms/1e9)
}
