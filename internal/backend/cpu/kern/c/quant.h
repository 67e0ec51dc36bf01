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

// xgroup is 512 columns of an activation.
struct xgroup {
	int8_t q[4][2][64]; // [vector][half][quarter, 16 columns]
	float d[16];        // scale of a block
	float s[16];        // sum of its q
	float s0[16], s1[16]; // sums of its halves
};

// group is 512 columns of a weight row. Value = d * (q - offset) + m, where
// offset is the type's; d0 and d1 (m0 and m1) differ for types whose scales are
// for 16 columns, others have d0 (and m0) only.
struct group {
	u8x64 q[4][2];
	f32x16 d0, d1, m0, m1;
};

// strided reads 16 binary16 numbers, stride bytes apart.
INLINE f32x16 strided(const uint8_t *p, int stride)
{
	u16x16 h = {ld16(p), ld16(p + stride), ld16(p + 2 * stride), ld16(p + 3 * stride),
		    ld16(p + 4 * stride), ld16(p + 5 * stride), ld16(p + 6 * stride), ld16(p + 7 * stride),
		    ld16(p + 8 * stride), ld16(p + 9 * stride), ld16(p + 10 * stride), ld16(p + 11 * stride),
		    ld16(p + 12 * stride), ld16(p + 13 * stride), ld16(p + 14 * stride), ld16(p + 15 * stride)};
	return halves(h);
}

// pair reads two binary16 numbers, each for 8 lanes.
INLINE f32x16 pair(const uint8_t *a, const uint8_t *b)
{
	uint16_t x = ld16(a), y = ld16(b);
	return halves((u16x16){x, x, x, x, x, x, x, x, y, y, y, y, y, y, y, y});
}

// quarters reads 16 bytes from four places.
INLINE u8x64 quarters(const uint8_t *p, int64_t a, int64_t b, int64_t c, int64_t d)
{
	return cat(LOAD(u8x16, p + a), LOAD(u8x16, p + b), LOAD(u8x16, p + c), LOAD(u8x16, p + d));
}

// crossed reads half h of 32 bytes at a, 32 more, and as much at b.
INLINE u8x64 crossed(const uint8_t *a, const uint8_t *b, int h)
{
#ifdef __AVX512F__
	const __m512i x = _mm512_loadu_si512(a), y = _mm512_loadu_si512(b);
	return (u8x64)(h ? _mm512_shuffle_i32x4(x, y, 0xdd) : _mm512_shuffle_i32x4(x, y, 0x88));
#else
	return quarters(a + 16 * h, 0, 32, b - a, b - a + 32);
#endif
}

// blocks32 reads 16 bytes at an offset of blocks j, j+4, j+8, j+12.
INLINE u8x64 blocks32(const uint8_t *w, int size, int j, int at)
{
	return quarters(w + j * size + at, 0, 4 * size, 8 * size, 12 * size);
}

// high5 turns bits 0 to 15 (half 0) or 16 to 31 (half 1) of a quarter's word into
// bytes of 16 or 0.
INLINE u8x64 high5(u32x16 words, int half)
{
	// Every byte gets the word's byte that has its bit, then its bit alone.
	const u8x64 first = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
			     0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
	const u8x64 bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
			   1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
	u8x64 b = within((u8x64)words, first + (uint8_t)(2 * half));
	return (u8x64)((b & bit) == bit) & 16;
}

INLINE void unpack5(struct group *g, const uint8_t *w, int size, int high, int low)
{
	UNROLL for (int j = 0; j < 4; j++) {
		const u32x16 words = (u32x16)blocks32(w, size, j, high); // and what follows them
		u8x64 v = blocks32(w, size, j, low);
		g->q[j][0] = (v & 15) | high5(words, 0);
		g->q[j][1] = v >> 4 | high5(words, 1);
	}
}

