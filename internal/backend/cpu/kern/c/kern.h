// What all kernels share: how they are exported and what they are given.
#ifndef KERN_H
#define KERN_H

#include <stdint.h>

// A kernel is exported and named k_; all else is static.
#define KERNEL __attribute__((visibility("default"), used)) void
#define INLINE static inline __attribute__((always_inline))

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

#endif
