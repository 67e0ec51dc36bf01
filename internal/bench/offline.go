package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/llm"
)

// Offline is requests of random lengths that are all there from the beginning: how
// long an engine takes for all of them.
type Offline struct {
	Requests int     `json:"requests"`
	Input    Lengths `json:"input_tokens"` // of each
	Output   Lengths `json:"output_tokens"`
}

// Lengths are numbers of tokens, all of [Least, Most] equally often.
type Lengths struct {
	Least int `json:"least"`
	Most  int `json:"most"`
}

func (l Lengths) String() string { return fmt.Sprintf("%d-%d", l.Least, l.Most) }

func (o Offline) String() string { return fmt.Sprintf("%d:%v/%v", o.Requests, o.Input, o.Output) }

// maxOffline bounds how many requests there are.
const maxOffline = 1 << 14

// ParseOffline reads what String writes; a single number stands for a range of its own.
// The error says what is wrong with the text, without repeating all of it.
func ParseOffline(text string) (Offline, error) {
	count, rest, ok := strings.Cut(strings.TrimSpace(text), ":")
	if !ok {
		return Offline{}, errors.New("there is no colon behind the number of requests")
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxOffline {
		return Offline{}, fmt.Errorf("the number of requests must be from 1 to %d", maxOffline)
	}
	in, out, ok := strings.Cut(rest, "/")
	if !ok {
		return Offline{}, errors.New("there is no slash between lengths of inputs and outputs")
	}
	input, err1 := parseLengths(in)
	output, err2 := parseLengths(out)
	return Offline{n, input, output}, cmp.Or(err1, err2)
}

func parseLengths(text string) (Lengths, error) {
	least, most, ok := strings.Cut(text, "-")
	if !ok {
		most = least
	}
	l := Lengths{}
	var err1, err2 error
	l.Least, err1 = strconv.Atoi(least)
	l.Most, err2 = strconv.Atoi(most)
	if errors.Join(err1, err2) != nil || l.Least < 1 || l.Most < l.Least || l.Most > maxLoad {
		return l, fmt.Errorf("%q is no range of lengths; they must be from 1 to %d, the least first", text, maxLoad)
	}
	return l, nil
}

func (l Lengths) draw(r *rand.Rand) int { return l.Least + r.IntN(l.Most-l.Least+1) }

// OfflineResult is what the requests came to.
type OfflineResult struct {
	Offline      string  `json:"offline"`
	InputTokens  int     `json:"input_tokens"`
	OutputTokens int     `json:"output_tokens"`
	Seconds      Summary `json:"seconds"`             // from the first request to the last one's end
	PerSecond    Summary `json:"output_tokens_per_s"` // of all that time
	Preemptions  int64   `json:"preemptions"`         // sequences that gave way to others, in all rounds
}

// offlineSeed makes the lengths the same in every round and every run; the tokens are
// other ones each time.
const offlineSeed = 1

// offlines measures the load in each round, after one that warms up.
func (r *run) offlines(ctx context.Context) (*OfflineResult, error) {
	o := r.o.Settings.Offline
	if o == nil {
		return nil, nil
	}
	res := &OfflineResult{Offline: o.String()}
	var seconds, rates []float64
	var before int64
	for round := range r.o.Settings.Repeat + 1 {
		what := "warming up"
		if round > 0 {
			what = fmt.Sprintf("round %d of %d", round, r.o.Settings.Repeat)
		}
		r.progress(fmt.Sprintf("offline %v: %s", o, what))
		took, err := r.offline(ctx, o, res)
		if err != nil {
			return nil, fmt.Errorf("offline %v: %w", o, err)
		}
		if round == 0 { // the warm-up
			before = r.o.Engine.Stats().Preemptions
			continue
		}
		seconds, rates = append(seconds, took.Seconds()), append(rates, float64(res.OutputTokens)/took.Seconds())
	}
	res.Seconds, res.PerSecond = Summarize(seconds), Summarize(rates)
	res.Preemptions = r.o.Engine.Stats().Preemptions - before
	return res, nil
}

// offline sends all requests at once and returns how long all of them took.
func (r *run) offline(ctx context.Context, o *Offline, res *OfflineResult) (time.Duration, error) {
	random := rand.New(rand.NewPCG(offlineSeed, uint64(o.Requests)))
	requests := make([]*llm.Request, o.Requests)
	res.InputTokens, res.OutputTokens = 0, 0
	for i := range requests {
		input, output := o.Input.draw(random), o.Output.draw(random)
		requests[i] = r.driver.request(input, output)
		res.InputTokens, res.OutputTokens = res.InputTokens+input, res.OutputTokens+output
	}
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	began := time.Now()
	for _, q := range requests {
		all.Go(func() { r.answer(working, stop, q) })
	}
	all.Wait()
	took := time.Since(began)
	return took, errors.Join(context.Cause(working), r.driver.settled(ctx))
}

// answer takes all tokens of a request, and stops the others where it fails.
func (r *run) answer(ctx context.Context, stop context.CancelCauseFunc, q *llm.Request) {
	tokens := 0
	for ev, err := range r.driver.engine.Generate(ctx, q) {
		if err != nil {
			stop(err)
			return
		}
		tokens += len(ev.Tokens)
	}
	if want := *q.Params.MaxTokens; tokens != want && ctx.Err() == nil {
		stop(fmt.Errorf("a request of %d tokens had %d", want, tokens))
	}
}

// checkOffline refuses a load that can't run: the longest request must find room.
func (o *Options) checkOffline() error {
	l := o.Settings.Offline
	if l == nil {
		return nil
	}
	need := l.Input.Most + l.Output.Most + o.KV.PageSize
	for i, pages := range o.KV.Pages {
		if cells := pages * o.KV.PageSize; o.KV.Groups[i].Window == 0 && need > cells {
			return fmt.Errorf("offline %v: one request may need %d cells of KV cache, but there is memory for %d; choose shorter ones or raise --memory", l, need, cells)
		}
	}
	return nil
}

// offlineHeadings are the columns of the offline load's table.
var offlineHeadings = []string{"offline", "input tokens", "output tokens", "seconds", "output tokens/s", "min – max", "gave way"}

func (o *OfflineResult) row() []string {
	s := o.PerSecond
	return []string{o.Offline, strconv.Itoa(o.InputTokens), strconv.Itoa(o.OutputTokens), number(o.Seconds.Median), number(s.Median), number(s.Min) + " – " + number(s.Max),
		strconv.FormatInt(o.Preemptions, 10)}
}
