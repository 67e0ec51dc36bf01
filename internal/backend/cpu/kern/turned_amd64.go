package kern

import (
	"unsafe"

	"weir/internal/weights"
)

// Turn rearranges rows that Quantize has made, at Y, for DecodeTurned. Cols is a multiple
// of 32; X is not used.
func (l Level) Turn(a *Convert) {
	if l >= AVX512 {
		avx512_turn(unsafe.Pointer(a))
	} else {
		avx2_turn(unsafe.Pointer(a))
	}
}

// DecodeTurned does what Decode does, with the same bits, for two rows or more. Where the
// weights are quantised they have been turned.
func (l Level) DecodeTurned(t weights.Type, a *Decode) {
	a.ahead = decodeAhead
	switch {
	case l >= AVX512:
		avx512Rows(t, unsafe.Pointer(a))
	case l == AVXVNNI:
		avxvnniRows(t, unsafe.Pointer(a))
	default:
		avx2Rows(t, unsafe.Pointer(a))
	}
}

func avx2Rows(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		avx2_rows_f32(a)
	case weights.F16:
		avx2_rows_f16(a)
	case weights.BF16:
		avx2_rows_bf16(a)
	case weights.Q4_0:
		avx2_rows_q4_0(a)
	case weights.Q4_1:
		avx2_rows_q4_1(a)
	case weights.Q5_0:
		avx2_rows_q5_0(a)
	case weights.Q5_1:
		avx2_rows_q5_1(a)
	case weights.Q8_0:
		avx2_rows_q8_0(a)
	case weights.Q2_K:
		avx2_rows_q2_k(a)
	case weights.Q3_K:
		avx2_rows_q3_k(a)
	case weights.Q4_K:
		avx2_rows_q4_k(a)
	case weights.Q5_K:
		avx2_rows_q5_k(a)
	case weights.Q6_K:
		avx2_rows_q6_k(a)
	case weights.IQ4_NL:
		avx2_rows_iq4_nl(a)
	case weights.IQ4_XS:
		avx2_rows_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func avx512Rows(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		avx512_rows_f32(a)
	case weights.F16:
		avx512_rows_f16(a)
	case weights.BF16:
		avx512_rows_bf16(a)
	case weights.Q4_0:
		avx512_rows_q4_0(a)
	case weights.Q4_1:
		avx512_rows_q4_1(a)
	case weights.Q5_0:
		avx512_rows_q5_0(a)
	case weights.Q5_1:
		avx512_rows_q5_1(a)
	case weights.Q8_0:
		avx512_rows_q8_0(a)
	case weights.Q2_K:
		avx512_rows_q2_k(a)
	case weights.Q3_K:
		avx512_rows_q3_k(a)
	case weights.Q4_K:
		avx512_rows_q4_k(a)
	case weights.Q5_K:
		avx512_rows_q5_k(a)
	case weights.Q6_K:
		avx512_rows_q6_k(a)
	case weights.IQ4_NL:
		avx512_rows_iq4_nl(a)
	case weights.IQ4_XS:
		avx512_rows_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

// avxvnniRows: weights that are not quantised are AVX2's.
func avxvnniRows(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.Q4_0:
		avxvnni_rows_q4_0(a)
	case weights.Q4_1:
		avxvnni_rows_q4_1(a)
	case weights.Q5_0:
		avxvnni_rows_q5_0(a)
	case weights.Q5_1:
		avxvnni_rows_q5_1(a)
	case weights.Q8_0:
		avxvnni_rows_q8_0(a)
	case weights.Q2_K:
		avxvnni_rows_q2_k(a)
	case weights.Q3_K:
		avxvnni_rows_q3_k(a)
	case weights.Q4_K:
		avxvnni_rows_q4_k(a)
	case weights.Q5_K:
		avxvnni_rows_q5_k(a)
	case weights.Q6_K:
		avxvnni_rows_q6_k(a)
	case weights.IQ4_NL:
		avxvnni_rows_iq4_nl(a)
	case weights.IQ4_XS:
		avxvnni_rows_iq4_xs(a)
	default:
		avx2Rows(t, a)
	}
}
