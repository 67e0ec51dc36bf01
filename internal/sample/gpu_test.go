//go:build linux && (amd64 || arm64) && !nogpu

package sample

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cuda"
	"weir/internal/backend/cuda/kern"
	"weir/internal/llm"
)

// drawer draws on a GPU.
type drawer struct {
	testing.TB
	b     *cuda.Backend
	d     *cuda.Drawer
	vocab int
}

// newDrawer opens the machine's GPU with the kernels of a target, or skips.
func newDrawer(t testing.TB, target kern.Target, rows, vocab int) *drawer {
	t.Helper()
	b, err := cuda.Open(cuda.Options{Target: target.String()})
	if errors.Is(err, cuda.ErrAbsent) {
		t.Skipf("needs an NVIDIA GPU: %v", err)
	}
	if err != nil && target == kern.SM90a {
		t.Skipf("needs an NVIDIA GPU that runs %v: %v", target, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.NewDrawer(rows, vocab)
	if err != nil {
		t.Fatal(err)
	}
	return &drawer{t, b, d, vocab}
}

func (d *drawer) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *drawer) close() { d.must(errors.Join(d.d.Close(), d.b.Close())) }

// newRand is seeded with WEIR_SEED, or anew.
func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("WEIR_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("WEIR_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// oddRow is a row of logits of one of the kinds that there may be.
func oddRow(rng *rand.Rand, n int) []float32 {
	row := make([]float32, n)
	kind, size := rng.IntN(6), []float64{0.01, 1, 3, 10}[rng.IntN(4)]
	for i := range row {
		v := rng.NormFloat64() * size
		switch kind {
		case 0:
			v = math.Round(v) // ties
		case 1:
			v = 7
		case 2:
			if rng.IntN(20) == 0 {
				v = []float64{math.NaN(), math.Inf(-1), 0, math.Copysign(0, -1), -1e30}[rng.IntN(5)]
			}
		}
		row[i] = float32(v)
	}
	switch {
	case kind == 3: // a model that is sure
		row[rng.IntN(n)] = float32(12 * size)
	case rng.IntN(30) == 0:
		row[rng.IntN(n)] = float32(math.Inf(1))
	case rng.IntN(40) == 0:
		for i := range row {
			row[i] = []float32{float32(math.NaN()), float32(math.Inf(-1))}[rng.IntN(2)]
		}
	}
	return row
}

// oddParams are any parameters of a draw but typical_p.
func oddParams(rng *rand.Rand, n int) llm.Params {
	p := llm.DefaultParams()
	some := func(of int) bool { return rng.IntN(of) == 0 }
	p.Temperature = []float64{0, 0.3, 0.7, 1, 1, 2, 1e-5, 1e6}[rng.IntN(8)]
	if some(2) {
		p.TopK = []int{1, 2, 5, 40, 1000, n - 1, n}[rng.IntN(7)]
	}
	if some(2) {
		p.TopP = []float64{0, 1e-9, 0.5, 0.9, 0.95, 0.9999, rng.Float64()}[rng.IntN(7)]
	}
	if some(3) {
		p.MinP = []float64{1, 0.1, 0.02, 1e-6, 1e-12}[rng.IntN(5)]
	}
	if some(3) {
		p.RepetitionPenalty, p.FrequencyPenalty, p.PresencePenalty = 0.7+rng.Float64(), rng.Float64()*2-1, rng.Float64()-0.5
	}
	if some(4) {
		p.LogitBias = map[int32]float64{int32(rng.IntN(n)): 5, int32(rng.IntN(n)): -100, int32(n): 3, -1: 3}
	}
	if some(4) {
		p.MinTokens, p.StopTokens = 10, []int32{int32(rng.IntN(n)), int32(n + 3)}
	}
	if some(3) {
		p.Logprobs = new(int)
		*p.Logprobs = []int{0, 1, 5, 20}[rng.IntN(4)]
	}
	return p
}

// What a device draws is what the host draws from the same logits: the very token,
// for every parameter and every kind of row, with the log probabilities that the
// host tells.
func TestGPUDraws(t *testing.T) {
	for _, target := range kern.Targets() {
		t.Run(target.String(), func(t *testing.T) {
			rng := newRand(t)
			for _, vocab := range []int{1, 31, 257, 1024, 5001, 32000, 128256, 262144} {
				testDraws(t, rng, target, vocab)
			}
		})
	}
}

func testDraws(t *testing.T, rng *rand.Rand, target kern.Target, vocab int) {
	const rows = 48
	d := newDrawer(t, target, rows, vocab)
	defer d.close()
	for range 3 {
		var logits [][]float32
		var asked []backend.SampleRow
		var samplers []*Sampler
		var params []llm.Params
		step := rng.IntN(20)
		for i := range rows {
			logits = append(logits, oddRow(rng, vocab))
			if rng.IntN(9) == 0 && i < rows-1 {
				continue // a row that the host wants
			}
			n := vocab
			if rng.IntN(6) == 0 {
				n = 1 + rng.IntN(vocab)
			}
			p := oddParams(rng, n)
			s := New(p, Options{Vocab: n, Seed: rng.Uint64(), Choice: i % 3, EOG: []int32{int32(rng.IntN(n))}, Prompt: manyOf(rng, n)})
			for _, id := range manyOf(rng, n) {
				s.Accept(id)
			}
			if rng.IntN(4) == 0 {
				s.Mask(oddMask(rng, n))
			}
			r := backend.SampleRow{Logits: i, Slot: i}
			if !s.ForDevice(&r, step) {
				t.Fatalf("a device can't draw %+v", p)
			}
			asked, samplers, params = append(asked, r), append(samplers, s), append(params, p)
		}
		d.must(d.d.Set(logits))
		result, slots, err := d.d.Draw(asked)
		d.must(err)
		if len(result.Drawn) != len(asked) {
			t.Fatalf("%d draws of %d rows", len(result.Drawn), len(asked))
		}
		for i, r := range asked {
			want, have := samplers[i].Draw(slices.Clone(logits[r.Logits]), step), samplers[i].FromDevice(result.Drawn[i])
			if !sameDraw(want, have) {
				t.Errorf("%d tokens, row %d: drew %+v, the host %+v, for %+v, masked %v", vocab, r.Logits, have, want, params[i], r.Mask != nil)
			}
			if slot := max(result.Drawn[i].ID, 0); slots[r.Slot] != slot {
				t.Errorf("%d tokens, row %d: token %d in its slot, not %d", vocab, r.Logits, slots[r.Slot], slot)
			}
		}
		for i, row := range logits {
			if have := result.Logits[i]; have != nil && !slices.EqualFunc(have, row, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
				t.Errorf("%d tokens: row %d, which the host wanted, is not what it was", vocab, i)
			}
		}
		if t.Failed() {
			return
		}
	}
}

func manyOf(rng *rand.Rand, n int) []int32 {
	ids := make([]int32, rng.IntN(60))
	for i := range ids {
		ids[i] = int32(rng.IntN(n))
	}
	return ids
}

func oddMask(rng *rand.Rand, n int) []uint64 {
	mask := make([]uint64, 1+rng.IntN((n+63)/64))
	few := rng.IntN(2) == 0
	for i := range mask {
		mask[i] = rng.Uint64()
		if few {
			mask[i] &= rng.Uint64() & rng.Uint64() & rng.Uint64() & rng.Uint64()
		}
	}
	return mask
}

// sameDraw compares. Sums of log probabilities' weights are made in another order
// there, so that these may differ in the last places.
func sameDraw(a, b Draw) bool {
	near := func(x, y float64) bool { return x == y || math.Abs(x-y) <= 1e-11*math.Max(1, math.Abs(x)) }
	if a.ID != b.ID || a.Degenerate != b.Degenerate || a.HasLogprob != b.HasLogprob || !near(a.Logprob, b.Logprob) || len(a.Top) != len(b.Top) {
		return false
	}
	for i := range a.Top {
		if a.Top[i].ID != b.Top[i].ID || !near(a.Top[i].Logprob, b.Top[i].Logprob) {
			return false
		}
	}
	return true
}

// TestGPUDrawSpeed tells how long draws of usual rows take, if WEIR_GPU_SPEED asks for it.
func TestGPUDrawSpeed(t *testing.T) {
	if os.Getenv("WEIR_GPU_SPEED") == "" {
		t.Skip("needs an NVIDIA GPU that nobody else uses, and WEIR_GPU_SPEED=1")
	}
	rng := newRand(t)
	const vocab = 128256
	kinds := map[string]func(*llm.Params){
		"greedy": func(p *llm.Params) { p.Temperature = 0 }, "plain": func(*llm.Params) {}, "top_k 40": func(p *llm.Params) { p.TopK = 40 },
		"top_p 0.95": func(p *llm.Params) { p.TopP = 0.95 }, "both": func(p *llm.Params) { p.TopK, p.TopP = 40, 0.95 }, "min_p 0.05": func(p *llm.Params) { p.MinP = 0.05 },
		"told 5": func(p *llm.Params) { p.Logprobs = new(int); *p.Logprobs = 5 },
	}
	for _, rows := range []int{1, 64} {
		d := newDrawer(t, kern.SM90a, rows, vocab)
		for name, change := range kinds {
			var logits [][]float32
			var asked []backend.SampleRow
			for i := range rows {
				row := make([]float32, vocab)
				for j := range row {
					row[j] = float32(rng.NormFloat64() * 2)
				}
				for j := range 100 {
					row[j*1000] = 14 - 0.12*float32(j)
				}
				p := llm.DefaultParams()
				change(&p)
				r := backend.SampleRow{Logits: i, Slot: i}
				New(p, Options{Vocab: vocab, Seed: uint64(i)}).ForDevice(&r, 3)
				logits, asked = append(logits, row), append(asked, r)
			}
			d.must(d.d.Set(logits))
			best := time.Hour
			for range 20 {
				began := time.Now()
				_, _, err := d.d.Draw(asked)
				d.must(err)
				best = min(best, time.Since(began))
			}
			t.Logf("%d rows, %s: %v from the host's view", rows, name, best)
		}
		d.close()
	}
}
