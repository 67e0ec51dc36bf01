package cpu

import (
	"math"
	"testing"
)

// ulps is how many float32 numbers lie between a and b.
func ulps(a, b float32) int64 {
	if a == b || (a != a && b != b) {
		return 0
	}
	order := func(f float32) int64 {
		i := int64(int32(math.Float32bits(f)))
		if i < 0 {
			i = math.MinInt32 - i
		}
		return i
	}
	d := order(a) - order(b)
	return max(d, -d)
}

// sweep calls f with float32 numbers of every exponent and sign.
func sweep(f func(x float32)) {
	const step = 9973 // prime, so that low bits vary
	for b := uint64(0); b < 1<<32; b += step {
		f(math.Float32frombits(uint32(b)))
	}
	for _, x := range []float32{0, 1, -1, 88.72283, 88.72284, -87.33655, -103.97208, -103.97209, 1.0 / 1024, -1.0 / 1024,
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())} {
		f(x)
	}
}

func TestMathMatchesStandardLibrary(t *testing.T) {
	logistic := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	const sqrt2OverPi = 0.7978845608028654
	for _, c := range []struct {
		name      string
		got       func(x float32) float32
		want      func(x float64) float64
		tolerance int64
	}{
		{"tanh", func(x float32) float32 { return float32(tanh(float64(x))) }, math.Tanh, 1},
		{"silu", silu, func(x float64) float64 { return x * logistic(x) }, 1},
		{"gelu", geluTanh, func(x float64) float64 { return x * logistic(2*sqrt2OverPi*(x+0.044715*x*x*x)) }, 1},
		{"softcap", func(x float32) float32 { return softcap(x, 30) }, func(x float64) float64 { return 30 * math.Tanh(x/30) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := 0
			sweep(func(x float32) {
				got, want := c.got(x), float32(c.want(float64(x)))
				if math.IsInf(float64(x), -1) && (c.name == "silu" || c.name == "gelu") {
					return // -Inf * 0
				}
				if d := ulps(got, want); d > c.tolerance && bad < 10 {
					bad++
					t.Errorf("%s(%v) = %v, want %v: %d ulps", c.name, x, got, want, d)
				}
			})
		})
	}
}

func TestGELUIsTheTanhApproximation(t *testing.T) {
	for x := -6.0; x < 6; x += 0.01 {
		v := float64(float32(x))
		want := v / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		if got := float64(geluTanh(float32(x))); math.Abs(got-want) > 1e-7*math.Max(1, math.Abs(want)) {
			t.Errorf("geluTanh(%v) = %v, want %v", x, got, want)
		}
	}
}

func TestSincosOverAMillionPositions(t *testing.T) {
	check := func(x float64) {
		s, c := sincos(x)
		if ws, wc := math.Sincos(x); math.Abs(s-ws) > 1e-13 || math.Abs(c-wc) > 1e-13 {
			t.Fatalf("sincos(%v) = %v, %v, want %v, %v", x, s, c, ws, wc)
		}
	}
	for pos := range 1 << 20 {
		check(float64(pos))
		check(float64(pos) * 0.74989420933)
		check(-float64(pos) * 1e-4)
	}
	for k := range 100000 { // near the seams of the reduction
		check(float64(k) * math.Pi / 4)
	}
}

func TestHalvesRoundTrip(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	f := load16(make([]float32, len(all)), all)
	for i, h := range all {
		m, e := float64(h&0x3ff), int(h>>10&31)
		want := math.Ldexp(m, -24)
		switch {
		case e == 31 && m != 0:
			want = math.NaN()
		case e == 31:
			want = math.Inf(1)
		case e > 0:
			want = math.Ldexp(m+1024, e-25)
		}
		if h&0x8000 != 0 {
			want = -want
		}
		if float64(f[i]) != want && !(math.IsNaN(float64(f[i])) && math.IsNaN(want)) {
			t.Fatalf("half %#04x read as %v, want %v", h, f[i], want)
		}
	}
}
