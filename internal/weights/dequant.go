package weights

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Layouts and formulas are those of the public ggml block formats. Products are
// written float32(x*y) wherever a sum follows, so that no platform fuses the
// two and every one computes the same bits.

// iq4Values is the codebook of IQ4_NL and IQ4_XS.
var iq4Values = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// DequantizeRow decodes src, whole blocks of t, into dst. It panics when t is
// not supported, len(dst) is not a multiple of t's block, or len(src) is not
// what len(dst) takes: callers have checked the tensor's shape by then.
func DequantizeRow(t Type, dst []float32, src []byte) {
	checkRow("DequantizeRow", t, len(dst), len(src))
	switch t {
	case F32:
		dequantF32(dst, src)
	case F16:
		dequantF16(dst, src)
	case BF16:
		dequantBF16(dst, src)
	case Q4_0:
		dequantQ4_0(dst, src)
	case Q4_1:
		dequantQ4_1(dst, src)
	case Q5_0:
		dequantQ5_0(dst, src)
	case Q5_1:
		dequantQ5_1(dst, src)
	case Q8_0:
		dequantQ8_0(dst, src)
	case Q2_K:
		dequantQ2K(dst, src)
	case Q3_K:
		dequantQ3K(dst, src)
	case Q4_K:
		dequantQ4K(dst, src)
	case Q5_K:
		dequantQ5K(dst, src)
	case Q6_K:
		dequantQ6K(dst, src)
	case IQ4_NL:
		dequantIQ4NL(dst, src)
	case IQ4_XS:
		dequantIQ4XS(dst, src)
	}
}

// checkRow panics when a row of n elements of t does not take size bytes.
func checkRow(who string, t Type, n, size int) {
	if !t.Supported() {
		panic(fmt.Sprintf("weights: %s: %v is not supported", who, t))
	}
	elems, bytes := t.Block()
	if n%elems != 0 || n/elems*bytes != size {
		panic(fmt.Sprintf("weights: %s: %d elements of %v do not take %d bytes", who, n, t, size))
	}
}

// half reads the binary16 number at the start of b.
func half(b []byte) float32 { return F16ToF32(binary.LittleEndian.Uint16(b)) }

func dequantF32(dst []float32, src []byte) {
	src = src[:4*len(dst)]
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func dequantF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		h := binary.LittleEndian.Uint16(src[2*i:])
		if m := uint32(h & 0x7fff); m-0x0400 < 0x7800 { // normal: F16ToF32's last line, inlined for speed
			dst[i] = math.Float32frombits(uint32(h&0x8000)<<16 | (m<<13 + 112<<23))
			continue
		}
		dst[i] = F16ToF32(h)
	}
}

func dequantBF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		dst[i] = BF16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// dequantQ4_0: f16 d; 16 bytes, low nibbles elements [0,16), high [16,32).
// x = d*(q-8).
func dequantQ4_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[18:] {
		d, q, y := half(src), src[2:18], dst[:32]
		for j, b := range q {
			y[j] = d * float32(int(b&15)-8)
			y[j+16] = d * float32(int(b>>4)-8)
		}
	}
}

// dequantQ4_1: f16 d, f16 m; nibbles as Q4_0. x = d*q + m.
func dequantQ4_1(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[20:] {
		d, m, q, y := half(src), half(src[2:]), src[4:20], dst[:32]
		for j, b := range q {
			y[j] = float32(d*float32(b&15)) + m
			y[j+16] = float32(d*float32(b>>4)) + m
		}
	}
}

// dequantQ5_0: f16 d; u32 whose bit j is bit 4 of element j; nibbles as Q4_0.
// x = d*(q-16).
func dequantQ5_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[22:] {
		d, h, q, y := half(src), binary.LittleEndian.Uint32(src[2:]), src[6:22], dst[:32]
		for j, b := range q {
			y[j] = d * float32(int(uint32(b&15)|h>>j&1<<4)-16)
			y[j+16] = d * float32(int(uint32(b>>4)|h>>(j+16)&1<<4)-16)
		}
	}
}

// dequantQ5_1: f16 d, f16 m; high bits and nibbles as Q5_0. x = d*q + m.
func dequantQ5_1(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[24:] {
		d, m, h := half(src), half(src[2:]), binary.LittleEndian.Uint32(src[4:])
		q, y := src[8:24], dst[:32]
		for j, b := range q {
			y[j] = float32(d*float32(uint32(b&15)|h>>j&1<<4)) + m
			y[j+16] = float32(d*float32(uint32(b>>4)|h>>(j+16)&1<<4)) + m
		}
	}
}

// dequantQ8_0: f16 d; 32 int8. x = d*q.
func dequantQ8_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[34:] {
		d, q, y := half(src), src[2:34], dst[:32]
		for j, b := range q {
			y[j] = d * float32(int8(b))
		}
	}
}

// dequantIQ4NL: f16 d; nibbles as Q4_0, each an index into iq4Values.
func dequantIQ4NL(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[18:] {
		d, q, y := half(src), src[2:18], dst[:32]
		for j, b := range q {
			y[j] = d * iq4Values[b&15]
			y[j+16] = d * iq4Values[b>>4]
		}
	}
}
