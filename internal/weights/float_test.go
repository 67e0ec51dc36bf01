package weights

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestF16Exhaustive checks all 65536 numbers against the definition: sign,
// exponent and fraction evaluated in float64, where each is exact.
func TestF16Exhaustive(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got := F16ToF32(h)
		exp, frac := int(h>>10&31), float64(h&0x3ff)
		want := math.Ldexp(1+frac/1024, exp-15)
		switch {
		case exp == 0:
			want = math.Ldexp(frac/1024, -14)
		case exp == 31 && frac == 0:
			want = math.Inf(1)
		case exp == 31:
			want = math.NaN()
		}
		if h&0x8000 != 0 {
			want = -want
		}
		if math.IsNaN(want) {
			if got == got || F32ToF16(got)&0x7fff <= 0x7c00 {
				t.Fatalf("%#04x: a NaN became %v, back %#04x", h, got, F32ToF16(got))
			}
			continue
		}
		if float64(got) != want || math.Signbit(float64(got)) != (h&0x8000 != 0) {
			t.Fatalf("F16ToF32(%#04x) = %v, want %v", h, got, want)
		}
		if back := F32ToF16(got); back != h {
			t.Fatalf("F32ToF16(F16ToF32(%#04x)) = %#04x", h, back)
		}
	}
}

func TestBF16Exhaustive(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got := BF16ToF32(h)
		if math.Float32bits(got) != uint32(h)<<16 {
			t.Fatalf("BF16ToF32(%#04x) = %x", h, math.Float32bits(got))
		}
		back := F32ToBF16(got)
		if got != got {
			if back&0x7fff <= 0x7f80 {
				t.Fatalf("%#04x: a NaN became %#04x", h, back)
			}
		} else if back != h {
			t.Fatalf("F32ToBF16(BF16ToF32(%#04x)) = %#04x", h, back)
		}
	}
}

// TestHalfRounding walks every pair of neighbours: the numbers just below, at
// and just above the midpoint go down, to even, and up.
func TestHalfRounding(t *testing.T) {
	for _, c := range []struct {
		name string
		to   func(float32) uint16
		from func(uint16) float32
		inf  uint16
	}{{"f16", F32ToF16, F16ToF32, 0x7c00}, {"bf16", F32ToBF16, BF16ToF32, 0x7f80}} {
		for h := uint16(0); h < c.inf; h++ {
			next := float64(c.from(h + 1))
			if h+1 == c.inf { // the number that infinity stands in for
				next = 2*float64(c.from(h)) - float64(c.from(h-1))
			}
			mid := float32((float64(c.from(h)) + next) / 2)
			even := h + h&1
			for _, r := range []struct {
				x    float32
				want uint16
			}{
				{math.Nextafter32(mid, 0), h},
				{mid, even},
				{math.Nextafter32(mid, float32(math.Inf(1))), h + 1},
			} {
				if float64(r.x) == math.Inf(1) {
					continue
				}
				if got := c.to(r.x); got != r.want {
					t.Fatalf("%s(%v) = %#04x, want %#04x", c.name, r.x, got, r.want)
				}
				if got := c.to(-r.x); got != r.want|0x8000 {
					t.Fatalf("%s(%v) = %#04x, want %#04x", c.name, -r.x, got, r.want|0x8000)
				}
			}
		}
	}
}

// TestF16RoundingAgainstBig rounds random numbers with math/big's nearest-even.
func TestF16RoundingAgainstBig(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))
	for range 20000 {
		x := float32(math.Ldexp(1+rng.Float64(), rng.IntN(30)-14)) // normal in f16, or rounds to infinity
		f, _ := new(big.Float).SetPrec(11).SetMode(big.ToNearestEven).SetFloat64(float64(x)).Float64()
		if f > 65504 {
			f = math.Inf(1)
		}
		if got := F16ToF32(F32ToF16(x)); float64(got) != f {
			t.Fatalf("seed %d: %v rounds to %v, want %v", seed, x, got, f)
		}
	}
}

// TestDequantizeHalvesExhaustive checks that the row decoders agree with the
// scalar conversions on every number.
func TestDequantizeHalvesExhaustive(t *testing.T) {
	src, dst := make([]byte, 2<<16), make([]float32, 1<<16)
	for i := range dst {
		src[2*i], src[2*i+1] = byte(i), byte(i>>8)
	}
	for typ, from := range map[Type]func(uint16) float32{F16: F16ToF32, BF16: BF16ToF32} {
		DequantizeRow(typ, dst, src)
		for i, v := range dst {
			if math.Float32bits(v) != math.Float32bits(from(uint16(i))) {
				t.Fatalf("%v: %#04x decodes to %v in a row, %v alone", typ, i, v, from(uint16(i)))
			}
		}
	}
}
