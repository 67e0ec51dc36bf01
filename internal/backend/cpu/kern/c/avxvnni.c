// Kernels for AVX2 with AVX-VNNI: products of quantised weights. The other kernels of this level
// are those of AVX2.
#include "kern.h"
#include "vec256.h"

#define INTEGERS_ONLY
#define PAIRED_ROWS
#define DECODE_FEW 2 // from 3 rows on there is rows.h
#define ENDS_IN_PLACE // see unpack_some

#include "quant.h"

#define QUANT(T, NAME) KERNEL k_decode_##NAME(const struct decode *p) { decode(p, T); }
#define REAL(T, NAME)
#include "types.h"
#include "intsvnni.h"
#include "rows.h"
