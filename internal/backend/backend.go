// Package backend is the contract between a model's forward pass and what
// computes it: a CPU (package cpu) or a GPU.
//
// # Shape of the contract
//
// Operations are coarse: one call is one pass over memory that a good kernel
// would make, such as a whole group of projections of the same input, or rope
// together with the write into the KV cache. A forward pass is a straight
// list of such calls on a [Stream]; there is no graph to build and no
// operation hands a value back to the host, so that a GPU can record the list
// once (per [Batch] bucket) and replay it. Whatever changes from step to step
// is in the Batch, which lives at fixed addresses on the device. Activations
// ([Act]) live in an arena planned before the first step.
//
// Results reach the host in one place, [Stream.Wait].
//
// # Exactness
//
// A token's result depends on its own sequence only, never on how many rows
// stand beside it: sums are made in one fixed order per output element;
// attention walks absolute positions in order and reads keys and values as
// stored. A backend may have two arithmetics, one per [Class]; a row's class
// follows its role (prompt token or generated token) and never the size of the
// batch.
package backend

import "weir/internal/weights"

// Class is the arithmetic that a row is computed with.
type Class uint8

const (
	// Prefill is for prompt tokens: many at a time, bound by arithmetic.
	Prefill Class = iota
	// Decode is for generated tokens, also when they are computed again after
	// a preemption, and for drafts under verification.
	Decode
)

// Backend owns a device's memory. Its methods are for the start and the end of
// a model's life; Streams do the work in between. Not safe for concurrent use,
// but for Info.
type Backend interface {
	Info() Info
	// Load binds a tensor. The CPU uses t.Data in place, so the file must stay
	// open until Close; others copy. An error names the tensor.
	Load(t weights.Tensor, p Placement) (Weight, error)
	// NewKV allocates the KV cache.
	NewKV(spec KVSpec) (KV, error)
	// NewStream allocates an arena for the activations and the step metadata,
	// both for batches of at most limits.
	NewStream(plan Plan) (Stream, error)
	Close() error
}

// Float8Loader is a Backend that multiplies with matrices of 8-bit floats as they are.
// It is asked for with a type assertion; elsewhere such matrices are made BF16 first.
type Float8Loader interface {
	// LoadFloat8 binds a matrix of weights.F8E4M3 whose row r is to be multiplied by
	// scales[r].
	LoadFloat8(t weights.Tensor, scales []float32, p Placement) (Weight, error)
}

// Info describes a backend to people and to planning.
type Info struct {
	Name    string // "cpu"
	Level   string // "portable", "avx512": which kernels
	Threads int    // of the CPU; 0 on a GPU
	// OneClass: both classes are the same arithmetic here.
	OneClass bool
}

// Placement says where a tensor goes when a model is spread over devices.
// The zero value is the whole tensor on the one device there is.
type Placement struct {
	Shard Shard // axis along which ranks split it
	Rank  int
	Ranks int // 0 or 1: not split
}

// Shard is the axis of a split.
type Shard uint8

const (
	Replicated Shard = iota // every rank holds all of it (norms, embedding)
	ByRow                   // ranks hold output rows (q, k, v, gate, up)
	ByCol                   // ranks hold input columns; a Reduce follows (o, down)
)

// Weight is a tensor bound to a device. [rows, cols], or [cols] for a vector.
type Weight interface {
	Rows() int
	Cols() int
	Type() weights.Type
	Bytes() int64
}

// Act is an activation matrix in the arena: [rows of the batch, cols] float32
// as far as its user can tell. Acts are made by Plan.Act; the zero Act is
// "absent" where an operation allows that.
type Act struct {
	id   int // index in the plan, plus one
	cols int
}

// Cols is the width.
func (a Act) Cols() int { return a.cols }

// Index is the place in Plan.Acts.
func (a Act) Index() int { return a.id - 1 }

// Present tells a planned Act from the zero one.
func (a Act) Present() bool { return a.id > 0 }

// Plan lists what a Stream must have room for.
type Plan struct {
	Rows      int // most rows in a batch
	Seqs      int // most sequences in a batch
	LogitRows int // most rows whose logits are wanted
	Context   int // longest sequence
	Slots     int // device token slots
	Vocab     int // rows of the output matrix: how wide logits are
	Experts   ExpertSpec
	// Varied: steps of one size may differ in the calls that they make, as where
	// the host sets activations (HostActs); such steps are not recorded.
	Varied bool
	// Shown: after a step the host may read activations (HostActs.ReadAct). A device
	// need not keep what only its own operations read.
	Shown bool
	Acts  []ActSpec
}

// ExpertSpec is the size of a model's mixtures, the greatest over its layers.
// The zero value: there are none.
type ExpertSpec struct {
	Count, TopK int
	Width       int // of an expert's hidden layer
}

// ActSpec is a planned activation.
type ActSpec struct {
	Name string
	Cols int
	// Gathered: only the rows whose logits are wanted; at most Plan.LogitRows.
	Gathered bool
	// Once: when a Linear has read it, nobody reads it before it is written again. A backend need
	// not keep it in more forms than that Linear takes.
	Once bool
}

// Act plans an activation with a row per row of the batch.
func (p *Plan) Act(name string, cols int) Act {
	p.Acts = append(p.Acts, ActSpec{Name: name, Cols: cols})
	return Act{id: len(p.Acts), cols: cols}
}

// OnceAct plans one with a row per row of the batch that one Linear reads, and
// nobody after it.
func (p *Plan) OnceAct(name string, cols int) Act {
	p.Acts = append(p.Acts, ActSpec{Name: name, Cols: cols, Once: true})
	return Act{id: len(p.Acts), cols: cols}
}

// GatheredAct plans an activation with a row per wanted logits row.
func (p *Plan) GatheredAct(name string, cols int) Act {
	p.Acts = append(p.Acts, ActSpec{Name: name, Cols: cols, Gathered: true})
	return Act{id: len(p.Acts), cols: cols}
}
