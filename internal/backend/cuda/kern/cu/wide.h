// Products for prompts on Hopper: 128 rows of a weight by 256 tokens a block, as in
// hopper.h, but the blocks of a cluster fetch for each other what they share, so that
// less comes from the L2 cache, which costs power, and with it speed; and blocks stay for one tile
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
// fetch_to fetches a tile into blocks of the cluster, a bit each.
DEVICE void fetch_to(u32 dst, const TensorMap &m, int x, int y, u32 barrier, u32 blocks) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;"
      ::"r"(dst), "l"((u64)&m), "r"(barrier), "r"(x), "r"(y), "h"((u16)blocks) : "memory");
}
// fetch_pairs fetches rows of two matrices, eight of the one before eight of the other.
DEVICE void fetch_pairs(u32 dst, const TensorMap &m, int x, int eights, u32 barrier) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %4, %5}], [%2];"
      ::"r"(dst), "l"((u64)&m), "r"(barrier), "r"(x), "r"(0), "r"(eights) : "memory");
}
DEVICE void sync_128(int which) { asm volatile("bar.sync %0, 128;" ::"r"(which) : "memory"); }

enum { WIDE_STAGES = 4, PAIR = 2 }; // PAIR: blocks a cluster

// Edge is what a tile's results are multiplied with, and what is added. It is read
// before the tile is multiplied.
struct Edge {
  float factor[2], bias[2]; // of rows lane/4 and 8 more
  float xscale[2];          // of tokens t and 128 more

  // look reads it: of rows of o[0], or of both matrices of a gate.
  template <bool GATE> METHOD void look(const HopperArgs &a, const Out *o, int row0, int token0, int tokens) {
    int t = tid % 128;
    UNROLL for (int half = 0; half < 2; half++) {
      const Out &from = GATE ? o[half ^ a.first] : *o;
      int row = GATE ? row0 + t / 32 * 8 + t % 32 / 4 : row0 + t / 32 * 16 + t % 32 / 4 + half * 8;
      int token = token0 + t + half * 128;
      factor[half] = from.scale ? from.scale[row] : 1;
      bias[half] = from.bias ? from.bias[row] : 0;
      xscale[half] = a.xscale && token < tokens ? a.xscale[token] : 1;
    }
  }
  // values are a thread's four of eight tokens, in bf16: two tokens of either row.
  METHOD uint2 values(const float *v, const float *xscale) const {
    float x0 = xscale[0], x1 = xscale[1];
    return {bf16x2(v[0] * (factor[0] * x0) + bias[0], v[1] * (factor[0] * x1) + bias[0]), bf16x2(v[2] * (factor[1] * x0) + bias[1], v[3] * (factor[1] * x1) + bias[1])};
  }
};

// Place is where a warpgroup's results go.
struct Place {
  u32 room; // 8 KB of shared memory
  float *xscale;
  int row0, token0, tokens, group;
};

// wide_store stores a warpgroup's 64 rows by 256 tokens, in bf16.
DEVICE void wide_store(const Edge &e, const Out &o, const float *acc, const Place &at) {
  int t = tid % 128, warp = t / 32, lane = t % 32;
  const u8 *from = dynamic + (at.room - shared_at(dynamic));
  UNROLL for (int part = 0; part < 4; part++) { // 64 tokens
    sync_128(at.group);                         // the room is read out
    UNROLL for (int k = 0; k < 8; k += 2) {
      int j = part * 8 + k, token = (k + lane / 16) * 8 + lane % 8, mine = j * 8 + (lane % 4) * 2, chunk = warp * 2 + lane / 8 % 2;
      uint2 v = e.values(acc + j * 4, at.xscale + mine), w = e.values(acc + j * 4 + 4, at.xscale + mine + 8);
      stmatrix4t(at.room + token * 128 + ((chunk ^ (token & 7)) << 4), v.x, v.y, w.x, w.y);
    }
    sync_128(at.group);
    UNROLL for (int i = t; i < 512; i += 128) {
      int token = i / 8, c = i % 8, to = at.token0 + part * 64 + token;
      if (to < at.tokens) *(uint4 *)((u16 *)o.dst + (u64)to * o.ldd + at.row0 + c * 8) = *(const uint4 *)(from + token * 128 + ((c ^ (token & 7)) << 4));
    }
  }
}

// wide_gate stores what a warpgroup's 32 rows of a gate and of what it is multiplied with make
// of 256 tokens: with the bits of pairwise. FIRST is HopperArgs's.
template <int FIRST, int WHAT> DEVICE void wide_gate(const Edge &e, const Out &o, const float *acc, const Place &at) {
  int t = tid % 128, warp = t / 32, lane = t % 32;
  const u8 *from = dynamic + (at.room - shared_at(dynamic));
  auto place = [](int token, int chunk) INLINE { return token * 64 + ((chunk ^ (token / 2 % 4)) << 4); };
  UNROLL for (int part = 0; part < 2; part++) { // 128 tokens
    sync_128(at.group);                         // the room is read out
    UNROLL for (int k = 0; k < 16; k += 4) {
      u32 h[4];
      UNROLL for (int i = 0; i < 4; i++) {
        int j = part * 16 + k + i;
        uint2 v = e.values(acc + j * 4, at.xscale + j * 8 + (lane % 4) * 2);
        u32 g = FIRST ? v.y : v.x, u = FIRST ? v.x : v.y;
        h[i] = bf16x2(gated(WHAT, bf16_lo(g), bf16_lo(u)), gated(WHAT, bf16_hi(g), bf16_hi(u)));
      }
      stmatrix4t(at.room + place((k + lane / 8) * 8 + lane % 8, warp), h[0], h[1], h[2], h[3]);
    }
    sync_128(at.group);
    UNROLL for (int i = t; i < 512; i += 128) {
      int token = i / 4, c = i % 4, to = at.token0 + part * 128 + token;
      if (to < at.tokens) *(uint4 *)((u16 *)o.dst + (u64)to * o.ldd + at.row0 + c * 8) = *(const uint4 *)(from + place(token, c));
    }
  }
}

