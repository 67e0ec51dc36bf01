// The attention of prompts: scores and outputs are tile products, in bf16.
//
// For 16 queries at a time, scores S = Q * K' and outputs O = f * O + P * V, where
// P = e^(S - max) for the greatest score so far and f what that makes of the sums
// before. Weights and values that a query does not see are zeros, so that they
// change none of its bits.
#ifndef TILEATTEND_H
#define TILEATTEND_H
#include "tiles.h"

// room is the scratch memory of a call, all parts multiples of 64 bytes.
struct room {
	float *block;   // [64][d]: keys, then values
	float *scores;  // [16][64]
	float *out;     // [queries up to 16][d]
	uint16_t *p;    // [16][64]
	uint16_t *k;    // [d/32][4] tiles of B: [16][16 positions][2]
	uint16_t *v;    // [d/16][2] tiles of B
	uint16_t *q;    // [queries up to 16][d]
};

INLINE struct room room_of(const struct attend *p, int64_t d)
{
	const int64_t n = (p->n + 15) / 16 * 16;
	struct room m;
	m.block = p->scratch;
	m.scores = m.block + POSITIONS * d;
	m.out = m.scores + 16 * POSITIONS;
	m.p = (uint16_t *)(void *)(m.out + n * d);
	m.k = m.p + 16 * POSITIONS;
	m.v = m.k + POSITIONS * d;
	m.q = m.v + POSITIONS * d;
	return m;
}

// begin_prompt rounds the queries, times scale, and clears the outputs.
INLINE void begin_prompt(const struct attend *p, const struct room *m, int64_t d)
{
	for (int64_t i = 0; i < (p->n + 15) / 16 * 16; i++)
		for (int64_t c = 0; c < d; c += 16) {
			f32x16 v = {};
			if (i < p->n && c < p->dim)
				v = part(p->queries[i].q + c, p->dim - c) * p->scale;
			STORE(u16x16, m->q + i * d + c, narrow(v));
			STORE(f32x16, m->out + i * d + c, (f32x16){});
		}
}

// lay_keys packs the block's keys as the B of scores.
INLINE void lay_keys(const struct room *m, int64_t d)
{
	for (int64_t c = 0; c < d; c += 32)
		for (int t = 0; t < 4; t++) {
			u32x16 v[16];
			UNROLL for (int i = 0; i < 16; i++)
				v[i] = pack16((const uint8_t *)(m->block + (16 * t + i) * d + c));
			transpose(v);
			uint16_t *k = m->k + (c / 32 * 4 + t) * 512;
			UNROLL for (int i = 0; i < 16; i++)
				STORE(u32x16, k + 32 * i, v[i]);
		}
}

// lay_values packs the block's values as the B of outputs. Positions that have an
// infinity or a NaN have none in it; they are returned, a bit each.
INLINE uint64_t lay_values(const struct room *m, int64_t d)
{
	static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
					   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
	const __m512i interleave = _mm512_loadu_si512(order);
	const __m512i exponent = _mm512_set1_epi16(0x7f80);
	uint64_t bad = 0;
	for (int64_t i = 0; i < POSITIONS; i += 2)
		for (int64_t c = 0; c < d; c += 16) {
			const float *a = m->block + i * d + c;
			__m512i v = (__m512i)_mm512_cvtne2ps_pbh((__m512)LOAD(f32x16, a + d), (__m512)LOAD(f32x16, a));
			const __mmask32 huge = _mm512_cmpeq_epi16_mask(_mm512_and_si512(v, exponent), exponent);
			bad |= (uint64_t)((huge & 0xffff) != 0) << i | (uint64_t)(huge >> 16 != 0) << (i + 1);
			v = _mm512_maskz_mov_epi16(~huge, v);
			STORE(u32x16, m->v + (c / 16 * 2 + i / 32) * 512 + i % 32 / 2 * 32, (u32x16)_mm512_permutexvar_epi16(interleave, v));
		}
	return bad;
}

// score16 multiplies 16 queries with the block's keys.
INLINE void score16(const struct room *m, const uint16_t *q, int64_t d)
{
	ZERO_FOUR;
	for (int64_t c = 0; c < d; c += 32) {
		const uint16_t *k = m->k + c / 32 * 4 * 512;
		_tile_loadd(4, q + c, 2 * d);
		_tile_loadd(6, k, 64);
		_tile_dpbf16ps(0, 4, 6);
		_tile_loadd(7, k + 512, 64);
		_tile_dpbf16ps(1, 4, 7);
		_tile_loadd(6, k + 1024, 64);
		_tile_dpbf16ps(2, 4, 6);
		_tile_loadd(7, k + 1536, 64);
		_tile_dpbf16ps(3, 4, 7);
	}
	STORE_FOUR(m->scores, 4 * POSITIONS, 16);
}

