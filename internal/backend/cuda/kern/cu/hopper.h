// Products for many tokens on Hopper: the tensor copy engine fills a ring of
// tiles in shared memory, two warpgroups multiply from there (wgmma).
//
// As in gemm.h a block takes 128 rows of a weight (64 a warpgroup) and NT tokens,
// and K may be split. A tile's rows are 128 bytes, 64 bf16 or 128 E4M3, in the
// 128-byte swizzle that the copy engine writes and wgmma reads.
#pragma once
#include "gemm.h"
#include "wgmma.h"

// Tensor maps count bytes, for both types.
struct HopperArgs {
  TensorMap x;        // tokens, boxes of [NT, 128 bytes]; of wide.h half of its NT
  TensorMap w[GROUP]; // boxes of [128, 128 bytes]; w[0] of a gate (wide.h): [8, 2, 8, 128 bytes], of two matrices
  Out out[GROUP];
  const float *xscale; // [tokens], of E4M3; or nil
  const int *tokens;
  float *work;
  u32 *counts;
  int n, steps; // steps: of 128 bytes along K
  int late;     // the kernel ahead writes the weights
  // Of wide.h.
  int tiles; // of rows, an even number; of a gate 64 of both matrices
  int gate;  // GATE_SILU or GATE_GELU
  int first; // which of the gate (0) and what it is multiplied with (1) is first in w[0]
};

DEVICE void barrier_init(u32 at, int n) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(n) : "memory"); }
DEVICE void barrier_expect(u32 at, u32 bytes) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory"); }
DEVICE void barrier_arrive(u32 at) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory"); }
DEVICE void barrier_wait(u32 at, u32 parity) {
  u32 done;
  do {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" : "=r"(done) : "r"(at), "r"(parity) : "memory");
  } while (!done);
}
DEVICE void fetch_tile(u32 dst, const TensorMap &m, int x, int y, u32 barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
      ::"r"(dst), "l"((u64)&m), "r"(barrier), "r"(x), "r"(y) : "memory");
}
DEVICE void fetch_row(u32 dst, const void *src, int bytes, u32 barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst), "l"(src), "r"(bytes), "r"(barrier) : "memory");
}
// A matrix descriptor: K-major rows of 128 bytes, eight rows a kilobyte apart.
DEVICE u64 describe(u32 at) { return ((u64)(at & 0x3ffff) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62); }

template <int NT, bool FP8> DEVICE void wgmma(float *d, u64 a, u64 b, int add) {
  if constexpr (FP8) {
    if constexpr (NT == 16) wgmma_e4m3_16(d, a, b, add);
    else if constexpr (NT == 32) wgmma_e4m3_32(d, a, b, add);
    else if constexpr (NT == 64) wgmma_e4m3_64(d, a, b, add);
    else if constexpr (NT == 128) wgmma_e4m3_128(d, a, b, add);
    else wgmma_e4m3_256(d, a, b, add);
  } else {
    if constexpr (NT == 16) wgmma_bf16_16(d, a, b, add);
    else if constexpr (NT == 32) wgmma_bf16_32(d, a, b, add);
    else if constexpr (NT == 64) wgmma_bf16_64(d, a, b, add);
    else if constexpr (NT == 128) wgmma_bf16_128(d, a, b, add);
    else wgmma_bf16_256(d, a, b, add);
  }
}

