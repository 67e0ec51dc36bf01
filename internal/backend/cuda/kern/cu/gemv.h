// Products for few tokens: bound by how fast the weights arrive.
//
// A warp takes two rows of a weight at a time (a pair), so that what it reads of the
// activations serves both, and keeps several 16-byte loads of each in flight.
// Blocks stay for many pairs: the activations are copied to shared memory once.
#pragma once
#include "linear.h"

struct GemvArgs {
  Out out[GROUP];
  const u16 *x; // [tokens, ldx] bf16
  const int *tokens;
  int n, k, ldx, ldw; // k: columns, a multiple of 64; ldw in elements
  int pairs;          // of all matrices
};

// pair_of finds the matrix of a pair and its first row within it.
DEVICE int pair_of(const Out *out, int n, int pair, int *row) {
  int i = 0;
  while (i + 1 < n && pair >= out[i].tiles) i++;
  *row = 2 * (pair - (i ? out[i - 1].tiles : 0));
  return i;
}

// dot8 adds the products of 8 weights in bf16 with 8 activations.
DEVICE float dot8(uint4 w, uint4 x, float s) {
  s += bf16_lo(w.x) * bf16_lo(x.x); s += bf16_hi(w.x) * bf16_hi(x.x);
  s += bf16_lo(w.y) * bf16_lo(x.y); s += bf16_hi(w.y) * bf16_hi(x.y);
  s += bf16_lo(w.z) * bf16_lo(x.z); s += bf16_hi(w.z) * bf16_hi(x.z);
  s += bf16_lo(w.w) * bf16_lo(x.w); s += bf16_hi(w.w) * bf16_hi(x.w);
  return s;
}
DEVICE float dot4_e4m3(u32 w, u32 x0, u32 x1, float s) {
  u32 a = e4m3_lo(w), b = e4m3_hi(w);
  s += f16_lo(a) * bf16_lo(x0); s += f16_hi(a) * bf16_hi(x0);
  s += f16_lo(b) * bf16_lo(x1); s += f16_hi(b) * bf16_hi(x1);
  return s;
}

template <int T, bool FP8> DEVICE void gemv(const GemvArgs &a) {
  constexpr int U = 4;        // loads of a row in flight
  constexpr int AHEAD = 8192; // bytes of a row that are asked for before the kernel ahead has ended
  constexpr int BYTES = FP8 ? 1 : 2;
  u32 *xs = (u32 *)dynamic; // [T, k/2]
  let_next();
  int warp = tid / 32, lane = tid % 32;
  int chunks = a.k * BYTES / 16; // of a row
  int step = gx * 8;
  int pair = bx * 8 + warp;

  // The weights do not depend on what runs before: their first loads go ahead.
  uint4 w[2][U];
  int row = 0;
  const u8 *p0 = nullptr, *p1 = nullptr;
  auto begin = [&](int pair) INLINE {
    int which = pair_of(a.out, a.n, pair, &row);
    const u8 *w0 = (const u8 *)a.out[which].w + (u64)row * a.ldw * BYTES;
    p0 = w0;
    p1 = row + 1 < a.out[which].rows ? w0 + (u64)a.ldw * BYTES : w0;
    return which;
  };
  auto fetch = [&](int c) INLINE {
    UNROLL for (int u = 0; u < U; u++) {
      int at = c + u * 32 + lane;
      if (at < chunks) {
        w[0][u] = load_once(p0 + (u64)at * 16);
        w[1][u] = load_once(p1 + (u64)at * 16);
      }
    }
  };
  int which = 0;
  if (pair < a.pairs) {
    which = begin(pair);
    fetch(0);
    // Some more of them go to the L2 cache, while memory has little else to do.
    for (int at = U * 512 + lane * 128; at < imin(chunks * 16, AHEAD); at += 4096) {
      prefetch(p0 + at);
      prefetch(p1 + at);
    }
  }
  wait_ahead();
  int tokens = *a.tokens;
  for (int i = tid; i < T * a.k / 8; i += 256) {
    int t = i / (a.k / 8), c = i % (a.k / 8);
    // Rows beyond the tokens are whatever was there: their sums are dropped.
    ((uint4 *)xs)[i] = load4(a.x + (u64)t * a.ldx + c * 8);
  }
  sync();
  while (pair < a.pairs) {
    float sum[2][T];
    UNROLL for (int t = 0; t < T; t++) sum[0][t] = sum[1][t] = 0;
    for (int c = 0; c < chunks; c += U * 32) {
      if (c > 0) fetch(c);
      UNROLL for (int u = 0; u < U; u++) {
        int at = c + u * 32 + lane;
        if (at >= chunks) continue;
        UNROLL for (int t = 0; t < T; t++) {
          if constexpr (FP8) {
            const uint4 *x = (const uint4 *)(xs + t * (a.k / 2)) + at * 2;
            uint4 lo = x[0], hi = x[1];
            UNROLL for (int r = 0; r < 2; r++) {
              float s = sum[r][t];
              s = dot4_e4m3(w[r][u].x, lo.x, lo.y, s);
              s = dot4_e4m3(w[r][u].y, lo.z, lo.w, s);
              s = dot4_e4m3(w[r][u].z, hi.x, hi.y, s);
              s = dot4_e4m3(w[r][u].w, hi.z, hi.w, s);
              sum[r][t] = s;
            }
          } else {
            uint4 x = ((const uint4 *)(xs + t * (a.k / 2)))[at];
            UNROLL for (int r = 0; r < 2; r++) sum[r][t] = dot8(w[r][u], x, sum[r][t]);
          }
        }
      }
    }
    const Out &o = a.out[which];
    int done = row;
    pair += step;
    if (pair < a.pairs) { // the next pair's loads overlap with what is left of this one
      which = begin(pair);
      fetch(0);
    }
    UNROLL for (int r = 0; r < 2; r++) UNROLL for (int t = 0; t < T; t++) {
      float v = warp_sum(sum[r][t]);
      if (lane == 0 && t < tokens && done + r < o.rows) {
        if (FP8) v *= o.scale[done + r] * E4M3_SCALE;
        if (o.type == F32) put<float>(o, t, done + r, v);
        else put<u16>(o, t, done + r, v);
      }
    }
  }
}

#define GEMV(t)                                                                       \
  GLOBAL BOUNDS(256, 2) gemv_bf16_##t(CONSTANT_ARG GemvArgs a) { gemv<t, false>(a); } \
  GLOBAL BOUNDS(256, 2) gemv_e4m3_##t(CONSTANT_ARG GemvArgs a) { gemv<t, true>(a); }
GEMV(1)
GEMV(2)
GEMV(4)