// scales4 unpacks the 6-bit scales and mins of two blocks of Q4_K or Q5_K.
INLINE void scales4(struct group *g, const uint8_t *a, const uint8_t *b)
{
#ifdef __AVX512F__
	// In vectors throughout: what came from other registers took a third of a group's time. A block
	// begins with its scale and minimum, then words x, y and z.
	const __m128i v0 = _mm_loadu_si128((const __m128i *)(const void *)a), v1 = _mm_loadu_si128((const __m128i *)(const void *)b);
	const __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(v0), v1, 1);
	const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0x3f3f3f3f));
	const __m256i z = _mm256_srlv_epi32(_mm256_shuffle_epi32(v, 0xff), _mm256_setr_epi32(0, 0, 4, 0, 0, 0, 4, 0));
	const __m256i high = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(v, 2), _mm256_set1_epi32(0x30303030)), _mm256_and_si256(z, _mm256_set1_epi32(0x0f0f0f0f)));
	// Those of x and y of a, then of b; then all scales, all minimums.
	const __m256i mixed = _mm256_alignr_epi8(_mm256_unpackhi_epi32(low, high), _mm256_unpacklo_epi32(low, high), 8);
	const __m256i apart = _mm256_permute4x64_epi64(mixed, 0xd8);
	const __m512 of = _mm512_castps128_ps512(_mm_cvtph_ps(_mm_unpacklo_epi32(v0, v1)));
	const i32x16 d = {0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2};
	g->d0 = (f32x16)_mm512_permutexvar_ps((__m512i)d, of) * bytes_u((u8x16)_mm256_castsi256_si128(apart));
	g->m0 = -((f32x16)_mm512_permutexvar_ps((__m512i)(d + 1), of) * bytes_u((u8x16)_mm256_extracti128_si256(apart, 1)));
#else
	u32x4 sc, mn;
	UNROLL for (int i = 0; i < 2; i++) {
		const uint8_t *p = (i ? b : a) + 4;
		uint32_t x = ld32(p), y = ld32(p + 4), z = ld32(p + 8);
		sc[2 * i] = x & 0x3f3f3f3f;
		sc[2 * i + 1] = (z & 0x0f0f0f0f) | (x >> 2 & 0x30303030);
		mn[2 * i] = y & 0x3f3f3f3f;
		mn[2 * i + 1] = (z >> 4 & 0x0f0f0f0f) | (y >> 2 & 0x30303030);
	}
	g->d0 = pair(a, b) * bytes_u((u8x16)sc);
	g->m0 = -(pair(a + 2, b + 2) * bytes_u((u8x16)mn));
#endif
}

// nibbles4 unpacks the nibbles of two blocks of Q4_K or Q5_K.
INLINE void nibbles4(struct group *g, const uint8_t *qs, int size)
{
	UNROLL for (int i = 0; i < 2; i++)
		UNROLL for (int h = 0; h < 2; h++) {
			u8x64 v = quarters(qs + 32 * i + 16 * h, 0, 64, size, size + 64);
			g->q[2 * i][h] = v & 15;
			g->q[2 * i + 1][h] = v >> 4;
		}
}

// bits4 reads half h of 32 bytes of two blocks: bit j of the result's byte is for
// block 32j of the quarter.
INLINE u8x64 bits4(const uint8_t *p, int h, int size)
{
	u8x16 a = LOAD(u8x16, p + 16 * h), b = LOAD(u8x16, p + 16 * h + size);
	return cat(a, a >> 4, b, b >> 4);
}

INLINE void unpack_2k(struct group *g, const uint8_t *w)
{
#ifdef __AVX512F__
	// A word of two bytes for each block: scale and minimum of its first half, then of its second.
	const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)w)), _mm_loadu_si128((const __m128i *)(const void *)(w + 84)), 1);
	const u32x16 words = (u32x16)_mm512_cvtepu16_epi32(both);
	const __m512 of = _mm512_castps128_ps512(_mm_cvtph_ps(_mm_unpacklo_epi32(_mm_cvtsi32_si128((int)ld32(w + 80)), _mm_cvtsi32_si128((int)ld32(w + 164)))));
	const i32x16 at = {0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2};
	const f32x16 d = (f32x16)_mm512_permutexvar_ps((__m512i)at, of), m = (f32x16)_mm512_permutexvar_ps((__m512i)(at + 1), of);
	g->d0 = d * floats((i32x16)(words & 15));
	g->m0 = -(m * floats((i32x16)(words >> 4 & 15)));
	g->d1 = d * floats((i32x16)(words >> 8 & 15));
	g->m1 = -(m * floats((i32x16)(words >> 12)));
#else
	u8x16 a = LOAD(u8x16, w), b = LOAD(u8x16, w + 84);
	f32x16 d = pair(w + 80, w + 164), m = pair(w + 82, w + 166);
	g->d0 = d * bytes_u(evens(a, b) & 15);
	g->d1 = d * bytes_u(odds(a, b) & 15);
	g->m0 = -(m * bytes_u(evens(a, b) >> 4));
	g->m1 = -(m * bytes_u(odds(a, b) >> 4));
#endif
	UNROLL for (int h = 0; h < 2; h++) {
		u8x64 v = crossed(w + 16, w + 100, h);
		UNROLL for (int j = 0; j < 4; j++)
			g->q[j][h] = v >> (2 * j) & 3;
	}
}

