package kern

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// Levels lists what this machine can run, lowest first. The checks include that
// the operating system keeps the wide registers.
func Levels() []Level {
	levels := []Level{Portable}
	x := cpu.X86
	if !x.HasAVX2 || !x.HasFMA {
		return levels
	}
	levels = append(levels, AVX2)
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI {
		levels = append(levels, AVX512)
	}
	return levels
}

// Dots runs the kernel at level l, which must not be Portable. The calls are
// direct, not through variables, so that the arguments stay on the stack.
func (l Level) Dots(a *Dots) {
	switch l {
	case AVX512:
		avx512_dots(unsafe.Pointer(a))
	default:
		avx2_dots(unsafe.Pointer(a))
	}
}

// Axpy runs the kernel at level l, which must not be Portable.
func (l Level) Axpy(a *Axpy) {
	switch l {
	case AVX512:
		avx512_axpy(unsafe.Pointer(a))
	default:
		avx2_axpy(unsafe.Pointer(a))
	}
}
