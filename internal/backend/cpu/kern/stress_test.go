package kern

import (
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"

	"weir/internal/weights"
)

// TestUnderSignalsAndCollections runs kernels on new goroutines, whose stacks
// grow in a kernel's trampoline, while the collector runs without pause and the
// profiler interrupts: results stay the same.
func TestUnderSignalsAndCollections(t *testing.T) {
	eachLevel(t, func(t *testing.T, l Level) {
		rng := rand.New(rand.NewPCG(1, 2))
		const rows, n, cols = 5, 16, 1024
		w := blocks(rng, weights.Q4_K, n, cols)
		x := newOperand(l, weights.Q4_K, random(rng, rows*cols, false), rows, cols)
		g := newGemm(rng, l, weights.Q4_K, rows, n, cols)
		compute := func() []float32 {
			var out [2 * rows * n]float32 // on this goroutine's stack
			d := Decode{W: &w[0], X: &x.data[0], Out: &out[0], Cols: cols, Rows: rows, N: n, LdW: int64(len(w) / n), LdX: int64(x.ld), LdO: n}
			l.Decode(weights.Q4_K, &d)
			g.run(out[rows*n:], n, 0, rows, 0, n)
			return append([]float32(nil), out[:]...)
		}
		want := compute()
		calls := 2500
		if testing.Short() { // on an emulated processor
			calls = 100
		}

		if err := pprof.StartCPUProfile(io.Discard); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
		stop := make(chan struct{})
		var collector, workers sync.WaitGroup
		collector.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					runtime.GC()
				}
			}
		})
		for range 4 {
			workers.Go(func() {
				for range calls {
					done := make(chan []float32)
					go func() { done <- compute() }()
					for i, v := range <-done {
						if !sameBits(v, want[i]) {
							t.Errorf("out[%d] = %v, want %v", i, v, want[i])
							return
						}
					}
				}
			})
		}
		workers.Wait()
		close(stop)
		collector.Wait()
	})
}
