// Float weights against float activations. Column c goes to sum c%32 by a fused
// multiply-add; the sums are added 16 apart and folded in halves.
#ifndef FLOATS_H
#define FLOATS_H
#include "formats.h"
#include "kern.h"

INLINE void reals(enum real t, int rows, const struct decode *p, int64_t r, const uint8_t *w, float *out)
{
	const int size = t == F32 ? 4 : 2;
	f32x16 acc[4][2];
	UNROLL for (int i = 0; i < rows; i++)
		acc[i][0] = acc[i][1] = (f32x16){};
	const uint8_t *x = p->x + r * p->ldx;
	int64_t c = 0;
	for (; c + 32 <= p->cols; c += 32) {
		prefetch(p, w + c * size, 32 * size);
		f32x16 a = real16(t, w + c * size), b = real16(t, w + (c + 16) * size);
		UNROLL for (int i = 0; i < rows; i++) {
			acc[i][0] = fma16(a, LOAD(f32x16, x + i * p->ldx + 4 * c), acc[i][0]);
			acc[i][1] = fma16(b, LOAD(f32x16, x + i * p->ldx + 4 * c + 64), acc[i][1]);
		}
	}
	if (c < p->cols) {
		uint8_t wt[128] = {0};
		float xt[32];
		for (int64_t j = 0; j < (p->cols - c) * size; j++) {
			wt[j] = w[c * size + j];
			BARRIER;
		}
		UNROLL for (int i = 0; i < rows; i++) {
			for (int64_t j = 0; j < 32; j++) {
				xt[j] = c + j < p->cols ? ((const float *)(x + i * p->ldx))[c + j] : 0;
				BARRIER;
			}
			acc[i][0] = fma16(real16(t, wt), LOAD(f32x16, xt), acc[i][0]);
			acc[i][1] = fma16(real16(t, wt + 16 * size), LOAD(f32x16, xt + 16), acc[i][1]);
		}
	}
	UNROLL for (int i = 0; i < rows; i++)
		out[(r + i) * p->ldo] = fold(acc[i][0] + acc[i][1]);
}

INLINE void decode_real(const struct decode *p, enum real t)
{
	for (int64_t i = 0; i < p->n; i++) {
		const uint8_t *w = p->w + i * p->ldw;
		int64_t r = 0;
		for (; r + REAL_ROWS <= p->rows; r += REAL_ROWS)
			reals(t, REAL_ROWS, p, r, w, p->out + i);
		for (; r < p->rows; r++)
			reals(t, 1, p, r, w, p->out + i);
	}
}

#endif
