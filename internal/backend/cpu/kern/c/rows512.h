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
// TILE_WEIGHTS rows of w and TILE_ROWS of x meet in registers. While all rows of x meet a
// group of TILE_WEIGHTS, that of the next TILE_WEIGHTS is turned, one of them in each tile:
// products leave the units free that shuffle. ROWS_WEIGHTS share a pass over x, which in the
// end comes from the second-level cache.
#ifndef ROWS512_H
#define ROWS512_H
#include "quant.h"
#include "rowsreal.h"

#define ROWS_WEIGHTS 8
#define TILE_WEIGHTS 4
#define TILE_ROWS 4

// numbers are 16 scales or minimums; as the file has them (binary16) if they are late.
union numbers {
	float f[16];
	uint16_t h[16];
};

// turned is 512 columns of a weight: 4 columns of each block in a vector, centred ones with
// CENTRE for zero; scales and minimums, of halves.
struct turned {
	uint8_t q[2][4][64];
	union numbers d[2], m[2];
};

#define CENTRE 128
INLINE int centred(struct kind k) { return k.sign || k.offset; }

// late tells whether a type's blocks begin with their scale, and minimum: numbers as far
// apart as the blocks. Gathered in vectors they would take more of the units that vectors
// have than the rest of a group, so they are copied as words, and become numbers where they
// are wanted, long after: a load waits for words that have just been stored.
INLINE int late(struct kind k) { return k.cols == 32; }

INLINE f32x16 numbers(struct kind k, const union numbers *n) { return late(k) ? halves(LOAD(u16x16, n->h)) : LOAD(f32x16, n->f); }

// sums are those of a tile; a tile's rows are next to each other.
typedef float sums[DECODE_ROWS][16];

// passing is what the kernels keep in the memory that they are given.
struct passing {
	struct turned w[ROWS_WEIGHTS];
	sums acc[ROWS_WEIGHTS];
	sums none[TILE_WEIGHTS]; // what sums begin with: zeros for a tile's rows
	uint8_t buffer[TILE_WEIGHTS][2 * 272]; // ends of rows
};
_Static_assert(sizeof(struct passing) == 8 * (768 + 16 * 64) + 4 * (16 * 64 + 2 * 272), "turnedPassing of turned.go is another size");

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

// keep_half turns the first or the second half of the blocks of a group of weights.
INLINE void keep_half(struct kind k, struct turned *w, int h, __m512i v[4])
{
	const uint8_t centre = centred(k) && !k.sign ? CENTRE - k.offset : 0;
	turn4(v);
	UNROLL for (int j = 0; j < 4; j++)
		STORE(u8x64, w->q[h][j], (u8x64)v[j] + centre);
}

// keep_words copies one of two words that 16 blocks begin with, four at a time: there is one
// store a cycle.
INLINE void keep_words(struct kind k, union numbers *to, const uint8_t *w)
{
	UNROLL for (int b = 0; b < 16; b += 4, w += 4 * k.block) {
		const uint64_t four = four_words(w, k.block);
		__builtin_memcpy_inline(to->h + b, &four, 8);
	}
}

// keep_numbers keeps scales, and minimums, of a group.
INLINE void keep_numbers(enum type t, struct turned *to, const uint8_t *w)
{
	const struct kind k = kind_of(t);
	if (late(k)) {
		keep_words(k, to->d, w);
		if (k.min)
			keep_words(k, to->m, w + 2);
		return;
	}
	struct group g;
	unpack(t, &g, w);
	STORE(f32x16, to->d[0].f, g.d0);
	if (k.halves)
		STORE(f32x16, to->d[1].f, g.d1);
	if (k.min)
		STORE(f32x16, to->m[0].f, g.m0);
	if (k.min && k.halves)
		STORE(f32x16, to->m[1].f, g.m1);
}

// laying is a group of a weight that is to be turned, and where; ahead is how far behind it
// lies what is asked for into the second-level cache. (Into the first, which is full of what
// tiles share, costs an Intel Xeon up to a third.)
struct laying {
	const uint8_t *w;
	struct turned *to;
	int64_t ahead;
};

#define LAY_STEPS 8

