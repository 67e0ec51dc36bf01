// Some rows of quantised activations, as many as share a pass over the weights in decode,
// with VNNI and the sums of quant.h.
//
// A vector has 4 columns of the 16 blocks of a group: a lane belongs to one block from its
// first product to the last, and to one of the 16 sums of quant.h. So nothing is summed up
// across lanes. Both operands have to be turned for that, within quarters alone: weights once
// for all rows, in scratch memory that stays in the first-level cache; rows of x once for all
// weights (k_turn). A block's sum is an exact integer, and what follows has the steps of
// quant.h: so a row has the bits that it has alone.
//
// ROWS_WEIGHTS rows of w share a pass over a group of the rows of x, which in the end come
// from the second-level cache; TILE_WEIGHTS of them and TILE_ROWS of x meet in registers.
#ifndef ROWS512_H
#define ROWS512_H
#include "quant.h"
#include "rowsreal.h"

#define ROWS_WEIGHTS 8
#define TILE_WEIGHTS 4
#define TILE_ROWS 4

// turned is 512 columns of a weight: 4 columns of each block in a vector; scales and
// minimums, of halves.
struct turned {
	uint8_t q[2][4][64];
	float d[2][16], m[2][16];
};

// late tells whether a type's blocks begin with their scale, and minimum: numbers as far
// apart as the blocks. Gathered in vectors they would take more of the units that vectors
// have than the rest of a group.
INLINE int late(enum type t) { return kind_of(t).cols == 32; }

// passing is what the kernels keep in the memory that they are given.
struct passing {
	struct turned w[ROWS_WEIGHTS];
	float acc[ROWS_WEIGHTS][DECODE_ROWS][16];
	struct base { int32_t of[2][16]; } base[DECODE_ROWS];
	uint16_t late[ROWS_WEIGHTS][2][16]; // scales and minimums of a group, as in the file
};

// turn4 makes of 4 blocks, in each quarter, their first 4 columns, the next 4, and so on.
INLINE void turn4(__m512i v[4])
{
	const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
	const __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
	v[0] = _mm512_unpacklo_epi64(a, c), v[1] = _mm512_unpackhi_epi64(a, c);
	v[2] = _mm512_unpacklo_epi64(b, d), v[3] = _mm512_unpackhi_epi64(b, d);
}

// k_turn turns xgroups where they are.
KERNEL k_turn(const struct convert *p)
{
	for (int64_t r = 0; r < p->rows; r++) {
		struct xgroup *g = (struct xgroup *)(void *)(p->y + r * p->ldy);
		for (int64_t at = 0; at < p->cols; at += 512, g++) {
			__m512i v[2][4];
			UNROLL for (int h = 0; h < 2; h++) {
				UNROLL for (int j = 0; j < 4; j++)
					v[h][j] = _mm512_loadu_si512(g->q[j][h]);
				turn4(v[h]);
			}
			UNROLL for (int h = 0; h < 2; h++)
				UNROLL for (int j = 0; j < 4; j++)
					STORE(u8x64, (uint8_t *)g->q + 256 * h + 64 * j, (u8x64)v[h][j]);
		}
	}
}

// keep_turned turns a group of weights.
INLINE void keep_turned(enum type t, struct turned *w, const struct group *g)
{
	const struct kind k = kind_of(t);
	UNROLL for (int h = 0; h < 2; h++) {
		__m512i v[4];
		UNROLL for (int j = 0; j < 4; j++)
			v[j] = (__m512i)g->q[j][h];
		turn4(v);
		UNROLL for (int j = 0; j < 4; j++)
			STORE(u8x64, w->q[h][j], (u8x64)v[j]);
	}
	if (late(t))
		return;
	STORE(f32x16, w->d[0], g->d0);
	if (k.halves)
		STORE(f32x16, w->d[1], g->d1);
	if (k.min)
		STORE(f32x16, w->m[0], g->m0);
	if (k.min && k.halves)
		STORE(f32x16, w->m[1], g->m1);
}

