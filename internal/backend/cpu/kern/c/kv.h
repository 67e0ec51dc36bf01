// Keys and values as the cache stores them. Included by rest.h.
#ifndef KV_H
#define KV_H

enum kv { KV_F32, KV_F16, KV_BF16, KV_Q8, KV_Q4 };

#define POSITIONS 64

INLINE int64_t head_bytes(enum kv t, int64_t dim)
{
	switch (t) {
	case KV_F32: return 4 * dim;
	case KV_Q8: return (dim + 31) / 32 * 34;
	case KV_Q4: return (dim + 31) / 32 * 18;
	default: return 2 * dim;
	}
}

// element16 decodes columns i to i+15 of a head, zeros behind its end. A block's
// end is filled with zeros.
INLINE f32x16 element16(enum kv t, const uint8_t *p, int64_t i, int64_t dim)
{
	if (t == KV_F32)
		return part((const float *)(const void *)p + i, dim - i);
	if (t == KV_Q8) {
		p += i / 32 * 34;
		return half_float(*(const u16_at *)p) * bytes_i(LOAD(i8x16, p + 2 + (i & 16)));
	}
	if (t == KV_Q4) {
		p += i / 32 * 18;
		u8x16 v = LOAD(u8x16, p + 2);
		return half_float(*(const u16_at *)p) * (bytes_u(i & 16 ? v >> 4 : v & 15) - 8);
	}
	uint16_t h[16];
	u16x16 v;
	if (dim - i >= 16) {
		v = LOAD(u16x16, p + 2 * i);
	} else {
		for (int64_t j = 0; j < 16; j++) {
			h[j] = j < dim - i ? *(const u16_at *)(p + 2 * (i + j)) : 0;
			BARRIER;
		}
		v = LOAD(u16x16, h);
	}
	return t == KV_F16 ? halves(v) : bfloats(v);
}

// collect copies one head's keys or values of the block's positions to [64][d].
INLINE void collect(enum kv t, const struct attend *p, const uint8_t *base, float *to, int64_t d)
{
	const int64_t bytes = head_bytes(t, p->dim);
	for (int64_t at = p->lo; at < p->hi; at++) {
		const uint8_t *from = base + p->cells[at] * p->stride;
		if (at + 4 < p->hi)
			for (int64_t i = 0; i < bytes; i += 64)
				PREFETCH(base + p->cells[at + 4] * p->stride + i);
		for (int64_t i = 0; i < p->dim; i += 16)
			STORE(f32x16, to + at * d + i, element16(t, from, i, p->dim));
	}
}

// BY_TYPE calls a function with p's type, a constant in each call.
#define BY_TYPE(F, p, ...)                                     \
	switch ((p)->type) {                                   \
	case KV_F32: F(KV_F32, p, __VA_ARGS__); break;         \
	case KV_F16: F(KV_F16, p, __VA_ARGS__); break;         \
	case KV_BF16: F(KV_BF16, p, __VA_ARGS__); break;       \
	case KV_Q8: F(KV_Q8, p, __VA_ARGS__); break;           \
	default: F(KV_Q4, p, __VA_ARGS__);                     \
	}

INLINE void collect_as(const struct attend *p, const uint8_t *base, float *to, int64_t d)
{
	BY_TYPE(collect, p, base, to, d)
}

// to_bfloats rounds to the nearest, ties to even; a NaN stays one.
INLINE u16x16 to_bfloats(f32x16 v)
{
	u32x16 b = (u32x16)v, up = b + 0x7fff + (b >> 16 & 1), nan = (u32x16)(v != v);
	return __builtin_convertvector((((b | 0x400000) & nan) | (up & ~nan)) >> 16, u16x16);
}

INLINE void keep_halves(enum kv t, const struct convert *p)
{
	for (int64_t r = 0; r < p->rows; r++) {
		const float *x = (const float *)(const void *)(p->x + r * p->ldx);
		uint8_t *y = p->y + r * p->ldy;
		for (int64_t i = 0; i < p->cols; i += 16) {
			f32x16 v = part(x + i, p->cols - i);
			u16x16 h = t == KV_F16 ? to_halves(v) : to_bfloats(v);
			if (p->cols - i >= 16) {
				STORE(u16x16, y + 2 * i, h);
				continue;
			}
			uint16_t b[16];
			STORE(u16x16, b, h);
			for (int64_t j = 0; j < p->cols - i; j++) {
				*(u16_at *)(y + 2 * (i + j)) = b[j];
				BARRIER;
			}
		}
	}
}

// keep_block stores 32 numbers: the same as package cpu's keepQ8 and keepQ4.
INLINE void keep_block(enum kv t, uint8_t *y, f32x16 lo, f32x16 hi)
{
	const u32x16 magnitude = (u32x16){} + 0x7fffffff;
	u32x16 bits = __builtin_elementwise_max((u32x16)lo & magnitude, (u32x16)hi & magnitude);
	const uint32_t top = __builtin_reduce_max(bits);
	const int finite = top < 0x7f800000;
	float most = __builtin_bit_cast(float, top);
	if (t == KV_Q4) {
		// The greatest is negative unless a positive one has its magnitude.
		i32x16 at = ((u32x16)lo == top) | ((u32x16)hi == top);
		if (!__builtin_reduce_or(at))
			most = -most;
	}
	u16x16 h16 = to_halves(splat(finite ? most / (t == KV_Q8 ? 127 : -8) : 0));
	const uint16_t h = !finite ? 0x7e00 : h16[0] & 0x7fff ? h16[0] : 0; // no -0
	const float d = half_float(h);
	const float inverse = finite && d != 0 ? 1 / d : 0;
	if (!finite)
		lo = hi = (f32x16){};
	i32x16 a = nearest(lo * inverse), b = nearest(hi * inverse);
	const int least = t == KV_Q8 ? -127 : -8, greatest = t == KV_Q8 ? 127 : 7;
	a = __builtin_elementwise_min(__builtin_elementwise_max(a, (i32x16){} + least), (i32x16){} + greatest);
	b = __builtin_elementwise_min(__builtin_elementwise_max(b, (i32x16){} + least), (i32x16){} + greatest);
	*(u16_at *)y = h;
	if (t == KV_Q8) {
		STORE(i8x16, y + 2, __builtin_convertvector(a, i8x16));
		STORE(i8x16, y + 18, __builtin_convertvector(b, i8x16));
	} else {
		STORE(u8x16, y + 2, __builtin_convertvector((a + 8) | (b + 8) << 4, u8x16));
	}
}

INLINE void keep_blocks(enum kv t, const struct convert *p)
{
	for (int64_t r = 0; r < p->rows; r++) {
		const float *x = (const float *)(const void *)(p->x + r * p->ldx);
		uint8_t *y = p->y + r * p->ldy;
		for (int64_t i = 0; i < p->cols; i += 32, y += t == KV_Q8 ? 34 : 18) {
			f32x16 hi = {};
			if (p->cols - i > 16)
				hi = part(x + i + 16, p->cols - i - 16);
			keep_block(t, y, part(x + i, p->cols - i), hi);
		}
	}
}

KERNEL k_keep_f16(const struct convert *p) { keep_halves(KV_F16, p); }
KERNEL k_keep_bf16(const struct convert *p) { keep_halves(KV_BF16, p); }
KERNEL k_keep_q8(const struct convert *p) { keep_blocks(KV_Q8, p); }
KERNEL k_keep_q4(const struct convert *p) { keep_blocks(KV_Q4, p); }

#endif
