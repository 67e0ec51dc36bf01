// Kernels for NEON with the matrix instructions of bf16 (BFMMLA): products of
// many rows. The other kernels of this level are those of NEON.
//
// BFMMLA multiplies two rows of four numbers with two other rows. So a tile of 16
// rows of x lies as [unit of 4 columns][8 pairs of rows][2 rows][4 columns], and a
// row of w as it is, zeros behind its end; w's pairs are put together as they are
// read. A result is one lane of one register from its first step to its last.
#include "kern.h"
#include "neon.h"

// narrow rounds to the nearest, ties to even.
INLINE u16x16 narrow(f32x16 v)
{
	struct four a = FOUR(v);
	struct { bfloat16x8_t v[2]; } r;
	UNROLL for (int i = 0; i < 2; i++)
		r.v[i] = vcvtq_high_bf16_f32(vcvtq_low_bf16_f32((float32x4_t)a.q[2 * i]), (float32x4_t)a.q[2 * i + 1]);
	return __builtin_bit_cast(u16x16, r);
}

#define ROUND_COLS 4
#include "dequant.h"

#define QUANT(T, NAME) KERNEL k_expand_##NAME(const struct convert *p) { expand(T, TO_BF16, p); }
#define REAL(T, NAME) KERNEL k_expand_##NAME(const struct convert *p) { expand_real(T, TO_BF16, p); }
#include "types.h"

INLINE uint16x4_t pack4(const float *x, int64_t left)
{
	float32x4_t v = {0};
	if (left >= 4) {
		v = vld1q_f32(x);
	} else {
		float t[4] = {0};
		for (int64_t i = 0; i < left; i++) {
			t[i] = x[i];
			BARRIER;
		}
		v = vld1q_f32(t);
	}
	return (uint16x4_t)vcvt_bf16_f32(v);
}

KERNEL k_pack(const struct convert *p)
{
	const int64_t units = (p->cols + 3) / 4;
	for (int64_t r = 0; r < p->rows; r += 16) {
		uint8_t *y = p->y + r * units * 8;
		for (int64_t q = 0; q < 16; q++)
			for (int64_t u = 0; u < units; u++) {
				uint16x4_t v = {0};
				if (r + q < p->rows)
					v = pack4((const float *)(const void *)(p->x + (r + q) * p->ldx) + 4 * u, p->cols - 4 * u);
				vst1_u16((uint16_t *)(void *)(y + 128 * u + 8 * q), v);
			}
	}
}

#define PAIRS 8    // of rows of x
#define TOGETHER 4 // rows of w

INLINE void unit(float32x4_t acc[PAIRS][TOGETHER / 2], const uint8_t *x, bfloat16x8_t w[TOGETHER / 2])
{
	UNROLL for (int j = 0; j < PAIRS; j++)
		UNROLL for (int c = 0; c < TOGETHER / 2; c++)
			acc[j][c] = vbfmmlaq_f32(acc[j][c], vld1q_bf16((const bfloat16_t *)(const void *)(x + 16 * j)), w[c]);
}

// block multiplies a tile with rows i to i+n of w, n <= TOGETHER; where there are
// fewer, the last stands for what is missing.
INLINE void block(const struct gemm *p, const uint8_t *x, int64_t rows, float *out, int64_t i, int64_t n)
{
	float32x4_t acc[PAIRS][TOGETHER / 2];
	UNROLL for (int j = 0; j < PAIRS; j++)
		UNROLL for (int c = 0; c < TOGETHER / 2; c++)
			acc[j][c] = (float32x4_t){0};
	const uint8_t *w[TOGETHER];
	UNROLL for (int c = 0; c < TOGETHER; c++)
		w[c] = (const uint8_t *)(p->w + (i + (c < n ? c : n - 1)) * p->ldw);
	int64_t k = 0;
	for (; k + 4 <= p->steps; k += 4, x += 256) {
		bfloat16x8_t lo[TOGETHER / 2], hi[TOGETHER / 2];
		UNROLL for (int c = 0; c < TOGETHER / 2; c++) {
			uint64x2_t a = (uint64x2_t)vld1q_u8(w[2 * c] + 4 * k), b = (uint64x2_t)vld1q_u8(w[2 * c + 1] + 4 * k);
			lo[c] = (bfloat16x8_t)vzip1q_u64(a, b);
			hi[c] = (bfloat16x8_t)vzip2q_u64(a, b);
		}
		unit(acc, x, lo);
		unit(acc, x + 128, hi);
	}
	if (k < p->steps) {
		bfloat16x8_t last[TOGETHER / 2];
		UNROLL for (int c = 0; c < TOGETHER / 2; c++)
			last[c] = (bfloat16x8_t)vcombine_u8(vld1_u8(w[2 * c] + 4 * k), vld1_u8(w[2 * c + 1] + 4 * k));
		unit(acc, x, last);
	}
	UNROLL for (int j = 0; j < PAIRS; j++)
		UNROLL for (int h = 0; h < 2; h++) {
			if (2 * j + h >= rows)
				break;
			float *o = out + (2 * j + h) * p->ldo + i;
			UNROLL for (int c = 0; c < TOGETHER; c++)
				if (c < n)
					o[c] = acc[j][c / 2][2 * h + c % 2];
		}
}

KERNEL k_gemm(const struct gemm *p)
{
	for (int64_t r = 0; r < p->rows; r += 16) {
		const uint8_t *x = (const uint8_t *)(p->x + r * p->steps);
		float *out = p->out + r * p->ldo;
		int64_t i = 0;
		for (; i + TOGETHER <= p->n; i += TOGETHER)
			block(p, x, p->rows - r, out, i, TOGETHER);
		if (i < p->n)
			block(p, x, p->rows - r, out, i, p->n - i);
	}
}

// k_peak does n times PEAK_SUMS * 16 multiply-adds on numbers from data.
#define PEAK_SUMS 16
KERNEL k_peak(struct probe *p)
{
	float32x4_t s[PEAK_SUMS];
	UNROLL for (int j = 0; j < PEAK_SUMS; j++)
		s[j] = (float32x4_t){0};
	bfloat16x8_t a = vld1q_bf16((const bfloat16_t *)(const void *)p->data), b = vld1q_bf16((const bfloat16_t *)(const void *)(p->data + 64));
	for (int64_t i = 0; i < p->n; i++) {
		UNROLL for (int j = 0; j < PEAK_SUMS; j++)
			s[j] = vbfmmlaq_f32(s[j], a, b);
		__asm__ volatile("" : "+w"(a));
	}
	UNROLL for (int j = 1; j < PEAK_SUMS; j++)
		s[0] += s[j];
	p->sum = __builtin_reduce_xor((u32x4)s[0]);
}
