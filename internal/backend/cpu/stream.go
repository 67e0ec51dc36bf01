package cpu

import (
	"fmt"

	"weir/internal/backend"
)

// stream implements backend.Stream. An operation is done when its call returns.
type stream struct {
	plan  backend.Plan
	pool  *Pool
	arith arith
	mem   []byte

	// The arena's parts.
	acts    [][]float32 // by Act.Index: [rows, cols]
	logits  []float32   // [LogitRows, Vocab]
	scratch [][]float32 // one a thread
	parts   [][]float32 // one a thread, of attention: [maxQueries, fastDim]
	mix     mixScratch
	packed  operands

	batch   batch
	prompts classes // of the rows of prompts alone
	kv      *kvCache
	result  backend.Result

	// One task of each kind, used again and again: a task made per call would
	// be an allocation per call.
	linear  linearTask
	packing packTask
	rows    rowTask
	rope    ropeTask
	attend  attendTask
	split   splitTask
	mixing  mixTask
	copier  copyTask
}

const (
	// guard is how many floats lie unused between two parts of the arena. Tests
	// fill them to see an overrun.
	guard = 16
	// minScratch is the least scratch memory of a thread, in floats.
	minScratch = 32 << 10
	// serialWork is about how many multiplications are worth waking a thread for.
	serialWork = 32 << 10
)

// arena hands out parts of one block of memory. Without memory it only counts.
type arena struct {
	mem  []float32
	used int
}

func (a *arena) take(n int) []float32 {
	begin := a.used
	a.used += (n+guard-1)/guard*guard + guard // parts begin on cache lines
	if a.mem == nil {
		return nil
	}
	return a.mem[begin : begin+n : begin+n]
}

func newStream(plan backend.Plan, pool *Pool, arith arith) (*stream, error) {
	if plan.Rows <= 0 || plan.Seqs <= 0 || plan.LogitRows < 0 || plan.Vocab < 0 {
		return nil, fmt.Errorf("plan for %d rows of %d sequences, %d logits rows of %d: internal error", plan.Rows, plan.Seqs, plan.LogitRows, plan.Vocab)
	}
	s := &stream{plan: plan, pool: pool, arith: arith}
	var count arena
	s.layout(&count)
	mem, err := allocate(count.used * 4)
	if err != nil {
		return nil, fmt.Errorf("activations for %d rows: %w", plan.Rows, err)
	}
	preferLargePages(mem)
	s.mem = mem
	s.layout(&arena{mem: floats(mem)})
	s.batch.init(plan)
	s.result.Logits = make([][]float32, 0, plan.LogitRows)
	return s, nil
}

// layout takes everything out of a.
func (s *stream) layout(a *arena) {
	a.take(0) // a guard before the first part, too
	s.acts = s.acts[:0]
	widest := s.plan.Experts.Width
	for _, spec := range s.plan.Acts {
		rows := s.plan.Rows
		if spec.Gathered {
			rows = s.plan.LogitRows
		}
		s.acts = append(s.acts, a.take(rows*spec.Cols))
		widest = max(widest, spec.Cols)
	}
	s.logits = a.take(s.plan.LogitRows * s.plan.Vocab)
	s.mix.layout(a, s.plan)
	s.scratch = s.scratch[:0]
	for range s.pool.Threads() {
		s.scratch = append(s.scratch, a.take(max(minScratch, s.arith.tileScratch(widest))))
	}
	s.layoutParts(a)
	s.packed.layout(a, s.arith, max(s.plan.Rows, s.plan.LogitRows), widest)
}

func (s *stream) Close() error {
	mem := s.mem
	*s = stream{} // what is used after Close panics instead of touching memory given back
	return release(mem)
}

func (s *stream) Begin(b *backend.Batch, kv backend.KV) {
	c, ok := kv.(*kvCache)
	if !ok {
		panic(fmt.Sprintf("cpu: Begin: KV of type %T was not made by this backend", kv))
	}
	s.kv = c
	s.batch.set(b, c.spec)
	s.result.Logits = s.result.Logits[:0]
}

