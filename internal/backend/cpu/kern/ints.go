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

const (
	// IntegerWeights is the most weights of an Integers.
	IntegerWeights = 16
	// IntegerCols is the columns of an Integers that are best taken at a time: its weights
	// stay in the first-level cache.
	IntegerCols = 512
	// integerCols and integerBytes are the columns of an activation that lie together, and
	// their bytes.
	integerCols  = 256
	integerBytes = 896
	// integerBlock is the most bytes that 32 columns of a panel take.
	integerBlock = 32*2*IntegerWeights + 4*IntegerWeights
)

// IntegersFor tells whether the products of prompts with weights of type t are Integers at
// this level.
func (l Level) IntegersFor(t weights.Type) bool {
	return l == AVX2 && t != weights.F32 && t != weights.F16 && t != weights.BF16
}

// IntegerBytes is the size of a row of cols columns that PackIntegers has made.
func IntegerBytes(cols int) int { return (cols + integerCols - 1) / integerCols * integerBytes }

// IntegerPanelBytes is the most that IntegerPanel writes of cols columns.
func IntegerPanelBytes(cols int) int { return (cols + 31) / 32 * integerBlock }
