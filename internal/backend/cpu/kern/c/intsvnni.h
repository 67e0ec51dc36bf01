// Many rows of quantised activations against quantised weights, in integers, with VNNI.
//
// As in ints.h a lane belongs to one output from its first product to its last: a vector
// has LANES weights (rows of w) side by side, 4 columns of each, and as many columns of one
// row of x are broadcast against it. One instruction adds four products to each of LANES sums
// of 32 bits, which nothing overflows. INT_ROWS rows times two vectors of sums stay in registers
// for a block of columns; then they go, times both scales, to the outputs' float sums. Where there
// are registers for these, too, they stay there while weights pass (SUMS_STAY): a Zen 4 stores
// vectors with units that multiply.
//
// Vectors are as wide as registers: 64 bytes with AVX-512, 32 with AVX-VNNI.
//
// The instruction wants unsigned weights. Those that are centred get so much that zero
// becomes 128, and sums begin with what that adds, taken away: -128 * (sum of x), exactly.
#ifndef INTSVNNI_H
#define INTSVNNI_H
#include "formats.h"
#include "kern.h"
#include "quant.h"

#ifdef __AVX512F__
typedef __m512i lanes;
#define EVERY(word) _mm512_set1_epi32(word)
#define DOT(s, w, x) _mm512_dpbusd_epi32(s, w, x)
#define IN_REGISTER "+v"
#define SUMS_STAY 1
#else
typedef __m256i lanes;
#define EVERY(word) _mm256_set1_epi32(word)
#define DOT(s, w, x) _mm256_dpbusd_avx_epi32(s, w, x)
#define IN_REGISTER "+x"
#define SUMS_STAY 0
#endif
#define INT_ROWS 6
#define LANES ((int)sizeof(lanes) / 4)
#define INT_WEIGHTS (2 * LANES)

typedef int32_t ilanes __attribute__((vector_size(sizeof(lanes))));
typedef ilanes ilanes_at __attribute__((aligned(1)));
typedef float flanes __attribute__((vector_size(sizeof(lanes))));
typedef flanes flanes_at __attribute__((aligned(1)));

typedef flanes_at rowsums[2]; // of a row with INT_WEIGHTS weights

// xints is 256 columns of an activation: its numbers; of each block of 32 the scale, the
// sum of the numbers, and where sums with centred weights begin; these for its halves.
struct xints {
	int8_t q[256];
	float d[8], s[8];
	int32_t base[8];
	float half[2][8];
	int32_t halfbase[2][8];
};

// struct ints: see ints.h, but acc is [rows][INT_WEIGHTS].
struct ints {
	const uint8_t *x, *w;
	float *out, *acc;
	int64_t blocks, rows, n, ldx, ldo, first, last;
};

// A panel has, of each block of 32 columns, one unit, or two of 16 columns where the
// type's scales are for as many: the weights, STEP bytes for 4 columns; their scales; their
// minimums where they have some.
#define STEP (4 * INT_WEIGHTS)
INLINE int unit_cols(struct kind k) { return k.halves ? 16 : 32; }
INLINE int unit_bytes(struct kind k) { return unit_cols(k) / 4 * STEP + (k.min ? 2 : 1) * STEP; }
INLINE int block_bytes(struct kind k) { return (k.halves ? 2 : 1) * unit_bytes(k); }

INLINE lanes every4(const void *p) { return EVERY((int)ld32((const uint8_t *)p)); }

// HOLD keeps a sum where it is: left to itself the compiler moves loads far ahead, and
// spills registers.
#define HOLD(v) __asm__ volatile("" : IN_REGISTER(v)::"memory")

// unit_sums is the integer sums of a unit's columns, of rows of x with INT_WEIGHTS weights. s is
// where they begin, if not as zeros.
INLINE void unit_sums(struct kind k, int rows, const int8_t *x, const void *s, int64_t ldx, const uint8_t *w, lanes (*t)[2])
{
	const uint8_t *at = (const uint8_t *)x, *begin = (const uint8_t *)s;
	UNROLL for (int r = 0; r < rows; r++)
		t[r][0] = t[r][1] = k.min ? EVERY(0) : every4(begin + r * ldx);
	UNROLL for (int i = 0; i < unit_cols(k) / 4; i++) {
		const lanes a = (lanes)LOAD(ilanes, w + STEP * i), b = (lanes)LOAD(ilanes, w + STEP * i + STEP / 2);
		UNROLL for (int r = 0; r < rows; r++) {
			const lanes v = every4(at + r * ldx + 4 * i);
			t[r][0] = DOT(t[r][0], a, v);
			t[r][1] = DOT(t[r][1], b, v);
			HOLD(t[r][0]);
			HOLD(t[r][1]);
		}
	}
}

