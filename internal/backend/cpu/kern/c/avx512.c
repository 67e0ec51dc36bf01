// Kernels for AVX-512 (F, BW, VL, DQ, VNNI).
#include "kern.h"
#include "vec.h"

INLINE i32x16 udot(i32x16 s, u8x64 w, i8x64 x)
{
	return (i32x16)_mm512_dpbusd_epi32((__m512i)s, (__m512i)w, (__m512i)x);
}

#include "vnni.h"

INLINE f32x16 halves(u16x16 h) { return (f32x16)_mm512_cvtph_ps((__m256i)h); }

// within takes bytes of the same quarter.
INLINE u8x64 within(u8x64 v, u8x64 index) { return (u8x64)_mm512_shuffle_epi8((__m512i)v, (__m512i)index); }
INLINE u8x64 lookup(u8x16 table, u8x64 index) { return within(cat(table, table, table, table), index); }

INLINE i32x16 nearest(f32x16 v) { return (i32x16)_mm512_cvtps_epi32((__m512)v); }

#define OPAQUE(v) __asm__ volatile("" : "+v"(v))

#define REAL_ROWS 4
#define LINE_VECTORS // see floats.h
#define DECODE_FEW 4
#define REAL_TILE 4
#define REAL_TILE_ROWS 6
#define ENDS_IN_PLACE // see unpack_some
#define KEYS_TOGETHER 8
#define MANY_VECTORS 4
#define MIX_TOGETHER 8
#define PEAK_SUMS 12

INLINE u16x16 to_halves(f32x16 v) { return (u16x16)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT); }

// Plain numbers stay float32 at this level.
INLINE u16x16 narrow(f32x16 v) { return __builtin_convertvector((u32x16)v >> 16, u16x16); }
#define STEP_COLS 1
INLINE u32x16 pack16(const uint8_t *x) { return LOAD(u32x16, x); }
#define GEMM_TILES 2
#define GEMM_N 8
#define GEMM_STEP(acc, x, w) fma16((f32x16)(x), splat(__builtin_bit_cast(float, w)), acc)

#include "dequant.h"
#include "floats.h"
#include "gemm.h"
#include "probe.h"
#include "quant.h"
#include "rest.h"
#include "attendmany.h"
#include "logits.h"
#define COMPACT_ROWS 3
#define COMPACT_WEIGHTS 2
#include "compact.h"

#define QUANT(T, NAME)                                                    \
	KERNEL k_decode_##NAME(const struct decode *p) { decode(p, T); } \
	KERNEL k_expand_##NAME(const struct convert *p) { expand(T, TO_F32, p); }
#define REAL(T, NAME)                                                          \
	KERNEL k_decode_##NAME(const struct decode *p) { decode_real(p, T); } \
	KERNEL k_expand_##NAME(const struct convert *p) { expand_real(T, TO_F32, p); }
#include "types.h"
#include "intsvnni.h"
#include "rows512.h"

KERNEL k_gemm(const struct gemm *p) { gemm(p); }
KERNEL k_pack(const struct convert *p) { pack(p); }

INLINE __mmask16 tail(int64_t left) { return (__mmask16)((1u << left) - 1); }

// A block of R rows of x times C rows of w: R*C sums stay in registers while
// the columns go by.
#define BLOCK(R, C)                                                                                  \
	INLINE void dots_##R##x##C(const float *x, int64_t ldx, const float *w, int64_t cols,        \
				   float *out, int64_t ldo)                                          \
	{                                                                                            \
		__m512 s[R][C];                                                                      \
		for (int r = 0; r < R; r++)                                                          \
			for (int c = 0; c < C; c++)                                                  \
				s[r][c] = _mm512_setzero_ps();                                       \
		int64_t k = 0;                                                                       \
		for (; k + 16 <= cols; k += 16) {                                                    \
			__m512 b[C];                                                                 \
			for (int c = 0; c < C; c++)                                                  \
				b[c] = _mm512_loadu_ps(w + c * cols + k);                            \
			for (int r = 0; r < R; r++) {                                                \
				__m512 a = _mm512_loadu_ps(x + r * ldx + k);                         \
				for (int c = 0; c < C; c++)                                          \
					s[r][c] = _mm512_add_ps(s[r][c], _mm512_mul_ps(a, b[c]));    \
			}                                                                            \
		}                                                                                    \
		if (k < cols) {                                                                      \
			__mmask16 m = tail(cols - k);                                                \
			for (int r = 0; r < R; r++) {                                                \
				__m512 a = _mm512_maskz_loadu_ps(m, x + r * ldx + k);                \
				for (int c = 0; c < C; c++) {                                        \
					__m512 b = _mm512_maskz_loadu_ps(m, w + c * cols + k);       \
					s[r][c] = _mm512_mask_add_ps(s[r][c], m, s[r][c],            \
								     _mm512_mul_ps(a, b));           \
				}                                                                    \
			}                                                                            \
		}                                                                                    \
		for (int r = 0; r < R; r++)                                                          \
			for (int c = 0; c < C; c++)                                                  \
				out[r * ldo + c] = fold((f32x16)s[r][c]);                                    \
	}

BLOCK(4, 4)
BLOCK(4, 1)
BLOCK(1, 4)
BLOCK(1, 1)

KERNEL k_dots(const struct dots *p)
{
	int64_t r = 0;
	for (; r + 4 <= p->rows; r += 4) {
		const float *x = p->x + r * p->ldx;
		float *out = p->out + r * p->ldo;
		int64_t i = 0;
		for (; i + 4 <= p->n; i += 4)
			dots_4x4(x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
		for (; i < p->n; i++)
			dots_4x1(x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
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
	__m512 f = _mm512_set1_ps(p->f);
	int64_t i = 0;
	for (; i + 16 <= p->n; i += 16)
		_mm512_storeu_ps(p->y + i, _mm512_add_ps(_mm512_loadu_ps(p->y + i),
							 _mm512_mul_ps(f, _mm512_loadu_ps(p->x + i))));
	if (i < p->n) {
		__mmask16 m = tail(p->n - i);
		__m512 y = _mm512_maskz_loadu_ps(m, p->y + i), x = _mm512_maskz_loadu_ps(m, p->x + i);
		_mm512_mask_storeu_ps(p->y + i, m, _mm512_add_ps(y, _mm512_mul_ps(f, x)));
	}
}
