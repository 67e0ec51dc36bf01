// Float weights against float activations. Column c goes to sum c%32 by a fused
// multiply-add; the sums are added 16 apart and folded in halves.
#ifndef FLOATS_H
#define FLOATS_H
#include "formats.h"
#include "kern.h"

INLINE void *aligned(uint8_t *scratch) { return (void *)(((uintptr_t)scratch + 63) / 64 * 64); }

// pair16 reads 32 weights. Two loads of one line of memory hold a Zen 4 up, so it is read by one
// where a vector has a line.
INLINE void pair16(enum real t, const uint8_t *w, f32x16 *a, f32x16 *b)
{
#ifdef LINE_VECTORS
	if (t == F16 || t == BF16) {
		__m512i v = _mm512_loadu_si512(w);
		OPAQUE(v);
		const u16x16 lo = (u16x16)_mm512_castsi512_si256(v), hi = (u16x16)_mm512_extracti64x4_epi64(v, 1);
		*a = t == F16 ? halves(lo) : bfloats(lo);
		*b = t == F16 ? halves(hi) : bfloats(hi);
		return;
	}
#endif
	*a = half32(t, w, 0);
	*b = half32(t, w, 1);
}

// Where several rows of x meet weights, REAL_WEIGHTS rows of these meet a piece of REAL_PIECE columns at once, and
// sums wait in memory from piece to piece.
#define REAL_PIECE 1024
#define REAL_WEIGHTS 4
typedef float realsums[REAL_WEIGHTS][2][16]; // of a row of x

INLINE void begin_sums(int64_t rows, realsums *acc)
{
	for (int64_t r = 0; r < rows; r++)
		for (int64_t j = 0; j < REAL_WEIGHTS * 2; j++) {
			STORE(f32x16, acc[r][0][j], (f32x16){});
			BARRIER;
		}
}

// end_sums makes outputs of the sums with n weights from i on.
INLINE void end_sums(const struct decode *p, int64_t i, int64_t n, realsums *acc)
{
	for (int64_t r = 0; r < p->rows; r++)
		for (int64_t j = 0; j < n; j++)
			p->out[r * p->ldo + i + j] = fold(LOAD(f32x16, acc[r][j][0]) + LOAD(f32x16, acc[r][j][1]));
}

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
		f32x16 a, b;
		pair16(t, w + c * size, &a, &b);
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