// lay_step is a step of LAY_STEPS, which keep what is between them in v.
INLINE void lay_step(enum type t, const struct laying *l, int step, __m512i v[4])
{
	const int h = step / 4, lines = (kind_of(t).bytes + 63) / 64;
	UNROLL for (int i = lines * step / LAY_STEPS; i < lines * (step + 1) / LAY_STEPS; i++)
		__builtin_prefetch(l->w + l->ahead + 64 * i, 0, 2);
	const int n = kind_of(t).halves ? 4 : 2; // blocks that have their bytes in common
	if (step % 4 < 4 / n) {
		struct group g;
		unpack(t, &g, l->w); // of which the rest is not computed
		UNROLL for (int j = step % 4 * n; j < step % 4 * n + n; j++) // unpack reads both halves of Q8_0
			v[j] = (__m512i)(t == Q8_0 ? signed_(blocks32(l->w, kind_of(t).block, j, 2 + 16 * h)) : g.q[j][h]);
	}
	if (step % 4 == 2)
		keep_half(kind_of(t), l->to, h, v);
	if (step == LAY_STEPS / 2 - 1)
		keep_numbers(t, l->to, l->w);
}

INLINE void lay(enum type t, const struct laying *l)
{
	__m512i v[4];
	UNROLL for (int step = 0; step < LAY_STEPS; step++)
		lay_step(t, l, step, v);
}

// only_first leaves nothing of the numbers of blocks from n on.
INLINE void only_first(struct kind k, struct turned *w, int n)
{
	for (int b = n; b < 16; b++)
		for (int h = 0; h <= k.halves; h++) {
			if (late(k))
				w->d[h].h[b] = w->m[h].h[b] = 0;
			else
				w->d[h].f[b] = w->m[h].f[b] = 0;
			BARRIER;
		}
}

// HOLD_ROW keeps a sum where it is: left to itself the compiler moves loads far ahead, and
// spills registers.
#define HOLD_ROW(v) __asm__ volatile("" : "+v"(v)::"memory")

#define OF_ROW(field) LOAD(f32x16, x + r * ldx + __builtin_offsetof(struct xgroup, field))

// begin_at is where the sums of a centred type begin: what CENTRE adds, taken away. No
// multiplication: those are what products contend for.
INLINE __m512i begin_at(f32x16 sum) { return (__m512i)-(nearest(sum) << __builtin_ctz(CENTRE)); }

// tile_products are the integer sums of n steps of 4 columns, from step "from" on, while a
// weight of type lt is turned if there is one.
INLINE void tile_products(struct kind k, int rows, int from, int n, const struct turned *w, const uint8_t *x, int64_t ldx, __m512i t[TILE_ROWS][TILE_WEIGHTS],
			  enum type lt, const struct laying *l, int step, int every, __m512i v[4])
{
	UNROLL for (int r = 0; r < rows; r++) {
		const __m512i begin = !centred(k) ? _mm512_setzero_si512() : begin_at(!k.halves ? OF_ROW(s) : from ? OF_ROW(s1) : OF_ROW(s0));
		UNROLL for (int c = 0; c < TILE_WEIGHTS; c++) {
			t[r][c] = begin;
			HOLD_ROW(t[r][c]);
		}
	}
	UNROLL for (int i = from; i < from + n; i++) {
		__m512i q[TILE_WEIGHTS];
		UNROLL for (int c = 0; c < TILE_WEIGHTS; c++)
			q[c] = _mm512_loadu_si512(w[c].q[0][0] + 64 * i);
		UNROLL for (int r = 0; r < rows; r++) {
			const __m512i xr = _mm512_loadu_si512(x + r * ldx + 64 * i);
			UNROLL for (int c = 0; c < TILE_WEIGHTS; c++) {
				t[r][c] = _mm512_dpbusd_epi32(t[r][c], q[c], xr);
				HOLD_ROW(t[r][c]);
			}
		}
		if (l && i % every == 0)
			lay_step(lt, l, step + i / every, v);
	}
}

