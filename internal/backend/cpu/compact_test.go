package cpu

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// always and nothing are what Compact is told where memory has room, and nobody wants to know.
func always([]byte, int64) bool { return true }
func nothing([]byte)            {}

// bf16 binds a BF16 matrix of numbers as models have them, with a zero here and there, or of
// any bits.
func (g *rig) bf16(rng *rand.Rand, zeros float64, rows, cols int) backend.Weight {
	g.Helper()
	data := make([]byte, 2*rows*cols)
	for i := range rows * cols {
		h := weights.F32ToBF16(float32(rng.NormFloat64() * 0.05))
		if rng.Float64() < zeros {
			h = uint16(rng.IntN(3)) // and the smallest, which products of bf16 take for such
		}
		binary.LittleEndian.PutUint16(data[2*i:], h)
	}
	w, err := g.b.Load(weights.Tensor{Name: "w", Type: weights.BF16, Shape: []int{rows, cols}, Data: data}, backend.Placement{})
	if err != nil {
		g.Fatal(err)
	}
	return w
}

// compact makes the rig's matrices compact, and fails unless so many became so.
func (g *rig) compact(want int) Compaction {
	g.Helper()
	c, err := g.b.Compact(g.Context(), always, nothing)
	if err != nil || c.Matrices != want {
		g.Fatalf("%+v, %v: want %d matrices", c, err, want)
	}
	return c
}

// fastLevels are those that compact matrices.
func fastLevels(t *testing.T) []kern.Level {
	l := kern.Levels()[1:]
	if len(l) == 0 {
		t.Skip("needs a processor level with kernels: this machine has the portable one only")
	}
	return l
}

// A compact matrix gives the bits that the file's gives: to generated tokens, by one row, few and many,
// to prompts, and to both at once.
func TestCompactChangesNoBit(t *testing.T) {
	rng := newRand(t)
	const in, out = 640, 75
	for _, l := range fastLevels(t) {
		for _, rows := range []struct{ prefill, decode int }{{0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 7}, {0, 21}, {1, 0}, {37, 0}, {5, 3}, {530, 1}} {
			t.Run(fmt.Sprintf("%v,%d+%d", l, rows.prefill, rows.decode), func(t *testing.T) {
				n := rows.prefill + rows.decode
				plan := backend.Plan{Rows: n, Seqs: n}
				x, y, z, k := plan.Act("x", in), plan.Act("y", out), plan.Act("z", 2*out), plan.Act("k", out)
				g := newRigOf(t, Options{Threads: 2, Level: l}, plan)
				w, u := g.bf16(rng, 0.001, out, in), g.bf16(rng, 0, 2*out, in)
				bias, _ := g.load(rng, weights.F32, out)
				v := uniform(rng, n*in, 2)
				var first [3][]float32
				for round := range 2 {
					g.poison()
					g.begin(n)
					g.s.batch.byRow.set(n, func(i int) backend.Class {
						if i < rows.prefill {
							return backend.Prefill
						}
						return backend.Decode
					})
					g.set(x, v)
					g.s.Linear(x, backend.Projection{Dst: y, W: w, Bias: bias}, backend.Projection{Dst: z, W: u}, backend.Projection{Dst: k, W: w, Keys: true})
					got := [3][]float32{g.get(y), g.get(z), g.get(k)}
					if round == 0 {
						first = got
						c := g.compact(2)
						if c.To > c.From*4/5 || w.Bytes()+u.Bytes() != c.To {
							t.Errorf("%+v, and a step reads %d", c, w.Bytes()+u.Bytes())
						}
						continue
					}
					for i := range got {
						sameBits(t, "compact", got[i], first[i])
					}
				}
			})
		}
	}
}

// Embeddings and experts read compact matrices in ways of their own.
func TestCompactEmbedsAndMixes(t *testing.T) {
	rng := newRand(t)
	const cols, width, experts, rows = 256, 384, 3, 5
	for _, l := range fastLevels(t) {
		plan := backend.Plan{Rows: rows, Seqs: rows, Experts: backend.ExpertSpec{Count: experts, TopK: 2, Width: width}}
		x, y := plan.Act("x", cols), plan.Act("y", cols)
		g := newRigOf(t, Options{Threads: 2, Level: l}, plan)
		table := g.bf16(rng, 0.0005, 300, cols)
		m := &backend.Mixture{TopK: 2, Act: backend.SiLU}
		m.Router, _ = g.load(rng, weights.F32, experts, cols)
		for range experts {
			m.Gate, m.Up, m.Down = append(m.Gate, g.bf16(rng, 0.001, width, cols)), append(m.Up, g.bf16(rng, 0, width, cols)), append(m.Down, g.bf16(rng, 0, cols, width))
		}
		var first [2][]float32
		for round := range 2 {
			g.poison()
			g.begin(rows)
			g.s.Embed(x, table, 3)
			g.s.Mixture(y, x, m)
			got := [2][]float32{g.get(x), g.get(y)}
			if round == 0 {
				first = got
				g.compact(3*experts + 1)
				continue
			}
			sameBits(t, "embedding", got[0], first[0])
			sameBits(t, "mixture", got[1], first[1])
		}
	}
}

