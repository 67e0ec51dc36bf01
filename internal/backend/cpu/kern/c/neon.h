// What vec.h leaves to a level, for arm64: vectors of 64 bytes are four registers.
#ifndef NEON_H
#define NEON_H
#include "vec.h"

struct four { uint8x16_t q[4]; };
#define FOUR(v) __builtin_bit_cast(struct four, v)

INLINE i32x16 sdot(i32x16 s, u8x64 w, i8x64 x)
{
	struct four t = FOUR(s), a = FOUR(w), b = FOUR(x);
	UNROLL for (int i = 0; i < 4; i++)
		t.q[i] = (uint8x16_t)vdotq_s32((int32x4_t)t.q[i], (int8x16_t)a.q[i], (int8x16_t)b.q[i]);
	return __builtin_bit_cast(i32x16, t);
}

// Unsigned weights are below 64: they are signed ones, too.
INLINE i32x16 udot(i32x16 s, u8x64 w, i8x64 x) { return sdot(s, w, x); }

#define SDOT_BIAS 0
INLINE u8x64 signed_(u8x64 w) { return w; }
#define SIGNED_16 0 // the same of constants

// within takes bytes of the same quarter.
INLINE u8x64 within(u8x64 v, u8x64 index)
{
	struct four a = FOUR(v), b = FOUR(index);
	UNROLL for (int i = 0; i < 4; i++)
		a.q[i] = vqtbl1q_u8(a.q[i], b.q[i]);
	return __builtin_bit_cast(u8x64, a);
}
INLINE u8x64 lookup(u8x16 table, u8x64 index)
{
	struct four b = FOUR(index);
	UNROLL for (int i = 0; i < 4; i++)
		b.q[i] = vqtbl1q_u8((uint8x16_t)table, b.q[i]);
	return __builtin_bit_cast(u8x64, b);
}

typedef __fp16 f16x16 __attribute__((vector_size(32)));
INLINE f32x16 halves(u16x16 h) { return __builtin_convertvector((f16x16)h, f32x16); }
INLINE u16x16 to_halves(f32x16 v) { return (u16x16)__builtin_convertvector(v, f16x16); }

INLINE i32x16 nearest(f32x16 v)
{
	struct four a = FOUR(v);
	UNROLL for (int i = 0; i < 4; i++)
		a.q[i] = (uint8x16_t)vcvtnq_s32_f32((float32x4_t)a.q[i]);
	return __builtin_bit_cast(i32x16, a);
}

#define OPAQUE(v)                                                                                     \
	do {                                                                                          \
		struct four o_ = FOUR(v);                                                             \
		__asm__ volatile("" : "+w"(o_.q[0]), "+w"(o_.q[1]), "+w"(o_.q[2]), "+w"(o_.q[3])); \
		v = __builtin_bit_cast(f32x16, o_);                                                   \
	} while (0)

#endif
