package cpu

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// eachArith runs f with every arithmetic of this machine: the portable loops,
// and every level's exact and fast kernels.
func eachArith(t *testing.T, f func(*testing.T, Options)) {
	for _, l := range kern.Levels() {
		t.Run(l.String(), func(t *testing.T) { f(t, Options{Level: l}) })
		if l > kern.Portable {
			t.Run(l.String()+",deterministic", func(t *testing.T) { f(t, Options{Level: l, Deterministic: true}) })
		}
	}
}

// poison fills memory that an operation must not read or must write. It is a
// NaN, so that what is read by mistake spreads.
var poison = math.Float32frombits(0x7fc0dead)

func poisoned(v float32) bool { return math.Float32bits(v) == math.Float32bits(poison) }

// newRand returns a generator seeded by WEIR_SEED, or at random; it logs the seed.
func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("WEIR_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("WEIR_SEED: %v", err)
		}
	}
	t.Logf("WEIR_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// uniform returns n numbers in [-size, size). It uses no function of package
// math, so that golden inputs are the same on every platform.
func uniform(rng *rand.Rand, n int, size float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = (2*rng.Float32() - 1) * size
	}
	return x
}

// randomBlocks returns rows of a type: random bits, with scales of a sane size.
func randomBlocks(t testing.TB, rng *rand.Rand, typ weights.Type, rows, cols int) []byte {
	n, err := typ.RowBytes(cols)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, rows*n)
	switch typ {
	case weights.F32:
		for i, v := range uniform(rng, rows*cols, 0.1) {
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
		}
		return data
	case weights.F16, weights.BF16:
		for i, v := range uniform(rng, rows*cols, 0.1) {
			h := weights.F32ToF16(v)
			if typ == weights.BF16 {
				h = weights.F32ToBF16(v)
			}
			binary.LittleEndian.PutUint16(data[2*i:], h)
		}
		return data
	}
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	_, size := typ.Block()
	for block := 0; block < len(data); block += size {
		for _, at := range scaleOffsets(typ) {
			binary.LittleEndian.PutUint16(data[block+at:], weights.F32ToF16(0.001+0.002*rng.Float32()))
		}
	}
	return data
}

// scaleOffsets is where a block has its f16 scales.
func scaleOffsets(typ weights.Type) []int {
	switch typ {
	case weights.Q4_1, weights.Q5_1, weights.Q4_K, weights.Q5_K:
		return []int{0, 2}
	case weights.Q2_K:
		return []int{80, 82}
	case weights.Q3_K:
		return []int{108}
	case weights.Q6_K:
		return []int{208}
	}
	return []int{0}
}

// rig is a backend with one stream, whose memory is watched.
type rig struct {
	testing.TB
	b *Backend
	s *stream
}

// newRig makes a stream for plan. Its memory is full of poison, and the test
// fails if something is written between the arena's parts.
func newRig(t testing.TB, threads int, plan backend.Plan) *rig {
	t.Helper()
	return newRigOf(t, Options{Threads: threads, Level: kern.Portable}, plan)
}

// newRigOf is newRig with other arithmetic.
func newRigOf(t testing.TB, o Options, plan backend.Plan) *rig {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	bs, err := b.NewStream(plan)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t, b, bs.(*stream)}
	g.poison()
	t.Cleanup(func() {
		g.checkGuards()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *rig) poison() { fill(floats(g.s.mem), poison) }

// fill sets all of x to v, by copies: the race detector looks at each store.
func fill[T any](x []T, v T) {
	if len(x) == 0 {
		return
	}
	x[0] = v
	for n := 1; n < len(x); n *= 2 {
		copy(x[n:], x[:n])
	}
}

// checkGuards fails if the floats between the arena's parts are not poison.
func (g *rig) checkGuards() {
	all := floats(g.s.mem)
	used := make([]bool, len(all))
	parts := append([][]float32{g.s.packed.quantized, g.s.packed.packed, g.s.packed.integers, g.s.logits, g.s.mix.probs, g.s.mix.gate, g.s.mix.up, g.s.mix.weight}, g.s.acts...)
	parts = append(append(parts, g.s.split.outs), g.s.parts...)
	for _, p := range append(parts, g.s.scratch...) {
		if len(p) == 0 {
			continue
		}
		at := int(uintptr(unsafe.Pointer(&p[0]))-uintptr(unsafe.Pointer(&all[0]))) / 4
		if at < guard || at%guard != 0 {
			g.Errorf("a part of the arena begins at float %d", at)
		}
		for i := range p {
			used[at+i] = true
		}
	}
	for i, v := range all {
		if !used[i] && !poisoned(v) {
			g.Fatalf("float %d of the arena, between its parts, was overwritten with %v", i, v)
		}
	}
}

// load binds a tensor of random blocks and returns its exact values too.
func (g *rig) load(rng *rand.Rand, typ weights.Type, shape ...int) (backend.Weight, []float32) {
	g.Helper()
	t := weights.Tensor{Name: "w", Type: typ, Shape: shape}
	t.Data = randomBlocks(g, rng, typ, t.Rows(), t.Cols())
	w, err := g.b.Load(t, backend.Placement{})
	if err != nil {
		g.Fatal(err)
	}
	return w, t.Float32s()
}

// loadF32 binds a tensor of the given values.
func (g *rig) loadF32(v []float32, shape ...int) backend.Weight {
	g.Helper()
	data := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(x))
	}
	w, err := g.b.Load(weights.Tensor{Name: "f32", Type: weights.F32, Shape: shape, Data: data}, backend.Placement{})
	if err != nil {
		g.Fatal(err)
	}
	return w
}

