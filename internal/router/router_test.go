package router

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/llm"
)

// fleet is what fake engines tell of themselves.
type fleet struct {
	t      *testing.T
	in     atomic.Int32 // in memory
	most   atomic.Int32
	loads  atomic.Int32
	broken atomic.Bool
}

type fakeEngine struct {
	f      *fleet
	name   string
	closed atomic.Bool
}

func (e *fakeEngine) Generate(context.Context, *llm.Request) iter.Seq2[llm.Event, error] { return nil }
func (e *fakeEngine) Model() llm.Model                                                   { return llm.Model{ID: e.name, Context: 99} }
func (e *fakeEngine) Close() error {
	if e.closed.Swap(true) {
		e.f.t.Errorf("%s is closed twice", e.name)
	}
	time.Sleep(time.Second)
	e.f.in.Add(-1)
	return nil
}

// model is one that takes 3 seconds to load.
func (f *fleet) model(name string) Model {
	return Model{About: llm.Model{ID: name}, Open: func(ctx context.Context) (Engine, error) {
		f.loads.Add(1)
		n := f.in.Add(1)
		f.most.Store(max(f.most.Load(), n))
		time.Sleep(3 * time.Second)
		if f.broken.Load() {
			f.in.Add(-1)
			return nil, errors.New("the file is truncated")
		}
		return &fakeEngine{f: f, name: name}, nil
	}}
}

func start(t *testing.T, o Options, names ...string) (*Router, *fleet) {
	f := &fleet{t: t}
	var models []Model
	for _, n := range names {
		models = append(models, f.model(n))
	}
	if o.Waiting == 0 {
		o.Waiting = 100
	}
	r, err := New(o, models)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := f.in.Load(); n != 0 {
			t.Errorf("%d models are left in memory", n)
		}
	})
	return r, f
}

func (r *Router) states() string {
	var list []string
	for _, s := range r.Status() {
		list = append(list, fmt.Sprintf("%s:%s", s.About.ID, s.State))
	}
	return strings.Join(list, " ")
}

func wantStates(t *testing.T, r *Router, want string) {
	t.Helper()
	synctest.Wait()
	if got := r.states(); got != want {
		t.Errorf("models are %s, want %s", got, want)
	}
}

// in runs a test in a time of its own, which goes on when everybody waits.
func in(t *testing.T, test func(t *testing.T)) { t.Helper(); synctest.Test(t, test) }

func TestLoadedOnceForAll(t *testing.T) {
	in(t, func(t *testing.T) {
		r, f := start(t, Options{}, "a", "b")
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				e, release, err := r.Hold(t.Context(), "a")
				if err != nil || e.Model().ID != "a" {
					t.Errorf("%v, %v", e, err)
				}
				release()
			})
		}
		all.Wait()
		if f.loads.Load() != 1 {
			t.Errorf("loaded %d times", f.loads.Load())
		}
		wantStates(t, r, "a:loaded b:unloaded")
		if s := r.Status()[0]; s.Users != 0 || s.About.Context != 99 {
			t.Errorf("afterwards %+v", s)
		}
	})
}

