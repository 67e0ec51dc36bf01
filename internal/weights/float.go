package weights

import "math"

// F16ToF32 converts an IEEE binary16 number; every value is exact. A NaN keeps
// its payload bits.
func F16ToF32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	m := uint32(h & 0x7fff)
	switch {
	case m >= 0x7c00: // infinity, NaN
		return math.Float32frombits(sign | 0x7f800000 | m<<13)
	case m < 0x0400: // zero, subnormal: m counts units of 2^-24, the last place of 0.5
		v := math.Float32frombits(0x3f000000|m) - 0.5
		return math.Float32frombits(sign | math.Float32bits(v))
	}
	return math.Float32frombits(sign | (m<<13 + 112<<23)) // exponent bias 15 -> 127
}

// F32ToF16 rounds to the nearest binary16 number, ties to even. What is too
// large becomes an infinity; a NaN stays one, made quiet.
func F32ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13&0x3ff)
	case b >= 0x477ff000: // 65520, half way from the largest number to the next: rounds up
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: the addition rounds to the subnormal's last place, 2^-24
		v := math.Float32frombits(b) + 0.5
		return sign | uint16(math.Float32bits(v)-0x3f000000)
	}
	b += 0xfff + b>>13&1
	return sign | uint16(b>>13-112<<10)
}

// BF16ToF32 converts a bfloat16 number; every value is exact.
func BF16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F32ToBF16 rounds to the nearest bfloat16 number, ties to even. A NaN stays
// one, made quiet.
func F32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
