package cpu

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"testing"

	"weir/internal/backend"
	"weir/internal/weights"
)

// BenchmarkPauses is how long the garbage collector waits for the threads that
// compute: a kernel is a call that Go cannot interrupt, so the longest of them is
// what every goroutine waits for when a collection begins or ends. The shape is the
// widest product of an 8B model; each run is one product and one collection.
func BenchmarkPauses(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	const in, out = 4096, 14336
	for _, typ := range []weights.Type{weights.BF16, weights.Q8_0, weights.Q4_K} {
		for _, rows := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%v/batch=%d", typ, rows), func(b *testing.B) {
				plan := backend.Plan{Rows: rows, Seqs: rows}
				x, y := plan.Act("x", in), plan.Act("y", out)
				g := newRigOf(b, Options{Threads: 2}, plan)
				w, _ := g.load(rng, typ, out, in)
				g.begin(rows)
				g.set(x, uniform(rng, rows*in, 1))
				group := []backend.Projection{{Dst: y, W: w}}
				before, done := stops(), make(chan struct{})
				go func() {
					defer close(done)
					for b.Loop() {
						g.s.Linear(x, group...)
					}
				}()
				for collecting := true; collecting; {
					runtime.GC()
					select {
					case <-done:
						collecting = false
					default:
					}
				}
				reportStops(b, before, stops())
			})
		}
	}
}

// stops is the runtime's histogram of how long stopping the world has taken.
func stops() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}

// reportStops reports the median and the 99th percentile of those between, as the
// upper ends of their buckets.
func reportStops(b *testing.B, before, after *metrics.Float64Histogram) {
	total := uint64(0)
	for i := range after.Counts {
		total += after.Counts[i] - before.Counts[i]
	}
	for name, share := range map[string]float64{"p50-stop-µs": 0.5, "p99-stop-µs": 0.99} {
		seen := uint64(0)
		for i := range after.Counts {
			if seen += after.Counts[i] - before.Counts[i]; float64(seen) >= share*float64(total) {
				b.ReportMetric(1e6*after.Buckets[i+1], name)
				break
			}
		}
	}
}
