package weights

import (
	"encoding/binary"
	"math"
)

// Encoding picks, for every block, the scales that lose least in the sum of
// squares: candidates around the range of the numbers, each improved by least
// squares once it has said which level each number takes. Sums are of float64
// products written out, so that every platform picks the same.

// candidates are the fractions of a block's range that are tried: below one the
// extremes are clipped for finer steps, above one they are met between steps.
var candidates = [...]float64{0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1}

// levels maps a number, in units of the scale, to the nearest that a type can
// store. It clamps, and takes a NaN to some level.
type levels func(v float64) float64

// integers are the levels lo to hi.
func integers(lo, hi int) levels {
	l, h := float64(lo), float64(hi)
	return func(v float64) float64 { return clampRound(v, l, h) }
}

func clampRound(v, lo, hi float64) float64 {
	switch {
	case !(v > lo): // a NaN too
		return lo
	case v > hi:
		return hi
	}
	return math.RoundToEven(v)
}

// iq4Index returns the index of the codebook's level nearest to v: the number
// of midpoints between levels that are below it.
func iq4Index(v float64) uint8 {
	i := 0
	for step := 8; step > 0; step >>= 1 {
		if j := i + step; v > float64(iq4Values[j-1]+iq4Values[j])/2 {
			i = j
		}
	}
	return uint8(i)
}

func iq4Level(v float64) float64 { return float64(iq4Values[iq4Index(v)]) }

// fitScale returns the s for which x is best approximated by s*level(x/s). lo
// and hi are the extreme levels; s may be negative, since types have one more
// level on one side.
func fitScale(x []float32, level levels, lo, hi float64) float64 {
	var extreme float64
	for _, v := range x {
		if math.Abs(float64(v)) > math.Abs(extreme) {
			extreme = float64(v)
		}
	}
	if extreme == 0 {
		return 0
	}
	var scale, best float64
	for _, end := range [...]float64{lo, hi} {
		for _, c := range candidates {
			inv := end / (extreme * c)
			var xq, qq float64 // sums of x*q and q*q
			for _, v := range x {
				q := level(float64(v) * inv)
				xq += float64(float64(v) * q)
				qq += float64(q * q)
			}
			// The least-squares scale for these levels is xq/qq, and takes xq*xq/qq off the sum of squares.
			if gain := xq * xq / qq; qq > 0 && gain > best {
				scale, best = xq/qq, gain
			}
		}
	}
	return scale
}

// minimum says which minimums a type can store.
type minimum uint8

const (
	anyMinimum  minimum = iota
	notPositive         // K-quants subtract an unsigned number
)

// fitAffine returns the scale s >= 0 and minimum m for which x is best
// approximated by s*q + m with integer q in [0, n].
func fitAffine(x []float32, n float64, rule minimum) (scale, offset float64) {
	lo, hi := float64(x[0]), float64(x[0])
	for _, v := range x {
		lo, hi = min(lo, float64(v)), max(hi, float64(v))
	}
	if rule == notPositive {
		lo = min(lo, 0)
	}
	if !(hi > lo) { // all equal; or a NaN
		return 0, lo
	}
	best := math.Inf(1)
	mid := float64((lo + hi) / 2) // halving is a product, which could be fused below
	for _, c := range candidates {
		s, m := (hi-lo)*c/n, mid-float64((mid-lo)*c)
		if rule == notPositive && lo == 0 {
			m = 0
		}
		s, m = refine(x, s, m, n, rule)
		s, m = refine(x, s, m, n, rule)
		if e := affineError(x, s, m, n); e < best {
			scale, offset, best = s, m, e
		}
	}
	return scale, offset
}

// refine returns the least-squares scale and minimum for the levels that s and
// m give.
func refine(x []float32, s, m, n float64, rule minimum) (float64, float64) {
	var sq, sqq, sx, sxq float64
	for _, v := range x {
		q := clampRound((float64(v)-m)/s, 0, n)
		sq += q
		sqq += float64(q * q)
		sx += float64(v)
		sxq += float64(float64(v) * q)
	}
	k := float64(len(x))
	if det := float64(k*sqq) - float64(sq*sq); det > 0 {
		s2 := (float64(k*sxq) - float64(sx*sq)) / det
		m2 := (sx - float64(s2*sq)) / k
		if rule == notPositive && m2 > 0 {
			s2, m2 = sxq/sqq, 0
		}
		if s2 > 0 {
			return s2, m2
		}
	}
	return s, m
}

func affineError(x []float32, s, m, n float64) (e float64) {
	for _, v := range x {
		d := float64(v) - m - float64(s*clampRound((float64(v)-m)/s, 0, n))
		e += float64(d * d)
	}
	return e
}

// putHalf stores v as a finite binary16 number and returns what it reads as.
func putHalf(b []byte, v float64) float32 {
	if math.IsNaN(v) {
		v = 0
	}
	h := F32ToF16(float32(min(max(v, -65504), 65504)))
	binary.LittleEndian.PutUint16(b, h)
	return F16ToF32(h)
}

// ratio is x/scale, 0 for a scale of zero: everything decodes to zero then.
func ratio(x, scale float32) float64 {
	if scale == 0 {
		return 0
	}
	return float64(x) / float64(scale)
}
