// Quantised weights against quantised activations.
//
// A group is 512 columns: 16 blocks of 32. A block's integer sum is exact; block b
// of a group then goes, times its scales, to float sum b; the 16 sums run over
// the groups in order and are folded in halves at the end. Nothing in this
// depends on how many rows are computed together.
//
// The 16 blocks of a group are multiplied four at a time: quarter k of vector j
// has the first, or the second, half of block 4k+j. So the sums of one half of
// all 16 blocks are one sum4 away from order.
#ifndef QUANT_H
#define QUANT_H
#include "formats.h"
#include "kern.h"
#include "unpack.h"

// xgroup is 512 columns of an activation.
struct xgroup {
	int8_t q[4][2][64]; // [vector][half][quarter, 16 columns]
	float d[16];        // scale of a block
	float s[16];        // sum of its q
	float s0[16], s1[16]; // sums of its halves
};

// offset_of is what a group's numbers have more than they are worth.
INLINE float offset_of(struct kind k) { return k.sign ? SDOT_BIAS : k.offset; }

// halfsums are the integer sums of halves of the blocks, as floats.
INLINE f32x16 halfsums(struct kind k, const struct group *g, const struct xgroup *x, int h)
{
	i32x16 p[4];
	UNROLL for (int j = 0; j < 4; j++)
		p[j] = udot((i32x16){}, g->q[j][h], LOAD(i8x64, x->q[j][h]));
	f32x16 f = floats(sum4(p[0], p[1], p[2], p[3]));
	return f - (float)k.offset * LOAD(f32x16, h ? x->s1 : x->s0); // whole numbers below 2^24: exact
}

#ifdef __AVX2__
// Sums in 16 bits, for as long as they fit, take fewer instructions.
#ifdef __AVX512F__
typedef __m512i packed;
#define PACK(a, b) _mm512_packs_epi32(a, b)
#define BY_TWOS(v) _mm512_madd_epi16(v, _mm512_set1_epi16(1))
#define EVEN(a, b) (__m512i)_mm512_shuffle_ps((__m512)(a), (__m512)(b), 0x88)
#define ODD(a, b) (__m512i)_mm512_shuffle_ps((__m512)(a), (__m512)(b), 0xdd)
#else
typedef __m256i packed;
#define PACK(a, b) _mm256_packs_epi32(a, b)
#define BY_TWOS(v) _mm256_madd_epi16(v, _mm256_set1_epi16(1))
#define EVEN(a, b) (__m256i)_mm256_shuffle_ps((__m256)(a), (__m256)(b), 0x88)
#define ODD(a, b) (__m256i)_mm256_shuffle_ps((__m256)(a), (__m256)(b), 0xdd)
#endif
#define PARTS ((int)(64 / sizeof(packed)))
union parts {
	packed v[PARTS];
	i32x16 all;
};

// narrow_halfsums are the sums of both halves, where 8 products fit in 16 bits.
INLINE void narrow_halfsums(struct kind k, const struct group *g, const struct xgroup *x, f32x16 sums[2])
{
	union parts first, second;
	UNROLL for (int i = 0; i < PARTS; i++) {
		packed p[4];
		UNROLL for (int j = 0; j < 4; j++) {
			const union parts a = {.all = udot((i32x16){}, g->q[j][0], LOAD(i8x64, x->q[j][0]))}, b = {.all = udot((i32x16){}, g->q[j][1], LOAD(i8x64, x->q[j][1]))};
			p[j] = BY_TWOS(PACK(a.v[i], b.v[i]));
		}
		const packed a = BY_TWOS(PACK(p[0], p[1])), b = BY_TWOS(PACK(p[2], p[3]));
		first.v[i] = EVEN(a, b), second.v[i] = ODD(a, b);
	}
	sums[0] = floats(first.all), sums[1] = floats(second.all);
	if (k.offset) {
		sums[0] -= (float)k.offset * LOAD(f32x16, x->s0);
		sums[1] -= (float)k.offset * LOAD(f32x16, x->s1);
	}
}
#endif

