// Products for a few tokens on Hopper, several in a row: one block a processor runs
// a chain of few.h's products (the output of attention, gate and up, down, and the next
// layer's queries, keys and values), all blocks meeting in between. One warp copies the weights
// of all products of the chain into a deep ring, whatever the others wait for, so
// that memory goes on being read while results meet, norms are computed and the kernel
// ahead ends.
//
// A piece of the ring is 1024 bytes of 16 rows; each of eight warps multiplies 128
// bytes of it. The copy engine brings one by two instructions: copies of single rows,
// sixteen a piece, took longer to start than the memory to read them. The rest is
// as in few.h.
#pragma once
#include "few.h"
#include "hopper.h"

enum { CHAIN = 4 };

struct ChainArgs {
  TensorMap w[CHAIN][GROUP]; // as out of FewArgs: boxes of eight blocks of 128 bytes of eight rows
  FewArgs at[CHAIN];
  u32 *meeting;     // zero at first
  int n, stages;    // stages: pieces of the ring
  int xbytes;       // of the tokens, a multiple of 16
  int ahead;        // pieces on their way at once
};

// Half of a piece: for each warp 128 bytes of eight rows, swizzled as the copy engine does.
enum { PIECE = 1024, HALF_BYTES = 8 * PIECE, PIECE_BYTES = 2 * HALF_BYTES };

