package cpu

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

func TestBackendKeepsTheContract(t *testing.T) {
	var b backend.Backend
	b, err := New(Options{Threads: 3, Level: kern.Portable})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.Info(), (backend.Info{Name: "cpu", Level: "portable", Threads: 3, OneClass: true}); got != want {
		t.Errorf("Info() = %+v, want %+v", got, want)
	}
	s, err := b.NewStream(backend.Plan{Rows: 1, Seqs: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.(backend.DeviceSampler); ok {
		t.Error("the CPU offers a device sampler that it does not have")
	}
	s.Reduce(backend.Act{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	mustPanic(t, "an operation after Close", func() { s.Embed(backend.Act{}, nil, 1) })
	if _, err := New(Options{Threads: -1}); err == nil {
		t.Error("New took -1 threads")
	}
}

func TestBackendsShareAPool(t *testing.T) {
	checkNoGoroutinesLeft(t)
	p := NewPool(2)
	for range 2 {
		b, err := New(Options{Pool: p})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.Run(2, taskFunc(func(_, _ int) {})) // still open
	p.Close()
}

func TestLoadRefuses(t *testing.T) {
	b, err := New(Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, c := range []struct {
		tensor weights.Tensor
		place  backend.Placement
		want   string
	}{
		{weights.Tensor{Type: weights.F32, Shape: []int{2, 2, 1}, Data: make([]byte, 16)}, backend.Placement{}, "only vectors and matrices"},
		{weights.Tensor{Type: weights.F32, Data: make([]byte, 4)}, backend.Placement{}, "only vectors and matrices"},
		{weights.Tensor{Type: weights.I32, Shape: []int{2, 2}, Data: make([]byte, 16)}, backend.Placement{}, "does not compute with"},
		{weights.Tensor{Type: weights.Q8_0, Shape: []int{2, 33}, Data: make([]byte, 68)}, backend.Placement{}, "block of 32"},
		{weights.Tensor{Type: weights.F32, Shape: []int{2, 2}, Data: make([]byte, 12)}, backend.Placement{}, "has 12 bytes"},
		{weights.Tensor{Type: weights.F32, Shape: []int{2, 2}, Data: make([]byte, 15)}, backend.Placement{}, "has 15 bytes"},
		{weights.Tensor{Type: weights.F32, Shape: []int{0, 2}}, backend.Placement{}, "has 0 bytes"},
		{weights.Tensor{Type: weights.F32, Shape: []int{-1, 2}}, backend.Placement{}, "has 0 bytes"},
		{weights.Tensor{Type: weights.F32, Shape: []int{1, 2}, Data: make([]byte, 8)}, backend.Placement{Shard: backend.ByRow, Ranks: 2}, "not 2 ranks"},
	} {
		c.tensor.Name = "blk.3.x"
		if w, err := b.Load(c.tensor, c.place); err == nil || w != nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"blk.3.x"`) {
			t.Errorf("Load of %v %v: %v, %v; want an error with %q and the name", c.tensor.Type, c.tensor.Shape, w, err, c.want)
		}
	}
}

// An F32 matrix is used where it lies, even where that is not aligned.
func TestLoadF32InPlace(t *testing.T) {
	rng := newRand(t)
	plan := backend.Plan{Rows: 1, Seqs: 1}
	x, y := plan.Act("x", 40), plan.Act("y", 12)
	g := newRig(t, 1, plan)
	aligned := randomBlocks(t, rng, weights.F32, 12, 40)
	var results [][]float32
	for shift := range 4 {
		data := append(make([]byte, shift, shift+len(aligned)), aligned...)[shift:]
		w, err := g.b.Load(weights.Tensor{Name: "w", Type: weights.F32, Shape: []int{12, 40}, Data: data}, backend.Placement{})
		if err != nil {
			t.Fatal(err)
		}
		if w.Rows() != 12 || w.Cols() != 40 || w.Bytes() != 12*40*4 || w.Type() != weights.F32 {
			t.Errorf("weight is [%d, %d] %v of %d bytes", w.Rows(), w.Cols(), w.Type(), w.Bytes())
		}
		if copied := w.(*weight).plain == nil; copied != (shift%4 != 0) && littleEndian {
			t.Errorf("shifted by %d: copied is %v", shift, copied)
		}
		g.begin(1)
		g.set(x, uniform(rng, 40, 0))
		for i := range 40 {
			g.s.acts[x.Index()][i] = float32(i)
		}
		g.s.Linear(x, backend.Projection{Dst: y, W: w})
		results = append(results, g.get(y))
		sameBits(t, "result", results[0], results[shift])
	}
}

func TestNewKVRefuses(t *testing.T) {
	b, err := New(Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	group := backend.KVGroup{Layers: []int{0}, Heads: 1, HeadDim: 8}
	for name, spec := range map[string]backend.KVSpec{
		"type":      {Type: 9, PageSize: 16, Groups: []backend.KVGroup{group}, Pages: []int{1}},
		"page size": {PageSize: 0, Groups: []backend.KVGroup{group}, Pages: []int{1}},
		"pools":     {PageSize: 16, Groups: []backend.KVGroup{group}},
		"heads":     {PageSize: 16, Groups: []backend.KVGroup{{HeadDim: 8}}, Pages: []int{1}},
		"cells":     {PageSize: 16, Groups: []backend.KVGroup{group}, Pages: []int{math.MaxInt32 / 15}},
	} {
		if kv, err := b.NewKV(spec); err == nil || kv != nil {
			t.Errorf("%s: NewKV returned %v, %v", name, kv, err)
		}
	}
}

// resident is how much memory the process holds, as Linux tells it.
func resident(t *testing.T) int {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skipf("needs Linux's /proc: %v", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// A cache begins as zeros and takes memory as it is written.
func TestKVPagesAreLazy(t *testing.T) {
	b, err := New(Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	before := resident(t)
	spec := backend.KVSpec{Type: backend.KVF16, PageSize: 16, Pages: []int{1 << 12},
		Groups: []backend.KVGroup{{Layers: []int{0, 1}, Heads: 8, HeadDim: 128}}}
	kv, err := b.NewKV(spec)
	if err != nil {
		t.Fatal(err)
	}
	l := kv.(*kvCache).layers[0][1]
	last := int32(1<<16 - 1)
	k, v := make([]float32, 1024), make([]float32, 1024)
	k[1023], v[1023] = 1, 2
	l.put(arith{}, last, k, v)
	scratch := make([]float32, 128)
	if got := l.key(scratch, int(last), 7)[127]; got != 1 {
		t.Errorf("the last key is %v, want 1", got)
	}
	if got := l.value(scratch, int(last), 7)[127]; got != 2 {
		t.Errorf("the last value is %v, want 2", got)
	}
	if got := l.value(scratch, 0, 0)[0]; got != 0 {
		t.Errorf("the first value is %v, want 0", got)
	}
	if got := kv.Spec().Bytes(); got != 1<<16*1024*2*2*2 {
		t.Errorf("the cache takes %d bytes", got)
	}
	if grown, all := resident(t)-before, int(kv.Spec().Bytes()); grown > all/8 {
		t.Errorf("one cell of a cache of %d bytes took %d", all, grown)
	}
	if err := errors.Join(kv.Close(), kv.Close()); err != nil {
		t.Error(err)
	}
}

// A token takes memory by its page, in however many layers, large pages or not.
func TestTokenTakesOnePage(t *testing.T) {
	spec := backend.KVSpec{Type: backend.KVF16, PageSize: 16, Pages: []int{256},
		Groups: []backend.KVGroup{{Layers: make([]int, 32), Heads: 4, HeadDim: 64}}}
	before := resident(t)
	c, err := newKV(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	k := make([]float32, 4*64)
	for _, l := range c.layers[0] {
		l.put(arith{}, 100, k, k)
	}
	if grown, all := resident(t)-before, int(spec.Bytes()); grown > all/8 {
		t.Errorf("one token of a cache of %d bytes took %d", all, grown)
	}
}

// Copies are done in their order, in every layer of their group and no other.
func TestCopyKV(t *testing.T) {
	rng := newRand(t)
	for _, typ := range []backend.KVType{backend.KVF16, backend.KVF32} {
		g := newRig(t, 3, backend.Plan{Rows: 1, Seqs: 1})
		spec := backend.KVSpec{Type: typ, PageSize: 4, Pages: []int{2, 3}, Groups: []backend.KVGroup{
			{Layers: []int{0, 2, 3}, Heads: 2, HeadDim: 5}, {Layers: []int{1}, Heads: 1, HeadDim: 7}}}
		kv := g.kv(spec)
		type id struct{ group, layer, cell int }
		holds := map[id][]float32{} // k, then v
		read := func(at id) []float32 {
			l := kv.layers[at.group][at.layer]
			var all []float32
			scratch := make([]float32, l.headDim)
			for h := range l.heads {
				all = append(append(all, l.key(scratch, at.cell, h)...), l.value(scratch, at.cell, h)...)
			}
			return all
		}
		for grp, layers := range kv.layers {
			for i, l := range layers {
				for cell := range spec.Pages[grp] * 4 {
					l.put(arith{}, int32(cell), uniform(rng, l.heads*l.headDim, 1), uniform(rng, l.heads*l.headDim, 1))
					holds[id{grp, i, cell}] = append([]float32(nil), read(id{grp, i, cell})...)
				}
			}
		}
		copies := []backend.Copy{{Group: 0, From: 0, To: 7}, {Group: 1, From: 3, To: 4}, {Group: 0, From: 7, To: 2}, {Group: 0, From: 1, To: 0}, {Group: 1, From: 4, To: 11}}
		var b backend.Batch
		b.Reset(2)
		b.Token, b.Pos, b.Seq = []int32{0}, []int32{0}, []int32{0}
		b.Cell[0], b.Cell[1] = []int32{0}, []int32{0}
		b.Seqs = []backend.SeqTable{{Pages: [][]int32{{0}, {0}}, First: []int32{0, 0}}}
		g.s.Begin(&b, kv)
		g.s.CopyKV(nil)
		g.s.CopyKV(copies)
		for _, c := range copies {
			for i := range kv.layers[c.Group] {
				holds[id{c.Group, i, int(c.To)}] = holds[id{c.Group, i, int(c.From)}]
			}
		}
		for at, want := range holds {
			sameBits(t, fmt.Sprintf("%v %+v", typ, at), read(at), want)
		}
	}
}

func TestFirstSeen(t *testing.T) {
	for _, c := range []struct{ pos, window, want int }{
		{0, 0, 0}, {100, 0, 0}, {0, 1, 0}, {5, 1, 5}, {5, 6, 0}, {6, 6, 1}, {100, 10, 91},
	} {
		if got := firstSeen(c.pos, c.window); got != c.want {
			t.Errorf("a row at %d with window %d sees from %d, want %d", c.pos, c.window, got, c.want)
		}
	}
}

// Mistakes of the engine or of a model stop at the door.
func TestMistakesPanic(t *testing.T) {
	rng := newRand(t)
	plan := backend.Plan{Rows: 4, Seqs: 2, LogitRows: 2, Vocab: 10}
	x, y, gx := plan.Act("x", 32), plan.Act("y", 32), plan.GatheredAct("gx", 32)
	narrow := plan.Act("narrow", 16)
	g := newRig(t, 1, plan)
	w, _ := g.load(rng, weights.F32, 32, 32)
	vec, _ := g.load(rng, weights.F32, 32)
	out, _ := g.load(rng, weights.F32, 9, 32)
	spec := backend.KVSpec{Type: backend.KVF32, PageSize: 4, Pages: []int{8}, Groups: []backend.KVGroup{{Layers: []int{0}, Heads: 2, HeadDim: 16, Window: 6}}}
	world := newWorld(g, rng, backend.KVSpec{Type: spec.Type, PageSize: 4, Groups: spec.Groups}, 2, 12)
	kv := world.kv

	valid := func() *backend.Batch {
		return &backend.Batch{
			Token: []int32{1, 2}, Pos: []int32{8, 0}, Seq: []int32{0, 1}, Cell: [][]int32{{12, 20}}, Want: []int32{0, 1},
			Seqs: []backend.SeqTable{
				{Pages: [][]int32{{1, 2, 3}}, First: []int32{0}, Stored: 8},
				{Pages: [][]int32{{5}}, First: []int32{0}},
			},
		}
	}
	g.s.Begin(valid(), kv)
	for name, spoil := range map[string]func(b *backend.Batch){
		"no rows":                       func(b *backend.Batch) { b.Reset(1) },
		"too many rows":                 func(b *backend.Batch) { b.Token = make([]int32, 5) },
		"too many wanted":               func(b *backend.Batch) { b.Want = []int32{0, 1, 2} },
		"wanted twice":                  func(b *backend.Batch) { b.Want = []int32{1, 1} },
		"wanted row that is not there":  func(b *backend.Batch) { b.Want = []int32{2} },
		"a device slot":                 func(b *backend.Batch) { b.Slot = []int32{0, 1} },
		"positions missing":             func(b *backend.Batch) { b.Pos = b.Pos[:1] },
		"cells missing":                 func(b *backend.Batch) { b.Cell[0] = b.Cell[0][:1] },
		"a group missing":               func(b *backend.Batch) { b.Cell = nil },
		"tables missing":                func(b *backend.Batch) { b.Seqs[1].Pages = nil },
		"a sequence that is not there":  func(b *backend.Batch) { b.Seq[1] = 2 },
		"a negative position":           func(b *backend.Batch) { b.Pos[1] = -1 },
		"a cell outside":                func(b *backend.Batch) { b.Cell[0][1] = 1 << 20 },
		"a cell the table disagrees on": func(b *backend.Batch) { b.Cell[0][0] = 13 },
		"a page missing at the end":     func(b *backend.Batch) { b.Seqs[0].Pages[0] = []int32{1, 2} },
		"a page freed too early":        func(b *backend.Batch) { b.Seqs[0].Pages[0], b.Seqs[0].First[0] = []int32{2, 3}, 1 },
		"a tree row at a wrong depth":   func(b *backend.Batch) { b.Tree = [][]int32{nil, {0}} },
		"an ancestor that comes later":  func(b *backend.Batch) { b.Tree = [][]int32{{1}, nil}; b.Pos[0] = 9 },
	} {
		mustPanic(t, name, func() {
			b := valid()
			spoil(b)
			g.s.Begin(b, kv)
		})
	}
	g.s.Begin(valid(), kv)
	at := backend.Layer{}
	for name, op := range map[string]func(){
		"another backend's KV":         func() { g.s.Begin(valid(), nil) },
		"another backend's weight":     func() { g.s.Linear(x, backend.Projection{Dst: y}) },
		"a missing activation":         func() { g.s.Add(x, backend.Act{}) },
		"widths that differ":           func() { g.s.Add(x, narrow) },
		"a weight of another width":    func() { g.s.Linear(narrow, backend.Projection{Dst: y, W: w}) },
		"a destination too narrow":     func() { g.s.Linear(x, backend.Projection{Dst: narrow, W: w}) },
		"Linear in place":              func() { g.s.Linear(x, backend.Projection{Dst: x, W: w}) },
		"a matrix as a norm's weight":  func() { g.s.RMSNorm(y, x, w, 1) },
		"a matrix as a bias":           func() { g.s.Linear(x, backend.Projection{Dst: y, W: w, Bias: w}) },
		"too many projections":         func() { g.s.Linear(x, make([]backend.Projection, maxGroup+1)...) },
		"an embedding of gathered":     func() { g.s.Embed(gx, w, 1) },
		"gathering gathered":           func() { g.s.Gather(gx, gx) },
		"logits of all rows":           func() { g.s.Logits(x, w, 1, 0) },
		"logits of another vocabulary": func() { g.s.Logits(gx, out, 1, 0) },
		"heads that do not fit":        func() { g.s.Attend(y, x, at, backend.Attention{Heads: 3, Scale: 1}) },
		"attention in place":           func() { g.s.Attend(x, x, at, backend.Attention{Heads: 2, Scale: 1}) },
		"sinks for other heads":        func() { g.s.Attend(y, x, at, backend.Attention{Heads: 2, Scale: 1, Sinks: vec}) },
		"a rope wider than the head": func() {
			g.s.RopeWrite(x, x, x, at, &backend.Rope{Dim: 18, Freq: make([]float64, 9)}, backend.HeadNorm{})
		},
		"a rope without frequencies": func() { g.s.RopeWrite(x, x, x, at, &backend.Rope{Dim: 16}, backend.HeadNorm{}) },
		"keys of another width":      func() { g.s.RopeWrite(x, narrow, narrow, at, nil, backend.HeadNorm{}) },
		"a mixture without experts":  func() { g.s.Mixture(y, x, &backend.Mixture{Router: w, TopK: 1}) },
		"a mixture not planned": func() {
			one := []backend.Weight{w}
			g.s.Mixture(y, x, &backend.Mixture{Router: w, Gate: one, Up: one, Down: one, TopK: 1})
		},
	} {
		mustPanic(t, name, op)
	}
	if _, err := g.b.NewStream(backend.Plan{}); err == nil {
		t.Error("NewStream took a plan for no rows")
	}
}
