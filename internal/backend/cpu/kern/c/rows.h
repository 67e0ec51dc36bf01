// Some rows of quantised activations, as many as share a pass over the weights in decode,
// with the sums of quant.h.
//
// A vector has 4 columns of 8 blocks: a lane belongs to one block from its first product to
// the last, and to one of the 16 sums of quant.h. So nothing is summed up across lanes, and
// bytes of few bits are summed in 16 bits as far as these go, as in ints.h (with VNNI in 32 throughout). Both operands have
// to be turned for that: weights once for all rows, in a buffer that stays in the first-level
// cache; rows of x once for all weights (k_turn). A block's sum is an exact integer, and what
// follows has the steps of quant.h: so a row has the bits that it has alone.
//
// Weights are read one row after the other, and memory is asked for ahead as for a single row.
#ifndef ROWS_H
#define ROWS_H
#include "quant.h"
#ifndef INTEGERS_ONLY
#include "rowsreal.h"
#endif

// ROWS_TILE is how many rows of x meet a vector of weights at once.
#define ROWS_TILE 4

// turned is 512 columns of a weight: [8 blocks, or the others][half][4 columns of each].
struct turned {
	uint8_t q[2][2][4][32];
	float d[2][16], m[2][16]; // scales and minimums, of halves
};

// turn makes of 4 blocks, in each half of a vector, their first 4 columns, the next 4, and
// so on.
INLINE void turn(__m256i v[4])
{
	const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
	const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
	v[0] = _mm256_unpacklo_epi64(a, c), v[1] = _mm256_unpackhi_epi64(a, c);
	v[2] = _mm256_unpacklo_epi64(b, d), v[3] = _mm256_unpackhi_epi64(b, d);
}

INLINE void store256(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }
INLINE __m256i fetch256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

#ifndef INTEGERS_ONLY
// k_turn turns xgroups where they are.
KERNEL k_turn(const struct convert *p)
{
	for (int64_t r = 0; r < p->rows; r++) {
		struct xgroup *g = (struct xgroup *)(void *)(p->y + r * p->ldy);
		for (int64_t at = 0; at < p->cols; at += 512, g++) {
			uint8_t q[512];
			UNROLL for (int c = 0; c < 2; c++)
				UNROLL for (int h = 0; h < 2; h++) {
					__m256i v[4];
					UNROLL for (int j = 0; j < 4; j++)
						v[j] = fetch256(g->q[j][h] + 32 * c);
					turn(v);
					UNROLL for (int j = 0; j < 4; j++)
						store256(q + 256 * c + 128 * h + 32 * j, v[j]);
				}
			for (int i = 0; i < 512; i += 32)
				store256((uint8_t *)g->q + i, fetch256(q + i));
		}
	}
}
#endif

// keep_turned turns a group of weights, or its first half.
INLINE void keep_turned(struct kind k, struct turned *w, const struct group *g, int n)
{
	UNROLL for (int h = 0; h < 2; h++)
		UNROLL for (int c = 0; c < n; c++) {
			__m256i v[4];
			UNROLL for (int j = 0; j < 4; j++)
				v[j] = c ? HIGH(__m256i, g->q[j][h]) : LOW(__m256i, g->q[j][h]);
			turn(v);
			UNROLL for (int j = 0; j < 4; j++) {
				store256(w->q[c][h][j], v[j]);
			}
		}
	STORE(f32x16, w->d[0], g->d0);
	if (k.halves)
		STORE(f32x16, w->d[1], g->d1);
	if (k.min)
		STORE(f32x16, w->m[0], g->m0);
	if (k.min && k.halves)
		STORE(f32x16, w->m[1], g->m1);
}

// HOLD_ROW keeps a sum where it is: left to itself the compiler adds in another order, moves
// loads far ahead, and spills most of the registers.
#define HOLD_ROW(v) __asm__ volatile("" : "+x"(v)::"memory")

