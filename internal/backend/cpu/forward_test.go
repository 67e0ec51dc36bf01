package cpu

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"weir/internal/backend"
	"weir/internal/exact"
	"weir/internal/weights"
)

// toy is a small model that goes through every operation: two layers with a
// whole view and two with a window, gates and mixtures, biases, head norms,
// sinks and soft caps, in all weight types.
type toy struct {
	*rig
	x, h, q, k, v, a, o, gate, up backend.Act
	last, normed                  backend.Act
	layers                        []toyLayer
	embed, norm, output           backend.Weight
	ropes                         [2]*backend.Rope
}

type toyLayer struct {
	attnNorm, mlpNorm backend.Weight
	qkv, o, gateUp, d []backend.Projection
	headNorm          backend.HeadNorm
	attention         backend.Attention
	mixture           *backend.Mixture
}

const (
	toyWidth, toyVocab   = 256, 97
	toyHeads, toyKVHeads = 4, 2
	toyDim, toyHidden    = 36, 256
	toyWindow            = 70
	toyLayers            = 4
)

func toySpec(typ backend.KVType, pageSize int) backend.KVSpec {
	return backend.KVSpec{Type: typ, PageSize: pageSize, Groups: []backend.KVGroup{
		{Layers: []int{0, 2}, Heads: toyKVHeads, HeadDim: toyDim},
		{Layers: []int{1, 3}, Heads: toyKVHeads, HeadDim: toyDim, Window: toyWindow},
	}}
}

// newToy makes the toy with weights from a fixed seed.
func newToy(t testing.TB, o Options, threads, rows, seqs int) *toy {
	t.Helper()
	plan := backend.Plan{Rows: rows, Seqs: seqs, LogitRows: rows, Vocab: toyVocab,
		Experts: backend.ExpertSpec{Count: 5, TopK: 2, Width: toyWidth}}
	m := &toy{}
	m.x, m.h, m.o = plan.Act("x", toyWidth), plan.Act("h", toyWidth), plan.Act("o", toyWidth)
	m.q, m.a = plan.Act("q", toyHeads*toyDim), plan.Act("a", toyHeads*toyDim)
	m.k, m.v = plan.Act("k", toyKVHeads*toyDim), plan.Act("v", toyKVHeads*toyDim)
	m.gate, m.up = plan.Act("gate", toyHidden), plan.Act("up", toyHidden)
	m.last, m.normed = plan.GatheredAct("last", toyWidth), plan.GatheredAct("normed", toyWidth)
	o.Threads = threads
	m.rig = newRigOf(t, o, plan)

	rng := rand.New(rand.NewPCG(1, 2))
	types := weights.Types()
	next := 0
	matrix := func(rows, cols int) backend.Weight {
		typ := types[next%len(types)]
		if next++; cols%256 != 0 { // a width that only unblocked types have
			typ = []weights.Type{weights.F32, weights.F16, weights.BF16}[next%3]
		}
		w, _ := m.load(rng, typ, rows, cols)
		return w
	}
	vec := func(n int) backend.Weight {
		v := uniform(rng, n, 0.5)
		for i := range v {
			v[i] += 1
		}
		return m.loadF32(v, n)
	}
	bias := func(n int) backend.Weight { return m.loadF32(uniform(rng, n, 0.3), n) }

	m.embed, m.norm, m.output = matrix(toyVocab, toyWidth), vec(toyWidth), matrix(toyVocab, toyWidth)
	for i := range toyLayers {
		l := toyLayer{attnNorm: vec(toyWidth), mlpNorm: vec(toyWidth)}
		l.qkv = []backend.Projection{
			{Dst: m.q, W: matrix(toyHeads*toyDim, toyWidth), Bias: bias(toyHeads * toyDim)},
			{Dst: m.k, W: matrix(toyKVHeads*toyDim, toyWidth), Bias: bias(toyKVHeads * toyDim), Keys: true},
			{Dst: m.v, W: matrix(toyKVHeads*toyDim, toyWidth)},
		}
		l.o = []backend.Projection{{Dst: m.o, W: matrix(toyWidth, toyHeads*toyDim)}}
		l.attention = backend.Attention{Heads: toyHeads, Scale: 0.25}
		switch i {
		case 1:
			l.attention.Softcap = 5
			l.headNorm = backend.HeadNorm{Q: vec(toyDim), K: vec(toyDim), Eps: 1e-6}
		case 2:
			l.headNorm = backend.HeadNorm{Q: vec(toyDim), K: vec(toyDim), Eps: 1e-6}
		case 3:
			l.attention.Sinks = bias(toyHeads)
		}
		if i == 2 {
			l.mixture = &backend.Mixture{Router: matrix(5, toyWidth), TopK: 2, Renormalise: true, Act: backend.GELUTanh}
			for range 5 {
				l.mixture.Gate = append(l.mixture.Gate, matrix(toyWidth, toyWidth))
				l.mixture.Up = append(l.mixture.Up, matrix(toyWidth, toyWidth))
				l.mixture.Down = append(l.mixture.Down, matrix(toyWidth, toyWidth))
			}
		} else {
			l.gateUp = []backend.Projection{{Dst: m.gate, W: matrix(toyHidden, toyWidth)}, {Dst: m.up, W: matrix(toyHidden, toyWidth)}}
			l.d = []backend.Projection{{Dst: m.o, W: matrix(toyWidth, toyHidden)}}
		}
		m.layers = append(m.layers, l)
	}
	for i, dim := range []int{toyDim, toyDim - 8} {
		r := &backend.Rope{Dim: dim, Interleaved: i == 1, Scale: 1 + float32(i)/8}
		for j := range dim / 2 {
			r.Freq = append(r.Freq, exact.Pow(10000, -2*float64(j)/float64(dim)))
		}
		m.ropes[i] = r
	}
	return m
}

