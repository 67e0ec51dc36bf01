package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/backend/cpu"
	"weir/internal/engine"
	"weir/internal/llm"
)

// driver sends requests to an engine as a client would.
type driver struct {
	engine *engine.Engine
	pool   *cpu.Pool // the engine's
	random generator
	sent   atomic.Int64
}

// request asks for n tokens after a prompt that no other request has: its first
// token differs from those of the last requests, as many as the vocabulary has,
// so that the prefix cache finds nothing.
func (d *driver) request(prompt, n int) *llm.Request {
	vocab := d.engine.Model().Vocab
	number := d.sent.Add(1)
	ids := make(llm.Tokens, prompt)
	ids[0] = int32(number % int64(vocab))
	for i := range ids[1:] {
		ids[1+i] = int32(d.random.next() >> 33 % uint64(vocab))
	}
	p := llm.DefaultParams()
	p.MaxTokens, p.Temperature, p.IgnoreEOS = &n, 0, true
	return &llm.Request{ID: fmt.Sprintf("bench-%d", number), Prompt: ids, Params: p}
}

// prefill sends one prompt and returns the time to its first token.
func (d *driver) prefill(ctx context.Context, prompt int) (time.Duration, spent, error) {
	r, stats := d.request(prompt, 1), d.engine.Stats()
	began := time.Now()
	var took time.Duration
	for ev, err := range d.engine.Generate(ctx, r) {
		if err != nil {
			return 0, spent{}, fmt.Errorf("prefill of %d tokens: %w", prompt, err)
		}
		if len(ev.Tokens) > 0 {
			took = time.Since(began)
		}
	}
	err := d.settled(ctx)
	return took, between(stats, d.engine.Stats()), err
}

// errApart says that some sequence had ended before the last began: the machine
// was too busy to hand the requests over in time.
var errApart = errors.New("the sequences did not decode together for long enough, three times in a row: other programs keep the processors busy; try again when they have ended")

// decodeTogether is decode, tried again where sequences missed each other.
func (d *driver) decodeTogether(ctx context.Context, from stream, batch, prompt, n, chunk int) (w *window, err error) {
	for range 3 {
		if w, err = d.decode(ctx, from, batch, prompt, n, chunk); !errors.Is(err, errApart) {
			break
		}
	}
	return w, err
}

// decode asks from for as many answers as batch says and returns what happened while all
// of them decoded, for n tokens of each. chunk is the most rows of a step.
func (d *driver) decode(ctx context.Context, from stream, batch, prompt, n, chunk int) (*window, error) {
	most := n + stagger(batch, prompt, chunk)
	requests := make([]*llm.Request, batch)
	for i := range requests {
		requests[i] = d.request(prompt, most)
	}
	times, errs := make([][]time.Time, batch), make([]error, batch)
	m := &meeting{engine: d.engine, from: from, batch: int64(batch), n: n}
	release := d.hold()
	var wg sync.WaitGroup
	for i, r := range requests {
		times[i] = make([]time.Time, 0, most)
		wg.Go(func() { times[i], errs[i] = m.stream(ctx, r, times[i]) })
	}
	d.gathered(ctx, batch)
	release()
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("decode at batch %d: %w", batch, err)
	}
	if err := d.settled(ctx); err != nil {
		return nil, err
	}
	w, err := newWindow(times, n)
	if err == nil {
		w.spent = m.spent()
	}
	return w, err
}

// hold keeps the engine from computing until release is called, by keeping its
// threads. Otherwise it would be steps ahead with the first request before the
// goroutines of the others get to run: it leaves them little of the processors.
func (d *driver) hold() (release func()) {
	g := gate{make(chan struct{}), make(chan struct{})}
	go d.pool.Run(1, g)
	<-g.entered
	return func() { close(g.open) }
}

// gate is a task that waits.
type gate struct{ entered, open chan struct{} }

func (g gate) Do(int, int) {
	close(g.entered)
	<-g.open
}

// gathered waits until all requests have been accepted, and a little, in which
// they reach the loop; but not for ever, as one may have been refused.
func (d *driver) gathered(ctx context.Context, batch int) {
	poll := time.NewTicker(500 * time.Microsecond)
	defer poll.Stop()
	for range 2000 {
		all := d.engine.Stats().InFlight >= int64(batch)
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
		if all {
			return
		}
	}
}