#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(__AVXVNNI__)
// narrow_sums are the sums of blocks, where 8 products fit in 16 bits; 16 of those that are
// below 16 do.
INLINE i32x16 narrow_sums(struct kind k, const struct group *g, const struct xgroup *x)
{
	union parts sums;
	UNROLL for (int i = 0; i < PARTS; i++) {
		packed p[4];
		UNROLL for (int j = 0; j < 4; j++) {
			const union parts a = {.all = (i32x16)g->q[j][0]}, b = {.all = (i32x16)g->q[j][1]};
			const packed c = _mm256_maddubs_epi16(a.v[i], _mm256_loadu_si256((const __m256i *)(const void *)(x->q[j][0] + 32 * i)));
			const packed d = _mm256_maddubs_epi16(b.v[i], _mm256_loadu_si256((const __m256i *)(const void *)(x->q[j][1] + 32 * i)));
			p[j] = BY_TWOS(_mm256_add_epi16(c, d));
		}
		const packed a = BY_TWOS(PACK(p[0], p[1])), b = BY_TWOS(PACK(p[2], p[3]));
		sums.v[i] = k.most < 16 ? BY_TWOS(PACK(a, b)) : _mm256_add_epi32(EVEN(a, b), ODD(a, b));
	}
	return sums.all;
}
#define NARROW_SUMS
#endif

INLINE void both_halfsums(struct kind k, const struct group *g, const struct xgroup *x, f32x16 sums[2])
{
#ifdef __AVX2__
	if (k.most < (PARTS == 1 ? 8 : 4)) { // with narrow registers Q3_K is slower by it; what STAYs fits, too
		narrow_halfsums(k, g, x, sums);
		return;
	}
#endif
	sums[0] = halfsums(k, g, x, 0);
	sums[1] = halfsums(k, g, x, 1);
}

INLINE i32x16 blocksums(struct kind k, const struct group *g, const struct xgroup *x)
{
#ifdef NARROW_SUMS
	if (!k.sign && k.most < 32)
		return narrow_sums(k, g, x);
#endif
	i32x16 p[4];
	UNROLL for (int j = 0; j < 4; j++) {
		p[j] = (i32x16){};
		UNROLL for (int h = 0; h < 2; h++) {
			i8x64 v = LOAD(i8x64, x->q[j][h]);
			p[j] = k.sign ? sdot(p[j], g->q[j][h], v) : udot(p[j], g->q[j][h], v);
		}
	}
	return sum4(p[0], p[1], p[2], p[3]);
}

// step adds a group's products to the sums.
INLINE f32x16 step(struct kind k, f32x16 acc, const struct group *g, const struct xgroup *x)
{
	f32x16 t;
	if (k.halves) {
		f32x16 c[2];
		both_halfsums(k, g, x, c);
		t = fma16(c[1], g->d1, c[0] * g->d0);
		if (k.min) {
			t = fma16(g->m0, LOAD(f32x16, x->s0), t);
			t = fma16(g->m1, LOAD(f32x16, x->s1), t);
		}
		return fma16(t, LOAD(f32x16, x->d), acc);
	}
	t = floats(blocksums(k, g, x));
	if (offset_of(k) != 0)
		t -= offset_of(k) * LOAD(f32x16, x->s); // exact, as above
	t *= g->d0;
	if (k.min)
		t = fma16(g->m0, LOAD(f32x16, x->s), t);
	return fma16(t, LOAD(f32x16, x->d), acc);
}

// The end of a row that fills no group is completed with blocks of zeros.
INLINE const uint8_t *complete(struct kind k, uint8_t *buffer, const uint8_t *w, int64_t left)
{
	const int64_t have = left / k.cols * k.block;
#ifdef ENDS_IN_PLACE
	for (int64_t i = 0; i < k.bytes; i += 16) {
		STORE(u8x16, buffer + i, (u8x16){});
		BARRIER;
	}
	for (int64_t i = 0; i < have - 16; i += 16) {
		STORE(u8x16, buffer + i, LOAD(u8x16, w + i));
		BARRIER;
	}
	STORE(u8x16, buffer + have - 16, LOAD(u8x16, w + have - 16)); // a block has 18 bytes or more
#else
	for (int64_t i = 0; i < k.bytes; i += 2) {
		*(u16_at *)(buffer + i) = i < have ? ld16(w + i) : 0;
		BARRIER;
	}
#endif
	return buffer;
}

