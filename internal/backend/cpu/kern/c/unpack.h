// A group of a weight row, unpacked for the products of quant.h.
#ifndef UNPACK_H
#define UNPACK_H
#include "formats.h"
#include "kern.h"

// group is 512 columns of a weight row. Value = d * (q - offset) + m, where
// offset is the type's; d0 and d1 (m0 and m1) differ for types whose scales are
// for 16 columns, others have d0 (and m0) only.
struct group {
	u8x64 q[4][2];
	f32x16 d0, d1, m0, m1;
};

// STAY: bits of odd blocks stay where they lie in a byte, as multiples of 4 or 16, and their scales
// are divided by that, exactly. Products with VNNI fit their sums nevertheless; a Zen 4 is short of
// the units that shift.
#if defined(__AVX512F__) || defined(__AVXVNNI__)
#define STAY 1
#else
#define STAY 0
#endif

// odd_blocks is f for odd blocks, 1 for even ones.
INLINE f32x16 odd_blocks(float f) { return (f32x16){1, f, 1, f, 1, f, 1, f, 1, f, 1, f, 1, f, 1, f}; }

#ifdef __AVX512F__
// four_words reads 4 words, stride bytes apart: in registers, not vectors, whose units a group
// keeps busy.
INLINE uint64_t four_words(const uint8_t *p, int stride)
{
	uint64_t lo = ld16(p) | (uint32_t)ld16(p + stride) << 16, hi = ld16(p + 2 * stride) | (uint32_t)ld16(p + 3 * stride) << 16;
	lo |= hi << 32;
	__asm__("" : "+r"(lo));
	return lo;
}
#endif

// strided reads 16 binary16 numbers, stride bytes apart.
INLINE f32x16 strided(const uint8_t *p, int stride)
{
#ifdef __AVX512F__
	typedef uint64_t u64x4 __attribute__((vector_size(32)));
	u64x4 h = {four_words(p, stride), four_words(p + 4 * stride, stride), four_words(p + 8 * stride, stride), four_words(p + 12 * stride, stride)};
	return halves((u16x16)h);
#else
	u16x16 h = {ld16(p), ld16(p + stride), ld16(p + 2 * stride), ld16(p + 3 * stride),
		    ld16(p + 4 * stride), ld16(p + 5 * stride), ld16(p + 6 * stride), ld16(p + 7 * stride),
		    ld16(p + 8 * stride), ld16(p + 9 * stride), ld16(p + 10 * stride), ld16(p + 11 * stride),
		    ld16(p + 12 * stride), ld16(p + 13 * stride), ld16(p + 14 * stride), ld16(p + 15 * stride)};
	return halves(h);
#endif
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

#ifdef __AVX512F__
// both32 reads 32 bytes from each of two places.
INLINE __m512i both32(const uint8_t *a, const uint8_t *b)
{
	return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)a)), _mm256_loadu_si256((const __m256i *)(const void *)b), 1);
}
#endif

// halves32 reads 32 bytes from four places, by halves.
INLINE void halves32(u8x64 v[2], const uint8_t *p, int64_t b, int64_t c, int64_t d)
{
#ifdef __AVX512F__
	// By 32 bytes, not 16: what reads a line often holds a Zen 4 up.
	const __m512i x = both32(p, p + b);
	const __m512i y = both32(p + c, p + d);
	v[0] = (u8x64)_mm512_shuffle_i32x4(x, y, 0x88);
	v[1] = (u8x64)_mm512_shuffle_i32x4(x, y, 0xdd);
#else
	v[0] = quarters(p, 0, b, c, d);
	v[1] = quarters(p + 16, 0, b, c, d);
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

#ifdef __AVX2__
// eights spreads number i, 0 or 1, to 8 lanes, and number i + 2.
INLINE f32x16 eights(__m128 of, int i)
{
#ifdef __AVX512F__
	const i32x16 at = {0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2};
	return (f32x16)_mm512_permutexvar_ps((__m512i)(at + i), _mm512_castps128_ps512(of));
#else
	const __m128 next = i ? _mm_movehdup_ps(of) : of;
	return JOIN(f32x16, _mm256_broadcastss_ps(next), _mm256_broadcastss_ps(_mm_movehl_ps(next, next)));
#endif
}
#endif

// scales4 unpacks the 6-bit scales and mins of two blocks of Q4_K or Q5_K, for nibbles that
// stay if they do.
INLINE void scales4(struct group *g, const uint8_t *a, const uint8_t *b, int stay)
{
	const f32x16 by = odd_blocks(stay ? 1.f / 16 : 1);
#ifdef __AVX2__
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
	const u8x16 sc = (u8x16)_mm256_castsi256_si128(apart), mn = (u8x16)_mm256_extracti128_si256(apart, 1);
	const __m128 of = _mm_cvtph_ps(_mm_unpacklo_epi32(v0, v1)); // d and m of a, of b
	g->d0 = eights(of, 0) * by * bytes_u(sc);
	g->m0 = -(eights(of, 1) * bytes_u(mn));
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
	g->d0 = pair(a, b) * by * bytes_u((u8x16)sc);
	g->m0 = -(pair(a + 2, b + 2) * bytes_u((u8x16)mn));
#endif
}

// nibbles4 unpacks the nibbles of two blocks of Q4_K or Q5_K; those of odd blocks may stay.
INLINE void nibbles4(struct group *g, const uint8_t *qs, int size, int stay)
{
	UNROLL for (int i = 0; i < 2; i++)
		UNROLL for (int h = 0; h < 2; h++) {
			u8x64 v = quarters(qs + 32 * i + 16 * h, 0, 64, size, size + 64);
			g->q[2 * i][h] = v & 15;
			g->q[2 * i + 1][h] = stay ? v & 0xf0 : v >> 4;
		}
}

// bits4 reads 32 bytes of two blocks, by halves: bit j of a result's byte is for block 32j of the
// quarter. Higher bits may be any.
INLINE void bits4(u8x64 top[2], const uint8_t *p, int size)
{
#ifdef __AVX512F__
	const __m512i v = both32(p, p + size);
	const __m512i by = _mm512_setr_epi64(0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004, 0x0004000400040004);
	top[0] = (u8x64)_mm512_srlv_epi16(_mm512_shuffle_i32x4(v, v, 0xa0), by);
	top[1] = (u8x64)_mm512_srlv_epi16(_mm512_shuffle_i32x4(v, v, 0xf5), by);
#else
	UNROLL for (int h = 0; h < 2; h++) {
		u8x16 a = LOAD(u8x16, p + 16 * h), b = LOAD(u8x16, p + 16 * h + size);
		top[h] = cat(a, a >> 4, b, b >> 4);
	}
#endif
}

#ifdef __AVX512F__
// words16 reads 16 bytes from each of two places.
INLINE u16x16 words16(const uint8_t *a, const uint8_t *b)
{
	const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a), y = _mm_loadu_si128((const __m128i *)(const void *)b);
	return (u16x16)_mm256_inserti128_si256(_mm256_castsi128_si256(x), y, 1);
}

