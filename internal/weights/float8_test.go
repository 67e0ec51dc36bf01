package weights

import (
	"math"
	"strings"
	"testing"
)

// TestE4M3 checks numbers that the specification names, signs and NaN.
func TestE4M3(t *testing.T) {
	for b, want := range map[byte]float32{
		0x00: 0, 0x01: 0x1p-9, 0x07: 7 * 0x1p-9, 0x08: 0x1p-6, 0x38: 1, 0x39: 1.125, 0x40: 2, 0x77: 240, 0x78: 256, 0x7e: 448, 0xb8: -1, 0xfe: -448,
	} {
		if got := E4M3ToF32(b); got != want {
			t.Errorf("%#02x is %v, want %v", b, got, want)
		}
	}
	for b := range 128 {
		pos, neg := E4M3ToF32(byte(b)), E4M3ToF32(byte(b|0x80))
		if b == 0x7f {
			if pos == pos || neg == neg {
				t.Errorf("%#02x is %v, %v, not NaN", b, pos, neg)
			}
		} else if neg != -pos || !math.Signbit(float64(neg)) || b > 0 && b < 0x7f && pos <= E4M3ToF32(byte(b-1)) {
			t.Errorf("%#02x is %v, %v", b, pos, neg)
		}
	}
}

// TestUnscale multiplies each number by the scale of its block, rows of uneven
// blocks and NaN among them.
func TestUnscale(t *testing.T) {
	const rows, cols = 5, 7
	m := Tensor{Name: "m", Type: F8E4M3, Shape: []int{rows, cols}}
	for i := range rows * cols {
		m.Data = append(m.Data, byte(7*i+1))
	}
	m.Data[12] = 0x7f
	scales := func(n int, shape ...int) Tensor {
		s := Tensor{Name: "m_scale", Type: BF16, Shape: shape}
		for i := range n {
			h := F32ToBF16(0.013 * float32(i+1))
			s.Data = append(s.Data, byte(h), byte(h>>8))
		}
		return s
	}
	for _, c := range []struct {
		scale Tensor
		block [2]int
		of    func(i, j int) int
	}{
		{scales(1), [2]int{}, func(int, int) int { return 0 }},
		{scales(1, 1, 1), [2]int{}, func(int, int) int { return 0 }},
		{scales(rows, rows), [2]int{}, func(i, _ int) int { return i }},
		{scales(rows, rows, 1), [2]int{}, func(i, _ int) int { return i }},
		{scales(9, 3, 3), [2]int{2, 3}, func(i, j int) int { return i/2*3 + j/3 }},
		{scales(1, 1, 1), [2]int{128, 128}, func(int, int) int { return 0 }},
	} {
		got, err := m.Unscale(c.scale, c.block)
		if err != nil {
			t.Error(err)
			continue
		}
		s, x := c.scale.Float32s(), got.Float32s()
		for i := range rows {
			for j := range cols {
				want := BF16ToF32(F32ToBF16(E4M3ToF32(m.Data[i*cols+j]) * s[c.of(i, j)]))
				if g := x[i*cols+j]; g != want && !(g != g && want != want) {
					t.Errorf("scales %v, block %v: [%d, %d] is %v, want %v", c.scale.Shape, c.block, i, j, g, want)
				}
			}
		}
	}
	for _, c := range []struct {
		m, scale Tensor
		block    [2]int
		want     string
	}{
		{m, scales(9, 3, 3), [2]int{}, "expected one, or [5] or [5, 1]"},
		{m, scales(9, 3, 3), [2]int{2, 2}, "expected [3 4]"},
		{m, Tensor{Name: "m_scale", Type: I8, Shape: []int{1}, Data: []byte{1}}, [2]int{}, "type I8"},
		{m, Tensor{Name: "m_scale", Type: F32, Shape: []int{1}, Data: []byte{0, 0, 128, 127}}, [2]int{}, "scale 0 is +Inf"},
		{Tensor{Name: "v", Type: F8E4M3, Shape: []int{2}, Data: []byte{1, 2}}, scales(1), [2]int{}, "not a matrix"},
	} {
		if _, err := c.m.Unscale(c.scale, c.block); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v does not say %q", err, c.want)
		}
	}
}

// TestRowScales: rows that have one scale get it; where they have several, or a number
// is none, there is none that says what the matrix stands for.
func TestRowScales(t *testing.T) {
	const rows, cols = 4, 9
	matrix := func(odd int) Tensor {
		m := Tensor{Name: "m", Type: F8E4M3, Shape: []int{rows, cols}, Data: make([]byte, rows*cols)}
		for i := range m.Data {
			m.Data[i] = byte(37 * i)
			if m.Data[i]&0x7f == 0x7f || i == 20 {
				m.Data[i] = 0x7e
			}
		}
		if odd >= 0 {
			m.Data[odd] = 0xff
		}
		return m
	}
	scale := func(n int, shape ...int) Tensor {
		s := Tensor{Name: "m_scale", Type: BF16, Shape: shape}
		for i := range n {
			s.Data = append(s.Data, 0, byte(0x3f+i)) // 0.5, 2, 8192...
		}
		return s
	}
	for _, c := range []struct {
		m     Tensor
		scale Tensor
		block [2]int
		ok    bool
	}{
		{matrix(-1), scale(1), [2]int{}, true}, {matrix(-1), scale(rows, rows, 1), [2]int{}, true}, {matrix(-1), scale(2, 2, 1), [2]int{2, 16}, true},
		{matrix(-1), scale(4, 2, 2), [2]int{2, 5}, false}, {matrix(3), scale(1), [2]int{}, false}, {matrix(rows*cols - 1), scale(1), [2]int{}, false}, {matrix(20), scale(1), [2]int{}, false},
	} {
		got, ok, err := c.m.RowScales(c.scale, c.block)
		if err != nil || ok != c.ok {
			t.Fatalf("scales %v in blocks of %v: %v, %v; want %v", c.scale.Shape, c.block, ok, err, c.ok)
		}
		if !ok {
			continue
		}
		want, err := c.m.Unscale(c.scale, c.block)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range want.Float32s() {
			if e := E4M3ToF32(c.m.Data[i]) * got[i/cols]; e != v {
				t.Errorf("scales %v: number %d is %v, want %v", c.scale.Shape, i, e, v)
			}
		}
	}
	if _, _, err := matrix(-1).RowScales(scale(3, 3), [2]int{}); err == nil {
		t.Error("three scales of four rows are taken")
	}
}
