// Kernels for AVX-512 (F, BW, VL, DQ, VNNI; bf16 where named so).
#include "kern.h"
#include <immintrin.h>

INLINE __mmask16 tail(int64_t left) { return (__mmask16)((1u << left) - 1); }

// fold adds 16 lanes in halves: 8 apart, then 4, 2, 1, as the portable level does.
INLINE float fold(__m512 v)
{
	__m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_add_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}

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
				out[r * ldo + c] = fold(s[r][c]);                                    \
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
