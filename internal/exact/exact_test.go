package exact

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
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct{ x, want float64 }{
		{0, 1}, {math.Copysign(0, -1), 1}, {-inf, 0}, {inf, inf}, {nan, nan}, {-708.0001, 0}, {709.0001, inf}, {-1e300, 0},
	} {
		if got := Exp(c.x); got != c.want && !(got != got && c.want != c.want) {
			t.Errorf("Exp(%v) = %v, want exactly %v", c.x, got, c.want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		x := math.Pow(2*rng.Float64()-1, 3) * 708
		if got, want := Exp(x), math.Exp(x); math.Abs(got-want) > 4.4e-16*want {
			t.Fatalf("Exp(%v) = %v, want %v (relative error %g)", x, got, want, got/want-1)
		}
	}
}

func TestLog(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct{ x, want float64 }{{1, 0}, {0, -inf}, {inf, inf}, {-1, nan}, {-inf, nan}, {nan, nan}} {
		if got := Log(c.x); got != c.want && !(got != got && c.want != c.want) {
			t.Errorf("Log(%v) = %v, want exactly %v", c.x, got, c.want)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		x := math.Exp((rng.Float64() - 0.5) * 1410)
		if got, want := Log(x), math.Log(x); math.Abs(got-want) > 4e-16*math.Max(math.Abs(want), 1) {
			t.Fatalf("Log(%v) = %v, want %v", x, got, want)
		}
	}
}

func TestPow(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200_000 {
		x, y := math.Exp(rng.Float64()*20), -rng.Float64()
		got, want := Pow(x, y), math.Pow(x, y)
		if math.Abs(got-want) > 1e-14*want {
			t.Fatalf("Pow(%v, %v) = %v, want %v", x, y, got, want)
		}
	}
}

// TestBits pins the bits, so that a platform that differs fails here. The
// figures come from linux/amd64.
func TestBits(t *testing.T) {
	sum := uint64(14695981039346656037)
	mix := func(f float64) {
		sum = (sum ^ math.Float64bits(f)) * 1099511628211
	}
	for i := range 100_000 {
		x := float64(i) / 1000
		mix(Exp(-x))
		mix(Log(x + 0.5))
	}
	if want := uint64(0xb6cd3aa61667d93c); sum != want {
		t.Errorf("Exp and Log have other bits here: checksum %#x, want %#x", sum, want)
	}
}

func BenchmarkExp(b *testing.B) {
	var s float64
	for i := 0; b.Loop(); i++ {
		s += Exp(-float64(i&1023) / 64)
	}
	_ = s
}
