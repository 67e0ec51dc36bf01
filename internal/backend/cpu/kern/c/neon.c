// Kernels for NEON with dot products (SDOT).
#include "kern.h"
#include "neon.h"

#define REAL_ROWS 2
#define KEYS_TOGETHER 4
#define MIX_TOGETHER 4
#define PEAK_SUMS 5

// Plain numbers stay float32 at this level.
INLINE u16x16 narrow(f32x16 v) { return __builtin_convertvector((u32x16)v >> 16, u16x16); }
#define STEP_COLS 1
INLINE u32x16 pack16(const uint8_t *x) { return LOAD(u32x16, x); }
#define GEMM_TILES 1
#define GEMM_N 4
#define GEMM_STEP(acc, x, w) fma16((f32x16)(x), splat(__builtin_bit_cast(float, w)), acc)

#define ENDS_IN_PLACE // see unpack_some

#include "dequant.h"
#include "floats.h"
#include "gemm.h"
#include "probe.h"
#include "quant.h"
#include "rest.h"
#include "logits.h"
#define COMPACT_ROWS 2
#define COMPACT_WEIGHTS 1
#include "compact.h"

#define QUANT(T, NAME)                                                    \
	KERNEL k_decode_##NAME(const struct decode *p) { decode(p, T); } \
	KERNEL k_expand_##NAME(const struct convert *p) { expand(T, TO_F32, p); }
#define REAL(T, NAME)                                                          \
	KERNEL k_decode_##NAME(const struct decode *p) { decode_real(p, T); } \
	KERNEL k_expand_##NAME(const struct convert *p) { expand_real(T, TO_F32, p); }
#include "types.h"

KERNEL k_gemm(const struct gemm *p) { gemm(p); }
KERNEL k_pack(const struct convert *p) { pack(p); }

// dots_block multiplies rows rows of x with n rows of w. Behind the end of a row
// stand zeros: a sum that began as +0 is never -0, so adding 0*0 changes no bit.
INLINE void dots_block(int rows, int n, const float *x, int64_t ldx, const float *w, int64_t cols, float *out, int64_t ldo)
{
	f32x16 s[2][4];
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < n; c++)
			s[r][c] = (f32x16){};
	int64_t k = 0;
	for (; k + 16 <= cols; k += 16)
		UNROLL for (int r = 0; r < rows; r++)
			UNROLL for (int c = 0; c < n; c++)
				s[r][c] += LOAD(f32x16, x + r * ldx + k) * LOAD(f32x16, w + c * cols + k);
	if (k < cols)
		UNROLL for (int r = 0; r < rows; r++)
			UNROLL for (int c = 0; c < n; c++)
				s[r][c] += part(x + r * ldx + k, cols - k) * part(w + c * cols + k, cols - k);
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < n; c++)
			out[r * ldo + c] = fold(s[r][c]);
}

KERNEL k_dots(const struct dots *p)
{
	int64_t r = 0;
	for (; r + 2 <= p->rows; r += 2) {
		const float *x = p->x + r * p->ldx;
		float *out = p->out + r * p->ldo;
		int64_t i = 0;
		for (; i + 2 <= p->n; i += 2)
			dots_block(2, 2, x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
		for (; i < p->n; i++)
			dots_block(2, 1, x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
	}
	for (; r < p->rows; r++) {
		const float *x = p->x + r * p->ldx;
		float *out = p->out + r * p->ldo;
		int64_t i = 0;
		for (; i + 4 <= p->n; i += 4)
			dots_block(1, 4, x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
		for (; i < p->n; i++)
			dots_block(1, 1, x, p->ldx, p->w + i * p->cols, p->cols, out + i, p->ldo);
	}
}

KERNEL k_axpy(const struct axpy *p)
{
	for (int64_t i = 0; i < p->n; i += 16)
		put_part(p->y + i, p->n - i, part(p->y + i, p->n - i) + p->f * part(p->x + i, p->n - i));
}
