#include "textflag.h"

// func vendorID() uint32
TEXT ·vendorID(SB), NOSPLIT, $0-4
	XORL AX, AX
	XORL CX, CX
	CPUID
	MOVL BX, ret+0(FP)
	RET
