package cpu

import "math"

// The arithmetic of the portable level: plain loops over float32, nothing of
// batches, pages or threads. Another level (SIMD) is another set of these
// functions behind the same operations.
//
// A product that feeds a sum is written float32(x*y), which Go must not fuse,
// and every sum has one order that depends on the column alone. A dot product
// has 16 partial sums, column c going to sum c%16, folded in halves at the end:
// a vector register of 16, two of 8 or four of 4 lanes do the same.

const lanes = 16

// dot returns the sum of a[i]*b[i]. b is at least as long as a.
func dot(a, b []float32) float32 {
	var s [lanes]float32
	whole := len(a) &^ (lanes - 1)
	dotLow(&s, a[:whole], b[:whole])
	dotHigh(&s, a[:whole], b[:whole])
	for i, x := range a[whole:] {
		s[i] += float32(x * b[whole+i])
	}
	for half := lanes / 2; half > 0; half /= 2 {
		for i := range half {
			s[i] += s[i+half]
		}
	}
	return s[0]
}

// dotLow sums lanes 0 to 7. Sixteen sums at once do not fit the registers of
// amd64; two passes of eight are the faster way.
func dotLow(s *[lanes]float32, a, b []float32) {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= lanes && len(b) >= lanes {
		x, y := (*[lanes]float32)(a), (*[lanes]float32)(b)
		s0 += float32(x[0] * y[0])
		s1 += float32(x[1] * y[1])
		s2 += float32(x[2] * y[2])
		s3 += float32(x[3] * y[3])
		s4 += float32(x[4] * y[4])
		s5 += float32(x[5] * y[5])
		s6 += float32(x[6] * y[6])
		s7 += float32(x[7] * y[7])
		a, b = a[lanes:], b[lanes:]
	}
	s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7] = s0, s1, s2, s3, s4, s5, s6, s7
}

// dotHigh sums lanes 8 to 15.
func dotHigh(s *[lanes]float32, a, b []float32) {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= lanes && len(b) >= lanes {
		x, y := (*[lanes]float32)(a), (*[lanes]float32)(b)
		s0 += float32(x[8] * y[8])
		s1 += float32(x[9] * y[9])
		s2 += float32(x[10] * y[10])
		s3 += float32(x[11] * y[11])
		s4 += float32(x[12] * y[12])
		s5 += float32(x[13] * y[13])
		s6 += float32(x[14] * y[14])
		s7 += float32(x[15] * y[15])
		a, b = a[lanes:], b[lanes:]
	}
	s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15] = s0, s1, s2, s3, s4, s5, s6, s7
}

// axpy adds f*x to y. y is at least as long as x.
func axpy(y, x []float32, f float32) {
	for len(x) >= 4 && len(y) >= 4 {
		p, q := (*[4]float32)(x), (*[4]float32)(y)
		q[0] += float32(f * p[0])
		q[1] += float32(f * p[1])
		q[2] += float32(f * p[2])
		q[3] += float32(f * p[3])
		x, y = x[4:], y[4:]
	}
	for i, v := range x {
		y[i] += float32(f * v)
	}
}

// add adds x to y.
func add(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += v
	}
}

// rms returns 1/sqrt(mean(x^2) + eps). The squares are exact in float64 and
// summed there, in 8 partial sums.
func rms(x []float32, eps float32) float32 {
	var s [8]float64
	for i, v := range x {
		s[i%8] += float64(float64(v) * float64(v))
	}
	sum := ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
	return float32(1 / math.Sqrt(sum/float64(len(x))+float64(eps)))
}

// norm sets dst to w * x * rms(x). dst may be x.
func norm(dst, x, w []float32, eps float32) {
	f := rms(x, eps)
	dst, w = dst[:len(x)], w[:len(x)]
	for i, v := range x {
		dst[i] = float32(v*f) * w[i]
	}
}

// scale multiplies x by f.
func scale(x []float32, f float32) {
	for i := range x {
		x[i] *= f
	}
}
