package cpu

import (
	"math"

	"weir/internal/exact"
)

// What a forward pass needs of elementary functions, on top of package exact
// and by its rules: float64, each product rounded by an explicit conversion, so
// that the bits are the same everywhere and the error is far below that of the
// float32 that the results become. math.Sqrt is exact everywhere and is used as
// it is.

const (
	twoOverPi = 6.36619772367581382433e-01
	// pi/2 in pieces of 33 bits, so that k*piece is exact for k < 2^20.
	halfPi1 = 0x3FF921FB54400000
	halfPi2 = 0x3DD0B4611A600000
	halfPi3 = 0x3BA3198A2E037073

	// Adding and taking away 1.5*2^52 rounds to an integer, ties to even.
	roundMagic = 0x1.8p52
)

// tanh returns the hyperbolic tangent with a relative error below 1e-11.
func tanh(x float64) float64 {
	switch {
	case x > -1.0/1024 && x < 1.0/1024: // 1-2/(e^2x+1) would cancel
		return x - float64(float64(float64(x*x)*x)*(1.0/3))
	case x > 20:
		return 1
	case x < -20:
		return -1
	}
	return 1 - 2/(exact.Exp(2*x)+1)
}

// sincos returns sine and cosine with an absolute error below 1e-13 for
// |x| < 2^20*pi/2, which is 1.6 million radians: the angles of a rope turn by at most
// one radian per position.
func sincos(x float64) (sin, cos float64) {
	k := (float64(x*twoOverPi) + roundMagic) - roundMagic
	r := x - float64(k*math.Float64frombits(halfPi1))
	r -= float64(k * math.Float64frombits(halfPi2))
	r -= float64(k * math.Float64frombits(halfPi3)) // |r| <= pi/4
	z := float64(r * r)
	s := taylor(z, sinTerms[:])
	s = r + float64(float64(r*z)*s)
	c := 1 + float64(z*taylor(z, cosTerms[:]))
	switch int64(k) & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	}
	return -c, s
}

// sin r = r + r^3*sum, cos r = 1 + r^2*sum; on |r| <= pi/4 what is left out is
// below 2e-14.
var (
	sinTerms = [...]float64{-1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800}
	cosTerms = [...]float64{-1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200}
)

// taylor returns terms[0] + terms[1]*z + ...
func taylor(z float64, terms []float64) float64 {
	s := terms[len(terms)-1]
	for i := len(terms) - 2; i >= 0; i-- {
		s = float64(s*z) + terms[i]
	}
	return s
}

// silu returns x*sigmoid(x).
func silu(x float32) float32 {
	v := float64(x)
	return float32(v / (1 + exact.Exp(-v)))
}

// geluTanh returns the tanh approximation of GELU, x/2*(1+tanh(u)), in the
// equal form x*sigmoid(2u), which does not cancel for negative x.
func geluTanh(x float32) float32 {
	const sqrt2OverPi = 0.79788456080286535588
	v := float64(x)
	u := v + float64(0.044715*float64(v*float64(v*v)))
	return float32(v / (1 + exact.Exp(-2*float64(sqrt2OverPi*u))))
}

// softcap returns c*tanh(x/c).
func softcap(x, c float32) float32 {
	return float32(float64(c) * tanh(float64(x)/float64(c)))
}
