package kern

import (
	"unsafe"

	"weir/internal/weights"
)

// Turn rearranges rows that Quantize has made, at Y, for DecodeTurned. Cols is a multiple
// of 32; X is not used.
func (l Level) Turn(a *Convert) { avx2_turn(unsafe.Pointer(a)) }

// DecodeTurned does what Decode does, with the same bits, for two rows or more that have
// been turned, and quantised weights.
func (l Level) DecodeTurned(t weights.Type, a *Decode) {
	p := unsafe.Pointer(a)
	switch t {
	case weights.Q4_0:
		avx2_rows_q4_0(p)
	case weights.Q4_1:
		avx2_rows_q4_1(p)
	case weights.Q5_0:
		avx2_rows_q5_0(p)
	case weights.Q5_1:
		avx2_rows_q5_1(p)
	case weights.Q8_0:
		avx2_rows_q8_0(p)
	case weights.Q2_K:
		avx2_rows_q2_k(p)
	case weights.Q3_K:
		avx2_rows_q3_k(p)
	case weights.Q4_K:
		avx2_rows_q4_k(p)
	case weights.Q5_K:
		avx2_rows_q5_k(p)
	case weights.Q6_K:
		avx2_rows_q6_k(p)
	case weights.IQ4_NL:
		avx2_rows_iq4_nl(p)
	case weights.IQ4_XS:
		avx2_rows_iq4_xs(p)
	default:
		panic(unknownType(t))
	}
}