// tile adds to sums of some rows, "from", what a group gives with TILE_WEIGHTS weights.
INLINE void tile(struct kind k, int rows, const struct turned *w, const uint8_t *x, int64_t ldx, sums *acc, const sums *from, enum type lt, const struct laying *l, int step, int every)
{
	__m512i t[TILE_ROWS][TILE_WEIGHTS], v[4];
	f32x16 first[TILE_ROWS][TILE_WEIGHTS], d[TILE_WEIGHTS];
	tile_products(k, rows, 0, k.halves ? 4 : 8, w, x, ldx, t, lt, l, step, every, v);
	if (k.halves) {
		UNROLL for (int r = 0; r < rows; r++)
			UNROLL for (int c = 0; c < TILE_WEIGHTS; c++)
				first[r][c] = floats((i32x16)t[r][c]) * numbers(k, w[c].d);
		tile_products(k, rows, 4, 4, w, x, ldx, t, lt, l, step, every, v);
	}
	UNROLL for (int c = 0; c < TILE_WEIGHTS; c++)
		d[c] = numbers(k, &w[c].d[k.halves]);
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < TILE_WEIGHTS; c++) {
			f32x16 y = floats((i32x16)t[r][c]);
			y = k.halves ? fma16(y, d[c], first[r][c]) : y * d[c];
			if (k.min)
				y = fma16(numbers(k, w[c].m), k.halves ? OF_ROW(s0) : OF_ROW(s), y);
			if (k.min && k.halves)
				y = fma16(numbers(k, &w[c].m[1]), OF_ROW(s1), y);
			STORE(f32x16, acc[c][r], fma16(y, OF_ROW(d), LOAD(f32x16, from[c][r])));
		}
}

#define NOTHING ((enum type)-1)

// The tiles that turn nothing are functions of their own: types of a kind share them.
#define TILE(NAME, TYPE)                                                                                                                      \
	__attribute__((noinline)) static void NAME(int64_t rows, const struct turned *w, const uint8_t *x, int64_t ldx, sums *acc, const sums *from) \
	{                                                                                                                                     \
		if (rows == 4)                                                                                                                \
			tile(kind_of(TYPE), 4, w, x, ldx, acc, from, NOTHING, 0, 0, 1);                                                       \
		else if (rows == 3)                                                                                                           \
			tile(kind_of(TYPE), 3, w, x, ldx, acc, from, NOTHING, 0, 0, 1);                                                       \
		else                                                                                                                          \
			tile(kind_of(TYPE), 2, w, x, ldx, acc, from, NOTHING, 0, 0, 1);                                                       \
	}
TILE(tile_late, Q8_0)
TILE(tile_late_min, Q4_1)
TILE(tile_plain, IQ4_XS)
TILE(tile_min, Q4_K)
TILE(tile_halves, Q6_K)
TILE(tile_halves_min, Q2_K)

INLINE void tile_of(struct kind k, int64_t rows, const struct turned *w, const uint8_t *x, int64_t ldx, sums *acc, const sums *from)
{
	if (late(k))
		(k.min ? tile_late_min : tile_late)(rows, w, x, ldx, acc, from);
	else if (k.halves)
		(k.min ? tile_halves_min : tile_halves)(rows, w, x, ldx, acc, from);
	else
		(k.min ? tile_min : tile_plain)(rows, w, x, ldx, acc, from);
}

