// Products for prompts on Hopper: 128 rows of a weight by 256 tokens a block, as in
// hopper.h, but two blocks of a cluster share the tokens, each fetching half of them
// for both, so that the L2 cache gives a third less; and blocks stay for one tile
// after the other, so that a tile's first bytes come while the last one is stored.
#pragma once
#include "hopper.h"

DEVICE u32 cluster_rank() { u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
DEVICE void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// barrier_arrive_at arrives at a barrier of a block of the cluster.
DEVICE void barrier_arrive_at(u32 at, u32 rank) {
  asm volatile("{ .reg .b32 r; mapa.shared::cluster.u32 r, %0, %1; mbarrier.arrive.shared::cluster.b64 _, [r]; }" ::"r"(at), "r"(rank) : "memory");
}
// fetch_both fetches a tile into both blocks of the cluster.
DEVICE void fetch_both(u32 dst, const TensorMap &m, int x, int y, u32 barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;"
      ::"r"(dst), "l"((u64)&m), "r"(barrier), "r"(x), "r"(y), "h"((u16)3) : "memory");
}
DEVICE void sync_128(int which) { asm volatile("bar.sync %0, 128;" ::"r"(which) : "memory"); }

enum { WIDE_STAGES = 4 };

// Edge is what a tile's results are multiplied with, and what is added. It is read
// before the tile is multiplied.
struct Edge {
  float factor[2], bias[2]; // of rows lane/4 and 8 more
  float xscale[2];          // of tokens t and 128 more

  METHOD void look(const HopperArgs &a, const Out &o, int row0, int token0, int tokens) {
    int t = tid % 128;
    UNROLL for (int half = 0; half < 2; half++) {
      int row = row0 + t / 32 * 16 + t % 32 / 4 + half * 8, token = token0 + t + half * 128;
      factor[half] = o.scale ? o.scale[row] : 1;
      bias[half] = o.bias ? o.bias[row] : 0;
      xscale[half] = a.xscale && token < tokens ? a.xscale[token] : 1;
    }
  }
};

// wide_store stores a warpgroup's 64 rows by 256 tokens, in bf16.
DEVICE void wide_store(const Edge &e, const Out &o, const float *acc, u32 room, float *xscale, int row0, int token0, int tokens, int group) {
  int t = tid % 128, warp = t / 32, lane = t % 32;
  xscale[t] = e.xscale[0], xscale[t + 128] = e.xscale[1];
  const u8 *from = dynamic + (room - shared_at(dynamic));
  UNROLL for (int part = 0; part < 4; part++) { // 64 tokens
    sync_128(group); // the room is read out
    UNROLL for (int k = 0; k < 8; k += 2) {
      int j = part * 8 + k, token = (k + lane / 16) * 8 + lane % 8, mine = j * 8 + (lane % 4) * 2, chunk = warp * 2 + lane / 8 % 2;
      float x[4] = {xscale[mine], xscale[mine + 1], xscale[mine + 8], xscale[mine + 9]};
      auto two = [&](int jj, int half) INLINE {
        const float *v = acc + (j + jj) * 4 + half * 2;
        return bf16x2(v[0] * (e.factor[half] * x[2 * jj]) + e.bias[half], v[1] * (e.factor[half] * x[2 * jj + 1]) + e.bias[half]);
      };
      stmatrix4t(room + token * 128 + ((chunk ^ (token & 7)) << 4), two(0, 0), two(0, 1), two(1, 0), two(1, 1));
    }
    sync_128(group);
    UNROLL for (int i = t; i < 512; i += 128) {
      int token = i / 8, c = i % 8, to = token0 + part * 64 + token;
      if (to < tokens) *(uint4 *)((u16 *)o.dst + (u64)to * o.ldd + row0 + c * 8) = *(const uint4 *)(from + token * 128 + ((c ^ (token & 7)) << 4));
    }
  }
}