// copy_late copies the scales, and minimums, of 16 blocks.
INLINE void copy_late(struct kind k, uint16_t to[2][16], const uint8_t *w)
{
	UNROLL for (int m = 0; m <= k.min; m++)
		UNROLL for (int b = 0; b < 16; b++) {
			to[m][b] = ld16(w + k.block * b + 2 * m);
			BARRIER;
		}
}

// convert_late makes numbers of them, nothing of those of blocks from n on.
INLINE void convert_late(struct kind k, struct passing *s, int64_t n)
{
	const i32x16 block = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	const i32x16 there = block < (int32_t)n;
	for (int64_t j = 0; j < ROWS_WEIGHTS; j++) {
		STORE(i32x16, s->w[j].d[0], (i32x16)halves(LOAD(u16x16, s->late[j][0])) & there);
		if (k.min)
			STORE(i32x16, s->w[j].m[0], (i32x16)halves(LOAD(u16x16, s->late[j][1])) & there);
	}
}

// HOLD_ROW keeps a sum where it is: left to itself the compiler moves loads far ahead, and
// spills registers.
#define HOLD_ROW(v) __asm__ volatile("" : "+v"(v)::"memory")

#define OF_ROW(field) LOAD(f32x16, x + r * ldx + __builtin_offsetof(struct xgroup, field))

// begin_at is where the sums of a type without minimums begin, which is centred: what the
// offset adds, taken away.
INLINE void begin_at(struct kind k, struct base *b, const uint8_t *x, int64_t rows, int64_t ldx)
{
	const float offset = (float)-(k.sign ? SDOT_BIAS : k.offset);
	for (int64_t r = 0; r < rows; r++) {
		STORE(i32x16, b[r].of[0], nearest((k.halves ? OF_ROW(s0) : OF_ROW(s)) * offset));
		if (k.halves)
			STORE(i32x16, b[r].of[1], nearest(OF_ROW(s1) * offset));
	}
}

// tile_products are the integer sums of n steps of 4 columns, from step "from" on.
INLINE void tile_products(struct kind k, int rows, int from, int n, const struct turned *w, const uint8_t *x, int64_t ldx, const struct base *base, __m512i t[TILE_ROWS][TILE_WEIGHTS])
{
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < TILE_WEIGHTS; c++) {
			t[r][c] = k.min ? _mm512_setzero_si512() : _mm512_loadu_si512(base[r].of[from / 4]);
			HOLD_ROW(t[r][c]);
		}
	UNROLL for (int i = from; i < from + n; i++) {
		__m512i q[TILE_WEIGHTS];
		UNROLL for (int c = 0; c < TILE_WEIGHTS; c++)
			q[c] = _mm512_loadu_si512(w[c].q[0][0] + 64 * i);
		UNROLL for (int r = 0; r < rows; r++) {
			const __m512i v = _mm512_loadu_si512(x + r * ldx + 64 * i);
			UNROLL for (int c = 0; c < TILE_WEIGHTS; c++) {
				t[r][c] = _mm512_dpbusd_epi32(t[r][c], q[c], v);
				HOLD_ROW(t[r][c]);
			}
		}
	}
}

// tile adds to the sums of some rows what a group gives with TILE_WEIGHTS weights.
INLINE void tile(struct kind k, int rows, const struct turned *w, const uint8_t *x, int64_t ldx, const struct base *base, float (*acc)[DECODE_ROWS][16])
{
	__m512i t[TILE_ROWS][TILE_WEIGHTS];
	f32x16 first[TILE_ROWS][TILE_WEIGHTS];
	tile_products(k, rows, 0, k.halves ? 4 : 8, w, x, ldx, base, t);
	if (k.halves) {
		UNROLL for (int r = 0; r < rows; r++)
			UNROLL for (int c = 0; c < TILE_WEIGHTS; c++)
				first[r][c] = floats((i32x16)t[r][c]) * LOAD(f32x16, w[c].d[0]);
		tile_products(k, rows, 4, 4, w, x, ldx, base, t);
	}
	UNROLL for (int r = 0; r < rows; r++) {
		const f32x16 d = OF_ROW(d);
		UNROLL for (int c = 0; c < TILE_WEIGHTS; c++) {
			f32x16 v = floats((i32x16)t[r][c]);
			v = k.halves ? fma16(v, LOAD(f32x16, w[c].d[1]), first[r][c]) : v * LOAD(f32x16, w[c].d[0]);
			if (k.min)
				v = fma16(LOAD(f32x16, w[c].m[0]), k.halves ? OF_ROW(s0) : OF_ROW(s), v);
			if (k.min && k.halves)
				v = fma16(LOAD(f32x16, w[c].m[1]), OF_ROW(s1), v);
			STORE(f32x16, acc[c][r], fma16(v, d, LOAD(f32x16, acc[c][r])));
		}
	}
}

