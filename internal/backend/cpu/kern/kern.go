// Package kern has the CPU kernels: C functions for one instruction-set level
// each, compiled by tools/kerngen into Go assembly. What is committed here
// builds with Go alone; c/ holds the sources.
//
// A Level is what a machine's processor can run. Kernels come in two kinds:
//
//   - exact ones give the same bits as package cpu's portable loops, so that a
//     machine's level does not change what a model says;
//   - fast ones use the level's own arithmetic (fused products, integers) and
//     are held to a stated error. Most are written once for all levels, in
//     vectors of 64 bytes that narrower registers hold in pieces, and so have
//     one order of sums and the same bits everywhere; those for bf16 matrix
//     products have their own.
//
// A row's result never depends on how many rows a call has, or how rows are split
// over calls.
//
// A kernel runs to its end without Go being able to interrupt it, so callers
// hand it pieces that take well under half a millisecond; otherwise a garbage
// collection would wait for it.
//
// Arguments are pointers into memory that the caller has checked: nothing here
// looks at sizes again.
package kern

import (
	"fmt"
	"unsafe"

	"weir/internal/exact"
	"weir/internal/weights"
)

// Level is an instruction-set level. The zero value is none: options use it for
// the best that the machine runs.
type Level uint8

// The levels, each above the one before it on its architecture.
const (
	Portable   Level = iota + 1 // no kernels: the portable loops do everything
	AVX2                        // amd64 with AVX2, FMA and F16C
	AVXVNNI                     // and AVX-VNNI
	AVX512                      // AVX2's and AVX-512 F, BW, VL, DQ and VNNI; not AVX-VNNI
	AVX512BF16                  // and AVX-512 BF16
	AMX                         // and AMX TILE and BF16
)

// The levels of arm64.
const (
	NEON     Level = iota + 0x40 // with dot products (SDOT)
	NEONBF16                     // and matrix products of bf16 and 8 bits
)

var names = map[Level]string{Portable: "portable", AVX2: "avx2", AVXVNNI: "avxvnni", AVX512: "avx512",
	AVX512BF16: "avx512bf16", AMX: "amx", NEON: "neon", NEONBF16: "neonbf16"}

func (l Level) String() string { return names[l] }

// ParseLevel reads what --cpu-level takes; it must be one that this machine can
// run.
func ParseLevel(s string) (Level, error) {
	for _, l := range Levels() {
		if l.String() == s {
			return l, nil
		}
	}
	for _, name := range names {
		if name == s {
			return 0, fmt.Errorf("this machine's processor can't run level %s; it runs %v", s, Levels())
		}
	}
	return 0, fmt.Errorf("%q is no level of the processor; this machine runs %v", s, Levels())
}

// Best is the level that this machine is fastest at.
func Best() Level { return fastest(Levels(), slowBF16()) }

// fastest is the highest of levels, unless all that it adds to the one below are slower products.
func fastest(levels []Level, slowBF16 bool) Level {
	best := levels[len(levels)-1]
	if best == AVX512BF16 && slowBF16 {
		return AVX512
	}
	return best
}

// unknownType is what a kernel panics with for a type that has none.
func unknownType(t weights.Type) string { return "kern: internal error: no kernel for " + t.String() }

const unknownKVType = "kern: internal error: no kernel for a KV type"

// Dots computes, exactly, Out[r*LdO+i] = dot(row r of X, row i of W) for r < Rows
// and i < N. X's rows are LdX floats apart, W's Cols. A row of products is
// summed as package cpu's dot sums it.
type Dots struct {
	X, W, Out               *float32
	Cols, Rows, N, LdX, LdO int64
}

// Axpy computes, exactly, Y[i] += F*X[i] for i < N.
type Axpy struct {
	Y, X *float32
	N    int64
	F    float32
}

// Convert takes Rows rows of Cols columns from X to Y, in the formats that the
// operation says. Strides are bytes.
type Convert struct {
	X, Y                 *byte
	Cols, Rows, LdX, LdY int64
}