// row_products are the sums of n steps of 4 columns, from step 0 of q on: part of them fit 16
// bits.
INLINE void row_products(struct kind k, int n, int part, int rows, const uint8_t *q, const uint8_t *x, int64_t ldx, __m256i t[ROWS_TILE])
{
#ifdef __AVXVNNI__
	(void)k, (void)part;
	UNROLL for (int r = 0; r < rows; r++)
		t[r] = _mm256_setzero_si256();
	UNROLL for (int i = 0; i < n; i++) {
		const __m256i w = fetch256(q + 32 * i);
		UNROLL for (int r = 0; r < rows; r++) {
			t[r] = _mm256_dpbusd_avx_epi32(t[r], w, fetch256(x + r * ldx + 32 * i));
			HOLD_ROW(t[r]);
		}
	}
#else
	const __m256i one = _mm256_set1_epi16(1);
	if (k.sign) {
		UNROLL for (int i = 0; i < n; i++) {
			const __m256i w = fetch256(q + 32 * i), a = _mm256_abs_epi8(w);
			UNROLL for (int r = 0; r < rows; r++) {
				const __m256i p = _mm256_madd_epi16(_mm256_maddubs_epi16(a, _mm256_sign_epi8(fetch256(x + r * ldx + 32 * i), w)), one);
				t[r] = i ? _mm256_add_epi32(t[r], p) : p;
				HOLD_ROW(t[r]);
			}
		}
		return;
	}
	UNROLL for (int at = 0; at < n; at += part) {
		__m256i s[ROWS_TILE];
		UNROLL for (int i = 0; i < part; i++) {
			const __m256i w = fetch256(q + 32 * (at + i));
			UNROLL for (int r = 0; r < rows; r++) {
				const __m256i p = _mm256_maddubs_epi16(w, fetch256(x + r * ldx + 32 * (at + i)));
				s[r] = i ? _mm256_add_epi16(s[r], p) : p;
				HOLD_ROW(s[r]);
			}
		}
		UNROLL for (int r = 0; r < rows; r++) {
			const __m256i p = _mm256_madd_epi16(s[r], one);
			t[r] = at ? _mm256_add_epi32(t[r], p) : p;
		}
	}
#endif
}

// part_of is how many steps of two products fit 16 bits.
INLINE int part_of(enum type t)
{
	switch (t) {
	case Q5_0:
	case Q5_1:
	case Q5_K:
	case Q2_K:
	case Q3_K: return 4;
	case Q6_K: return 2;
	default: return 8;
	}
}

INLINE __m256 floats256(const float *p) { return _mm256_loadu_ps(p); }

// row_step adds to the sums of some rows what 8 blocks give, those from 8c on of w and
// from 8cx on of x.
INLINE void row_step(enum type type, int rows, const struct turned *w, int c, const uint8_t *x, int cx, int64_t ldx, float *acc)
{
	const struct kind k = kind_of(type);
	__m256i t[ROWS_TILE];
	const uint8_t *q = w->q[c][0][0], *xq = x + 256 * cx, *xf = x + 32 * cx;
#define OF_ROW(field) floats256((const float *)(const void *)(xf + r * ldx + __builtin_offsetof(struct xgroup, field)))
	if (!k.halves) {
		row_products(k, 8, part_of(type), rows, q, xq, ldx, t);
		UNROLL for (int r = 0; r < rows; r++) {
			__m256 v = _mm256_cvtepi32_ps(t[r]);
			if (offset_of(k) != 0)
				v = _mm256_fnmadd_ps(_mm256_set1_ps(offset_of(k)), OF_ROW(s), v); // exact, as in quant.h
			v = _mm256_mul_ps(v, floats256(w->d[0] + 8 * c));
			if (k.min)
				v = _mm256_fmadd_ps(floats256(w->m[0] + 8 * c), OF_ROW(s), v);
			float *a = acc + 16 * r + 8 * c;
			_mm256_storeu_ps(a, _mm256_fmadd_ps(v, OF_ROW(d), floats256(a)));
		}
		return;
	}
	__m256 first[ROWS_TILE];
	row_products(k, 4, part_of(type), rows, q, xq, ldx, t);
	UNROLL for (int r = 0; r < rows; r++) {
		first[r] = _mm256_cvtepi32_ps(t[r]);
		if (k.offset)
			first[r] = _mm256_fnmadd_ps(_mm256_set1_ps((float)k.offset), OF_ROW(s0), first[r]);
		first[r] = _mm256_mul_ps(first[r], floats256(w->d[0] + 8 * c));
	}
	row_products(k, 4, part_of(type), rows, q + 128, xq + 128, ldx, t);
	UNROLL for (int r = 0; r < rows; r++) {
		__m256 v = _mm256_cvtepi32_ps(t[r]);
		if (k.offset)
			v = _mm256_fnmadd_ps(_mm256_set1_ps((float)k.offset), OF_ROW(s1), v);
		v = _mm256_fmadd_ps(v, floats256(w->d[1] + 8 * c), first[r]);
		if (k.min) {
			v = _mm256_fmadd_ps(floats256(w->m[0] + 8 * c), OF_ROW(s0), v);
			v = _mm256_fmadd_ps(floats256(w->m[1] + 8 * c), OF_ROW(s1), v);
		}
		float *a = acc + 16 * r + 8 * c;
		_mm256_storeu_ps(a, _mm256_fmadd_ps(v, OF_ROW(d), floats256(a)));
	}
#undef OF_ROW
}

