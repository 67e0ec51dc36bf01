//go:build !vnni512

package kern

import "golang.org/x/sys/cpu"

// hasVNNI256 tells whether the processor runs level AVXVNNI.
func hasVNNI256() bool { return cpu.X86.HasAVXVNNI }