// kv makes a cache full of poison.
func (g *rig) kv(spec backend.KVSpec) *kvCache {
	g.Helper()
	kv, err := g.b.NewKV(spec)
	if err != nil {
		g.Fatal(err)
	}
	c := kv.(*kvCache)
	for g, layers := range c.layers {
		for _, l := range layers {
			l.poison(0, spec.Pages[g]*spec.PageSize)
		}
	}
	return c
}

// poison fills cells [begin, end) with what decodes to NaNs.
func (l *kvLayer) poison(begin, end int) {
	n := l.heads * l.size
	for cell := begin; cell < end; cell++ {
		at := l.place(cell) * n
		for _, b := range [][]byte{l.k[at : at+n], l.v[at : at+n]} {
			switch l.typ {
			case backend.KVF32:
				fill(floats(b), poison)
			case backend.KVQ8, backend.KVQ4:
				fill(halves(b), 0x7e7e) // scales and all are NaNs
			default:
				fill(halves(b), 0x7fff)
			}
		}
	}
}

// begin starts a batch of n rows, each a sequence of its own at position 0,
// with the given rows wanted.
func (g *rig) begin(n int, want ...int32) {
	g.Helper()
	spec := backend.KVSpec{Type: backend.KVF32, PageSize: 1, Groups: []backend.KVGroup{{Layers: []int{0}, Heads: 1, HeadDim: 2}}, Pages: []int{n}}
	var b backend.Batch
	b.Reset(1)
	for r := range int32(n) {
		b.Token = append(b.Token, r)
		b.Pos = append(b.Pos, 0)
		b.Seq = append(b.Seq, r)
		b.Cell[0] = append(b.Cell[0], r)
		b.Seqs = append(b.Seqs, backend.SeqTable{Pages: [][]int32{{r}}, First: []int32{0}})
	}
	b.Want = want
	g.s.Begin(&b, g.kv(spec))
}

// set fills in the used rows of an activation.
func (g *rig) set(a backend.Act, v []float32) { copy(g.s.act(a, "test").data, v) }

// get returns the used rows of an activation and fails if rows beyond them were
// written, or theirs were not.
func (g *rig) get(a backend.Act) []float32 {
	g.Helper()
	m := g.s.act(a, "test")
	for i, v := range g.s.acts[a.Index()] {
		if (i >= len(m.data)) != poisoned(v) {
			g.Fatalf("%s[%d, %d] = %v with %d rows in the batch", g.s.plan.Acts[a.Index()].Name, i/m.cols, i%m.cols, v, m.rows)
		}
	}
	return append([]float32(nil), m.data...)
}

// near fails if got[i] is off want[i] by more than tolerance[i].
func near(t testing.TB, what string, got []float32, want, tolerance []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= tolerance[i]) {
			t.Fatalf("%s[%d] = %v, want %v: off by %.3g, tolerance %.3g", what, i, got[i], w, d, tolerance[i])
		}
	}
}

// relative is a tolerance of f times the size of each number.
func relative(want []float64, f float64) []float64 {
	tol := make([]float64, len(want))
	for i, w := range want {
		tol[i] = f*math.Abs(w) + 1e-30
	}
	return tol
}

// sameBits fails where a and b differ in a bit.
func sameBits(t testing.TB, what string, a, b []float32) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%s: %d numbers and %d", what, len(a), len(b))
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			t.Fatalf("%s[%d]: %v and %v differ", what, i, a[i], b[i])
		}
	}
}

// mustPanic fails unless f panics with a message of this package.
func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if why, ok := recover().(string); !ok || !strings.HasPrefix(why, "cpu: ") {
			t.Errorf("%s panicked with %q, want a message", what, why)
		}
	}()
	f()
}
