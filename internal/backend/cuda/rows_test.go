//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

// How fast what is done to rows between products goes, at 2048 rows of Llama 3.1 8B's shape
// with E4M3 weights, and the choice of the most probable of 1024 rows of logits.
func TestGPURowSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		const rows, width, hidden, wants, vocab = 2048, 4096, 14336, 1024, 128256
		keep := len(b.mine)
		count, few := uint64(put(b, []int32{rows})), uint64(put(b, []int32{wants}))
		to, scales := uint64(b.alloc(rows*hidden)), uint64(b.alloc(4*rows))
		half := func(cols int) kern.Act {
			return kern.Act{At: uint64(b.random(rows*cols*2, false)), Ld: int32(cols), Type: kern.BF16}
		}
		show := func(what string, bytes float64, f func(i int)) {
			ms := b.time(20, f)
			fmt.Printf("%s: %.1f us, %.0f GB/s\n", what, ms*1e3, bytes/ms/1e6)
		}
		var gates [4]kern.GateE4M3 // more than the L2 cache holds
		var norms [4]kern.NormE4M3
		for i := range gates {
			gates[i] = kern.GateE4M3{Pair: kern.Pair{X: half(hidden), Y: half(hidden), Count: count, Cols: hidden, What: kern.PairSiLU}, To: to, Scales: scales, Ld: hidden}
			norms[i] = kern.NormE4M3{Norm: kern.Norm{X: kern.Act{At: uint64(b.alloc(rows * width * 4)), Ld: width, Type: kern.F32}, Delta: half(width), W: uint64(b.random(4*width, false)),
				Count: count, Cols: width, Eps: 1e-5}, To: to, Scales: scales, Ld: width}
		}
		name, threads, shared := gateE4M3(&gates[0], b.target)
		show(name, rows*hidden*5, func(i int) {
			b.must(b.launch(b.kernel(name, shared), rows, 1, 1, threads, shared, unsafe.Pointer(&gates[i%4])))
		})
		show("gate_e4m3", rows*hidden*5, func(i int) {
			b.must(b.launch(b.kernel("gate_e4m3", 0), rows, 1, 1, 256, 0, unsafe.Pointer(&gates[i%4])))
		})
		for _, add := range []int32{0, 1} {
			for _, name := range []string{"norm_e4m3", normE4M3(&norms[0])} {
				show(fmt.Sprintf("%s, add %d", name, add), rows*width*float64(5+6*add), func(i int) {
					n := norms[i%4]
					n.Norm.Add = add
					b.must(b.launch(b.kernel(name, 0), rows, 1, 1, 256, 0, unsafe.Pointer(&n)))
				})
			}
		}
		p := kern.Pick{X: uint64(b.random(wants*vocab*4, false)), Best: uint64(b.alloc(4 * wants)), Count: few, Cols: vocab}
		for _, n := range []int{128, 365, 1024} {
			show(fmt.Sprintf("pick of %d rows", n), float64(n)*vocab*4, func(int) {
				b.must(b.launch(b.kernel("pick", 0), n, 1, 1, 1024, 0, unsafe.Pointer(&p)))
			})
		}
		b.freeTo(keep)
	})
}

// What pick finds is the first of the greatest: in rows whose length vectors divide, and others,
// with ties, numbers that are none, and rows that have nothing.
func TestPick(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, cols := range []int{1, 131, 1000, 20001, 128256} {
			const rows = 5
			x := make([]float32, (rows+1)*cols)
			for i := range x {
				x[i] = float32(b.rng.IntN(5000)-5500) / 7
			}
			for i := range cols {
				x[(rows-1)*cols+i] = float32(math.Inf(-1))
			}
			x[cols-1], x[cols/2] = 1e9, float32(math.NaN())
			p := kern.Pick{X: uint64(put(b, x)), Best: uint64(put(b, make([]int32, rows+1))), Count: uint64(put(b, []int32{rows})), Cols: int32(cols)}
			b.must(b.launch(b.kernel("pick", 0), rows+1, 1, 1, 1024, 0, unsafe.Pointer(&p)))
			b.must(b.wait())
			got := get[int32](b, pointer(p.Best), rows+1)
			for r := range rows {
				want, top := -1, math.Inf(-1)
				for i, v := range x[r*cols : (r+1)*cols] {
					if float64(v) > top {
						want, top = i, float64(v)
					}
				}
				if int(got[r]) != want {
					t.Errorf("%d columns: row %d's greatest is at %d, want %d", cols, r, got[r], want)
				}
			}
			if got[rows] != 0 {
				t.Errorf("%d columns: a row beyond the count is written", cols)
			}
		}
	})
}
