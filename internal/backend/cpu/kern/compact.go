package kern

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// Compact takes columns [From, From+Cols) of Rows rows of Width columns: from BF16 (X) to what
// DecodeCompact reads (Y), or from that back to BF16, with every bit. All three numbers are multiples of
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

// What the last byte of a head says: how many upper bytes four bits can't.
const (
	compactOne  = 1
	compactMany = 2
)

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
		upper[CompactPlace(c)] = x[2*c+1]
	}
	binary.LittleEndian.PutUint64(block, uint64(uintptr(unsafe.Pointer(&upper[0]))-uintptr(unsafe.Pointer(&block[0]))))
	return true
}

// CompactPlace is where in a block's order column c has its byte.
func CompactPlace(c int) int {
	half, g, at := c/64, c%64/32, c%32
	return 64*half + at%16/4*16 + 8*g + at%4*2 + at/16
}

// CompactRow decodes a compact row, in plain Go.
func CompactRow(dst []float32, row []byte) {
	blocks := row[CompactHeads(len(dst)):]
	for i := 0; i < len(dst); i += CompactCols {
		head, block := row[i/CompactCols*4:], blocks[i/CompactCols*CompactBytes:]
		for c := range CompactCols {
			place := CompactPlace(c)
			dst[i+c] = math.Float32frombits(uint32(compactUpper(head, block, place))<<24 | uint32(block[64+place])<<16)
		}
	}
}

// compactUpper is the upper byte that a block has at a place.
func compactUpper(head, block []byte, place int) byte {
	switch {
	case head[3] == compactMany:
		return *(*byte)(unsafe.Add(unsafe.Pointer(&block[0]), int(binary.LittleEndian.Uint64(block))+place))
	case head[3] == compactOne && int(head[1]) == place:
		return head[2]
	}
	four := block[place%64] >> (place / 64 * 4) & 15
	return four&8<<4 | four&7 + head[0]
}