// rows_group meets all rows with a group of weights, of which n halves are there; where
// they are of two rows of weights, both with the first half of x.
INLINE void rows_group(enum type t, const struct turned *w, int n, int two, const struct decode *p, const uint8_t *x, float acc[DECODE_ROWS][16])
{
	for (int c = 0; c < n; c++) {
		const int cx = two ? 0 : c;
		int64_t r = 0;
		for (int64_t left = p->rows; left > 0;) {
			const uint8_t *from = x + r * p->ldx;
			const int64_t rows = left == 5 || left == 3 || left == 6 ? 3 : left == 2 ? 2 : 4;
			if (rows == 4)
				row_step(t, 4, w, c, from, cx, p->ldx, acc[r]);
			else if (rows == 3)
				row_step(t, 3, w, c, from, cx, p->ldx, acc[r]);
			else
				row_step(t, 2, w, c, from, cx, p->ldx, acc[r]);
			r += rows, left -= rows;
		}
	}
}

// rows multiplies 2 to DECODE_ROWS turned rows. The last group may have half as many columns
// or fewer: then its other sums stay as they are.
INLINE void rows(const struct decode *p, enum type t)
{
	const struct kind k = kind_of(t);
	uint8_t buffer[2 * 272];
	float acc[DECODE_ROWS][16];
	struct turned turned;
	const uint8_t *end = p->w + p->n * p->ldw;
	for (int64_t i = 0, two; i < p->n; i += 1 + two) {
		const uint8_t *w = p->w + i * p->ldw, *x = p->x;
		two = paired(k, p) && i + 1 < p->n;
		for (int64_t r = 0; r < p->rows; r++) {
			STORE(f32x16, acc[r], (f32x16){});
			BARRIER;
		}
		for (int64_t left = two ? 512 : p->cols; left > 0; left -= 512, w += k.bytes, x += sizeof(struct xgroup)) {
			struct group g;
			if (left > 256) {
				prefetch(p, w, k.bytes);
				unpack_some(t, &g, w, left, end, buffer);
				keep_turned(k, &turned, &g, 2);
			} else { // the compiler leaves out what is not kept
				prefetch(p, w, k.bytes / 2);
				unpack_some(t, &g, w, left, end, buffer);
				keep_turned(k, &turned, &g, 1);
			}
			rows_group(t, &turned, left > 256 ? 2 : 1, two, p, x, acc);
		}
		for (int64_t r = 0; r < p->rows; r++)
			if (two)
				fold_pair(p->out + r * p->ldo + i, LOAD(f32x16, acc[r]));
			else
				p->out[r * p->ldo + i] = fold(LOAD(f32x16, acc[r]));
	}
}

#undef QUANT
#undef REAL
#ifdef INTEGERS_ONLY
#define REAL(T, NAME)
#else
#define REAL(T, NAME) \
	KERNEL k_rows_##NAME(const struct rows *p) { rows_real(&p->all, T, (struct realpass *)aligned(p->scratch)); }
#endif
#define QUANT(T, NAME) \
	KERNEL k_rows_##NAME(const struct decode *p) { rows(p, T); }
#include "types.h"

#endif
