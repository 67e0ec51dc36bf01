// What kernels are given. The structs are those of kern.go.
#ifndef KERN_H
#define KERN_H

#include <stdint.h>

// Exact kernels give the bits of the portable level (package cpu,
// portable.go): products are rounded before they are added, and column c of a
// dot product goes to partial sum c % 16; the sums are folded in halves.

// struct dots: out[r*ldo + i] = dot(x row r, w row i) for r < rows, i < n.
// Rows of x are ldx apart, those of w cols. All in floats.
struct dots {
	const float *x, *w;
	float *out;
	int64_t cols, rows, n, ldx, ldo;
};

// struct axpy: y[i] += f*x[i] for i < n.
struct axpy {
	float *y;
	const float *x;
	int64_t n;
	float f;
};

// struct convert takes rows from x to y; strides in bytes.
struct convert {
	const uint8_t *x;
	uint8_t *y;
	int64_t cols, rows, ldx, ldy;
};

// struct decode: out[r*ldo + i] = dot(x row r, w row i) for r < rows, i < n. Rows
// of w are ldw bytes apart, those of x ldx bytes, those of out ldo floats. Of w what
// lies near bytes behind is asked for into the first-level cache, what lies far
// behind into the second; 0 asks for what is being read, so for nothing more.
struct decode {
	const uint8_t *w, *x;
	float *out;
	int64_t cols, rows, n, ldw, ldx, ldo, near, far;
};

// struct rows: a decode, and scratch memory, wherever it begins.
struct rows {
	struct decode all;
	uint8_t *scratch;
};

// struct compact: columns from from on, cols of them, of rows of width columns, in bf16 and as
// compact.h has them; of these what lies far behind is asked for.
struct compact {
	const uint8_t *x;
	uint8_t *y;
	int64_t cols, from, width, rows, ldx, ldy, far;
};

// struct gemm: out[r*ldo + i] = dot(x row r, w row i) for r < rows, i < n. x is
// packed: tiles of 16 rows, [steps][16] words each; w has ldw words a row; a step
// is a word: a float, or two bf16.
struct gemm {
	const uint32_t *x, *w;
	float *out;
	int64_t steps, rows, n, ldw, ldo;
};

// struct block: a gemm over some of the columns, for n up to 32. Tiles of x are ldx
// words apart; steps is a multiple of 16. The sums begin as zeros with the first
// columns, wait in acc, and go to out with the last. next is where the weights of the
// next block lie, 32 rows of nextbytes, ldnext apart: they are asked for meanwhile.
// k_multiply_ also decode rawrows rows of rawcols columns meanwhile, from raw to lay.
struct block {
	const uint32_t *x, *w;
	float *out, *acc;
	int64_t steps, rows, n, ldx, ldw, ldo, first, last;
	const uint8_t *next;
	int64_t nextbytes, ldnext;
	const uint8_t *raw;
	uint8_t *lay;
	int64_t rawrows, rawcols, ldraw, ldlay;
};

// struct norm: see k_norm. dst may be x.
struct norm {
	float *dst, *x;
	const float *delta, *w; // delta may be null
	int64_t n;
	float eps;
};

// struct gate: dst = act(gate) * up. dst may be gate.
struct gate {
	float *dst;
	const float *gate, *up;
	int64_t n, gelu;
};

// struct rotate turns, in each of heads heads of x, dim floats apart, the pairs
// (2i, 2i+1) or (i, half+i).
struct rotate {
	float *x;
	const float *cos, *sin; // [half]
	int64_t heads, dim, half, interleaved;
};

// struct query is a head of a row on its way over the blocks.
struct query {
	const float *q; // [dim]
	float *out;     // [dim], begins as zeros
	float max, sum;
	int32_t begin, end; // positions of the block that it sees
};

// struct attend takes n queries over positions [lo, hi) of a block of 64. The
// keys and values of a position are stride * its cell bytes from k and v.
struct attend {
	struct query *queries;
	const uint8_t *k, *v;
	const int32_t *cells; // [64]
	float *scratch;       // [65 * (dim up to a multiple of 16) + 65 * n]
	int64_t n, dim, stride, lo, hi, type;
	float scale, softcap;
	int64_t first, last; // of the queries' blocks; only k_attend_prompt uses it
};

// struct weigh: y = e^((x - peak) * scale); table and the three numbers are package
// exact's.
struct weigh {
	const float *x;
	double *y;
	const double *table; // [64]
	int64_t n;
	double peak, scale, inverse, hi, lo;
};

// struct probe measures the machine: see probe.h.
struct probe {
	const uint8_t *data;
	int64_t n;
	uint64_t sum;
};

#endif