// Decode computes Out[r*LdO+i] = dot(row r of X, row i of W) for r < Rows and
// i < N: few rows of X, at most [DecodeRows], while W is read once, in order.
// LdW and LdX are bytes, LdO floats. For float types rows of X are float32; for
// quantised ones they are what Quantize makes of them.
//
// Quantised types: activations are rounded to 1/127 of the greatest in their
// block of 32, integer products are exact, and what follows is float32. So the
// result is off from that of the float32 activations by at most
// sum over blocks of (max|x|/254 * sum|w|), plus rounding.
type Decode struct {
	W, X                         *byte
	Out                          *float32
	Cols, Rows, N, LdW, LdX, LdO int64
	ahead                        ahead
	Scratch                      *float32 // of DecodeTurned and DecodeCompact
}

// ahead is how many bytes before its use Decode asks for W: into the first-level cache,
// and into the second. 0 asks for nothing.
type ahead struct{ near, far int64 }

// usualAhead is for processors that have not been measured.
var usualAhead = ahead{near: 3072}

// DecodeRows is the most rows of X in a Decode.
const DecodeRows = 16

// groupCols and groupBytes are the columns of a quantised activation that lie
// together, and their bytes.
const (
	groupCols  = 512
	groupBytes = 768
)

// QuantizedBytes is the size of a row of cols columns that Quantize has made.
func QuantizedBytes(cols int) int { return (cols + groupCols - 1) / groupCols * groupBytes }

// Gemm computes Out[r*LdO+i] = dot(row r of X, row i of W) for r < Rows and
// i < N. X is what Pack has made of float32 rows, W what Panel has made of
// weights, LdW words of 32 bits apart. Steps is the words of a row: see
// Level.Steps. LdO counts floats.
//
// At levels that round prompts (RoundsPrompts) both operands are rounded to bf16
// (relative error 2^-8 each, magnitudes below 2^-126 are zero) and summed in
// float32; at others they are float32. A result's sum has the order of the columns.
type Gemm struct {
	X, W                     *byte
	Out                      *float32
	Steps, Rows, N, LdW, LdO int64
}

// RoundsPrompts tells whether the products of prompts round their operands to bf16: a panel of weights
// in BF16 is their rows as they are.
func (l Level) RoundsPrompts() bool { return l == AVX512BF16 || l == AMX || l == NEONBF16 }

// Blocked tells whether the level has Multiply, not Gemm.
func (l Level) Blocked() bool { return l == AMX }

// Block is a Gemm over some of the columns, for at most BlockWeights weights: of all
// columns, pieces that begin at multiples of BlockCols go one after another. Sums
// begin with the First of them, wait in Acc (BlockAcc floats), and go to Out with
// the Last. LdX is the words from a tile of X to the next. W has room for
// BlockWeights rows, whatever N is. Next is where the next block's weights lie,
// undecoded, rows of NextBytes: the kernel asks memory for them. MultiplyLaying does what
// Panel does, too, meanwhile: from Raw to Lay, for RawRows rows of RawCols columns, a
// multiple of 32.
type Block struct {
	X, W                                       *byte
	Out, Acc                                   *float32
	Steps, Rows, N, LdX, LdW, LdO, First, Last int64
	Next                                       *byte
	NextBytes, LdNext                          int64
	Raw, Lay                                   *byte
	RawRows, RawCols, LdRaw, LdLay             int64
}

const (
	// BlockWeights is the most weights of a Block.
	BlockWeights = 32
	// BlockCols is the columns of a Block that are best taken at a time: its weights
	// stay in the first-level cache, while tiles of X come from the second.
	BlockCols = 512
)

// BlockAcc is the floats of the sums of a Block's rows.
func BlockAcc(rows int) int { return (rows + 31) / 32 * 32 * BlockWeights }

// PackRows is the rows of a tile of X: PackedBytes counts whole tiles.
const PackRows = 16

// Steps is how many words of 32 bits Pack and Panel make of cols columns.
func (l Level) Steps(cols int) int {
	switch l {
	case AVX512BF16:
		return (cols + 1) / 2
	case NEONBF16:
		return (cols + 3) / 4 * 2
	case AMX:
		return (cols + 31) / 32 * 16
	}
	return cols
}

// PackedBytes is the size of rows rows of cols columns that Pack has made.
func (l Level) PackedBytes(rows, cols int) int {
	return (rows + PackRows - 1) / PackRows * PackRows * l.Steps(cols) * 4
}

// PanelBytes is the size of a row of cols columns that Panel makes. Rows are
// best laid out that far apart: it is not near a multiple of 4096, at which rows
// would fight for the same lines of the cache.
func (l Level) PanelBytes(cols int) int { return (l.Steps(cols)*4+63)/64*64 + 64 }

