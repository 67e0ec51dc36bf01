package weights

import "encoding/binary"

// The types with blocks of 256: a half-precision scale for the block, small
// integer scales for its sub-blocks of 16 or 32.

// dequantQ2K: 16 bytes of scales (low nibble scale, high nibble min) for
// sub-blocks of 16; 64 bytes of 2-bit q; f16 d, f16 dmin.
// Elements come in two halves of 128, each held by 32 bytes of q: bits
// [2j,2j+2) of byte l are element 32j+l. x = (d*scale)*q - dmin*min.
func dequantQ2K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[84:] {
		scales, qs := src[:16], src[16:80]
		d, dmin := half(src[80:]), half(src[82:])
		for i, sc := range scales { // element 16i
			dl, ml := d*float32(sc&15), float32(dmin*float32(sc>>4))
			shift := uint(i >> 1 & 3 * 2)
			q := qs[i>>3*32+i&1*16:][:16]
			y := dst[16*i:][:16]
			for l, b := range q {
				y[l] = float32(dl*float32(b>>shift&3)) - ml
			}
		}
	}
}

// dequantQ3K: 32 bytes of high bits: bit i of byte l is bit 2 of element
// 32i+l; 64 bytes of low 2 bits as Q2_K; 12 bytes of sixteen 6-bit scales;
// f16 d. x = (d*(scale-32))*(q-4).
func dequantQ3K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[110:] {
		hs, qs := src[:32], src[32:96]
		scales, d := scales3K(src[96:108]), half(src[108:])
		for i, sc := range scales { // element 16i
			dl := d * float32(int(sc)-32)
			shift, bit := uint(i>>1&3*2), uint(i>>1)
			q := qs[i>>3*32+i&1*16:][:16]
			h := hs[i&1*16:][:16]
			y := dst[16*i:][:16]
			for l, b := range q {
				y[l] = dl * float32(int(b>>shift&3|h[l]>>bit&1<<2)-4)
			}
		}
	}
}

// scales3K unpacks the 6-bit scales of Q3_K: the low nibbles of scales 0..7 and
// then 8..15 are the low and high nibbles of bytes 0..7; bits 4 and 5 of scale
// 4k+j are bits [2k,2k+2) of byte 8+j.
func scales3K(p []byte) (sc [16]uint8) {
	p = p[:12]
	for i := range sc {
		low := p[i&7] >> (i >> 3 * 4) & 15
		sc[i] = low | p[8+i&3]>>(i>>2*2)&3<<4
	}
	return sc
}

// scalesMins4K unpacks the eight 6-bit scales and mins of Q4_K and Q5_K.
// Pairs 0..3 are the low six bits of bytes 0..3 (scales) and 4..7 (mins).
// Pairs 4..7 take their low four bits from the nibbles of bytes 8..11 and the
// upper two from the top of bytes 0..3 and 4..7.
func scalesMins4K(p []byte) (sc, mn [8]uint8) {
	p = p[:12]
	for j := range 4 {
		sc[j], mn[j] = p[j]&63, p[j+4]&63
		sc[j+4] = p[j+8]&15 | p[j]>>6<<4
		mn[j+4] = p[j+8]>>4 | p[j+4]>>6<<4
	}
	return sc, mn
}

// dequantQ4K: f16 d, f16 dmin; 12 bytes of scales and mins for sub-blocks of
// 32; 128 bytes of nibbles: each 32 bytes hold 64 elements, low nibbles first.
// x = (d*scale)*q - dmin*min.
func dequantQ4K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[144:] {
		d, dmin, qs := half(src), half(src[2:]), src[16:144]
		sc, mn := scalesMins4K(src[4:16])
		for j := 0; j < 8; j += 2 { // element 32j
			d1, m1 := d*float32(sc[j]), float32(dmin*float32(mn[j]))
			d2, m2 := d*float32(sc[j+1]), float32(dmin*float32(mn[j+1]))
			q, y := qs[16*j:][:32], dst[32*j:][:64]
			for l, b := range q {
				y[l] = float32(d1*float32(b&15)) - m1
				y[l+32] = float32(d2*float32(b>>4)) - m2
			}
		}
	}
}

// dequantQ5K: as Q4_K, with 32 bytes of high bits before the nibbles: bit j of
// byte l is bit 4 of element 32j+l.
func dequantQ5K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[176:] {
		d, dmin, hs, qs := half(src), half(src[2:]), src[16:48], src[48:176]
		sc, mn := scalesMins4K(src[4:16])
		for j := 0; j < 8; j += 2 { // element 32j
			d1, m1 := d*float32(sc[j]), float32(dmin*float32(mn[j]))
			d2, m2 := d*float32(sc[j+1]), float32(dmin*float32(mn[j+1]))
			q, h, y := qs[16*j:][:32], hs[:32], dst[32*j:][:64]
			for l, b := range q {
				hb := h[l] >> j
				y[l] = float32(d1*float32(b&15|hb&1<<4)) - m1
				y[l+32] = float32(d2*float32(b>>4|hb>>1&1<<4)) - m2
			}
		}
	}
}

// dequantQ6K: 128 bytes of low nibbles, 64 bytes of high pairs, 16 int8 scales
// for sub-blocks of 16, f16 d. Each half of 128 elements has 64 bytes of low
// nibbles and 32 of pairs: element 32k+l (k<4) has its nibble in byte
// 32(k&1)+l, low for k<2, else high, and its pair in bits [2k,2k+2) of byte l.
// x = (d*scale)*(q-32).
func dequantQ6K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[210:] {
		ql, qh, scales, d := src[:128], src[128:192], src[192:208], half(src[208:])
		for i, sc := range scales { // element 16i
			dl := d * float32(int8(sc))
			k := i >> 1 & 3
			nib, pair := uint(k>>1*4), uint(2*k)
			lo := ql[i>>3*64+k&1*32+i&1*16:][:16]
			hi := qh[i>>3*32+i&1*16:][:16]
			y := dst[16*i:][:16]
			for l, b := range lo {
				y[l] = dl * float32(int(b>>nib&15|hi[l]>>pair&3<<4)-32)
			}
		}
	}
}

// dequantIQ4XS: f16 d; u16 of the upper two bits of eight 6-bit scales; 4
// bytes of their low nibbles; 128 bytes of nibbles: 16 bytes for each
// sub-block of 32, as IQ4_NL. x = (d*(scale-32))*iq4Values[q].
func dequantIQ4XS(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[136:] {
		d, high, low := half(src), binary.LittleEndian.Uint16(src[2:]), src[4:8]
		for i := range 8 { // element 32i
			sc := int(low[i>>1]>>(i&1*4)&15) | int(high>>(2*i)&3)<<4
			dl := d * float32(sc-32)
			q, y := src[8+16*i:][:16], dst[32*i:][:32]
			for l, b := range q {
				y[l] = dl * iq4Values[b&15]
				y[l+16] = dl * iq4Values[b>>4]
			}
		}
	}
}