DEVICE u64 read_once() {
  u64 p;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(p));
  return p;
}
DEVICE void fetch_half(u32 dst, const TensorMap &m, int row, int block, u32 barrier, u64 policy) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%5, %3, %4}], [%2], %6;"
      ::"r"(dst), "l"((u64)&m), "r"(barrier), "r"(row), "r"(block), "r"(0), "l"(policy) : "memory");
}
DEVICE uint4 shared4(u32 at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
  return v;
}
// E4M3 to f16, the values themselves: one instruction on Hopper.
DEVICE u32 half_lo(u32 four) { u32 r; asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rn.f16x2.e4m3x2 %0, l; }" : "=r"(r) : "r"(four)); return r; }
DEVICE u32 half_hi(u32 four) { u32 r; asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rn.f16x2.e4m3x2 %0, h; }" : "=r"(r) : "r"(four)); return r; }
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

  // fetch fills the ring. What lies outside a matrix arrives as zeros. Only a few
  // pieces are on their way at once, as many as keep memory busy: requests beyond that
  // wait in line before the memory, and what blocks ask of each other and of the
  // tokens waits behind them, for longer the deeper the ring.
  static METHOD void fetch(const ChainArgs &c, u32 ring, u32 full, u32 empty) {
    int slot = 0, before = 0, first_on_way = 0, on_way = 0;
    u32 phase = 1, way_phase = 0;
    u64 policy = read_once();
    for (int s = 0; s < c.n; s++) {
      const FewArgs &a = c.at[s];
      int blocks = a.ldw * BYTES / 128;
      for (int unit = first(before); unit < a.units; unit += gx) {
        int which = 0, row = unit * 8, second = 1, row2 = row;
        if (!a.gate) {
          while (which + 1 < a.n && unit >= a.out[which].tiles) which++;
          row = (unit - (which ? a.out[which - 1].tiles : 0)) * 16, row2 = row + 8, second = which;
        }
        for (int block = 0; block < blocks; block += 8) {
          if (on_way == c.ahead) {
            barrier_wait(full + 8 * first_on_way, way_phase);
            if (++first_on_way == c.stages) first_on_way = 0, way_phase ^= 1;
          } else on_way++;
          barrier_wait(empty + 8 * slot, phase);
          u32 to = ring + slot * PIECE_BYTES, barrier = full + 8 * slot;
          barrier_expect(barrier, PIECE_BYTES);
          fetch_half(to, c.w[s][which], row, block, barrier, policy);
          fetch_half(to + HALF_BYTES, c.w[s][second], row2, block, barrier, policy);
          if (++slot == c.stages) slot = 0, phase ^= 1;
        }
      }
      before = (before + a.units) % gx;
    }
  }

  // multiply takes a warp's 128 bytes of a piece, at: a lane's 16 of row lane/4; those of
  // the row eight further lie half a piece behind, its other 16 of a row at other.
  // Columns go to the matrix units as in few.h. A product waits for the one before
  // that adds to the same, so there are four sums.
  static METHOD void multiply(float (*acc)[4], u32 at, u32 other, const u8 *x) {
    uint4 w[4] = {shared4(at), shared4(at + HALF_BYTES), shared4(other), shared4(other + HALF_BYTES)};
    UNROLL for (int half = 0; half < 2; half++) {
      u32 u[4] = {w[2 * half].x, w[2 * half].y, w[2 * half].z, w[2 * half].w}, v[4] = {w[2 * half + 1].x, w[2 * half + 1].y, w[2 * half + 1].z, w[2 * half + 1].w};
      if constexpr (FP8) {
        uint4 x0 = load4(x + half * 128), x1 = load4(x + half * 128 + 16);
        u32 b[8] = {x0.x, x0.y, x0.z, x0.w, x1.x, x1.y, x1.z, x1.w};
        UNROLL for (int j = 0; j < 4; j++) {
          u32 m[4] = {half_lo(u[j]), half_lo(v[j]), half_hi(u[j]), half_hi(v[j])};
          mma_f16(acc[j], m, b + 2 * j);
        }
      } else {
        uint4 x0 = load4(x + half * 64);
        u32 b[4] = {x0.x, x0.y, x0.z, x0.w};
        UNROLL for (int j = 0; j < 2; j++) {
          u32 m[4] = {u[2 * j], v[2 * j], u[2 * j + 1], v[2 * j + 1]};
          mma_bf16(acc[half * 2 + j], m, b + 2 * j);
        }
      }
    }
  }

  static METHOD void run(const ChainArgs &c) {
    int warp = tid / 32, lane = tid % 32;
    u32 ring = aligned_shared(), full, empty;
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
      if (lane == 0) fetch(c, ring, full, empty);
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
      int pieces = (a.ldw * BYTES + PIECE - 1) / PIECE, padded = pieces * (PIECE / BYTES), stride = padded * 2 + Product::PAD;
      int tokens = *a.tokens;
      if (a.norm) Product::normalise(a, x, stride, padded, scale, part, w4);
      else Product::copy(a, x, stride, padded, scale, part);
      sync_few();
      const u8 *mine = x + (lane / 4 & (T - 1)) * stride + warp * Product::PER * 2 + lane % 4 * (FP8 ? 32 : 16);
      u32 row = ring + warp * 1024 + lane / 4 * 128; // swizzled: 16 bytes change places by the row's number
      u32 place = row + ((lane % 4 ^ lane / 4) << 4), other = row + (((lane % 4 + 4) ^ lane / 4) << 4);
      int turn = 0; // as in few.h
      for (int unit = first(before); unit < a.units; unit += gx, turn = (turn + 1) % 8) {
        typename Product::End end;
        if (warp == turn) end.look(a, unit, lane, tokens);
        float acc[4][4] = {};
        for (int i = 0; i < pieces; i++) {
          barrier_wait(full + 8 * slot, phase);
          multiply(acc, place + slot * PIECE_BYTES, other + slot * PIECE_BYTES, mine + i * (PIECE / BYTES * 2));
          sync_warp();
          if (lane == 0) barrier_arrive(empty + 8 * slot);
          if (++slot == c.stages) slot = 0, phase ^= 1;
        }
        float *sums = red + turn * 8 * T * 16;
        UNROLL for (int i = 0; i < 4; i++) {
          int token = lane % 4 * 2 + i % 2;
          if (token < T) sums[(warp * T + token) * 16 + lane / 4 + i / 2 * 8] = (acc[0][i] + acc[1][i]) + (acc[2][i] + acc[3][i]);
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

// Bounds of more threads than there are leave registers for attention's blocks.
#define CHAIN_OF(t, threads)                                                                   \
  GLOBAL BOUNDS(threads, 1) chain_bf16_##t(CONSTANT_ARG ChainArgs a) { Chain<t, false>::run(a); } \
  GLOBAL BOUNDS(threads, 1) chain_e4m3_##t(CONSTANT_ARG ChainArgs a) { Chain<t, true>::run(a); }
CHAIN_OF(1, 448)
CHAIN_OF(2, 448)
CHAIN_OF(4, 288)
