// Up to 16 rows that decode, against quantised weights: the arithmetic of quant.h,
// bit for bit. The integer sums of a block, for 16 weights and 16 rows of x, are one
// tile product; block b of a group goes to float sum b.
#ifndef TILEDECODE_H
#define TILEDECODE_H
#include <stddef.h>

#include "quant.h"
#include "tiles.h"

// xtiles is 512 columns of 16 activations: xgroups side by side.
struct xtiles {
	int8_t q[16][8][64];                      // [block]: B of a product, [4 columns][16 rows][4]
	float d[16][16], s[16][16];               // [block][row]
	float s0[16][16], s1[16][16];
};

// lay turns rows of xgroups, at most 16, into xtiles.
INLINE void lay(const struct convert *p)
{
	struct xtiles *y = (struct xtiles *)(void *)p->y;
	for (int64_t c = 0; c < p->cols; c += 512, y++) {
		const uint8_t *x = p->x + c / 512 * (int64_t)sizeof(struct xgroup);
		u32x16 v[16];
		for (int b = 0; b < 16; b += 2) {
			UNROLL for (int r = 0; r < 16; r++) {
				const struct xgroup *g = (const struct xgroup *)(const void *)(x + r * p->ldx);
				const int at = b / 4 * 16, j = b % 4;
				v[r] = (u32x16){};
				if (r < p->rows)
					v[r] = (u32x16)cat(LOAD(u8x16, g->q[j][0] + at), LOAD(u8x16, g->q[j][1] + at),
							   LOAD(u8x16, g->q[j + 1][0] + at), LOAD(u8x16, g->q[j + 1][1] + at));
			}
			transpose(v);
			UNROLL for (int i = 0; i < 16; i++)
				STORE(u32x16, y->q[b + i / 8][i % 8], v[i]);
		}
		for (int f = 0; f < 4; f++) { // the floats of an xgroup lie in the order of xtiles
			const uint8_t *from = x + offsetof(struct xgroup, d) + 64 * f;
			UNROLL for (int r = 0; r < 16; r++) {
				v[r] = (u32x16){};
				if (r < p->rows)
					v[r] = LOAD(u32x16, from + r * p->ldx);
			}
			transpose(v);
			UNROLL for (int b = 0; b < 16; b++)
				STORE(u32x16, y->d[16 * f + b], v[b]);
		}
	}
}

#define ROLLED _Pragma("clang loop unroll(disable)")

// panel is 16 rows of weights, a group of columns of them at a time, and the sums.
struct panel {
	float acc[16][16][16];        // [block][weight][row of x]
	int32_t sums[4][16][16];
	int8_t q[16][576];            // [weight]: 32 columns of a block after another, see slot
	float d0[16][16], d1[16][16], m0[16][16], m1[16][16]; // [weight][block]
};

// slot is where a block lies in panel.q.
#define SLOT(b) (32 * ((b) % 4 * 4 + (b) / 4))

INLINE void read_row(struct panel *m, enum type t, int i, const uint8_t *w, int64_t left)
{
	const struct kind k = kind_of(t);
	uint8_t buffer[2 * 272];
	struct group g;
	unpack(t, &g, left < 512 ? complete(k, buffer, w, left) : w);
	const __m512i lo = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), hi = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
	UNROLL for (int j = 0; j < 4; j++) {
		const uint8_t o = (uint8_t)k.offset;
		__m512i a = (__m512i)(g.q[j][0] - o), b = (__m512i)(g.q[j][1] - o);
		_mm512_storeu_si512(m->q[i] + 128 * j, _mm512_permutex2var_epi64(a, lo, b));
		_mm512_storeu_si512(m->q[i] + 128 * j + 64, _mm512_permutex2var_epi64(a, hi, b));
	}
	STORE(f32x16, m->d0[i], g.d0);
	if (k.halves)
		STORE(f32x16, m->d1[i], g.d1);
	if (k.min)
		STORE(f32x16, m->m0[i], g.m0);
	if (k.min && k.halves)
		STORE(f32x16, m->m1[i], g.m1);
}

// read_scales reads the scales of a row of Q8_0, whose bytes are used in place.
INLINE void read_scales(struct panel *m, int i, const uint8_t *w, int64_t blocks)
{
	if (blocks >= 16) {
		STORE(f32x16, m->d0[i], strided(w, 34));
		return;
	}
	for (int64_t b = 0; b < blocks; b++) {
		m->d0[i][b] = half1(w + 34 * b);
		BARRIER;
	}
}

// scale adds a block's integer sums (those of its halves) to its float sums.
INLINE void scale(struct kind k, struct panel *m, const struct xtiles *x, int b, const int32_t *sums)
{
	const f32x16 d = LOAD(f32x16, x->d[b]), s = LOAD(f32x16, k.halves ? x->s0[b] : x->s[b]);
	UNROLL for (int i = 0; i < 16; i++) {
		f32x16 t = floats(LOAD(i32x16, sums + 16 * i)) * m->d0[i][b];
		if (k.halves)
			t = fma16(floats(LOAD(i32x16, sums + 256 + 16 * i)), splat(m->d1[i][b]), t);
		if (k.min)
			t = fma16(splat(m->m0[i][b]), s, t);
		if (k.min && k.halves)
			t = fma16(splat(m->m1[i][b]), LOAD(f32x16, x->s1[b]), t);
		STORE(f32x16, m->acc[b][i], fma16(t, d, LOAD(f32x16, m->acc[b][i])));
	}
}

