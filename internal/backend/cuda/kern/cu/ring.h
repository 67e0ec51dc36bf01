// Products for a few tokens on Hopper: one block a processor. One warp has the copy
// engine bring weights into a deep ring, whatever the others wait for, so that memory
// goes on being read while the kernel ahead ends and the norm is computed. Memory stands
// still from a block's last piece until the next block asks for its first, and where the
// ring is full before the tokens are there: so the first piece is asked for before anything else is
// prepared, and what the ring holds is multiplied faster than memory fills it.
//
// Having the L2 cache read what the next kernel takes first was no faster behind
// attention and slower elsewhere. Fetching the copies' maps ahead cost 0.3 us a layer.
//
// A piece of the ring is 1024 bytes of 16 rows; each of eight warps multiplies 128
// bytes of it. For one token or two, two such groups of warps take the pieces in turns. The copy
// engine brings a piece by two instructions: copies of single rows,
// sixteen a piece, took longer to start than the memory to read them. The rest is
// as in few.h.
#pragma once
#include "few.h"
#include "hopper.h"

// What the warp that copies needs comes first, in one line.
struct RingArgs {
  int units, gate, n, tiles[GROUP]; // as in FewArgs
  int blocks; // of 128 bytes of a row
  int stages; // pieces of the ring
  int xbytes; // of the tokens, a multiple of 16
  int flying; // pieces on their way at once
  int early;  // and until the tokens are there
  int pad[5];
  TensorMap w[GROUP]; // as out of FewArgs: boxes of eight blocks of 128 bytes of eight rows
  FewArgs few;
};

// Half of a piece: for each warp 128 bytes of eight rows, swizzled as the copy engine does.
enum { MOST_STAGES = 16, PIECE = 1024, HALF_BYTES = 8 * PIECE, PIECE_BYTES = 2 * HALF_BYTES };

DEVICE u64 read_once() {
  u64 p;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(p));
  return p;
}
DEVICE void fetch_half(u32 dst, const TensorMap &m, int row, int block, u32 barrier, u64 policy) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%5, %3, %4}], [%2], %6;"
      ::"r"(dst), "l"((u64)&m), "r"(barrier), "r"(row), "r"(block), "r"(0), "l"(policy) : "memory");
}
DEVICE void fence_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// made says that the ring's barriers are there, made_wait waits for that.
template <int WARPS> DEVICE void made() { meet<WARPS + 1>(10); }
template <int WARPS> DEVICE void made_wait() { meet_wait<WARPS + 1>(10); }
DEVICE uint4 shared4(u32 at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
  return v;
}

