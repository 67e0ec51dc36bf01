// BF16 weights in three quarters of their bytes, with all their bits.
//
// The upper byte of such a number is its sign and seven bits of its exponent. Weights that lie
// together have few exponents: of COMPACT_COLS columns nearly all upper bytes, without signs, are
// the greatest or one of the seven below it. So four bits say which, and lower bytes stay as they are:
//
//	row    a head of 4 bytes a block, up to a multiple of 64; then its blocks
//	head   the least of the eight; place and upper byte of one that is none of them; what there is
//	block  64 bytes of four bits, bit 3 the sign: columns 0 to 63 in the lower ones, 64 to 127 in
//	       the upper; 128 lower bytes of the columns in the same order
//
// Where a block HAS_MANY others, all of its upper bytes lie elsewhere, as far behind the block as its
// first 8 bytes say. Blocks begin at lines of the cache and are whole lines: blocks of 196
// bytes, with their heads, were read at three quarters of the speed by a Zen 4, which two loads
// of a line that is on its way hold up.
//
// The order of 64 columns is that in which quarters of vectors are interleaved: quarter q has 4 columns
// from 4q on, each followed by the one 16 behind it, and then the same 32 columns further.
#ifndef COMPACT_H
#define COMPACT_H
#include "floats.h"

#define COMPACT_COLS 128
#define COMPACT_BYTES 192

enum { HAS_NONE, HAS_ONE, HAS_MANY };

INLINE int64_t heads_of(int64_t cols) { return (cols / COMPACT_COLS * 4 + 63) / 64 * 64; }

#define QUARTERS(MACRO) MACRO(0), MACRO(16), MACRO(32), MACRO(48)
#define EIGHT_PAIRS(q, i) q + i, q + 64 + i, q + i + 1, q + 65 + i, q + i + 2, q + 66 + i, q + i + 3, q + 67 + i, \
			  q + i + 4, q + 68 + i, q + i + 5, q + 69 + i, q + i + 6, q + 70 + i, q + i + 7, q + 71 + i
#define FIRST_PAIRS(q) EIGHT_PAIRS(q, 0)
#define LAST_PAIRS(q) EIGHT_PAIRS(q, 8)
#define EIGHT_OTHERS(q, i) q + i, q + i + 2, q + i + 4, q + i + 6, q + i + 8, q + i + 10, q + i + 12, q + i + 14
#define EVEN_BYTES(q) EIGHT_OTHERS(q, 0), EIGHT_OTHERS(q, 64)
#define ODD_BYTES(q) EIGHT_OTHERS(q, 1), EIGHT_OTHERS(q, 65)

// mend sets the upper bytes that four bits can't say.
INLINE void mend(uint32_t head, const uint8_t *block, u8x64 upper[2])
{
	uint8_t own[COMPACT_COLS];
	const uint8_t *all = own;
	if (head >> 24 == HAS_MANY) {
		all = block + *(const int64_t *)block;
	} else {
		STORE(u8x64, own, upper[0]);
		STORE(u8x64, own + 64, upper[1]);
		own[head >> 8 & 127] = (uint8_t)(head >> 16);
	}
	BARRIER;
	upper[0] = LOAD(u8x64, all);
	upper[1] = LOAD(u8x64, all + 64);
}

// uppers are the upper bytes of a block.
INLINE void uppers(uint32_t head, const uint8_t *block, u8x64 upper[2])
{
	const u8x16 eight = {0, 1, 2, 3, 4, 5, 6, 7, 128, 129, 130, 131, 132, 133, 134, 135};
	const u8x16 table = eight + (uint8_t)head;
	const u8x64 four = LOAD(u8x64, block);
	upper[0] = lookup(table, four & 15);
	upper[1] = lookup(table, four >> 4);
	if (__builtin_expect(head >> 24 != HAS_NONE, 0))
		mend(head, block, upper);
}

