//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	gpu "weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// toy is a small model that goes through every operation that the GPU has, on two
// backends: the CPU's portable level is the reference.
type toy struct {
	testing.TB
	c                             toyConfig
	plan                          backend.Plan
	x, h, q, k, v, a, o, gate, up backend.Act
	last                          backend.Act
	sides                         [2]toySide
}

type toyConfig struct {
	heads, kvHeads, dim, width, hidden int
	types                              []weights.Type // of the matrices, in turn
	kv                                 backend.KVType
	window, page                       int
	softcap                            float32
	sinks, bias, headNorm, interleaved bool
	trees                              bool
	gelu                               bool
	weights                            Weights // of the GPU
	float8                             bool    // matrices are E4M3 in the file
}

const (
	toyVocab  = 131
	toyLayers = 2
	toyRows   = 400
	toySeqs   = 40
)

func (c toyConfig) String() string {
	return fmt.Sprintf("%d heads over %d of %d, %v, kv %v, window %d, page %d, cap %v, sinks %v, bias %v, norm %v, interleaved %v, trees %v, weights %d, float8 %v",
		c.heads, c.kvHeads, c.dim, c.types, c.kv, c.window, c.page, c.softcap, c.sinks, c.bias, c.headNorm, c.interleaved, c.trees, c.weights, c.float8)
}

// toySide is the toy on one backend.
type toySide struct {
	b                   backend.Backend
	s                   backend.Stream
	kv                  backend.KV
	embed, norm, output backend.Weight
	layers              []toyLayer
	rope                *backend.Rope
}

type toyLayer struct {
	attnNorm, mlpNorm  backend.Weight
	qkv, out, gu, down []backend.Projection
	headNorm           backend.HeadNorm
	attention          backend.Attention
}

