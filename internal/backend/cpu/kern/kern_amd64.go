package kern

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"weir/internal/weights"
)

// Levels lists what this machine can run, lowest first. The checks include that
// the operating system keeps the wide registers.
func Levels() []Level {
	levels := []Level{Portable}
	x := cpu.X86
	if !x.HasAVX2 || !x.HasFMA || !x.HasBMI2 {
		return levels
	}
	levels = append(levels, AVX2)
	if !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512VL || !x.HasAVX512DQ || !x.HasAVX512VNNI {
		return levels
	}
	levels = append(levels, AVX512)
	if x.HasAVX512BF16 {
		levels = append(levels, AVX512BF16)
	}
	return levels
}

// The methods below run kernels at level l, which must not be Portable.

// Dots runs the kernel.
func (l Level) Dots(a *Dots) {
	if l >= AVX512 {
		avx512_dots(unsafe.Pointer(a))
	} else {
		avx2_dots(unsafe.Pointer(a))
	}
}

// Axpy runs the kernel.
func (l Level) Axpy(a *Axpy) {
	if l >= AVX512 {
		avx512_axpy(unsafe.Pointer(a))
	} else {
		avx2_axpy(unsafe.Pointer(a))
	}
}

// Quantize turns rows of float32 into what Decode multiplies with quantised
// weights. Cols is a multiple of 32; a row takes QuantizedBytes. A block of 32
// that is below 2^-118 throughout becomes zeros; one with an infinity or a NaN
// makes every product with its row a NaN.
func (l Level) Quantize(a *Convert) {
	if l >= AVX512 {
		avx512_quantize(unsafe.Pointer(a))
	} else {
		avx2_quantize(unsafe.Pointer(a))
	}
}

// Decode multiplies few rows with weights of type t.
func (l Level) Decode(t weights.Type, a *Decode) {
	if l >= AVX512 {
		avx512Decode(t, unsafe.Pointer(a))
	} else {
		avx2Decode(t, unsafe.Pointer(a))
	}
}

// Read reads N bytes of Data, a multiple of 512.
func (l Level) Read(a *Probe) {
	if l >= AVX512 {
		avx512_read(unsafe.Pointer(a))
	} else {
		avx2_read(unsafe.Pointer(a))
	}
}
