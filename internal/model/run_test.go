package model

import (
	"cmp"
	"slices"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/model/modeltest"
	"weir/internal/weights"
)

// openHF writes a checkpoint as Hugging Face has it and opens it.
func openHF(t testing.TB, c *modeltest.Checkpoint) *weights.File {
	t.Helper()
	dir := t.TempDir()
	if err := c.WriteHF(dir); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(dir, weights.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// openGGUF writes a checkpoint as a GGUF and opens it.
func openGGUF(t testing.TB, c *modeltest.Checkpoint, typ weights.Type) *weights.File {
	t.Helper()
	b, err := c.GGUF(typ)
	if err != nil {
		t.Fatal(err)
	}
	return openBytes(t, b)
}

func openBytes(t testing.TB, b []byte) *weights.File {
	t.Helper()
	f, err := weights.OpenBytes("test.gguf", b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// runner drives a model by hand, without an engine: one sequence, whose pages
// are handed out in an order of their own.
type runner struct {
	t      testing.TB
	model  Model
	stream backend.Stream
	kv     backend.KV
	batch  backend.Batch
	pages  [][]int32 // [group]
	size   int       // of a page
	stored int
	class  backend.Class
}

type runOptions struct {
	pageSize int // 0: 16
	threads  int // 0: 1
	kvType   backend.KVType
	rows     int           // most rows in a batch; 0: 64
	context  int           // 0: 128
	level    kern.Level    // 0: portable
	class    backend.Class // of every row
	change   func(Model)
	wrap     func(backend.Backend) backend.Backend // what the model is loaded into
	on       backend.Backend                       // what computes, and stays open; nil: a CPU
}

// newRunner loads f; o.change may then spoil the model.
func newRunner(t testing.TB, f *weights.File, o runOptions) *runner {
	t.Helper()
	b := o.on
	if b == nil {
		host, err := cpu.New(cpu.Options{Threads: max(o.threads, 1), Level: cmp.Or(o.level, kern.Portable)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { host.Close() })
		b = host
	}
	into := b
	if o.wrap != nil {
		into = o.wrap(b)
	}
	m, err := Load(f, into, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if o.change != nil {
		o.change(m)
	}
	r := &runner{t: t, model: m, size: o.pageSize, class: o.class}
	if r.size == 0 {
		r.size = 16
	}
	rows, context := o.rows, cmp.Or(o.context, 128)
	if rows == 0 {
		rows = 64
	}
	plan := backend.Plan{Rows: rows, Seqs: 1, LogitRows: rows, Context: context}
	m.Plan(&plan)
	if r.stream, err = b.NewStream(plan); err != nil {
		t.Fatal(err)
	}
	spec := backend.KVSpec{Type: o.kvType, PageSize: r.size, Groups: m.KVGroups()}
	n := context/r.size + 1
	for g := range spec.Groups {
		spec.Pages = append(spec.Pages, n)
		var pages []int32
		for i := range n {
			pages = append(pages, int32((i*3+g)%n)) // 3 does not divide the counts used here
		}
		r.pages = append(r.pages, pages)
	}
	if r.kv, err = b.NewKV(spec); err != nil {
		t.Fatal(err)
	}
	return r
}

// step runs the next tokens and returns the logits of each.
func (r *runner) step(ids []int32) [][]float32 {
	r.t.Helper()
	b := &r.batch
	b.Reset(len(r.pages))
	var first []int32
	for range r.pages {
		first = append(first, 0)
	}
	b.Seqs = append(b.Seqs, backend.SeqTable{Pages: r.pages, First: first, Stored: int32(r.stored)})
	for i, id := range ids {
		pos := r.stored + i
		b.Token = append(b.Token, id)
		b.Slot = append(b.Slot, 0)
		b.Pos = append(b.Pos, int32(pos))
		b.Seq = append(b.Seq, 0)
		b.Class = append(b.Class, r.class)
		b.Tree = append(b.Tree, nil)
		b.Want = append(b.Want, int32(i))
		for g, pages := range r.pages {
			b.Cell[g] = append(b.Cell[g], pages[pos/r.size]*int32(r.size)+int32(pos%r.size))
		}
	}
	r.stored += len(ids)
	r.stream.Begin(b, r.kv)
	r.model.Forward(r.stream)
	res, err := r.stream.Wait()
	if err != nil {
		r.t.Fatal(err)
	}
	var out [][]float32
	for _, l := range res.Logits {
		out = append(out, slices.Clone(l))
	}
	return out
}

// chunks runs ids in pieces of at most n and returns the logits of every token.
func (r *runner) chunks(ids []int32, n int) [][]float32 {
	r.t.Helper()
	var out [][]float32
	for c := range slices.Chunk(ids, n) {
		out = append(out, r.step(c)...)
	}
	return out
}
