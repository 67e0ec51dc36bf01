// Many rows of quantised activations against quantised weights, in integers.
//
// A vector has 8 weights (rows of w) side by side, and 4 columns of each as bytes, or 2
// as 16-bit numbers; as many columns of one row of x are broadcast against it. So a lane
// belongs to one output from its first product to its last, and what stands beside it
// changes no bit. INT_ROWS rows times two vectors of sums stay in registers for a block of
// columns; the sum of a block is an exact integer, and goes, times both scales, to the
// output's one float sum, block after block.
//
// Weights are laid for it in panels of INT_WEIGHTS, as far as the first-level cache takes
// them, one pass over which serves all rows of x. Bytes need no more than two
// instructions for 32 products while their sums fit 16 bits, for so many steps as PART
// says: 8 steps of two products of at most 15*127, 4 of 31*127, 2 of 63*127. What does
// not fit (signed bytes of the full range) is widened to 16 bits, two instructions for 16.
#ifndef INTS_H
#define INTS_H
#include "formats.h"
#include "kern.h"
#include "quant.h"

#define INT_WEIGHTS 16
#define INT_ROWS 6

// xints is 256 columns of an activation: its numbers twice, the wide ones in PAIRS' order; the
// scale of each block of 32; the sum of the block's numbers, and of those of its halves.
struct xints {
	int8_t q[256];
	int16_t wide[256];
	float d[8], s[8], half[2][8];
};

// struct ints: out[r*ldo + i] = dot(x row r, w row i) for r < rows, i < n, n up to
// INT_WEIGHTS, over some blocks of 32 columns; x begins with a whole xints, rows are ldx
// bytes apart. Sums begin as zeros with the first columns, wait in acc [rows][16], and go
// to out with the last.
struct ints {
	const uint8_t *x, *w;
	float *out, *acc;
	int64_t blocks, rows, n, ldx, ldo, first, last;
};

// How a type's blocks lie in a panel: units of 32 or 16 columns, each with its scales
// and, of bytes, its minimums.
struct laid {
	int wide;   // 16-bit numbers, no minimums
	int half;   // units are of 16 columns
	int part;   // steps whose sums fit 16 bits
	int offset; // of types that are centred
};

INLINE struct laid laid_as(enum type t)
{
	switch (t) {
	case Q8_0:
	case IQ4_NL:
	case IQ4_XS: return (struct laid){1, 0, 0, 0};
	case Q5_0:
	case Q5_1:
	case Q5_K: return (struct laid){0, 0, 4, 16};
	case Q2_K:
	case Q3_K: return (struct laid){0, 1, 4, 4};
	case Q6_K: return (struct laid){0, 1, 2, 32};
	default: return (struct laid){0, 0, 8, 8};
	}
}

INLINE int laid_bytes(struct laid l) { return l.wide ? 16 * 64 + 64 : 8 * 64 + (l.half ? 4 : 2) * 64; }

INLINE __m256i load256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE __m256i every4(const void *p) { return _mm256_set1_epi32((int)ld32(p)); }

// HOLD keeps a sum where it is: left to itself the compiler adds in another order, moves
// loads far ahead, and spills most of the registers.
#define HOLD(v) __asm__ volatile("" : "+x"(v)::"memory")

// int_products adds some columns of rows of x times 16 weights to the sums t, exactly.
INLINE void int_products(struct laid l, int rows, const uint8_t *x, int64_t ldx, const uint8_t *w, __m256i t[INT_ROWS][2])
{
	if (l.wide) {
		UNROLL for (int k = 0; k < 16; k++) {
			const __m256i a = load256(w + 64 * k), b = load256(w + 64 * k + 32);
			UNROLL for (int r = 0; r < rows; r++) {
				const __m256i v = every4(x + r * ldx + 4 * k);
				const __m256i p = _mm256_madd_epi16(a, v), q = _mm256_madd_epi16(b, v);
				t[r][0] = k ? _mm256_add_epi32(t[r][0], p) : p;
				t[r][1] = k ? _mm256_add_epi32(t[r][1], q) : q;
				HOLD(t[r][0]);
				HOLD(t[r][1]);
			}
		}
		return;
	}
	const __m256i one = _mm256_set1_epi16(1);
	UNROLL for (int at = 0; at < (l.half ? 4 : 8); at += l.part) {
		__m256i s[INT_ROWS][2];
		UNROLL for (int k = 0; k < l.part; k++) {
			const __m256i a = load256(w + 64 * (at + k)), b = load256(w + 64 * (at + k) + 32);
			UNROLL for (int r = 0; r < rows; r++) {
				const __m256i v = every4(x + r * ldx + 4 * (at + k));
				const __m256i p = _mm256_maddubs_epi16(a, v), q = _mm256_maddubs_epi16(b, v);
				s[r][0] = k ? _mm256_add_epi16(s[r][0], p) : p;
				s[r][1] = k ? _mm256_add_epi16(s[r][1], q) : q;
				HOLD(s[r][0]);
				HOLD(s[r][1]);
			}
		}
		UNROLL for (int r = 0; r < rows; r++)
			UNROLL for (int c = 0; c < 2; c++) {
				const __m256i p = _mm256_madd_epi16(s[r][c], one);
				t[r][c] = at ? _mm256_add_epi32(t[r][c], p) : p;
			}
	}
}

