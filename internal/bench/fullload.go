package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/engine"
	"weir/internal/llm"
)

// FullLoad is requests of one length each way, as many at once as run: throughput tables
// of other engines are made of such.
type FullLoad struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
}

func (l FullLoad) String() string { return fmt.Sprintf("%d/%d", l.Input, l.Output) }

// maxLoad bounds both lengths: a million tokens are longer than any model's context.
const maxLoad = 1 << 20

// ParseFullLoad reads what String writes.
func ParseFullLoad(text string) (FullLoad, error) {
	in, out, ok := strings.Cut(strings.TrimSpace(text), "/")
	input, err1 := strconv.Atoi(in)
	output, err2 := strconv.Atoi(out)
	if !ok || err1 != nil || err2 != nil || input < 1 || output < 1 || input > maxLoad || output > maxLoad {
		return FullLoad{}, fmt.Errorf("%q is not INPUT/OUTPUT in tokens, such as 128/2048", text)
	}
	return FullLoad{input, output}, nil
}

// LoadResult is what a load came to in its steady state.
type LoadResult struct {
	FullLoad
	Clients int     `json:"clients"` // each has one request under way at any time
	Seconds float64 `json:"seconds"` // that were measured

	OutputPerSecond   float64   `json:"output_tokens_per_s"`
	Quarters          []float64 `json:"quarters"` // the same in each quarter of the time
	InputPerSecond    float64   `json:"input_tokens_per_s"`
	RequestsPerSecond float64   `json:"requests_per_s"` // that ended
	StepMs            float64   `json:"step_ms"`        // in the mean
	StepTokens        float64   `json:"step_tokens"`    // computed in a step, in the mean
	Preemptions       int64     `json:"preemptions"`    // sequences that gave way to others
}

// loadRun is a load on its way.
type loadRun struct {
	driver *driver
	load   FullLoad
	stop   context.CancelCauseFunc

	mu       sync.Mutex // of the driver's random numbers
	begun    atomic.Int64
	tokens   atomic.Int64
	finished atomic.Int64
}

// loads measures all loads.
func (r *run) loads(ctx context.Context) ([]LoadResult, error) {
	var results []LoadResult
	for _, l := range r.o.Settings.Loads {
		res, err := r.fullLoad(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("full load %v: %w", l, err)
		}
		results = append(results, res)
	}
	return results, nil
}

// clients is how many requests of a load run at once: as many as are asked for, as
// memory holds when each is somewhere between its beginning and its end, or as steps
// have room for, and a sixteenth more: others would only wait to begin.
func (o *Options) clients(l FullLoad) (int, error) {
	full := (o.Chunk*l.Output + l.Input + l.Output - 1) / (l.Input + l.Output)
	n := min(o.Settings.Clients, full+full/16+1)
	for i, pages := range o.KV.Pages {
		if o.KV.Groups[i].Window > 0 {
			continue
		}
		cells := pages * o.KV.PageSize
		if l.Input+l.Output+o.KV.PageSize > cells {
			return 0, fmt.Errorf("one request needs %d cells of KV cache, but there is memory for %d; choose shorter ones or raise --memory", l.Input+l.Output+o.KV.PageSize, cells)
		}
		// A twentieth stays free, since not all are half-way at the same time.
		n = min(n, max(1, cells/20*19/(l.Input+l.Output/2+o.KV.PageSize)))
	}
	return n, nil
}

// fullLoad keeps as many requests under way as there are clients, and counts once all
// have begun. The first request of each client is as far on as requests are when somebody
// comes by: what it would have generated is part of its prompt, and the prompts are
// computed before any of these requests begins, for the prefix cache. So the state is steady from
// the beginning, and need not be waited for.
func (r *run) fullLoad(ctx context.Context, l FullLoad) (LoadResult, error) {
	n, err := r.o.clients(l)
	if err != nil {
		return LoadResult{}, err
	}
	r.progress(fmt.Sprintf("full load %v: %d requests begin", l, n))
	working, stop := context.WithCancelCause(ctx)
	run := &loadRun{driver: &r.driver, load: l, stop: stop}
	var all sync.WaitGroup
	first := make([]*llm.Request, n)
	for i := range n {
		first[i] = run.request(l.behind(i))
		all.Go(func() { run.ahead(working, first[i]) })
	}
	all.Wait()
	for i := range n {
		all.Go(func() { run.client(working, first[i]) })
	}
	res, err := LoadResult{FullLoad: l, Clients: n}, run.wait(working, n)
	if err == nil {
		r.progress(fmt.Sprintf("full load %v: measuring for %v", l, r.o.Settings.LoadTime))
		err = run.count(working, r.o.Engine, r.o.Settings.LoadTime, &res)
	}
	stop(errEnough)
	all.Wait()
	if why := context.Cause(working); ctx.Err() == nil && !errors.Is(why, errEnough) {
		err = why // what went wrong first
	}
	return res, errors.Join(err, r.driver.settled(ctx))
}

