package cpu

import (
	"encoding/binary"
	"math"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/weights"
)

// How keys and values are rounded, exactly: every level stores the same bytes.

// kernTypes are the types as kernels know them.
var kernTypes = [...]kern.KVType{backend.KVF16: kern.KVF16, backend.KVF32: kern.KVF32, backend.KVBF16: kern.KVBF16, backend.KVQ8: kern.KVQ8, backend.KVQ4: kern.KVQ4}

// keep rounds src [heads*headDim] to a cell's bytes.
func (a arith) keep(l *kvLayer, dst []byte, src []float32) {
	if l.typ == backend.KVF32 {
		copy(floats(dst), src)
		return
	}
	if a.level > kern.Portable {
		a.level.Keep(kernTypes[l.typ], &kern.Convert{X: bytesOf(src), Y: &dst[0], Cols: int64(l.headDim), Rows: int64(l.heads),
			LdX: 4 * int64(l.headDim), LdY: int64(l.size)})
		return
	}
	for i := range l.heads {
		l.keepHead(dst[i*l.size:(i+1)*l.size], src[i*l.headDim:(i+1)*l.headDim])
	}
}

func (l *kvLayer) keepHead(dst []byte, src []float32) {
	switch l.typ {
	case backend.KVF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], weights.F32ToF16(v))
		}
	case backend.KVBF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], weights.F32ToBF16(v))
		}
	case backend.KVQ8:
		for i := 0; i < len(src); i += 32 {
			keepQ8((*[34]byte)(dst[i/32*34:]), src[i:min(i+32, len(src))])
		}
	case backend.KVQ4:
		for i := 0; i < len(src); i += 32 {
			keepQ4((*[18]byte)(dst[i/32*18:]), src[i:min(i+32, len(src))])
		}
	}
}

// scale16 is a block's scale, rounded to binary16, and one over it (0 for 0). A
// block with an infinity or a NaN gets a NaN, which spreads to all who see it.
func scale16(b []byte, d float32, finite bool) (inverse float32) {
	h := weights.F32ToF16(d)
	switch {
	case !finite:
		h = 0x7e00
	case h&0x7fff == 0:
		h = 0 // no -0
	}
	binary.LittleEndian.PutUint16(b, h)
	if d = weights.F16ToF32(h); !finite || d == 0 {
		return 0
	}
	return 1 / d
}

// extremes returns the least and the greatest of x and 0.
func extremes(x []float32) (least, most float32, finite bool) {
	finite = true
	for _, v := range x {
		finite = finite && v-v == 0
		least, most = min(least, v), max(most, v)
	}
	return least, most, finite
}

// nearest rounds v to a whole number, ties to even, within [lo, hi].
func nearest(v float32, lo, hi int32) int32 {
	return int32(min(max(math.RoundToEven(float64(v)), float64(lo)), float64(hi)))
}

// keepQ8 stores up to 32 numbers: d is the greatest magnitude / 127.
func keepQ8(b *[34]byte, x []float32) {
	clear(b[:])
	least, most, finite := extremes(x)
	inverse := scale16(b[:], max(-least, most)/127, finite)
	if !finite {
		return
	}
	for i, v := range x {
		b[2+i] = byte(int8(nearest(v*inverse, -127, 127)))
	}
}

// keepQ4 stores up to 32 numbers: the one of the greatest magnitude, a positive
// one if there are two, becomes -8 times d.
func keepQ4(b *[18]byte, x []float32) {
	clear(b[:])
	least, most, finite := extremes(x)
	if most < -least {
		most = least
	}
	inverse := scale16(b[:], most/-8, finite)
	var q [32]byte
	for i := range q {
		q[i] = 8
	}
	if finite {
		for i, v := range x {
			q[i] = byte(nearest(v*inverse, -8, 7) + 8)
		}
	}
	for i := range 16 {
		b[2+i] = q[i] | q[16+i]<<4
	}
}

// load decodes a head's key or value, or returns it where it lies.
func (l *kvLayer) load(dst []float32, src []byte) []float32 {
	src = src[:l.size]
	if l.typ == backend.KVF32 {
		return floats(src)
	}
	dst = dst[:l.headDim]
	switch l.typ {
	case backend.KVF16:
		load16(dst, halves(src))
	case backend.KVBF16:
		for i, h := range halves(src) {
			dst[i] = weights.BF16ToF32(h)
		}
	case backend.KVQ8:
		for i := range dst {
			b := src[i/32*34:]
			dst[i] = weights.F16ToF32(binary.LittleEndian.Uint16(b)) * float32(int8(b[2+i%32]))
		}
	case backend.KVQ4:
		for i := range dst {
			b := src[i/32*18:]
			q := b[2+i%16] >> (i % 32 / 16 * 4) & 15
			dst[i] = weights.F16ToF32(binary.LittleEndian.Uint16(b)) * float32(int(q)-8)
		}
	}
	return dst
}

func load16(dst []float32, src []uint16) []float32 {
	dst = dst[:len(src)]
	for i, h := range src {
		if m := uint32(h & 0x7fff); m-0x400 < 0x7c00-0x400 { // normal: rebias the exponent
			dst[i] = math.Float32frombits(uint32(h&0x8000)<<16 | (m<<13 + 112<<23))
		} else {
			dst[i] = weights.F16ToF32(h)
		}
	}
	return dst
}