// pairs joins bytes of 64 columns to numbers: word i of the first 32 is column i, and 16 + i above it.
INLINE void pairs(u8x64 lower, u8x64 upper, u32x16 two[2])
{
	two[0] = (u32x16)__builtin_shufflevector(lower, upper, QUARTERS(FIRST_PAIRS));
	two[1] = (u32x16)__builtin_shufflevector(lower, upper, QUARTERS(LAST_PAIRS));
}

// run is n blocks of COMPACT_WEIGHTS rows of weights or fewer, apart bytes from each other, and how far
// behind them memory is asked for, into the first-level cache and the second; 0: not at all.
struct run {
	const uint8_t *head, *block;
	int64_t n, apart, near, far;
};

// ask_run asks for what is behind a block.
INLINE void ask_run(const struct run *b, const uint8_t *block)
{
	UNROLL for (int i = 0; b->near && i < COMPACT_BYTES; i += 64)
		__builtin_prefetch(block + b->near + i, 0, 3);
	UNROLL for (int i = 0; b->far && i < COMPACT_BYTES; i += 64)
		__builtin_prefetch(block + b->far + i, 0, 2);
}

// add_run adds a run's columns to the sums of rows rows of x, which are those of floats.h.
INLINE void add_run(int rows, int weights, struct run b, const uint8_t *x, int64_t ldx, f32x16 (*sum)[COMPACT_WEIGHTS][2])
{
	for (; b.n > 0; b.n--, b.block += COMPACT_BYTES, b.head += 4) {
		u8x64 upper[COMPACT_WEIGHTS][2];
		UNROLL for (int j = 0; j < weights; j++) {
			ask_run(&b, b.block + j * b.apart);
			uppers(ld32(b.head + j * b.apart), b.block + j * b.apart, upper[j]);
		}
		UNROLL for (int h = 0; h < 2; h++) {
			u32x16 two[COMPACT_WEIGHTS][2];
			UNROLL for (int j = 0; j < weights; j++)
				pairs(LOAD(u8x64, b.block + j * b.apart + 64 + 64 * h), upper[j][h], two[j]);
			UNROLL for (int g = 0; g < 2; g++, x += 128)
				UNROLL for (int i = 0; i < rows; i++) {
					const f32x16 u = LOAD(f32x16, x + i * ldx), v = LOAD(f32x16, x + i * ldx + 64);
					UNROLL for (int j = 0; j < weights; j++) {
						sum[i][j][0] = fma16((f32x16)(two[j][g] << 16), u, sum[i][j][0]);
						sum[i][j][1] = fma16((f32x16)(two[j][g] & 0xffff0000), v, sum[i][j][1]);
					}
				}
		}
	}
}

// row_compact multiplies a row of x: it streams the weights.
INLINE void row_compact(const struct decode *p)
{
	const int64_t heads = heads_of(p->cols);
	for (int64_t i = 0; i < p->n; i++) {
		const uint8_t *w = p->w + i * p->ldw;
		f32x16 sum[1][COMPACT_WEIGHTS][2] = {};
		for (int64_t h = 0; h < heads; h += 64)
			prefetch(p, w + h, 64);
		add_run(1, 1, (struct run){w, w + heads, p->cols / COMPACT_COLS, 0, p->near, p->far}, p->x, 0, sum);
		p->out[i] = fold(sum[0][0][0] + sum[0][0][1]);
	}
}

// More rows of x than one don't fit the first-level cache: they meet pieces, as floats.h says. As many of them and of
// weights as registers have room for meet in a tile; for each tile of x the weights become numbers anew. Where there are more
// than a tile of x, storing the numbers is faster: see rowsreal.h.
_Static_assert(sizeof(realsums) == 512, "CompactFloats of compact.go is another size");

// next_compact is how far behind a block lies what comes after the next piece, with so many columns left: in other
// rows of weights where these are at their end.
INLINE int64_t next_compact(const struct decode *p, int64_t left)
{
	return 2 * REAL_PIECE / COMPACT_COLS * COMPACT_BYTES + (left > 2 * REAL_PIECE ? 0 : (REAL_WEIGHTS - 1) * p->ldw);
}

