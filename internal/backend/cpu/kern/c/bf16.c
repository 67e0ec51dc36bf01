// Kernels for AVX-512 with BF16 (VDPBF16PS): matrix products of many rows. The
// other kernels of this level are those of AVX-512.
#include "kern.h"
#include "vec.h"

INLINE f32x16 halves(u16x16 h) { return (f32x16)_mm512_cvtph_ps((__m256i)h); }

// narrow rounds to the nearest, ties to even; denormals become zeros.
INLINE u16x16 narrow(f32x16 v) { return (u16x16)_mm512_cvtneps_pbh((__m512)v); }

#define NARROW2(hi, lo) ((u32x16)_mm512_cvtne2ps_pbh((__m512)(hi), (__m512)(lo)))

#define STEP_COLS 2
INLINE u32x16 pack16(const uint8_t *x)
{
	return (u32x16)_mm512_cvtne2ps_pbh((__m512)LOAD(f32x16, x + 64), (__m512)LOAD(f32x16, x));
}
#define GEMM_TILES 2
#define GEMM_N 8
#define GEMM_STEP(acc, x, w) ((f32x16)_mm512_dpbf16_ps((__m512)(acc), (__m512bh)(x), (__m512bh)_mm512_set1_epi32((int)(w))))
#include "dequant.h"
#include "gemm.h"

KERNEL k_gemm(const struct gemm *p) { gemm(p); }
KERNEL k_pack(const struct convert *p) { pack(p); }

#define QUANT(T, NAME) KERNEL k_expand_##NAME(const struct convert *p) { expand(T, TO_BF16, p); }
#define REAL(T, NAME) KERNEL k_expand_##NAME(const struct convert *p) { expand_real(T, TO_BF16, p); }
#include "types.h"
