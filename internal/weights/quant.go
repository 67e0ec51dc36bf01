package weights

import (
	"encoding/binary"
	"math"
)

// QuantizeRow encodes src, whole blocks of t, into dst. It is a plain encoder
// without an importance matrix: it makes test files and random shapes, and is
// good enough to quantise a model with. Numbers that are not finite give
// blocks that decode to finite ones, of no meaning. It panics when the sizes
// do not match, as [DequantizeRow] does.
func QuantizeRow(t Type, dst []byte, src []float32) {
	checkRow("QuantizeRow", t, len(src), len(dst))
	if encode := floatEncoder(t); encode != nil {
		encode(dst, src)
		return
	}
	encode := blockEncoder(t)
	elems, bytes := t.Block()
	for ; len(src) > 0; dst, src = dst[bytes:], src[elems:] {
		b := dst[:bytes]
		clear(b) // encoders set bits with |=
		encode(b, src[:elems])
	}
}

// floatEncoder returns the encoder of a row of a plain type, nil for others.
func floatEncoder(t Type) func(dst []byte, x []float32) {
	switch t {
	case F32:
		return quantF32
	case F16:
		return quantF16
	case BF16:
		return quantBF16
	}
	return nil
}

// blockEncoder returns the encoder of one zeroed block of a quantised type.
func blockEncoder(t Type) func(b []byte, x []float32) {
	switch t {
	case Q4_0:
		return quantQ4_0
	case Q4_1:
		return quantQ4_1
	case Q5_0:
		return quantQ5_0
	case Q5_1:
		return quantQ5_1
	case Q8_0:
		return quantQ8_0
	case Q2_K:
		return quantQ2K
	case Q3_K:
		return quantQ3K
	case Q4_K:
		return quantQ4K
	case Q5_K:
		return quantQ5K
	case Q6_K:
		return quantQ6K
	case IQ4_NL:
		return quantIQ4NL
	case IQ4_XS:
		return quantIQ4XS
	}
	panic("weights: internal error: no encoder for " + t.String())
}

func quantF32(dst []byte, x []float32) {
	for i, v := range x {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
}

func quantF16(dst []byte, x []float32) {
	for i, v := range x {
		binary.LittleEndian.PutUint16(dst[2*i:], F32ToF16(v))
	}
}

func quantBF16(dst []byte, x []float32) {
	for i, v := range x {
		binary.LittleEndian.PutUint16(dst[2*i:], F32ToBF16(v))
	}
}

// putNibble stores q as element j of 16 bytes that hold 32 nibbles: low ones
// first.
func putNibble(b []byte, j int, q uint8) { b[j&15] |= q & 15 << (j >> 4 * 4) }

func quantQ4_0(b []byte, x []float32) {
	d := putHalf(b, fitScale(x, integers(-8, 7), -8, 7))
	for j, v := range x {
		putNibble(b[2:], j, uint8(clampRound(ratio(v, d), -8, 7)+8))
	}
}

func quantQ4_1(b []byte, x []float32) {
	s, m := fitAffine(x, 15, anyMinimum)
	d, mn := putHalf(b, s), putHalf(b[2:], m)
	for j, v := range x {
		putNibble(b[4:], j, uint8(clampRound(ratio(v-mn, d), 0, 15)))
	}
}

// putHighBit stores bit 4 of element j's q in the u32 at b.
func putHighBit(b []byte, j int, q uint8) { b[j>>3] |= q >> 4 & 1 << (j & 7) }

func quantQ5_0(b []byte, x []float32) {
	d := putHalf(b, fitScale(x, integers(-16, 15), -16, 15))
	for j, v := range x {
		q := uint8(clampRound(ratio(v, d), -16, 15) + 16)
		putNibble(b[6:], j, q)
		putHighBit(b[2:], j, q)
	}
}

func quantQ5_1(b []byte, x []float32) {
	s, m := fitAffine(x, 31, anyMinimum)
	d, mn := putHalf(b, s), putHalf(b[2:], m)
	for j, v := range x {
		q := uint8(clampRound(ratio(v-mn, d), 0, 31))
		putNibble(b[8:], j, q)
		putHighBit(b[4:], j, q)
	}
}

func quantQ8_0(b []byte, x []float32) {
	var extreme float64
	for _, v := range x {
		extreme = max(extreme, math.Abs(float64(v)))
	}
	d := putHalf(b, extreme/127)
	for j, v := range x {
		b[2+j] = uint8(int8(clampRound(ratio(v, d), -127, 127)))
	}
}

func quantIQ4NL(b []byte, x []float32) {
	d := putHalf(b, fitScale(x, iq4Level, -127, 113))
	for j, v := range x {
		putNibble(b[2:], j, iq4Index(ratio(v, d)))
	}
}
