// Products for a few tokens, bound by reading the weights, with what lies between
// them: a norm ahead, a gate or a residual behind. So a layer is five kernels. Hopper
// has its own way to bring the weights (ring.h).
//
// A block takes units of 16 rows; its eight warps share a unit's columns and meet in
// shared memory. Every thread copies just the bytes that it multiplies (rows
// lane/4 and 8 more, 16 bytes at lane%4 and 4 more of each 128), so that the ring
// needs no barrier. The order of columns within a product is the same for weights and
// tokens, and else of no matter: mma's columns are those that a thread has in hand.
#pragma once
#include "quant.h"

struct FewArgs {
  Out out[GROUP];     // with gate: the gate, and the same rows of what it is multiplied with
  const void *x;      // bf16 [tokens, ldx]; with norm f32
  const float *norm;  // [cols], or nil
  float *residual;    // f32 [tokens, ldr], which the product is added to; or nil
  const int *tokens;  // how many there are
  int n, cols, ldx, ldw; // ldw: elements of a row of weights, a multiple of 64
  int ldr, units, gate;  // gate: 0, GATE_SILU or GATE_GELU
  int pad;
  float eps;
  int pad2;
};

// FEW_STAGES is the ring's depth: two blocks fit on a processor, of Ada's cards, too.
enum { FEW_STAGES = 3 };

// Walk is where a thread is in its walk over the rows of the block's units.
template <bool FP8> struct Walk {
  const u8 *p0, *p1; // rows lane/4 and 8 more
  bool ok0, ok1;
  int unit, step;

  METHOD void go(const FewArgs &a, int to) {
    constexpr int BYTES = FP8 ? 1 : 2;
    int lane = tid % 32, i = 0, r = to * 16 + lane / 4, r1 = r + 8, second = 0;
    unit = to;
    if (a.gate) r = r1 = to * 8 + lane / 4, second = 1;
    else {
      while (i + 1 < a.n && to >= a.out[i].tiles) i++;
      int skip = i ? a.out[i - 1].tiles * 16 : 0;
      r -= skip, r1 -= skip;
    }
    const Out &o = a.out[i], &q = a.out[i + second];
    ok0 = to < a.units && r < o.rows, ok1 = to < a.units && r1 < q.rows;
    p0 = (const u8 *)o.w + (ok0 ? (u64)r * a.ldw * BYTES : 0);
    p1 = (const u8 *)q.w + (ok1 ? (u64)r1 * a.ldw * BYTES : 0);
  }
};

// A block's warps meet at a barrier: meet goes on, meet_wait waits for all.
template <int WARPS = 8> DEVICE void meet(int which) { asm volatile("bar.arrive %0, %1;" ::"r"(which), "n"(32 * WARPS) : "memory"); }
template <int WARPS = 8> DEVICE void meet_wait(int which) { asm volatile("bar.sync %0, %1;" ::"r"(which), "n"(32 * WARPS) : "memory"); }

DEVICE float abs_(float v) { return bits<float>(bits<u32>(v) & 0x7fffffffu); }
DEVICE float power_below(float top) { // a power of two that brings top to at most 2^13
  int e = (int)(bits<u32>(top) >> 23) - 127 - 12;
  if (top == 0) e = 0;
  return bits<float>((u32)(127 - imax(-100, imin(e, 100))) << 23);
}