// openGPU opens the GPU for a target, or skips.
func openGPU(t testing.TB, o Options) *Backend {
	t.Helper()
	b, err := Open(o)
	if errors.Is(err, ErrAbsent) {
		t.Skipf("needs an NVIDIA GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newToy(t testing.TB, rng *rand.Rand, c toyConfig, o Options) *toy {
	t.Helper()
	m := &toy{TB: t, c: c}
	m.plan = backend.Plan{Rows: toyRows, Seqs: toySeqs, LogitRows: toyRows, Vocab: toyVocab}
	p := &m.plan
	m.x, m.h, m.o = p.Act("x", c.width), p.OnceAct("h", c.width), p.Act("o", c.width)
	m.q, m.a = p.Act("q", c.heads*c.dim), p.Act("a", c.heads*c.dim)
	m.k, m.v = p.Act("k", c.kvHeads*c.dim), p.Act("v", c.kvHeads*c.dim)
	m.gate, m.up = p.OnceAct("gate", c.hidden), p.Act("up", c.hidden)
	m.last = p.GatheredAct("last", c.width)

	host, err := cpu.New(cpu.Options{Level: kern.Portable, Deterministic: true})
	if err != nil {
		t.Fatal(err)
	}
	o.Weights = c.weights
	m.sides[0].b, m.sides[1].b = host, openGPU(t, o)
	m.bind(rng)
	spec := backend.KVSpec{Type: c.kv, PageSize: c.page, Groups: []backend.KVGroup{{Layers: []int{0, 1}, Heads: c.kvHeads, HeadDim: c.dim, Window: c.window}}, Pages: []int{20000 / c.page}}
	for i := range m.sides {
		s := &m.sides[i]
		spec := spec
		if i == 0 && c.kv == backend.KVE4M3 { // which the CPU has not
			spec.Type = backend.KVF32
		}
		if s.kv, err = s.b.NewKV(spec); err != nil {
			t.Fatal(err)
		}
		if s.s, err = s.b.NewStream(m.plan); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *toy) close() {
	for i := range m.sides {
		if err := m.sides[i].b.Close(); err != nil {
			m.Error(err)
		}
	}
}

// tensor draws a matrix. With E4M3 the reference gets what the GPU makes of it.
func (m *toy) tensor(rng *rand.Rand, typ weights.Type, rows, cols int, size float64) weights.Tensor {
	row := make([]float32, rows*cols)
	for i := range row {
		row[i] = float32(rng.NormFloat64() * size)
	}
	n, err := typ.RowBytes(cols)
	if err != nil {
		m.Fatal(err)
	}
	data := make([]byte, rows*n)
	weights.QuantizeRow(typ, data, row)
	return weights.Tensor{Name: "w", Type: typ, Shape: []int{rows, cols}, Data: data}
}

// load binds a tensor on both sides.
func (m *toy) load(t weights.Tensor) (both [2]backend.Weight) {
	m.Helper()
	for i := range m.sides {
		side := t
		matrix := len(t.Shape) == 2 && t.Name != embedding(t.Name)
		if m.c.float8 && matrix {
			codes, scales, plain := float8Of(t)
			if side = plain; i == 1 {
				w, err := m.sides[i].b.(backend.Float8Loader).LoadFloat8(codes, scales, backend.Placement{})
				if err != nil {
					m.Fatal(err)
				}
				both[i] = w
				continue
			}
		}
		if i == 0 && len(t.Shape) == 2 && m.c.weights == AsE4M3 && t.Name != embedding(t.Name) {
			side = asE4M3(t)
		}
		w, err := m.sides[i].b.Load(side, backend.Placement{})
		if err != nil {
			m.Fatal(err)
		}
		both[i] = w
	}
	return both
}

// float8Of is a matrix as an FP8 checkpoint has it, and what that stands for.
func float8Of(t weights.Tensor) (codes weights.Tensor, scales []float32, plain weights.Tensor) {
	x, cols := t.Float32s(), t.Cols()
	codes = weights.Tensor{Name: t.Name, Type: weights.F8E4M3, Shape: t.Shape, Data: make([]byte, len(x))}
	plain = weights.Tensor{Name: t.Name, Type: weights.F32, Shape: t.Shape, Data: make([]byte, 4*len(x))}
	for r := range t.Rows() {
		scale := float32(1+r%7) / 100 / float32(math.Sqrt(float64(cols)))
		scales = append(scales, scale)
		for i, v := range x[r*cols : (r+1)*cols] {
			e := nearestE4M3(v / scale)
			for b := range 256 {
				if b&0x7f != 0x7f && e4m3Value(uint8(b)) == e {
					codes.Data[r*cols+i] = byte(b)
				}
			}
			binary.LittleEndian.PutUint32(plain.Data[4*(r*cols+i):], math.Float32bits(e*scale))
		}
	}
	return codes, scales, plain
}

// asE4M3 rounds each row to E4M3 with a scale.
func asE4M3(t weights.Tensor) weights.Tensor {
	x := t.Float32s()
	cols := t.Cols()
	for r := range t.Rows() {
		row, top := x[r*cols:(r+1)*cols], float32(0)
		for _, v := range row {
			top = max(top, float32(math.Abs(float64(v))))
		}
		for i, v := range row {
			row[i] = nearestE4M3(v*448/top) * top / 448
		}
	}
	data := make([]byte, 4*len(x))
	for i, v := range x {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return weights.Tensor{Name: t.Name, Type: weights.F32, Shape: t.Shape, Data: data}
}

func nearestE4M3(v float32) float32 {
	best, off := float32(0), math.Inf(1)
	for b := range 256 {
		if b&0x7f == 0x7f {
			continue
		}
		e := e4m3Value(uint8(b))
		if d := math.Abs(float64(e) - float64(v)); d < off || d == off && b&1 == 0 {
			best, off = e, d
		}
	}
	return best
}

func (m *toy) vector(rng *rand.Rand, n int, around, size float32) [2]backend.Weight {
	data := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(around+size*(2*rng.Float32()-1)))
	}
	return m.load(weights.Tensor{Name: "v", Type: weights.F32, Shape: []int{n}, Data: data})
}

func (m *toy) bind(rng *rand.Rand) {
	c, next := m.c, 0
	matrix := func(rows, cols int) [2]backend.Weight {
		typ := c.types[next%len(c.types)]
		next++
		return m.load(m.tensor(rng, typ, rows, cols, 1/math.Sqrt(float64(cols))))
	}
	project := func(l *[2][]backend.Projection, dst backend.Act, rows, cols int) {
		w := matrix(rows, cols)
		var bias [2]backend.Weight
		if c.bias {
			bias = m.vector(rng, rows, 0, 0.3)
		}
		for i := range l {
			l[i] = append(l[i], backend.Projection{Dst: dst, W: w[i], Bias: bias[i]})
		}
	}
	emb := m.tensor(rng, c.types[0], toyVocab, c.width, 1)
	emb.Name = "token_embd.weight"
	embed, norm, output := m.load(emb), m.vector(rng, c.width, 1, 0.3), matrix(toyVocab, c.width)
	for range toyLayers {
		attnNorm, mlpNorm := m.vector(rng, c.width, 1, 0.3), m.vector(rng, c.width, 1, 0.3)
		var qkv, out, gu, down [2][]backend.Projection
		project(&qkv, m.q, c.heads*c.dim, c.width)
		project(&qkv, m.k, c.kvHeads*c.dim, c.width)
		project(&qkv, m.v, c.kvHeads*c.dim, c.width)
		project(&out, m.o, c.width, c.heads*c.dim)
		project(&gu, m.gate, c.hidden, c.width)
		project(&gu, m.up, c.hidden, c.width)
		project(&down, m.o, c.width, c.hidden)
		var qn, kn, sinks [2]backend.Weight
		if c.headNorm {
			qn, kn = m.vector(rng, c.dim, 1, 0.3), m.vector(rng, c.dim, 1, 0.3)
		}
		if c.sinks {
			sinks = m.vector(rng, c.heads, 0, 1)
		}
		for i := range m.sides {
			m.sides[i].layers = append(m.sides[i].layers, toyLayer{attnNorm: attnNorm[i], mlpNorm: mlpNorm[i], qkv: qkv[i], out: out[i], gu: gu[i], down: down[i],
				headNorm:  backend.HeadNorm{Q: qn[i], K: kn[i], Eps: 1e-6},
				attention: backend.Attention{Heads: c.heads, Scale: float32(1.5 / math.Sqrt(float64(c.dim))), Softcap: c.softcap, Sinks: sinks[i]}})
		}
	}
	rope := &backend.Rope{Dim: c.dim, Interleaved: c.interleaved, Scale: 1.1}
	for j := range c.dim / 2 {
		rope.Freq = append(rope.Freq, math.Pow(10000, -2*float64(j)/float64(c.dim)))
	}
	for i := range m.sides {
		s := &m.sides[i]
		s.embed, s.norm, s.output, s.rope = embed[i], norm[i], output[i], rope
	}
}

// forward runs a batch on one side.
func (m *toy) forward(side int, b *backend.Batch, copies []backend.Copy) [][]float32 {
	m.Helper()
	t := &m.sides[side]
	s := t.s
	s.Begin(b, t.kv)
	s.CopyKV(copies)
	s.Embed(m.x, t.embed, 2)
	for i := range t.layers {
		l := &t.layers[i]
		at := backend.Layer{Group: 0, Index: i}
		if i == 0 {
			s.RMSNorm(m.h, m.x, l.attnNorm, 1e-5)
		} else {
			s.AddRMSNorm(m.h, m.x, m.o, l.attnNorm, 1e-5)
		}
		s.Linear(m.h, l.qkv...)
		s.RopeWrite(m.q, m.k, m.v, at, t.rope, l.headNorm)
		s.Attend(m.a, m.q, at, l.attention)
		s.Linear(m.a, l.out...)
		s.AddRMSNorm(m.h, m.x, m.o, l.mlpNorm, 1e-5)
		s.Linear(m.h, l.gu...)
		f := backend.SiLU
		if m.c.gelu {
			f = backend.GELUTanh
		}
		s.Gate(m.gate, m.gate, m.up, f)
		s.Linear(m.gate, l.down...)
	}
	s.Add(m.x, m.o)
	s.Gather(m.last, m.x)
	s.RMSNorm(m.last, m.last, t.norm, 1e-5)
	s.Logits(m.last, t.output, 0.5, 20)
	r, err := s.Wait()
	if err != nil {
		m.Fatalf("%v: %v", m.c, err)
	}
	out := make([][]float32, len(r.Logits))
	for i := range out {
		out[i] = slices.Clone(r.Logits[i])
	}
	return out
}

// toySeqs keeps sequences whose pages are scattered.
type toyWorld struct {
	m     *toy
	rng   *rand.Rand
	free  []int32
	seqs  []toySeq
	batch backend.Batch
}

type toySeq struct {
	done  int
	pages []int32
}

func newToyWorld(m *toy, rng *rand.Rand, n int) *toyWorld {
	w := &toyWorld{m: m, rng: rng, seqs: make([]toySeq, n)}
	for _, p := range rng.Perm(20000 / m.c.page) {
		w.free = append(w.free, int32(p))
	}
	return w
}

func (w *toyWorld) take() int32 {
	p := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	return p
}

// add puts the next n positions of a sequence into the batch.
func (w *toyWorld) add(seq, n int) {
	s, b, page := &w.seqs[seq], &w.batch, w.m.c.page
	for len(s.pages)*page < s.done+n {
		s.pages = append(s.pages, w.take())
	}
	for i := range n {
		pos := s.done + i
		w.row(pos, s.pages[pos/page]*int32(page)+int32(pos%page))
		b.Tree = append(b.Tree, nil)
	}
	b.Seqs = append(b.Seqs, backend.SeqTable{Pages: [][]int32{slices.Clone(s.pages)}, First: []int32{0}, Stored: int32(s.done)})
	s.done += n
}

func (w *toyWorld) row(pos int, cell int32) {
	b := &w.batch
	b.Want = append(b.Want, int32(len(b.Token)))
	b.Token = append(b.Token, w.rng.Int32N(toyVocab))
	b.Slot = append(b.Slot, 0)
	b.Pos = append(b.Pos, int32(pos))
	b.Seq = append(b.Seq, int32(len(b.Seqs)))
	b.Class = append(b.Class, backend.Decode)
	b.Cell[0] = append(b.Cell[0], cell)
}

// tree puts a draft tree of four nodes onto a sequence; nothing of it is kept.
func (w *toyWorld) tree(seq int) {
	s, b := &w.seqs[seq], &w.batch
	base := int32(len(b.Token))
	for _, path := range [][]int32{{}, {0}, {0}, {0, 1}} {
		at := []int32{}
		for _, p := range path {
			at = append(at, base+p)
		}
		w.row(s.done+len(path), w.take()*int32(w.m.c.page))
		b.Tree = append(b.Tree, at)
	}
	b.Seqs = append(b.Seqs, backend.SeqTable{Pages: [][]int32{slices.Clone(s.pages)}, First: []int32{0}, Stored: int32(s.done)})
}

// run compares a batch's logits and returns the greatest relative error.
func (w *toyWorld) run(what string, copies ...backend.Copy) float64 {
	m := w.m
	m.Helper()
	want, got := m.forward(0, &w.batch, copies), m.forward(1, &w.batch, copies)
	worst := 0.0
	for i := range want {
		var off, size float64
		for j := range want[i] {
			d := float64(got[i][j]) - float64(want[i][j])
			off, size = off+d*d, size+float64(want[i][j])*float64(want[i][j])
		}
		e := math.Sqrt(off / size)
		if !(e <= m.tolerance()) {
			m.Errorf("%v: %s: row %d of %d (position %d): the logits are off by %.4f of their size", m.c, what, i, len(want), w.batch.Pos[i], e)
			return e
		}
		worst = max(worst, e)
	}
	return worst
}

// tolerance is about three times what bf16 costs in these two layers, and E4M3 in
// activations. A planted mistake (one key too many, a gate without its factor, a
// neighbour's rotation) is beyond 0.1.
func (m *toy) tolerance() float64 {
	if m.c.kv == backend.KVE4M3 { // against a cache of float32
		return 0.09
	}
	if m.c.weights == AsE4M3 || m.c.float8 {
		return 0.12
	}
	if m.c.types[0] == weights.Q4_K || m.c.types[0] == weights.Q8_0 {
		return 0.03
	}
	return 0.025
}

func toyConfigs() []toyConfig {
	plain, blocks := []weights.Type{weights.BF16}, []weights.Type{weights.Q8_0, weights.Q4_K, weights.Q6_K}
	kept := []toyConfig{}
	for _, kv := range []backend.KVType{backend.KVBF16, backend.KVQ8, backend.KVE4M3} {
		kept = append(kept, toyConfig{heads: 4, kvHeads: 2, dim: 64, width: 256, hidden: 512, types: plain, page: 16, kv: kv, sinks: true, trees: true},
			toyConfig{heads: 8, kvHeads: 2, dim: 128, width: 512, hidden: 768, types: plain, page: 5, kv: kv, headNorm: true, window: 70},
			toyConfig{heads: 2, kvHeads: 1, dim: 192, width: 256, hidden: 512, types: plain, page: 16, kv: kv, softcap: 5, interleaved: true})
	}
	return append(kept, []toyConfig{
		{heads: 4, kvHeads: 2, dim: 64, width: 256, hidden: 512, types: plain, page: 16},
		{heads: 8, kvHeads: 2, dim: 128, width: 512, hidden: 768, types: plain, page: 16, headNorm: true},
		{heads: 7, kvHeads: 1, dim: 64, width: 192, hidden: 320, types: []weights.Type{weights.F32, weights.F16}, page: 5, bias: true, interleaved: true},
		{heads: 4, kvHeads: 4, dim: 128, width: 256, hidden: 256, types: plain, page: 1, window: 40, sinks: true},
		{heads: 3, kvHeads: 1, dim: 36, width: 100, hidden: 132, types: plain, page: 7, softcap: 5, gelu: true},
		{heads: 4, kvHeads: 2, dim: 64, width: 256, hidden: 512, types: plain, page: 16, kv: backend.KVF32, window: 70, trees: true},
		{heads: 4, kvHeads: 1, dim: 64, width: 256, hidden: 512, types: plain, page: 16, trees: true, sinks: true},
		{heads: 4, kvHeads: 2, dim: 64, width: 256, hidden: 512, types: blocks, page: 16},
		{heads: 4, kvHeads: 2, dim: 64, width: 512, hidden: 1024, types: []weights.Type{weights.Q4_K}, page: 16, interleaved: true},
		{heads: 8, kvHeads: 2, dim: 128, width: 512, hidden: 1024, types: plain, page: 16, weights: AsE4M3},
		{heads: 16, kvHeads: 2, dim: 128, width: 512, hidden: 768, types: plain, page: 16, kv: backend.KVE4M3, sinks: true},
		{heads: 4, kvHeads: 4, dim: 128, width: 512, hidden: 768, types: plain, page: 7, kv: backend.KVE4M3, weights: AsE4M3},
		{heads: 32, kvHeads: 8, dim: 128, width: 512, hidden: 768, types: plain, page: 16, kv: backend.KVE4M3, interleaved: true},
		{heads: 16, kvHeads: 16, dim: 128, width: 256, hidden: 512, types: plain, page: 7, kv: backend.KVE4M3, sinks: true},
		{heads: 12, kvHeads: 1, dim: 128, width: 256, hidden: 512, types: plain, page: 16, kv: backend.KVE4M3},
	}...)
}

// What the GPU computes is what the CPU's portable level computes, within what
// bf16 costs: every operation, for few and many rows, chains and trees, with and
// without recorded steps.
func TestParity(t *testing.T) {
	eachRunning(t, func(t *testing.T, target string) {
		rng := newRand(t)
		for _, c := range toyConfigs() {
			testParity(t, rng, c, Options{Target: target, Eager: rng.IntN(4) == 0})
		}
	})
}

// eachRunning runs f for each target that the machine's GPU runs.
func eachRunning(t *testing.T, f func(t *testing.T, target string)) {
	for _, target := range gpu.Targets() {
		t.Run(target.String(), func(t *testing.T) {
			b := openGPU(t, Options{})
			runs := target.Runs(b.device.capability)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if !runs {
				t.Skipf("needs an NVIDIA GPU that runs %v", target)
			}
			f(t, target.String())
		})
	}
}

// The same of matrices that are E4M3 in the file, with scales that are no powers of two.
func TestFloat8Parity(t *testing.T) {
	eachRunning(t, func(t *testing.T, target string) {
		c := toyConfig{heads: 4, kvHeads: 2, dim: 64, width: 96, hidden: 160, types: []weights.Type{weights.BF16}, page: 16, float8: true}
		testParity(t, newRand(t), c, Options{Target: target})
	})
}

// Random numbers that the device makes have the size that products keep.
func TestLoadRandom(t *testing.T) {
	for _, as := range []Weights{AsStored, AsE4M3} {
		b := openGPU(t, Options{Weights: as})
		const rows, cols = 300, 1024
		bw, err := b.LoadRandom(weights.Tensor{Name: "w", Type: weights.BF16, Shape: []int{rows, cols}})
		if err != nil {
			t.Fatal(err)
		}
		w := bw.(*weight)
		data, scale := make([]byte, 2*rows*cols), make([]float32, rows)
		if as == AsE4M3 {
			data = data[:rows*cols]
		}
		done, err := b.device.use()
		err = errors.Join(err, b.device.download(data, w.at))
		if as == AsE4M3 {
			err = errors.Join(err, b.device.download(bytesOf(scale), w.scales))
		}
		if err != nil {
			t.Fatal(err)
		}
		done()
		sum, mean := 0.0, 0.0
		for i := range rows * cols {
			v := float64(weights.BF16ToF32(binary.LittleEndian.Uint16(data[i*len(data)/(rows*cols)&^1:])))
			if as == AsE4M3 {
				v = float64(e4m3Value(data[i]) * scale[i/cols])
			}
			sum, mean = sum+v*v, mean+v
		}
		rms, want := math.Sqrt(sum/rows/cols), 1/math.Sqrt(cols)
		if !(rms > 0.8*want && rms < 1.2*want) || math.Abs(mean/rows/cols) > 0.02*want {
			t.Errorf("weights %d: root mean square %v, mean %v; want about %v and 0", as, rms, mean/rows/cols, want)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func testParity(t *testing.T, rng *rand.Rand, c toyConfig, o Options) {
	m := newToy(t, rng, c, o)
	defer m.close()
	if rng.IntN(4) > 0 { // attention of prompts beside that of tokens, however short
		m.sides[1].s.(*stream).besideFrom = 0
	}
	w := newToyWorld(m, rng, 24)
	var worst [4]float64
	step := func(kind int, what string, fill func(), copies ...backend.Copy) {
		w.batch.Reset(1)
		fill()
		worst[kind] = max(worst[kind], w.run(what, copies...))
	}
	step(0, "one row", func() { w.add(0, 1) })
	step(0, "a prompt", func() { w.add(0, 37) })
	step(0, "a long prompt", func() { w.add(1, 300) })
	step(0, "prompts together", func() {
		for i := range 20 {
			w.add(i, 1+rng.IntN(18))
		}
	})
	for i := range 6 { // twice each, so that a recorded step runs
		for range 2 {
			n := []int{1, 2, 3, 7, 16, 20}[i]
			step(1, fmt.Sprintf("decode of %d", n), func() {
				for j := range n {
					w.add(j, 1)
				}
			})
		}
	}
	step(2, "prompts beside decodes", func() {
		for i := range 24 {
			w.add(i, []int{1, 1, 1, 2, 30}[rng.IntN(5)])
		}
	})
	step(2, "short chains", func() { // attention takes their rotation along
		for i := range 7 {
			w.add(i, 1+i%2)
		}
	})
	if c.trees {
		step(3, "a draft tree", func() { w.add(0, 1); w.tree(1); w.add(2, 9); w.tree(3) })
	}
	// A page is copied, and read in its new place.
	s := &w.seqs[1]
	from := s.pages[0]
	s.pages[0] = w.take()
	var copies []backend.Copy
	for i := range c.page {
		copies = append(copies, backend.Copy{From: from*int32(c.page) + int32(i), To: s.pages[0]*int32(c.page) + int32(i)})
	}
	step(2, "after a copy", func() { w.add(1, 1) }, copies...)
	if g := m.sides[1].s.(*stream); g.graphs.Refused > 0 {
		t.Errorf("%v: %d recorded steps gave other bits than the steps themselves", c, g.graphs.Refused)
	} else {
		t.Logf("%v: prompts %.4f, decodes %.4f, mixed %.4f, trees %.4f; %d graphs", c, worst[0], worst[1], worst[2], worst[3], len(g.graphs.made))
	}
}

// The same batch gives the same bits, again and again.
func TestDeterminism(t *testing.T) {
	rng := newRand(t)
	for _, c := range []toyConfig{toyConfigs()[1], toyConfigs()[4], toyConfigs()[9], toyConfigs()[10]} {
		m := newToy(t, rng, c, Options{})
		w := newToyWorld(m, rng, 24)
		w.batch.Reset(1)
		for i := range 24 {
			w.add(i, 1+rng.IntN(16))
		}
		want := m.forward(1, &w.batch, nil)
		for range 20 {
			for i, row := range m.forward(1, &w.batch, nil) {
				for j := range row {
					if math.Float32bits(row[j]) != math.Float32bits(want[i][j]) {
						t.Fatalf("%v: row %d, logit %d: %v and %v", c, i, j, row[j], want[i][j])
					}
				}
			}
		}
		m.close()
	}
}
