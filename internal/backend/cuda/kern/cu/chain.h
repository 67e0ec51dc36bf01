// Products for a few tokens on Hopper, several in a row: one block a processor runs
// a chain of few.h's products (the output of attention, gate and up, down, and the next
// layer's queries, keys and values), all blocks meeting in between. One warp copies the weights
// of all products of the chain into a deep ring, whatever the others wait for, so
// that memory goes on being read while results meet, norms are computed and the kernel
// ahead ends.
//
// A piece of the ring is 1024 bytes of 16 rows; each of eight warps multiplies 128
// bytes of it. The rest is as in few.h.
#pragma once
#include "few.h"
#include "hopper.h"

enum { CHAIN = 4 };

struct ChainArgs {
  FewArgs at[CHAIN];
  u32 *meeting;     // zero at first
  int n, stages;    // stages: pieces of the ring
  int xbytes, pad;  // of the tokens, a multiple of 16
};

// A row's part of a piece, padded so that eight rows lie in different banks.
enum { PIECE = 1024, PIECE_PITCH = PIECE + 16, PIECE_BYTES = 16 * PIECE_PITCH };

DEVICE u64 read_once() {
  u64 p;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(p));
  return p;
}
DEVICE void fetch_bytes(u32 dst, const void *src, int bytes, u32 barrier, u64 policy) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
      ::"r"(dst), "l"(src), "r"(bytes), "r"(barrier), "l"(policy) : "memory");
}
DEVICE u32 load_acquire(const u32 *p) { u32 v; asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v; }
DEVICE u64 nanoseconds() { u64 t; asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t)); return t; }
DEVICE void give_up() { asm volatile("trap;" ::: "memory"); }

// all_meet waits for one thread of each block. Every round adds 2^31 in all, so that
// its highest bit turns and the others are zero again. A block that does not come in ten
// seconds never will: an error is better than a GPU that hangs.
DEVICE void all_meet(u32 *at) {
  fence();
  u32 old = atomic_add(at, bx == 0 ? 0x80000000u - (u32)(gx - 1) : 1);
  u64 begin = nanoseconds();
  while (((old ^ load_acquire(at)) & 0x80000000u) == 0) {
    if (nanoseconds() - begin > 10000000000ull) give_up();
  }
  fence();
}