#ifdef ENDS_IN_PLACE
// only leaves nothing of the scales of blocks from n on.
INLINE void only(struct kind k, struct group *g, int64_t n)
{
	const i32x16 block = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	const i32x16 there = block < (int32_t)n;
	g->d0 = (f32x16)((i32x16)g->d0 & there);
	if (k.halves)
		g->d1 = (f32x16)((i32x16)g->d1 & there);
	if (k.min)
		g->m0 = (f32x16)((i32x16)g->m0 & there);
	if (k.min && k.halves)
		g->m1 = (f32x16)((i32x16)g->m1 & there);
}
#endif

// unpack_some reads a group, or the end of a row with fewer columns left. Where other
// rows follow, before end, that can be read in place, with the blocks that are not the
// row's made to count as nothing: completing each row takes longer than its products.
INLINE void unpack_some(enum type t, struct group *g, const uint8_t *w, int64_t left, const uint8_t *end, uint8_t *buffer)
{
	const struct kind k = kind_of(t);
#ifdef ENDS_IN_PLACE
	unpack(t, g, left >= 512 || end - w >= k.bytes ? w : complete(k, buffer, w, left));
	if (left < 512)
		only(k, g, left / 32);
#else
	(void)end;
	unpack(t, g, left < 512 ? complete(k, buffer, w, left) : w);
#endif
}

#define DECODE_ROWS 16 // most rows of x
#define DECODE_TOGETHER 4 // rows of w that share a pass over a group of many rows of x

INLINE void decode_many(const struct decode *p, enum type t, int64_t i, int together)
{
	const struct kind k = kind_of(t);
	uint8_t buffer[2 * 272];
	f32x16 acc[DECODE_TOGETHER][DECODE_ROWS];
	struct group g;
	for (int r = 0; r < p->rows; r++)
		for (int j = 0; j < together; j++) {
			acc[j][r] = (f32x16){};
			BARRIER;
		}
	const uint8_t *w = p->w + i * p->ldw, *end = p->w + p->n * p->ldw;
	int64_t at = 0;
	for (int64_t c = 0; c < p->cols; c += 512, at += k.bytes)
		for (int j = 0; j < together; j++) {
			const uint8_t *v = w + j * p->ldw + at;
			prefetch(p, v, k.bytes);
			unpack_some(t, &g, v, p->cols - c, end, buffer);
			const uint8_t *x = p->x + c / 512 * (int64_t)sizeof(struct xgroup);
			for (int64_t r = 0; r < p->rows; r++, x += p->ldx)
				acc[j][r] = step(k, acc[j][r], &g, (const struct xgroup *)x);
		}
	for (int64_t r = 0; r < p->rows; r++)
		for (int j = 0; j < together; j++)
			p->out[r * p->ldo + i + j] = fold(acc[j][r]);
}

#ifdef DECODE_FEW
// decode_few is decode_many for a number of rows that is known, up to DECODE_FEW.
// Their sums stay in registers, and weights are read in their order, one row after
// the other, so that memory is asked for ahead of its use as for a single row: what
// few rows wait for is memory.
INLINE void decode_few(const struct decode *p, enum type t, const int rows)
{
	const struct kind k = kind_of(t);
	uint8_t buffer[2 * 272];
	const uint8_t *end = p->w + p->n * p->ldw;
	for (int64_t i = 0; i < p->n; i++) {
		const uint8_t *w = p->w + i * p->ldw;
		const uint8_t *x = p->x;
		f32x16 acc[DECODE_FEW];
		UNROLL for (int r = 0; r < rows; r++)
			acc[r] = (f32x16){};
		for (int64_t left = p->cols; left > 0; left -= 512, w += k.bytes, x += sizeof(struct xgroup)) {
			struct group g;
			prefetch(p, w, k.bytes);
			unpack_some(t, &g, w, left, end, buffer);
			UNROLL for (int r = 0; r < rows; r++)
				acc[r] = step(k, acc[r], &g, (const struct xgroup *)(x + r * p->ldx));
		}
		UNROLL for (int r = 0; r < rows; r++)
			p->out[r * p->ldo + i] = fold(acc[r]);
	}
}
#endif