// unit multiplies a unit's columns of rows of x with INT_WEIGHTS weights, and adds the sums, times
// their scales, to those of the outputs. s is the sums of x, or where the sums begin.
INLINE void unit(struct kind k, int rows, const int8_t *x, const float *d, const void *s, int64_t ldx, const uint8_t *w, rowsums *acc)
{
	lanes t[INT_ROWS][2];
	unit_sums(k, rows, x, s, ldx, w, t);
	const float *dw = (const float *)(const void *)(w + unit_cols(k) / 4 * STEP);
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < 2; c++) {
			flanes v = __builtin_convertvector((ilanes)t[r][c], flanes) * LOAD(flanes, dw + LANES * c);
			if (k.min)
				v = __builtin_elementwise_fma(LOAD(flanes, dw + INT_WEIGHTS + LANES * c), (flanes)every4((const uint8_t *)s + r * ldx), v);
			acc[r][c] = __builtin_elementwise_fma(v, (flanes)every4((const uint8_t *)d + r * ldx), acc[r][c]);
			if (SUMS_STAY)
				HOLD(acc[r][c]);
		}
}

#ifdef __AVX512F__
// put_sums stores the first n of INT_WEIGHTS sums.
INLINE void put_sums(float *out, const float *sums, int64_t n)
{
	const uint32_t m = n < 32 ? (1u << n) - 1 : ~0u;
	_mm512_mask_storeu_ps(out, (__mmask16)m, (__m512)LOAD(f32x16, sums));
	if (n > 16)
		_mm512_mask_storeu_ps(out + 16, (__mmask16)(m >> 16), (__m512)LOAD(f32x16, sums + 16));
}
#endif

INLINE void ints_tile(struct kind k, int rows, const struct ints *p, int64_t r)
{
	const uint8_t *w = p->w, *row = p->x + r * p->ldx;
	rowsums *kept = (rowsums *)(void *)(p->acc + INT_WEIGHTS * r), here[INT_ROWS], *acc = SUMS_STAY ? here : kept;
	UNROLL for (int i = 0; i < 2 * rows; i++)
		acc[i / 2][i % 2] = p->first ? (flanes){} : kept[i / 2][i % 2];
	for (int64_t b = 0; b < p->blocks; b++) {
		const struct xints *x = (const struct xints *)(const void *)row + b / 8;
		const int j = b & 7;
		UNROLL for (int i = 0; i < rows; i++) // what the next rows will need
			PREFETCH(row + (rows + i) * p->ldx + (int64_t)sizeof(struct xints) / 8 * b);
		if (!k.halves) {
			unit(k, rows, x->q + 32 * j, x->d + j, k.min ? (const void *)(x->s + j) : (const void *)(x->base + j), p->ldx, w, acc);
			w += unit_bytes(k);
			continue;
		}
		UNROLL for (int h = 0; h < 2; h++) {
			unit(k, rows, x->q + 32 * j + 16 * h, x->d + j, k.min ? (const void *)(x->half[h] + j) : (const void *)(x->halfbase[h] + j), p->ldx, w, acc);
			w += unit_bytes(k);
		}
	}
	if (SUMS_STAY)
		UNROLL for (int i = 0; i < 2 * rows; i++)
			kept[i / 2][i % 2] = acc[i / 2][i % 2];
	if (p->last)
		UNROLL for (int i = 0; i < rows; i++)
			put_sums(p->out + (r + i) * p->ldo, (const float *)(const void *)kept[i], p->n);
}

INLINE void ints(struct kind k, const struct ints *p)
{
	int64_t r = 0;
	for (; r + INT_ROWS <= p->rows; r += INT_ROWS)
		ints_tile(k, INT_ROWS, p, r);
	for (; r + 2 <= p->rows; r += 2)
		ints_tile(k, 2, p, r);
	for (; r < p->rows; r++)
		ints_tile(k, 1, p, r);
}

KERNEL k_ints(const struct ints *p) { ints(kind_of(Q8_0), p); }
KERNEL k_ints_min(const struct ints *p) { ints(kind_of(Q4_K), p); }
KERNEL k_ints_halves(const struct ints *p) { ints(kind_of(Q6_K), p); }
KERNEL k_ints_halves_min(const struct ints *p) { ints(kind_of(Q2_K), p); }