// Norm computes, exactly, X += Delta where that is not nil, and then
// Dst = W * X / sqrt(mean(X^2) + Eps), of N floats. Dst may be X.
type Norm struct {
	Dst, X, Delta, W *float32
	N                int64
	Eps              float32
}

// Gate computes Dst = act(Gate) * Up of N floats: SiLU, or the tanh
// approximation of GELU where GELU is not 0. Dst may be Gate. The relative error
// is below 2^-20, but for results below 1e-30, which may be off by as much.
type Gate struct {
	Dst, Gate, Up *float32
	N, GELU       int64
}

// Rotate turns, exactly, pairs of X by the angles that Cos and Sin [Half] belong
// to: in each of Heads heads, Dim floats apart, elements i and Half+i, or 2i and
// 2i+1 where Interleaved is not 0.
type Rotate struct {
	X, Cos, Sin                   *float32
	Heads, Dim, Half, Interleaved int64
}

// Query is one head of a row on its way over the blocks of positions that it
// sees. Out begins as zeros and Max as -Inf with Sum 0, or as a sink with Sum
// 1; after the last block the result is Out / Sum.
type Query struct {
	Q, Out     *float32 // [dim]
	Max, Sum   float32
	Begin, End int32 // the positions of the block that it sees
}

// Attend takes N queries over the positions [Lo, Hi) of a block of
// [AttendPositions]. A position's key is Stride * its cell bytes from K, its
// value from V: Dim elements of a KVType. Scores are multiplied with Scale; with Softcap c > 0 they become c*tanh(score/c).
//
// Everything is float32: a product has 16 sums, by column, each fused; the output
// is summed over the positions in order, each fused. Positions that a query does
// not see change none of its bits, if blocks begin at fixed positions.
type Attend struct {
	Queries                *Query
	K, V                   *byte
	Cells                  *int32   // [AttendPositions]; only [Lo, Hi) is read
	Scratch                *float32 // [AttendScratch]
	N, Dim, Stride, Lo, Hi int64
	Type                   KVType
	Scale, Softcap         float32
	First, Last            int64 // for AttendPrompt
}

// AttendPrompt has further rules for Attend where the level HasPrompts: it takes the
// same queries over one block after another, the first and last of which have First
// and Last set, with the same scratch memory of PromptScratch floats. Out need not
// begin as zeros, and is divided by Sum at the end. Operands of products are rounded
// to bf16, sums are float32.
func (l Level) HasPrompts() bool { return l == AMX }

// PromptScratch is how many floats AttendPrompt needs for n queries.
func PromptScratch(n, dim int) int {
	n, dim = (n+15)/16*16, (dim+31)/32*32
	return AttendPositions*2*dim + 16*AttendPositions*3/2 + n*dim*3/2
}

// KVType is how a head's key or value is stored: see backend.KVType.
type KVType int64

// The types.
const (
	KVF32 KVType = iota
	KVF16
	KVBF16
	KVQ8
	KVQ4
)

// AttendPositions is the length of a block.
const AttendPositions = 64

// AttendScratch is how many floats Attend needs for n queries.
func AttendScratch(n, dim int) int {
	return (AttendPositions+1)*((dim+15)/16*16) + (AttendPositions+1)*n
}

// Weigh computes Y = e^((X-Peak)*Scale) of N numbers, with the bits of package
// exact's Exp, whose Steps these are; 0 where the exponent is below -700 or a NaN.
type Weigh struct {
	X           *float32
	Y           *float64
	Table       *[64]float64
	N           int64
	Peak, Scale float64
	exact.Steps
}

// MaximaBlock is how many numbers have one maximum in Maxima.
const MaximaBlock = 256

// MaximaOf is the argument of Maxima for y, one number a block of x.
func MaximaOf(x, y []float32) *Convert {
	return &Convert{X: (*byte)(unsafe.Pointer(&x[0])), Y: (*byte)(unsafe.Pointer(&y[0])), Cols: int64(len(x))}
}

// PeakBytes is the data that Peak works on.
const PeakBytes = 4096

// Probe is the argument of Read and Peak.
type Probe struct {
	Data *byte
	N    int64
	Sum  uint64
}
