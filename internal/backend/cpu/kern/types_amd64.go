package kern

import (
	"unsafe"

	"weir/internal/weights"
)

// The kernels of a weight type. Calls are direct, not through variables, so that
// the arguments stay on the stack.

func avx2Decode(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		avx2_decode_f32(a)
	case weights.F16:
		avx2_decode_f16(a)
	case weights.BF16:
		avx2_decode_bf16(a)
	case weights.Q4_0:
		avx2_decode_q4_0(a)
	case weights.Q4_1:
		avx2_decode_q4_1(a)
	case weights.Q5_0:
		avx2_decode_q5_0(a)
	case weights.Q5_1:
		avx2_decode_q5_1(a)
	case weights.Q8_0:
		avx2_decode_q8_0(a)
	case weights.Q2_K:
		avx2_decode_q2_k(a)
	case weights.Q3_K:
		avx2_decode_q3_k(a)
	case weights.Q4_K:
		avx2_decode_q4_k(a)
	case weights.Q5_K:
		avx2_decode_q5_k(a)
	case weights.Q6_K:
		avx2_decode_q6_k(a)
	case weights.IQ4_NL:
		avx2_decode_iq4_nl(a)
	case weights.IQ4_XS:
		avx2_decode_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

// avxvnniDecode: weights that are not quantised are AVX2's.
func avxvnniDecode(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.Q4_0:
		avxvnni_decode_q4_0(a)
	case weights.Q4_1:
		avxvnni_decode_q4_1(a)
	case weights.Q5_0:
		avxvnni_decode_q5_0(a)
	case weights.Q5_1:
		avxvnni_decode_q5_1(a)
	case weights.Q8_0:
		avxvnni_decode_q8_0(a)
	case weights.Q2_K:
		avxvnni_decode_q2_k(a)
	case weights.Q3_K:
		avxvnni_decode_q3_k(a)
	case weights.Q4_K:
		avxvnni_decode_q4_k(a)
	case weights.Q5_K:
		avxvnni_decode_q5_k(a)
	case weights.Q6_K:
		avxvnni_decode_q6_k(a)
	case weights.IQ4_NL:
		avxvnni_decode_iq4_nl(a)
	case weights.IQ4_XS:
		avxvnni_decode_iq4_xs(a)
	default:
		avx2Decode(t, a)
	}
}

