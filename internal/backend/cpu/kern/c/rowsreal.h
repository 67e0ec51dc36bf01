// Some rows of float activations against float weights, with the sums of floats.h.
//
// A single row streams its weights; of more, each would pass over all of x, which no
// first-level cache holds, for each row of weights. So REAL_WEIGHTS rows of weights meet a
// piece of the columns at once, 8 KB of them, and sums wait in memory from piece to piece, as
// much. A tile of rows of x takes the even sixteens of a piece's columns, then the odd ones:
// so it has twice the rows for its registers, and weights become float32 half as often.
// (Once for all rows and stored they cost a Zen 4 more, whose stores of vectors take ports from
// multiply-adds. An Intel Xeon's conversions do, so there the first tile keeps them.) Of up to
// four rows, which wait for memory, registers have room for both: then a line is read by one
// load, see pair16. Each sum takes its columns in the order that it has alone, and so has the
// bits that it has alone.
#ifndef ROWSREAL_H
#define ROWSREAL_H
#include "compact.h"
#include "floats.h"

struct realpass {
	realsums acc[DECODE_ROWS];
	float kept[REAL_WEIGHTS][REAL_PIECE];
};
_Static_assert(sizeof(struct realpass) == 16 * 4 * 2 * 64 + 4 * 4 * 1024, "turnedReal of turned.go is another size");

// keeps tells whether the processor is one that should keep converted weights.
INLINE int keeps(const struct decode *p) { return p->near != 0; }

// pieces is some columns of REAL_WEIGHTS rows of weights, where what comes next but one lies, the bytes
// of 32 columns there, and where weights are kept as float32 (or null).
struct pieces {
	const uint8_t *w[REAL_WEIGHTS], *next[REAL_WEIGHTS];
	int64_t cols, bytes;
	float (*keep)[REAL_PIECE];
};

// real_tile adds half h of each 32 of the columns, of rows of x and REAL_TILE weights, from i
// on. Meanwhile memory is asked for what is next of two weights.
INLINE void real_tile(enum real t, int keep, int rows, int h, int i, const struct pieces *p, const uint8_t *const ask[2], const uint8_t *x, int64_t ldx, realsums *acc)
{
	f32x16 s[REAL_TILE_ROWS][REAL_TILE];
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int j = 0; j < REAL_TILE; j++)
			s[r][j] = LOAD(f32x16, acc[r][i + j][h]);
	for (int64_t c = 0; c < p->cols; c += 32) {
		f32x16 v[REAL_TILE];
		UNROLL for (int j = 0; j < 2; j++)
			__builtin_prefetch(ask[j] + c / 32 * p->bytes, 0, 2);
		UNROLL for (int j = 0; j < REAL_TILE; j++)
			v[j] = half32(t, p->w[i + j] + c * size_of(t), h);
		UNROLL for (int j = 0; keep && j < REAL_TILE; j++)
			STORE(f32x16, p->keep[i + j] + c + 16 * h, v[j]);
		UNROLL for (int r = 0; r < rows; r++) {
			const f32x16 u = LOAD(f32x16, x + r * ldx + 4 * (c + 16 * h));
			UNROLL for (int j = 0; j < REAL_TILE; j++)
				s[r][j] = fma16(v[j], u, s[r][j]);
		}
	}
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int j = 0; j < REAL_TILE; j++)
			STORE(f32x16, acc[r][i + j][h], s[r][j]);
}

