package engine

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/llm"
	"weir/internal/weights"
)

// idealBackend is a device that computes nothing, takes a given time for a step and
// knows for how long it had none to do: what is left is the host's share of a step.
type idealBackend struct {
	backend.Backend
	row    time.Duration // that a row takes
	device *idealDevice
}

func (b *idealBackend) NewKV(s backend.KVSpec) (backend.KV, error) { return idealKV{s}, nil }

func (b *idealBackend) NewStream(backend.Plan) (backend.Stream, error) {
	b.device = &idealDevice{row: b.row, timer: time.NewTimer(0)}
	return b.device, nil
}

type idealKV struct{ spec backend.KVSpec }

func (k idealKV) Spec() backend.KVSpec { return k.spec }
func (k idealKV) Close() error         { return nil }

// idealDevice draws by itself and can have two steps, as a GPU.
type idealDevice struct {
	row         time.Duration
	rows, draws int
	steps       []idealStep // begun, and not waited for
	until       time.Time   // when the last one ends
	timer       *time.Timer
	last        int32 // that was drawn
	drawn       []backend.Drawn

	waited        atomic.Int64 // steps
	idle, blocked atomic.Int64 // nanoseconds without a step, and that the loop waited for one
}

type idealStep struct {
	ends  time.Time
	draws int
}

func (d *idealDevice) Begin(b *backend.Batch, _ backend.KV) { d.rows, d.draws = b.Rows(), 0 }
func (d *idealDevice) Sample(rows []backend.SampleRow)      { d.draws = len(rows) }

func (d *idealDevice) Compute() {}

func (d *idealDevice) Launch() {
	now := time.Now()
	if idle := now.Sub(d.until); idle > 0 {
		d.idle.Add(int64(idle))
		d.until = now
	}
	d.until = d.until.Add(d.row * time.Duration(d.rows))
	d.steps = append(d.steps, idealStep{d.until, d.draws})
}

// Wait does not count as idle what its own timer is late.
func (d *idealDevice) Wait() (*backend.Result, error) {
	if len(d.steps) == 0 {
		d.Launch()
	}
	s, from := d.steps[0], time.Now()
	d.steps = d.steps[:copy(d.steps, d.steps[1:])]
	d.timer.Reset(time.Until(s.ends))
	<-d.timer.C
	if len(d.steps) == 0 {
		d.until = time.Now()
	}
	d.blocked.Add(int64(time.Since(from)))
	d.waited.Add(1)
	d.drawn = d.drawn[:0]
	for range s.draws {
		d.last = (5*d.last + 3) % 251
		d.drawn = append(d.drawn, backend.Drawn{ID: d.last})
	}
	return &backend.Result{Logits: make([][]float32, s.draws), Drawn: d.drawn}, nil
}

func (*idealDevice) CopyKV([]backend.Copy)                                         {}
func (*idealDevice) Embed(backend.Act, backend.Weight, float32)                    {}
func (*idealDevice) RMSNorm(_, _ backend.Act, _ backend.Weight, _ float32)         {}
func (*idealDevice) AddRMSNorm(_, _, _ backend.Act, _ backend.Weight, _ float32)   {}
func (*idealDevice) Add(_, _ backend.Act)                                          {}
func (*idealDevice) Linear(backend.Act, ...backend.Projection)                     {}
func (*idealDevice) Attend(_, _ backend.Act, _ backend.Layer, _ backend.Attention) {}
func (*idealDevice) Gate(_, _, _ backend.Act, _ backend.Activation)                {}
func (*idealDevice) Mixture(_, _ backend.Act, _ *backend.Mixture)                  {}
func (*idealDevice) Reduce(backend.Act)                                            {}
func (*idealDevice) Gather(_, _ backend.Act)                                       {}
func (*idealDevice) Logits(backend.Act, backend.Weight, float32, float32)          {}
func (*idealDevice) Close() error                                                  { return nil }
func (*idealDevice) RopeWrite(_, _, _ backend.Act, _ backend.Layer, _ *backend.Rope, _ backend.HeadNorm) {
}

// fullLoad is clients whose requests have as many tokens in as out.
type fullLoad struct {
	clients, tokens int
	begun           atomic.Int64
}

// client sends requests, the first of which is as far on as its share of the others.
func (l *fullLoad) client(ctx context.Context, e *Engine, i int) {
	rng := rand.New(rand.NewPCG(1, uint64(i)))
	done := int(float64(i)*0.6180339887498949*float64(l.tokens)) % l.tokens
	for first := true; ctx.Err() == nil; first = false {
		ids := make(llm.Tokens, l.tokens+done)
		for i := range ids {
			ids[i] = int32(rng.IntN(tinyVocab - 4))
		}
		p := llm.DefaultParams()
		p.MaxTokens, p.Temperature, p.IgnoreEOS = ptr(l.tokens-done), 0, true
		for ev, err := range e.Generate(ctx, &llm.Request{ID: "load", Prompt: ids, Params: p}) {
			if err == nil && first && len(ev.Tokens) > 0 {
				first = false
				l.begun.Add(1)
			}
		}
		done = 0
	}
}

// BenchmarkFullLoad is the host's share of a large step: 1,024 sequences decode,
// eight requests of 128 tokens in and out begin and as many end in each, on a device that
// takes 30 ms for it. An operation is a step.
func BenchmarkFullLoad(b *testing.B) {
	const rows, clients, tokens, step = 2048, 1089, 128, 30 * time.Millisecond
	f, err := weights.OpenBytes("tiny", tinyGGUF(b, 0))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	base, err := cpu.New(cpu.Options{Threads: 1, Level: kern.Portable})
	if err != nil {
		b.Fatal(err)
	}
	defer base.Close()
	device := &idealBackend{Backend: base, row: step / rows}
	c := usual
	c.batchTokens, c.running, c.queue, c.sequences, c.unchecked = rows, clients, 4*clients, 6*clients, true
	e := newTiny(b, f, device, c)
	defer e.Close()
	ctx, stop := context.WithCancel(b.Context())
	load := fullLoad{clients: clients, tokens: tokens}
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { load.client(ctx, e, i) })
	}
	waitFor(b, "all clients have begun", func() bool { return load.begun.Load() >= clients })
	measure(b, e, device.device)
	stop()
	all.Wait()
}

// measure watches b.N steps.
func measure(b *testing.B, e *Engine, d *idealDevice) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, n, idle, blocked, began := e.Stats(), d.waited.Load(), d.idle.Load(), d.blocked.Load(), time.Now()
	b.ResetTimer()
	for tick := time.Tick(time.Millisecond); d.waited.Load() < n+int64(b.N); {
		<-tick
	}
	b.StopTimer()
	steps := float64(d.waited.Load() - n)
	idle, blocked = d.idle.Load()-idle, d.blocked.Load()-blocked
	host := time.Since(began) - time.Duration(blocked)
	runtime.ReadMemStats(&after)
	t := e.Stats()
	b.ReportMetric(float64(idle)/1e6/steps, "idle-ms")
	b.ReportMetric(host.Seconds()*1e3/steps, "host-ms")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/steps, "allocs")
	b.ReportMetric(float64(t.Ahead-s.Ahead)/steps, "ahead")
	b.ReportMetric(float64(t.PrefillTokens-s.PrefillTokens+t.DecodeTokens-s.DecodeTokens)/steps, "rows")
}
