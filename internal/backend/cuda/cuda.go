// Package cuda computes a model's forward pass on an NVIDIA GPU.
//
// It needs NVIDIA's driver and nothing else: libcuda.so.1 is looked for when the
// program runs (driver.go), and the kernels are PTX that the driver compiles when
// it loads them (package kern). Built with the tag nogpu, or elsewhere than on
// Linux, the package has no GPU to offer and pulls nothing in.
//
// # How values are stored
//
// The residual stream and sums are float32. What a product multiplies is bf16, or
// E4M3 where weights are and tokens are many; queries, keys and values are f16.
// An activation so has two places in the arena, and each operation leaves its
// result in one of them: the stream knows which (act in stream.go).
//
// Matrices are bf16, E4M3 with a scale a row, or GGUF's Q8_0, Q4_K and Q6_K. F32
// and F16 become bf16 when they are loaded, GGUF's other types
// one of these (widen.go). Rows are padded with zeros to 64 columns, so that no kernel has a remainder to care for.
//
// # Exactness
//
// Both classes of a row are the same arithmetic (Info.OneClass). A step's
// results are the same bits whenever the same batch is computed again on the same
// card: sums are made in one fixed order, atomics only count. A row's result may
// differ in its last bits with the size of the batch it stands in, since few and
// many tokens take different kernels. The CPU's portable level is the reference.
//
// # A step
//
// Operations are kernels on one stream of the device. A step's metadata is one
// block of ints, copied once (batch.go). A step that only decodes, once seen, is
// replayed as a graph for all later ones of its bucket (graph.go), if the graph
// has given the same bits as the step itself.
package cuda

import (
	"errors"

	"weir/internal/weights"
)

// ErrAbsent is in the chain of Open's error where the machine has no GPU that
// can be used, or weir was built without: then the CPU computes.
var ErrAbsent = errors.New("no NVIDIA GPU can be used")

// ErrUnsupported is in the chain of Load's error for a model that only the CPU
// computes.
var ErrUnsupported = errors.New("use --device cpu")

// Options say what a backend runs on. The zero value is a good one.
type Options struct {
	// Device is the GPU's number, from 0.
	Device int
	// Target names the kernels to use ("sm_80", ...); "" the best for the card.
	Target string
	// Eager: launch every kernel of every step, and record no graphs.
	Eager bool
	// Weights of matrices that files have as bf16, F16, F32 or types without kernels.
	Weights Weights
}

// Weights says what becomes of a matrix of plain numbers.
type Weights uint8

const (
	// AsStored: bf16 (F16 and F32 are rounded to it).
	AsStored Weights = iota
	// AsE4M3: 8 bits, with a scale a row, half the memory of bf16.
	AsE4M3
)

// Meter measures what a GPU can do at most, beside an engine that has nothing to
// do.
type Meter interface {
	Describe() string // the card and the driver
	Kernels() string  // which the engine uses
	// Held is what a tensor takes on the device.
	Held(weights.Tensor) int64
	// Bandwidth is bytes a second, read and written; Arithmetic is operations a
	// second, two for each multiply-add, on random operands. 0: it failed.
	Bandwidth() float64
	Arithmetic() float64
	Methods() (bandwidth, arithmetic string)
	Bytes() int64 // that bandwidth is measured on
	Close() error
}
