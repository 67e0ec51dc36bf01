// Kernels for AMX (TILE, BF16): matrix products of many rows, and the attention of
// prompts. The other kernels of this level are those of AVX-512.
//
// A kernel configures the tile registers and releases them: nothing is in them
// outside of it, so that a signal, another goroutine or a thread that the
// operating system switches to has nothing to keep.
#include "kern.h"
#include "vec.h"

INLINE i32x16 udot(i32x16 s, u8x64 w, i8x64 x)
{
	return (i32x16)_mm512_dpbusd_epi32((__m512i)s, (__m512i)w, (__m512i)x);
}

// Tiles multiply signed bytes.
#define SDOT_BIAS 128
INLINE u8x64 signed_(u8x64 w) { return w; }
#define SIGNED_16 0 // the same of constants
INLINE i32x16 sdot(i32x16 s, u8x64 w, i8x64 x) { return udot(s, w ^ 0x80, x); }

INLINE f32x16 halves(u16x16 h) { return (f32x16)_mm512_cvtph_ps((__m256i)h); }
INLINE u16x16 to_halves(f32x16 v) { return (u16x16)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT); }
INLINE u8x64 within(u8x64 v, u8x64 index) { return (u8x64)_mm512_shuffle_epi8((__m512i)v, (__m512i)index); }
INLINE u8x64 lookup(u8x16 table, u8x64 index) { return within(cat(table, table, table, table), index); }
INLINE i32x16 nearest(f32x16 v) { return (i32x16)_mm512_cvtps_epi32((__m512)v); }

// narrow rounds to the nearest, ties to even; denormals become zeros.
INLINE u16x16 narrow(f32x16 v) { return (u16x16)_mm512_cvtneps_pbh((__m512)v); }

#define NARROW2(hi, lo) ((u32x16)_mm512_cvtne2ps_pbh((__m512)(hi), (__m512)(lo)))

#define TABLES(index, table) ((u32x16)_mm512_permutexvar_epi16((__m512i)(index), (__m512i)(table)))

#define STEP_COLS 2
#define ROUND_COLS 32
INLINE u32x16 pack16(const uint8_t *x)
{
	return (u32x16)_mm512_cvtne2ps_pbh((__m512)LOAD(f32x16, x + 64), (__m512)LOAD(f32x16, x));
}
#define GEMM_TILES 2
#define GEMM_N 8
#define GEMM_STEP(acc, x, w) ((f32x16)_mm512_dpbf16_ps((__m512)(acc), (__m512bh)(x), (__m512bh)_mm512_set1_epi32((int)(w))))
#define KEYS_TOGETHER 8
#define MIX_TOGETHER 8

// The kernels that these headers have stay AVX-512's.
#undef KERNEL
#define KERNEL INLINE void
#include "dequant.h"
#include "gemm.h"
#include "quant.h"
#include "rest.h"
#undef KERNEL
#define KERNEL __attribute__((visibility("default"), used)) void

#include "tiles.h"
#include "tileattend.h"

KERNEL k_pack(const struct convert *p) { pack(p); }
KERNEL k_multiply(const struct block *p) { tile_gemm(p, (struct laid){0, 0, NO_TYPE, F32}); }
KERNEL k_attend_prompt(const struct attend *p) { tile_attend(p); }

#define QUANT(T, NAME)                                                               \
	KERNEL k_expand_##NAME(const struct convert *p) { expand(T, TO_BF16, p); }  \
	KERNEL k_multiply_##NAME(const struct block *p) { tile_gemm(p, (struct laid){kind_of(T).cols, kind_of(T).block, T, F32}); }
#define REAL(T, NAME)                                                                \
	KERNEL k_expand_##NAME(const struct convert *p) { expand_real(T, TO_BF16, p); } \
	KERNEL k_multiply_##NAME(const struct block *p) { tile_gemm(p, (struct laid){32, T == F32 ? 128 : 64, NO_TYPE, T}); }
#include "types.h"

// k_state tells what the operating system keeps of the processor's registers.
KERNEL k_state(struct probe *p)
{
	uint32_t lo, hi;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	p->sum = (uint64_t)hi << 32 | lo;
}

// k_peak does n times PEAK_TILES tiles' multiply-adds on numbers from data.
#define PEAK_TILES 4
KERNEL k_peak(struct probe *p)
{
	configure();
	ZERO_FOUR;
	_tile_loadd(4, p->data, 64);
	_tile_loadd(5, p->data + 1024, 64);
	_tile_loadd(6, p->data + 2048, 64);
	_tile_loadd(7, p->data + 3072, 64);
	for (int64_t i = 0; i < p->n; i++) {
		_tile_dpbf16ps(0, 4, 6);
		_tile_dpbf16ps(1, 4, 7);
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(3, 5, 7);
	}
	uint32_t c[4][256] __attribute__((aligned(64)));
	STORE_FOUR(c[0], 64, 256);
	_tile_release();
	p->sum = c[0][0] ^ c[1][17] ^ c[2][34] ^ c[3][255];
}
