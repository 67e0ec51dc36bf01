//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// Attention of prompts has processors enough to end with that of tokens, and no more.
func TestBesideBlocks(t *testing.T) {
	for _, c := range []struct {
		wide, few float64
		want      int
	}{
		{wide: 0, few: 1e6, want: 40},
		{wide: 30e6, few: 1e6, want: 41},  // 30 processors need as long as reading does
		{wide: 66e6, few: 1e6, want: 63},  // what is left would hold reading up: both end later, together
		{wide: 1e9, few: 1e6, want: 124},  // little is read
		{wide: 1e12, few: 1e3, want: 132}, // never more than there are
	} {
		if got := besideBlocks(c.wide, c.few, 132); got != c.want {
			t.Errorf("%v ns of a processor beside %v ns of memory: %d processors, want %d", c.wide, c.few, got, c.want)
		}
	}
}

// What a batch's attention comes to is what its spans see, within a window.
func TestAttentionLoad(t *testing.T) {
	src := &backend.Batch{Cell: [][]int32{nil}}
	spans := [][2]int{{500, 1}, {30, 2}, {1000, 100}} // positions of before, rows
	for i, s := range spans {
		for p := s[0]; p < s[0]+s[1]; p++ {
			src.Token, src.Pos, src.Seq, src.Cell[0] = append(src.Token, 0), append(src.Pos, int32(p)), append(src.Seq, int32(i)), append(src.Cell[0], int32(p))
		}
		src.Seqs = append(src.Seqs, backend.SeqTable{Pages: [][]int32{make([]int32, 2000)}, First: []int32{0}, Stored: int32(s[0])})
	}
	b := batch{plan: backend.Plan{Rows: 200, Seqs: 3}, perKV: 4}
	b.set(src, backend.KVSpec{PageSize: 1, Pages: []int{2000}, Groups: []backend.KVGroup{{Layers: []int{0}, Heads: 2, HeadDim: 128}}})
	// 100 rows of four queries are four tiles, of 32 rows each but the last.
	if got, want := b.attention(0), (load{steps: 9 + 9 + 9 + 9, positions: 501 + 32}); got != want {
		t.Errorf("attention of %v: %+v, want %+v", spans, got, want)
	}
	if got, want := b.attention(64), (load{steps: 1 + 1 + 2 + 2, positions: 65 + 32}); got != want {
		t.Errorf("attention of %v in a window of 64: %+v, want %+v", spans, got, want)
	}
}

// How deep a batch is goes by the power of two of what its spans of tokens see in the mean.
func TestDepth(t *testing.T) {
	for positions, want := range map[int]int{0: 0, 2047: 0, 2048: 1, 4095: 1, 4096: 2, 8192: 3, 1 << 20: maxDepth} {
		if got := depthOf(positions); got != want {
			t.Errorf("%d positions: depth %d, want %d", positions, got, want)
		}
	}
}

// sideBySide starts attention of a case's prompt beside that of its tokens, or ahead of it.
func (b *bench) sideBySide(e *decode, beside bool, blocks int) {
	e.args.Beside = 0
	if beside {
		e.args.Beside = 1
	}
	name := wideName(kern.SM90a, &e.args)
	b.must(b.launch(b.kernel(name, attendWideShared), min(blocks, e.batch.many*e.kvHeads), 1, 1, 384, attendWideShared, unsafe.Pointer(&e.args)))
	b.startDecode(e)
}

// Both kinds of attention give the same bits one after the other and side by side, on however many
// processors, and what follows them finds both done.
func TestAttendBeside(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		if b.target != kern.SM90a {
			t.Skip("sm_90a has it")
		}
		for _, kind := range []int{kern.F16, kern.KeptE4M3} {
			for _, c := range []decodeCase{
				{lengths: []int{700, 3, 1200}, rows: 1, prompt: [2]int{900, 300}},
				{lengths: []int{33, 5000}, rows: 2, window: 500, prompt: [2]int{2000, 77}},
				{lengths: slices.Repeat([]int{400}, shortSpans), rows: 1, sinks: true, prompt: [2]int{3000, 900}},
			} {
				c.kind, c.dim, c.heads, c.kvHeads, c.page = kind, 128, 16, 4, 16
				b.besideCase(c)
			}
		}
	})
}

