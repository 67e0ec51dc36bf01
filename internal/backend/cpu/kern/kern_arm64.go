package kern

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"weir/internal/weights"
)

// Levels lists what this machine can run, lowest first.
func Levels() []Level {
	levels := []Level{Portable}
	if !cpu.ARM64.HasASIMDDP {
		return levels
	}
	levels = append(levels, NEON)
	if cpu.ARM64.HasI8MM && hasBF16() {
		levels = append(levels, NEONBF16)
	}
	return levels
}

// The methods below run kernels at level l, which must not be Portable.

// Dots runs the kernel.
func (l Level) Dots(a *Dots) {
	neon_dots(unsafe.Pointer(a))
}

// Axpy runs the kernel.
func (l Level) Axpy(a *Axpy) {
	neon_axpy(unsafe.Pointer(a))
}

// Quantize turns rows of float32 into what Decode multiplies with quantised
// weights. Cols is a multiple of 32; a row takes QuantizedBytes. A block of 32
// that is below 2^-118 throughout becomes zeros; one with an infinity or a NaN
// makes every product with its row a NaN.
func (l Level) Quantize(a *Convert) {
	neon_quantize(unsafe.Pointer(a))
}

// Decode multiplies few rows with weights of type t.
func (l Level) Decode(t weights.Type, a *Decode) {
	a.ahead = decodeAhead
	neonDecode(t, unsafe.Pointer(a))
}

// Dequantize decodes rows of type t to float32, exactly as package weights does
// (but for the payload of a NaN).
func (l Level) Dequantize(t weights.Type, a *Convert) {
	neonExpand(t, unsafe.Pointer(a))
}

// Panel decodes rows of type t to what Gemm multiplies. It may write 4 bytes
// behind a row of an odd number of columns; rows lie PanelBytes apart.
func (l Level) Panel(t weights.Type, a *Convert) {
	if l == NEONBF16 {
		neonbf16Expand(t, unsafe.Pointer(a))
	} else {
		l.Dequantize(t, a)
	}
}

// Pack turns float32 rows into what Gemm multiplies with panels. Y has
// PackedBytes; LdY is not used.
func (l Level) Pack(a *Convert) {
	if l == NEONBF16 {
		neonbf16_pack(unsafe.Pointer(a))
	} else {
		neon_pack(unsafe.Pointer(a))
	}
}

// Gemm multiplies packed rows with a panel.
func (l Level) Gemm(a *Gemm) {
	if l == NEONBF16 {
		neonbf16_gemm(unsafe.Pointer(a))
	} else {
		neon_gemm(unsafe.Pointer(a))
	}
}

// Peak does PeakOps multiply-adds for each of N, of the kind that Gemm is made
// of, on the 128 bytes at Data.
func (l Level) Peak(a *Probe) {
	if l == NEONBF16 {
		neonbf16_peak(unsafe.Pointer(a))
	} else {
		neon_peak_fma(unsafe.Pointer(a))
	}
}

// PeakOps: see Peak.
func (l Level) PeakOps() int {
	if l == NEONBF16 {
		return 16 * 16
	}
	return 5 * 16
}

// Norm adds and normalises.
func (l Level) Norm(a *Norm) {
	neon_norm(unsafe.Pointer(a))
}

// Gate activates and multiplies.
func (l Level) Gate(a *Gate) {
	neon_gate(unsafe.Pointer(a))
}

// Rotate rotates.
func (l Level) Rotate(a *Rotate) {
	neon_rotate(unsafe.Pointer(a))
}

// Keep stores Rows heads of Cols floats as a type other than KVF32, with the bytes
// that package cpu's portable code stores.
func (l Level) Keep(t KVType, a *Convert) { neonKeep(t, unsafe.Pointer(a)) }

// Attend attends to a block.
func (l Level) Attend(a *Attend) {
	neon_attend(unsafe.Pointer(a))
}

// AttendMany attends to a block, as Attend does at these levels.
func (l Level) AttendMany(a *Attend) { l.Attend(a) }

// Maxima sets the float32s at Y to the greatest of each MaximaBlock of the Cols
// float32s at X: -Inf where all are NaNs.
func (l Level) Maxima(a *Convert) { neon_maxima(unsafe.Pointer(a)) }

// Weigh runs the kernel.
func (l Level) Weigh(a *Weigh) { neon_weigh(unsafe.Pointer(a)) }

// Read reads N bytes of Data, a multiple of 512.
func (l Level) Read(a *Probe) {
	neon_read(unsafe.Pointer(a))
}
