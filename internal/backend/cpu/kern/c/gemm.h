// Many rows of x against rows of w that have been made plain numbers.
//
// x is packed once for all weights: in tiles of 16 rows, a step of all of them
// side by side, so that a vector has 16 rows. A weight is broadcast; a result is
// one lane of one register from its first step to its last, so that its sum has
// the order of the columns, whatever stands beside it. A block of GEMM_TILES tiles
// times GEMM_N weight rows stays in registers while the columns go by; both
// operands of a call should fit the second-level cache.
#ifndef GEMM_H
#define GEMM_H
#include "kern.h"
#include "vec.h"

INLINE void gemm_block(const struct gemm *p, int64_t r, int64_t i, int tiles, int n)
{
	f32x16 acc[GEMM_N][GEMM_TILES];
	UNROLL for (int j = 0; j < n; j++)
		UNROLL for (int t = 0; t < tiles; t++)
			acc[j][t] = (f32x16){};
	const uint32_t *x = p->x + r * p->steps, *w = p->w + i * p->ldw;
	for (int64_t k = 0; k < p->steps; k++, x += 16) {
		u32x16 a[GEMM_TILES];
		UNROLL for (int t = 0; t < tiles; t++)
			a[t] = LOAD(u32x16, x + 16 * t * p->steps);
		UNROLL for (int j = 0; j < n; j++) {
			const uint32_t b = w[j * p->ldw + k];
			UNROLL for (int t = 0; t < tiles; t++)
				acc[j][t] = GEMM_STEP(acc[j][t], a[t], b);
		}
	}
	UNROLL for (int t = 0; t < tiles; t++) {
		u32x16 v[16] = {};
		UNROLL for (int j = 0; j < n; j++)
			v[j] = (u32x16)acc[j][t];
		transpose(v);
		float *out = p->out + (r + 16 * t) * p->ldo + i;
		UNROLL for (int q = 0; q < 16; q++) {
			if (r + 16 * t + q >= p->rows)
				break;
			if (n == GEMM_N)
				__builtin_memcpy_inline(out + q * p->ldo, &v[q], 4 * GEMM_N);
			else
				out[q * p->ldo] = ((f32x16)v[q])[0];
		}
	}
}

#define GEMM_ROW(TILES)                                       \
	do {                                                  \
		int64_t i = 0;                                \
		for (; i + GEMM_N <= p->n; i += GEMM_N)       \
			gemm_block(p, r, i, TILES, GEMM_N);   \
		for (; i < p->n; i++)                         \
			gemm_block(p, r, i, TILES, 1);        \
	} while (0)

INLINE void gemm(const struct gemm *p)
{
	int64_t r = 0;
	for (; r + 16 * (GEMM_TILES - 1) < p->rows; r += 16 * GEMM_TILES)
		GEMM_ROW(GEMM_TILES);
	for (; r < p->rows; r += 16)
		GEMM_ROW(1);
}

// pack turns rows of floats into tiles; cols need not fill a step, rows a tile.
INLINE void pack(const struct convert *p)
{
	const int64_t steps = (p->cols + ROUND_COLS - 1) / ROUND_COLS * (ROUND_COLS / STEP_COLS);
	for (int64_t r = 0; r < p->rows; r += 16) {
		uint8_t *y = p->y + r * steps * 4;
		for (int64_t k = 0; k < steps; k += 16) {
			const int64_t left = p->cols - k * STEP_COLS;
			u32x16 v[16];
			for (int q = 0; q < 16; q++) {
				const uint8_t *x = p->x + (r + q) * p->ldx + 4 * k * STEP_COLS;
				float tail[16 * STEP_COLS];
				if (r + q >= p->rows) {
					v[q] = (u32x16){};
					BARRIER;
					continue;
				}
				if (left < 16 * STEP_COLS) {
					for (int64_t c = 0; c < 16 * STEP_COLS; c++) {
						tail[c] = c < left ? ((const float *)(const void *)x)[c] : 0;
						BARRIER;
					}
					x = (const uint8_t *)tail;
				}
				v[q] = pack16(x);
			}
			transpose(v);
			const int64_t have = steps - k < 16 ? steps - k : 16;
			for (int q = 0; q < have; q++)
				STORE(u32x16, y + 64 * (k + q), v[q]);
		}
	}
}

#endif