// The tiles are functions of their own: types of a kind share them.
#define TILE(NAME, TYPE)                                                                                                                                                          \
	__attribute__((noinline)) static void NAME(int64_t rows, const struct turned *w, const uint8_t *x, int64_t ldx, const struct base *base, float (*acc)[DECODE_ROWS][16]) \
	{                                                                                                                                                                         \
		if (rows == 4)                                                                                                                                                    \
			tile(kind_of(TYPE), 4, w, x, ldx, base, acc);                                                                                                           \
		else if (rows == 3)                                                                                                                                               \
			tile(kind_of(TYPE), 3, w, x, ldx, base, acc);                                                                                                           \
		else                                                                                                                                                              \
			tile(kind_of(TYPE), 2, w, x, ldx, base, acc);                                                                                                           \
	}
TILE(tile_plain, Q8_0)
TILE(tile_min, Q4_K)
TILE(tile_halves, Q6_K)
TILE(tile_halves_min, Q2_K)

// tiles meets all rows with a group of ROWS_WEIGHTS weights.
INLINE void tiles(struct kind k, const struct decode *p, struct passing *s, const uint8_t *x)
{
	if (!k.min)
		begin_at(k, s->base, x, p->rows, p->ldx);
	for (int64_t r = 0, left = p->rows, rows; left > 0; r += rows, left -= rows) {
		rows = left == 5 || left == 3 || left == 6 ? 3 : left == 2 ? 2 : TILE_ROWS;
		for (int c = 0; c < ROWS_WEIGHTS; c += TILE_WEIGHTS) {
			float(*acc)[DECODE_ROWS][16] = (float(*)[DECODE_ROWS][16])(void *)s->acc[c][r];
			if (k.halves && k.min)
				tile_halves_min(rows, s->w + c, x + r * p->ldx, p->ldx, s->base + r, acc);
			else if (k.halves)
				tile_halves(rows, s->w + c, x + r * p->ldx, p->ldx, s->base + r, acc);
			else if (k.min)
				tile_min(rows, s->w + c, x + r * p->ldx, p->ldx, s->base + r, acc);
			else
				tile_plain(rows, s->w + c, x + r * p->ldx, p->ldx, s->base + r, acc);
		}
	}
}

