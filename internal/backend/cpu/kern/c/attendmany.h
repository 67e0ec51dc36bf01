// Attention of many queries at once, those of prompts: what k_attend does, but a key is a lane.
//
// Keys are turned while they are decoded, 64 of a column side by side, and a column of
// MANY_QUERIES queries is broadcast against MANY_VECTORS vectors of them: nothing is summed up
// across lanes, and a key that is read serves several queries. Values likewise meet several
// queries at once. A score is summed column by column, not as k_attend does it, so that a row
// has other last bits here: it depends on its class alone which of the two takes it.
#ifndef ATTENDMANY_H
#define ATTENDMANY_H
#include "rest.h"

#define MANY_QUERIES 4

// turn_keys decodes a head's keys of the block to [columns, d][POSITIONS].
INLINE void turn_keys(enum kv t, const struct attend *p, float *to)
{
	for (int64_t at = p->lo / 16 * 16; at < p->hi; at += 16)
		for (int64_t i = 0; i < p->dim; i += 16) {
			u32x16 v[16];
			for (int64_t j = 0; j < 16; j++) {
				const int there = at + j >= p->lo && at + j < p->hi;
				v[j] = there ? (u32x16)element16(t, p->k + p->cells[at + j] * p->stride, i, p->dim) : (u32x16){};
				BARRIER;
			}
			transpose(v);
			UNROLL for (int j = 0; j < 16; j++)
				STORE(u32x16, to + (i + j) * POSITIONS + at, v[j]);
		}
}

// many_scores multiplies n queries with the keys of MANY_VECTORS sixteens of positions.
INLINE void many_scores(const struct attend *p, const struct query *q, int n, const float *keys, float *e)
{
	f32x16 s[MANY_QUERIES][MANY_VECTORS];
	UNROLL for (int i = 0; i < n; i++)
		UNROLL for (int k = 0; k < MANY_VECTORS; k++)
			s[i][k] = (f32x16){};
	for (int64_t c = 0; c < p->dim; c++, keys += POSITIONS) {
		f32x16 v[MANY_VECTORS];
		UNROLL for (int k = 0; k < MANY_VECTORS; k++)
			v[k] = LOAD(f32x16, keys + 16 * k);
		UNROLL for (int i = 0; i < n; i++)
			UNROLL for (int k = 0; k < MANY_VECTORS; k++)
				s[i][k] = fma16(splat(q[i].q[c]), v[k], s[i][k]);
	}
	UNROLL for (int i = 0; i < n; i++)
		UNROLL for (int k = 0; k < MANY_VECTORS; k++)
			STORE(f32x16, e + i * POSITIONS + 16 * k, s[i][k]);
}

// many_mix adds the weighted values to MANY_VECTORS sixteens of the outputs of n queries that
// see the same positions, from column c on.
INLINE void many_mix(const struct query *q, int n, const float *old, const float *values, int64_t d, const float *e, int64_t c)
{
	f32x16 s[MANY_QUERIES][MANY_VECTORS];
	UNROLL for (int i = 0; i < n; i++)
		UNROLL for (int k = 0; k < MANY_VECTORS; k++)
			s[i][k] = LOAD(f32x16, q[i].out + c + 16 * k) * old[i];
	for (int64_t at = q->begin; at < q->end; at++) {
		f32x16 v[MANY_VECTORS];
		UNROLL for (int k = 0; k < MANY_VECTORS; k++)
			v[k] = LOAD(f32x16, values + at * d + c + 16 * k);
		UNROLL for (int i = 0; i < n; i++)
			UNROLL for (int k = 0; k < MANY_VECTORS; k++)
				s[i][k] = fma16(splat(e[i * POSITIONS + at]), v[k], s[i][k]);
	}
	UNROLL for (int i = 0; i < n; i++)
		UNROLL for (int k = 0; k < MANY_VECTORS; k++)
			STORE(f32x16, q[i].out + c + 16 * k, s[i][k]);
}

// alike tells whether MANY_QUERIES queries see the same positions.
INLINE int alike(const struct query *q)
{
	int same = q->begin < q->end;
	for (int i = 1; i < MANY_QUERIES; i++)
		same &= q[i].begin == q->begin && q[i].end == q->end;
	return same;
}

// k_attend_many takes queries over one block of positions.
KERNEL k_attend_many(const struct attend *p)
{
	const int64_t d = (p->dim + 15) / 16 * 16, wide = p->dim % (16 * MANY_VECTORS) == 0;
	float *block = p->scratch, *e = block + POSITIONS * d + d, *old = e + p->n * POSITIONS;
	BY_TYPE(turn_keys, p, block)
	const int64_t last = p->n / MANY_QUERIES * MANY_QUERIES, lo = p->lo / (16 * MANY_VECTORS) * (16 * MANY_VECTORS);
	for (int64_t at = lo; at < p->hi; at += 16 * MANY_VECTORS) {
		for (int64_t i = 0; i < last; i += MANY_QUERIES)
			many_scores(p, p->queries + i, MANY_QUERIES, block + at, e + i * POSITIONS + at);
		for (int64_t i = last; i < p->n; i++)
			many_scores(p, p->queries + i, 1, block + at, e + i * POSITIONS + at);
	}
	for (int64_t i = 0; i < p->n; i++)
		if (p->queries[i].begin < p->queries[i].end)
			old[i] = weigh(p, p->queries + i, e + i * POSITIONS);
	collect_as(p, p->v, block, d);
	for (int64_t i = 0; i < p->n;) {
		if (!wide || i + MANY_QUERIES > p->n || !alike(p->queries + i)) {
			mix_row(p, i++, old, block, d, e);
			continue;
		}
		for (int64_t c = 0; c < d; c += 16 * MANY_VECTORS)
			many_mix(p->queries + i, MANY_QUERIES, old + i, block, d, e + i * POSITIONS, c);
		i += MANY_QUERIES;
	}
}

#endif
