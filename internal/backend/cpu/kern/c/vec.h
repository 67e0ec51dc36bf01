// Vectors of 64 bytes, for kernels that are written once for all levels. The
// compiler splits them where registers are narrower, so that a sum has the same
// order, and a kernel the same bits, at every level. What the language has no
// operator for stands in the level's own file, above its includes, or in vec256.h, vnni.h or neon.h:
//
//	i32x16 udot(i32x16 s, u8x64 w, i8x64 x)   s + sums of 4 products, w unsigned <= 128 (with VNNI any)
//	i32x16 sdot(i32x16 s, i8x64 w, i8x64 x)   the same, w signed; exact after
//	                                          SDOT_BIAS * (sum of x) is taken away
//	f32x16 halves(u16x16 h)                   binary16 to float
//	u8x64 lookup(u8x16 table, u8x64 index)
//
// What all levels of an architecture have alike stands in this file.
#ifndef VEC_H
#define VEC_H

#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

// All functions with vectors for arguments are inlined: there is no ABI.
#pragma clang diagnostic ignored "-Wpsabi"

#define KERNEL __attribute__((visibility("default"), used)) void
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

#define VECTOR(T, N, NAME)                                                      \
	typedef T NAME __attribute__((vector_size(N * sizeof(T))));             \
	typedef T NAME##_at __attribute__((vector_size(N * sizeof(T)), aligned(1)))

VECTOR(uint8_t, 16, u8x16);
VECTOR(int8_t, 16, i8x16);
VECTOR(uint8_t, 32, u8x32);
VECTOR(uint8_t, 64, u8x64);
VECTOR(int8_t, 64, i8x64);
VECTOR(uint16_t, 16, u16x16);
VECTOR(int16_t, 16, i16x16);
VECTOR(int32_t, 4, i32x4);
VECTOR(uint32_t, 4, u32x4);
VECTOR(int32_t, 16, i32x16);
VECTOR(uint32_t, 16, u32x16);
VECTOR(float, 16, f32x16);

typedef uint16_t u16_at __attribute__((aligned(1)));
typedef uint32_t u32_at __attribute__((aligned(1)));
typedef uint64_t u64_at __attribute__((aligned(1)));

#define LOAD(T, p) (*(const T##_at *)(const void *)(p))
#define STORE(T, p, v) (*(T##_at *)(void *)(p) = (v))

#define PREFETCH(p) __builtin_prefetch(p, 0, 3)

INLINE f32x16 splat(float f) { return (f32x16){f, f, f, f, f, f, f, f, f, f, f, f, f, f, f, f}; }
INLINE f32x16 fma16(f32x16 a, f32x16 b, f32x16 c) { return __builtin_elementwise_fma(a, b, c); }
INLINE f32x16 floats(i32x16 v) { return __builtin_convertvector(v, f32x16); }
INLINE f32x16 bytes_u(u8x16 v) { return floats(__builtin_convertvector(v, i32x16)); }
INLINE f32x16 bytes_i(i8x16 v) { return floats(__builtin_convertvector(v, i32x16)); }
INLINE f32x16 bfloats(u16x16 v) { return (f32x16)(__builtin_convertvector(v, u32x16) << 16); }

// fold adds 16 lanes in halves: 8 apart, then 4, 2, 1.
INLINE float fold(f32x16 v)
{
	typedef float f32x8 __attribute__((vector_size(32)));
	typedef float f32x4 __attribute__((vector_size(16)));
	typedef float f32x2 __attribute__((vector_size(8)));
	f32x8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
	f32x4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
	f32x2 c = __builtin_shufflevector(b, b, 0, 1) + __builtin_shufflevector(b, b, 2, 3);
	return c[0] + c[1];
}

