package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Load is a kind of work that shows what a prefix cache does.
type Load string

// The loads.
const (
	// SharedLoad is many requests at once that begin alike, after one that did.
	SharedLoad Load = "shared"
	// ChatLoad is conversations: each turn begins with all of those before it.
	ChatLoad Load = "chat"
	// UniqueLoad is requests that have nothing in common: what a cache costs.
	UniqueLoad Load = "unique"
)

// CacheSettings say what is measured.
type CacheSettings struct {
	Load    Load `json:"load"`
	Clients int  `json:"clients"` // requests, or conversations, at once
	Shared  int  `json:"shared"`  // tokens that all prompts begin with
	Tail    int  `json:"tail"`    // tokens of their own; in a chat, of each turn
	Turns   int  `json:"turns"`   // of a conversation; of other loads, requests of each client
	Output  int  `json:"output"`  // tokens of each answer
	Vocab   int  `json:"vocab"`   // token ids are below
	Repeat  int  `json:"repeat"`  // rounds that count
}

// Validate tells what is wrong with s.
func (s CacheSettings) Validate() error {
	for _, n := range []struct {
		flag       string
		value, min int
		max        int
	}{
		{"--clients", s.Clients, 1, 4096}, {"--shared", s.Shared, 0, 1 << 20}, {"--tail", s.Tail, 1, 1 << 20}, {"--turns", s.Turns, 1, 10000},
		{"--output", s.Output, 1, 1 << 20}, {"--vocab", s.Vocab, firstID + 1, 1 << 24}, {"--repeat", s.Repeat, 1, 1000},
	} {
		if n.value < n.min || n.value > n.max {
			return fmt.Errorf("%s is %d; it must be from %d to %d", n.flag, n.value, n.min, n.max)
		}
	}
	return nil
}

// firstID is the lowest token id used: those below are often special.
const firstID = 300

// CacheOptions are what RunCache measures.
type CacheOptions struct {
	CacheSettings
	Targets  []Target
	Version  string
	Command  string
	Progress func(string)
}

// cacheRun is a measurement on its way.
type cacheRun struct {
	CacheOptions
	clients []*client
	random  generator
	rounds  [][]round // by target
}

// round is a load done once.
type round struct {
	ttfts          []float64 // ms
	took           time.Duration
	cpu            float64 // seconds of the server's processors; NaN: it does not tell
	prompt, cached int     // tokens
	told           bool
	output         int
}

// RunCache does the load on every target, in turns, and compares them with the
// first. Each round has prompts of its own, the same for all targets: what one
// computed is of no use to another, nor to a later round. If ctx ends after the
// first round, the report is of the rounds that all targets have done.
func RunCache(ctx context.Context, o CacheOptions) (*CacheReport, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if len(o.Targets) == 0 {
		return nil, errors.New("nothing is measured: give a target such as weir=http://127.0.0.1:8080")
	}
	r := &cacheRun{CacheOptions: o, random: newGenerator("cache loads", 0), rounds: make([][]round, len(o.Targets))}
	// Some servers close a connection after a few requests, without a word to who
	// is about to send the next.
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	for _, t := range o.Targets {
		r.clients = append(r.clients, &client{t, &http.Client{Transport: transport}})
	}
	noise := readCPUTime()
	for i := range o.Repeat {
		if err := r.round(ctx, i); err != nil {
			if i == 0 || ctx.Err() == nil {
				return nil, err
			}
			r.stopAfter(i)
			break
		}
	}
	var d disturbance
	d.add(noise, readCPUTime())
	return r.report(d), nil
}

// stopAfter forgets the rounds that not every target has done.
func (r *cacheRun) stopAfter(n int) {
	r.Repeat = n
	for i := range r.rounds {
		r.rounds[i] = r.rounds[i][:n]
	}
}

// round does the load once on each target, beginning with another each time.
func (r *cacheRun) round(ctx context.Context, i int) error {
	prompts := r.prompts()
	for j := range r.clients {
		at := (i + j) % len(r.clients)
		if r.Progress != nil {
			r.Progress(fmt.Sprintf("round %d of %d: %s", i+1, r.Repeat, r.clients[at].target.Name))
		}
		got, err := r.once(ctx, r.clients[at], prompts)
		if err = cmp.Or(err, ctx.Err()); err != nil { // what ended it may have kept the server from telling its times
			return err
		}
		r.rounds[at] = append(r.rounds[at], got)
	}
	return nil
}

// prompts are a round's token ids.
type prompts struct {
	shared []int32
	tails  [][][]int32 // by client and turn
	first  []int32     // of the request that warms the cache
}

func (r *cacheRun) prompts() *prompts {
	p := &prompts{shared: r.ids(r.Shared), first: r.ids(r.Tail)}
	for range r.Clients {
		var turns [][]int32
		for range r.Turns {
			turns = append(turns, r.ids(r.Tail))
		}
		p.tails = append(p.tails, turns)
	}
	if r.Load == UniqueLoad { // what they share is of the same length, and each one's own
		for _, turns := range p.tails {
			for i := range turns {
				turns[i] = append(r.ids(r.Shared), turns[i]...)
			}
		}
		p.shared = nil
	}
	return p
}

func (r *cacheRun) ids(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = firstID + int32(r.random.next()>>33%uint64(r.Vocab-firstID))
	}
	return ids
}

// once does the load on a target.
func (r *cacheRun) once(ctx context.Context, c *client, p *prompts) (round, error) {
	if r.Load == SharedLoad {
		if _, err := c.complete(ctx, slices.Concat(p.shared, p.first), 1); err != nil {
			return round{}, err
		}
	}
	replies, errs := make([][]reply, r.Clients), make([]error, r.Clients)
	cpu, began := c.cpuSeconds(ctx), time.Now()
	var all sync.WaitGroup
	for i, turns := range p.tails {
		all.Go(func() { replies[i], errs[i] = r.talk(ctx, c, p.shared, turns) })
	}
	all.Wait()
	out := round{took: time.Since(began), told: true}
	out.cpu = c.cpuSeconds(ctx) - cpu
	for _, list := range replies {
		for _, a := range list {
			out.ttfts = append(out.ttfts, a.ttft.Seconds()*1e3)
			out.prompt += a.prompt
			out.cached += max(0, a.cached)
			out.told = out.told && a.cached >= 0
			out.output += r.Output
		}
	}
	return out, errors.Join(errs...)
}

// talk is one client's requests, one after the other.
func (r *cacheRun) talk(ctx context.Context, c *client, shared []int32, turns [][]int32) ([]reply, error) {
	var list []reply
	said := slices.Clone(shared)
	for _, tail := range turns {
		prompt := slices.Concat(said, tail)
		a, err := c.complete(ctx, prompt, r.Output)
		if err != nil {
			return list, err
		}
		list = append(list, a)
		if r.Load == ChatLoad {
			said = append(prompt, r.answer(a, tail)...)
		}
	}
	return list, nil
}

// answer is what a conversation has of an answer: its tokens, or as many others
// if the server does not tell them.
func (r *cacheRun) answer(a reply, tail []int32) []int32 {
	if len(a.output) > 0 {
		return a.output
	}
	ids := make([]int32, r.Output)
	for i := range ids {
		ids[i] = tail[i%len(tail)]
	}
	return ids
}