#ifdef PAIRED_ROWS
// paired tells whether two rows of weights are a group, one after the other. Then two are
// unpacked and multiplied at once: the sums of the second are those from 8 on.
INLINE int paired(struct kind k, const struct decode *p) { return p->cols == 256 && 2 * p->ldw == k.bytes; }

// fold_pair folds them; a row's other sums are zeros.
INLINE void fold_pair(float *out, f32x16 v)
{
	const f32x16 none = {};
	out[0] = fold(__builtin_shufflevector(v, none, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23));
	out[1] = fold(__builtin_shufflevector(v, none, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23));
}

// twice makes both halves of a group of x its first.
INLINE void twice(struct xgroup *to, const struct xgroup *x)
{
	UNROLL for (int j = 0; j < 4; j++)
		UNROLL for (int h = 0; h < 2; h++)
			for (int i = 0; i < 32; i += 16) {
				const i8x16 q = LOAD(i8x16, x->q[j][h] + i);
				STORE(i8x16, to->q[j][h] + i, q);
				STORE(i8x16, to->q[j][h] + 32 + i, q);
			}
#define TWICE(field)                                                                                                         \
	STORE(f32x16, to->field, __builtin_shufflevector(LOAD(f32x16, x->field), LOAD(f32x16, x->field), 0, 1, 2, 3, 4, 5, 6, \
							 7, 0, 1, 2, 3, 4, 5, 6, 7))
	TWICE(d);
	TWICE(s);
	TWICE(s0);
	TWICE(s1);
#undef TWICE
}

// decode_paired does so for one row or two, with all weights but a last one that has no
// other, whose number it returns.
INLINE int64_t decode_paired(const struct decode *p, enum type t, const int rows)
{
	const struct kind k = kind_of(t);
	struct xgroup x[2];
	UNROLL for (int r = 0; r < rows; r++)
		twice(x + r, (const struct xgroup *)(p->x + r * p->ldx));
	int64_t i = 0;
	for (; i + 2 <= p->n; i += 2) {
		const uint8_t *w = p->w + i * p->ldw;
		struct group g;
		prefetch(p, w, k.bytes);
		unpack(t, &g, w);
		UNROLL for (int r = 0; r < rows; r++)
			fold_pair(p->out + r * p->ldo + i, step(k, (f32x16){}, &g, x + r));
	}
	return i;
}
#endif

INLINE void decode_one(const struct decode *p, enum type t)
{
	const struct kind k = kind_of(t);
	uint8_t buffer[2 * 272];
	const uint8_t *end = p->w + p->n * p->ldw;
	for (int64_t i = 0; i < p->n; i++) {
		const uint8_t *w = p->w + i * p->ldw;
		const struct xgroup *x = (const struct xgroup *)p->x;
		f32x16 acc = {};
		struct group g;
		int64_t left = p->cols;
		for (; left >= 512; left -= 512, w += k.bytes, x++) {
			prefetch(p, w, k.bytes);
			unpack(t, &g, w);
			acc = step(k, acc, &g, x);
		}
		if (left > 0) {
			unpack_some(t, &g, w, left, end, buffer);
			acc = step(k, acc, &g, x);
		}
		p->out[i] = fold(acc);
	}
}

