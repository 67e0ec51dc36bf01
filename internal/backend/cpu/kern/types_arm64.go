package kern

import (
	"unsafe"

	"weir/internal/weights"
)

// The kernels of a weight type. Calls are direct, not through variables, so that
// the arguments stay on the stack.

func neonDecode(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		neon_decode_f32(a)
	case weights.F16:
		neon_decode_f16(a)
	case weights.BF16:
		neon_decode_bf16(a)
	case weights.Q4_0:
		neon_decode_q4_0(a)
	case weights.Q4_1:
		neon_decode_q4_1(a)
	case weights.Q5_0:
		neon_decode_q5_0(a)
	case weights.Q5_1:
		neon_decode_q5_1(a)
	case weights.Q8_0:
		neon_decode_q8_0(a)
	case weights.Q2_K:
		neon_decode_q2_k(a)
	case weights.Q3_K:
		neon_decode_q3_k(a)
	case weights.Q4_K:
		neon_decode_q4_k(a)
	case weights.Q5_K:
		neon_decode_q5_k(a)
	case weights.Q6_K:
		neon_decode_q6_k(a)
	case weights.IQ4_NL:
		neon_decode_iq4_nl(a)
	case weights.IQ4_XS:
		neon_decode_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func neonExpand(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		neon_expand_f32(a)
	case weights.F16:
		neon_expand_f16(a)
	case weights.BF16:
		neon_expand_bf16(a)
	case weights.Q4_0:
		neon_expand_q4_0(a)
	case weights.Q4_1:
		neon_expand_q4_1(a)
	case weights.Q5_0:
		neon_expand_q5_0(a)
	case weights.Q5_1:
		neon_expand_q5_1(a)
	case weights.Q8_0:
		neon_expand_q8_0(a)
	case weights.Q2_K:
		neon_expand_q2_k(a)
	case weights.Q3_K:
		neon_expand_q3_k(a)
	case weights.Q4_K:
		neon_expand_q4_k(a)
	case weights.Q5_K:
		neon_expand_q5_k(a)
	case weights.Q6_K:
		neon_expand_q6_k(a)
	case weights.IQ4_NL:
		neon_expand_iq4_nl(a)
	case weights.IQ4_XS:
		neon_expand_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func neonbf16Expand(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.F32:
		neonbf16_expand_f32(a)
	case weights.F16:
		neonbf16_expand_f16(a)
	case weights.BF16:
		neonbf16_expand_bf16(a)
	case weights.Q4_0:
		neonbf16_expand_q4_0(a)
	case weights.Q4_1:
		neonbf16_expand_q4_1(a)
	case weights.Q5_0:
		neonbf16_expand_q5_0(a)
	case weights.Q5_1:
		neonbf16_expand_q5_1(a)
	case weights.Q8_0:
		neonbf16_expand_q8_0(a)
	case weights.Q2_K:
		neonbf16_expand_q2_k(a)
	case weights.Q3_K:
		neonbf16_expand_q3_k(a)
	case weights.Q4_K:
		neonbf16_expand_q4_k(a)
	case weights.Q5_K:
		neonbf16_expand_q5_k(a)
	case weights.Q6_K:
		neonbf16_expand_q6_k(a)
	case weights.IQ4_NL:
		neonbf16_expand_iq4_nl(a)
	case weights.IQ4_XS:
		neonbf16_expand_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func neonKeep(t KVType, a unsafe.Pointer) {
	switch t {
	case KVF16:
		neon_keep_f16(a)
	case KVBF16:
		neon_keep_bf16(a)
	case KVQ8:
		neon_keep_q8(a)
	case KVQ4:
		neon_keep_q4(a)
	default:
		panic(unknownKVType)
	}
}
