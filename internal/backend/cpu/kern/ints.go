package kern

import "weir/internal/weights"

// Integers computes Out[r*LdO+i] = dot(row r of X, row i of W) for r < Rows and i < N, N
// at most IntegerWeights, over Blocks blocks of 32 columns: of all columns, pieces that
// begin at multiples of IntegerCols go one after another. X is what PackIntegers has made
// of float32 rows, LdX bytes apart, W what IntegerPanel has made of weights. Sums begin
// with the First piece, wait in Acc (IntegerWeights floats a row), and go to Out with the
// Last. LdO counts floats.
//
// Activations are rounded as Decode's are, with the same bound of the error, and the
// products of a block of columns (32, or 16 where the type's scales are for 16) are summed
// exactly. What follows is float32, one sum a result, in the order of the columns: another
// order than Decode's.
type Integers struct {
	X, W                      *byte
	Out, Acc                  *float32
	Blocks, Rows, N, LdX, LdO int64
	First, Last               int64
}

// IntegerCols is the columns of an Integers that are best taken at a time: its weights
// stay in the first-level cache.
const IntegerCols = 512

// integers is how a level lays the operands of Integers.
type integers struct {
	weights int // that a panel has side by side
	row     int // bytes of 256 columns of an activation
	panel   int // most bytes of 512 columns of a panel
}

func (l Level) integers() integers {
	switch l {
	case AVX2:
		return integers{weights: 16, row: 896, panel: 16 * (32*2*16 + 4*16)}
	case AVXVNNI:
		return integers{weights: 16, row: 480, panel: 16 * (32*16 + 2*2*4*16)}
	case AVX512, AVX512BF16:
		return integers{weights: 32, row: 480, panel: 16 * (32*32 + 2*2*4*32)}
	}
	return integers{}
}

// IntegersFor tells whether the products of prompts with weights of type t are Integers at
// this level. Level AMX has tiles for them.
func (l Level) IntegersFor(t weights.Type) bool {
	return l.integers().weights > 0 && t != weights.F32 && t != weights.F16 && t != weights.BF16
}

// IntegerWeights is the most weights of an Integers.
func (l Level) IntegerWeights() int { return l.integers().weights }

// IntegerBytes is the size of a row of cols columns that PackIntegers has made.
func (l Level) IntegerBytes(cols int) int { return (cols + 255) / 256 * l.integers().row }

// IntegerPanelBytes is the most that IntegerPanel writes of cols columns: whole groups of
// 512.
func (l Level) IntegerPanelBytes(cols int) int { return (cols + 511) / 512 * l.integers().panel }
