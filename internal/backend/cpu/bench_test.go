package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// reportGMACs reports billions of multiply-adds per second.
func reportGMACs(b *testing.B, perRun int) {
	b.ReportMetric(float64(perRun)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GMAC/s")
}

func BenchmarkDot(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{64, 128, 1024, 4096} {
		x, y := uniform(rng, n, 1), uniform(rng, n, 1)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var sum float32
			for b.Loop() {
				sum += dot(x, y)
			}
			if sum != sum {
				b.Fatal("NaN")
			}
			reportGMACs(b, n)
		})
	}
}

func BenchmarkLinear(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	const in, out = 2048, 1024
	for _, typ := range []weights.Type{weights.F32, weights.F16, weights.Q8_0, weights.Q4_K, weights.Q6_K} {
		for _, rows := range []int{1, 64} {
			b.Run(fmt.Sprintf("%v/batch=%d", typ, rows), func(b *testing.B) {
				plan := backend.Plan{Rows: rows, Seqs: rows}
				x, y := plan.Act("x", in), plan.Act("y", out)
				g := newRig(b, 1, plan)
				w, _ := g.load(rng, typ, out, in)
				g.begin(rows)
				g.set(x, uniform(rng, rows*in, 1))
				group := []backend.Projection{{Dst: y, W: w}}
				for b.Loop() {
					g.s.Linear(x, group...)
				}
				reportGMACs(b, rows*in*out)
			})
		}
	}
}

// BenchmarkPrompt is a prompt's rows in one thread, at the best level. The best of its
// rounds is what other work on the machine disturbs least.
func BenchmarkPrompt(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	const rows, in, out = 256, 2048, 1024
	for _, typ := range []weights.Type{weights.Q8_0, weights.Q4_0, weights.Q4_K, weights.Q6_K, weights.BF16} {
		b.Run(typ.String(), func(b *testing.B) {
			plan := backend.Plan{Rows: rows, Seqs: rows}
			x, y := plan.Act("x", in), plan.Act("y", out)
			g := newRigOf(b, Options{Threads: 1, Level: kern.Best()}, plan)
			w, _ := g.load(rng, typ, out, in)
			g.begin(rows)
			g.set(x, uniform(rng, rows*in, 1))
			group := []backend.Projection{{Dst: y, W: w}}
			best := math.Inf(1)
			for b.Loop() {
				begin := time.Now()
				g.s.Linear(x, group...)
				best = min(best, time.Since(begin).Seconds())
			}
			b.ReportMetric(rows*in*out/best/1e9, "best-GMAC/s")
		})
	}
}

// BenchmarkDecode is rows of decode class in one thread, at the best level, with weights that
// come from memory.
func BenchmarkDecode(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	const in, out = 2048, 32 << 10
	for _, typ := range []weights.Type{weights.Q8_0, weights.Q4_0, weights.Q4_K, weights.Q6_K, weights.BF16} {
		for _, rows := range []int{1, 2, 4, 6, 8, 16, 64} {
			b.Run(fmt.Sprintf("%v/rows=%d", typ, rows), func(b *testing.B) {
				plan := backend.Plan{Rows: rows, Seqs: rows}
				x, y := plan.Act("x", in), plan.Act("y", out)
				g := newRigOf(b, Options{Threads: 1, Level: kern.Best()}, plan)
				w, _ := g.load(rng, typ, out, in)
				g.begin(rows)
				g.s.batch.byRow.set(rows, func(int) backend.Class { return backend.Decode })
				g.set(x, uniform(rng, rows*in, 1))
				group := []backend.Projection{{Dst: y, W: w}}
				best := math.Inf(1)
				for b.Loop() {
					begin := time.Now()
					g.s.Linear(x, group...)
					best = min(best, time.Since(begin).Seconds())
				}
				b.ReportMetric(float64(rows*in*out)/best/1e9, "best-GMAC/s")
				b.ReportMetric(1e3*best, "best-ms")
			})
		}
	}
}

// BenchmarkAttend is a step of decoding, and the end of a prompt, at 2000
// positions, in each of several layers, whose keys and values no cache holds.
func BenchmarkAttend(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	const layers, heads, kvHeads, dim, context = 16, 32, 8, 128, 2000
	for _, typ := range []backend.KVType{backend.KVF32, backend.KVF16} {
		for _, rows := range []int{1, 64} {
			b.Run(fmt.Sprintf("%v/rows=%d", typ, rows), func(b *testing.B) {
				plan := backend.Plan{Rows: rows, Seqs: 1, LogitRows: rows}
				q, out := plan.Act("q", heads*dim), plan.Act("out", heads*dim)
				g := newRigOf(b, Options{Threads: 1, Level: kern.Best()}, plan)
				w := newWorld(g, rng, backend.KVSpec{Type: typ, PageSize: 16,
					Groups: []backend.KVGroup{{Layers: make([]int, layers), Heads: kvHeads, HeadDim: dim}}}, 1, context)
				for cell := range w.kv.spec.Pages[0] * 16 {
					for _, l := range w.kv.layers[0] {
						l.put(arith{}, int32(cell), uniform(rng, kvHeads*dim, 1), uniform(rng, kvHeads*dim, 1))
					}
				}
				w.seqs[0].done = context - rows
				w.reset()
				w.add(0, make([]int32, rows))
				g.s.Begin(&w.batch, w.kv)
				g.set(q, uniform(rng, rows*heads*dim, 1))
				for b.Loop() {
					for i := range layers {
						g.s.Attend(out, q, backend.Layer{Index: i}, backend.Attention{Heads: heads, Scale: float32(1 / math.Sqrt(dim))})
					}
				}
				reportGMACs(b, 2*layers*rows*context*heads*dim)
			})
		}
	}
}

// BenchmarkPool is the cost of sharing out next to nothing.
func BenchmarkPool(b *testing.B) {
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			p := NewPool(threads)
			defer p.Close()
			var task Task = taskFunc(func(_, _ int) {})
			for b.Loop() {
				p.Run(8, task)
			}
		})
	}
}