// of_pairs are the numbers of words a and b, two of each.
INLINE __m128 of_pairs(uint32_t a, uint32_t b)
{
	return _mm_cvtph_ps(_mm_unpacklo_epi32(_mm_cvtsi32_si128((int)a), _mm_cvtsi32_si128((int)b)));
}
#endif

INLINE void unpack_2k(struct group *g, const uint8_t *w)
{
#ifdef __AVX512F__
	// A word of two bytes for each block: scale and minimum of its first half, then of its second.
	const u32x16 words = __builtin_convertvector(words16(w, w + 84), u32x16);
	const __m128 of = of_pairs(ld32(w + 80), ld32(w + 164));
	const f32x16 d = eights(of, 0) * odd_blocks(1.f / 4), m = eights(of, 1);
	g->d0 = d * floats((i32x16)(words & 15));
	g->m0 = -(m * floats((i32x16)(words >> 4 & 15)));
	g->d1 = d * floats((i32x16)(words >> 8 & 15));
	g->m1 = -(m * floats((i32x16)(words >> 12)));
#else
	u8x16 a = LOAD(u8x16, w), b = LOAD(u8x16, w + 84);
	f32x16 d = pair(w + 80, w + 164), m = pair(w + 82, w + 166);
	if (STAY)
		d *= odd_blocks(1.f / 4);
	g->d0 = d * bytes_u(evens(a, b) & 15);
	g->d1 = d * bytes_u(odds(a, b) & 15);
	g->m0 = -(m * bytes_u(evens(a, b) >> 4));
	g->m1 = -(m * bytes_u(odds(a, b) >> 4));
#endif
	UNROLL for (int h = 0; h < 2; h++) {
		u8x64 v = crossed(w + 16, w + 100, h);
		UNROLL for (int j = 0; j < 4; j++)
			g->q[j][h] = STAY && j % 2 ? v >> (2 * j - 2) & 12 : v >> (2 * j) & 3;
	}
}

INLINE void unpack_3k(struct group *g, const uint8_t *w)
{
#ifdef __AVX512F__
	// Words a, b and c of both blocks, and their scales: scales3 has the layout.
	const __m256i v = _mm256_bsrli_epi128((__m256i)words16(w + 94, w + 204), 2);
	const __m256i low = _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi32(v, 0x44), _mm256_setr_epi32(0, 0, 4, 4, 0, 0, 4, 4)), _mm256_set1_epi32(0x0f0f0f0f));
	const __m256i high = _mm256_rolv_epi32(_mm256_shuffle_epi32(v, 0xaa), _mm256_setr_epi32(4, 2, 0, 30, 4, 2, 0, 30));
	const i32x16 both = (i32x16)_mm512_cvtepu16_epi32(_mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi32(0x30303030))));
	const f32x16 d = eights(of_pairs(ld16(w + 108), ld16(w + 218)), 0);
	g->d0 = d * floats((both & 0xff) - 32);
	g->d1 = d * floats((both >> 8) - 32);
#else
	u8x16 a = scales3(w + 96), b = scales3(w + 206);
	f32x16 d = pair(w + 108, w + 218);
	g->d0 = d * (bytes_u(evens(a, b)) - 32);
	g->d1 = d * (bytes_u(odds(a, b)) - 32);
#endif
	u8x64 top[2];
	bits4(top, w, 110);
	UNROLL for (int h = 0; h < 2; h++) {
		u8x64 v = crossed(w + 32, w + 142, h);
		UNROLL for (int j = 0; j < 4; j++)
			g->q[j][h] = (v >> (2 * j) & 3) | (top[h] >> j & 1) << 2;
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
			halves32(g->q[j], w + 34 * j + 2, 136, 272, 408);
			UNROLL for (int h = 0; h < 2; h++)
				g->q[j][h] = signed_(g->q[j][h]);
		}
		break;
	case Q2_K: unpack_2k(g, w); break;
	case Q3_K: unpack_3k(g, w); break;
	case Q4_K:
		scales4(g, w, w + 144, STAY);
		nibbles4(g, w + 16, 144, STAY);
		break;
	case Q5_K: {
		u8x64 top[2];
		scales4(g, w, w + 176, 0);
		nibbles4(g, w + 48, 176, 0);
		bits4(top, w + 16, 176);
		UNROLL for (int h = 0; h < 2; h++)
			UNROLL for (int j = 0; j < 4; j++)
				g->q[j][h] |= (top[h] >> j & 1) << 4;
		break;
	}
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

#endif