// forward runs the world's batch and returns the logits of its rows.
func (m *toy) forward(w *world, copies []backend.Copy) [][]float32 {
	var s backend.Stream = m.s
	s.Begin(&w.batch, w.kv)
	s.CopyKV(copies)
	s.Embed(m.x, m.embed, 4)
	s.RMSNorm(m.h, m.x, m.layers[0].attnNorm, 1e-5)
	for i := range m.layers {
		l := &m.layers[i]
		at := backend.Layer{Group: i % 2, Index: i / 2}
		s.Linear(m.h, l.qkv...)
		s.RopeWrite(m.q, m.k, m.v, at, m.ropes[i%2], l.headNorm)
		s.Attend(m.a, m.q, at, l.attention)
		s.Linear(m.a, l.o...)
		s.AddRMSNorm(m.h, m.x, m.o, l.mlpNorm, 1e-5)
		if l.mixture != nil {
			s.Mixture(m.o, m.h, l.mixture)
		} else {
			s.Linear(m.h, l.gateUp...)
			s.Gate(m.gate, m.gate, m.up, backend.SiLU)
			s.Linear(m.gate, l.d...)
		}
		if i+1 < len(m.layers) {
			s.AddRMSNorm(m.h, m.x, m.o, m.layers[i+1].attnNorm, 1e-5)
		} else {
			s.Add(m.x, m.o)
		}
	}
	s.Gather(m.last, m.x)
	s.RMSNorm(m.normed, m.last, m.norm, 1e-5)
	s.Logits(m.normed, m.output, 0.5, 20)
	res, err := s.Wait()
	if err != nil {
		m.Fatal(err)
	}
	return res.Logits
}

// toyTexts are token sequences of odd lengths.
func toyTexts(rng *rand.Rand, lengths ...int) [][]int32 {
	var texts [][]int32
	for _, n := range lengths {
		text := make([]int32, n)
		for i := range text {
			text[i] = rng.Int32N(toyVocab)
		}
		texts = append(texts, text)
	}
	return texts
}

// schedule says how a run cuts its work; it may change a result's time, never
// its bits.
type schedule struct {
	name              string
	typ               backend.KVType
	threads, pageSize int
	chunk             func() int // rows of one sequence in a step
	together          bool       // all sequences in a step, or one after the other
	freeWindows       bool
	allPrompt         bool // every row is of class Prefill
}

