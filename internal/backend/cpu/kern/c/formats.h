// The layouts of weights: package weights has their description.
#ifndef FORMATS_H
#define FORMATS_H
#include "kern.h"
#include "vec.h"

enum type { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS };

// PAIRS are 32 numbers in BF16 in words of two, i and 16 + i: see compact.h.
enum real { F32, F16, BF16, PAIRS };

INLINE f32x16 real16(enum real t, const uint8_t *w)
{
	switch (t) {
	case PAIRS: break; // half32 reads those
	case F32: return LOAD(f32x16, w);
	case F16: return halves(LOAD(u16x16, w));
	case BF16: return bfloats(LOAD(u16x16, w));
	}
	__builtin_unreachable();
}

INLINE int64_t size_of(enum real t) { return t == F32 ? 4 : 2; }

// half32 reads half h of 32 weights.
INLINE f32x16 half32(enum real t, const uint8_t *w, int h)
{
	if (t != PAIRS)
		return real16(t, w + 16 * h * size_of(t));
	return (f32x16)(h ? LOAD(u32x16, w) & 0xffff0000 : LOAD(u32x16, w) << 16);
}

struct kind {
	int bytes;  // of 512 columns
	int block;  // bytes of a block
	int cols;   // of a block
	int halves; // scales are for 16 columns
	int min;    // it has m
	int sign;   // q is signed
	int offset;
	int most; // greatest q where it is unsigned (in unpack.h four or sixteen times that may STAY)
};

INLINE struct kind kind_of(enum type t)
{
	switch (t) {
	case Q4_0: return (struct kind){16 * 18, 18, 32, 0, 0, 0, 8, 15};
	case Q4_1: return (struct kind){16 * 20, 20, 32, 0, 1, 0, 0, 15};
	case Q5_0: return (struct kind){16 * 22, 22, 32, 0, 0, 0, 16, 31};
	case Q5_1: return (struct kind){16 * 24, 24, 32, 0, 1, 0, 0, 31};
	case Q8_0: return (struct kind){16 * 34, 34, 32, 0, 0, 1, 0, 0};
	case Q2_K: return (struct kind){2 * 84, 84, 256, 1, 1, 0, 0, 3};
	case Q3_K: return (struct kind){2 * 110, 110, 256, 1, 0, 0, 4, 7};
	case Q4_K: return (struct kind){2 * 144, 144, 256, 0, 1, 0, 0, 15};
	case Q5_K: return (struct kind){2 * 176, 176, 256, 0, 1, 0, 0, 31};
	case Q6_K: return (struct kind){2 * 210, 210, 256, 1, 0, 0, 32, 63};
	case IQ4_NL: return (struct kind){16 * 18, 18, 32, 0, 0, 1, 0, 0};
	case IQ4_XS: return (struct kind){2 * 136, 136, 256, 0, 0, 1, 0, 0};
	}
	__builtin_unreachable();
}

// The codebook of IQ4_NL and IQ4_XS.
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

INLINE uint16_t ld16(const uint8_t *p) { return *(const u16_at *)p; }
INLINE uint32_t ld32(const uint8_t *p) { return *(const u32_at *)p; }

// scales3 unpacks the sixteen 6-bit scales of Q3_K, 32 more than they are.
INLINE u8x16 scales3(const uint8_t *p)
{
	uint32_t a = ld32(p), b = ld32(p + 4), c = ld32(p + 8);
	u32x4 v = {(a & 0x0f0f0f0f) | (c << 4 & 0x30303030), (b & 0x0f0f0f0f) | (c << 2 & 0x30303030),
		   (a >> 4 & 0x0f0f0f0f) | (c & 0x30303030), (b >> 4 & 0x0f0f0f0f) | (c >> 2 & 0x30303030)};
	return (u8x16)v;
}

// scales_xs unpacks the eight 6-bit scales of IQ4_XS, 32 more than they are.
INLINE uint64_t scales_xs(const uint8_t *p)
{
	return nibbles(ld32(p + 4)) | crumbs(ld16(p + 2)) << 4;
}

// AHEAD is how far memory is asked for before it is used, where nothing else is said.
#define AHEAD 3072

// ASK asks for every line of some bytes of one of several rows, stride bytes apart, to be read
// soon (3: into the first-level cache) or later (2: into the second). Tensors begin at multiples of
// 32, and so may such bytes, if bytes and strides are such multiples, too; others begin anywhere in
// a line, and the last line has to be named, unless they fill the others so that it can't be another.
#define ASK(w, bytes, stride, soon)                                                               \
	do {                                                                                      \
		const int64_t apart_ = (bytes) | (stride) | 32;                                   \
		for (int64_t i_ = 0; i_ < (bytes); i_ += 64)                                      \
			__builtin_prefetch((w) + i_, 0, soon);                                    \
		if (((bytes) - 1) % 64 >= (apart_ & -apart_))                                     \
			__builtin_prefetch((w) + (bytes) - 1, 0, soon);                           \
	} while (0)

// prefetch_by asks for what lies so far behind some weights; 0 asks for nothing more.
INLINE void prefetch_by(int64_t near, int64_t far, const uint8_t *w, int64_t bytes)
{
	UNROLL for (int64_t i = 0; i < bytes; i += 64) {
		__builtin_prefetch(w + near + i, 0, 3);
		__builtin_prefetch(w + far + i, 0, 2);
	}
}

// prefetch does so by what is fast on the processor.
INLINE void prefetch(const struct decode *p, const uint8_t *w, int64_t bytes) { prefetch_by(p->near, p->far, w, bytes); }

#endif
