package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// These are for the run that docs/reliability.md tells of:
//
//	go test ./cmd/weir -run TestOverload -overload 2000 -overload-rounds 8 -overload-phase 6s -timeout 20m -v
var (
	overloadClients = flag.Int("overload", 100, "clients of TestOverload")
	overloadRounds  = flag.Int("overload-rounds", 1, "rounds of TestOverload, each with as many clients as can be served and then with all")
	overloadPhase   = flag.Duration("overload-phase", time.Second, "how long each half of a round takes")
)

// TestOverload sends more clients than a server can serve. Each is answered, with
// what it asked for or with when to come again; as much is served as without the
// others; nobody who is let in waits longer than the queue is long; and memory
// stays what it was.
func TestOverload(t *testing.T) {
	places := min(50, *overloadClients/10)
	s := serve(t, "--ctx", "128", "--memory", "256MiB", "--max-running", fmt.Sprint(places), "--max-queue", fmt.Sprint(places))
	s.http.Transport.(*http.Transport).MaxIdleConnsPerHost = *overloadClients
	knee := places + places/2 // as many as can be served at once, and some in the queue: nobody is refused
	o := &overload{serving: s}
	o.phase(t, *overloadClients, *overloadPhase) // opens all connections
	var ratios []float64
	var rss []int64
	for round := range *overloadRounds {
		var alone, all phaseResult
		for half := range 2 { // a machine that slows down or gains speed must favour neither
			if (round+half)%2 == 0 {
				alone = o.phase(t, knee, *overloadPhase)
			} else {
				all = o.phase(t, *overloadClients, *overloadPhase)
			}
		}
		ratios, rss = append(ratios, all.rate/alone.rate), append(rss, all.rss)
		t.Logf("%4d clients: %v", knee, alone)
		t.Logf("%4d clients: %v", *overloadClients, all)
		// Before it are at most all places; it is served when they have been, at
		// the rate at which requests are. Twice that allows for uneven ones.
		bound := 2 * time.Duration(float64(2*places)/all.requests*float64(time.Second))
		if *overloadRounds > 1 && all.worst > bound {
			t.Errorf("a first token came after %v; with %d places at %.0f requests/s it is due within %v", all.worst, 2*places, all.requests, bound)
		}
		if alone.refused > 0 && *overloadRounds > 1 {
			t.Errorf("%d were refused at the knee", alone.refused)
		}
		if all.refused == 0 {
			t.Error("nobody was refused: there was no overload")
		}
	}
	slices.Sort(ratios)
	t.Logf("served beside the knee: median %.3f (%.3f to %.3f); resident MiB under overload: first %d, last %d",
		ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], rss[0]>>20, rss[len(rss)-1]>>20)
	if len(ratios) > 2 && ratios[len(ratios)/2] < 0.97 {
		t.Errorf("the median round served %.3f of what is served at the knee, want 0.97", ratios[len(ratios)/2])
	}
	if grown := rss[len(rss)-1] - rss[0]; grown > rss[0]/10+4<<20 {
		t.Errorf("memory grew by %d MiB from the first overload to the last", grown>>20)
	}
}

type overload struct {
	*serving
	number atomic.Int64
}

// phaseResult is what came of a number of clients.
type phaseResult struct {
	rate, requests  float64 // tokens, and requests served, a second
	served, refused int64
	middle, worst   time.Duration // to the first token, of those served
	rss             int64
}

func (r phaseResult) String() string {
	return fmt.Sprintf("%.0f tokens/s, %.1f requests/s; %d served, %d refused; first token after %v, at worst %v; %d MiB resident",
		r.rate, r.requests, r.served, r.refused, r.middle.Round(time.Millisecond), r.worst.Round(time.Millisecond), r.rss>>20)
}

// phase lets clients ask again and again for a time. What counts is what came
// within its last two thirds: it begins with all clients asking at one moment,
// which is another thing than a load.
func (o *overload) phase(t *testing.T, clients int, d time.Duration) phaseResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	p := &phaseCount{}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				o.ask(t, ctx, p)
			}
		})
	}
	pause(ctx, d/3)
	began := time.Now()
	p.counts.Store(true)
	<-ctx.Done()
	p.counts.Store(false)
	took := time.Since(began).Seconds()
	resident, _ := residentBytes()
	r := phaseResult{rate: float64(p.tokens.Load()) / took, requests: float64(p.served.Load()) / took, served: p.served.Load(), rss: resident}
	all.Wait()
	r.refused = p.refused.Load() // all of them: a slow machine refuses them later
	slices.Sort(p.first)
	if n := len(p.first); n > 0 {
		r.middle, r.worst = p.first[n/2], p.first[n-1]
	}
	if r.served == 0 && *overloadRounds > 1 {
		t.Fatal("nothing was served")
	}
	return r
}

type phaseCount struct {
	counts                  atomic.Bool
	tokens, served, refused atomic.Int64
	mu                      sync.Mutex
	first                   []time.Duration
}

// ask sends one request and reads its answer to the end; if it is refused it
// waits as it is told.
func (o *overload) ask(t *testing.T, ctx context.Context, p *phaseCount) {
	body := fmt.Sprintf(`{"prompt":"Story %d: once upon a time","max_tokens":24,"ignore_eos":true,"temperature":0,"stream":true}`, o.number.Add(1))
	began := time.Now()
	res, err := o.http.Post(o.url+"/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Errorf("a request was not answered: %v", err)
		return
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusTooManyRequests:
		seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
		if err != nil || seconds < 1 || seconds > 60 {
			t.Errorf("a refused client is told to come again in %q seconds", res.Header.Get("Retry-After"))
		}
		p.refused.Add(1)
		pause(ctx, time.Duration(seconds)*time.Second)
	case http.StatusOK:
		o.read(t, bufio.NewReader(res.Body), began, p)
	default:
		t.Errorf("a request is answered with %d", res.StatusCode)
	}
}

func (o *overload) read(t *testing.T, r *bufio.Reader, began time.Time, p *phaseCount) {
	tokens := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Errorf("a stream broke off: %v", err)
			return
		}
		switch {
		case strings.HasPrefix(line, "data: [DONE]"):
			if p.counts.Load() {
				p.served.Add(1)
			}
			return
		case !strings.HasPrefix(line, "data: {"):
			continue
		case strings.Contains(line, `"error"`):
			t.Errorf("a stream failed: %s", line)
			return
		}
		if tokens++; tokens == 1 && p.counts.Load() {
			p.mu.Lock()
			p.first = append(p.first, time.Since(began))
			p.mu.Unlock()
		}
		if p.counts.Load() {
			p.tokens.Add(1)
		}
	}
}