// half_float is a binary16 number; lookup16 takes bytes of table; nibbles makes
// every 4 bits a byte, crumbs every 2.
#if defined(__x86_64__)
// It goes through a whole register: an insertion into one, which the compiler would
// make of it, waits for what was in it before.
INLINE float half_float(uint16_t h)
{
	uint32_t v = h;
	__asm__("" : "+r"(v));
	return _mm_cvtph_ps(_mm_cvtsi32_si128((int)v))[0];
}
INLINE u8x16 lookup16(u8x16 table, u8x16 index) { return (u8x16)_mm_shuffle_epi8((__m128i)table, (__m128i)index); }
INLINE uint64_t nibbles(uint32_t v) { return _pdep_u64(v, 0x0f0f0f0f0f0f0f0f); }
INLINE uint64_t crumbs(uint16_t v) { return _pdep_u64(v, 0x0303030303030303); }
#else
INLINE float half_float(uint16_t h) { return __builtin_bit_cast(__fp16, h); }
INLINE u8x16 lookup16(u8x16 table, u8x16 index) { return (u8x16)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)index); }
INLINE uint64_t nibbles(uint32_t v)
{
	uint64_t w = (v | (uint64_t)v << 16) & 0x0000ffff0000ffff;
	w = (w | w << 8) & 0x00ff00ff00ff00ff;
	return (w | w << 4) & 0x0f0f0f0f0f0f0f0f;
}
INLINE uint64_t crumbs(uint16_t v)
{
	uint64_t w = (v | (uint64_t)v << 24) & 0x000000ff000000ff;
	w = (w | w << 12) & 0x000f000f000f000f;
	return (w | w << 6) & 0x0303030303030303;
}
#endif

// sum4 adds the 4 lanes of each quarter: lane 4k+j of the result is the sum of
// quarter k of pj.
#define SUM4(T, NAME)                                                                                              \
	INLINE T NAME(T p0, T p1, T p2, T p3)                                                                      \
	{                                                                                                          \
		T a = __builtin_shufflevector(p0, p1, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +  \
		      __builtin_shufflevector(p0, p1, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31); \
		T b = __builtin_shufflevector(p2, p3, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +  \
		      __builtin_shufflevector(p2, p3, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31); \
		return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +   \
		       __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);  \
	}
#if defined(__x86_64__)
SUM4(i32x16, sum4)
#else
INLINE i32x16 sum4(i32x16 p0, i32x16 p1, i32x16 p2, i32x16 p3)
{
	const i32x16 p[4] = {p0, p1, p2, p3};
	int32x4_t q[4][4], r[4];
	__builtin_memcpy_inline(q, p, sizeof p);
	UNROLL for (int k = 0; k < 4; k++)
		r[k] = vpaddq_s32(vpaddq_s32(q[0][k], q[1][k]), vpaddq_s32(q[2][k], q[3][k]));
	i32x16 sums;
	__builtin_memcpy_inline(&sums, r, sizeof r);
	return sums;
}
#endif
SUM4(f32x16, fsum4)

// cat joins quarters of 16 bytes.
INLINE u8x64 cat(u8x16 a, u8x16 b, u8x16 c, u8x16 d)
{
	u8x32 lo = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
					   21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
	u8x32 hi = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
					   21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
	return __builtin_shufflevector(lo, hi, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
				       22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42,
				       43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63);
}

// evens and odds are every other byte of a and b.
INLINE u8x16 evens(u8x16 a, u8x16 b)
{
	return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
INLINE u8x16 odds(u8x16 a, u8x16 b)
{
	return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

// transpose turns 16 rows of 16 words into 16 columns.
INLINE void transpose(u32x16 v[16])
{
	u32x16 t[16];
	UNROLL for (int i = 0; i < 16; i += 2) {
		t[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
		t[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
	}
	UNROLL for (int i = 0; i < 16; i += 4) {
		UNROLL for (int j = 0; j < 2; j++) {
			v[i + 2 * j] = __builtin_shufflevector(t[i + j], t[i + j + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
			v[i + 2 * j + 1] = __builtin_shufflevector(t[i + j], t[i + j + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
		}
	}
	// Now quarter q of v[4i+j] has rows 4i..4i+3 of column 4q+j.
	UNROLL for (int j = 0; j < 4; j++) {
		t[j] = __builtin_shufflevector(v[j], v[j + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
		t[j + 4] = __builtin_shufflevector(v[j], v[j + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
		t[j + 8] = __builtin_shufflevector(v[j + 8], v[j + 12], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
		t[j + 12] = __builtin_shufflevector(v[j + 8], v[j + 12], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
	}
	UNROLL for (int j = 0; j < 4; j++) {
		UNROLL for (int q = 0; q < 2; q++) { // t[j+4q]: quarters q and q+2
			v[4 * q + j] = __builtin_shufflevector(t[j + 4 * q], t[j + 8 + 4 * q], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
			v[4 * (q + 2) + j] = __builtin_shufflevector(t[j + 4 * q], t[j + 8 + 4 * q], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
		}
	}
}

// What is left to make the compiler see no memcpy or memset in a loop: there is
// none to call.
#define BARRIER __asm__ volatile("" ::: "memory")

#endif