#define PRODUCT(C, A, B, w, ldw, x) (_tile_loadd(A, w, ldw), _tile_loadd(B, x, 64), _tile_dpbssd(C, A, B))

// multiply_blocks takes blocks in fours, or pairs of halves in twos.
INLINE void multiply_blocks(enum type t, struct panel *m, const uint8_t *w, int64_t ldw, const struct xtiles *x, int64_t blocks)
{
	const struct kind k = kind_of(t);
#define WEIGHTS(b) (t == Q8_0 ? (const void *)(w + 34 * (b) + 2) : (const void *)(m->q[0] + SLOT(b)))
	ROLLED for (int b = 0; b < blocks; b += k.halves ? 2 : 4) {
		ZERO_FOUR;
		if (k.halves) {
			const int8_t *v = WEIGHTS(b), *u = WEIGHTS(b + 1);
			PRODUCT(0, 4, 6, v, ldw, x->q[b]);
			PRODUCT(1, 5, 7, v + 16, ldw, x->q[b][4]);
			PRODUCT(2, 4, 6, u, ldw, x->q[b + 1]);
			PRODUCT(3, 5, 7, u + 16, ldw, x->q[b + 1][4]);
		} else {
			PRODUCT(0, 4, 6, WEIGHTS(b), ldw, x->q[b]);
			if (b + 1 < blocks)
				PRODUCT(1, 5, 7, WEIGHTS(b + 1), ldw, x->q[b + 1]);
			if (b + 2 < blocks)
				PRODUCT(2, 4, 6, WEIGHTS(b + 2), ldw, x->q[b + 2]);
			if (b + 3 < blocks)
				PRODUCT(3, 5, 7, WEIGHTS(b + 3), ldw, x->q[b + 3]);
		}
		STORE_FOUR(m->sums[0][0], 64, 256);
		if (k.halves) {
			scale(k, m, x, b, m->sums[0][0]);
			scale(k, m, x, b + 1, m->sums[2][0]);
		} else {
			ROLLED for (int u = 0; u < 4 && b + u < blocks; u++)
				scale(k, m, x, b + u, m->sums[u][0]);
		}
	}
#undef WEIGHTS
}

// put_panel folds the sums, as fold does.
INLINE void put_panel(const struct panel *m, const struct decode *p, int64_t i)
{
	u32x16 v[16];
	ROLLED for (int j = 0; j < 16; j++) {
		f32x16 s[8];
		UNROLL for (int b = 0; b < 8; b++)
			s[b] = LOAD(f32x16, m->acc[b][j]) + LOAD(f32x16, m->acc[b + 8][j]);
		UNROLL for (int half = 4; half > 0; half /= 2)
			UNROLL for (int b = 0; b < half; b++)
				s[b] += s[b + half];
		v[j] = (u32x16)s[0];
	}
	transpose(v);
	UNROLL for (int r = 0; r < 16; r++) {
		if (r >= p->rows)
			break;
		STORE(u32x16, p->out + r * p->ldo + i, v[r]);
	}
}

// fetch asks for part c of the columns of the 16 rows after w, which lie side by
// side: memory is read in its order.
INLINE void fetch(const struct decode *p, const uint8_t *w, int64_t c)
{
	const int64_t size = 16 * p->ldw, from = size * c / p->cols, to = c + 512 < p->cols ? size * (c + 512) / p->cols : size;
	for (int64_t at = from; at < to; at += 64)
		_mm_prefetch((const char *)w + size + at, _MM_HINT_T1);
}

// tile_decode takes weights by sixteens.
INLINE void tile_decode(const struct decode *p, enum type t)
{
	const struct kind k = kind_of(t);
	struct panel *m = (struct panel *)(void *)p->scratch;
	configure(k.halves ? 16 : 32, k.halves ? 4 : 8);
	for (int64_t i = 0; i < p->n; i += 16) {
		const uint8_t *w = p->w + i * p->ldw;
		const struct xtiles *x = (const struct xtiles *)(const void *)p->tiles;
		for (int64_t j = 0; j < 4096; j += 16)
			STORE(f32x16, m->acc[0][0] + j, (f32x16){});
		int64_t at = 0;
		for (int64_t c = 0; c < p->cols; c += 512, at += k.bytes, x++) {
			const int64_t left = p->cols - c, blocks = left < 512 ? left / 32 : 16;
			fetch(p, w, c);
			ROLLED for (int j = 0; j < 16; j++)
				if (t == Q8_0)
					read_scales(m, j, w + j * p->ldw + at, blocks);
				else
					read_row(m, t, j, w + j * p->ldw + at, left);
			if (t == Q8_0)
				multiply_blocks(t, m, w + at, p->ldw, x, blocks);
			else
				multiply_blocks(t, m, w, 576, x, blocks);
		}
		put_panel(m, p, i);
	}
	_tile_release();
}

#endif