func (b *bench) besideCase(c decodeCase) {
	keep, room := len(b.mine), c.prompt[0]+c.page
	for _, n := range c.lengths {
		room += n + c.page
	}
	room -= room % c.page
	k, v := b.kept(c.kind, room*c.kvHeads*c.dim, 1), b.kept(c.kind, room*c.kvHeads*c.dim, 1)
	e := b.decode(c, k, v, room)
	rows, cols := e.batch.rows, c.heads*c.dim
	out := put(b, make([]uint16, rows*cols))
	count := put(b, []int32{int32(rows)})
	run := func(beside bool, blocks int) []uint16 {
		b.must(b.call(cuMemsetD8Async, uintptr(e.args.Dst.At), 0xff, uintptr(2*rows*cols), b.queue))
		b.sideBySide(e, beside, blocks)
		copied := kern.Pair{Dst: kern.Act{At: uint64(out), Ld: int32(cols), Type: kern.BF16}, X: e.args.Dst, Y: e.args.Dst, Count: uint64(count), Cols: int32(cols), What: kern.PairCopy}
		b.must(b.launch(b.kernel("pairwise", 0), rows, 1, 1, 256, 0, unsafe.Pointer(&copied)))
		b.must(b.wait())
		return get[uint16](b, out, rows*cols)
	}
	want := run(false, b.processors)
	for _, blocks := range []int{1, 7, 60, b.processors} {
		for range 3 {
			if got := run(true, blocks); !slices.Equal(got, want) {
				b.Errorf("%+v: side by side on %d processors gives other bits", c, blocks)
			}
		}
	}
	b.freeTo(keep)
}

// How long both take, Llama 3.1 8B's heads, one after the other and side by side.
func TestBesideSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		const room = 1 << 21
		k, v := b.random(room*1024, true), b.random(room*1024, true)
		for _, c := range []struct{ seqs, depth, prompt, rows int }{{78, 21000, 10000, 1970}, {86, 21000, 10000, 946}, {534, 3072, 1770, 1514}} {
			d := decodeCase{kind: kern.KeptE4M3, dim: 128, rows: 1, heads: 32, kvHeads: 8, page: 16, prompt: [2]int{c.prompt, c.rows}}
			for range c.seqs {
				d.lengths = append(d.lengths, c.depth*9/10+b.rng.IntN(c.depth/5+1))
			}
			e := b.decode(d, kept{at: k}, kept{at: v}, room)
			l := e.batch.attention(0)
			few, wide := float64(l.positions*2*1024)/b.reads, float64(8*l.steps)*wideStep
			picked := besideBlocks(wide, few, b.processors)
			fmt.Printf("%+v: reckoned %.0f us of %d processors and %.0f us, %d\n", c, wide/1e3/float64(b.processors), b.processors, few/1e3, picked)
			for _, parts := range []int{1, 2, 3, 4} {
				e.parts = parts
				ms := b.time(10, func(int) { b.startDecode(e) })
				fmt.Printf("  tokens alone, %d parts: %.0f us, %.0f GB/s\n", parts, ms*1e3, float64(l.positions*2*1024)/ms/1e6)
			}
			e.parts = (&stream{device: b.device, launch: b.launcher, batch: e.batch}).attendParts(&e.args.Cache, e.batch.few, e.how.blocks, e.how.least)
			fmt.Printf("  %d parts, one after the other: %.0f us\n", e.parts, b.time(10, func(int) { b.sideBySide(e, false, b.processors) })*1e3)
			for _, n := range []int{picked, 16, 24, 32, 40, 50, 60, 70, 80, 90, 110} {
				fmt.Printf("  side by side, prompt on %d: %.0f us\n", n, b.time(10, func(int) { b.sideBySide(e, true, n) })*1e3)
			}
		}
	})
}