// weigh_prompt turns a query's scores into weights, and its output so far into what
// they are added to.
INLINE void weigh_prompt(const struct attend *p, struct query *q, float *s, uint16_t *w, float *out, int64_t d)
{
	const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	const f32x16 none = splat(-__builtin_inff());
	f32x16 v[4], most = none;
	UNROLL for (int i = 0; i < 4; i++) {
		v[i] = LOAD(f32x16, s + 16 * i);
		if (p->softcap > 0)
			v[i] = p->softcap * (1 - 2 / (expv(v[i] * (2 / p->softcap)) + 1));
		i32x16 at = lane + 16 * i;
		v[i] = choose((at >= q->begin) & (at < q->end), v[i], none);
		most = choose(v[i] > most, v[i], most);
	}
	const float m = __builtin_reduce_max(most), top = m > q->max ? m : q->max;
	const float f = expv(splat(q->max - top))[0];
	f32x16 sum = {};
	UNROLL for (int i = 0; i < 4; i++) {
		u16x16 e = narrow(expv(v[i] - top));
		STORE(u16x16, w + 16 * i, e);
		sum += bfloats(e);
	}
	q->max = top;
	q->sum = __builtin_elementwise_fma(q->sum, f, fold(sum));
	if (f != 1)
		for (int64_t c = 0; c < d; c += 16)
			STORE(f32x16, out + c, LOAD(f32x16, out + c) * f);
}

// mix16 adds 16 queries' weighted values to their outputs.
INLINE void mix16(const struct room *m, float *out, int64_t d)
{
	for (int64_t c = 0; c < d; c += 32) {
		const uint16_t *v = m->v + c / 16 * 2 * 512;
		_tile_loadd(0, out + c, 4 * d);
		_tile_loadd(1, out + c + 16, 4 * d);
		_tile_loadd(4, m->p, 2 * POSITIONS);
		_tile_loadd(5, m->p + 32, 2 * POSITIONS);
		_tile_loadd(6, v, 64);
		_tile_dpbf16ps(0, 4, 6);
		_tile_loadd(7, v + 1024, 64);
		_tile_dpbf16ps(1, 4, 7);
		_tile_loadd(6, v + 512, 64);
		_tile_dpbf16ps(0, 5, 6);
		_tile_loadd(7, v + 1536, 64);
		_tile_dpbf16ps(1, 5, 7);
		_tile_stored(0, out + c, 4 * d);
		_tile_stored(1, out + c + 16, 4 * d);
	}
}

// add_bad adds values that the tiles leave out to the query that sees them.
INLINE void add_bad(const struct attend *p, const struct room *m, const struct query *q, const uint16_t *w, float *out, int64_t d, uint64_t bad)
{
	for (int64_t at = q->begin; at < q->end; at++) {
		if (!(bad >> at & 1))
			continue;
		const float f = bfloats((u16x16){} + w[at])[0];
		for (int64_t c = 0; c < p->dim; c++) {
			out[c] += f * m->block[at * d + c];
			BARRIER;
		}
	}
}

// collect_all is collect, with zeros for the positions that no query sees.
INLINE void collect_all(const struct attend *p, const uint8_t *base, float *to, int64_t d)
{
	for (int64_t i = 0; i < POSITIONS; i++)
		if (i < p->lo || i >= p->hi || d > p->dim)
			for (int64_t c = 0; c < d; c += 16)
				STORE(f32x16, to + i * d + c, (f32x16){});
	collect_as(p, base, to, d);
}

// tile_attend takes queries over one block of positions.
INLINE void tile_attend(const struct attend *p)
{
	const int64_t d = (p->dim + 31) / 32 * 32;
	const struct room m = room_of(p, d);
	if (p->first)
		begin_prompt(p, &m, d);
	collect_all(p, p->k, m.block, d);
	lay_keys(&m, d);
	collect_all(p, p->v, m.block, d);
	const uint64_t bad = lay_values(&m, d);
	configure();
	for (int64_t i = 0; i < p->n; i += 16) {
		const int64_t n = p->n - i < 16 ? p->n - i : 16;
		float *out = m.out + i * d;
		score16(&m, m.q + i * d, d);
		for (int64_t j = 0; j < 16; j++) {
			struct query *q = p->queries + i + j;
			if (j < n && q->begin < q->end)
				weigh_prompt(p, q, m.scores + j * POSITIONS, m.p + j * POSITIONS, out + j * d, d);
			else
				for (int64_t c = 0; c < POSITIONS; c += 16)
					STORE(u16x16, m.p + j * POSITIONS + c, (u16x16){});
		}
		mix16(&m, out, d);
		if (bad)
			for (int64_t j = 0; j < n; j++)
				add_bad(p, &m, p->queries + i + j, m.p + j * POSITIONS, out + j * d, d, bad);
	}
	_tile_release();
	if (!p->last)
		return;
	for (int64_t i = 0; i < p->n; i++) {
		const struct query *q = p->queries + i;
		const float f = 1 / q->sum;
		for (int64_t c = 0; c < p->dim; c += 16)
			put_part(q->out + c, p->dim - c, LOAD(f32x16, m.out + i * d + c) * f);
	}
}

#endif
