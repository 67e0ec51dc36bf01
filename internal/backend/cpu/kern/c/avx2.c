// Kernels for AVX2 with FMA and F16C.
#include "kern.h"
#include "vec256.h"

#define OPAQUE(v)                                                   \
	do {                                                        \
		__m256 lo_ = LOW(__m256, v), hi_ = HIGH(__m256, v); \
		__asm__ volatile("" : "+x"(lo_), "+x"(hi_));        \
		v = JOIN(f32x16, lo_, hi_);                         \
	} while (0)

#define REAL_ROWS 2
#define REAL_TILE 2
#define REAL_TILE_ROWS 3
#define PAIRED_ROWS
#define DECODE_FEW 2 // from 3 rows on there is rows.h
#define ENDS_IN_PLACE // see unpack_some
#define KEYS_TOGETHER 4
#define MANY_VECTORS 1
#define MIX_TOGETHER 4
#define PEAK_SUMS 6

INLINE u16x16 to_halves(f32x16 v)
{
	return __builtin_bit_cast(u16x16, _mm256_set_m128i(_mm256_cvtps_ph(HIGH(__m256, v), _MM_FROUND_TO_NEAREST_INT), _mm256_cvtps_ph(LOW(__m256, v), _MM_FROUND_TO_NEAREST_INT)));
}

// Plain numbers stay float32 at this level.
INLINE u16x16 narrow(f32x16 v) { return __builtin_convertvector((u32x16)v >> 16, u16x16); }
#define STEP_COLS 1
INLINE u32x16 pack16(const uint8_t *x) { return LOAD(u32x16, x); }
#define GEMM_TILES 1
#define GEMM_N 4
#define GEMM_STEP(acc, x, w) fma16((f32x16)(x), splat(__builtin_bit_cast(float, w)), acc)

#include "dequant.h"
#include "floats.h"
#include "gemm.h"
#include "probe.h"
#include "quant.h"
#include "rest.h"
#include "attendmany.h"
#include "logits.h"
#define COMPACT_ROWS 2
#define COMPACT_WEIGHTS 1
#include "compact.h"

#define QUANT(T, NAME)                                                    \
	KERNEL k_decode_##NAME(const struct decode *p) { decode(p, T); } \
	KERNEL k_expand_##NAME(const struct convert *p) { expand(T, TO_F32, p); }
#define REAL(T, NAME)                                                          \
	KERNEL k_decode_##NAME(const struct decode *p) { decode_real(p, T); } \
	KERNEL k_expand_##NAME(const struct convert *p) { expand_real(T, TO_F32, p); }
#include "types.h"
#include "ints.h"
#include "rows.h"

KERNEL k_gemm(const struct gemm *p) { gemm(p); }
KERNEL k_pack(const struct convert *p) { pack(p); }

// lanes makes a mask of the first n of 8 lanes.
INLINE __m256i lanes(int64_t n)
{
	const __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n < 0 ? 0 : n > 8 ? 8 : n)), at);
}

#define BLOCK(R, C)                                                                                          \
	INLINE void dots_##R##x##C(const float *x, int64_t ldx, const float *w, int64_t cols, float *out,    \
				   int64_t ldo)                                                              \
	{                                                                                                    \
		__m256 lo[R][C], hi[R][C];                                                                   \
		for (int r = 0; r < R; r++)                                                                  \
			for (int c = 0; c < C; c++)                                                          \
				lo[r][c] = hi[r][c] = _mm256_setzero_ps();                                   \
		int64_t k = 0;                                                                               \
		for (; k + 16 <= cols; k += 16)                                                              \
			for (int r = 0; r < R; r++) {                                                        \
				__m256 a = _mm256_loadu_ps(x + r * ldx + k);                                 \
				__m256 b = _mm256_loadu_ps(x + r * ldx + k + 8);                             \
				for (int c = 0; c < C; c++) {                                                \
					const float *v = w + c * cols + k;                                   \
					lo[r][c] = _mm256_add_ps(lo[r][c], _mm256_mul_ps(a, _mm256_loadu_ps(v)));     \
					hi[r][c] = _mm256_add_ps(hi[r][c], _mm256_mul_ps(b, _mm256_loadu_ps(v + 8))); \
				}                                                                            \
			}                                                                                    \
		if (k < cols) {                                                                              \
			__m256i m0 = lanes(cols - k), m1 = lanes(cols - k - 8);                              \
			for (int r = 0; r < R; r++) {                                                        \
				__m256 a = _mm256_maskload_ps(x + r * ldx + k, m0);                          \
				__m256 b = _mm256_maskload_ps(x + r * ldx + k + 8, m1);                      \
				for (int c = 0; c < C; c++) {                                                \
					const float *v = w + c * cols + k;                                   \
					__m256 p = _mm256_add_ps(lo[r][c], _mm256_mul_ps(a, _mm256_maskload_ps(v, m0)));     \
					__m256 q = _mm256_add_ps(hi[r][c], _mm256_mul_ps(b, _mm256_maskload_ps(v + 8, m1))); \
					lo[r][c] = _mm256_blendv_ps(lo[r][c], p, _mm256_castsi256_ps(m0));   \
					hi[r][c] = _mm256_blendv_ps(hi[r][c], q, _mm256_castsi256_ps(m1));   \
				}                                                                            \
			}                                                                                    \
		}                                                                                            \
		for (int r = 0; r < R; r++)                                                                  \
			for (int c = 0; c < C; c++)                                                          \
				out[r * ldo + c] = fold(JOIN(f32x16, lo[r][c], hi[r][c]));                                 \
	}

BLOCK(2, 2)
BLOCK(2, 1)
BLOCK(1, 4)
BLOCK(1, 1)

KERNEL k_dots(const struct dots *p)
{
	int64_t r = 0;
	for (; r + 2 <= p->rows; r += 2) {
		const float *x = p->x + r * p->ldx;
		float *out = p->out + r * p->ldo;
		int64_t i = 0;
		for (; i + 2 <= p->n; i += 2)
			dots_2x2(x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
		for (; i < p->n; i++)
			dots_2x1(x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
	}
	for (; r < p->rows; r++) {
		const float *x = p->x + r * p->ldx;
		float *out = p->out + r * p->ldo;
		int64_t i = 0;
		for (; i + 4 <= p->n; i += 4)
			dots_1x4(x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
		for (; i < p->n; i++)
			dots_1x1(x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
	}
}

KERNEL k_axpy(const struct axpy *p)
{
	__m256 f = _mm256_set1_ps(p->f);
	int64_t i = 0;
	for (; i + 8 <= p->n; i += 8)
		_mm256_storeu_ps(p->y + i, _mm256_add_ps(_mm256_loadu_ps(p->y + i),
							 _mm256_mul_ps(f, _mm256_loadu_ps(p->x + i))));
	if (i < p->n) {
		__m256i m = lanes(p->n - i);
		__m256 y = _mm256_maskload_ps(p->y + i, m), x = _mm256_maskload_ps(p->x + i, m);
		_mm256_maskstore_ps(p->y + i, m, _mm256_add_ps(y, _mm256_mul_ps(f, x)));
	}
}