// real_lines adds the columns, of rows of x and REAL_WEIGHTS weights, and asks for what is next.
INLINE void real_lines(enum real t, int rows, const struct pieces *p, const uint8_t *x, int64_t ldx, realsums *acc)
{
	f32x16 s[3][REAL_WEIGHTS][2];
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int j = 0; j < REAL_WEIGHTS; j++)
			UNROLL for (int h = 0; h < 2; h++)
				s[r][j][h] = LOAD(f32x16, acc[r][j][h]);
	for (int64_t c = 0; c < p->cols; c += 32)
		UNROLL for (int j = 0; j < REAL_WEIGHTS; j++) {
			f32x16 a, b;
			__builtin_prefetch(p->next[j] + c / 32 * p->bytes, 0, 2);
			pair16(t, p->w[j] + c * size_of(t), &a, &b);
			UNROLL for (int r = 0; r < rows; r++) {
				s[r][j][0] = fma16(a, LOAD(f32x16, x + r * ldx + 4 * c), s[r][j][0]);
				s[r][j][1] = fma16(b, LOAD(f32x16, x + r * ldx + 4 * c + 64), s[r][j][1]);
			}
		}
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int j = 0; j < REAL_WEIGHTS; j++)
			UNROLL for (int h = 0; h < 2; h++)
				STORE(f32x16, acc[r][j][h], s[r][j][h]);
}

// real_begin adds the columns for the first rows of a few, as many as it returns; the others find
// the weights in the first-level cache.
INLINE int64_t real_begin(enum real t, const struct decode *d, realsums *acc, const struct pieces *p, const uint8_t *x)
{
	if (REAL_TILE < REAL_WEIGHTS || d->rows < 2 || d->rows > (keeps(d) ? 3 : 4))
		return 0;
	if (d->rows == 3)
		real_lines(t, 3, p, x, d->ldx, acc);
	else
		real_lines(t, 2, p, x, d->ldx, acc);
	return d->rows == 3 ? 3 : 2;
}

