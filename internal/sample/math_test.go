package sample

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestExpTable squares each entry six times in high precision: 2^(j/64)^64 = 2^j.
func TestExpTable(t *testing.T) {
	for j, v := range expTable {
		x := new(big.Float).SetPrec(500).SetFloat64(v)
		for range 6 {
			x.Mul(x, x)
		}
		got, _ := x.Float64()
		if rel := math.Abs(got/math.Ldexp(1, j) - 1); rel > 64*1.2e-16 {
			t.Errorf("expTable[%d] = %x: its 64th power is off 2^%d by %g", j, v, j, rel)
		}
	}
}

func TestExp(t *testing.T) {
	if got := exp(0); got != 1 {
		t.Errorf("exp(0) = %v, want exactly 1", got)
	}
	for _, x := range []float64{math.NaN(), math.Inf(-1), -700.0001, -1e300} {
		if got := exp(x); got != 0 {
			t.Errorf("exp(%v) = %v, want 0", x, got)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		x := -math.Pow(rng.Float64(), 3) * 700
		got, want := exp(x), math.Exp(x)
		if math.Abs(got-want) > 4.4e-16*want {
			t.Fatalf("exp(%v) = %v, want %v (relative error %g)", x, got, want, got/want-1)
		}
	}
}

func TestLog(t *testing.T) {
	if got := log(1); got != 0 {
		t.Errorf("log(1) = %v, want exactly 0", got)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		x := math.Exp((rng.Float64() - 0.5) * 100)
		got, want := log(x), math.Log(x)
		if math.Abs(got-want) > 4e-16*math.Max(math.Abs(want), 1) {
			t.Fatalf("log(%v) = %v, want %v", x, got, want)
		}
	}
}

// TestMathBits pins the bits, so that a platform that differs fails here. The
// figures come from linux/amd64.
func TestMathBits(t *testing.T) {
	sum := uint64(14695981039346656037)
	mix := func(f float64) {
		sum = (sum ^ math.Float64bits(f)) * 1099511628211
	}
	for i := range 100_000 {
		x := float64(i) / 1000
		mix(exp(-x))
		mix(log(x + 0.5))
	}
	if want := uint64(0xb6cd3aa61667d93c); sum != want {
		t.Errorf("exp and log have other bits here: checksum %#x, want %#x", sum, want)
	}
}

func BenchmarkExp(b *testing.B) {
	var s float64
	for i := 0; b.Loop(); i++ {
		s += exp(-float64(i&1023) / 64)
	}
	_ = s
}