// logits computes all texts' logits [text][position][vocab] under a schedule.
func (m *toy) logits(rng *rand.Rand, texts [][]int32, sc schedule) [][][]float32 {
	longest, total := 0, 0
	for _, text := range texts {
		longest, total = max(longest, len(text)), total+len(text)
	}
	w := newWorld(m.rig, rng, toySpec(sc.typ, sc.pageSize), len(texts), longest)
	if sc.allPrompt {
		w.prompt = longest
	}
	out := make([][][]float32, len(texts))
	for left := total; left > 0; {
		m.poison()
		w.reset()
		var order []int // of the sequences in the batch, a row each
		for _, i := range rng.Perm(len(texts)) {
			n := min(sc.chunk(), len(texts[i])-w.seqs[i].done, m.s.plan.Rows-len(w.batch.Token))
			if n <= 0 || (len(order) > 0 && !sc.together) {
				continue
			}
			at := w.seqs[i].done
			w.add(i, texts[i][at:at+n])
			for range n {
				order = append(order, i)
			}
		}
		for r, l := range m.forward(w, nil) {
			out[order[r]] = append(out[order[r]], append([]float32(nil), l...))
		}
		left -= len(order)
		if sc.freeWindows {
			w.freeWindows()
		}
	}
	m.checkGuards()
	return out
}

func sameLogits(t testing.TB, what string, a, b [][][]float32) {
	t.Helper()
	for i := range a {
		if len(a[i]) != len(b[i]) {
			t.Fatalf("%s: text %d: %d rows and %d", what, i, len(a[i]), len(b[i]))
		}
		for pos := range a[i] {
			sameBits(t, fmt.Sprintf("%s: text %d, position %d", what, i, pos), b[i][pos], a[i][pos])
		}
	}
}

func fixed(n int) func() int { return func() int { return n } }

// What a row gives depends on its own sequence alone.
func TestScheduleChangesNoBit(t *testing.T) { eachArith(t, testSchedules) }

func testSchedules(t *testing.T, o Options) {
	rng := newRand(t)
	texts := toyTexts(rng, 1, 5, 131, 30)
	for _, typ := range backend.KVTypes() {
		random := func() int { return 1 + rng.IntN(40) }
		run := func(sc schedule) [][][]float32 {
			sc.typ = typ
			return newToy(t, o, sc.threads, 170, len(texts)).logits(rng, texts, sc)
		}
		want := run(schedule{threads: 1, pageSize: 16, chunk: fixed(1)})
		for _, sc := range []schedule{
			{name: "whole prompts together", threads: 1, pageSize: 16, chunk: fixed(1000), together: true},
			{name: "pages of one", threads: 1, pageSize: 1, chunk: fixed(50)},
			{name: "odd pages, 2 threads", threads: 2, pageSize: 7, chunk: random, together: true},
			{name: "big pages, 3 threads", threads: 3, pageSize: 256, chunk: random, together: true},
			{name: "windows freed", threads: 2, pageSize: 4, chunk: random, together: true, freeWindows: true},
			{name: "windows freed, one by one", threads: 2, pageSize: 1, chunk: fixed(3), freeWindows: true},
		} {
			if typ != backend.KVF16 && sc.pageSize != 7 { // the types differ in how they are stored only
				continue
			}
			sameLogits(t, fmt.Sprintf("%v, %s", typ, sc.name), want, run(sc))
		}
	}
}

// A draft tree's rows give what the chains through it give, and what is
// accepted of it goes on as if it had never been a draft.
func TestTreeIsItsChains(t *testing.T) { eachArith(t, testTrees) }