INLINE __m256 every(const float *p, int64_t bytes) { return _mm256_broadcast_ss((const float *)(const void *)((const uint8_t *)p + bytes)); }

// scaled adds the sums of a unit, times its scales, to those of the outputs, lda apart. Sums
// less their offset are whole numbers below 2^24: exact.
INLINE void scaled(struct laid l, int centred, int rows, const float *d, const float *s, int64_t ldx, const uint8_t *w, __m256i t[INT_ROWS][2], float *acc, int64_t lda)
{
	const float *dw = (const float *)(const void *)w;
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < 2; c++) {
			float *a = acc + lda * r + 8 * c;
			__m256 v = _mm256_cvtepi32_ps(t[r][c]);
			if (!l.wide && centred)
				v = _mm256_fnmadd_ps(_mm256_set1_ps((float)l.offset), every(s, r * ldx), v);
			v = _mm256_mul_ps(v, _mm256_loadu_ps(dw + 8 * c));
			if (!l.wide && !centred)
				v = _mm256_fmadd_ps(_mm256_loadu_ps(dw + 16 + 8 * c), every(s, r * ldx), v);
			_mm256_storeu_ps(a, _mm256_fmadd_ps(v, every(d, r * ldx), _mm256_loadu_ps(a)));
		}
}

INLINE void ints_tile(struct laid l, int centred, int rows, const struct ints *p, int64_t r)
{
	float *acc = p->acc + INT_WEIGHTS * r;
	const uint8_t *w = p->w, *row = p->x + r * p->ldx;
	if (p->first)
		UNROLL for (int i = 0; i < 2 * rows; i++)
			_mm256_storeu_ps(acc + 8 * i, _mm256_setzero_ps());
	for (int64_t b = 0; b < p->blocks; b++) {
		const struct xints *x = (const struct xints *)(const void *)row + b / 8;
		const int k = b & 7;
		__m256i t[INT_ROWS][2];
		UNROLL for (int i = 0; i < rows; i++) // what the next rows will need
			PREFETCH((const uint8_t *)(l.wide ? (const void *)(x->wide + 32 * k) : (const void *)(x->q + 32 * k)) + (rows + i) * p->ldx);
		if (!l.half) {
			int_products(l, rows, l.wide ? (const uint8_t *)(x->wide + 32 * k) : (const uint8_t *)(x->q + 32 * k), p->ldx, w, t);
			w += l.wide ? 1024 : 512;
			scaled(l, centred, rows, x->d + k, x->s + k, p->ldx, w, t, acc, INT_WEIGHTS);
			w += l.wide ? 64 : 128;
			continue;
		}
		UNROLL for (int h = 0; h < 2; h++) {
			int_products(l, rows, (const uint8_t *)(x->q + 32 * k + 16 * h), p->ldx, w, t);
			scaled(l, centred, rows, x->d + k, x->half[h] + k, p->ldx, w + 256, t, acc, INT_WEIGHTS);
			w += 256 + 128;
		}
	}
	if (!p->last)
		return;
	for (int i = 0; i < rows; i++)
		put_sums(p->out + (r + i) * p->ldo, acc + INT_WEIGHTS * i, p->n);
}

INLINE void ints(struct laid l, int centred, const struct ints *p)
{
	int64_t r = 0;
	for (; r + INT_ROWS <= p->rows; r += INT_ROWS)
		ints_tile(l, centred, INT_ROWS, p, r);
	for (; r + 2 <= p->rows; r += 2)
		ints_tile(l, centred, 2, p, r);
	for (; r < p->rows; r++)
		ints_tile(l, centred, 1, p, r);
}

