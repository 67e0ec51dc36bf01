// Some rows of quantised activations, as many as share a pass over the weights in decode,
// with the products of ints512.h and the sums of quant.h: see few.h.
#ifndef FEW512_H
#define FEW512_H
#include "ints512.h"

#define FEW_SUMS (16 * INT_WEIGHTS)

// few_block adds a block of columns of rows of x, its j-th of eight.
INLINE void few_block(struct kind k, int rows, const struct xints *x, int j, int64_t ldx, const uint8_t *w, float *acc)
{
	if (!k.halves) {
		unit(k, rows, x->q + 32 * j, x->d + j, k.min ? (const void *)(x->s + j) : (const void *)(x->base + j), ldx, w, acc, FEW_SUMS);
		return;
	}
	const float *d0 = (const float *)(const void *)(w + 512), *d1 = (const float *)(const void *)(w + unit_bytes(k) + 512);
	const uint8_t *s0 = (const uint8_t *)(x->half[0] + j), *s1 = (const uint8_t *)(x->half[1] + j), *d = (const uint8_t *)(x->d + j);
	f32x16 first[INT_ROWS][2];
	__m512i t[INT_ROWS][2];
	unit_sums(k, rows, x->q + 32 * j, x->halfbase[0] + j, ldx, w, t);
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < 2; c++)
			first[r][c] = floats((i32x16)t[r][c]) * LOAD(f32x16, d0 + 16 * c);
	unit_sums(k, rows, x->q + 32 * j + 16, x->halfbase[1] + j, ldx, w + unit_bytes(k), t);
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < 2; c++) {
			float *a = acc + FEW_SUMS * r + 16 * c;
			f32x16 v = fma16(floats((i32x16)t[r][c]), LOAD(f32x16, d1 + 16 * c), first[r][c]);
			if (k.min) {
				v = fma16(LOAD(f32x16, d0 + 32 + 16 * c), (f32x16)every4(s0 + r * ldx), v);
				v = fma16(LOAD(f32x16, d1 + 32 + 16 * c), (f32x16)every4(s1 + r * ldx), v);
			}
			STORE(f32x16, a, fma16(v, (f32x16)every4(d + r * ldx), LOAD(f32x16, a)));
		}
}

// few_fold folds the 16 sums of 16 weights, as fold does.
INLINE f32x16 few_fold(const float *acc)
{
	f32x16 v[8];
	UNROLL for (int b = 0; b < 8; b++)
		v[b] = LOAD(f32x16, acc + INT_WEIGHTS * b) + LOAD(f32x16, acc + INT_WEIGHTS * (b + 8));
	UNROLL for (int n = 4; n > 0; n /= 2)
		UNROLL for (int b = 0; b < n; b++)
			v[b] += v[b + n];
	return v[0];
}

// few_tile takes rows from r on; those that come first ask for the next weights.
INLINE void few_tile(struct kind k, int rows, const struct ints *p, int64_t r)
{
	float *acc = p->acc + FEW_SUMS * r, out[INT_WEIGHTS];
	const uint8_t *w = p->w, *row = p->x + r * p->ldx;
	const int64_t next = r == 0 ? p->nextbytes : 0;
	if (p->first)
		for (int64_t i = 0; i < rows * FEW_SUMS; i += 16)
			STORE(f32x16, acc + i, (f32x16){});
	for (int64_t b = 0; b < p->blocks; b++, w += block_bytes(k)) {
		for (int64_t at = 0; at < next; at += 64) {
			__builtin_prefetch(p->next + 2 * b * p->ldnext + at, 0, 2);
			__builtin_prefetch(p->next + (2 * b + 1) * p->ldnext + at, 0, 2);
		}
		few_block(k, rows, (const struct xints *)(const void *)row + b / 8, b & 7, p->ldx, w, acc + INT_WEIGHTS * b);
	}
	if (!p->last)
		return;
	for (int i = 0; i < rows; i++, acc += FEW_SUMS) {
		for (int64_t b = p->blocks; b < 16; b++) // decode adds the zeros that complete a group
			UNROLL for (int c = 0; c < 2; c++) {
				float *a = acc + INT_WEIGHTS * b + 16 * c;
				STORE(f32x16, a, LOAD(f32x16, a) + 0.0f);
				BARRIER;
			}
		STORE(f32x16, out, few_fold(acc));
		STORE(f32x16, out + 16, few_fold(acc + 16));
		put_sums(p->out + (r + i) * p->ldo, out, p->n);
	}
}

INLINE void few(struct kind k, const struct ints *p)
{
	int64_t r = 0;
	for (; r + INT_ROWS <= p->rows; r += INT_ROWS)
		few_tile(k, INT_ROWS, p, r);
	for (; r + 4 <= p->rows; r += 4)
		few_tile(k, 4, p, r);
	for (; r + 2 <= p->rows; r += 2)
		few_tile(k, 2, p, r);
	for (; r < p->rows; r++)
		few_tile(k, 1, p, r);
}

KERNEL k_few(const struct ints *p) { few(kind_of(Q8_0), p); }
KERNEL k_few_min(const struct ints *p) { few(kind_of(Q4_K), p); }
KERNEL k_few_halves(const struct ints *p) { few(kind_of(Q6_K), p); }
KERNEL k_few_halves_min(const struct ints *p) { few(kind_of(Q2_K), p); }

#endif