// Matrices become compact while a stream computes with them.
func TestCompactWhileComputing(t *testing.T) {
	rng := newRand(t)
	const in, out, many, rows = 256, 160, 20, 3
	plan := backend.Plan{Rows: rows, Seqs: rows}
	x, y := plan.Act("x", in), plan.Act("y", out)
	levels := fastLevels(t)
	g := newRigOf(t, Options{Threads: 2, Level: levels[len(levels)-1]}, plan)
	var ws []backend.Weight
	for range many {
		ws = append(ws, g.bf16(rng, 0, out, in))
	}
	v := uniform(rng, rows*in, 1)
	multiply := func() (sums [][]float32) {
		for _, w := range ws {
			g.begin(rows)
			g.set(x, v)
			g.s.Linear(x, backend.Projection{Dst: y, W: w})
			sums = append(sums, g.get(y))
		}
		return sums
	}
	want := multiply()
	var work sync.WaitGroup
	next := make(chan bool)
	work.Go(func() {
		wait := func([]byte, int64) bool { return <-next }
		if c, err := g.b.Compact(t.Context(), wait, nothing); err != nil || c.Matrices != many {
			t.Errorf("%+v, %v: want %d matrices", c, err, many)
		}
	})
	for range many {
		next <- true
		for i, got := range multiply() {
			sameBits(t, "while it became compact", got, want[i])
		}
	}
	work.Wait()
	for i, got := range multiply() {
		sameBits(t, "compact", got, want[i])
	}
}

// What is not worth it, or has no room, stays as it is.
func TestCompactLeaves(t *testing.T) {
	rng := newRand(t)
	g := newRigOf(t, Options{Threads: 1, Level: fastLevels(t)[0]}, backend.Plan{Rows: 1, Seqs: 1})
	g.load(rng, weights.F16, 256, 256)   // not BF16
	g.load(rng, weights.BF16, 256, 8)    // small
	g.load(rng, weights.BF16, 256, 1000) // of another width
	g.bf16(rng, 0, 512, 128)             // heads would take what it saves
	g.bf16(rng, 0.5, 256, 256)           // half of it is zeros
	w := g.bf16(rng, 0, 256, 256)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		ctx  context.Context
		fits func([]byte, int64) bool
		want Compaction
	}{
		{ended, always, Compaction{Left: 2}},
		{t.Context(), func(_ []byte, n int64) bool { return n < 100_000 }, Compaction{Left: 2}},
		{t.Context(), always, Compaction{Matrices: 1, Left: 1, From: 131072, To: int64(256 * kern.CompactRowBytes(256))}},
		{t.Context(), always, Compaction{Left: 1}},
	} {
		var done int64
		if got, err := g.b.Compact(c.ctx, c.fits, func(data []byte) { done += int64(len(data)) }); err != nil || got != c.want || done != got.From {
			t.Errorf("%+v, %v, done with %d: want %+v", got, err, done, c.want)
		}
	}
	data := g.b.large[1].data
	again, err := g.b.Load(weights.Tensor{Name: "w", Type: weights.BF16, Shape: []int{256, 256}, Data: data}, backend.Placement{})
	if err != nil || again != backend.Weight(g.b.large[1]) {
		t.Errorf("loaded again: %v, %v, not the weight that is compact", again, err)
	}
	for _, w := range g.b.large {
		if got := g.b.Held(weights.Tensor{Data: w.data}); got != w.Bytes() {
			t.Errorf("%d bytes are held of %v, %d read", got, w, w.Bytes())
		}
	}
	if got := g.b.Held(weights.Tensor{Data: make([]byte, 77)}); got != 77 {
		t.Errorf("%d bytes are held of what was not loaded", got)
	}
	if w.Type() != weights.BF16 {
		t.Errorf("a compact matrix is of type %v", w.Type())
	}
	exact := newRigOf(t, Options{Threads: 1, Level: fastLevels(t)[0], Deterministic: true}, backend.Plan{Rows: 1, Seqs: 1})
	exact.bf16(rng, 0, 256, 256)
	if got, err := exact.b.Compact(t.Context(), always, nothing); err != nil || got != (Compaction{}) {
		t.Errorf("with exact kernels: %+v, %v", got, err)
	}
}
