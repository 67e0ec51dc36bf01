// What is not a matrix product: norms, gates, rotations, attention.
#ifndef REST_H
#define REST_H
#include "kern.h"
#include "vec.h"

// part reads the first n of 16 floats, zeros for the rest; put_part writes them.
INLINE f32x16 part(const float *p, int64_t n)
{
	if (n >= 16)
		return LOAD(f32x16, p);
	f32x16 v = {};
	for (int64_t i = 0; i < n; i++) {
		float t[16];
		STORE(f32x16, t, v);
		t[i] = p[i];
		BARRIER;
		v = LOAD(f32x16, t);
	}
	return v;
}

INLINE void put_part(float *p, int64_t n, f32x16 v)
{
	if (n >= 16) {
		STORE(f32x16, p, v);
		return;
	}
	float t[16];
	STORE(f32x16, t, v);
	for (int64_t i = 0; i < n; i++) {
		p[i] = t[i];
		BARRIER;
	}
}

INLINE f32x16 choose(i32x16 mask, f32x16 a, f32x16 b) { return (f32x16)(((i32x16)a & mask) | ((i32x16)b & ~mask)); }

// expv is e^x with an error below 2 units in the last place, 0 below -87.3,
// 2.4e38 above 88.37. x = n ln 2 + r with |r| <= 0.35; the Taylor series leaves
// out r^8/8! of e^r, which is 5e-9 at most.
INLINE f32x16 expv(f32x16 x)
{
	x = choose(x > 88.37f, splat(88.37f), x);
	i32x16 n = nearest(x * 1.44269504f);
	f32x16 f = floats(n);
	f32x16 r = fma16(f, splat(-0x1.62e4p-1f), x); // ln 2 in two pieces; f times the first is exact
	r = fma16(f, splat(-0x1.7f7d1cp-20f), r);
	f32x16 p = splat(1.0f / 5040);
	p = fma16(p, r, splat(1.0f / 720));
	p = fma16(p, r, splat(1.0f / 120));
	p = fma16(p, r, splat(1.0f / 24));
	p = fma16(p, r, splat(1.0f / 6));
	p = fma16(p, r, splat(0.5f));
	p = fma16(p, r, splat(1));
	p = fma16(p, r, splat(1));
	p *= (f32x16)((n + 127) << 23);
	return choose(x < -87.3f, (f32x16){}, p);
}

// k_norm: x += delta, if there is one; dst = w * x / sqrt(mean(x^2) + eps). It is
// exact: squares are, in doubles, and their sum has the portable order.
KERNEL k_norm(const struct norm *p)
{
	typedef double f64x8 __attribute__((vector_size(64)));
	typedef float f32x8 __attribute__((vector_size(32)));
	typedef f32x8 f32x8_at __attribute__((aligned(1)));
	if (p->delta)
		for (int64_t i = 0; i < p->n; i += 16)
			put_part(p->x + i, p->n - i, part(p->x + i, p->n - i) + part(p->delta + i, p->n - i));
	f64x8 s = {};
	int64_t i = 0;
	for (; i + 8 <= p->n; i += 8) {
		f64x8 v = __builtin_convertvector(*(const f32x8_at *)(p->x + i), f64x8);
		s += v * v;
	}
	double t[8];
	__builtin_memcpy_inline(t, &s, 64);
	for (; i < p->n; i++) {
		t[i % 8] += (double)p->x[i] * (double)p->x[i];
		BARRIER;
	}
	double sum = ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
	const float f = (float)(1 / __builtin_sqrt(sum / (double)p->n + (double)p->eps));
	for (i = 0; i < p->n; i += 16)
		put_part(p->dst + i, p->n - i, part(p->x + i, p->n - i) * f * part(p->w + i, p->n - i));
}

// k_gate: dst = act(x) * w, where act is x / (1 + e^-u), and u is x (SiLU) or
// 2 sqrt(2/pi) (x + 0.044715 x^3) (GELU by tanh).
KERNEL k_gate(const struct gate *p)
{
	for (int64_t i = 0; i < p->n; i += 16) {
		f32x16 x = part(p->gate + i, p->n - i), u = x;
		if (p->gelu)
			u = 1.59576912f * fma16(0.044715f * x * x, x, x);
		put_part(p->dst + i, p->n - i, x / (1 + expv(-u)) * part(p->up + i, p->n - i));
	}
}

// k_rotate turns pairs by angles with these cosines and sines, exactly.
KERNEL k_rotate(const struct rotate *p)
{
	const float *restrict cos = p->cos, *restrict sin = p->sin;
	for (int64_t h = 0; h < p->heads; h++) {
		float *restrict x = p->x + h * p->dim;
		if (p->interleaved)
			for (int64_t i = 0; i < p->half; i++) {
				float a = x[2 * i], b = x[2 * i + 1];
				x[2 * i] = a * cos[i] - b * sin[i];
				x[2 * i + 1] = a * sin[i] + b * cos[i];
			}
		else
			for (int64_t i = 0; i < p->half; i++) {
				float a = x[i], b = x[i + p->half];
				x[i] = a * cos[i] - b * sin[i];
				x[i + p->half] = a * sin[i] + b * cos[i];
			}
	}
}

#include "kv.h"