INLINE void unpack_3k(struct group *g, const uint8_t *w)
{
#ifdef __AVX512F__
	// Words a, b and c of both blocks, and their scales: scales3 has the layout.
	const __m128i v0 = _mm_loadu_si128((const __m128i *)(const void *)(w + 94)), v1 = _mm_loadu_si128((const __m128i *)(const void *)(w + 204));
	const __m256i v = _mm256_alignr_epi8(_mm256_setzero_si256(), _mm256_inserti128_si256(_mm256_castsi128_si256(v0), v1, 1), 2);
	const __m256i low = _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi32(v, 0x44), _mm256_setr_epi32(0, 0, 4, 4, 0, 0, 4, 4)), _mm256_set1_epi32(0x0f0f0f0f));
	const __m256i high = _mm256_rolv_epi32(_mm256_shuffle_epi32(v, 0xaa), _mm256_setr_epi32(4, 2, 0, 30, 4, 2, 0, 30));
	const i32x16 both = (i32x16)_mm512_cvtepu16_epi32(_mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi32(0x30303030))));
	const f32x16 d = (f32x16)_mm512_permutexvar_ps((__m512i)(i32x16){0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1},
		_mm512_castps128_ps512(_mm_cvtph_ps(_mm_unpacklo_epi16(_mm_cvtsi32_si128(ld16(w + 108)), _mm_cvtsi32_si128(ld16(w + 218))))));
	g->d0 = d * floats((both & 0xff) - 32);
	g->d1 = d * floats((both >> 8) - 32);
#else
	u8x16 a = scales3(w + 96), b = scales3(w + 206);
	f32x16 d = pair(w + 108, w + 218);
	g->d0 = d * (bytes_u(evens(a, b)) - 32);
	g->d1 = d * (bytes_u(odds(a, b)) - 32);
#endif
	UNROLL for (int h = 0; h < 2; h++) {
		u8x64 v = crossed(w + 32, w + 142, h), top = bits4(w, h, 110);
		UNROLL for (int j = 0; j < 4; j++)
			g->q[j][h] = (v >> (2 * j) & 3) | (top >> j & 1) << 2;
	}
}

INLINE void unpack_6k(struct group *g, const uint8_t *w)
{
	u8x16 a = LOAD(u8x16, w + 192), b = LOAD(u8x16, w + 402);
	f32x16 d = pair(w + 208, w + 418);
	g->d0 = d * bytes_i((i8x16)evens(a, b));
	g->d1 = d * bytes_i((i8x16)odds(a, b));
	UNROLL for (int h = 0; h < 2; h++) {
		u8x64 v = quarters(w + 16 * h, 0, 64, 210, 274), u = quarters(w + 32 + 16 * h, 0, 64, 210, 274);
		u8x64 top = crossed(w + 128, w + 338, h);
		g->q[0][h] = (v & 15) | (top << 4 & 0x30);
		g->q[1][h] = (u & 15) | (top << 2 & 0x30);
		g->q[2][h] = v >> 4 | (top & 0x30);
		g->q[3][h] = u >> 4 | (top >> 2 & 0x30);
	}
}

// unpack reads 512 columns.
INLINE void unpack(enum type t, struct group *g, const uint8_t *w)
{
	switch (t) {
	case Q4_0:
	case Q4_1: {
		const int size = t == Q4_0 ? 18 : 20;
		g->d0 = strided(w, size);
		if (t == Q4_1)
			g->m0 = strided(w + 2, size);
		UNROLL for (int j = 0; j < 4; j++) {
			u8x64 v = blocks32(w, size, j, size - 16);
			g->q[j][0] = v & 15;
			g->q[j][1] = v >> 4;
		}
		break;
	}
	case Q5_0:
		g->d0 = strided(w, 22);
		unpack5(g, w, 22, 2, 6);
		break;
	case Q5_1:
		g->d0 = strided(w, 24);
		g->m0 = strided(w + 2, 24);
		unpack5(g, w, 24, 4, 8);
		break;
	case Q8_0:
		g->d0 = strided(w, 34);
		UNROLL for (int j = 0; j < 4; j++) {
#ifdef __AVX512F__
			const uint8_t *p = w + 34 * j + 2;
			const __m512i x = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)p)), _mm256_loadu_si256((const __m256i *)(const void *)(p + 136)), 1);
			const __m512i y = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(p + 272))), _mm256_loadu_si256((const __m256i *)(const void *)(p + 408)), 1);
			g->q[j][0] = signed_((u8x64)_mm512_shuffle_i32x4(x, y, 0x88));
			g->q[j][1] = signed_((u8x64)_mm512_shuffle_i32x4(x, y, 0xdd));
