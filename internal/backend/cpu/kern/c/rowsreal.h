// Some rows of float activations against float weights, with the sums of floats.h.
//
// A single row streams its weights; of more, each would pass over all of x, which no
// first-level cache holds, for each row of weights. So REAL_WEIGHTS rows of weights meet a
// piece of the columns at once, made float32 once for all rows of x, and sums wait in memory
// from piece to piece: 8 KB of them, 8 KB of weights and a row of x at a time. Each sum
// takes its columns in the order that it has alone, and so has the bits that it has alone.
#ifndef ROWSREAL_H
#define ROWSREAL_H
#include "floats.h"

#define REAL_PIECE 512
#define REAL_WEIGHTS 4

// struct rows: a decode, and scratch memory, wherever it begins.
struct rows {
	struct decode all;
	uint8_t *scratch;
};

INLINE void *aligned(uint8_t *scratch) { return (void *)(((uintptr_t)scratch + 63) / 64 * 64); }

struct realpass {
	float acc[DECODE_ROWS][REAL_WEIGHTS][2][16];
	float w[REAL_WEIGHTS][REAL_PIECE];
};

// real_tile adds cols columns, a multiple of 32, of rows of x and REAL_TILE of the weights.
INLINE void real_tile(int rows, int64_t cols, const float (*w)[REAL_PIECE], const uint8_t *x, int64_t ldx, float (*acc)[REAL_WEIGHTS][2][16])
{
	f32x16 s[REAL_TILE_ROWS][REAL_TILE][2];
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int i = 0; i < REAL_TILE; i++)
			UNROLL for (int h = 0; h < 2; h++)
				s[r][i][h] = LOAD(f32x16, acc[r][i][h]);
	for (int64_t c = 0; c < cols; c += 32)
		UNROLL for (int h = 0; h < 2; h++) {
			f32x16 v[REAL_TILE];
			UNROLL for (int i = 0; i < REAL_TILE; i++)
				v[i] = LOAD(f32x16, w[i] + c + 16 * h);
			UNROLL for (int r = 0; r < rows; r++) {
				const f32x16 u = LOAD(f32x16, x + r * ldx + 4 * (c + 16 * h));
				UNROLL for (int i = 0; i < REAL_TILE; i++)
					s[r][i][h] = fma16(v[i], u, s[r][i][h]);
			}
		}
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int i = 0; i < REAL_TILE; i++)
			UNROLL for (int h = 0; h < 2; h++)
				STORE(f32x16, acc[r][i][h], s[r][i][h]);
}

// real_tiles adds them for all rows of x and all of the weights.
INLINE void real_tiles(const struct decode *p, struct realpass *s, int64_t c, int64_t cols)
{
	for (int64_t r = 0, rows; r < p->rows; r += rows) {
		const int64_t left = p->rows - r;
		rows = left == 1 ? 1 : left == 2 || left == 4 ? 2 : REAL_TILE_ROWS;
		const uint8_t *x = p->x + r * p->ldx + 4 * c;
		for (int i = 0; i < REAL_WEIGHTS; i += REAL_TILE) {
			float(*acc)[REAL_WEIGHTS][2][16] = (float(*)[REAL_WEIGHTS][2][16])(void *)s->acc[r][i];
			if (rows == 1)
				real_tile(1, cols, s->w + i, x, p->ldx, acc);
			else if (rows == 2)
				real_tile(2, cols, s->w + i, x, p->ldx, acc);
			else
				real_tile(REAL_TILE_ROWS, cols, s->w + i, x, p->ldx, acc);
		}
	}
}

// lay_real makes some columns of a row of weights float32, and asks for those that come
// next: of this row, or of the one that follows with the next REAL_WEIGHTS.
INLINE void lay_real(const struct decode *p, enum real t, float *to, const uint8_t *w, int64_t cols, int64_t next)
{
	const int size = t == F32 ? 4 : 2;
	for (int64_t c = 0; c < cols; c += 32) {
		prefetch_by(p->near ? next : 0, next, w + c * size, 32 * size);
		STORE(f32x16, to + c, real16(t, w + c * size));
		STORE(f32x16, to + c + 16, real16(t, w + (c + 16) * size));
	}
}

INLINE void rows_real(const struct decode *p, enum real t, struct realpass *s)
{
	const int size = t == F32 ? 4 : 2;
	if (p->cols % 32) { // no model has such
		decode_real(p, t);
		return;
	}
	for (int64_t i = 0; i < p->n; i += REAL_WEIGHTS) {
		const int64_t n = p->n - i < REAL_WEIGHTS ? p->n - i : REAL_WEIGHTS;
		for (int64_t r = 0; r < p->rows; r++)
			for (int64_t j = 0; j < REAL_WEIGHTS * 2; j++) {
				STORE(f32x16, s->acc[r][0][j], (f32x16){});
				BARRIER;
			}
		for (int64_t c = 0; c < p->cols; c += REAL_PIECE) {
			const int64_t cols = p->cols - c < REAL_PIECE ? p->cols - c : REAL_PIECE;
			const int64_t next = 2 * REAL_PIECE * size + (p->cols - c > 2 * REAL_PIECE ? 0 : (REAL_WEIGHTS - 1) * p->ldw);
			for (int64_t j = 0; j < REAL_WEIGHTS; j++) // of fewer weights the last is repeated
				lay_real(p, t, s->w[j], p->w + (i + (j < n ? j : n - 1)) * p->ldw + c * size, cols, next);
			real_tiles(p, s, c, cols);
		}
		for (int64_t r = 0; r < p->rows; r++)
			for (int64_t j = 0; j < n; j++)
				p->out[r * p->ldo + i + j] = fold(LOAD(f32x16, s->acc[r][j][0]) + LOAD(f32x16, s->acc[r][j][1]));
	}
}

#endif