template <int T, bool FP8> struct Chain {
  typedef Few<T, FP8> Product;
  static constexpr int BYTES = FP8 ? 1 : 2;

  // A block takes every gx-th of the chain's units, counted through all products, so
  // that the blocks with one more of a product are others each time.
  static METHOD int first(int before) { return (bx + gx - before) % gx; }

  // fetch fills the ring: a lane a row.
  static METHOD void fetch(const ChainArgs &c, u32 ring, u32 full, u32 empty) {
    int lane = tid % 32, slot = 0, before = 0;
    u32 phase = 1;
    u64 policy = read_once();
    for (int s = 0; s < c.n; s++) {
      const FewArgs &a = c.at[s];
      int bytes = a.ldw * BYTES;
      for (int unit = first(before); unit < a.units; unit += gx) {
        int which = 0, row = unit * 16 + lane, rows;
        if (a.gate) {
          which = lane / 8 % 2, row = unit * 8 + lane % 8;
          rows = 2 * imin(8, a.out[0].rows - unit * 8);
        } else {
          while (which + 1 < a.n && unit >= a.out[which].tiles) which++;
          row -= which ? a.out[which - 1].tiles * 16 : 0;
          rows = imin(16, a.out[which].rows - (row - lane));
        }
        bool mine = lane < 16 && row < a.out[which].rows;
        const u8 *from = (const u8 *)a.out[which].w + (u64)(mine ? row : 0) * bytes;
        for (int at = 0; at < bytes; at += PIECE) {
          int len = imin(PIECE, bytes - at);
          barrier_wait(empty + 8 * slot, phase);
          if (lane == 0) barrier_expect(full + 8 * slot, rows * len);
          sync_warp();
          if (mine) fetch_bytes(ring + slot * PIECE_BYTES + lane * PIECE_PITCH, from + at, len, full + 8 * slot, policy);
          if (++slot == c.stages) slot = 0, phase ^= 1;
        }
      }
      before = (before + a.units) % gx;
    }
  }

  // multiply takes a warp's 128 bytes of a piece, or as much as there is of them. Of
  // E4M3 a thread has four neighbours a row, which mma takes as columns 2q, 2q+1, 2q+8,
  // 2q+9: tokens are taken in the same order.
  static METHOD void multiply(float *acc, u32 at, const u8 *x, int bytes) {
    UNROLL for (int i = 0; i < 4; i++) {
      if (i * 32 >= bytes) break;
      u32 w[4];
      ldmatrix4(w, at + i * 32);
      if constexpr (FP8) {
        UNROLL for (int h = 0; h < 2; h++) {
          uint2 v = *(const uint2 *)(x + i * 64 + h * 32);
          u32 m[4] = {e4m3_lo(w[2 * h]), e4m3_lo(w[2 * h + 1]), e4m3_hi(w[2 * h]), e4m3_hi(w[2 * h + 1])}, b[2] = {v.x, v.y};
          mma_f16(acc + h * 4, m, b);
        }
      } else {
        u32 b[2] = {*(const u32 *)(x + i * 32), *(const u32 *)(x + i * 32 + 16)};
        mma_bf16(acc + i % 2 * 4, w, b);
      }
    }
  }

  static METHOD void run(const ChainArgs &c) {
    int warp = tid / 32, lane = tid % 32;
    u32 ring = (shared_at(dynamic) + 127) & ~127u, full, empty;
    u8 *x = dynamic + (ring - shared_at(dynamic)) + c.stages * PIECE_BYTES;
    float *red = (float *)(x + c.xbytes); // [8][8][T][16]
    full = ring + c.stages * PIECE_BYTES + c.xbytes + 8 * 8 * T * 16 * 4, empty = full + 8 * c.stages;
    SHARED float part[2 * T][8], scale[T];
    if (tid == 0) {
      for (int i = 0; i < c.stages; i++) {
        barrier_init(full + 8 * i, 1);
        barrier_init(empty + 8 * i, 8);
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    sync();
    let_next();
    if (warp == 8) {
      fetch(c, ring, full, empty);
      return;
    }
    float4 w4[4];
    auto norms = [&](const FewArgs &a) INLINE {
      UNROLL for (int i = 0; i < 4; i++) {
        int col = (i * 256 + tid) * 4;
        if (a.norm && col < a.cols) w4[i] = *(const float4 *)(a.norm + col);
      }
    };
    norms(c.at[0]);
    wait_ahead();
    int slot = 0, before = 0;
    u32 phase = 0;
    for (int s = 0; s < c.n; s++) {
      const FewArgs &a = c.at[s];
      if (s) {
        sync_few();
        if (tid == 0) all_meet(c.meeting);
        sync_few();
      }
      int bytes = a.ldw * BYTES, steps = (bytes + 127) / 128, padded = steps * Product::PER, stride = padded * 2 + Product::PAD;
      int tokens = *a.tokens;
      if (a.norm) Product::normalise(a, x, stride, padded, scale, part, w4);
      else Product::copy(a, x, stride, padded, scale, part);
      sync_few();
      const u8 *mine = x + (lane / 4 & (T - 1)) * stride + warp * Product::PER * 2 + lane % 4 * (FP8 ? 8 : 4);
      u32 place = ring + lane % 16 * PIECE_PITCH + warp * 128 + lane / 16 * 16;
      int turn = 0; // as in few.h
      for (int unit = first(before); unit < a.units; unit += gx, turn = (turn + 1) % 8) {
        typename Product::End end;
        if (warp == turn) end.look(a, unit, lane, tokens);
        float acc[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        for (int at = 0; at < bytes; at += PIECE) {
          barrier_wait(full + 8 * slot, phase);
          multiply(acc, place + slot * PIECE_BYTES, mine + at * (2 / BYTES), bytes - at - warp * 128);
          sync_warp();
          if (lane == 0) barrier_arrive(empty + 8 * slot);
          if (++slot == c.stages) slot = 0, phase ^= 1;
        }
        float *sums = red + turn * 8 * T * 16;
        UNROLL for (int i = 0; i < 4; i++) {
          int token = lane % 4 * 2 + i % 2;
          if (token < T) sums[(warp * T + token) * 16 + lane / 4 + i / 2 * 8] = acc[i] + acc[4 + i];
        }
        if (warp == turn) {
          meet_wait(1 + turn);
          end.put(a, sums, scale, lane, tokens);
        } else meet(1 + turn);
      }
      before = (before + a.units) % gx;
      if (s + 1 < c.n) norms(c.at[s + 1]);
    }
  }
};

#define CHAIN_OF(t)                                                                        \
  GLOBAL BOUNDS(288, 1) chain_bf16_##t(CONSTANT_ARG ChainArgs a) { Chain<t, false>::run(a); } \
  GLOBAL BOUNDS(288, 1) chain_e4m3_##t(CONSTANT_ARG ChainArgs a) { Chain<t, true>::run(a); }
CHAIN_OF(1)
CHAIN_OF(2)
CHAIN_OF(4)