#else
			UNROLL for (int h = 0; h < 2; h++)
				g->q[j][h] = signed_(blocks32(w, 34, j, 2 + 16 * h));
#endif
		}
		break;
	case Q2_K: unpack_2k(g, w); break;
	case Q3_K: unpack_3k(g, w); break;
	case Q4_K:
		scales4(g, w, w + 144);
		nibbles4(g, w + 16, 144);
		break;
	case Q5_K:
		scales4(g, w, w + 176);
		nibbles4(g, w + 48, 176);
		UNROLL for (int h = 0; h < 2; h++) {
			u8x64 top = bits4(w + 16, h, 176);
			UNROLL for (int j = 0; j < 4; j++)
				g->q[j][h] |= (top >> j & 1) << 4;
		}
		break;
	case Q6_K: unpack_6k(g, w); break;
	case IQ4_NL:
	case IQ4_XS:
		if (t == IQ4_NL) {
			g->d0 = strided(w, 18);
		} else {
			typedef uint64_t u64x2 __attribute__((vector_size(16)));
			u64x2 sc = {scales_xs(w), scales_xs(w + 136)};
			g->d0 = pair(w, w + 136) * (bytes_u((u8x16)sc) - 32);
		}
		UNROLL for (int j = 0; j < 4; j++) {
			const u8x16 table = LOAD(u8x16, iq4_values) ^ SIGNED_16;
			u8x64 v = t == IQ4_NL ? blocks32(w, 18, j, 2) : quarters(w + 8 + 16 * j, 0, 64, 136, 200);
			g->q[j][0] = lookup(table, v & 15);
			g->q[j][1] = lookup(table, v >> 4);
		}
		break;
	}
}

// halfsums are the integer sums of halves of the blocks, as floats.
INLINE f32x16 halfsums(struct kind k, const struct group *g, const struct xgroup *x, int h)
{
	i32x16 p[4];
	UNROLL for (int j = 0; j < 4; j++)
		p[j] = udot((i32x16){}, g->q[j][h], LOAD(i8x64, x->q[j][h]));
	f32x16 f = floats(sum4(p[0], p[1], p[2], p[3]));
	return f - (float)k.offset * LOAD(f32x16, h ? x->s1 : x->s0); // whole numbers below 2^24: exact
}

#ifdef __AVX512F__
// narrow_halfsums are those of both halves, where 16 products fit in 16 bits: q below 16.
INLINE void narrow_halfsums(struct kind k, const struct group *g, const struct xgroup *x, f32x16 sums[2])
{
	const __m512i ones = _mm512_set1_epi16(1);
	__m512i p[4];
	UNROLL for (int j = 0; j < 4; j++) {
		const __m512i a = (__m512i)udot((i32x16){}, g->q[j][0], LOAD(i8x64, x->q[j][0])), b = (__m512i)udot((i32x16){}, g->q[j][1], LOAD(i8x64, x->q[j][1]));
		p[j] = _mm512_madd_epi16(_mm512_packs_epi32(a, b), ones);
	}
	const __m512i a = _mm512_madd_epi16(_mm512_packs_epi32(p[0], p[1]), ones), b = _mm512_madd_epi16(_mm512_packs_epi32(p[2], p[3]), ones);
	sums[0] = floats((i32x16)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x88));
	sums[1] = floats((i32x16)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xdd));
	if (k.offset) {
		sums[0] -= (float)k.offset * LOAD(f32x16, x->s0);
		sums[1] -= (float)k.offset * LOAD(f32x16, x->s1);
	}
}
#endif

INLINE void both_halfsums(struct kind k, const struct group *g, const struct xgroup *x, f32x16 sums[2])
{
#ifdef __AVX512F__
	if (k.offset < 16) { // q below 8
		narrow_halfsums(k, g, x, sums);
		return;
	}
#endif
	sums[0] = halfsums(k, g, x, 0);
	sums[1] = halfsums(k, g, x, 1);
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
	i32x16 p[4];
	UNROLL for (int j = 0; j < 4; j++) {
		p[j] = (i32x16){};
		UNROLL for (int h = 0; h < 2; h++) {
			i8x64 v = LOAD(i8x64, x->q[j][h]);
			p[j] = k.sign ? sdot(p[j], g->q[j][h], v) : udot(p[j], g->q[j][h], v);
		}
	}
	t = floats(sum4(p[0], p[1], p[2], p[3]));
	const float offset = k.sign ? SDOT_BIAS : k.offset;
	if (offset != 0)
		t -= offset * LOAD(f32x16, x->s); // exact, as above
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
