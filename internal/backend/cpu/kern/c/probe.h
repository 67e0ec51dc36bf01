// What the machine can do at most: the yardstick of the kernels.
#ifndef PROBE_H
#define PROBE_H
#include "kern.h"
#include "vec.h"

// k_read reads n bytes, a multiple of 512.
KERNEL k_read(struct probe *p)
{
	u32x16 s[8] = {};
	for (int64_t i = 0; i < p->n; i += 512) {
		UNROLL for (int j = 0; j < 8; j++) {
			PREFETCH((const uint8_t *)p->data + i + 64 * j + AHEAD);
			s[j] ^= LOAD(u32x16, p->data + i + 64 * j);
		}
	}
	UNROLL for (int j = 1; j < 8; j++)
		s[0] ^= s[j];
	p->sum = __builtin_reduce_xor(s[0]);
}

// k_peak_fma does n times 12 * 16 float multiply-adds on numbers from data.
KERNEL k_peak_fma(struct probe *p)
{
	f32x16 s[PEAK_SUMS] = {}, a = LOAD(f32x16, p->data), b = LOAD(f32x16, p->data + 64);
	for (int64_t i = 0; i < p->n; i++) {
		UNROLL for (int j = 0; j < PEAK_SUMS; j++)
			s[j] = fma16(a, b, s[j]);
		OPAQUE(a);
	}
	UNROLL for (int j = 1; j < PEAK_SUMS; j++)
		s[0] += s[j];
	p->sum = __builtin_reduce_xor((u32x16)s[0]);
}

#endif