// fold16 folds 16 vectors, each as fold does: 4 to a quarter.
INLINE f32x16 fold16(f32x16 v[16])
{
	UNROLL for (int i = 0; i < 8; i++)
		v[i] = __builtin_shufflevector(v[i], v[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
		       __builtin_shufflevector(v[i], v[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
	UNROLL for (int i = 0; i < 4; i++)
		v[i] = __builtin_shufflevector(v[i], v[i + 4], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
		       __builtin_shufflevector(v[i], v[i + 4], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
	UNROLL for (int i = 0; i < 2; i++)
		v[i] = __builtin_shufflevector(v[i], v[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
		       __builtin_shufflevector(v[i], v[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
	return __builtin_shufflevector(v[0], v[1], 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
	       __builtin_shufflevector(v[0], v[1], 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
}

// put_folded folds the sums of TILE_WEIGHTS weights, of which n are there, and of up to
// TILE_ROWS rows.
INLINE void put_folded(float (*acc)[DECODE_ROWS][16], int64_t rows, float *out, int64_t ldo, int64_t n)
{
	// Where fold16 takes from what comes out at [row][weight].
	static const uint8_t at[TILE_ROWS][TILE_WEIGHTS] = {{0, 2, 1, 3}, {8, 10, 9, 11}, {4, 6, 5, 7}, {12, 14, 13, 15}};
	f32x16 v[16];
	float sums[TILE_ROWS][TILE_WEIGHTS];
	UNROLL for (int r = 0; r < TILE_ROWS; r++)
		UNROLL for (int c = 0; c < TILE_WEIGHTS; c++)
			v[at[r][c]] = LOAD(f32x16, acc[c][r]);
	STORE(f32x16, sums, fold16(v));
	for (int64_t r = 0; r < rows; r++, out += ldo)
		if (n >= TILE_WEIGHTS)
			STORE(u32x4, out, LOAD(u32x4, sums[r]));
		else
			for (int64_t c = 0; c < n; c++) {
				out[c] = sums[r][c];
				BARRIER;
			}
}

// lay unpacks a group, or the end of a row with fewer columns left, as unpack_some does, and
// keeps it as the j-th of those that share a pass.
INLINE void lay(enum type t, struct passing *s, int64_t j, const uint8_t *w, int64_t left)
{
	struct group g;
	unpack(t, &g, w);
	if (left < 512)
		only(kind_of(t), &g, left / 32);
	keep_turned(t, s->w + j, &g);
	if (late(t))
		copy_late(kind_of(t), s->late[j], w);
}

// rows multiplies 2 to DECODE_ROWS turned rows.
INLINE void rows(const struct rows *all, enum type t)
{
	const struct kind k = kind_of(t);
	const struct decode *p = &all->all;
	struct passing *s = (struct passing *)aligned(all->scratch);
	uint8_t buffer[2 * 272];
	const uint8_t *end = p->w + p->n * p->ldw;
	for (int64_t i = 0; i < p->n; i += ROWS_WEIGHTS) {
		const int64_t n = p->n - i < ROWS_WEIGHTS ? p->n - i : ROWS_WEIGHTS;
		const uint8_t *w = p->w + i * p->ldw, *x = p->x;
		for (int64_t j = 0; j < ROWS_WEIGHTS; j++)
			for (int64_t r = 0; r < (p->rows + 3) / 4 * 4; r++) {
				STORE(f32x16, s->acc[j][r], (f32x16){});
				BARRIER;
			}
		for (int64_t left = p->cols; left > 0; left -= 512, w += k.bytes, x += sizeof(struct xgroup)) {
			// What comes next but one: of these rows, or of those that follow them.
			const int64_t next = 2 * k.bytes + (left > 1024 ? 0 : (ROWS_WEIGHTS - 1) * p->ldw), near = p->near ? next : 0;
			for (int64_t j = 0; j < ROWS_WEIGHTS; j++) {
				const uint8_t *v = w + (j < n ? j : n - 1) * p->ldw; // of fewer, the last is repeated
				prefetch_by(near, next, v, k.bytes);
				lay(t, s, j, left >= 512 || end - v >= k.bytes ? v : complete(k, buffer, v, left), left);
			}
			if (late(t))
				convert_late(k, s, left < 512 ? left / 32 : 16);
			tiles(k, p, s, x);
		}
		for (int64_t r = 0; r < p->rows; r += TILE_ROWS)
			for (int64_t c = 0; c < n; c += TILE_WEIGHTS)
				put_folded((float(*)[DECODE_ROWS][16])(void *)s->acc[c][r], p->rows - r < TILE_ROWS ? p->rows - r : TILE_ROWS,
					   p->out + r * p->ldo + i + c, p->ldo, n - c);
	}
}

#undef QUANT
#undef REAL
#define REAL(T, NAME) \
	KERNEL k_rows_##NAME(const struct rows *p) { rows_real(&p->all, T, (struct realpass *)aligned(p->scratch)); }
#define QUANT(T, NAME) \
	KERNEL k_rows_##NAME(const struct rows *p) { rows(p, T); }
#include "types.h"

#endif
