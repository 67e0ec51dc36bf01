// Rows of weights as numbers: exactly what package weights decodes, each product
// rounded before the sum that follows it; or those numbers rounded to bf16.
#ifndef DEQUANT_H
#define DEQUANT_H
#include "formats.h"
#include "kern.h"

enum to { TO_F32, TO_BF16 };

// Rows are completed with zeros to a multiple of ROUND_COLS columns.
#ifndef ROUND_COLS
#define ROUND_COLS STEP_COLS
#endif

INLINE void put(enum to to, uint8_t *y, int64_t c, f32x16 v)
{
	if (to == TO_F32)
		STORE(f32x16, y + 4 * c, v);
	else
		STORE(u16x16, y + 2 * c, narrow(v));
}

INLINE float half1(const uint8_t *p) { return half_float(ld16(p)); }

// put32 puts 32 columns. A level that rounds two vectors at once has NARROW2(hi, lo).
INLINE void put32(enum to to, uint8_t *y, int64_t c, f32x16 lo, f32x16 hi)
{
#ifdef NARROW2
	if (to == TO_BF16) {
		STORE(u32x16, y + 2 * c, NARROW2(hi, lo));
		return;
	}
#endif
	put(to, y, c, lo);
	put(to, y, c + 16, hi);
}

// A level with TABLES(index, table) looks 32 numbers up in one of 32: there are but 16 that
// 4 bits of a block can mean.
#ifdef TABLES
typedef uint8_t u8x32 __attribute__((vector_size(32)));
typedef uint8_t u8x32_at __attribute__((vector_size(32), aligned(1)));
typedef uint16_t u16x32 __attribute__((vector_size(64)));
static const uint8_t all_nibbles[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// put_table puts 32 columns, whose index each is 4 bits.
INLINE void put_table(uint8_t *y, int64_t c, f32x16 values, u8x32 index)
{
	const u16x16 t = narrow(values);
	const u16x32 table = __builtin_shufflevector(t, t, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1,
						     -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
	STORE(u32x16, y + 2 * c, TABLES(__builtin_convertvector(index, u16x32), table));
}

INLINE u8x32 both_nibbles(const uint8_t *p)
{
	const u8x16 v = LOAD(u8x16, p), lo = v & 15, hi = v >> 4;
	return __builtin_shufflevector(lo, hi, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
				       27, 28, 29, 30, 31);
}

#define BY_TABLE(to, p, y, at, EXPR)                                \
	if (to == TO_BF16) {                                        \
		const u8x16 n = LOAD(u8x16, all_nibbles);           \
		put_table(y, at, EXPR, both_nibbles(p));            \
		break;                                              \
	}
#else
#define BY_TABLE(to, p, y, at, EXPR)
#endif

// NIBBLES puts the low nibbles of 16 bytes, then the high ones.
#define NIBBLES(p, at, EXPR)                             \
	do {                                             \
		BY_TABLE(to, p, y, at, EXPR)             \
		u8x16 v_ = LOAD(u8x16, p), n = v_ & 15;  \
		const f32x16 lo_ = EXPR;                 \
		n = v_ >> 4;                             \
		put32(to, y, at, lo_, EXPR);             \
	} while (0)

// spread turns 16 bits of h into bytes of 16 or 0.
INLINE u8x16 spread(uint32_t h)
{
	const u8x16 bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
	uint8_t a = h, b = h >> 8;
	u8x16 v = {a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b};
	return (u8x16)((v & bit) == bit) & 16;
}

INLINE f32x16 iq4(u8x16 index)
{
	return bytes_i((i8x16)lookup16(LOAD(u8x16, iq4_values), index));
}

INLINE void expand5(enum to to, const uint8_t *w, uint8_t *y, int64_t c, int min)
{
	const int at = min ? 4 : 2;
	const f32x16 d = splat(half1(w)), m = splat(min ? half1(w + 2) : 0);
	uint32_t h = ld32(w + at);
	u8x16 v = LOAD(u8x16, w + at + 4);
	f32x16 lo = bytes_u((v & 15) | spread(h)), hi = bytes_u(v >> 4 | spread(h >> 16));
	put32(to, y, c, min ? d * lo + m : d * (lo - 16), min ? d * hi + m : d * (hi - 16));
}

// expand32 decodes a block of 32.
INLINE void expand32(enum type t, enum to to, const uint8_t *w, uint8_t *y, int64_t c)
{
	const f32x16 d = splat(half1(w));
	switch (t) {
	case Q4_0: NIBBLES(w + 2, c, d * (bytes_u(n) - 8)); break;
	case Q4_1: {
		const f32x16 m = splat(half1(w + 2));
		NIBBLES(w + 4, c, d * bytes_u(n) + m);
		break;
	}
	case Q5_0: expand5(to, w, y, c, 0); break;
	case Q5_1: expand5(to, w, y, c, 1); break;
	case Q8_0:
		put32(to, y, c, d * bytes_i(LOAD(i8x16, w + 2)), d * bytes_i(LOAD(i8x16, w + 18)));
		break;
	case IQ4_NL: NIBBLES(w + 2, c, d * iq4(n)); break;
	default: __builtin_unreachable();
	}
}

// expand_low decodes types with two low bits in 64 bytes at qs: Q2_K, Q3_K.
INLINE void expand_low(enum type t, enum to to, const uint8_t *w, uint8_t *y, int64_t c)
{
	const uint8_t *qs = w + (t == Q2_K ? 16 : 32);
	const float d = half1(w + (t == Q2_K ? 80 : 108)), dmin = t == Q2_K ? half1(w + 82) : 0;
	const u8x16 sc = t == Q2_K ? LOAD(u8x16, w) : scales3(w + 96);
	UNROLL for (int i = 0; i < 16; i++) {
		const int shift = 2 * (i >> 1 & 3);
		u8x16 q = LOAD(u8x16, qs + (i >> 3) * 32 + (i & 1) * 16) >> shift & 3;
		if (t == Q2_K) {
			float m = dmin * (float)(sc[i] >> 4);
			put(to, y, c + 16 * i, splat(d * (float)(sc[i] & 15)) * bytes_u(q) - splat(m));
		} else {
			q |= (LOAD(u8x16, w + (i & 1) * 16) >> (i >> 1) & 1) << 2;
			put(to, y, c + 16 * i, splat(d * (float)(sc[i] - 32)) * (bytes_u(q) - 4));
		}
	}
}

// expand_min decodes Q4_K and Q5_K.
INLINE void expand_min(enum type t, enum to to, const uint8_t *w, uint8_t *y, int64_t c)
{
	const float d = half1(w), dmin = half1(w + 2);
	const uint8_t *qs = w + (t == Q4_K ? 16 : 48);
	uint32_t x = ld32(w + 4), u = ld32(w + 8), z = ld32(w + 12);
	const u8x16 s = (u8x16)(u32x4){x & 0x3f3f3f3f, (z & 0x0f0f0f0f) | (x >> 2 & 0x30303030),
				       u & 0x3f3f3f3f, (z >> 4 & 0x0f0f0f0f) | (u >> 2 & 0x30303030)};
	UNROLL for (int j = 0; j < 8; j++) {
		const f32x16 scale = splat(d * (float)s[j]), min = splat(dmin * (float)s[8 + j]);
#ifdef TABLES
		if (to == TO_BF16 && t == Q4_K) {
			put_table(y, c + 32 * j, scale * bytes_u(LOAD(u8x16, all_nibbles)) - min, *(const u8x32_at *)(const void *)(qs + 32 * (j >> 1)) >> (4 * (j & 1)) & 15);
			continue;
		}
#endif
		f32x16 v[2];
		UNROLL for (int h = 0; h < 2; h++) {
			u8x16 q = LOAD(u8x16, qs + 32 * (j >> 1) + 16 * h) >> (4 * (j & 1)) & 15;
			if (t == Q5_K)
				q |= (LOAD(u8x16, w + 16 + 16 * h) >> j & 1) << 4;
			v[h] = scale * bytes_u(q) - min;
		}
		put32(to, y, c + 32 * j, v[0], v[1]);
	}
}

INLINE void expand_6k(enum to to, const uint8_t *w, uint8_t *y, int64_t c)
{
	const float d = half1(w + 208);
	f32x16 v[16];
	UNROLL for (int i = 0; i < 16; i++) {
		const int k = i >> 1 & 3;
		u8x16 lo = LOAD(u8x16, w + (i >> 3) * 64 + (k & 1) * 32 + (i & 1) * 16) >> (4 * (k >> 1)) & 15;
		u8x16 hi = LOAD(u8x16, w + 128 + (i >> 3) * 32 + (i & 1) * 16) >> (2 * k) & 3;
		v[i] = splat(d * (float)(int8_t)w[192 + i]) * (bytes_u(lo | hi << 4) - 32);
		if (i & 1)
			put32(to, y, c + 16 * (i - 1), v[i - 1], v[i]);
	}
}

INLINE void expand_xs(enum to to, const uint8_t *w, uint8_t *y, int64_t c)
{
	const float d = half1(w);
	const uint64_t sc = scales_xs(w);
	UNROLL for (int i = 0; i < 8; i++) {
		const f32x16 scale = splat(d * (float)((int)(sc >> (8 * i) & 63) - 32));
		NIBBLES(w + 8 + 16 * i, c + 32 * i, scale * iq4(n));
	}
}

// expand_block decodes a block, of 32 columns or 256.
INLINE void expand_block(enum type t, enum to to, const uint8_t *w, uint8_t *y, int64_t c)
{
	if (kind_of(t).cols == 32) {
		expand32(t, to, w, y, c);
		return;
	}
	switch (t) {
	case Q2_K:
	case Q3_K: expand_low(t, to, w, y, c); break;
	case Q4_K:
	case Q5_K: expand_min(t, to, w, y, c); break;
	case Q6_K: expand_6k(to, w, y, c); break;
	default: expand_xs(to, w, y, c);
	}
}

INLINE void expand(enum type t, enum to to, const struct convert *p)
{
	const struct kind k = kind_of(t);
	for (int64_t r = 0; r < p->rows; r++) {
		const uint8_t *w = p->x + r * p->ldx;
		uint8_t *y = p->y + r * p->ldy;
		for (int64_t c = 0; c < p->cols; c += k.cols, w += k.block) {
			PREFETCH((const uint8_t *)w + AHEAD);
			if (k.cols > 32)
				UNROLL for (int i = 64; i < k.block; i += 64)
					PREFETCH((const uint8_t *)w + AHEAD + i);
			expand_block(t, to, w, y, c);
		}
	}
}

// expand_real converts floats.
INLINE void expand_real(enum real t, enum to to, const struct convert *p)
{
	const int size = t == F32 ? 4 : 2;
	for (int64_t r = 0; r < p->rows; r++) {
		const uint8_t *w = p->x + r * p->ldx;
		uint8_t *y = p->y + r * p->ldy;
		int64_t c = 0;
		for (; c + 32 <= p->cols; c += 32)
			put32(to, y, c, real16(t, w + c * size), real16(t, w + (c + 16) * size));
		for (; c + 16 <= p->cols; c += 16)
			put(to, y, c, real16(t, w + c * size));
		for (; c < p->cols; c++) {
			uint32_t v = size == 4 ? ld32(w + 4 * c) : ld16(w + 2 * c);
			f32x16 f = t == F32 ? (f32x16)((u32x16){} + v) : t == F16 ? halves((u16x16){} + (uint16_t)v) : bfloats((u16x16){} + (uint16_t)v);
			if (to == TO_F32)
				*(u32_at *)(y + 4 * c) = ((u32x16)f)[0];
			else
				*(u16_at *)(y + 2 * c) = narrow(f)[0];
			BARRIER;
		}
		for (; c % ROUND_COLS; c++) {
			*(u16_at *)(y + 2 * c) = 0;
			BARRIER;
		}
	}
}

#endif