// products multiplies q with 16 keys. Column c of a product goes to sum c%16.
INLINE f32x16 products(const float *q, const float *k, int64_t d)
{
	f32x16 u[4];
	UNROLL for (int h = 0; h < 4; h += KEYS_TOGETHER / 4) {
		f32x16 s[KEYS_TOGETHER];
		UNROLL for (int j = 0; j < KEYS_TOGETHER; j++)
			s[j] = (f32x16){};
		const float *at = k + 4 * h * d;
		for (int64_t i = 0; i < d; i += 16) {
			f32x16 v = LOAD(f32x16, q + i);
			UNROLL for (int j = 0; j < KEYS_TOGETHER; j++)
				s[j] = fma16(v, LOAD(f32x16, at + j * d + i), s[j]);
		}
		UNROLL for (int j = 0; j < KEYS_TOGETHER / 4; j++)
			u[h + j] = fsum4(s[4 * j], s[4 * j + 1], s[4 * j + 2], s[4 * j + 3]);
	}
	// Add the quarters: lane 4k+j of u[h] is quarter k of key 4h+j.
	f32x16 a = __builtin_shufflevector(u[0], u[1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
		   __builtin_shufflevector(u[0], u[1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
	f32x16 b = __builtin_shufflevector(u[2], u[3], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
		   __builtin_shufflevector(u[2], u[3], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
	return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
	       __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

// score multiplies a query with the keys of the positions that it sees, and more: whole
// sixteens.
INLINE void score(const struct query *q, const float *row, const float *keys, int64_t d, float *e)
{
	for (int at = q->begin / 16 * 16; at < q->end; at += 16)
		STORE(f32x16, e + at, products(row, keys + at * d, d));
}

// weigh turns a query's scores into weights e^(s - max), 0 for what it does not
// see, joins max and sum to the running ones, and returns what the running
// output is to be multiplied with.
INLINE float weigh(const struct attend *p, struct query *q, float *e)
{
	const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	const f32x16 none = splat(-__builtin_inff());
	f32x16 most = none;
	const int first = q->begin / 16 * 16;
	for (int at = first; at < q->end; at += 16) {
		f32x16 s = LOAD(f32x16, e + at) * p->scale;
		if (p->softcap > 0)
			s = p->softcap * (1 - 2 / (expv(s * (2 / p->softcap)) + 1));
		i32x16 i = lane + at;
		s = choose((i >= q->begin) & (i < q->end), s, none);
		STORE(f32x16, e + at, s);
		most = choose(s > most, s, most);
	}
	float m = __builtin_reduce_max(most), top = m > q->max ? m : q->max;
	f32x16 joined = expv((f32x16){q->max - top, m - top});
	f32x16 sum = {};
	for (int at = first; at < q->end; at += 16) {
		f32x16 v = expv(LOAD(f32x16, e + at) - m) * joined[1];
		STORE(f32x16, e + at, v);
		sum += v;
	}
	q->max = top;
	q->sum = __builtin_elementwise_fma(q->sum, joined[0], fold(sum));
	return joined[0];
}

// mix adds the weighted values to n*16 columns of a query's output.
INLINE void mix(const struct attend *p, const struct query *q, float old, const float *values, int64_t d, const float *e, int64_t c, int n)
{
	f32x16 s[MIX_TOGETHER];
	UNROLL for (int j = 0; j < n; j++)
		s[j] = part(q->out + c + 16 * j, p->dim - c - 16 * j) * old;
	for (int64_t at = q->begin; at < q->end; at++) {
		f32x16 w = splat(e[at]);
		UNROLL for (int j = 0; j < n; j++)
			s[j] = fma16(w, LOAD(f32x16, values + at * d + c + 16 * j), s[j]);
	}
	UNROLL for (int j = 0; j < n; j++)
		put_part(q->out + c + 16 * j, p->dim - c - 16 * j, s[j]);
}

// mix_row does so for all columns of a query.
INLINE void mix_row(const struct attend *p, int64_t i, const float *old, const float *values, int64_t d, const float *e)
{
	const struct query *q = p->queries + i;
	if (q->begin >= q->end)
		return;
	e += i * POSITIONS;
	int64_t c = 0;
	for (; c + 16 * MIX_TOGETHER <= d; c += 16 * MIX_TOGETHER)
		mix(p, q, old[i], values, d, e, c, MIX_TOGETHER);
	for (; c + 64 <= d; c += 64)
		mix(p, q, old[i], values, d, e, c, 4);
	for (; c < d; c += 16)
		mix(p, q, old[i], values, d, e, c, 1);
}

// k_attend takes queries over one block of positions.
KERNEL k_attend(const struct attend *p)
{
	const int64_t d = (p->dim + 15) / 16 * 16;
	float *block = p->scratch, *row = block + POSITIONS * d, *e = row + d, *old = e + p->n * POSITIONS;
	collect_as(p, p->k, block, d);
	for (int64_t i = 0; i < p->n; i++) {
		struct query *q = p->queries + i;
		if (q->begin >= q->end)
			continue;
		for (int64_t c = 0; c < p->dim; c += 16)
			STORE(f32x16, row + c, part(q->q + c, p->dim - c));
		score(q, row, block, d, e + i * POSITIONS);
		old[i] = weigh(p, q, e + i * POSITIONS);
	}
	collect_as(p, p->v, block, d);
	for (int64_t i = 0; i < p->n; i++)
		mix_row(p, i, old, block, d, e);
}

#endif
