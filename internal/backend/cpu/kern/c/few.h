// Some rows of quantised activations, as many as share a pass over the weights in decode,
// with the products of ints.h and the sums of quant.h.
//
// A lane of a vector is a weight, as in ints.h. But block b of a group of 512 columns goes
// to sum b of its output, as in quant.h, by the same steps; and the 16 sums are folded in
// the same order. So the bits are those of decode, which needs more instructions for
// each row and fewer for the weights.
#ifndef FEW_H
#define FEW_H
#include "ints.h"

// Rows are taken by 4, and by 3 where that is not the number of them.
#define FEW_ROWS 4
#define FEW_SUMS (16 * INT_WEIGHTS)

// halved adds both halves of a block. Scales and minimums of a half lie behind it.
INLINE void halved(struct laid l, int centred, int rows, const struct xints *x, int k, int64_t ldx, const uint8_t *w, float *acc)
{
	const float *d0 = (const float *)(const void *)(w + 256), *d1 = (const float *)(const void *)(w + 384 + 256);
	float first[FEW_ROWS][INT_WEIGHTS];
	__m256i t[INT_ROWS][2];
	int_products(l, rows, (const uint8_t *)(x->q + 32 * k), ldx, w, t);
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < 2; c++) {
			__m256 v = _mm256_cvtepi32_ps(t[r][c]);
			if (centred)
				v = _mm256_fnmadd_ps(_mm256_set1_ps((float)l.offset), every(x->half[0] + k, r * ldx), v);
			_mm256_storeu_ps(first[r] + 8 * c, _mm256_mul_ps(v, _mm256_loadu_ps(d0 + 8 * c)));
		}
	int_products(l, rows, (const uint8_t *)(x->q + 32 * k + 16), ldx, w + 384, t);
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < 2; c++) {
			float *a = acc + FEW_SUMS * r + 8 * c;
			__m256 v = _mm256_cvtepi32_ps(t[r][c]);
			if (centred)
				v = _mm256_fnmadd_ps(_mm256_set1_ps((float)l.offset), every(x->half[1] + k, r * ldx), v);
			v = _mm256_fmadd_ps(v, _mm256_loadu_ps(d1 + 8 * c), _mm256_loadu_ps(first[r] + 8 * c));
			if (!centred) {
				v = _mm256_fmadd_ps(_mm256_loadu_ps(d0 + 16 + 8 * c), every(x->half[0] + k, r * ldx), v);
				v = _mm256_fmadd_ps(_mm256_loadu_ps(d1 + 16 + 8 * c), every(x->half[1] + k, r * ldx), v);
			}
			_mm256_storeu_ps(a, _mm256_fmadd_ps(v, every(x->d + k, r * ldx), _mm256_loadu_ps(a)));
		}
}

// folded folds the 16 sums of 8 weights, as fold does.
INLINE __m256 folded(const float *acc)
{
	__m256 v[8];
	UNROLL for (int b = 0; b < 8; b++)
		v[b] = _mm256_add_ps(_mm256_loadu_ps(acc + INT_WEIGHTS * b), _mm256_loadu_ps(acc + INT_WEIGHTS * (b + 8)));
	UNROLL for (int n = 4; n > 0; n /= 2)
		UNROLL for (int b = 0; b < n; b++)
			v[b] = _mm256_add_ps(v[b], v[b + n]);
	return v[0];
}

// few_tile is the tile-th that meets the weights.
INLINE void few_tile(struct laid l, int centred, int rows, const struct ints *p, int64_t r, int tile)
{
	float *acc = p->acc + FEW_SUMS * r, out[INT_WEIGHTS];
	const uint8_t *w = p->w, *row = p->x + r * p->ldx;
	const int64_t next = tile < 2 ? p->nextbytes : 0;
	if (p->first)
		for (int64_t i = 0; i < rows * FEW_SUMS; i += 8) {
			_mm256_storeu_ps(acc + i, _mm256_setzero_ps());
			BARRIER;
		}
	for (int64_t b = 0; b < p->blocks; b++, w += laid_bytes(l)) {
		const struct xints *x = (const struct xints *)(const void *)row + b / 8;
		const int k = b & 7;
		UNROLL for (int i = 0; i < rows; i++) // what the next rows will need
			PREFETCH((const uint8_t *)(l.wide ? (const void *)(x->wide + 32 * k) : (const void *)(x->q + 32 * k)) + (rows + i) * p->ldx);
		for (int64_t at = 64 * tile; at < next; at += 128) // every other line
			__builtin_prefetch(p->next + b * p->ldnext + at, 0, 2);
		if (l.half) {
			halved(l, centred, rows, x, k, p->ldx, w, acc + INT_WEIGHTS * b);
			continue;
		}
		__m256i t[INT_ROWS][2];
		int_products(l, rows, l.wide ? (const uint8_t *)(x->wide + 32 * k) : (const uint8_t *)(x->q + 32 * k), p->ldx, w, t);
		scaled(l, centred, rows, x->d + k, x->s + k, p->ldx, w + (l.wide ? 1024 : 512), t, acc + INT_WEIGHTS * b, FEW_SUMS);
	}
	if (!p->last)
		return;
	for (int i = 0; i < rows; i++, acc += FEW_SUMS) {
		for (int64_t b = p->blocks; b < 16; b++) // decode adds the zeros that complete a group
			UNROLL for (int c = 0; c < 2; c++) {
				float *a = acc + INT_WEIGHTS * b + 8 * c;
				_mm256_storeu_ps(a, _mm256_add_ps(_mm256_loadu_ps(a), _mm256_setzero_ps()));
				BARRIER;
			}
		UNROLL for (int c = 0; c < 2; c++)
			_mm256_storeu_ps(out + 8 * c, folded(acc + 8 * c));
		for (int64_t j = 0; j < p->n; j++) {
			p->out[(r + i) * p->ldo + j] = out[j];
			BARRIER;
		}
	}
}

// few wants 6 rows or more: 4 and 3 make any such number.
INLINE void few(struct laid l, int centred, const struct ints *p)
{
	int64_t r = 0;
	for (int tile = 0; r < p->rows; tile++) {
		if ((p->rows - r) % 4 == 0) {
			few_tile(l, centred, 4, p, r, tile);
			r += 4;
		} else {
			few_tile(l, centred, 3, p, r, tile);
			r += 3;
		}
	}
}

KERNEL k_few_wide(const struct ints *p) { few(laid_as(Q8_0), 0, p); }
KERNEL k_few_4(const struct ints *p) { few(laid_as(Q4_K), 0, p); }
KERNEL k_few_4_0(const struct ints *p) { few(laid_as(Q4_0), 1, p); }
KERNEL k_few_5(const struct ints *p) { few(laid_as(Q5_K), 0, p); }
KERNEL k_few_5_0(const struct ints *p) { few(laid_as(Q5_0), 1, p); }
KERNEL k_few_2k(const struct ints *p) { few(laid_as(Q2_K), 0, p); }
KERNEL k_few_3k(const struct ints *p) { few(laid_as(Q3_K), 1, p); }
KERNEL k_few_6k(const struct ints *p) { few(laid_as(Q6_K), 1, p); }

#endif