template <int T, bool FP8> struct Few {
  static constexpr int BYTES = FP8 ? 1 : 2, STAGES = FEW_STAGES;
  static constexpr int PAD = FP8 ? 16 : 64;           // bytes between tokens, so that they lie in different banks
  static constexpr u32 RING = 8 * STAGES * 2048;      // of all warps
  static constexpr int PER = 128 / BYTES;             // elements of a step

  // pack4 stores four neighbours of a token as the matrix units take them.
  static METHOD void pack4(u8 *x, int stride, int t, int c, float4 v) {
    uint2 h = FP8 ? uint2{f16x2(v.x, v.y), f16x2(v.z, v.w)} : uint2{bf16x2(v.x, v.y), bf16x2(v.z, v.w)};
    *(uint2 *)(x + t * stride + c * 2) = h;
  }

  // normalise brings the tokens to shared memory, normalised. E4M3's activations are
  // f16, brought to its range by a power of two a token, whose inverse goes to scale.
  static METHOD void normalise(const FewArgs &a, u8 *x, int stride, int padded, float *scale, float (*part)[8], const float4 *w4) {
    constexpr bool KEEP = T == 1;
    float4 keep[4];
    float sum[T], top[T];
    UNROLL for (int t = 0; t < T; t++) {
      const float *from = (const float *)a.x + (u64)t * a.ldx;
      sum[t] = top[t] = 0;
      auto add = [&](float4 v, float4 w) INLINE {
        sum[t] += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
        if (FP8) top[t] = fmax_(fmax_(top[t], fmax_(abs_(v.x * w.x), abs_(v.y * w.y))), fmax_(abs_(v.z * w.z), abs_(v.w * w.w)));
      };
      UNROLL for (int i = 0; i < 4; i++) {
        int c = (i * 256 + tid) * 4;
        if (c >= a.cols) continue;
        float4 v = *(const float4 *)(from + c);
        if (KEEP) keep[i] = v;
        add(v, w4[i]);
      }
      for (int c = 4096 + tid * 4; c < a.cols; c += 1024) add(*(const float4 *)(from + c), *(const float4 *)(a.norm + c));
      sum[t] = warp_sum(sum[t]);
      if (FP8) top[t] = warp_max(top[t]);
      if (tid % 32 == 0) part[t][tid / 32] = sum[t], part[T + t][tid / 32] = top[t];
    }
    sync();
    UNROLL for (int t = 0; t < T; t++) {
      const float *from = (const float *)a.x + (u64)t * a.ldx;
      float all = 0, most = 0;
      UNROLL for (int i = 0; i < 8; i++) all += part[t][i], most = fmax_(most, part[T + t][i]);
      float f = rsqrt_(all / (float)a.cols + a.eps);
      if (FP8) {
        float p = power_below(most * f);
        if (tid == 0) scale[t] = E4M3_SCALE / p;
        f *= p;
      }
      auto give = [&](int c, float4 v, float4 w) INLINE { pack4(x, stride, t, c, {v.x * f * w.x, v.y * f * w.y, v.z * f * w.z, v.w * f * w.w}); };
      UNROLL for (int i = 0; i < 4; i++) {
        int c = (i * 256 + tid) * 4;
        if (c < a.cols) give(c, KEEP ? keep[i] : *(const float4 *)(from + c), w4[i]);
      }
      for (int c = 4096 + tid * 4; c < a.cols; c += 1024) give(c, *(const float4 *)(from + c), *(const float4 *)(a.norm + c));
      for (int c = a.cols + tid * 4; c < padded; c += 1024) pack4(x, stride, t, c, {0, 0, 0, 0});
    }
  }

  // copy brings them as they are, bf16, for E4M3 made f16 like above. All of a
  // token's loads go out before the first is used.
  static METHOD void copy(const FewArgs &a, u8 *x, int stride, int padded, float *scale, float (*part)[8]) {
    constexpr int KEEP = 8;
    const u16 *from = (const u16 *)a.x;
    uint4 keep[KEEP];
    auto look = [&](float top, uint4 v) INLINE { return fmax_(fmax_(top, greatest(v.x)), fmax_(greatest(v.y), fmax_(greatest(v.z), greatest(v.w)))); };
    UNROLL for (int t = 0; t < T; t++) {
      float top = 0;
      auto get = [&](int c) INLINE { return c < a.ldw ? load4(from + (u64)t * a.ldx + c) : uint4{0, 0, 0, 0}; };
      UNROLL for (int i = 0; i < KEEP; i++) keep[i] = get((i * 256 + tid) * 8);
      UNROLL for (int i = 0; i < KEEP; i++) {
        int c = (i * 256 + tid) * 8;
        if (FP8) top = look(top, keep[i]);
        if (c < padded) *(uint4 *)(x + t * stride + c * 2) = keep[i];
      }
      for (int c = (KEEP * 256 + tid) * 8; c < padded; c += 2048) {
        uint4 v = get(c);
        if (FP8) top = look(top, v);
        *(uint4 *)(x + t * stride + c * 2) = v;
      }
      if (!FP8) continue;
      top = warp_max(top);
      if (tid % 32 == 0) part[t][tid / 32] = top;
    }
    if (!FP8) return;
    sync();
    UNROLL for (int t = 0; t < T; t++) {
      float top = 0;
      UNROLL for (int i = 0; i < 8; i++) top = fmax_(top, part[t][i]);
      float p = power_below(top);
      if (tid == 0) scale[t] = E4M3_SCALE / p;
      for (int c = tid * 8; c < padded; c += 2048) {
        uint4 v = *(const uint4 *)(x + t * stride + c * 2);
        auto two = [&](u32 h) INLINE { return f16x2(bf16_lo(h) * p, bf16_hi(h) * p); };
        *(uint4 *)(x + t * stride + c * 2) = {two(v.x), two(v.y), two(v.z), two(v.w)};
      }
    }
  }

  // multiply takes what the ring has of a step: 128 bytes of 16 rows. There are two
  // sums, since a product waits for the one before that adds to the same.
  static METHOD void multiply(float *acc, const u8 *ring, const u8 *x) {
    UNROLL for (int half = 0; half < 2; half++) {
      uint4 w0 = load4(ring + half * 512), w1 = load4(ring + 1024 + half * 512);
      u32 u[4] = {w0.x, w0.y, w0.z, w0.w}, v[4] = {w1.x, w1.y, w1.z, w1.w};
      if constexpr (FP8) {
        uint4 x0 = load4(x + half * 128), x1 = load4(x + half * 128 + 16);
        u32 b[8] = {x0.x, x0.y, x0.z, x0.w, x1.x, x1.y, x1.z, x1.w};
        UNROLL for (int j = 0; j < 4; j++) {
          u32 m[4] = {e4m3_lo(u[j]), e4m3_lo(v[j]), e4m3_hi(u[j]), e4m3_hi(v[j])};
          mma_f16(acc + j % 2 * 4, m, b + 2 * j);
        }
      } else {
        uint4 x0 = load4(x + half * 64);
        u32 b[4] = {x0.x, x0.y, x0.z, x0.w};
        UNROLL for (int j = 0; j < 2; j++) {
          u32 m[4] = {u[2 * j], v[2 * j], u[2 * j + 1], v[2 * j + 1]};
          mma_bf16(acc + j % 2 * 4, m, b + 2 * j);
        }
      }
    }
  }

  // End is what the warp that ends a unit needs for it, besides the sums: a lane has
  // a row, of every second token. It is read while the unit is multiplied.
  struct End {
    static constexpr int N = (T + 1) / 2;
    float scale, scale2, bias, bias2, residual[N];
    int which, row; // row < 0: none

    // look reads it; without ADD not what the product is added to.
    template <bool ADD = true> METHOD void look(const FewArgs &a, int unit, int lane, int tokens) {
      which = 0, row = unit * 16 + lane % 16;
      if (a.gate) row = lane % 16 < 8 ? unit * 8 + lane % 8 : -1;
      else {
        while (which + 1 < a.n && unit >= a.out[which].tiles) which++;
        row -= which ? a.out[which - 1].tiles * 16 : 0;
      }
      const Out &o = a.out[which];
      if (row >= o.rows || lane / 16 >= T) row = -1;
      if (row < 0) return;
      scale = scale2 = 1, bias = bias2 = 0;
      if (FP8) scale = o.scale[row];
      if (o.bias) bias = o.bias[row];
      if (a.gate) {
        if (FP8) scale2 = a.out[1].scale[row];
        if (a.out[1].bias) bias2 = a.out[1].bias[row];
      }
      if constexpr (ADD) add(a, lane, tokens);
    }
    METHOD void add(const FewArgs &a, int lane, int tokens) {
      UNROLL for (int i = 0; i < N; i++) {
        int token = lane / 16 + 2 * i;
        if (a.residual && token < tokens) residual[i] = a.residual[(u64)token * a.ldr + row];
      }
    }

    // put stores the unit; red has the warps' sums [WARPS][T][16], xscale what a token's lack.
    template <bool SCALED = FP8, int WARPS = 8, class X> METHOD void put(const FewArgs &a, const float *red, X xscale, int lane, int tokens) const {
      if (row < 0) return;
      const Out &o = a.out[which];
      UNROLL for (int i = 0; i < N; i++) {
        int token = lane / 16 + 2 * i;
        if (token >= tokens) continue;
        auto sum = [&](int at) INLINE {
          float v = 0;
          UNROLL for (int w = 0; w < WARPS; w++) v += red[(w * T + token) * 16 + at];
          return v;
        };
        float x = SCALED ? xscale[token] : 1, v = sum(lane % 16) * (scale * x) + bias;
        if (a.gate) v = gated(a.gate, v, sum(lane % 8 + 8) * (scale2 * x) + bias2);
        u64 at = (u64)token * o.ldd + row;
        if (o.type == F32) ((float *)o.dst)[at] = v;
        else ((u16 *)o.dst)[at] = to_bf16(v);
        if (a.residual) a.residual[(u64)token * a.ldr + row] = residual[i] + v;
      }
    }
  };

  static METHOD void run(const FewArgs &a) {
    int warp = tid / 32, lane = tid % 32;
    int steps = (a.ldw * BYTES + 127) / 128, padded = steps * PER, stride = padded * 2 + PAD;
    int s0 = warp * steps / 8, s1 = (warp + 1) * steps / 8;
    u8 *ring = dynamic + warp * STAGES * 2048 + lane * 16, *x = dynamic + RING;
    float *red = (float *)(x + T * stride); // [8][8][T][16]
    SHARED float part[2 * T][8], scale[T];

    Walk<FP8> w;
    w.go(a, bx);
    w.step = s0;
    int slot = 0, left = bx < a.units ? ((a.units - 1 - bx) / gx + 1) * (s1 - s0) : 0;
    auto fetch = [&]() INLINE {
      if (left > 0) {
        u32 to = shared_at(ring) + slot * 2048;
        int c = w.step * 128 + lane % 4 * 16;
        bool in0 = c < a.ldw * BYTES, in1 = c + 64 < a.ldw * BYTES;
        copy16(to, w.p0 + (in0 ? c : 0), w.ok0 && in0);
        copy16(to + 512, w.p0 + (in1 ? c + 64 : 0), w.ok0 && in1);
        copy16(to + 1024, w.p1 + (in0 ? c : 0), w.ok1 && in0);
        copy16(to + 1536, w.p1 + (in1 ? c + 64 : 0), w.ok1 && in1);
        if (++w.step == s1) w.go(a, w.unit + gx), w.step = s0;
        left--;
      }
      copy_commit();
      slot = slot + 1 == STAGES ? 0 : slot + 1;
    };

    UNROLL for (int i = 0; i < STAGES; i++) fetch();
    float4 w4[4];
    UNROLL for (int i = 0; i < 4; i++) {
      int c = (i * 256 + tid) * 4;
      if (a.norm && c < a.cols) w4[i] = *(const float4 *)(a.norm + c);
    }
    int tokens = *a.tokens;
    if (a.norm) normalise(a, x, stride, padded, scale, part, w4);
    else copy(a, x, stride, padded, scale, part);
    sync();

    const u8 *mine = x + (lane / 4 & (T - 1)) * stride + lane % 4 * (FP8 ? 32 : 16);
    // The warps end units in turn, so that the others go on. Each unit of eight has its
    // own sums and barrier: a warp that ends one has seen all warps there, so that
    // none is eight units ahead of another.
    int at = 0, turn = 0;
    for (int unit = bx; unit < a.units; unit += gx, turn = (turn + 1) % 8) {
      End end;
      if (warp == turn) end.look(a, unit, lane, tokens);
      float acc[8] = {0, 0, 0, 0, 0, 0, 0, 0};
      for (int s = s0; s < s1; s++) {
        copy_wait<STAGES - 1>();
        multiply(acc, ring + at * 2048, mine + s * PER * 2);
        at = at + 1 == STAGES ? 0 : at + 1;
        fetch();
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
    copy_wait<0>();
  }
};

#if SM < 90
#define FEW(t)                                                                      \
  GLOBAL BOUNDS(256, 2) few_bf16_##t(CONSTANT_ARG FewArgs a) { Few<t, false>::run(a); } \
  GLOBAL BOUNDS(256, 2) few_e4m3_##t(CONSTANT_ARG FewArgs a) { Few<t, true>::run(a); }
FEW(1)
FEW(2)
FEW(4)
#endif
