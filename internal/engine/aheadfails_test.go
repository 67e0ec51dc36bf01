package engine

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/llm"
	"weir/internal/weights"
)

// failing is a device that draws and fails at every so many-th step.
type failing struct {
	drawingBackend
	every int
}

func (b failing) NewStream(p backend.Plan) (backend.Stream, error) {
	s, err := b.drawingBackend.NewStream(p)
	if err != nil {
		return nil, err
	}
	return &failingStream{s.(*drawingStream), b.every, 0}, nil
}

type failingStream struct {
	*drawingStream
	every, waited int
}

func (s *failingStream) Wait() (*backend.Result, error) {
	r, err := s.drawingStream.Wait()
	if s.waited++; s.every > 0 && s.waited%s.every == 0 {
		return nil, errors.New("the step is lost")
	}
	return r, err
}

func startFailing(t *testing.T, every int) *Engine {
	t.Helper()
	f, err := weights.OpenBytes("tiny", tinyGGUF(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New(cpu.Options{Threads: 1, Level: kern.Portable})
	if err != nil {
		t.Fatal(err)
	}
	c := usual
	c.running, c.pageSize, c.batchTokens = 6, 4, 30
	e := newTiny(t, f, failing{drawingBackend{b}, every}, c)
	t.Cleanup(func() { e.Close(); b.Close(); f.Close() })
	return e
}

// Where a step fails, its requests are told, and those of the step that was begun behind it;
// what the others say is right, and no page is lost.
func TestDeviceFailsAhead(t *testing.T) {
	requests := randomRequests(40)
	for i, r := range requests {
		if i%8 > 0 {
			r.Params.PromptLogprobs, r.Params.N = nil, 1
		}
	}
	want := alone(t, usual, requests)
	var same atomic.Int64
	for _, every := range []int{7, 12, 31} {
		e := startFailing(t, every)
		var failed atomic.Int64
		var wg sync.WaitGroup
		for i, r := range requests {
			wg.Go(func() {
				got, err := collect(context.Background(), e, r)
				var le *llm.Error
				if errors.As(err, &le) && le.Kind == llm.Internal {
					failed.Add(1)
					return
				}
				same.Add(1)
				got.usage.CachedTokens, got.usage.Guesses = want[i].usage.CachedTokens, nil
				if err != nil || !reflect.DeepEqual(got, want[i]) {
					t.Errorf("every %d: %s differs (%v):\n got %+v\nwant %+v", every, r.ID, err, got, want[i])
				}
			})
		}
		wg.Wait()
		waitFor(t, "all pages free", func() bool { s := e.Stats(); return s.FreePages == s.Pages })
		if s := counted(t, e); failed.Load() == 0 || s.Ahead == 0 {
			t.Errorf("every %d: %d failed, %d steps begun ahead: the test does not test it", every, failed.Load(), s.Ahead)
		}
	}
	// Of all rounds together: where every seventh step fails, there may be no request that ends between two of these.
	if same.Load() == 0 {
		t.Error("no request was answered: the test does not test it")
	}
}

// An engine that is closed while steps are on their way waits for them, and tells everybody.
func TestCloseAhead(t *testing.T) {
	var cut atomic.Int64
	for events := range 12 {
		e := startFailing(t, 0)
		var wg sync.WaitGroup
		begun := make(chan struct{}, 1<<12)
		for _, r := range randomRequests(10) {
			r.Params.MaxTokens, r.Params.IgnoreEOS, r.Params.Stop = ptr(100), true, nil
			wg.Go(func() {
				_, err := collect(context.Background(), told{e, begun}, r)
				var le *llm.Error
				if errors.As(err, &le) && le.Kind == llm.Unavailable {
					cut.Add(1)
				} else if err != nil {
					t.Errorf("%s: %v", r.ID, err)
				}
			})
		}
		for range 7 * events {
			<-begun
		}
		e.Close()
		wg.Wait()
	}
	if cut.Load() == 0 {
		t.Error("all requests ended before: the test does not test it")
	}
}

// told says when there is an event.
type told struct {
	*Engine
	event chan struct{}
}

func (g told) Generate(ctx context.Context, r *llm.Request) iter.Seq2[llm.Event, error] {
	return func(yield func(llm.Event, error) bool) {
		for ev, err := range g.Engine.Generate(ctx, r) {
			g.event <- struct{}{}
			if !yield(ev, err) {
				return
			}
		}
	}
}