// behind is how many tokens client i's first request has behind it: spread evenly over
// a request's length, whatever the number of clients, and by no order, since those that begin
// one after the other in order of what they have left would all end at once.
func (l FullLoad) behind(i int) int {
	const golden = 0.6180339887498949
	_, part := math.Modf(float64(i) * golden)
	return min(int(part*float64(l.Output)), l.Output-1)
}

// errEnough ends a load's requests.
var errEnough = errors.New("measured")

// request is the load's, with done tokens of it behind it.
func (l *loadRun) request(done int) *llm.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.driver.request(l.load.Input+done, l.load.Output-done)
}

// ahead computes a request's prompt.
func (l *loadRun) ahead(ctx context.Context, r *llm.Request) {
	one, prompt := 1, *r
	prompt.ID += "-prompt"
	prompt.Params.MaxTokens = &one
	for _, err := range l.driver.engine.Generate(ctx, &prompt) {
		if err != nil {
			l.fail(ctx, err)
			return
		}
	}
}

func (l *loadRun) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		l.stop(err)
	}
}

// client sends requests, one after the other, of which it is given the first.
func (l *loadRun) client(ctx context.Context, r *llm.Request) {
	first := true
	for ; ctx.Err() == nil; r = l.request(0) {
		for ev, err := range l.driver.engine.Generate(ctx, r) {
			if err != nil {
				l.fail(ctx, err)
				return
			}
			if len(ev.Tokens) > 0 && first {
				l.begun.Add(1)
				first = false
			}
			l.tokens.Add(int64(len(ev.Tokens)))
		}
		l.finished.Add(1)
	}
}

// wait waits until all clients have had a token.
func (l *loadRun) wait(ctx context.Context, n int) error {
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for l.begun.Load() < int64(n) {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

const loadParts = 4 // of the time, to tell whether it was steady

// count takes the figures of so much time.
func (l *loadRun) count(ctx context.Context, e *engine.Engine, d time.Duration, res *LoadResult) error {
	before, finished, began := e.Stats(), l.finished.Load(), time.Now()
	first, from := l.tokens.Load(), began
	last := first
	for len(res.Quarters) < loadParts {
		timer := time.NewTimer(time.Until(began.Add(d * time.Duration(len(res.Quarters)+1) / loadParts)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		now, tokens := time.Now(), l.tokens.Load()
		res.Quarters = append(res.Quarters, float64(tokens-last)/now.Sub(from).Seconds())
		last, from = tokens, now
	}
	took := from.Sub(began).Seconds()
	after := e.Stats()
	res.Seconds = took
	res.OutputPerSecond = float64(last-first) / took
	res.InputPerSecond = float64(after.PrefillTokens-before.PrefillTokens) / took
	res.RequestsPerSecond = float64(l.finished.Load()-finished) / took
	res.Preemptions = after.Preemptions - before.Preemptions
	if steps := float64(after.Steps - before.Steps); steps > 0 {
		res.StepMs = (after.StepTime - before.StepTime).Seconds() * 1e3 / steps
		res.StepTokens = float64(after.PrefillTokens-before.PrefillTokens+after.DecodeTokens-before.DecodeTokens) / steps
	}
	return nil
}

// loadHeadings are the columns of the loads' table.
var loadHeadings = []string{"full load", "clients", "output tokens/s", "min – max", "input tokens/s", "requests/s", "step ms", "tokens a step", "gave way"}

func (l *LoadResult) row() []string {
	s := Summarize(l.Quarters)
	return []string{l.FullLoad.String(), strconv.Itoa(l.Clients), number(l.OutputPerSecond), number(s.Min) + " – " + number(s.Max),
		number(l.InputPerSecond), number(l.RequestsPerSecond), number(l.StepMs), number(l.StepTokens), strconv.FormatInt(l.Preemptions, 10)}
}