func (s *stream) Wait() (*backend.Result, error) { return &s.result, nil }

// Reduce does nothing: there is one rank.
func (s *stream) Reduce(backend.Act) {}

// run shares out n items, or does them itself where the work, in
// multiplications, is too little to wake a thread for.
func (s *stream) run(n, work int, t Task) {
	if work < serialWork || n == 1 {
		for i := range n {
			t.Do(0, i)
		}
		return
	}
	s.pool.Run(n, t)
}

// mat is an activation of the current batch: [rows, cols].
type mat struct {
	data       []float32
	rows, cols int
}

func (m mat) row(i int) []float32 { return m.data[i*m.cols : (i+1)*m.cols : (i+1)*m.cols] }

// gathered tells whether a has a row per wanted logits row.
func (s *stream) gathered(a backend.Act) bool { return s.plan.Acts[a.Index()].Gathered }

// act returns the rows of a that the batch uses.
func (s *stream) act(a backend.Act, op string) mat {
	if !a.Present() {
		panic("cpu: " + op + ": an activation is missing")
	}
	rows := len(s.batch.token)
	if s.gathered(a) {
		rows = len(s.batch.want)
	}
	return mat{s.acts[a.Index()][:rows*a.Cols()], rows, a.Cols()}
}

// same panics unless the activations have one shape.
func same(op string, a mat, others ...mat) {
	for _, o := range others {
		if o.rows != a.rows || o.cols != a.cols {
			panic(fmt.Sprintf("cpu: %s: activations of [%d, %d] and [%d, %d]", op, a.rows, a.cols, o.rows, o.cols))
		}
	}
}

// distinct panics if an operation that reads x while it writes dst gets one
// activation for both.
func distinct(op string, dst, x backend.Act) {
	if dst.Index() == x.Index() {
		panic("cpu: " + op + ": cannot be done in place")
	}
}

// Gather copies the wanted rows.
func (s *stream) Gather(dst, x backend.Act) {
	from, to := s.act(x, "Gather"), s.act(dst, "Gather")
	if s.gathered(x) || !s.gathered(dst) || from.cols != to.cols {
		panic(fmt.Sprintf("cpu: Gather from %d to %d columns: wants a row activation and a gathered one of its width", from.cols, to.cols))
	}
	for i, r := range s.batch.want {
		copy(to.row(i), from.row(int(r)))
	}
}

// ReadAct implements backend.HostActs.
func (s *stream) ReadAct(a backend.Act, i int) []float32 { return s.act(a, "ReadAct").row(i) }

// SetAct implements backend.HostActs.
func (s *stream) SetAct(a backend.Act, i int, v []float32) {
	row := s.act(a, "SetAct").row(i)
	if len(v) != len(row) {
		panic(fmt.Sprintf("cpu: SetAct: %d values for %d columns", len(v), len(row)))
	}
	copy(row, v)
}

// CopyAct implements backend.HostActs.
func (s *stream) CopyAct(dst, x backend.Act) {
	from, to := s.act(x, "CopyAct"), s.act(dst, "CopyAct")
	same("CopyAct", to, from)
	copy(to.data, from.data)
}

// CopyKV does the copies in their order, so that a cell may be read by one and
// written by a later one. Layers are independent.
func (s *stream) CopyKV(copies []backend.Copy) {
	if len(copies) == 0 {
		return
	}
	s.copier = copyTask{kv: s.kv, copies: copies}
	for g, layers := range s.kv.layers {
		s.copier.group = g
		s.run(len(layers), len(layers)*len(copies)*s.kv.spec.Groups[g].Heads*s.kv.spec.Groups[g].HeadDim, &s.copier)
	}
}

type copyTask struct {
	kv     *kvCache
	copies []backend.Copy
	group  int
}

func (t *copyTask) Do(_, item int) {
	l := t.kv.layers[t.group][item]
	for _, c := range t.copies {
		if c.Group == t.group {
			l.copyCell(c.To, c.From)
		}
	}
}