// stagger is how many tokens the first of several sequences may be ahead of the
// last: prompts take what a step's decoding sequences leave, and requests reach
// the loop one after the other, on a busy machine some steps later.
func stagger(batch, prompt, chunk int) int {
	left := max(1, chunk-batch)
	return (batch*prompt+left-1)/left + batch + 32
}

// meeting is what the streams of a batch know of each other.
type meeting struct {
	engine  *engine.Engine
	from    stream
	batch   int64
	n       int // tokens that each is to have while all decode
	started atomic.Int64

	mu          sync.Mutex
	first, last engine.Stats // when all had started, and when the first of them had had enough
}

// spent is what the engine did in between.
func (m *meeting) spent() spent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return between(m.first, m.last)
}

// mark notes the engine's counters at a moment, the first that it is called for.
func (m *meeting) mark(at *engine.Stats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.Steps == 0 {
		*at = m.engine.Stats()
	}
}

// stream takes a request's tokens until all sequences have had n together, and
// the times at which they came.
func (m *meeting) stream(ctx context.Context, r *llm.Request, times []time.Time) ([]time.Time, error) {
	together := 0
	for tokens, err := range m.from(ctx, r) {
		if err != nil {
			return times, err
		}
		if len(times) == 0 {
			m.started.Add(1)
		}
		for now := time.Now(); tokens > 0; tokens-- {
			times = append(times, now)
		}
		if m.started.Load() < m.batch {
			continue
		}
		together++
		m.mark(&m.first)
		if together > m.n {
			m.mark(&m.last)
		}
		// Two more, so that nobody leaves while another still counts.
		if together > m.n+2 {
			break
		}
	}
	return times, nil
}

// spent is what steps took.
type spent struct {
	steps       int64
	own, device time.Duration // by the engine itself, and by forward passes
}

func (s spent) plus(o spent) spent {
	return spent{s.steps + o.steps, s.own + o.own, s.device + o.device}
}

func between(from, to engine.Stats) spent {
	device := to.DeviceTime - from.DeviceTime
	return spent{to.Steps - from.Steps, to.StepTime - from.StepTime - device, device}
}

// settled waits until the engine computes nothing: a cancelled sequence may be in
// a step still.
func (d *driver) settled(ctx context.Context) error {
	poll := time.NewTicker(200 * time.Microsecond)
	defer poll.Stop()
	for {
		if s := d.engine.Stats(); s.Running == 0 && s.Waiting == 0 && s.InFlight == 0 {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// window is the time in which all sequences decoded: from when the last of them
// had its first token until each has had n more.
type window struct {
	took  time.Duration
	first []int           // by sequence, the number of its first token in the window; its prompt's last row gave number 0
	n     int             // tokens of each
	gaps  []time.Duration // between a sequence's tokens
	spent spent           // in about that time
}

func newWindow(times [][]time.Time, n int) (*window, error) {
	var begin, end time.Time
	for _, t := range times {
		if len(t) == 0 {
			return nil, errors.New("internal error: a sequence ended without a token")
		}
		if t[0].After(begin) {
			begin = t[0]
		}
	}
	w := &window{n: n}
	for _, t := range times {
		i := 0
		for i < len(t) && !t[i].After(begin) {
			i++
		}
		if i+n > len(t) {
			return nil, errApart
		}
		w.first = append(w.first, i)
		for j := i; j < i+n; j++ {
			w.gaps = append(w.gaps, t[j].Sub(t[max(j-1, 0)]))
		}
		if last := t[i+n-1]; last.After(end) {
			end = last
		}
	}
	w.took = end.Sub(begin)
	return w, nil
}

// work is what the window's steps had to do, prompts having had so many tokens.
func (w *window) work(c *Costs, prompt int) Work {
	var sum Work
	for range w.n {
		sum = sum.plus(c.Weights())
	}
	for _, first := range w.first {
		for j := first; j < first+w.n; j++ {
			// Token j is drawn from the row of token j-1.
			sum = sum.plus(c.DecodeRow(prompt + j - 1))
		}
	}
	return sum
}