// tile_laying is a tile of TILE_ROWS rows that turns a weight besides. Sums of halves of
// TILE_ROWS would not stay in registers.
INLINE void tile_laying(enum type t, const struct laying *l, const struct turned *w, const uint8_t *x, int64_t ldx, sums *acc, const sums *from)
{
	const struct kind k = kind_of(t);
	if (!k.halves) {
		tile(k, TILE_ROWS, w, x, ldx, acc, from, t, l, 0, 1);
		return;
	}
	tile(k, 2, w, x, ldx, acc, from, t, l, 0, 2);
	tile(k, 2, w, x + 2 * ldx, ldx, (sums *)(void *)acc[0][2], (const sums *)(const void *)from[0][2], t, l, LAY_STEPS / 2, 2);
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
INLINE void put_folded(sums *acc, int64_t rows, float *out, int64_t ldo, int64_t n)
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

// place is TILE_WEIGHTS rows of weights and a group of their columns, of which there are left
// so many; turned they lie in w.
struct place {
	int64_t row, left;
	struct turned *w;
};

// following is the place behind one: ROWS_WEIGHTS rows pass over a group, then over the next.
INLINE struct place following(const struct decode *p, struct passing *s, struct place at)
{
	const int64_t first = at.row / ROWS_WEIGHTS * ROWS_WEIGHTS;
	struct turned *w = at.w == s->w ? s->w + TILE_WEIGHTS : s->w;
	if (at.row == first && first + TILE_WEIGHTS < p->n)
		return (struct place){first + TILE_WEIGHTS, at.left, w};
	if (at.left > 512)
		return (struct place){first, at.left - 512, w};
	return (struct place){first + ROWS_WEIGHTS, p->cols, w};
}

// laying_of is the j-th weight at a place; of fewer, the last is repeated.
INLINE struct laying laying_of(struct kind k, const struct decode *p, struct place at, int64_t j)
{
	const int64_t row = at.row + j < p->n ? at.row + j : p->n - 1;
	// What comes after two more: of these rows, or of those that follow them.
	const int64_t ahead = 3 * k.bytes + (at.left > 1536 ? 0 : (ROWS_WEIGHTS - 1) * p->ldw);
	return (struct laying){p->w + row * p->ldw + (p->cols - at.left) / 512 * k.bytes, at.w + j, ahead};
}

// lay_rest turns the weights at a place from the j-th on.
INLINE void lay_rest(enum type t, const struct decode *p, struct passing *s, struct place at, int64_t j)
{
	const struct kind k = kind_of(t);
	for (; j < TILE_WEIGHTS; j++) {
		struct laying l = laying_of(k, p, at, j);
		if (at.left < 512 && p->w + p->n * p->ldw - l.w < k.bytes)
			l.w = complete(k, s->buffer[j], l.w, at.left);
		lay(t, &l);
		if (at.left < 512)
			only_first(k, l.to, (int)(at.left / 32));
	}
}

// pass has all rows of x meet the weights at a place, while those at the next are turned.
INLINE void pass(enum type t, const struct decode *p, struct passing *s, struct place at, struct place next)
{
	const struct kind k = kind_of(t);
	const uint8_t *x = p->x + (p->cols - at.left) / 512 * (int64_t)sizeof(struct xgroup);
	sums *acc = s->acc + at.row % ROWS_WEIGHTS;
	int64_t laid = next.row < p->n ? 0 : TILE_WEIGHTS;
	for (int64_t r = 0, left = p->rows, rows; left > 0; r += rows, left -= rows, x += rows * p->ldx) {
		sums *to = (sums *)(void *)acc[0][r];
		const sums *from = at.left == p->cols ? s->none : (const sums *)to;
		rows = left == 5 || left == 3 ? 3 : left == 2 ? 2 : TILE_ROWS;
		if (rows == TILE_ROWS && laid < TILE_WEIGHTS && next.left >= 512) {
			const struct laying l = laying_of(k, p, next, laid++);
			tile_laying(t, &l, at.w, x, p->ldx, to, from);
		} else {
			tile_of(k, rows, at.w, x, p->ldx, to, from);
		}
	}
	lay_rest(t, p, s, next, laid);
}

// put_tiles folds the sums of TILE_WEIGHTS weights, the first of which is row.
INLINE void put_tiles(const struct decode *p, struct passing *s, int64_t row)
{
	for (int64_t r = 0; r < p->rows && row < p->n; r += TILE_ROWS)
		put_folded((sums *)(void *)s->acc[row % ROWS_WEIGHTS][r], p->rows - r < TILE_ROWS ? p->rows - r : TILE_ROWS, p->out + r * p->ldo + row, p->ldo, p->n - row);
}

// rows multiplies 2 to DECODE_ROWS turned rows.
INLINE void rows(const struct rows *all, enum type t)
{
	const struct decode *p = &all->all;
	struct passing *s = (struct passing *)aligned(all->scratch);
	for (int j = 0; j < TILE_WEIGHTS; j++)
		UNROLL for (int r = 0; r < TILE_ROWS; r++)
			STORE(f32x16, s->none[j][r], (f32x16){});
	struct place at = {0, p->cols, s->w};
	lay_rest(t, p, s, at, 0);
	while (at.row < p->n) {
		const struct place next = following(p, s, at);
		pass(t, p, s, at, next);
		if (at.left <= 512)
			put_tiles(p, s, at.row);
		at = next;
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