// real_tile_rows is how many of the rows that are left a tile takes.
INLINE int64_t real_tile_rows(int64_t left)
{
	if (REAL_TILE_ROWS == 3)
		return left == 2 || left == 4 ? 2 : left < 3 ? left : 3;
	return left >= 6 && left != 8 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// real_tile_rows_of is a tile of as many rows as real_tile_rows says.
INLINE void real_tile_rows_of(enum real t, int keep, int64_t rows, int h, int i, const struct pieces *p, const uint8_t *const ask[2], const uint8_t *x, int64_t ldx, realsums *acc)
{
	if (rows == REAL_TILE_ROWS)
		real_tile(t, keep, REAL_TILE_ROWS, h, i, p, ask, x, ldx, acc);
	else if (REAL_TILE_ROWS > 4 && rows == 4)
		real_tile(t, keep, 4, h, i, p, ask, x, ldx, acc);
	else if (rows == 2)
		real_tile(t, keep, 2, h, i, p, ask, x, ldx, acc);
	else
		real_tile(t, keep, 1, h, i, p, ask, x, ldx, acc);
}

INLINE void real_tile_of(enum real t, int64_t rows, int h, int i, const struct pieces *p, const uint8_t *const ask[2], const uint8_t *x, int64_t ldx, realsums *acc)
{
	if (t != F32 && t != PAIRS && p->keep)
		real_tile_rows_of(t, 1, rows, h, i, p, ask, x, ldx, acc);
	else
		real_tile_rows_of(t, 0, rows, h, i, p, ask, x, ldx, acc);
}

// real_kept is a tile of weights that have been kept.
INLINE void real_kept(int64_t rows, int h, int i, const struct pieces *p, const uint8_t *const ask[2], const uint8_t *x, int64_t ldx, realsums *acc)
{
	struct pieces kept = {.cols = p->cols, .bytes = p->bytes};
	UNROLL for (int j = 0; j < REAL_WEIGHTS; j++)
		kept.w[j] = (const uint8_t *)p->keep[j];
	real_tile_of(F32, rows, h, i, &kept, ask, x, ldx, acc);
}

// real_tiles adds the columns for all rows of x and all of the weights. What is next is asked
// for by parts, by pass after pass over the columns, or passes would wait for it.
INLINE void real_tiles(enum real t, const struct decode *d, struct realpass *s, struct pieces *p, const uint8_t *x)
{
	const int64_t begin = real_begin(t, d, s->acc, p, x); // which has asked for what is next
	int64_t passes = 0, pass = 0;
	for (int64_t left = d->rows - begin; left > 0; left -= real_tile_rows(left))
		passes += 2 * REAL_WEIGHTS / REAL_TILE;
	p->keep = t != F32 && t != PAIRS && keeps(d) && passes > 2 * REAL_WEIGHTS / REAL_TILE ? s->kept : 0;
	for (int64_t r = begin, rows; r < d->rows; r += rows) {
		rows = real_tile_rows(d->rows - r);
		for (int i = 0; i < REAL_WEIGHTS; i += REAL_TILE)
			UNROLL for (int h = 0; h < 2; h++, pass++) {
				const int64_t from = REAL_WEIGHTS * pass / passes, to = REAL_WEIGHTS * (pass + 1) / passes;
				const uint8_t *ask[2] = {p->w[i], p->w[i]}; // nothing new
				if (from < to && !begin)
					ask[0] = p->next[from], ask[1] = p->next[to - 1];
				if (r > begin && p->keep)
					real_kept(rows, h, i, p, ask, x + r * d->ldx, d->ldx, s->acc + r);
				else
					real_tile_of(t, rows, h, i, p, ask, x + r * d->ldx, d->ldx, s->acc + r);
			}
	}
}

// plain_piece is the columns from c on of n rows of weights from i on, where they lie.
INLINE struct pieces plain_piece(enum real t, const struct decode *p, int64_t i, int64_t n, int64_t c)
{
	const int64_t left = p->cols - c, next = 2 * REAL_PIECE * size_of(t) + (left > 2 * REAL_PIECE ? 0 : (REAL_WEIGHTS - 1) * p->ldw);
	struct pieces some = {.cols = left < REAL_PIECE ? left : REAL_PIECE, .bytes = 32 * size_of(t)};
	UNROLL for (int64_t j = 0; j < REAL_WEIGHTS; j++) { // of fewer weights the last is repeated
		some.w[j] = p->w + (i + (j < n ? j : n - 1)) * p->ldw + c * size_of(t);
		some.next[j] = some.w[j] + next;
	}
	return some;
}

// compact_piece is the same of compact rows, as PAIRS in memory. There are 48 bytes of 32 columns; by two more the
// line is reached with which a row ends behind its heads.
INLINE struct pieces compact_piece(const struct decode *p, int64_t i, int64_t n, int64_t c, float (*memory)[REAL_PIECE])
{
	const int64_t at = c / COMPACT_COLS, heads = heads_of(p->cols), left = p->cols - c;
	struct pieces some = {.cols = left < REAL_PIECE ? left : REAL_PIECE, .bytes = 50};
	for (int64_t j = 0; j < REAL_WEIGHTS; j++) {
		const uint8_t *w = p->w + (i + (j < n ? j : n - 1)) * p->ldw, *block = w + heads + at * COMPACT_BYTES;
		some.w[j] = (const uint8_t *)memory[j];
		some.next[j] = block + next_compact(p, left);
		for (int64_t k = 0; k < some.cols / COMPACT_COLS; k++)
			pairs_of(ld32(w + 4 * (at + k)), block + k * COMPACT_BYTES, (uint8_t *)memory[j] + 2 * COMPACT_COLS * k);
	}
	return some;
}

// rows_real multiplies two rows or more. Of PAIRS w has compact rows.
INLINE void rows_real(const struct decode *p, enum real t, struct realpass *s)
{
	if (p->cols % 32) { // no model has such
		decode_real(p, t);
		return;
	}
	for (int64_t i = 0; i < p->n; i += REAL_WEIGHTS) {
		const int64_t n = p->n - i < REAL_WEIGHTS ? p->n - i : REAL_WEIGHTS;
		begin_sums(p->rows, s->acc);
		for (int64_t c = 0; c < p->cols; c += REAL_PIECE) {
			struct pieces some = t == PAIRS ? compact_piece(p, i, n, c, s->kept) : plain_piece(t, p, i, n, c);
			real_tiles(t, p, s, &some, p->x + 4 * c);
		}
		end_sums(p, i, n, s->acc);
	}
}

KERNEL k_rows_compact(const struct rows *p) { rows_real(&p->all, PAIRS, (struct realpass *)aligned(p->scratch)); }

#endif
