package kern

// vendorID is the first four letters of the processor's maker, the first in the lowest bits.
func vendorID() uint32

// slowBF16 tells whether AVX-512's products of bf16 are slower than those of float32. Intel's
// processors begin one in two cycles, but two of float32 a cycle, which is twice as many
// multiply-adds; a Zen 4 of AMD's begins one of either a cycle.
func slowBF16() bool { return vendorID() == 'G'|'e'<<8|'n'<<16|'u'<<24 }

// decodeAhead is how Decode asks for weights. What asks for the first-level cache holds AMD's
// processors up: a Zen 4 read BF16 at 30 GB/s so, and at 45 by the second-level cache alone. An
// Intel Xeon with AMX is fastest with both: docs/benchmarks.md has what was tried.
var decodeAhead = aheadOf(vendorID())

func aheadOf(vendor uint32) ahead {
	switch vendor {
	case 'A' | 'u'<<8 | 't'<<16 | 'h'<<24:
		return ahead{far: 6144}
	case 'G' | 'e'<<8 | 'n'<<16 | 'u'<<24:
		return ahead{near: 3072, far: 12288}
	}
	return usualAhead
}
