package weights

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// golden is a block and the bits it decodes to, figures of the reference
// decoder that testdata/goldens.py names.
type golden struct {
	typ   Type
	block []byte
	want  []byte // float32, little-endian
}

func goldens(t *testing.T) []golden {
	t.Helper()
	b, err := os.ReadFile("testdata/dequant.json")
	if err != nil {
		t.Fatal(err)
	}
	var raw []struct{ Type, Block, Float32 string }
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatal(err)
	}
	var gs []golden
	for _, r := range raw {
		typ, err := ParseType(r.Type)
		if err != nil {
			t.Fatal(err)
		}
		block, err1 := hex.DecodeString(r.Block)
		want, err2 := hex.DecodeString(r.Float32)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		gs = append(gs, golden{typ, block, want})
	}
	return gs
}

// differs returns the first element whose bits are not those wanted.
func (g golden) differs(block []byte) (int, bool) {
	got := make([]float32, len(g.want)/4)
	DequantizeRow(g.typ, got, block)
	for i, v := range got {
		if math.Float32bits(v) != binary.LittleEndian.Uint32(g.want[4*i:]) {
			return i, true
		}
	}
	return 0, false
}

func TestDequantizeGoldens(t *testing.T) {
	seen := map[Type]int{}
	for _, g := range goldens(t) {
		seen[g.typ]++
		if i, diff := g.differs(g.block); diff {
			t.Errorf("%v: element %d of a golden block differs", g.typ, i)
		}
	}
	for _, typ := range Types() {
		if seen[typ] == 0 {
			t.Errorf("%v has no golden block", typ)
		}
	}
}

// scaleBytes are the half-open byte ranges of a block that hold scales and
// minimums; for the plain types, of the numbers themselves.
var scaleBytes = map[Type][][2]int{
	F32: {{0, 128}}, F16: {{0, 64}}, BF16: {{0, 64}},
	Q4_0: {{0, 2}}, Q4_1: {{0, 4}}, Q5_0: {{0, 2}}, Q5_1: {{0, 4}}, Q8_0: {{0, 2}},
	Q2_K: {{0, 16}, {80, 84}}, Q3_K: {{96, 110}}, Q4_K: {{0, 16}}, Q5_K: {{0, 16}},
	Q6_K: {{192, 210}}, IQ4_NL: {{0, 2}}, IQ4_XS: {{0, 8}},
}

// TestPlantedScaleErrorFails shows that the goldens notice any single wrong bit
// of any scale: what a misread field would amount to.
func TestPlantedScaleErrorFails(t *testing.T) {
	for _, g := range goldens(t) {
		for _, r := range scaleBytes[g.typ] {
			for at := r[0]; at < r[1]; at++ {
				for bit := range 8 {
					planted := slices.Clone(g.block)
					planted[at] ^= 1 << bit
					if _, diff := g.differs(planted); !diff {
						t.Errorf("%v: bit %d of byte %d flipped, no element differs", g.typ, bit, at)
					}
				}
			}
		}
		if len(scaleBytes[g.typ]) == 0 {
			t.Errorf("%v: no scales named", g.typ)
		}
	}
}

func TestDequantizeRowPanicsOnWrongSizes(t *testing.T) {
	for _, c := range []struct {
		name      string
		typ       Type
		dst, size int
	}{
		{"no multiple of the block", Q4_K, 32, 18},
		{"source too short", Q8_0, 32, 33},
		{"source too long", F32, 1, 5},
		{"unsupported", 39, 32, 17},
		{"unknown", 99, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			DequantizeRow(c.typ, make([]float32, c.dst), make([]byte, c.size))
		})
	}
}

func TestDequantizeRowManyBlocksAndNoAllocation(t *testing.T) {
	for _, g := range goldens(t) {
		n := len(g.want) / 4
		row := slices.Repeat(g.block, 3)
		dst := make([]float32, 3*n)
		if a := testing.AllocsPerRun(5, func() { DequantizeRow(g.typ, dst, row) }); a != 0 {
			t.Errorf("%v: %v allocations a row", g.typ, a)
		}
		for i, v := range dst {
			if want := binary.LittleEndian.Uint32(g.want[4*(i%n):]); math.Float32bits(v) != want {
				t.Fatalf("%v: element %d of three blocks differs", g.typ, i)
			}
		}
	}
}

func BenchmarkDequantizeRow(b *testing.B) {
	for _, typ := range Types() {
		b.Run(typ.String(), func(b *testing.B) {
			const cols = 4096
			n, err := typ.RowBytes(cols)
			if err != nil {
				b.Fatal(err)
			}
			src, dst := make([]byte, n), make([]float32, cols)
			for i := range src {
				src[i] = byte(i*37) & 0x3f
			}
			b.SetBytes(4 * cols)
			for b.Loop() {
				DequantizeRow(typ, dst, src)
			}
		})
	}
}
