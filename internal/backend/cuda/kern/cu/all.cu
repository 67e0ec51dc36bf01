// All kernels of a target. SM is the target's number; HOPPER_ONLY adds those
// that need sm_90a.
#include "dev.h"
#include "ops.h"
#include "draw.h"
#include "attend.h"
#include "decode.h"
#include "one.h"
#include "quant.h"
#include "gemm.h"
#include "blocks.h"
#include "gemv.h"
#if SM >= 90
#include "wide.h"
#include "attend90.h"
#include "ring.h"
#endif
