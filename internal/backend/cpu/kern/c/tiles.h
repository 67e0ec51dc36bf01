// The tile registers, and matrix products of many rows.
//
// A tile product C += A * B takes 16 rows of A, 64 bytes each, and of B what pack
// makes: a word of 16 rows side by side. So weights, plain rows, are A, and packed
// rows of x are B; C has a weight in each row and 16 rows of x side by side. Two
// tiles of weights times two of x make four sums, with one load for each product.
#ifndef TILES_H
#define TILES_H
#include "dequant.h"
#include "kern.h"
#include "vec.h"

struct tileconfig {
	uint8_t palette, start, reserved[14];
	uint16_t bytes[16];
	uint8_t rows[16];
};

// configure makes each tile 16 rows of 64 bytes: 0 to 3 are sums, 4 and 5 the A of a
// product, 6 and 7 its B.
INLINE void configure(void)
{
	struct tileconfig c __attribute__((aligned(64))) = {.palette = 1};
	UNROLL for (int i = 0; i < 8; i++) {
		c.bytes[i] = 64;
		c.rows[i] = 16;
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
	if (p->nextbytes == 0)
		return;
	const int64_t parts = (p->rows + 31) / 32, part = r / 32;
	for (int64_t i = 32 * part / parts; i < 32 * (part + 1) / parts; i++)
		ASK(p->next + i * p->ldnext, p->nextbytes, p->ldnext, 2);
}

// load asks for what comes once: it leaves the panel of weights, which all rows of x
// meet, in the first-level cache.
#define LOAD_ONCE(t, p) _tile_stream_loadd(t, p, 64)

// step multiplies what tiles 4 to 7 hold, and loads each of them anew as soon as
// nothing more will read it: the next columns are on their way while these are
// multiplied. Where the processor's core is shared, a load waits for the one before
// it, so each begins as early as it can.
#define STEP(w0, w1, wide, x0, x1)           \
	(_tile_dpbf16ps(0, 4, 6),            \
	 _tile_dpbf16ps(1, 4, 7),            \
	 _tile_loadd(4, (w0), wide),         \
	 _tile_dpbf16ps(2, 5, 6),            \
	 LOAD_ONCE(6, (x0)),                 \
	 _tile_dpbf16ps(3, 5, 7),            \
	 LOAD_ONCE(7, (x1)),                 \
	 _tile_loadd(5, (w1), wide))

// put_tiles turns the sums of a block to its outputs.
INLINE void put_tiles(const struct block *p, const float *acc, int64_t r)
{
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

// laying is how far the next panel is laid: unit is the next one, a block of a row.
// For each step that multiplies, due grows by the number of units, and a unit is laid
// for each number of steps that there are.
struct laying {
	const uint8_t *w;
	uint8_t *y;
	int64_t row, c, due;
};

// laid is what a unit is made of.
struct laid {
	int cols, bytes;
	enum type t;
	enum real real; // where t is none
};
#define NO_TYPE ((enum type)-1)

INLINE void lay_unit(const struct block *p, struct laid l, struct laying *at)
{
	if (at->c == 0) // what comes eight rows later
		ASK(at->w + 8 * p->ldraw, p->rawcols / l.cols * l.bytes, p->ldraw, 3);
	const uint8_t *w = at->w + at->c / l.cols * l.bytes;
	if (l.t == NO_TYPE)
		put32(TO_BF16, at->y, at->c, real16(l.real, w), real16(l.real, w + l.bytes / 2));
	else
		expand_block(l.t, TO_BF16, w, at->y, at->c);
	at->c += l.cols;
	if (at->c < p->rawcols)
		return;
	at->c = 0;
	at->row++;
	at->w += p->ldraw;
	at->y += p->ldlay;
}

// tile_gemm multiplies all rows of x with up to 32 weights, over some of the
// columns. Sums wait in acc, [2 tiles of x][2 of weights][16][16] after another,
// from piece to piece of the columns; those of the next rows are asked for
// meanwhile. The next panel is laid while tiles are multiplied.
INLINE void tile_gemm(const struct block *p, struct laid l)
{
	const int64_t wide = 4 * p->ldw, last = p->steps - 16;
	const int64_t steps = (p->rows + 31) / 32 * (p->steps / 16), units = l.cols ? p->rawrows * (p->rawcols / l.cols) : 0;
	const uint32_t *w0 = p->w, *w1 = p->w + (p->n > 16 ? 16 * p->ldw : 0);
	const uint32_t *x0 = p->x, *x1 = x0 + (p->rows > 16 ? p->ldx : 0);
	float *acc = p->acc;
	struct laying at = {p->raw, p->lay, 0, 0, 0};
#define MEANWHILE                                                            \
	if (l.cols)                                                          \
		for (at.due += units; at.due >= steps; at.due -= steps)      \
			lay_unit(p, l, &at)
	configure();
	_tile_loadd(4, w0, wide);
	_tile_loadd(5, w1, wide);
	LOAD_ONCE(6, x0);
	LOAD_ONCE(7, x1);
	for (int64_t r = 0; r < p->rows; r += 32, acc += 1024) {
		expect(p, r);
		if (p->first)
			ZERO_FOUR;
		else
			LOAD_FOUR(acc, 64, 256);
		const char *later = (const char *)(acc + 1024);
		for (int64_t k = 0; k < last; k += 16) {
			STEP(w0 + k + 16, w1 + k + 16, wide, x0 + 16 * k + 256, x1 + 16 * k + 256);
			UNROLL for (int64_t i = 0; i < 4; i++, later += 64)
				__builtin_prefetch(later, 1, 3);
			MEANWHILE;
		}
		const uint32_t *y0 = x0 + 16 * last, *y1 = x1 + 16 * last; // the last rows' again, or
		if (r + 32 < p->rows) {                                    // the next ones'
			y0 = x0 = p->x + (r / 16 + 2) * p->ldx;
			y1 = x1 = x0 + (p->rows - r > 48 ? p->ldx : 0);
		}
		STEP(w0, w1, wide, y0, y1);
		STORE_FOUR(acc, 64, 256);
		MEANWHILE;
		if (p->last)
			put_tiles(p, acc, r);
	}
#undef MEANWHILE
	_tile_release();
}

#endif