func TestSwap(t *testing.T) {
	in(t, func(t *testing.T) {
		r, f := start(t, Options{Loaded: 1, Patience: 10 * time.Second}, "a", "b")
		_, done, err := r.Hold(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		got := make(chan error)
		go func() { got <- r.Load(t.Context(), "b") }()
		synctest.Wait()
		time.Sleep(20 * time.Second) // b is due; a is still used
		wantStates(t, r, "a:leaving b:unloaded")
		again := make(chan error)
		go func() { again <- r.Load(t.Context(), "a") }() // has to wait until b has had its turn
		done()
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 24*time.Second { // 20, 1 to close a, 3 to load b
			t.Errorf("b came after %v", waited)
		}
		if err := <-again; err != nil {
			t.Fatal(err)
		}
		wantStates(t, r, "a:loaded b:unloaded")
		if f.most.Load() != 1 {
			t.Errorf("%d models were in memory at once", f.most.Load())
		}
	})
}

func TestIdleModelsLeave(t *testing.T) {
	in(t, func(t *testing.T) {
		r, _ := start(t, Options{Idle: time.Minute}, "a", "b")
		if err := errors.Join(r.Load(t.Context(), "a"), r.Load(t.Context(), "b")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		wantStates(t, r, "a:loaded b:loaded")
		if err := r.Load(t.Context(), "b"); err != nil { // that is a use
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		wantStates(t, r, "a:unloaded b:loaded")
		time.Sleep(time.Minute)
		wantStates(t, r, "a:unloaded b:unloaded")
	})
}

func TestFailedLoadIsTriedAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		r, f := start(t, Options{}, "a")
		f.broken.Store(true)
		err := r.Load(t.Context(), "a")
		var le *llm.Error
		if !errors.As(err, &le) || le.Kind != llm.Unavailable || !strings.Contains(err.Error(), "truncated") || strings.Contains(le.Message, "truncated") {
			t.Errorf("got %v", err)
		}
		wantStates(t, r, "a:unloaded")
		f.broken.Store(false)
		if err := r.Load(t.Context(), "a"); !errors.As(err, &le) || le.RetryAfter <= 0 || f.loads.Load() != 1 {
			t.Errorf("at once after it %v, %d loads", err, f.loads.Load())
		}
		time.Sleep(retryAfter)
		if err := r.Load(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	})
}

// TestCheckedBeforeAnotherLeaves: a model that can't be loaded sends none away.
func TestCheckedBeforeAnotherLeaves(t *testing.T) {
	in(t, func(t *testing.T) {
		f := &fleet{t: t}
		bad := f.model("b")
		bad.Check = func() error { return errors.New("the file is gone") }
		r, err := New(Options{Loaded: 1, Waiting: 9}, []Model{f.model("a"), bad})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Load(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		var le *llm.Error
		if err := r.Load(t.Context(), "b"); !errors.As(err, &le) || le.Code != "model_not_loaded" || !strings.Contains(err.Error(), "gone") {
			t.Errorf("got %v", err)
		}
		wantStates(t, r, "a:loaded b:unloaded")
	})
}

func TestUnloadAsked(t *testing.T) {
	in(t, func(t *testing.T) {
		r, _ := start(t, Options{}, "a")
		_, done, err := r.Hold(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Unload("a"); err != nil {
			t.Fatal(err)
		}
		wantStates(t, r, "a:leaving") // the request goes on
		done()
		time.Sleep(2 * time.Second)
		wantStates(t, r, "a:unloaded")
		if err := r.Unload("a"); err != nil {
			t.Errorf("unloading what is not loaded: %v", err)
		}
		if err := r.Unload("x"); !errors.Is(err, ErrUnknown) {
			t.Errorf("unloading what there is not: %v", err)
		}
	})
}

func TestWaitersAreBounded(t *testing.T) {
	in(t, func(t *testing.T) {
		r, _ := start(t, Options{Waiting: 1}, "a")
		first := make(chan error)
		go func() { first <- r.Load(t.Context(), "a") }()
		synctest.Wait()
		_, _, err := r.Hold(t.Context(), "a")
		var le *llm.Error
		if !errors.As(err, &le) || le.Kind != llm.Overloaded {
			t.Errorf("got %v", err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseTellsThoseWhoWait(t *testing.T) {
	in(t, func(t *testing.T) {
		r, _ := start(t, Options{}, "a")
		got := make(chan error)
		go func() { got <- r.Load(t.Context(), "a") }()
		synctest.Wait()
		go r.Close()
		var le *llm.Error
		if err := <-got; !errors.As(err, &le) || le.Kind != llm.Unavailable {
			t.Errorf("got %v", err)
		}
		if _, _, err := r.Hold(t.Context(), "a"); !errors.As(err, &le) || le.Kind != llm.Unavailable {
			t.Errorf("after it %v", err)
		}
	})
}

// TestTraffic lets many ask for many models at random, give up at random and
// unload at random. An engine must never be closed while it is used, never more
// be in memory than may be, and each request must come to its end.
func TestTraffic(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	in(t, func(t *testing.T) {
		names := []string{"a", "b", "c", "d"}
		r, f := start(t, Options{Loaded: 2, Idle: 5 * time.Second, Patience: 4 * time.Second}, names...)
		var served, gaveUp atomic.Int32
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				for range 40 {
					time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
					name := names[min(rng.IntN(6), 3)]
					if rng.IntN(20) == 0 {
						if err := r.Unload(name); err != nil && !strings.Contains(err.Error(), "is being loaded") {
							t.Error(err)
						}
					}
					use(t, r, name, rng, &served, &gaveUp)
					r.Each(func(e Engine) {
						if e.(*fakeEngine).closed.Load() {
							t.Error("one looks at what is closed")
						}
					})
				}
			})
		}
		all.Wait()
		t.Logf("%d served, %d gave up, %d loads", served.Load(), gaveUp.Load(), f.loads.Load())
		if f.most.Load() != 2 || served.Load() == 0 || gaveUp.Load() == 0 {
			t.Errorf("%d models were in memory at once; the load did not do what it is for", f.most.Load())
		}
	})
}

func use(t *testing.T, r *Router, name string, rng *rand.Rand, served, gaveUp *atomic.Int32) {
	ctx, done := context.WithTimeout(t.Context(), time.Duration(1+rng.IntN(60))*time.Second)
	defer done()
	e, release, err := r.Hold(ctx, name)
	if errors.Is(err, context.DeadlineExceeded) {
		gaveUp.Add(1)
		return
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer release()
	for range 1 + rng.IntN(5) {
		if e.(*fakeEngine).closed.Load() {
			t.Errorf("%s is closed while it is used", name)
		}
		time.Sleep(time.Duration(rng.IntN(900)) * time.Millisecond)
	}
	served.Add(1)
}
