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
	if hasVNNI256() {
		levels = append(levels, AVXVNNI)
	}
	if !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512VL || !x.HasAVX512DQ || !x.HasAVX512VNNI {
		return levels
	}
	levels = append(levels, AVX512)
	if x.HasAVX512BF16 {
		levels = append(levels, AVX512BF16)
		if hasTiles() {
			levels = append(levels, AMX)
		}
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
	a.ahead = decodeAhead
	switch {
	case l >= AVX512:
		avx512Decode(t, unsafe.Pointer(a))
	case l == AVXVNNI:
		avxvnniDecode(t, unsafe.Pointer(a))
	default:
		avx2Decode(t, unsafe.Pointer(a))
	}
}

// Dequantize decodes rows of type t to float32, exactly as package weights does
// (but for the payload of a NaN).
func (l Level) Dequantize(t weights.Type, a *Convert) {
	if l >= AVX512 {
		avx512Expand(t, unsafe.Pointer(a))
	} else {
		avx2Expand(t, unsafe.Pointer(a))
	}
}

// Panel decodes rows of type t to what Gemm or Multiply take; rows lie PanelBytes
// apart.
func (l Level) Panel(t weights.Type, a *Convert) {
	switch l {
	case AMX:
		amxExpand(t, unsafe.Pointer(a))
	case AVX512BF16:
		avx512bf16Expand(t, unsafe.Pointer(a))
	default:
		l.Dequantize(t, a)
	}
}

// Pack turns float32 rows into what Gemm multiplies with panels. Y has
// PackedBytes; LdY is not used.
func (l Level) Pack(a *Convert) {
	switch l {
	case AMX:
		amx_pack(unsafe.Pointer(a))
	case AVX512BF16:
		avx512bf16_pack(unsafe.Pointer(a))
	case AVX512:
		avx512_pack(unsafe.Pointer(a))
	default:
		avx2_pack(unsafe.Pointer(a))
	}
}

// Gemm multiplies packed rows with a panel.
func (l Level) Gemm(a *Gemm) {
	switch l {
	case AVX512BF16:
		avx512bf16_gemm(unsafe.Pointer(a))
	case AVX512:
		avx512_gemm(unsafe.Pointer(a))
	default:
		avx2_gemm(unsafe.Pointer(a))
	}
}

// Multiply multiplies a block.
func (l Level) Multiply(a *Block) { amx_multiply(unsafe.Pointer(a)) }

// MultiplyLaying multiplies a block, and lays the panel of weights of type t that comes next.
func (l Level) MultiplyLaying(t weights.Type, a *Block) { amxMultiply(t, unsafe.Pointer(a)) }

// Peak does PeakOps multiply-adds for each of N, of the kind that products of
// prompts are made of, on the PeakBytes at Data.
func (l Level) Peak(a *Probe) {
	switch l {
	case AMX:
		amx_peak(unsafe.Pointer(a))
	case AVX512, AVX512BF16:
		avx512_peak_ints(unsafe.Pointer(a))
	case AVXVNNI:
		avxvnni_peak_ints(unsafe.Pointer(a))
	default:
		avx2_peak_ints(unsafe.Pointer(a))
	}
}

// PeakOps: see Peak.
func (l Level) PeakOps() int {
	switch l {
	case AMX:
		return 4 * 16 * 16 * 32
	case AVX512, AVX512BF16:
		return 12 * 64
	default:
		return 12 * 32
	}
}

// Norm adds and normalises.
func (l Level) Norm(a *Norm) {
	if l >= AVX512 {
		avx512_norm(unsafe.Pointer(a))
	} else {
		avx2_norm(unsafe.Pointer(a))
	}
}

// Gate activates and multiplies.
func (l Level) Gate(a *Gate) {
	if l >= AVX512 {
		avx512_gate(unsafe.Pointer(a))
	} else {
		avx2_gate(unsafe.Pointer(a))
	}
}

// Rotate rotates.
func (l Level) Rotate(a *Rotate) {
	if l >= AVX512 {
		avx512_rotate(unsafe.Pointer(a))
	} else {
		avx2_rotate(unsafe.Pointer(a))
	}
}

// Keep stores Rows heads of Cols floats as a type other than KVF32, with the bytes
// that package cpu's portable code stores.
func (l Level) Keep(t KVType, a *Convert) {
	if l >= AVX512 {
		avx512Keep(t, unsafe.Pointer(a))
	} else {
		avx2Keep(t, unsafe.Pointer(a))
	}
}

// Attend attends to a block.
func (l Level) Attend(a *Attend) {
	if l >= AVX512 {
		avx512_attend(unsafe.Pointer(a))
	} else {
		avx2_attend(unsafe.Pointer(a))
	}
}

// AttendMany does what Attend does with keys as lanes, which is faster for many queries and
// slower for one. A product is one sum, over the columns in order, so that it gives other last
// bits than Attend, but always the same.
func (l Level) AttendMany(a *Attend) {
	if l >= AVX512 {
		avx512_attend_many(unsafe.Pointer(a))
	} else {
		avx2_attend_many(unsafe.Pointer(a))
	}
}

// AttendPrompt attends to a block.
func (l Level) AttendPrompt(a *Attend) { amx_attend_prompt(unsafe.Pointer(a)) }

// Maxima sets the float32s at Y to the greatest of each MaximaBlock of the Cols
// float32s at X: -Inf where all are NaNs.
func (l Level) Maxima(a *Convert) {
	if l >= AVX512 {
		avx512_maxima(unsafe.Pointer(a))
	} else {
		avx2_maxima(unsafe.Pointer(a))
	}
}

// Weigh runs the kernel.
func (l Level) Weigh(a *Weigh) {
	if l >= AVX512 {
		avx512_weigh(unsafe.Pointer(a))
	} else {
		avx2_weigh(unsafe.Pointer(a))
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
