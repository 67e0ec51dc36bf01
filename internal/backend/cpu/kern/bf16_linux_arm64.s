#include "textflag.h"

// func isar1() uint64
TEXT ·isar1(SB), NOSPLIT, $0-8
	WORD $0xd5380620 // MRS ID_AA64ISAR1_EL1, R0
	MOVD R0, ret+0(FP)
	RET
