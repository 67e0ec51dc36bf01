package kern

import "unsafe"

// Compact makes compact rows.
func (l Level) Compact(a *Compact) { neon_compact(unsafe.Pointer(a)) }

// Restore makes BF16 of compact rows.
func (l Level) Restore(a *Compact) {
	a.far = decodeAhead.far
	neon_restore(unsafe.Pointer(a))
}

// DecodeCompact multiplies few rows of x with compact rows, with the bits of Decode. More than one want
// CompactFloats at Scratch.
func (l Level) DecodeCompact(a *Decode) {
	a.ahead = decodeAhead
	neon_decode_compact(unsafe.Pointer(a))
}
