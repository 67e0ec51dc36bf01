// Package cpu computes a model's forward pass on the processor.
//
// A row's result is the same bits whatever stands beside it in the batch, however
// the prompt was cut into chunks, whatever the page size and however many
// threads share the work. Two rules make it so:
//
//   - An output element is computed whole, by one thread, in one order. Threads
//     share out elements, never the terms of a sum.
//   - Sums run in an order given by the column (dot products, norms) or by the
//     absolute position (attention, in blocks of [posBlock] positions and, for
//     fast kernels' decode rows, chunks of them), nothing else. Threads may share
//     out the chunks, as they are joined in order. A draft tree's row finds its
//     positions along its path, so it adds up what a chain with the same tokens
//     would.
//
// There are three ways to compute (type arith):
//
//   - The portable level, in plain Go: the reference that everything else is
//     compared with. It gives the same bits on every platform: products are
//     rounded before they are added, and exp, tanh, sine and cosine come from
//     math.go and package exact, so that no compiler or processor gets a choice.
//   - A level's exact kernels (Options.Deterministic): the same bits, faster.
//   - A level's fast kernels: matrix products have two arithmetics, one a
//     backend.Class. Decode rows are multiplied with the weights as they lie in
//     the file, in integers where those are quantised; prefill rows with panels
//     of decoded weights, in bf16 or float32, or where weights are quantised and
//     there is no AMX in integers again (amd64), in another order of sums. Keys of BF16 weights meet
//     what rounding leaves of the prompt's rows, too (finer.go). Norms, rotations and the KV cache
//     are exact; gates and attention are float32 for both classes. Mixtures of
//     experts use exact products for both.
//
// The operations (linear.go, attend.go, ...) share out work and memory; the
// arithmetic is in portable.go and math.go, and in package kern.
//
// Quantised weights stay as they are in the file. Where a tile of rows has to be
// decoded, that is done in a thread's scratch memory, and every row of the batch
// meets it there, so that a batch shares the cost. Matrices in BF16 can be made compact (compact.go):
// they are read in fewer bytes then, which are the same numbers.
//
// Nothing is allocated in a step: activations, logits and scratch memory lie in
// an arena made from the [backend.Plan], off the Go heap, as the KV pages do.
//
// Tokens are sampled by the host: streams are no backend.DeviceSampler, there
// are no token slots, and Begin panics for a row that names one.
package cpu

import (
	"errors"
	"fmt"
	"slices"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// Options says what a backend runs on. The zero value is a good one.
type Options struct {
	// Level is the instruction-set level to compute at, one that the machine
	// runs; 0: the best of them.
	Level kern.Level
	// Deterministic: the portable level's bits, whatever the level.
	Deterministic bool
	// Threads for a pool of the backend's own; 0: as many as Go runs at a time.
	// Not used when Pool is given.
	Threads int
	// Pool to share with the other engines of the process; nil: one of its own,
	// closed with the backend.
	Pool *Pool
}

// Backend implements backend.Backend.
type Backend struct {
	arith   arith
	pool    *Pool
	ownPool bool
	kvs     []*kvCache
	streams []*stream
	large   []*weight // matrices that may become compact
}

// New returns a backend.
func New(o Options) (*Backend, error) {
	a := arith{level: o.Level, exact: o.Deterministic}
	if a.level == 0 {
		a.level = kern.Best()
	}
	if !slices.Contains(kern.Levels(), a.level) {
		return nil, fmt.Errorf("level %d is none of %v, which this machine's processor runs", a.level, kern.Levels())
	}
	if o.Pool != nil {
		return &Backend{arith: a, pool: o.Pool}, nil
	}
	if o.Threads < 0 {
		return nil, fmt.Errorf("%d threads: use a positive number, or 0 for all", o.Threads)
	}
	return &Backend{arith: a, pool: NewPool(o.Threads), ownPool: true}, nil
}

// Info says what computes.
func (b *Backend) Info() backend.Info {
	return backend.Info{Name: "cpu", Level: b.arith.level.String(), Threads: b.pool.Threads(), OneClass: !b.arith.fast()}
}

// Load binds a vector or a matrix. Matrices are used where they lie, so t.Data
// must stay valid until Close; vectors are decoded to float32.
func (b *Backend) Load(t weights.Tensor, p backend.Placement) (backend.Weight, error) {
	if p.Ranks > 1 {
		return nil, fmt.Errorf("tensor %q: the CPU computes whole models, not %d ranks", t.Name, p.Ranks)
	}
	w, err := newWeight(t)
	if err != nil {
		return nil, err
	}
	return b.shared(w), nil
}

// NewKV allocates a cache of f16 or f32.
func (b *Backend) NewKV(spec backend.KVSpec) (backend.KV, error) {
	c, err := newKV(spec)
	if err != nil {
		return nil, err
	}
	b.kvs = append(b.kvs, c)
	return c, nil
}

// NewStream allocates everything that plan asks for.
func (b *Backend) NewStream(plan backend.Plan) (backend.Stream, error) {
	s, err := newStream(plan, b.pool, b.arith)
	if err != nil {
		return nil, err
	}
	b.streams = append(b.streams, s)
	return s, nil
}

// Close releases compact matrices, the caches and streams that are still open, and the pool if
// it is the backend's own.
func (b *Backend) Close() error {
	var errs []error
	for _, s := range b.streams {
		errs = append(errs, s.Close())
	}
	for _, c := range b.kvs {
		errs = append(errs, c.Close())
	}
	for _, w := range b.large {
		errs = append(errs, w.compact.Load().free())
	}
	b.streams, b.kvs, b.large = nil, nil, nil
	if b.ownPool {
		b.pool.Close()
	}
	return errors.Join(errs...)
}
