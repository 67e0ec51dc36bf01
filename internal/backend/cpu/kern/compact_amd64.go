package kern

import "unsafe"

// Compact makes compact rows.
func (l Level) Compact(a *Compact) {
	if l >= AVX512 {
		avx512_compact(unsafe.Pointer(a))
	} else {
		avx2_compact(unsafe.Pointer(a))
	}
}

// Restore makes BF16 of compact rows.
func (l Level) Restore(a *Compact) {
	a.far = decodeAhead.far
	if l >= AVX512 {
		avx512_restore(unsafe.Pointer(a))
	} else {
		avx2_restore(unsafe.Pointer(a))
	}
}

// DecodeCompact multiplies few rows of x with compact rows, with the bits of Decode. More than one want
// CompactFloats or TurnedFloats at Scratch, whichever are more.
func (l Level) DecodeCompact(a *Decode) {
	a.ahead = decodeAhead
	switch {
	case l >= AVX512 && a.Rows > 3: // more than a tile of compact.h
		avx512_rows_compact(unsafe.Pointer(a))
	case l >= AVX512:
		avx512_decode_compact(unsafe.Pointer(a))
	case a.Rows > 2:
		avx2_rows_compact(unsafe.Pointer(a))
	default:
		avx2_decode_compact(unsafe.Pointer(a))
	}
}
