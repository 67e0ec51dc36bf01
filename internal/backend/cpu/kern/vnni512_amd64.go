//go:build vnni512

package kern

import "golang.org/x/sys/cpu"

// hasVNNI256 tells whether the processor runs level AVXVNNI as `kerngen -vnni512` makes it, for
// tests on processors that have no AVX-VNNI: with the same instructions in AVX-512's encoding.
func hasVNNI256() bool { return cpu.X86.HasAVX512VNNI && cpu.X86.HasAVX512VL }
