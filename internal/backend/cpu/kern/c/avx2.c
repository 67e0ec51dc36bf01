// Kernels for AVX2 with FMA and F16C.
#include "kern.h"
#include <immintrin.h>

// fold adds 16 lanes, the low and high 8 of which are a and b, in halves.
INLINE float fold(__m256 a, __m256 b)
{
	__m256 s = _mm256_add_ps(a, b);
	__m128 h = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
	h = _mm_add_ps(h, _mm_movehl_ps(h, h));
	return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}

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
				out[r * ldo + c] = fold(lo[r][c], hi[r][c]);                                 \
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
