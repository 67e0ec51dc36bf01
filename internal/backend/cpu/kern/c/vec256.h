// Vectors of vec.h in registers of 32 bytes: what AVX2 has no operator for, and how it is done
// where there is VNNI (AVX-VNNI) besides.
#ifndef VEC256_H
#define VEC256_H
#include "vec.h"

#define LOW(T, v) __builtin_bit_cast(T, __builtin_shufflevector((u8x64)(v), (u8x64)(v), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31))
#define HIGH(T, v) __builtin_bit_cast(T, __builtin_shufflevector((u8x64)(v), (u8x64)(v), 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63))

struct two { __m256i lo, hi; };
#define JOIN(T, a, b) __builtin_bit_cast(T, ((struct two){(__m256i)(a), (__m256i)(b)}))

// put_sums stores the first n of 16 sums.
INLINE void put_sums(float *out, const float *sums, int64_t n)
{
	if (n == 16) {
		STORE(f32x16, out, LOAD(f32x16, sums));
		return;
	}
	for (int64_t j = 0; j < n; j++) {
		out[j] = sums[j];
		BARRIER;
	}
}

#ifdef __AVXVNNI__
INLINE i32x16 udot(i32x16 s, u8x64 w, i8x64 x)
{
	return JOIN(i32x16, _mm256_dpbusd_avx_epi32(LOW(__m256i, s), LOW(__m256i, w), LOW(__m256i, x)),
		    _mm256_dpbusd_avx_epi32(HIGH(__m256i, s), HIGH(__m256i, w), HIGH(__m256i, x)));
}

#include "vnni.h"
#else
INLINE __m256i udot32(__m256i w, __m256i x)
{
	// Pairs of products are at most 2*128*127: they fit 16 bits.
	return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
}

INLINE i32x16 udot(i32x16 s, u8x64 w, i8x64 x)
{
	return s + JOIN(i32x16, udot32(LOW(__m256i, w), LOW(__m256i, x)), udot32(HIGH(__m256i, w), HIGH(__m256i, x)));
}

// w*x = |w| * (x with the sign of w); |-128| is 128 as an unsigned byte.
INLINE __m256i sdot32(__m256i w, __m256i x) { return udot32(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)); }

#define SDOT_BIAS 0
INLINE u8x64 signed_(u8x64 w) { return w; }
#define SIGNED_16 0 // the same of constants
INLINE i32x16 sdot(i32x16 s, u8x64 w, i8x64 x)
{
	return s + JOIN(i32x16, sdot32(LOW(__m256i, w), LOW(__m256i, x)), sdot32(HIGH(__m256i, w), HIGH(__m256i, x)));
}
#endif

INLINE f32x16 halves(u16x16 h)
{
	__m256i v = (__m256i)h;
	return JOIN(f32x16, _mm256_cvtph_ps(_mm256_castsi256_si128(v)), _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
}

// within takes bytes of the same quarter.
INLINE u8x64 within(u8x64 v, u8x64 index)
{
	return JOIN(u8x64, _mm256_shuffle_epi8(LOW(__m256i, v), LOW(__m256i, index)), _mm256_shuffle_epi8(HIGH(__m256i, v), HIGH(__m256i, index)));
}
INLINE u8x64 lookup(u8x16 table, u8x64 index) { return within(cat(table, table, table, table), index); }

INLINE i32x16 nearest(f32x16 v)
{
	return JOIN(i32x16, _mm256_cvtps_epi32(LOW(__m256, v)), _mm256_cvtps_epi32(HIGH(__m256, v)));
}

#endif