KERNEL k_ints_wide(const struct ints *p) { ints(laid_as(Q8_0), 0, p); }
KERNEL k_ints_4(const struct ints *p) { ints(laid_as(Q4_K), 0, p); }
KERNEL k_ints_4_0(const struct ints *p) { ints(laid_as(Q4_0), 1, p); }
KERNEL k_ints_5(const struct ints *p) { ints(laid_as(Q5_K), 0, p); }
KERNEL k_ints_5_0(const struct ints *p) { ints(laid_as(Q5_0), 1, p); }
KERNEL k_ints_2k(const struct ints *p) { ints(laid_as(Q2_K), 0, p); }
KERNEL k_ints_3k(const struct ints *p) { ints(laid_as(Q3_K), 1, p); }
KERNEL k_ints_6k(const struct ints *p) { ints(laid_as(Q6_K), 1, p); }

// PAIRS is the order of wide numbers: of 4 columns the even, then the odd, since bytes are
// widened in pairs by shifts.
#define PAIRS(v) __builtin_shufflevector(v, v, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15)

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
				const i8x16 q = LOAD(i8x16, g.q[0][h]);
				STORE(i8x16, to->q + 32 * k + 16 * h, q);
				STORE(i16x16, to->wide + 32 * k + 16 * h, __builtin_convertvector(PAIRS(q), i16x16));
			}
			to->d[k] = g.d[0];
			to->s[k] = g.s[0];
			to->half[0][k] = g.s0[0];
			to->half[1][k] = g.s1[0];
		}
	}
}

// lay4 writes 16 columns of 8 weights, that are stride bytes apart: a step of 4 columns, of
// all weights side by side, each 64 bytes; of wide numbers two steps of 2.
INLINE void lay4(int wide, const uint8_t *q, int64_t stride, uint8_t *y)
{
	__m256i v[4], u[4];
	UNROLL for (int i = 0; i < 4; i++)
		v[i] = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(const void *)(q + stride * (i + 4))), _mm_loadu_si128((const __m128i *)(const void *)(q + stride * i)));
	u[0] = _mm256_unpacklo_epi32(v[0], v[1]), u[1] = _mm256_unpackhi_epi32(v[0], v[1]);
	u[2] = _mm256_unpacklo_epi32(v[2], v[3]), u[3] = _mm256_unpackhi_epi32(v[2], v[3]);
	v[0] = _mm256_unpacklo_epi64(u[0], u[2]), v[1] = _mm256_unpackhi_epi64(u[0], u[2]);
	v[2] = _mm256_unpacklo_epi64(u[1], u[3]), v[3] = _mm256_unpackhi_epi64(u[1], u[3]);
	UNROLL for (int i = 0; i < 4; i++) {
		if (!wide) {
			_mm256_storeu_si256((__m256i *)(void *)(y + 64 * i), v[i]);
			continue;
		}
		_mm256_storeu_si256((__m256i *)(void *)(y + 128 * i), _mm256_srai_epi16(_mm256_slli_epi16(v[i], 8), 8));
		_mm256_storeu_si256((__m256i *)(void *)(y + 128 * i + 64), _mm256_srai_epi16(v[i], 8));
	}
}

// lay_floats writes a scale of 8 weights, by weight and block, to the units from y on.
INLINE void lay_floats(const float from[8][16], int64_t bytes, uint8_t *y)
{
	UNROLL for (int h = 0; h < 2; h++) {
		__m256 v[8], u[8];
		UNROLL for (int i = 0; i < 8; i++)
			v[i] = _mm256_loadu_ps(from[i] + 8 * h);
		UNROLL for (int i = 0; i < 8; i += 2) {
			u[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
			u[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
		}
		UNROLL for (int i = 0; i < 8; i += 4)
			UNROLL for (int j = 0; j < 2; j++) {
				v[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(u[i + j]), _mm256_castps_pd(u[i + j + 2])));
				v[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(u[i + j]), _mm256_castps_pd(u[i + j + 2])));
			}
		UNROLL for (int i = 0; i < 8; i++) {
			const __m256 all = i < 4 ? _mm256_permute2f128_ps(v[i], v[i + 4], 0x20) : _mm256_permute2f128_ps(v[i - 4], v[i], 0x31);
			_mm256_storeu_ps((float *)(void *)(y + (8 * h + i) * bytes), all);
		}
	}
}