func avx512Decode(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		avx512_decode_f32(a)
	case weights.F16:
		avx512_decode_f16(a)
	case weights.BF16:
		avx512_decode_bf16(a)
	case weights.Q4_0:
		avx512_decode_q4_0(a)
	case weights.Q4_1:
		avx512_decode_q4_1(a)
	case weights.Q5_0:
		avx512_decode_q5_0(a)
	case weights.Q5_1:
		avx512_decode_q5_1(a)
	case weights.Q8_0:
		avx512_decode_q8_0(a)
	case weights.Q2_K:
		avx512_decode_q2_k(a)
	case weights.Q3_K:
		avx512_decode_q3_k(a)
	case weights.Q4_K:
		avx512_decode_q4_k(a)
	case weights.Q5_K:
		avx512_decode_q5_k(a)
	case weights.Q6_K:
		avx512_decode_q6_k(a)
	case weights.IQ4_NL:
		avx512_decode_iq4_nl(a)
	case weights.IQ4_XS:
		avx512_decode_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func avx2Expand(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		avx2_expand_f32(a)
	case weights.F16:
		avx2_expand_f16(a)
	case weights.BF16:
		avx2_expand_bf16(a)
	case weights.Q4_0:
		avx2_expand_q4_0(a)
	case weights.Q4_1:
		avx2_expand_q4_1(a)
	case weights.Q5_0:
		avx2_expand_q5_0(a)
	case weights.Q5_1:
		avx2_expand_q5_1(a)
	case weights.Q8_0:
		avx2_expand_q8_0(a)
	case weights.Q2_K:
		avx2_expand_q2_k(a)
	case weights.Q3_K:
		avx2_expand_q3_k(a)
	case weights.Q4_K:
		avx2_expand_q4_k(a)
	case weights.Q5_K:
		avx2_expand_q5_k(a)
	case weights.Q6_K:
		avx2_expand_q6_k(a)
	case weights.IQ4_NL:
		avx2_expand_iq4_nl(a)
	case weights.IQ4_XS:
		avx2_expand_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func avx512Expand(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		avx512_expand_f32(a)
	case weights.F16:
		avx512_expand_f16(a)
	case weights.BF16:
		avx512_expand_bf16(a)
	case weights.Q4_0:
		avx512_expand_q4_0(a)
	case weights.Q4_1:
		avx512_expand_q4_1(a)
	case weights.Q5_0:
		avx512_expand_q5_0(a)
	case weights.Q5_1:
		avx512_expand_q5_1(a)
	case weights.Q8_0:
		avx512_expand_q8_0(a)
	case weights.Q2_K:
		avx512_expand_q2_k(a)
	case weights.Q3_K:
		avx512_expand_q3_k(a)
	case weights.Q4_K:
		avx512_expand_q4_k(a)
	case weights.Q5_K:
		avx512_expand_q5_k(a)
	case weights.Q6_K:
		avx512_expand_q6_k(a)
	case weights.IQ4_NL:
		avx512_expand_iq4_nl(a)
	case weights.IQ4_XS:
		avx512_expand_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func avx512bf16Expand(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		avx512bf16_expand_f32(a)
	case weights.F16:
		avx512bf16_expand_f16(a)
	case weights.BF16:
		avx512bf16_expand_bf16(a)
	case weights.Q4_0:
		avx512bf16_expand_q4_0(a)
	case weights.Q4_1:
		avx512bf16_expand_q4_1(a)
	case weights.Q5_0:
		avx512bf16_expand_q5_0(a)
	case weights.Q5_1:
		avx512bf16_expand_q5_1(a)
	case weights.Q8_0:
		avx512bf16_expand_q8_0(a)
	case weights.Q2_K:
		avx512bf16_expand_q2_k(a)
	case weights.Q3_K:
		avx512bf16_expand_q3_k(a)
	case weights.Q4_K:
		avx512bf16_expand_q4_k(a)
	case weights.Q5_K:
		avx512bf16_expand_q5_k(a)
	case weights.Q6_K:
		avx512bf16_expand_q6_k(a)
	case weights.IQ4_NL:
		avx512bf16_expand_iq4_nl(a)
	case weights.IQ4_XS:
		avx512bf16_expand_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func avx2Keep(t KVType, a unsafe.Pointer) {
	switch t {
	case KVF16:
		avx2_keep_f16(a)
	case KVBF16:
		avx2_keep_bf16(a)
	case KVQ8:
		avx2_keep_q8(a)
	case KVQ4:
		avx2_keep_q4(a)
	default:
		panic(unknownKVType)
	}
}

func avx512Keep(t KVType, a unsafe.Pointer) {
	switch t {
	case KVF16:
		avx512_keep_f16(a)
	case KVBF16:
		avx512_keep_bf16(a)
	case KVQ8:
		avx512_keep_q8(a)
	case KVQ4:
		avx512_keep_q4(a)
	default:
		panic(unknownKVType)
	}
}

func amxExpand(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		amx_expand_f32(a)
	case weights.F16:
		amx_expand_f16(a)
	case weights.BF16:
		amx_expand_bf16(a)
	case weights.Q4_0:
		amx_expand_q4_0(a)
	case weights.Q4_1:
		amx_expand_q4_1(a)
	case weights.Q5_0:
		amx_expand_q5_0(a)
	case weights.Q5_1:
		amx_expand_q5_1(a)
	case weights.Q8_0:
		amx_expand_q8_0(a)
	case weights.Q2_K:
		amx_expand_q2_k(a)
	case weights.Q3_K:
		amx_expand_q3_k(a)
	case weights.Q4_K:
		amx_expand_q4_k(a)
	case weights.Q5_K:
		amx_expand_q5_k(a)
	case weights.Q6_K:
		amx_expand_q6_k(a)
	case weights.IQ4_NL:
		amx_expand_iq4_nl(a)
	case weights.IQ4_XS:
		amx_expand_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func amxMultiply(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		amx_multiply_f32(a)
	case weights.F16:
		amx_multiply_f16(a)
	case weights.BF16:
		amx_multiply_bf16(a)
	case weights.Q4_0:
		amx_multiply_q4_0(a)
	case weights.Q4_1:
		amx_multiply_q4_1(a)
	case weights.Q5_0:
		amx_multiply_q5_0(a)
	case weights.Q5_1:
		amx_multiply_q5_1(a)
	case weights.Q8_0:
		amx_multiply_q8_0(a)
	case weights.Q2_K:
		amx_multiply_q2_k(a)
	case weights.Q3_K:
		amx_multiply_q3_k(a)
	case weights.Q4_K:
		amx_multiply_q4_k(a)
	case weights.Q5_K:
		amx_multiply_q5_k(a)
	case weights.Q6_K:
		amx_multiply_q6_k(a)
	case weights.IQ4_NL:
		amx_multiply_iq4_nl(a)
	case weights.IQ4_XS:
		amx_multiply_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}