// further is the greater of two bf16 by their values without signs, in both halves; its own signs say nothing.
DEVICE u32 further(u32 a, u32 b) { u32 r; asm("max.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
// warp_most is the greatest of a warp's, none of them negative: their bits are in the same order.
DEVICE float warp_most(float v) { u32 r; asm volatile("redux.sync.max.u32 %0, %1, 0xffffffff;" : "=r"(r) : "r"(bits<u32>(v))); return bits<float>(r); }

// Ring has G groups of eight warps for T tokens.
template <int T, bool FP8, int G> struct Ring {
  typedef Few<T, FP8> Product;
  static constexpr int BYTES = FP8 ? 1 : 2, WARPS = 8 * G;
  static constexpr int KEEPS = 4 / G; // rounds of 4096 columns of f32 that a warp keeps in registers

  // From is where the rows of a unit lie.
  struct From {
    int which, second, row, row2;
    METHOD From(const RingArgs &c, int unit) {
      which = 0, row = unit * 8, second = 1, row2 = row;
      if (c.gate) return;
      while (which + 1 < c.n && unit >= c.tiles[which]) which++;
      row = (unit - (which ? c.tiles[which - 1] : 0)) * 16, row2 = row + 8, second = which;
    }
    METHOD void fetch(const RingArgs &c, u32 to, int block, u32 barrier) const {
      u64 policy = read_once();
      fetch_half(to, c.w[which], row, block, barrier, policy);
      fetch_half(to + HALF_BYTES, c.w[second], row2, block, barrier, policy);
    }
  };

  // open asks for the first piece and makes the barriers; of the first one the rest may come before what is expected of it.
  static METHOD void open(const RingArgs &c, const From &from, u32 ring, u32 full, u32 empty) {
    barrier_init(full, 1);
    fence_barriers();
    from.fetch(c, ring, 0, full);
    UNROLL for (int i = 1; i < MOST_STAGES; i++) barrier_init(full + 8 * i, 1);
    UNROLL for (int i = 0; i < MOST_STAGES; i++) barrier_init(empty + 8 * i, 8);
    fence_barriers();
    barrier_expect(full, PIECE_BYTES);
  }

  // fetch fills the ring. What lies outside a matrix arrives as zeros. Only a few
  // pieces are on their way at once, as many as keep memory busy: requests beyond that
  // wait in line before the memory, and what the tokens ask for waits behind them, or what
  // attention asks for, which they come from: until they are there still fewer may be better.
  static METHOD void fetch(const RingArgs &c, From from, u32 ring, u32 full, u32 empty, const volatile int *there) {
    int slot = 1, first = 0, flying = 1, most = c.early;
    u32 phase = 1, way = 0;
    for (int unit = bx, block = 8;; block += 8) {
      if (block >= c.blocks) {
        if ((unit += gx) >= c.units) return;
        from = From(c, unit), block = 0;
      }
      if (most < c.flying && *there) most = c.flying;
      if (flying >= most) {
        barrier_wait(full + 8 * first, way);
        if (++first == c.stages) first = 0, way ^= 1;
      } else flying++;
      barrier_wait(empty + 8 * slot, phase);
      barrier_expect(full + 8 * slot, PIECE_BYTES);
      from.fetch(c, ring + slot * PIECE_BYTES, block, full + 8 * slot);
      if (++slot == c.stages) slot = 0, phase ^= 1;
    }
  }

  // At is a place in the ring, and how often it has come round.
  struct At {
    int slot;
    u32 phase;
    METHOD void move(int n, int stages) {
      slot += n;
      if (slot >= stages) slot -= stages, phase ^= 1;
      if (slot < 0) slot += stages, phase ^= 1;
    }
  };

  // Each warp brings to shared memory just the columns that it multiplies itself, those
  // of its 128 bytes of its group's pieces, so that no warp waits for another before it multiplies.
  // column is where the N neighbours begin that a lane brings in a round of ROUND pieces.
  static constexpr int COLS = PIECE / BYTES;
  template <int N> static constexpr int ROUND = 32 * N / Product::PER;
  template <int N> static METHOD int column(int round, int warp, int lane) {
    constexpr int LANES = Product::PER / N;
    return ((round * ROUND<N> + lane / LANES) * G + warp / 8) * COLS + warp % 8 * Product::PER + lane % LANES * N;
  }

  // range gives the power of two that brings a warp's part of a token to f16's range,
  // and its inverse, which the warp's sums are multiplied by.
  static METHOD float range(float top, float *back) {
    float p = power_below(warp_most(top));
    *back = bits<float>((254u << 23) - bits<u32>(p));
    return p;
  }

  // normalise brings x * w. What else the norm is, a factor of the whole token, is
  // left to the end, and a lane's sum of its squares to when there is time for it. Rounding
  // x * w to 16 bits is the same relative error as rounding all of it.
  static METHOD void normalise(const FewArgs &a, u8 *x, int stride, int pieces, int warp, int lane, const float4 *w4, float *back, float *sum) {
    float4 keep[T][KEEPS];
    int rounds = (pieces + G * ROUND<4> - 1) / (G * ROUND<4>);
    auto get = [&](int t, int c) INLINE { return c < a.cols ? *(const float4 *)((const float *)a.x + (u64)t * a.ldx + c) : float4{0, 0, 0, 0}; };
    auto weight = [&](int c) INLINE { return c < a.cols ? *(const float4 *)(a.norm + c) : float4{0, 0, 0, 0}; };
    auto times = [&](float4 v, float4 w) INLINE { return float4{v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w}; };
    auto square = [&](float4 v) INLINE { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; };
    auto most = [&](float top, float4 v) INLINE { return fmax_(fmax_(top, fmax_(abs_(v.x), abs_(v.y))), fmax_(abs_(v.z), abs_(v.w))); };
    UNROLL for (int t = 0; t < T; t++) UNROLL for (int i = 0; i < KEEPS; i++) keep[t][i] = get(t, column<4>(i, warp, lane));
    UNROLL for (int t = 0; t < T; t++) {
      float top = 0, p = 1;
      sum[t] = 0;
      UNROLL for (int i = 0; i < KEEPS; i++) {
        sum[t] += square(keep[t][i]);
        keep[t][i] = times(keep[t][i], w4[i]);
        if (FP8) top = most(top, keep[t][i]);
      }
      ROLLED for (int i = KEEPS; i < rounds; i++) {
        int c = column<4>(i, warp, lane);
        float4 v = get(t, c);
        sum[t] += square(v);
        if (FP8) top = most(top, times(v, weight(c)));
      }
      if (FP8) p = range(top, back + t);
      auto give = [&](int c, float4 v) INLINE {
        if (c < pieces * COLS) Product::pack4(x, stride, t, c, {v.x * p, v.y * p, v.z * p, v.w * p});
      };
      UNROLL for (int i = 0; i < KEEPS; i++) give(column<4>(i, warp, lane), keep[t][i]);
      ROLLED for (int i = KEEPS; i < rounds; i++) {
        int c = column<4>(i, warp, lane);
        give(c, times(get(t, c), weight(c)));
      }
    }
  }

  // Left is what normalise has left out, a factor by token.
  struct Left {
    const FewArgs &a;
    const float (*squares)[WARPS];
    float share; // one by the columns
    METHOD float operator[](int token) const {
      if (!a.norm) return 1;
      float all = 0;
      UNROLL for (int i = 0; i < WARPS; i++) all += squares[token][i];
      return rsqrt_(all * share + a.eps);
    }
  };

  // copy brings tokens that are bf16 already: by copies of 16 bytes,
  static METHOD void copy(const FewArgs &a, u8 *x, int stride, int pieces, int warp, int lane) {
    u32 to = shared_at(x);
    UNROLL for (int t = 0; t < T; t++) {
      const u16 *from = (const u16 *)a.x + (u64)t * a.ldx;
      ROLLED for (int i = 0; i * G * ROUND<8> < pieces; i++) {
        int c = column<8>(i, warp, lane);
        bool there = c < a.ldw;
        if (c < pieces * COLS) copy16(to + t * stride + c * 2, from + (there ? c : 0), there);
      }
    }
    copy_commit();
    copy_wait<0>();
  }

  // and for E4M3 made f16: what KEEP rounds hold is kept in registers, and all loads of
  // SOME tokens go out before the first is used.
  template <int KEEP, int SOME> static METHOD void halve(const FewArgs &a, u8 *x, int stride, int pieces, int warp, int lane, float *back) {
    int rounds = (pieces + G * ROUND<8> - 1) / (G * ROUND<8>);
    auto get = [&](int t, int c) INLINE { return c < a.ldw ? load4((const u16 *)a.x + (u64)t * a.ldx + c) : uint4{0, 0, 0, 0}; };
    auto look = [&](u32 top, uint4 v) INLINE { return further(further(top, further(v.x, v.y)), further(v.z, v.w)); };
    UNROLL for (int first = 0; first < T; first += SOME) {
      uint4 keep[SOME][KEEP];
      UNROLL for (int t = 0; t < SOME; t++) UNROLL for (int i = 0; i < KEEP; i++) keep[t][i] = get(first + t, column<8>(i, warp, lane));
      UNROLL for (int t = 0; t < SOME; t++) {
        u32 top = 0;
        UNROLL for (int i = 0; i < KEEP; i++) top = look(top, keep[t][i]);
        ROLLED for (int i = KEEP; i < rounds; i++) top = look(top, get(first + t, column<8>(i, warp, lane)));
        float p = range(greatest(top), back + first + t);
        auto two = [&](u32 h) INLINE { return f16x2(bf16_lo(h) * p, bf16_hi(h) * p); };
        auto give = [&](int c, uint4 v) INLINE {
          if (c < pieces * COLS) *(uint4 *)(x + (first + t) * stride + c * 2) = {two(v.x), two(v.y), two(v.z), two(v.w)};
        };
        UNROLL for (int i = 0; i < KEEP; i++) give(column<8>(i, warp, lane), keep[t][i]);
        ROLLED for (int i = KEEP; i < rounds; i++) {
          int c = column<8>(i, warp, lane);
          give(c, get(first + t, c));
        }
      }
    }
  }

  // take reads a warp's 128 bytes of a piece, at: a lane's 16 of a row; those of the
  // row eight further lie half a piece behind, its other 16 of a row at other.
  static METHOD void take(uint4 *w, u32 at, u32 other) {
    w[0] = shared4(at), w[1] = shared4(at + HALF_BYTES), w[2] = shared4(other), w[3] = shared4(other + HALF_BYTES);
  }

  // multiply takes them with the tokens' part. Columns go to the matrix units as in
  // few.h. A product waits for the one before that adds to the same, so there are four sums.
  static constexpr int XS = FP8 ? 4 : 2; // 16 bytes of a token
  static METHOD void multiply(float (*acc)[4], const uint4 *w, const uint4 *x) {
    UNROLL for (int half = 0; half < 2; half++) {
      u32 u[4] = {w[2 * half].x, w[2 * half].y, w[2 * half].z, w[2 * half].w}, v[4] = {w[2 * half + 1].x, w[2 * half + 1].y, w[2 * half + 1].z, w[2 * half + 1].w};
      if constexpr (FP8) {
        uint4 x0 = x[2 * half], x1 = x[2 * half + 1];
        u32 b[8] = {x0.x, x0.y, x0.z, x0.w, x1.x, x1.y, x1.z, x1.w};
        UNROLL for (int j = 0; j < 4; j++) {
          u32 m[4] = {half_lo(u[j]), half_lo(v[j]), half_hi(u[j]), half_hi(v[j])};
          mma_f16(acc[j], m, b + 2 * j);
        }
      } else {
        u32 b[4] = {x[half].x, x[half].y, x[half].z, x[half].w};
        UNROLL for (int j = 0; j < 2; j++) {
          u32 m[4] = {u[2 * j], v[2 * j], u[2 * j + 1], v[2 * j + 1]};
          mma_bf16(acc[half * 2 + j], m, b + 2 * j);
        }
      }
    }
  }

  static METHOD void run(const RingArgs &c) {
    const FewArgs &a = c.few;
    int warp = tid / 32, lane = tid % 32;
    SHARED u64 barriers[2][MOST_STAGES]; // of pieces that are there, of places that are free
    u32 ring = aligned_shared(), full = shared_at(barriers[0]), empty = shared_at(barriers[1]);
    u8 *x = dynamic + (ring - shared_at(dynamic)) + c.stages * PIECE_BYTES;
    float *red = (float *)(x + c.xbytes); // [8][WARPS][T][16]
    SHARED float squares[T][WARPS];
    SHARED int there; // the tokens
    let_next();
    if (warp == WARPS) {
      From from(c, bx);
      if (lane == 0 && bx < c.units) there = 0, open(c, from, ring, full, empty);
      sync_warp();
      made<WARPS>();
      if (lane == 0 && bx < c.units) fetch(c, from, ring, full, empty, &there);
      return;
    }
    // What does not depend on the kernel ahead is read before it ends: each warp
    // ends every eighth of the units.
    float4 w4[KEEPS];
    UNROLL for (int i = 0; i < KEEPS; i++) {
      int col = column<4>(i, warp, lane);
      w4[i] = a.norm && col < a.cols ? *(const float4 *)(a.norm + col) : float4{0, 0, 0, 0};
    }
    typename Product::End end;
    int ends = bx + warp % 8 * gx;
    if (warp < 8) end.template look<false>(a, ends, lane, T);
    int pieces = (a.ldw + COLS - 1) / COLS, stride = pieces * COLS * 2 + Product::PAD;
    int left = bx < a.units ? ((a.units - 1 - bx) / gx + 1) * pieces : 0;
    Left factor{a, squares, 1 / (float)a.cols};
    float back[T], sum[T];
    const u8 *mine = x + (lane / 4 & (T - 1)) * stride + warp % 8 * Product::PER * 2 + lane % 4 * (FP8 ? 32 : 16);
    // Swizzled: 16 bytes change places by the row's number. Eight lanes read at once, two rows:
    // rows four apart lie in different banks then, neighbours in the same.
    int own = lane / 8 + lane / 4 % 2 * 4;
    u32 row = ring + warp % 8 * 1024 + own * 128, place = row + ((lane % 4 ^ own) << 4), other = row + (((lane % 4 + 4) ^ own) << 4);
    made_wait<WARPS>();
    wait_ahead();
    int tokens = *a.tokens;
    if (warp < 8 && end.row >= 0) end.add(a, lane, T);
    if (a.norm) normalise(a, x, stride, pieces, warp, lane, w4, back, sum);
    else if constexpr (!FP8) copy(a, x, stride, pieces, warp, lane);
    else if (pieces <= 2 * ROUND<8>) halve<2 / G, T>(a, x, stride, pieces, warp, lane, back);
    else halve<8 / G, T < 2 ? T : 2>(a, x, stride, pieces, warp, lane, back);
    sync_warp();
    if (tid == 0) *(volatile int *)&there = 1;
    float bring[2] = {1, 1}; // of the tokens whose sums a lane has
    if (FP8) UNROLL for (int i = 0; i < (T < 2 ? T : 2); i++) bring[i] = T == 4 && lane % 4 ? back[T - 2 + i] : back[i];
    // With one group the next piece is on its way to registers while one is multiplied. Of two groups
    // one multiplies meanwhile, and there are no registers for it.
    constexpr bool NEXT = G == 1;
    At at{warp / 8, 0};
    uint4 next[4];
    auto get = [&](uint4 *w) INLINE {
      barrier_wait(full + 8 * at.slot, at.phase);
      take(w, place + at.slot * PIECE_BYTES, other + at.slot * PIECE_BYTES);
    };
    auto done = [&]() INLINE {
      sync_warp();
      if (lane == 0) barrier_arrive(empty + 8 * at.slot);
      at.move(G, c.stages);
    };
    if (NEXT && left) get(next);
    int turn = 0; // as in few.h
    for (int unit = bx; unit < a.units; unit += gx, turn = (turn + 1) % 8) {
      float acc[4][4] = {};
      for (int i = warp / 8; i < pieces; i += G) {
        uint4 w[4], xs[XS];
        if (NEXT) UNROLL for (int j = 0; j < 4; j++) w[j] = next[j];
        else get(w);
        UNROLL for (int j = 0; j < XS; j++) xs[j] = load4(mine + i * (COLS * 2) + (FP8 ? j / 2 * 128 + j % 2 * 16 : j * 64));
        if (NEXT) {
          done();
          if (--left) get(next);
        }
        multiply(acc, w, xs);
        if (!NEXT) done();
      }
      if (G == 2 && pieces % 2) at.move(warp < 8 ? -1 : 1, c.stages); // each group takes the same columns of every unit
      if (a.norm && unit == bx) UNROLL for (int t = 0; t < T; t++) {
        float all = warp_sum(sum[t]);
        if (lane == 0) squares[t][warp] = all;
      }
      float *sums = red + turn * WARPS * T * 16;
      UNROLL for (int i = 0; i < 4; i++) {
        int token = lane % 4 * 2 + i % 2;
        if (token < T) sums[(warp * T + token) * 16 + own + i / 2 * 8] = ((acc[0][i] + acc[1][i]) + (acc[2][i] + acc[3][i])) * bring[i % 2];
      }
      if (warp % 8 == turn) { // of each group one waits: the ring is too short for the other group's to get eight units ahead of put
        meet_wait<WARPS>(1 + turn);
        if (warp >= 8) continue;
        end.template put<true, WARPS>(a, sums, factor, lane, tokens);
        end.look(a, ends += 8 * gx, lane, T);
      } else meet<WARPS>(1 + turn);
    }
  }
};

// Bounds of more threads than there are keep registers few, so that a block of attention finds room
// beside one of one token: a quarter of a processor has 512 for each lane, five of these
// seventeen warps take 360 and one of attention's 135 or less, but attend_one_128's 168: that
// begins where one of these has ended.
#define RING_OF(t, groups, threads)                                                                    \
  GLOBAL BOUNDS(threads, 1) ring_bf16_##t(CONSTANT_ARG RingArgs a) { Ring<t, false, groups>::run(a); } \
  GLOBAL BOUNDS(threads, 1) ring_e4m3_##t(CONSTANT_ARG RingArgs a) { Ring<t, true, groups>::run(a); }
RING_OF(1, 2, 800)
RING_OF(2, 2, 544)
RING_OF(4, 1, 288)