func testTrees(t *testing.T, o Options) {
	rng := newRand(t)
	for _, pageSize := range []int{1, 5, 16} {
		texts := toyTexts(rng, 9, 70)
		draft := toyTexts(rng, 7)[0]
		// Nodes:      0   1  2  3  4  5  6
		parent := []int{-1, 0, 0, 1, 2, 4, -1}
		leaves := map[int][]int{3: {0, 1, 3}, 5: {0, 2, 4, 5}, 6: {6}}

		m := newToy(t, o, 2, 200, 2)
		chains := map[int][][]float32{}
		for leaf, path := range leaves {
			text := append([]int32(nil), texts[1]...)
			for _, n := range path {
				text = append(text, draft[n])
			}
			text = append(text, 5, 6)
			all := m.logits(rng, [][]int32{text}, schedule{typ: backend.KVF16, pageSize: 16, chunk: fixed(1000)})[0]
			chains[leaf] = all[len(texts[1]):]
		}

		w := newWorld(m.rig, rng, toySpec(backend.KVF16, pageSize), 2, 200)
		w.reset()
		w.add(0, texts[0])
		w.add(1, texts[1])
		m.forward(w, nil)
		w.freeWindows()

		m.poison()
		w.reset()
		w.add(0, []int32{1, 2, 3}) // a neighbour
		cells := w.addTree(1, draft, parent)
		got := m.forward(w, nil)
		for leaf, path := range leaves {
			for i, n := range path {
				sameBits(t, fmt.Sprintf("node %d on the way to %d", n, leaf), got[3+n], chains[leaf][i])
			}
		}

		m.poison()
		copies := w.accept(1, cells, leaves[5])
		w.reset()
		w.add(1, []int32{5, 6})
		for i, l := range m.forward(w, copies) {
			sameBits(t, "after acceptance", l, chains[5][4+i])
		}
	}
}

// The same bits on any platform: this hash was made on amd64 and holds on
// arm64 and with every GOAMD64. It may change only with the definition of the arithmetic.
func TestGoldenBits(t *testing.T) {
	eachArith(t, func(t *testing.T, o Options) {
		if a := (arith{o.Level, o.Deterministic}); !a.fast() {
			testGolden(t, o)
		}
	})
}

func testGolden(t *testing.T, o Options) {
	const want = "85b9d2935e61a4503e623c6f1c03ee3c"
	rng := rand.New(rand.NewPCG(3, 4))
	sum := sha256.New()
	for _, typ := range []backend.KVType{backend.KVF32, backend.KVF16} {
		m := newToy(t, o, 2, 64, 3)
		for _, text := range m.logits(rng, toyTexts(rng, 1, 90, 40), schedule{typ: typ, pageSize: 16, chunk: fixed(30), together: true}) {
			for _, row := range text {
				for _, v := range row {
					if v != v || v < -20 || v > 20 {
						t.Fatalf("logit %v", v)
					}
					sum.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
				}
			}
		}
	}
	for pos := 0; pos < 1<<20; pos += 1009 {
		s, c := sincos(float64(pos))
		sum.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(s)))
		sum.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(c)))
	}
	sweep(func(x float32) {
		for _, v := range []float32{silu(x), geluTanh(x), softcap(x, 30)} {
			if v == v { // a NaN's payload may differ
				sum.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
			}
		}
	})
	if got := fmt.Sprintf("%x", sum.Sum(nil)[:16]); got != want {
		t.Errorf("hash of the results is %s, want %s", got, want)
	}
}

// A step allocates nothing once a batch of its size has been seen.
func TestStepDoesNotAllocate(t *testing.T) { eachArith(t, testAllocations) }

func testAllocations(t *testing.T, o Options) {
	rng := newRand(t)
	m := newToy(t, o, 2, 64, 4)
	w := newWorld(m.rig, rng, toySpec(backend.KVF16, 16), 4, 500)
	texts := toyTexts(rng, 30, 20, 10, 1)
	w.reset()
	for i, text := range texts {
		w.add(i, text[:len(text)/2])
	}
	m.forward(w, nil)
	for name, chunk := range map[string]int{"decode": 1, "mixed": 9} {
		w.reset()
		for i := range texts {
			n := 1
			if i == 0 {
				n = chunk
			}
			w.add(i, texts[0][:n])
		}
		copies := []backend.Copy{{Group: 0, From: 0, To: 0}}
		if n := testing.AllocsPerRun(20, func() { m.forward(w, copies) }); n != 0 {
			t.Errorf("a %s step allocates %v times", name, n)
		}
	}
}