// The blocks' jobs are pairs of tiles of rows, the tokens' tiles first, so that
// neighbours read the same weights. x has boxes of 128 tokens; K is not split.
template <bool FP8> DEVICE void wide(const HopperArgs &a) {
  constexpr int NT = 256, STAGES = WIDE_STAGES;
  constexpr u32 WBYTES = 128 * 128, STAGE = WBYTES + NT * 128;
  int group = tid / 128; // of warps: 0 fetches, 1 and 2 multiply
  u32 base = aligned_shared(), room = base + STAGES * STAGE, full = room + 2 * 8192, empty = full + 8 * STAGES;
  u32 rank = cluster_rank();
  if (tid == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(full + 8 * s, 1);
      barrier_init(empty + 8 * s, 4); // two warpgroups of two blocks
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  cluster_sync();
  let_next();
  int tokens = *a.tokens, across = (tokens + NT - 1) / NT, jobs = a.tiles / 2 * across, steps = a.steps;

  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (tid == 0) {
      int i = 0; // of all steps
      bool waited = false;
      for (int job = bx / 2; job < jobs; job += gx / 2) {
        int tile = job / across * 2 + (int)rank, token0 = job % across * NT;
        int which = tile_of(a.out, a.n, &tile);
        int early = 0;
        if (!waited) { // weights are fetched while the kernel ahead still runs
          if (a.late) wait_ahead();
          early = imin(steps, STAGES);
          for (int k = 0; k < early; k++) {
            barrier_expect(full + 8 * k, STAGE);
            fetch_tile(base + k * STAGE, a.w[which], k * 128, tile * 128, full + 8 * k);
          }
          if (!a.late) wait_ahead();
          waited = true;
        }
        for (int k = 0; k < steps; k++, i++) {
          int s = i % STAGES;
          u32 at = base + s * STAGE;
          if (k >= early) {
            if (i >= STAGES) barrier_wait(empty + 8 * s, (i / STAGES - 1) & 1);
            barrier_expect(full + 8 * s, STAGE);
            fetch_tile(at, a.w[which], k * 128, tile * 128, full + 8 * s);
          }
          fetch_both(at + WBYTES + rank * (STAGE - WBYTES) / 2, a.x, k * 128, token0 + (int)rank * 128, full + 8 * s);
        }
      }
      if (!waited) wait_ahead();
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    wait_ahead();
    SHARED float xscale[2 * NT];
    float acc[NT / 2];
    int i = 0;
    auto free_stage = [&](int of) INLINE {
      if (tid % 128 < 2) barrier_arrive_at(empty + 8 * (of % STAGES), tid % 128);
    };
    for (int job = bx / 2; job < jobs; job += gx / 2) {
      int tile = job / across * 2 + (int)rank, token0 = job % across * NT;
      const Out &o = a.out[tile_of(a.out, a.n, &tile)];
      Edge edge;
      edge.look(a, o, tile * 128 + (group - 1) * 64, token0, tokens);
      UNROLL for (int q = 0; q < NT / 2; q++) acc[q] = 0;
      for (int k = 0; k < steps; k++, i++) {
        int s = i % STAGES;
        barrier_wait(full + 8 * s, (i / STAGES) & 1);
        u64 da = describe(base + s * STAGE + (group - 1) * 64 * 128), db = describe(base + s * STAGE + WBYTES);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        UNROLL for (int q = 0; q < 4; q++) wgmma<NT, FP8>(acc, da + 2 * q, db + 2 * q, k + q > 0);
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
        if (k > 0) free_stage(i - 1);
      }
      asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
      free_stage(i - 1);
      wide_store(edge, o, acc, room + (group - 1) * 8192, xscale + (group - 1) * NT, tile * 128 + (group - 1) * 64, token0, tokens, group);
    }
  }
  cluster_sync(); // the other block's copies and arrivals end in this one's memory
}
GLOBAL BOUNDS(384, 1) wide_bf16(CONSTANT_ARG HopperArgs a) { wide<false>(a); }
GLOBAL BOUNDS(384, 1) wide_e4m3(CONSTANT_ARG HopperArgs a) { wide<true>(a); }
