package kern

import (
	"unsafe"

	"weir/internal/weights"
)

// PackIntegers turns rows of float32 into what MultiplyIntegers multiplies. Cols is a
// multiple of 32; a row takes IntegerBytes. Blocks of 32 are those of Quantize.
func (l Level) PackIntegers(a *Convert) {
	switch {
	case l >= AVX512:
		avx512_pack_ints(unsafe.Pointer(a))
	case l == AVXVNNI:
		avxvnni_pack_ints(unsafe.Pointer(a))
	default:
		avx2_pack_ints(unsafe.Pointer(a))
	}
}

// IntegerPanel lays up to IntegerWeights rows of type t side by side. What lies LdY
// bytes behind, for as many rows, is what will be laid next: memory is asked for it.
func (l Level) IntegerPanel(t weights.Type, a *Convert) {
	switch {
	case l >= AVX512:
		avx512Panel(t, unsafe.Pointer(a))
	case l == AVXVNNI:
		avxvnniPanel(t, unsafe.Pointer(a))
	default:
		avx2Panel(t, unsafe.Pointer(a))
	}
}

// MultiplyIntegers multiplies packed rows with a panel of weights of type t.
func (l Level) MultiplyIntegers(t weights.Type, a *Integers) {
	switch {
	case l >= AVX512:
		avx512Ints(t, unsafe.Pointer(a))
	case l == AVXVNNI:
		avxvnniInts(t, unsafe.Pointer(a))
	default:
		avx2Ints(t, unsafe.Pointer(a))
	}
}

// avx2Ints chooses by how the type is laid in a panel: see ints.h.
func avx2Ints(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.Q8_0, weights.IQ4_NL, weights.IQ4_XS:
		avx2_ints_wide(a)
	case weights.Q4_0:
		avx2_ints_4_0(a)
	case weights.Q4_1, weights.Q4_K:
		avx2_ints_4(a)
	case weights.Q5_0:
		avx2_ints_5_0(a)
	case weights.Q5_1, weights.Q5_K:
		avx2_ints_5(a)
	case weights.Q2_K:
		avx2_ints_2k(a)
	case weights.Q3_K:
		avx2_ints_3k(a)
	case weights.Q6_K:
		avx2_ints_6k(a)
	default:
		panic(unknownType(t))
	}
}

// vnniPanel is how intsvnni.h lays a type: centred or with minimums, in halves or not.
type vnniPanel uint8

const (
	centred vnniPanel = iota
	withMinimums
	centredHalves
	halvesWithMinimums
)

func vnniPanelOf(t weights.Type) vnniPanel {
	switch t {
	case weights.Q8_0, weights.IQ4_NL, weights.IQ4_XS, weights.Q4_0, weights.Q5_0:
		return centred
	case weights.Q4_1, weights.Q4_K, weights.Q5_1, weights.Q5_K:
		return withMinimums
	case weights.Q3_K, weights.Q6_K:
		return centredHalves
	case weights.Q2_K:
		return halvesWithMinimums
	}
	panic(unknownType(t))
}

func avx512Ints(t weights.Type, a unsafe.Pointer) {
	switch vnniPanelOf(t) {
	case centred:
		avx512_ints(a)
	case withMinimums:
		avx512_ints_min(a)
	case centredHalves:
		avx512_ints_halves(a)
	case halvesWithMinimums:
		avx512_ints_halves_min(a)
	}
}

func avxvnniInts(t weights.Type, a unsafe.Pointer) {
	switch vnniPanelOf(t) {
	case centred:
		avxvnni_ints(a)
	case withMinimums:
		avxvnni_ints_min(a)
	case centredHalves:
		avxvnni_ints_halves(a)
	case halvesWithMinimums:
		avxvnni_ints_halves_min(a)
	}
}

func avx2Panel(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.Q4_0:
		avx2_panel_q4_0(a)
	case weights.Q4_1:
		avx2_panel_q4_1(a)
	case weights.Q5_0:
		avx2_panel_q5_0(a)
	case weights.Q5_1:
		avx2_panel_q5_1(a)
	case weights.Q8_0:
		avx2_panel_q8_0(a)
	case weights.Q2_K:
		avx2_panel_q2_k(a)
	case weights.Q3_K:
		avx2_panel_q3_k(a)
	case weights.Q4_K:
		avx2_panel_q4_k(a)
	case weights.Q5_K:
		avx2_panel_q5_k(a)
	case weights.Q6_K:
		avx2_panel_q6_k(a)
	case weights.IQ4_NL:
		avx2_panel_iq4_nl(a)
	case weights.IQ4_XS:
		avx2_panel_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func avx512Panel(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.Q4_0:
		avx512_panel_q4_0(a)
	case weights.Q4_1:
		avx512_panel_q4_1(a)
	case weights.Q5_0:
		avx512_panel_q5_0(a)
	case weights.Q5_1:
		avx512_panel_q5_1(a)
	case weights.Q8_0:
		avx512_panel_q8_0(a)
	case weights.Q2_K:
		avx512_panel_q2_k(a)
	case weights.Q3_K:
		avx512_panel_q3_k(a)
	case weights.Q4_K:
		avx512_panel_q4_k(a)
	case weights.Q5_K:
		avx512_panel_q5_k(a)
	case weights.Q6_K:
		avx512_panel_q6_k(a)
	case weights.IQ4_NL:
		avx512_panel_iq4_nl(a)
	case weights.IQ4_XS:
		avx512_panel_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}

func avxvnniPanel(t weights.Type, a unsafe.Pointer) {
	switch t {
	case weights.Q4_0:
		avxvnni_panel_q4_0(a)
	case weights.Q4_1:
		avxvnni_panel_q4_1(a)
	case weights.Q5_0:
		avxvnni_panel_q5_0(a)
	case weights.Q5_1:
		avxvnni_panel_q5_1(a)
	case weights.Q8_0:
		avxvnni_panel_q8_0(a)
	case weights.Q2_K:
		avxvnni_panel_q2_k(a)
	case weights.Q3_K:
		avxvnni_panel_q3_k(a)
	case weights.Q4_K:
		avxvnni_panel_q4_k(a)
	case weights.Q5_K:
		avxvnni_panel_q5_k(a)
	case weights.Q6_K:
		avxvnni_panel_q6_k(a)
	case weights.IQ4_NL:
		avxvnni_panel_iq4_nl(a)
	case weights.IQ4_XS:
		avxvnni_panel_iq4_xs(a)
	default:
		panic(unknownType(t))
	}
}
