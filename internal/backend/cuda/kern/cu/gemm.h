// Products for many tokens on mma.sync: the path of every card since sm_80.
//
// A block multiplies 128 rows of a weight with NT tokens; weights are the left
// operand, so that few tokens fill the matrix units too. Where the tiles are fewer
// than the card's processors, K is split over gridDim.z: each part leaves its
// sums in the workspace, and the last one there adds them up in order.
#pragma once
#include "linear.h"

struct GemmArgs {
  Out out[GROUP];
  const u16 *x;       // [tokens, ldx] bf16
  const int *tokens;  // how many there are
  float *work;        // [tiles, splits, ...]
  u32 *counts;        // [tiles], zero
  int n, k, ldx, ldw; // k: columns, a multiple of 64
};

// last_part leaves a thread's sums in the workspace. It tells the block that
// comes last for its tile, which then has the sum of all parts.
// The block's 256 threads that multiply take part; t is a thread's number among
// them.
template <int N> DEVICE bool last_part(float *acc, float *work, u32 *counts, int tile, int t) {
  int parts = gz;
  if (parts == 1) return true;
  float *mine = work + ((u64)tile * parts + bz) * N * 256 + t;
  UNROLL for (int i = 0; i < N; i++) mine[i * 256] = acc[i];
  SHARED u32 before;
  fence();
  sync_256();
  if (t == 0) before = atomic_add(counts + tile, 1);
  sync_256();
  if (before != (u32)parts - 1) return false;
  fence();
  const float *all = work + (u64)tile * parts * N * 256 + t;
  UNROLL for (int i = 0; i < N; i++) acc[i] = 0;
  for (int p = 0; p < parts; p++) {
    UNROLL for (int i = 0; i < N; i++) acc[i] += ((volatile const float *)all)[((u64)p * N + i) * 256];
  }
  if (t == 0) counts[tile] = 0;
  return true;
}

// tile_of finds the matrix of a tile of rows and the tile within it.
DEVICE int tile_of(const Out *out, int n, int *tile) {
  int i = 0;
  while (i + 1 < n && *tile >= out[i].tiles) i++;
  if (i) *tile -= out[i - 1].tiles;
  return i;
}

// swizzled is where 16 bytes lie of a tile with rows of 128: so that eight
// rows' same chunk lie in different banks.
DEVICE u32 swizzled(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }

template <int NT, int WR, int STAGES> DEVICE void gemm(const GemmArgs &a) {
  constexpr int WARPS_R = 128 / WR, WARPS_T = 8 / WARPS_R; // warps over rows, over tokens
  constexpr int TT = NT / WARPS_T;                         // tokens of a warp
  constexpr int MR = WR / 16, MT = TT / 8;
  constexpr u32 STAGE = (128 + NT) * 128;
  int warp = tid / 32, lane = tid % 32;
  int tile = by, which = tile_of(a.out, a.n, &tile); // neighbours share a tile of weights, so that it is read once
  const Out &o = a.out[which];
  int row0 = tile * 128, token0 = bx * NT;
  let_next();
  wait_ahead();
  int tokens = *a.tokens;
  if (token0 >= tokens) return;
  u32 base = aligned_shared();
  int steps = a.k / 64, per = (steps + gz - 1) / gz;
  int first = bz * per, last = imin(steps, first + per);
  const u16 *w = (const u16 *)o.w;

  auto fetch = [&](int step) INLINE {
    u32 at = base + (step % STAGES) * STAGE;
    UNROLL for (int i = tid; i < (128 + NT) * 8; i += 256) {
      int r = i / 8, c = i % 8;
      if (r < 128) copy16(at + swizzled(r, c), w + (u64)(row0 + r) * a.ldw + step * 64 + c * 8, row0 + r < o.rows);
      else copy16(at + 128 * 128 + swizzled(r - 128, c), a.x + (u64)(token0 + r - 128) * a.ldx + step * 64 + c * 8, token0 + r - 128 < tokens);
    }
  };

  float acc[MR * MT * 4];
  UNROLL for (int i = 0; i < MR * MT * 4; i++) acc[i] = 0;
  UNROLL for (int s = 0; s < STAGES - 1; s++) {
    if (first + s < last) fetch(first + s);
    copy_commit();
  }
  int wr = (warp % WARPS_R) * WR, wt = (warp / WARPS_R) * TT;
  for (int step = first; step < last; step++) {
    copy_wait<STAGES - 2>();
    sync();
    if (step + STAGES - 1 < last) fetch(step + STAGES - 1);
    copy_commit();
    u32 at = base + (step % STAGES) * STAGE;
    UNROLL for (int k = 0; k < 4; k++) {
      u32 fa[MR][4], fb[MT / 2][4];
      UNROLL for (int m = 0; m < MR; m++) ldmatrix4(fa[m], at + swizzled(wr + m * 16 + lane % 16, k * 2 + lane / 16));
      UNROLL for (int t = 0; t < MT / 2; t++)
        ldmatrix4(fb[t], at + 128 * 128 + swizzled(wt + t * 16 + lane % 8 + (lane / 16) * 8, k * 2 + (lane / 8) % 2));
      UNROLL for (int m = 0; m < MR; m++) UNROLL for (int t = 0; t < MT; t++)
        mma_bf16(acc + (m * MT + t) * 4, fa[m], fb[t / 2] + (t % 2) * 2);
    }
  }
  copy_wait<0>();
  if (!last_part<MR * MT * 4>(acc, a.work, a.counts, by * gx + bx, tid)) return;
  auto store = [&](auto kind) INLINE {
    UNROLL for (int m = 0; m < MR; m++) UNROLL for (int t = 0; t < MT; t++) UNROLL for (int i = 0; i < 4; i++) {
      int row = row0 + wr + m * 16 + lane / 4 + (i / 2) * 8, token = token0 + wt + t * 8 + (lane % 4) * 2 + i % 2;
      if (row < o.rows && token < tokens) put<decltype(kind)>(o, token, row, acc[(m * MT + t) * 4 + i]);
    }
  };
  if (o.type == F32) store(float());
  else store(u16());
}

GLOBAL BOUNDS(256, 1) gemm_16(CONSTANT_ARG GemmArgs a) { gemm<16, 16, 4>(a); }
GLOBAL BOUNDS(256, 1) gemm_64(CONSTANT_ARG GemmArgs a) { gemm<64, 32, 4>(a); }
GLOBAL BOUNDS(256, 1) gemm_128(CONSTANT_ARG GemmArgs a) { gemm<128, 32, 3>(a); }

// How fast the matrix units are by themselves: operands in registers.
struct PeakArgs {
  const u32 *from;
  float *to;
  int loops, pad;
};
GLOBAL BOUNDS(256, 1) peak_mma(CONSTANT_ARG PeakArgs a) {
  float acc[8][4];
  u32 fa[4], fb[2];
  UNROLL for (int i = 0; i < 4; i++) fa[i] = a.from[tid * 4 + i];
  UNROLL for (int i = 0; i < 2; i++) fb[i] = a.from[tid * 2 + i];
  UNROLL for (int i = 0; i < 8; i++) UNROLL for (int j = 0; j < 4; j++) acc[i][j] = 0;
  for (int l = 0; l < a.loops; l++) UNROLL for (int i = 0; i < 8; i++) mma_bf16(acc[i], fa, fb);
  float sum = 0;
  UNROLL for (int i = 0; i < 8; i++) UNROLL for (int j = 0; j < 4; j++) sum += acc[i][j];
  if (sum == 12345.678f) a.to[tid] = sum; // so that it is computed
}