DEVICE void stmatrix4t(u32 at, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

// finish stores a warpgroup's 64 rows.
template <int NT> DEVICE void finish(const HopperArgs &a, const Out &o, float *acc, const float *xscales, u32 base, int tile, int token0, int tokens) {
  int t = tid - 128, warp = t / 32, lane = t % 32; // 8 warps, 16 rows each
  if (!last_part<NT / 2>(acc, a.work, a.counts, by * gx + bx, t)) return;
  int row0 = tile * 128;
  float factor[2] = {1, 1}, bias[2] = {0, 0};
  UNROLL for (int half = 0; half < 2; half++) {
    int row = row0 + warp * 16 + lane / 4 + half * 8;
    if (row < o.rows && o.scale) factor[half] = o.scale[row];
    if (row < o.rows && o.bias) bias[half] = o.bias[row];
  }
  // value is a product with all that is done to it.
  auto value = [&](int j, int half, int i, float x) INLINE { return acc[j * 4 + half * 2 + i] * (factor[half] * x) + bias[half]; };
  auto xscale = [&](int token) INLINE { return xscales[token - token0]; };
  if (NT >= 64 && o.type == BF16 && row0 + 128 <= o.rows) { // through shared memory, so that whole lines are written
    sync_256();
    int chunk = warp * 2 + lane / 8 % 2;
    UNROLL for (int j = 0; j < NT / 8; j += 2) {
      int token = (j + lane / 16) * 8 + lane % 8, mine = token0 + j * 8 + (lane % 4) * 2;
      float x0 = xscale(mine), x1 = xscale(mine + 1), x2 = xscale(mine + 8), x3 = xscale(mine + 9);
      stmatrix4t(base + token * 256 + ((chunk ^ (token & 7)) << 4), bf16x2(value(j, 0, 0, x0), value(j, 0, 1, x1)), bf16x2(value(j, 1, 0, x0), value(j, 1, 1, x1)),
          bf16x2(value(j + 1, 0, 0, x2), value(j + 1, 0, 1, x3)), bf16x2(value(j + 1, 1, 0, x2), value(j + 1, 1, 1, x3)));
    }
    sync_256();
    const u8 *from = dynamic + (base - shared_at(dynamic));
    for (int i = t; i < NT * 16; i += 256) {
      int token = i / 16, c = i % 16;
      if (token0 + token < tokens) *(uint4 *)((u16 *)o.dst + (u64)(token0 + token) * o.ldd + row0 + c * 8) = *(const uint4 *)(from + token * 256 + ((c ^ (token & 7)) << 4));
    }
    return;
  }
  auto store = [&](auto kind) INLINE {
    int row = row0 + warp * 16 + lane / 4;
    decltype(kind) *to = (decltype(kind) *)o.dst + (u64)(token0 + (lane % 4) * 2) * o.ldd + row;
    UNROLL for (int j = 0; j < NT / 8; j++) {
      UNROLL for (int i = 0; i < 2; i++) {
        int token = token0 + j * 8 + (lane % 4) * 2 + i;
        if (token >= tokens) continue;
        float x = xscale(token);
        UNROLL for (int half = 0; half < 2; half++) {
          if (row + 8 * half >= o.rows) continue;
          float v = value(j, half, i, x);
          if constexpr (sizeof(kind) == 4) to[(u64)i * o.ldd + 8 * half] = v;
          else to[(u64)i * o.ldd + 8 * half] = to_bf16(v);
        }
      }
      to += 8 * (u64)o.ldd;
    }
  };
  if (o.type == F32) store(float());
  else store(u16());
}

template <int NT, bool FP8, int STAGES> DEVICE void hopper(const HopperArgs &a) {
  constexpr u32 WBYTES = 128 * 128, STAGE = WBYTES + NT * 128;
  int group = tid / 128; // of warps: 0 fetches, 1 and 2 multiply
  int tile = by, which = tile_of(a.out, a.n, &tile); // neighbours share a tile of weights, so that it is read once
  const Out &o = a.out[which];
  int token0 = bx * NT;
  u32 base = aligned_shared(), full = base + STAGES * STAGE, empty = full + 8 * STAGES;
  if (tid == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(full + 8 * s, 1);
      barrier_init(empty + 8 * s, 2);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  sync();
  let_next();
  // The step's metadata is copied before its first kernel begins: this reads no too
  // early.
  int tokens = *a.tokens;
  if (token0 >= tokens) {
    wait_ahead();
    return;
  }
  int per = (a.steps + gz - 1) / gz, first = bz * per, n = imin(a.steps, first + per) - first;
  float acc[NT / 2];

  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (tid == 0) {
      // Weights that no kernel writes are fetched while the one ahead still runs.
      if (a.late) wait_ahead();
      int early = imin(n, STAGES);
      for (int i = 0; i < early; i++) {
        barrier_expect(full + 8 * i, STAGE);
        fetch_tile(base + i * STAGE, a.w[which], (first + i) * 128, tile * 128, full + 8 * i);
      }
      if (!a.late) wait_ahead();
      for (int i = 0; i < early; i++) fetch_tile(base + i * STAGE + WBYTES, a.x, (first + i) * 128, token0, full + 8 * i);
      for (int i = early; i < n; i++) {
        int s = i % STAGES;
        barrier_wait(empty + 8 * s, (i / STAGES - 1) & 1);
        barrier_expect(full + 8 * s, STAGE);
        fetch_tile(base + s * STAGE, a.w[which], (first + i) * 128, tile * 128, full + 8 * s);
        fetch_tile(base + s * STAGE + WBYTES, a.x, (first + i) * 128, token0, full + 8 * s);
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    wait_ahead();
    SHARED float xscales[NT];
    int mine = tid - 128;
    if (mine < NT) xscales[mine] = a.xscale && token0 + mine < tokens ? a.xscale[token0 + mine] : 1;
    sync_256();
    UNROLL for (int i = 0; i < NT / 2; i++) acc[i] = 0;
    for (int i = 0; i < n; i++) {
      int s = i % STAGES;
      barrier_wait(full + 8 * s, (i / STAGES) & 1);
      u64 da = describe(base + s * STAGE + (group - 1) * 64 * 128), db = describe(base + s * STAGE + WBYTES);
      asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
      UNROLL for (int k = 0; k < 4; k++) wgmma<NT, FP8>(acc, da + 2 * k, db + 2 * k, i + k > 0);
      asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
      asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
      if (i > 0 && tid % 128 == 0) barrier_arrive(empty + 8 * ((i - 1) % STAGES));
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    finish<NT>(a, o, acc, xscales, base, tile, token0, tokens);
  }
}

#define HOPPER(nt, stages)                                                                              \
  GLOBAL BOUNDS(384, 1) hopper_bf16_##nt(CONSTANT_ARG HopperArgs a) { hopper<nt, false, stages>(a); } \
  GLOBAL BOUNDS(384, 1) hopper_e4m3_##nt(CONSTANT_ARG HopperArgs a) { hopper<nt, true, stages>(a); }
HOPPER(16, 8)
HOPPER(32, 8)
HOPPER(64, 8)
HOPPER(128, 6)
HOPPER(256, 4)

// How fast wgmma is by itself: two warpgroups, operands in shared memory.
template <bool FP8> DEVICE void peak(const PeakArgs &a) {
  u32 base = aligned_shared();
  uint4 *at = (uint4 *)(dynamic + (base - shared_at(dynamic)));
  for (int i = tid; i < (16 + 32) * 64; i += 256) { // 128 rows of a weight, 256 tokens
    uint4 v = load4(a.from + 4 * i);
    u32 mask = FP8 ? 0xf7f7f7f7u : 0xffffffffu; // no NaN
    at[i] = {v.x & mask, v.y & mask, v.z & mask, v.w & mask};
  }
  sync();
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  float acc[128];
  UNROLL for (int i = 0; i < 128; i++) acc[i] = 0;
  u64 da = describe(base + tid / 128 * 64 * 128), db = describe(base + 128 * 128);
  for (int l = 0; l < a.loops; l += 8) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    UNROLL for (int i = 0; i < 8; i++) UNROLL for (int k = 0; k < 4; k++) wgmma<256, FP8>(acc, da + 2 * k, db + 2 * k, 1);
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    UNROLL for (int i = 0; i < 128; i++) asm volatile("" : "+f"(acc[i])::"memory"); // read no earlier
  }
  float sum = 0;
  UNROLL for (int i = 0; i < 128; i++) sum += acc[i];
  if (sum == 12345.678f) a.to[tid] = sum; // so that it is computed
}
GLOBAL BOUNDS(256, 1) peak_bf16(CONSTANT_ARG PeakArgs a) { peak<false>(a); }
GLOBAL BOUNDS(256, 1) peak_e4m3(CONSTANT_ARG PeakArgs a) { peak<true>(a); }

// copied_at says where whole rows are to lie that the copy engine brings while there, a
// barrier, counts them, and waits for the kernel ahead.
DEVICE u32 copied_at(u64 *there, u32 *counts) {
  u32 at = aligned_shared(), barrier = shared_at(there);
  *counts = barrier;
  if (tid == 0) {
    barrier_init(barrier, 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  sync();
  let_next();
  wait_ahead();
  return at;
}

// gate_e4m3_copied is gate_e4m3 of bf16, a multiple of 8 columns: whole rows are on their way
// before the first is needed.
GLOBAL BOUNDS(512, 3) gate_e4m3_copied(CONSTANT_ARG GateE4M3Args a) {
  SHARED u64 there;
  int row = bx, cols = a.pair.cols;
  u32 barrier, at = copied_at(&there, &barrier);
  if (row >= *a.pair.count) return;
  if (tid == 0) {
    barrier_expect(barrier, 4 * cols);
    fetch_row(at, (const u16 *)a.pair.x.at + (u64)row * a.pair.x.ld, 2 * cols, barrier);
    fetch_row(at + 2 * cols, (const u16 *)a.pair.y.at + (u64)row * a.pair.y.ld, 2 * cols, barrier);
  }
  barrier_wait(barrier, 0);
  const u16 *x = (const u16 *)(dynamic + (at - shared_at(dynamic))), *y = x + cols;
  row_e4m3<512, 4>(a.to + (u64)row * a.ld, a.scales + row, a.ld, [&](int c) INLINE {
    if (c >= cols) return uint4{0, 0, 0, 0};
    uint4 v = load4(x + c), w = load4(y + c);
    auto two = [&](u32 v, u32 w) INLINE { return bf16x2(gated(a.pair.what, bf16_lo(v), bf16_lo(w)), gated(a.pair.what, bf16_hi(v), bf16_hi(w))); };
    return uint4{two(v.x, w.x), two(v.y, w.y), two(v.z, w.z), two(v.w, w.w)};
  });
}

// to_e4m3_copied is to_e4m3_rows of long rows, likewise.
GLOBAL BOUNDS(512, 4) to_e4m3_copied(CONSTANT_ARG E4M3Args a) {
  SHARED u64 there;
  int row = bx;
  u32 barrier, at = copied_at(&there, &barrier);
  if (row >= *a.count) return;
  if (tid == 0) {
    barrier_expect(barrier, 2 * a.ld);
    fetch_row(at, a.from + (u64)row * a.ld, 2 * a.ld, barrier);
  }
  barrier_wait(barrier, 0);
  const u16 *x = (const u16 *)(dynamic + (at - shared_at(dynamic)));
  row_e4m3<512, 2>(a.to + (u64)row * a.ld, a.scales + row, a.ld, [&](int c) INLINE { return load4(x + c); });
}