template <bool GATE> DEVICE void wide_end(const Edge &e, const HopperArgs &a, const Out &o, const float *acc, const Place &at) {
  int t = tid % 128;
  at.xscale[t] = e.xscale[0], at.xscale[t + 128] = e.xscale[1];
  if constexpr (!GATE) wide_store(e, o, acc, at);
  else if (a.gate == GATE_SILU) a.first ? wide_gate<1, GATE_SILU>(e, o, acc, at) : wide_gate<0, GATE_SILU>(e, o, acc, at);
  else a.first ? wide_gate<1, GATE_GELU>(e, o, acc, at) : wide_gate<0, GATE_GELU>(e, o, acc, at);
}

// A cluster is two blocks, with the same tokens and neighbouring tiles of rows: each fetches half
// of the tokens for both, so that x has boxes of 128 of them, and its weights for itself. The clusters'
// jobs are the tokens' tiles first, so that neighbours read the same weights. K is not split.
template <bool FP8, bool GATE> DEVICE void wide(const HopperArgs &a) {
  constexpr int NT = 256, STAGES = WIDE_STAGES;
  constexpr u32 WBYTES = 128 * 128, XBYTES = NT * 128, STAGE = WBYTES + XBYTES;
  int group = tid / 128; // of warps: 0 fetches, 1 and 2 multiply
  u32 base = aligned_shared(), room = base + STAGES * STAGE, full = room + 2 * 8192, empty = full + 8 * STAGES;
  // mine is which block of the cluster this is, and which of its tiles of rows it takes. column is
  // 0, a cluster being two blocks: without it the compiler makes other code than what was measured.
  int rank = (int)cluster_rank(), mine = rank % PAIR, column = rank / PAIR;
  if (tid == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(full + 8 * s, 1);
      barrier_init(empty + 8 * s, 2 * PAIR); // two warpgroups each
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  cluster_sync();
  let_next();
  int tokens = *a.tokens, across = (tokens + NT - 1) / NT, jobs = a.tiles / PAIR * across, steps = a.steps;

  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (tid == 0) {
      int i = 0; // of all steps
      bool waited = false;
      for (int job = bx / PAIR; job < jobs; job += gx / PAIR) {
        int tile = job / across * PAIR + mine, token0 = (job % across + column) * NT;
        int which = GATE ? 0 : tile_of(a.out, a.n, &tile);
        auto weights = [&](u32 at, int k, u32 barrier) INLINE {
          at += column * WBYTES;
          if constexpr (GATE) fetch_pairs(at, a.w[0], k * 128, tile * 8, barrier);
          else fetch_tile(at, a.w[which], k * 128, tile * 128, barrier);
        };
        int early = 0;
        if (!waited) { // weights are fetched while the kernel ahead still runs
          if (a.late) wait_ahead();
          early = imin(steps, STAGES);
          for (int k = 0; k < early; k++) {
            barrier_expect(full + 8 * k, STAGE);
            weights(base + k * STAGE, k, full + 8 * k);
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
            weights(at, k, full + 8 * s);
          }
          fetch_to(at + WBYTES + mine * (XBYTES / PAIR), a.x, k * 128, token0 + mine * (NT / PAIR), full + 8 * s, ((1u << PAIR) - 1) << PAIR * column);
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
      int t = tid % 128;
      if (t < PAIR) barrier_arrive_at(empty + 8 * (of % STAGES), PAIR * column + t);
    };
    for (int job = bx / PAIR; job < jobs; job += gx / PAIR) {
      int tile = job / across * PAIR + mine;
      const Out *o = a.out + (GATE ? 0 : tile_of(a.out, a.n, &tile));
      Place at = {room + (group - 1) * 8192, xscale + (group - 1) * NT, (tile * 2 + group - 1) * (GATE ? 32 : 64), (job % across + column) * NT, tokens, group};
      Edge edge;
      edge.look<GATE>(a, o, at.row0, at.token0, tokens);
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
      wide_end<GATE>(edge, a, *o, acc, at);
    }
  }
  cluster_sync(); // the other blocks' copies and arrivals end in this one's memory
}
GLOBAL BOUNDS(384, 1) wide_bf16(CONSTANT_ARG HopperArgs a) { wide<false, false>(a); }
GLOBAL BOUNDS(384, 1) wide_e4m3(CONSTANT_ARG HopperArgs a) { wide<true, false>(a); }
GLOBAL BOUNDS(384, 1) wide_gate_bf16(CONSTANT_ARG HopperArgs a) { wide<false, true>(a); }
GLOBAL BOUNDS(384, 1) wide_gate_e4m3(CONSTANT_ARG HopperArgs a) { wide<true, true>(a); }
