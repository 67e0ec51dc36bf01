package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
)

// E4M3ToF32 converts an 8-bit float of 4 exponent and 3 mantissa bits, bias 7, as
// the Open Compute Project's FP8 has it ("E4M3FN"): no infinities, all ones is NaN,
// the largest number 448. Every value is exact.
func E4M3ToF32(b byte) float32 {
	exp, man := int(b>>3&15), float64(b&7)
	v := math.Ldexp(8+man, exp-10)
	switch {
	case b&0x7f == 0x7f:
		v = math.NaN()
	case exp == 0: // subnormal: units of 2^-9
		v = math.Ldexp(man, -9)
	}
	if b&0x80 != 0 {
		v = -v
	}
	return float32(v)
}

// e4m3 has the values of all bytes.
var e4m3 = sync.OnceValue(func() *[256]float32 {
	t := new([256]float32)
	for i := range t {
		t[i] = E4M3ToF32(byte(i))
	}
	return t
})

// Unscale returns an F8_E4M3 matrix [rows, cols] as a BF16 one in memory of its own:
// each number times its scale, rounded to nearest. The scales are one for all, one a
// row ([rows] or [rows, 1]) or, if block is not zero, one for each block of so many
// rows and columns, blocks at the right and lower edge being what is left.
func (t Tensor) Unscale(scale Tensor, block [2]int) (Tensor, error) {
	s, high, wide, err := t.scales(scale, block)
	if err != nil {
		return Tensor{}, err
	}
	out := t
	out.Type, out.Data = BF16, make([]byte, 2*len(t.Data))
	t.unscaleRows(out, s, high, wide)
	return out, nil
}

// scales reads a matrix's scales, and how many rows and columns share one.
func (t Tensor) scales(scale Tensor, block [2]int) (s []float32, high, wide int, err error) {
	if t.Type != F8E4M3 || len(t.Shape) != 2 {
		return nil, 0, 0, fmt.Errorf("tensor %q: is %s of shape %v, not a matrix of %v", t.Name, t.TypeName(), t.Shape, F8E4M3)
	}
	if !scale.Type.Supported() {
		return nil, 0, 0, fmt.Errorf("tensor %q: scales of type %s: expected F32, F16 or BF16", scale.Name, scale.TypeName())
	}
	if high, wide, err = t.scaled(scale, block); err != nil {
		return nil, 0, 0, err
	}
	s = scale.Float32s()
	for i, v := range s {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, 0, 0, fmt.Errorf("tensor %q: scale %d is %v: %s", scale.Name, i, v, damaged)
		}
	}
	return s, high, wide, nil
}

// RowScales returns a scale for each row of an F8_E4M3 matrix, with scales as Unscale
// has them. It reports false if a row has several, or a number that is none: then only
// Unscale gives what the matrix stands for.
func (t Tensor) RowScales(scale Tensor, block [2]int) (rows []float32, ok bool, err error) {
	s, high, wide, err := t.scales(scale, block)
	if err != nil || wide < t.Cols() || hasNaN(t.Data) {
		return nil, false, err
	}
	rows = make([]float32, t.Rows())
	for i := range rows {
		rows[i] = s[i/high]
	}
	return rows, true, nil
}

// hasNaN looks for bytes of 0x7f and 0xff, eight at a time: one more carries into their
// highest bit.
func hasNaN(e4m3 []byte) bool {
	const low, one, high = 0x7f7f7f7f7f7f7f7f, 0x0101010101010101, 0x8080808080808080
	for ; len(e4m3) >= 8; e4m3 = e4m3[8:] {
		if (binary.LittleEndian.Uint64(e4m3)&low+one)&high != 0 {
			return true
		}
	}
	for _, b := range e4m3 {
		if b&0x7f == 0x7f {
			return true
		}
	}
	return false
}

// scaled returns how many rows and columns share a scale.
func (t Tensor) scaled(scale Tensor, block [2]int) (high, wide int, err error) {
	rows, cols := t.Rows(), t.Cols()
	single := scale.Rows()*scale.Cols() == 1
	switch {
	case block != [2]int{} && block[0] > 0 && block[1] > 0:
		if want := []int{(rows-1)/block[0] + 1, (cols-1)/block[1] + 1}; !slices.Equal(scale.Shape, want) {
			return 0, 0, fmt.Errorf("tensor %q: scales of shape %v: expected %v, one for each %d x %d of %v: %s", scale.Name, scale.Shape, want, block[0], block[1], t.Shape, damaged)
		}
		return block[0], block[1], nil
	case single:
		return rows, cols, nil
	case slices.Equal(scale.Shape, []int{rows}), slices.Equal(scale.Shape, []int{rows, 1}):
		return 1, cols, nil
	}
	return 0, 0, fmt.Errorf("tensor %q: scales of shape %v: expected one, or [%d] or [%d, 1]: the configuration names no blocks; %s", scale.Name, scale.Shape, rows, rows, damaged)
}

// unscaleRows fills out in.
func (t Tensor) unscaleRows(out Tensor, scale []float32, high, wide int) {
	rows, cols := t.Rows(), t.Cols()
	across := (cols-1)/wide + 1
	shareRows(rows, func(first, end int) {
		for i := first; i < end; i++ {
			unscaleRow(out.Row(i), t.Row(i), scale[i/high*across:][:across], wide)
		}
	})
}

// shareRows has as many goroutines as there are processors do a part of the rows each.
func shareRows(rows int, do func(first, end int)) {
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), rows)
	for w := range workers {
		wg.Go(func() { do(rows*w/workers, rows*(w+1)/workers) })
	}
	wg.Wait()
}

// unscaleRow writes BF16; each of scale holds for wide numbers.
func unscaleRow(dst, src []byte, scale []float32, wide int) {
	values := e4m3()
	for _, s := range scale {
		n := min(wide, len(src))
		for i, b := range src[:n] {
			binary.LittleEndian.PutUint16(dst[2*i:], F32ToBF16(values[b]*s))
		}
		dst, src = dst[2*n:], src[n:]
	}
}
