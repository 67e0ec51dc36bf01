package weights

import (
	"encoding/binary"
	"math"
)

// The encoders of blocks of 256. Each sub-block is fitted on its own; the
// scales are rounded to the block's scale; then every number takes the level
// nearest under the scales as they will be read.

// roundScales expresses the sub-blocks' scales as integers in [lo, hi] of one
// block scale, which it stores at half. It returns what that reads as.
func roundScales(half []byte, scales []float64, lo, hi float64, ints []int) float32 {
	var extreme float64
	for _, s := range scales {
		if math.Abs(s) > math.Abs(extreme) {
			extreme = s
		}
	}
	end := lo // the side with one more level takes the largest scale
	if lo == 0 {
		end = hi
	}
	d := putHalf(half, extreme/end)
	for i, s := range scales {
		ints[i] = int(clampRound(ratio(float32(s), d), lo, hi))
	}
	return d
}

// roundAffine does the same for pairs of scale and minimum, both unsigned.
func roundAffine(halfD, halfMin []byte, x []float32, sub int, n, top float64, sc, mn []int) (d, dmin float32) {
	var scales, mins [16]float64
	k := len(x) / sub
	for i := range k {
		s, m := fitAffine(x[sub*i:][:sub], n, notPositive)
		scales[i], mins[i] = s, -m
	}
	return roundScales(halfD, scales[:k], 0, top, sc), roundScales(halfMin, mins[:k], 0, top, mn)
}

func quantQ2K(b []byte, x []float32) {
	var sc, mn [16]int
	d, dmin := roundAffine(b[80:], b[82:], x, 16, 3, 15, sc[:], mn[:])
	for i := range sc {
		b[i] = uint8(sc[i] | mn[i]<<4)
	}
	for e, v := range x {
		i := e >> 4
		q := affineLevel(v, d, dmin, sc[i], mn[i], 3)
		b[16+e>>7*32+e&31] |= q << (e >> 5 & 3 * 2)
	}
}

// affineLevel returns the q in [0, n] nearest to v under these scales.
func affineLevel(v, d, dmin float32, sc, mn int, n float64) uint8 {
	m := float32(dmin * float32(mn))
	return uint8(clampRound(ratio(v+m, d*float32(sc)), 0, n))
}

func quantQ3K(b []byte, x []float32) {
	var scales [16]float64
	for i := range scales {
		scales[i] = fitScale(x[16*i:][:16], integers(-4, 3), -4, 3)
	}
	var sc [16]int
	d := roundScales(b[108:], scales[:], -32, 31, sc[:])
	for i, s := range sc {
		u := uint8(s + 32)
		b[96+i&7] |= u & 15 << (i >> 3 * 4)
		b[104+i&3] |= u >> 4 << (i >> 2 * 2)
	}
	for e, v := range x {
		q := uint8(clampRound(ratio(v, d*float32(sc[e>>4])), -4, 3) + 4)
		b[32+e>>7*32+e&31] |= q & 3 << (e >> 5 & 3 * 2)
		b[e&31] |= q >> 2 << (e >> 5)
	}
}

// packScalesMins4K is the inverse of scalesMins4K.
func packScalesMins4K(p []byte, sc, mn []int) {
	for j := range 4 {
		s, m := uint8(sc[j+4]), uint8(mn[j+4])
		p[j] = uint8(sc[j]) | s>>4<<6
		p[j+4] = uint8(mn[j]) | m>>4<<6
		p[j+8] = s&15 | m<<4
	}
}

func quantQ4K(b []byte, x []float32) {
	var sc, mn [8]int
	d, dmin := roundAffine(b, b[2:], x, 32, 15, 63, sc[:], mn[:])
	packScalesMins4K(b[4:], sc[:], mn[:])
	for e, v := range x {
		i := e >> 5
		q := affineLevel(v, d, dmin, sc[i], mn[i], 15)
		b[16+e>>6*32+e&31] |= q << (i & 1 * 4)
	}
}

func quantQ5K(b []byte, x []float32) {
	var sc, mn [8]int
	d, dmin := roundAffine(b, b[2:], x, 32, 31, 63, sc[:], mn[:])
	packScalesMins4K(b[4:], sc[:], mn[:])
	for e, v := range x {
		i := e >> 5
		q := affineLevel(v, d, dmin, sc[i], mn[i], 31)
		b[48+e>>6*32+e&31] |= q & 15 << (i & 1 * 4)
		b[16+e&31] |= q >> 4 << i
	}
}

func quantQ6K(b []byte, x []float32) {
	var scales [16]float64
	for i := range scales {
		scales[i] = fitScale(x[16*i:][:16], integers(-32, 31), -32, 31)
	}
	var sc [16]int
	d := roundScales(b[208:], scales[:], -128, 127, sc[:])
	for i, s := range sc {
		b[192+i] = uint8(int8(s))
	}
	for e, v := range x {
		put6K(b, e, uint8(clampRound(ratio(v, d*float32(sc[e>>4])), -32, 31)+32))
	}
}

func quantIQ4XS(b []byte, x []float32) {
	var scales [8]float64
	for i := range scales {
		scales[i] = fitScale(x[32*i:][:32], iq4Level, -127, 113)
	}
	var sc [8]int
	d := roundScales(b, scales[:], -32, 31, sc[:])
	var high uint16
	for i, s := range sc {
		u := uint8(s + 32)
		b[4+i>>1] |= u & 15 << (i & 1 * 4)
		high |= uint16(u>>4) << (2 * i)
	}
	binary.LittleEndian.PutUint16(b[2:], high)
	for e, v := range x {
		i := e >> 5
		putNibble(b[8+16*i:], e&31, iq4Index(ratio(v, d*float32(sc[i]))))
	}
}
