package kern

import "golang.org/x/sys/cpu"

// isar1 reads ID_AA64ISAR1_EL1, which Linux lets programs read where it says so
// (HWCAP_CPUID).
func isar1() uint64

// hasBF16 tells whether the processor has BFMMLA.
func hasBF16() bool { return cpu.ARM64.HasCPUID && isar1()>>44&15 != 0 }