// add_tile adds a run to sums that wait in memory.
INLINE void add_tile(int rows, const struct run *b, const uint8_t *x, int64_t ldx, int64_t j, realsums *acc)
{
	f32x16 sum[COMPACT_ROWS][COMPACT_WEIGHTS][2];
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int k = 0; k < 2 * COMPACT_WEIGHTS; k++)
			sum[r][k / 2][k % 2] = LOAD(f32x16, acc[r][j + k / 2][k % 2]);
	add_run(rows, COMPACT_WEIGHTS, *b, x, ldx, sum);
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int k = 0; k < 2 * COMPACT_WEIGHTS; k++)
			STORE(f32x16, acc[r][j + k / 2][k % 2], sum[r][k / 2][k % 2]);
}

// add_piece adds a piece's columns, from c on, of n rows of weights. The first tile asks for what is next.
INLINE void add_piece(const struct decode *p, const uint8_t *w, int64_t n, int64_t c, realsums *acc)
{
	const int64_t at = c / COMPACT_COLS, left = p->cols - c, blocks = (left < REAL_PIECE ? left : REAL_PIECE) / COMPACT_COLS;
	for (int64_t r = 0, rows; r < p->rows; r += rows)
		for (int64_t j = 0; j < n; j += COMPACT_WEIGHTS) {
			const uint8_t *row = w + j * p->ldw, *x = p->x + r * p->ldx + 4 * c;
			const struct run b = {row + 4 * at, row + heads_of(p->cols) + at * COMPACT_BYTES, blocks, j + 1 < n ? p->ldw : 0, 0, r ? 0 : next_compact(p, left)};
			UNROLL for (int64_t k = 0; k < COMPACT_WEIGHTS; k++) // the last line of a row, which that leaves out
				__builtin_prefetch(row + (REAL_WEIGHTS + 1 + k) * p->ldw - 1, 0, 2);
			rows = p->rows - r < COMPACT_ROWS ? p->rows - r : COMPACT_ROWS;
			if (rows == COMPACT_ROWS)
				add_tile(COMPACT_ROWS, &b, x, p->ldx, j, acc + r);
			else if (COMPACT_ROWS > 2 && rows == 2)
				add_tile(2, &b, x, p->ldx, j, acc + r);
			else
				add_tile(1, &b, x, p->ldx, j, acc + r);
		}
}

// rows_compact multiplies several rows of x.
INLINE void rows_compact(const struct decode *p, realsums *acc)
{
	for (int64_t i = 0; i < p->n; i += REAL_WEIGHTS) {
		const int64_t n = p->n - i < REAL_WEIGHTS ? p->n - i : REAL_WEIGHTS;
		begin_sums(p->rows, acc);
		for (int64_t c = 0; c < p->cols; c += REAL_PIECE)
			add_piece(p, p->w + i * p->ldw, n, c, acc);
		end_sums(p, i, n, acc);
	}
}

// pairs_of makes pairs of a block, 64 bytes of 32 columns.
INLINE void pairs_of(uint32_t head, const uint8_t *block, uint8_t *y)
{
	u8x64 upper[2];
	uppers(head, block, upper);
	UNROLL for (int h = 0; h < 2; h++) {
		u32x16 two[2];
		pairs(LOAD(u8x64, block + 64 + 64 * h), upper[h], two);
		STORE(u32x16, y + 128 * h, two[0]);
		STORE(u32x16, y + 128 * h + 64, two[1]);
	}
}

