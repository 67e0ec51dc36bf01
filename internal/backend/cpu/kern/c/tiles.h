// The tile registers, and matrix products of many rows.
//
// A tile product C += A * B takes 16 rows of A, 64 bytes each, and of B what pack
// makes: a word of 16 rows side by side. So weights, plain rows, are A, and packed
// rows of x are B; C has a weight in each row and 16 rows of x side by side. Two
// tiles of weights times two of x make four sums, with one load for each product.
#ifndef TILES_H
#define TILES_H
#include "kern.h"
#include "vec.h"

struct tileconfig {
	uint8_t palette, start, reserved[14];
	uint16_t bytes[16];
	uint8_t rows[16];
};

// configure makes tiles 0 to 3 sums (16 rows of 16 words), 4 and 5 the A of a
// product, with rows of some bytes, and 6 and 7 its B.
INLINE void configure(int bytes, int rows)
{
	struct tileconfig c __attribute__((aligned(64))) = {.palette = 1};
	UNROLL for (int i = 0; i < 8; i++) {
		c.bytes[i] = i == 4 || i == 5 ? (uint16_t)bytes : 64;
		c.rows[i] = i >= 6 ? (uint8_t)rows : 16;
	}
	_tile_loadconfig(&c);
}

#define ZERO_FOUR (_tile_zero(0), _tile_zero(1), _tile_zero(2), _tile_zero(3))
#define LOAD_FOUR(p, stride, next)                           \
	(_tile_loadd(0, (p), stride),                        \
	 _tile_loadd(1, (p) + (next), stride),               \
	 _tile_loadd(2, (p) + 2 * (next), stride),           \
	 _tile_loadd(3, (p) + 3 * (next), stride))
#define STORE_FOUR(p, stride, next)                          \
	(_tile_stored(0, (p), stride),                       \
	 _tile_stored(1, (p) + (next), stride),              \
	 _tile_stored(2, (p) + 2 * (next), stride),          \
	 _tile_stored(3, (p) + 3 * (next), stride))

// turn writes a tile of sums, [weight][row of x], where it belongs.
INLINE void turn(const float *sums, float *out, int64_t ldo, int64_t rows, int64_t n)
{
	u32x16 v[16];
	UNROLL for (int i = 0; i < 16; i++)
		v[i] = LOAD(u32x16, sums + 16 * i);
	transpose(v);
	const __mmask16 m = (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
	if (rows >= 16 && n >= 16) {
		UNROLL for (int q = 0; q < 16; q++)
			STORE(u32x16, out + q * ldo, v[q]);
		return;
	}
	UNROLL for (int q = 0; q < 16; q++) {
		if (q >= rows)
			break;
		_mm512_mask_storeu_ps(out + q * ldo, m, (__m512)v[q]);
	}
}

// expect asks for what the block will need later: the lines that r's outputs go to, and
// a share of the next block's weights.
INLINE void expect(const struct block *p, int64_t r)
{
	if (p->last)
		for (int64_t q = r; q < r + 32 && q < p->rows; q++) {
			__builtin_prefetch(p->out + q * p->ldo, 1, 3);
			__builtin_prefetch(p->out + q * p->ldo + 16, 1, 3);
		}
	const int64_t parts = (p->rows + 31) / 32, part = r / 32;
	for (int64_t i = 32 * part / parts; i < 32 * (part + 1) / parts; i++)
		for (int64_t at = 0; at < p->nextbytes; at += 64)
			_mm_prefetch((const char *)p->next + i * p->ldnext + at, _MM_HINT_T1);
}

// X_AHEAD is how many words of x are fetched before they are used: four steps.
#define X_AHEAD 1024

// tile_gemm multiplies all rows of x with up to 32 weights, over some of the
// columns. Sums wait in acc, [2 tiles of x][2 of weights][16][16] after another,
// from piece to piece of the columns.
INLINE void tile_gemm(const struct block *p)
{
	const int64_t wide = 4 * p->ldw;
	const uint32_t *w0 = p->w, *w1 = p->w + (p->n > 16 ? 16 * p->ldw : 0);
	float *acc = p->acc;
	configure(64, 16);
	for (int64_t r = 0; r < p->rows; r += 32, acc += 1024) {
		const uint32_t *x0 = p->x + r / 16 * p->ldx, *x1 = x0 + (p->rows - r > 16 ? p->ldx : 0);
		expect(p, r);
		if (p->first)
			ZERO_FOUR;
		else
			LOAD_FOUR(acc, 64, 256);
		for (int64_t k = 0; k < p->steps; k += 16) {
			UNROLL for (int64_t at = 0; at < 256; at += 16) {
				PREFETCH(x0 + 16 * k + X_AHEAD + at);
				PREFETCH(x1 + 16 * k + X_AHEAD + at);
			}
			_tile_loadd(6, x0 + 16 * k, 64);
			_tile_loadd(4, w0 + k, wide);
			_tile_dpbf16ps(0, 4, 6);
			_tile_loadd(7, x1 + 16 * k, 64);
			_tile_loadd(5, w1 + k, wide);
			_tile_dpbf16ps(1, 4, 7);
			_tile_dpbf16ps(2, 5, 6);
			_tile_dpbf16ps(3, 5, 7);
		}
		STORE_FOUR(acc, 64, 256);
		if (!p->last)
			continue;
		float *out = p->out + r * p->ldo;
		turn(acc, out, p->ldo, p->rows - r, p->n);
		if (p->rows - r > 16)
			turn(acc + 256, out + 16 * p->ldo, p->ldo, p->rows - r - 16, p->n);
		if (p->n > 16) {
			turn(acc + 512, out + 16, p->ldo, p->rows - r, p->n - 16);
			if (p->rows - r > 16)
				turn(acc + 768, out + 16 + 16 * p->ldo, p->ldo, p->rows - r - 16, p->n - 16);
		}
	}
	_tile_release();
}

#endif
