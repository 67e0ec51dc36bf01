// What sampling does to a row of logits.
#ifndef LOGITS_H
#define LOGITS_H
#include "kern.h"
#include "vec.h"

#define LOGITS_BLOCK 256

// k_maxima: y[i] is the greatest of block i of x, -Inf for a block of NaNs.
KERNEL k_maxima(const struct convert *p)
{
	const float *x = (const float *)(const void *)p->x;
	float *y = (float *)(void *)p->y;
	for (int64_t i = 0; i < p->cols; i += LOGITS_BLOCK) {
		f32x16 m[4];
		UNROLL for (int j = 0; j < 4; j++)
			m[j] = splat(-__builtin_inff());
		if (p->cols - i >= LOGITS_BLOCK) {
			for (int64_t k = 0; k < LOGITS_BLOCK; k += 64)
				UNROLL for (int j = 0; j < 4; j++) {
					f32x16 v = LOAD(f32x16, x + i + k + 16 * j);
					m[j] = choose(v > m[j], v, m[j]);
				}
		} else {
			for (int64_t k = i; k < p->cols; k++) {
				f32x16 v = splat(x[k]);
				m[0] = choose(v > m[0], v, m[0]);
				BARRIER;
			}
		}
		UNROLL for (int j = 1; j < 4; j++)
			m[0] = choose(m[j] > m[0], m[j], m[0]);
		*y++ = __builtin_reduce_max(m[0]);
	}
}

typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t i64x8 __attribute__((vector_size(64)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef float f32x8 __attribute__((vector_size(32)));
VECTOR(double, 8, f64v8);
VECTOR(float, 8, f32v8);

// weights8 is e^((x - peak) * scale), with the bits of package exact's Exp, whose
// steps these are; 0 where the exponent is below -700 or no number.
INLINE f64x8 weights8(const struct weigh *p, f32x8 v)
{
	const double magic = 0x1.8p52;
	f64x8 x = (__builtin_convertvector(v, f64x8) - p->peak) * p->scale;
	f64x8 t = x * p->inverse + magic;
	i32x8 n = __builtin_convertvector((i64x8)t, i32x8); // the low bits
	f64x8 f = t - magic;
	f64x8 r = x - f * p->hi - f * p->lo, r2 = r * r;
	f64x8 q = r + r2 * (0.5 + r * (1. / 6) + r2 * ((1. / 24) + r * (1. / 120)));
	f64x8 e;
	UNROLL for (int j = 0; j < 8; j++)
		e[j] = p->table[n[j] & 63];
	e += e * q;
	e *= (f64x8)(__builtin_convertvector((n >> 6) + 1023, i64x8) << 52);
	return (f64x8)((i64x8)e & (x >= -700.));
}

KERNEL k_weigh(const struct weigh *p)
{
	int64_t i = 0;
	for (; i + 8 <= p->n; i += 8)
		STORE(f64v8, p->y + i, (f64v8)weights8(p, (f32x8)LOAD(f32v8, p->x + i)));
	if (i == p->n)
		return;
	f32x8 v = {};
	for (int64_t j = i; j < p->n; j++) {
		float t[8];
		__builtin_memcpy_inline(t, &v, 32);
		t[j - i] = p->x[j];
		BARRIER;
		__builtin_memcpy_inline(&v, t, 32);
	}
	f64x8 w = weights8(p, v);
	double t[8];
	__builtin_memcpy_inline(t, &w, 64);
	for (int64_t j = i; j < p->n; j++) {
		p->y[j] = t[j - i];
		BARRIER;
	}
}

#endif