// restore makes BF16 of columns of some rows.
INLINE void restore(const struct compact *p)
{
	const int64_t heads = heads_of(p->width);
	const uint8_t *from = p->x + p->from / COMPACT_COLS * 4;
	for (int64_t r = 0; r < p->rows; r++)
		__builtin_prefetch(from + r * p->ldx, 0, 3);
	for (int64_t r = 0; r < p->rows; r++, from += p->ldx) {
		const uint8_t *head = from, *block = p->x + r * p->ldx + heads + p->from / COMPACT_COLS * COMPACT_BYTES;
		uint8_t *y = p->y + r * p->ldy;
		for (int64_t c = 0; c < p->cols; c += COMPACT_COLS, block += COMPACT_BYTES, head += 4, y += 2 * COMPACT_COLS) {
			uint8_t made[2 * COMPACT_COLS];
			prefetch_by(0, p->far, block, COMPACT_BYTES);
			pairs_of(ld32(head), block, made);
			UNROLL for (int g = 0; g < 4; g++) {
				const u32x16 two = LOAD(u32x16, made + 64 * g);
				STORE(u16x16, y + 64 * g, __builtin_convertvector(two & 0xffff, u16x16));
				STORE(u16x16, y + 64 * g + 32, __builtin_convertvector(two >> 16, u16x16));
			}
		}
	}
}

// others finds the upper bytes that are below least.
INLINE uint32_t others(const u8x64 upper[2], uint8_t least)
{
	uint8_t all[COMPACT_COLS];
	uint32_t n = 0, head = least;
	STORE(u8x64, all, upper[0]);
	STORE(u8x64, all + 64, upper[1]);
	for (uint32_t i = 0; i < COMPACT_COLS; i++) {
		if ((all[i] & 127) < least) {
			head = least | i << 8 | (uint32_t)all[i] << 16 | HAS_ONE << 24;
			n++;
		}
		BARRIER;
	}
	return n == 1 ? head : least | (uint32_t)HAS_MANY << 24;
}

// compact_block makes a block of COMPACT_COLS columns, and returns its head. What a block that
// HAS_MANY others has elsewhere is left to its caller.
INLINE uint32_t compact_block(const uint8_t *x, uint8_t *block)
{
	u8x64 upper[2];
	UNROLL for (int h = 0; h < 2; h++) {
		u8x64 two[2];
		UNROLL for (int g = 0; g < 2; g++, x += 64)
			two[g] = (u8x64)(__builtin_convertvector(LOAD(u16x16, x), u32x16) | __builtin_convertvector(LOAD(u16x16, x + 32), u32x16) << 16);
		STORE(u8x64, block + 64 + 64 * h, __builtin_shufflevector(two[0], two[1], QUARTERS(EVEN_BYTES)));
		upper[h] = __builtin_shufflevector(two[0], two[1], QUARTERS(ODD_BYTES));
	}
	const u8x64 a = upper[0] & 127, b = upper[1] & 127;
	const uint8_t most = __builtin_reduce_max(__builtin_elementwise_max(a, b));
	const uint8_t least = most < 7 ? 0 : most - 7;
	const u8x64 one = (upper[0] >> 4 & 8) | ((a - least) & 7), other = (upper[1] >> 4 & 8) | ((b - least) & 7);
	STORE(u8x64, block, one | other << 4);
	if (__builtin_reduce_min(__builtin_elementwise_min(a, b)) < least)
		return others(upper, least);
	return least;
}

// compact makes such rows of BF16.
INLINE void compact(const struct compact *p)
{
	for (int64_t r = 0; r < p->rows; r++) {
		const uint8_t *x = p->x + r * p->ldx;
		uint8_t *head = p->y + r * p->ldy, *block = head + heads_of(p->width);
		for (int64_t c = 0; c < p->cols; c += COMPACT_COLS, block += COMPACT_BYTES, head += 4)
			*(uint32_t *)head = compact_block(x + 2 * c, block);
	}
}

KERNEL k_decode_compact(const struct rows *p)
{
	if (p->all.rows == 1)
		row_compact(&p->all);
	else
		rows_compact(&p->all, aligned(p->scratch));
}
KERNEL k_restore(const struct compact *p) { restore(p); }
KERNEL k_compact(const struct compact *p) { compact(p); }

#endif
