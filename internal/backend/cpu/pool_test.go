package cpu

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type taskFunc func(worker, item int)

func (f taskFunc) Do(worker, item int) { f(worker, item) }

// checkNoGoroutinesLeft fails if more goroutines run at the end of the test than now.
func checkNoGoroutinesLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		// A goroutine that has returned is counted until it is off its thread.
		for range 1000 {
			if runtime.NumGoroutine() <= before {
				return
			}
			runtime.Gosched()
			time.Sleep(time.Millisecond)
		}
		t.Errorf("%d goroutines, %d before the test", runtime.NumGoroutine(), before)
	})
}

func TestPoolDoesEveryItemOnce(t *testing.T) {
	checkNoGoroutinesLeft(t)
	for _, threads := range []int{1, 2, 3, 8} {
		p := NewPool(threads)
		if p.Threads() != threads {
			t.Fatalf("pool of %d threads says %d", threads, p.Threads())
		}
		busy := make([]atomic.Int32, threads)
		for _, n := range []int{0, 1, 2, 3, 7, 64, 1000} {
			for range 50 {
				count := make([]atomic.Int32, n)
				p.Run(n, taskFunc(func(worker, item int) {
					if busy[worker].Add(1) != 1 {
						t.Errorf("worker %d runs twice at a time", worker)
					}
					count[item].Add(1)
					busy[worker].Add(-1)
				}))
				for i := range count {
					if c := count[i].Load(); c != 1 {
						t.Fatalf("%d threads, %d items: item %d done %d times", threads, n, i, c)
					}
				}
			}
		}
		p.Close()
		p.Close()
	}
}

// Workers that have parked wake again, whether or not the last post was taken
// back from them.
func TestPoolWakesParkedWorkers(t *testing.T) {
	checkNoGoroutinesLeft(t)
	p := NewPool(3)
	defer p.Close()
	for range 50 {
		for _, w := range p.workers {
			for w.state.Load() != parked {
				runtime.Gosched()
			}
		}
		for range 3 {
			// Three items that wait for one another need three threads.
			var met sync.WaitGroup
			met.Add(3)
			p.Run(3, taskFunc(func(_, _ int) { met.Done(); met.Wait() }))
		}
	}
}

func TestPoolIsSharedByManyCallers(t *testing.T) {
	checkNoGoroutinesLeft(t)
	p := NewPool(4)
	defer p.Close()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 200 {
				sum := make([]int64, p.Threads())
				p.Run(100, taskFunc(func(worker, item int) { sum[worker] += int64(item) }))
				var total int64
				for _, s := range sum {
					total += s
				}
				if total != 4950 {
					t.Errorf("items add up to %d, want 4950", total)
				}
			}
		})
	}
	callers.Wait()
}

func TestPoolPanicsInTheCaller(t *testing.T) {
	checkNoGoroutinesLeft(t)
	p := NewPool(3)
	defer p.Close()
	cause := errors.New("item 7 is bad")
	for range 20 {
		func() {
			defer func() {
				err, ok := recover().(*WorkerPanic)
				if !ok || !errors.Is(err, cause) || !strings.Contains(err.Error(), "panickingItem") {
					t.Fatalf("recovered %v, want a WorkerPanic of %v with its stack", err, cause)
				}
			}()
			p.Run(64, taskFunc(func(_, item int) { panickingItem(item, cause) }))
			t.Fatal("Run returned")
		}()
		done := make([]bool, 64) // and the pool still works
		p.Run(64, taskFunc(func(_, item int) { done[item] = true }))
		for i, d := range done {
			if !d {
				t.Fatalf("after a panic, item %d was not done", i)
			}
		}
	}
}

func panickingItem(item int, cause error) {
	if item == 7 {
		panic(cause)
	}
}

func TestPoolRunAfterClosePanics(t *testing.T) {
	p := NewPool(2)
	p.Close()
	defer func() {
		if recover() == nil {
			t.Fatal("Run on a closed pool returned")
		}
	}()
	p.Run(2, taskFunc(func(_, _ int) {}))
}

func TestPoolRunDoesNotAllocate(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	var n atomic.Int64
	var task Task = taskFunc(func(_, _ int) { n.Add(1) })
	if a := testing.AllocsPerRun(100, func() { p.Run(32, task) }); a != 0 {
		t.Errorf("Run allocates %v times", a)
	}
}