#ifdef PAIRED_ROWS
// decode takes rows by twos: for more there is rows.h.
INLINE void decode(const struct decode *p, enum type t)
{
	for (int64_t r = 0; r < p->rows; r += 2) {
		struct decode q = *p;
		q.x += r * p->ldx, q.out += r * p->ldo, q.rows = p->rows - r < 2 ? 1 : 2;
		if (paired(kind_of(t), p)) {
			const int64_t done = q.rows == 2 ? decode_paired(&q, t, 2) : decode_paired(&q, t, 1);
			q.w += done * p->ldw, q.out += done, q.n -= done;
		}
		if (q.rows == 2)
			decode_few(&q, t, 2);
		else
			decode_one(&q, t);
	}
}
#elif defined(DECODE_FEW)
// decode takes rows by fours: for more there is rows512.h.
INLINE void decode(const struct decode *p, enum type t)
{
	for (int64_t r = 0; r < p->rows; r += DECODE_FEW) {
		struct decode q = *p;
		q.x += r * p->ldx, q.out += r * p->ldo;
		switch (p->rows - r) {
		case 1: decode_one(&q, t); break;
		case 2: decode_few(&q, t, 2); break;
		case 3: decode_few(&q, t, 3); break;
		default: decode_few(&q, t, DECODE_FEW);
		}
	}
}
#else
INLINE void decode(const struct decode *p, enum type t)
{
	if (p->rows > 1) {
		for (int64_t i = 0; i < p->n; i += DECODE_TOGETHER)
			decode_many(p, t, i, p->n - i < DECODE_TOGETHER ? p->n - i : DECODE_TOGETHER);
		return;
	}
	decode_one(p, t);
}
#endif

// k_quantize turns rows of floats into xgroups. A block's scale is its greatest
// magnitude / 127; q = x / scale, to the nearest, ties to even. A block that is
// zero, or below 2^-118 throughout, has scale 0. One with an infinity or a NaN
// has scale NaN, which spreads to all that is multiplied with it.
INLINE void quantize_block(struct xgroup *g, int b, f32x16 lo, f32x16 hi)
{
	const u32x16 magnitude = (u32x16){} + 0x7fffffff;
	u32x16 bits = __builtin_elementwise_max((u32x16)lo & magnitude, (u32x16)hi & magnitude);
	uint32_t top = __builtin_reduce_max(bits);
	float most;
	__builtin_memcpy(&most, &top, 4);
	float d = most / 127, inverse = 127 / most;
	if (top < 9u << 23) // 2^-118
		d = inverse = 0;
	if (top >= 0x7f800000) {
		d = __builtin_nanf("");
		lo = hi = (f32x16){};
		inverse = 0;
	}
	i32x16 a = nearest(lo * inverse), c = nearest(hi * inverse);
	const int j = b & 3, q = b >> 2;
	STORE(i8x16, g->q[j][0] + 16 * q, __builtin_convertvector(a, i8x16));
	STORE(i8x16, g->q[j][1] + 16 * q, __builtin_convertvector(c, i8x16));
	g->d[b] = d;
	int s0 = __builtin_reduce_add(a), s1 = __builtin_reduce_add(c);
	g->s0[b] = s0, g->s1[b] = s1, g->s[b] = s0 + s1;
}

// quantize_alone makes block b of a row of so many the first of g: zeros if the row has no more.
INLINE void quantize_alone(struct xgroup *g, const float *x, int64_t b, int64_t blocks)
{
	if (b < blocks)
		quantize_block(g, 0, LOAD(f32x16, x + 32 * b), LOAD(f32x16, x + 32 * b + 16));
	else
		quantize_block(g, 0, (f32x16){}, (f32x16){});
}

#ifndef INTEGERS_ONLY
KERNEL k_quantize(const struct convert *p)
{
	for (int64_t r = 0; r < p->rows; r++) {
		const float *x = (const float *)(p->x + r * p->ldx);
		struct xgroup *g = (struct xgroup *)(void *)(p->y + r * p->ldy);
		int64_t blocks = p->cols / 32, padded = (blocks + 15) / 16 * 16;
		for (int64_t b = 0; b < blocks; b++)
			quantize_block(g + b / 16, b % 16, LOAD(f32x16, x + 32 * b), LOAD(f32x16, x + 32 * b + 16));
		for (int64_t b = blocks; b < padded; b++)
			quantize_block(g + b / 16, b % 16, (f32x16){}, (f32x16){});
	}
}
#endif

#endif
