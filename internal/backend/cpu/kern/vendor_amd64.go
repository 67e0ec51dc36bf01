package kern

// vendorID is the first four letters of the processor's maker, the first in the lowest bits.
func vendorID() uint32

// slowBF16 tells whether AVX-512's products of bf16 are slower than those of float32. Intel's
// processors begin one in two cycles, but two of float32 a cycle, which is twice as many
// multiply-adds; a Zen 4 of AMD's begins one of either a cycle.
func slowBF16() bool { return vendorID() == 'G'|'e'<<8|'n'<<16|'u'<<24 }