// lay_numbers writes 8 weights of a panel, those from i on, whose blocks lie stride bytes
// apart: as they are in a group, or as in the file.
INLINE void lay_numbers(struct laid l, const uint8_t *q, int64_t stride, int direct, uint8_t *y, int i)
{
	for (int64_t b = 0; b < 16; b++)
		UNROLL for (int h = 0; h < 2; h++)
			lay4(l.wide, q + (direct ? 34 * b + 2 + 16 * h : 128 * (b & 3) + 64 * h + 16 * (b >> 2)), stride,
			     y + b * laid_bytes(l) + (l.wide ? 512 : l.half ? 384 : 256) * h + 4 * i);
}

// lay_scales writes the scales, or minimums, of these weights.
INLINE void lay_scales(struct laid l, const float scales[2][8][16], int min, uint8_t *y, int i)
{
	UNROLL for (int h = 0; h <= l.half; h++)
		lay_floats(scales[h], laid_bytes(l), y + (l.wide ? 1024 : l.half ? 384 * h + 256 : 512) + 64 * min + 4 * i);
}

INLINE void put_scales(struct laid l, float scales[2][8][16], int j, f32x16 a, f32x16 b)
{
	STORE(f32x16, scales[0][j], a);
	if (l.half)
		STORE(f32x16, scales[1][j], b);
}

// panel_ints lays up to INT_WEIGHTS rows of w, in groups of 512 columns, the last completed
// with zeros; of fewer rows, the last is repeated. Meanwhile it asks for what lies ldy bytes
// behind: the next that will be laid.
INLINE void panel_ints(enum type t, const struct convert *p)
{
	const struct kind k = kind_of(t);
	const struct laid l = laid_as(t);
	uint8_t q[8 * 512 + 64];
	float scales[2][8][16];
	struct group g;
	for (int64_t c = 0; c < p->cols; c += 512) {
		const int64_t left = p->cols - c;
		const uint8_t *from = p->x + c / 512 * k.bytes;
		uint8_t *y = p->y + c / 32 * laid_bytes(l);
		// Whole blocks of bytes are laid from where they are.
		const int direct = t == Q8_0 && left >= 512 && p->rows == INT_WEIGHTS;
		for (int i = 0; i < INT_WEIGHTS; i += 8) {
#define ROW(j) (from + (i + (j) < p->rows ? i + (j) : p->rows - 1) * p->ldx)
			for (int j = 0; j < 8; j++) {
				const uint8_t *w = ROW(j);
				ASK(w + p->ldy, k.bytes, p->ldx, 2);
				if (direct) {
					put_scales(l, scales, j, strided(w, 34), (f32x16){});
					continue;
				}
				unpack(t, &g, left < 512 ? complete(k, q + 512 * j, w, left) : w);
				UNROLL for (int v = 0; v < 4; v++)
					UNROLL for (int h = 0; h < 2; h++)
						STORE(u8x64, q + 512 * j + 128 * v + 64 * h, g.q[v][h]);
				put_scales(l, scales, j, g.d0, g.d1);
			}
			if (direct)
				lay_numbers(l, from + i * p->ldx, p->ldx, 1, y, i);
			else
				lay_numbers(l, q, 512, 0, y, i);
			lay_scales(l, scales, 0, y, i);
			if (!k.min)
				continue;
			for (int j = 0; j < 8; j++) {
				unpack(t, &g, left < 512 ? complete(k, q, ROW(j), left) : ROW(j));
				put_scales(l, scales, j, g.m0, g.m1);
			}
			lay_scales(l, scales, 1, y, i);
#undef ROW
		}
	}
}

// k_peak_ints does n times 12 * 32 multiply-adds of bytes from data, as int_products does
// while sums fit 16 bits.
KERNEL k_peak_ints(struct probe *p)
{
	__m256i s[12], a = load256(p->data), b = load256(p->data + 64);
	UNROLL for (int j = 0; j < 12; j++)
		s[j] = _mm256_setzero_si256();
	for (int64_t i = 0; i < p->n; i++)
		UNROLL for (int j = 0; j < 12; j++) {
			s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(a, b));
			HOLD(a);
		}
	UNROLL for (int j = 1; j < 12; j++)
		s[0] = _mm256_add_epi16(s[0], s[j]);
	p->sum = (uint64_t)_mm256_extract_epi64(s[0], 0);
}

#undef QUANT
#undef REAL
#define REAL(T, NAME)
#define QUANT(T, NAME) \
	KERNEL k_panel_##NAME(const struct convert *p) { panel_ints(T, p); }
#include "types.h"

#endif
