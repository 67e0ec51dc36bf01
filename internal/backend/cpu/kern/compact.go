package kern

import (
	"encoding/binary"
	"unsafe"
)

// Compact is Rows rows of Width columns, from BF16 (X) to what DecodeCompact reads (Y), whole, or columns
// [From, From+Cols) of them from that back to BF16, with every bit. All three numbers are multiples of
// CompactCols; compact rows lie CompactRowBytes apart and begin at lines of the cache. c/compact.h has
// the layout.
type Compact struct {
	X, Y                              *byte
	Cols, From, Width, Rows, LdX, LdY int64
	far                               int64
}

// A compact row is a head of 4 bytes for each CompactCols columns, up to a multiple of 64, and then
// as many blocks of CompactBytes.
const (
	CompactCols  = 128
	CompactBytes = 192
)

// compactMany is what the last byte of a head says where four bits can't say several upper bytes.
const compactMany = 2

// CompactFloats is the size of the memory that DecodeCompact wants: compact.h's sums of a pass, wherever it begins.
const CompactFloats = DecodeRows*4*2*16 + 16

// CompactHeads is the size of the heads of a row of cols columns.
func CompactHeads(cols int) int { return (cols/CompactCols*4 + 63) / 64 * 64 }

// CompactRowBytes is the size of a row of cols columns.
func CompactRowBytes(cols int) int { return CompactHeads(cols) + cols/CompactCols*CompactBytes }

// Others sets what Compact leaves of the rows it made: a block with many others has all of its upper
// bytes elsewhere, in CompactCols bytes that take returns. It ends where take has no more of them (nil), and
// tells whether all could be set. X is read as the kernels read it, in little endian.
func (a *Compact) Others(take func() []byte) bool {
	for r := range a.Rows {
		x := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.X), r*a.LdX)), 2*a.Cols)
		y := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Y), r*a.LdY)), CompactRowBytes(int(a.Width)))
		blocks := y[CompactHeads(int(a.Width)):]
		for i := range int(a.Cols) / CompactCols {
			if y[4*i+3] == compactMany && !setOthers(x[2*i*CompactCols:], blocks[i*CompactBytes:], take()) {
				return false
			}
		}
	}
	return true
}

// setOthers sets the upper bytes of the block of the columns at x.
func setOthers(x, block, upper []byte) bool {
	if upper == nil {
		return false
	}
	for c := range CompactCols {
		upper[compactPlace(c)] = x[2*c+1]
	}
	binary.LittleEndian.PutUint64(block, uint64(uintptr(unsafe.Pointer(&upper[0]))-uintptr(unsafe.Pointer(&block[0]))))
	return true
}

// compactPlace is where in a block's order column c has its byte.
func compactPlace(c int) int {
	half, g, at := c/64, c%64/32, c%32
	return 64*half + at%16/4*16 + 8*g + at%4*2 + at/16
}
