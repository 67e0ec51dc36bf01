package weights

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// roundTrip encodes and decodes a row.
func roundTrip(t testing.TB, typ Type, x []float32) []float32 {
	t.Helper()
	n, err := typ.RowBytes(len(x))
	if err != nil {
		t.Fatal(err)
	}
	row, got := make([]byte, n), make([]float32, len(x))
	QuantizeRow(typ, row, x)
	DequantizeRow(typ, got, row)
	return got
}

// relativeRMS is the RMS of got-want over that of want.
func relativeRMS(got, want []float32) float64 {
	var e, s float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		e, s = e+d*d, s+float64(w)*float64(w)
	}
	return math.Sqrt(e / s)
}

// rmsBounds are what a sound encoder loses of Gaussian numbers. The lower bound
// is the test's own check: nobody is better than that with so few bits.
var rmsBounds = map[Type][2]float64{
	F32: {0, 0}, F16: {1e-4, 3e-4}, BF16: {1e-3, 2e-3},
	Q8_0: {0.003, 0.0065}, Q6_K: {0.01, 0.018}, Q5_K: {0.02, 0.038}, Q5_0: {0.025, 0.042}, Q5_1: {0.02, 0.038},
	Q4_K: {0.05, 0.075}, Q4_0: {0.05, 0.085}, Q4_1: {0.05, 0.077}, IQ4_NL: {0.05, 0.078}, IQ4_XS: {0.05, 0.078},
	Q3_K: {0.09, 0.15}, Q2_K: {0.2, 0.29},
}

func TestEncoderQuality(t *testing.T) {
	const seed, cols = 11, 1 << 14
	rng := rand.New(rand.NewPCG(seed, seed))
	x := make([]float32, cols)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * 0.02)
	}
	for _, typ := range Types() {
		bound, ok := rmsBounds[typ]
		e := relativeRMS(roundTrip(t, typ, x), x)
		t.Logf("%-6v %.4f", typ, e)
		if !ok || e < bound[0] || e > bound[1] {
			t.Errorf("seed %d: %v: relative RMS error %.4f outside %v", seed, typ, e, bound)
		}
	}
}

// TestEncodeExtremes: numbers at the ends of what float32 holds, and beyond,
// decode to finite numbers.
func TestEncodeExtremes(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, typ := range Types()[3:] {
		if typ == BF16 {
			continue
		}
		for _, vals := range [][]float32{
			{0}, {float32(math.Copysign(0, -1))}, {1e-45, -1e-45}, {math.MaxFloat32, -math.MaxFloat32, 1},
			{inf, 1}, {-inf, 1}, {nan, 1}, {1, nan}, {inf, -inf, nan, 0}, {1e-6}, {-5}, {5}, {5, 6},
		} {
			x := make([]float32, 256)
			for i := range x {
				x[i] = vals[i%len(vals)]
			}
			for i, v := range roundTrip(t, typ, x) {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					t.Fatalf("%v of %v: element %d decodes to %v", typ, vals, i, v)
				}
			}
		}
	}
}

// TestEncodeTwoLevels: what takes two levels only comes back as good as the
// half-precision scale is. IQ4's codebook has 1 in 127 where zero would be.
func TestEncodeTwoLevels(t *testing.T) {
	for _, typ := range Types() {
		x := make([]float32, 512)
		for i := range x {
			x[i] = []float32{-2, 0, 0, -2}[i%4]
		}
		bound := 2e-3
		if typ == IQ4_NL || typ == IQ4_XS {
			bound = 1e-2
		}
		if e := relativeRMS(roundTrip(t, typ, x), x); e > bound {
			t.Errorf("%v: relative RMS error %v on two levels, more than %v", typ, e, bound)
		}
	}
}

func TestIQ4IndexIsNearest(t *testing.T) {
	for v := -140.0; v < 130; v += 0.25 {
		got := math.Abs(v - iq4Level(v))
		for _, level := range iq4Values {
			if d := math.Abs(v - float64(level)); d < got {
				t.Errorf("%v goes to a level %v away, %v is nearer", v, got, level)
			}
		}
	}
}

// maxError is the largest error of a round trip, as a fraction of the block's
// largest magnitude: a step of the scale (its range may be clipped by a third),
// and for K-quants what rounding the scales adds.
var maxError = map[Type]float64{
	F32: 0, F16: 1e-3, BF16: 8e-3, Q8_0: 0.005,
	Q4_0: 0.4, Q4_1: 0.4, Q5_0: 0.4, Q5_1: 0.4, IQ4_NL: 0.4, IQ4_XS: 0.45,
	Q6_K: 0.4, Q5_K: 0.45, Q4_K: 0.45, Q3_K: 0.6, Q2_K: 0.8,
}

func FuzzQuantRoundTrip(f *testing.F) {
	for _, typ := range Types() {
		for _, seed := range []string{"\x00", "\x00\x00\x80\x3f", "seed of some bytes, any will do", "\x01\xff\x3f\x80\x7f"} {
			f.Add(uint32(typ), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, n uint32, b []byte) {
		ts := Types()
		checkRoundTrip(t, ts[n%uint32(len(ts))], b)
		checkAnyBlock(t, ts[n%uint32(len(ts))], b)
	})
}

// checkRoundTrip reads b as float32s and checks the error of what comes back.
func checkRoundTrip(t *testing.T, typ Type, b []byte) {
	x := make([]float32, 256)
	var extreme float64
	usable := true // magnitudes that half-precision scales cover
	for i := range x {
		var bits [4]byte
		for j := range bits {
			if len(b) > 0 {
				bits[j] = b[(4*i+j)%len(b)]
			}
		}
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(bits[:]))
		a := math.Abs(float64(x[i]))
		extreme = max(extreme, a)
		usable = usable && a < 1e4
	}
	got := roundTrip(t, typ, x)
	if !usable || math.IsNaN(extreme) || extreme < 0.1 {
		return
	}
	for i, v := range got {
		if e := math.Abs(float64(v) - float64(x[i])); !(e <= maxError[typ]*extreme+1e-6) {
			t.Errorf("%v: element %d: %v became %v, the largest is %v", typ, i, x[i], v, extreme)
		}
	}
}

// checkAnyBlock decodes b, repeated, as blocks: any bytes decode, and twice to
// the same.
func checkAnyBlock(t *testing.T, typ Type, b []byte) {
	if len(b) == 0 {
		return
	}
	size, err := typ.RowBytes(512)
	if err != nil {
		t.Fatal(err)
	}
	row := make([]byte, size)
	for i := range row {
		row[i] = b[i%len(b)]
	}
	one, two := make([]float32, 512), make([]float32, 512)
	DequantizeRow(typ, one, row)
	DequantizeRow(typ, two, row)
	for i := range one {
		if math.Float32bits(one[i]) != math.Float32bits(two[i]) {
			t.Fatalf("%v: element %d decodes to %v and %v", typ, i, one[i], two[i])
		}
	}
}

func BenchmarkQuantizeRow(b *testing.B) {
	x := make([]float32, 4096)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for _, typ := range Types() {
		b.Run(typ.String(), func(b *testing.B) {
			n, err := typ.RowBytes(len(x))
			if err != nil {
				b.Fatal(err)
			}
			row := make([]byte, n)
			b.SetBytes(int64(4 * len(x)))
			for b.Loop() {
				QuantizeRow(typ, row, x)
			}
		})
	}
}
