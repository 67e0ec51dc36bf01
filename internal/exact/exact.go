// Package exact computes elementary functions with the same bits on every
// platform.
//
// Package math does not: there Exp, Log, Pow and others are assembly on some
// platforms, and elsewhere the compiler may fuse their multiplications and
// additions, so the last bits differ between machines and a seeded draw or a
// rope's angles could too. The functions here use nothing but single IEEE
// operations: every product that is added to something is converted to float64
// explicitly, which the language defines as a rounding that forbids fusing.
//
// They are also quicker than package math's where their domain is smaller: a
// draw from a large vocabulary takes an Exp for each token.
package exact

import "math"

// expTable[j] = 2^(j/64).
var expTable = [64]float64{
	0x1.0000000000000p0, 0x1.02c9a3e778061p0, 0x1.059b0d3158574p0, 0x1.0874518759bc8p0,
	0x1.0b5586cf9890fp0, 0x1.0e3ec32d3d1a2p0, 0x1.11301d0125b51p0, 0x1.1429aaea92de0p0,
	0x1.172b83c7d517bp0, 0x1.1a35beb6fcb75p0, 0x1.1d4873168b9aap0, 0x1.2063b88628cd6p0,
	0x1.2387a6e756238p0, 0x1.26b4565e27cddp0, 0x1.29e9df51fdee1p0, 0x1.2d285a6e4030bp0,
	0x1.306fe0a31b715p0, 0x1.33c08b26416ffp0, 0x1.371a7373aa9cbp0, 0x1.3a7db34e59ff7p0,
	0x1.3dea64c123422p0, 0x1.4160a21f72e2ap0, 0x1.44e086061892dp0, 0x1.486a2b5c13cd0p0,
	0x1.4bfdad5362a27p0, 0x1.4f9b2769d2ca7p0, 0x1.5342b569d4f82p0, 0x1.56f4736b527dap0,
	0x1.5ab07dd485429p0, 0x1.5e76f15ad2148p0, 0x1.6247eb03a5585p0, 0x1.6623882552225p0,
	0x1.6a09e667f3bcdp0, 0x1.6dfb23c651a2fp0, 0x1.71f75e8ec5f74p0, 0x1.75feb564267c9p0,
	0x1.7a11473eb0187p0, 0x1.7e2f336cf4e62p0, 0x1.82589994cce13p0, 0x1.868d99b4492edp0,
	0x1.8ace5422aa0dbp0, 0x1.8f1ae99157736p0, 0x1.93737b0cdc5e5p0, 0x1.97d829fde4e50p0,
	0x1.9c49182a3f090p0, 0x1.a0c667b5de565p0, 0x1.a5503b23e255dp0, 0x1.a9e6b5579fdbfp0,
	0x1.ae89f995ad3adp0, 0x1.b33a2b84f15fbp0, 0x1.b7f76f2fb5e47p0, 0x1.bcc1e904bc1d2p0,
	0x1.c199bdd85529cp0, 0x1.c67f12e57d14bp0, 0x1.cb720dcef9069p0, 0x1.d072d4a07897cp0,
	0x1.d5818dcfba487p0, 0x1.da9e603db3285p0, 0x1.dfc97337b9b5fp0, 0x1.e502ee78b3ff6p0,
	0x1.ea4afa2a490dap0, 0x1.efa1bee615a27p0, 0x1.f50765b6e4540p0, 0x1.fa7c1819e90d8p0,
}

const (
	// A step of the table is ln2/64, split so that a multiple of stepHi below
	// 2^17 is exact.
	stepHi  = 0x1.62e42fefp-7
	stepLo  = 0x1.473de6af278edp-40
	invStep = 0x1.71547652b82fep+6

	// roundMagic added to a number below 2^50 leaves it rounded to an integer in
	// the low bits of the sum.
	roundMagic = 0x1.8p52

	// Outside of these e^x overflows, or is no normal number.
	expMax = 709
	expMin = -708
)

// Steps are the numbers of Exp's range reduction, for kernels that follow it.
type Steps struct {
	Inverse, Hi, Lo float64 // 64/ln2, and ln2/64 in two pieces
}

// ExpSteps returns Exp's table of 2^(i/64), and its steps.
func ExpSteps() (*[64]float64, Steps) { return &expTable, Steps{invStep, stepHi, stepLo} }

// Exp returns e^x: 0 for x below -708, +Inf above 709. Exp(0) is exactly 1, and
// the error is below two units in the last place.
//
// With x = n*ln2/64 + r, |r| <= ln2/128, it is 2^(n/64) * e^r, the latter by
// its Taylor series: the first term left out is r^6/720 < 4e-17.
func Exp(x float64) float64 {
	if !(x >= expMin && x <= expMax) {
		return expOutside(x)
	}
	t := float64(x*invStep) + roundMagic
	n := int64(math.Float64bits(t)) << 13 >> 13 // the integer, from the low 51 bits
	f := t - roundMagic
	r := x - float64(f*stepHi) - float64(f*stepLo)
	r2 := float64(r * r)
	p := r + float64(r2*(0.5+float64(r*(1./6))+float64(r2*((1./24)+float64(r*(1./120))))))
	v := expTable[n&63]
	v += float64(v * p)
	return float64(v * math.Float64frombits(uint64(n>>6+1023)<<52))
}

func expOutside(x float64) float64 {
	switch {
	case x < expMin:
		return 0
	case x > expMax:
		return math.Inf(1)
	}
	return math.NaN()
}

const (
	ln2Hi = 0x1.62e42fefp-1 // a multiple of it below 2^17 is exact
	ln2Lo = 0x1.473de6af278edp-34
)

// Log returns the natural logarithm of x: -Inf for 0, NaN below. The error is
// below two units in the last place of the result, or of 1 if that is larger.
//
// With x = 2^k * m, sqrt(1/2) <= m < sqrt(2), and s = (m-1)/(m+1), it is
// k*ln2 + 2*(s + s^3/3 + s^5/5 + ...): s^2 < 0.0295, so that the first term
// left out, s^23/23, is below 2e-19.
func Log(x float64) float64 {
	switch {
	case x == 0:
		return math.Inf(-1)
	case !(x > 0):
		return math.NaN()
	case x > math.MaxFloat64:
		return x
	}
	m, k := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, k = m*2, k-1
	}
	s := (m - 1) / (m + 1)
	s2 := float64(s * s)
	sum := 0.
	for i := 21; i >= 3; i -= 2 {
		sum = float64((sum + 1/float64(i)) * s2)
	}
	tail := float64(2*s) * sum
	return float64(float64(k)*ln2Hi) + (float64(2*s) + (float64(tail) + float64(float64(k)*ln2Lo)))
}

// Pow returns x^y for positive x, as e^(y ln x). Its relative error grows with
// |y ln x|, by an unit in the last place each.
func Pow(x, y float64) float64 { return Exp(float64(y * Log(x))) }