// k_pack_ints turns rows of floats into xints: blocks as k_quantize makes them.
KERNEL k_pack_ints(const struct convert *p)
{
	for (int64_t r = 0; r < p->rows; r++) {
		const float *x = (const float *)(const void *)(p->x + r * p->ldx);
		struct xints *y = (struct xints *)(void *)(p->y + r * p->ldy);
		const int64_t blocks = p->cols / 32;
		for (int64_t b = 0; b < (blocks + 7) / 8 * 8; b++) {
			struct xgroup g;
			struct xints *to = y + b / 8;
			const int k = b & 7;
			quantize_alone(&g, x, b, blocks);
			UNROLL for (int h = 0; h < 2; h++) {
				const float s = h ? g.s1[0] : g.s0[0];
				STORE(i8x16, to->q + 32 * k + 16 * h, LOAD(i8x16, g.q[0][h]));
				to->half[h][k] = s;
				to->halfbase[h][k] = -128 * (int32_t)s;
			}
			to->d[k] = g.d[0];
			to->s[k] = g.s[0];
			to->base[k] = -128 * (int32_t)g.s[0];
		}
	}
}

// turn_words transposes 16 by 16 words: word j of vector i, at y + at[i], becomes word i of
// vector j. Vectors 4i..4i+3 are far*i from y, near apart.
INLINE void turn_words(uint8_t *y, int64_t far, int64_t near)
{
	u32x16 v[16];
	UNROLL for (int i = 0; i < 16; i++)
		v[i] = LOAD(u32x16, y + i / 4 * far + i % 4 * near);
	transpose(v);
	UNROLL for (int i = 0; i < 16; i++)
		STORE(u32x16, y + i / 4 * far + i % 4 * near, v[i]);
}

// panel_ints lays up to INT_WEIGHTS rows of w; of fewer, the last is repeated. It writes
// whole groups of 512 columns.
//
// Vector [v][h] of a group has, in quarter k, half h of block 4k+v: its words are the four
// columns that a panel's step wants of one weight. So 16 weights' vectors are first laid
// where their steps will be, and turned there; scales, one a block, likewise.
INLINE void panel_ints(enum type t, const struct convert *p)
{
	const struct kind k = kind_of(t);
	const int64_t block = block_bytes(k), half = k.halves ? unit_bytes(k) : 4 * STEP;
	const int64_t scales = unit_cols(k) / 4 * STEP;
	const uint8_t centre = k.min || k.sign ? 0 : 128 - k.offset;
	const uint8_t *end = p->x + (p->rows - 1) * p->ldx + p->cols / k.cols * k.block;
	uint8_t buffer[2 * 272];
	struct group g;
	for (int64_t c = 0; c < p->cols; c += 512) {
		const int64_t left = p->cols - c;
		for (int s = 0; s < INT_WEIGHTS / 16; s++) {
			uint8_t *y = p->y + c / 32 * block + 64 * s;
			for (int i = 0; i < 16; i++) {
				const int64_t row = 16 * s + i < p->rows ? 16 * s + i : p->rows - 1;
				const uint8_t *w = p->x + row * p->ldx + c / 512 * k.bytes;
				ASK(w + p->ldy, k.bytes, p->ldx, 2); // what will be laid next
				unpack_some(t, &g, w, left, end, buffer);
				uint8_t *q = y + i / 4 * 4 * block + i % 4 * STEP, *d = y + i * block + scales;
				UNROLL for (int v = 0; v < 4; v++)
					UNROLL for (int h = 0; h < 2; h++)
						STORE(u8x64, q + v * block + h * half, g.q[v][h] + centre);
				STORE(f32x16, d, g.d0);
				if (k.min)
					STORE(f32x16, d + STEP, g.m0);
				if (k.halves)
					STORE(f32x16, d + half, g.d1);
				if (k.halves && k.min)
					STORE(f32x16, d + half + STEP, g.m1);
			}
			for (int v = 0; v < 4; v++)
				for (int h = 0; h < 2; h++)
					turn_words(y + v * block + h * half, 4 * block, STEP);
			for (int h = 0; h <= k.halves; h++)
				for (int m = 0; m <= k.min; m++)
					turn_words(y + scales + h * half + STEP * m, 4 * block, block);
		}
	}
}

// k_peak_ints does n times 12 * 4 * LANES multiply-adds of bytes from data.
KERNEL k_peak_ints(struct probe *p)
{
	lanes s[12], a = (lanes)LOAD(ilanes, p->data), b = (lanes)LOAD(ilanes, p->data + 64);
	UNROLL for (int j = 0; j < 12; j++)
		s[j] = EVERY(0);
	for (int64_t i = 0; i < p->n; i++)
		UNROLL for (int j = 0; j < 12; j++) {
			s[j] = DOT(s[j], a, b);
			HOLD(a);
		}
	ilanes sum = (ilanes)s[0];
	UNROLL for (int j = 1; j < 12; j++)
		sum += (ilanes)s[j];
	p->sum = (uint64_t)(uint32_t)__builtin_reduce_add(sum);
}

#undef QUANT
#undef REAL
#define REAL(T, NAME)
#define QUANT(T, NAME) \
	KERNEL k_panel_##NAME(const struct convert *p) { panel_ints(T, p); }
#include "types.h"

#endif
