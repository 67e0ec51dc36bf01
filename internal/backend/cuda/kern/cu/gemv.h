// Products of GGUF's blocks, as they lie, with up to four tokens, in integers (dp4a), with what lies
// between products: a norm ahead, a gate or a residual behind.
//
// A warp takes two whole rows at a time and meets no other: it copies steps of 1024 columns (Q8_0: 512) to a ring of
// its own, several ahead, and each lane multiplies one chunk or two of 16 neighbouring columns of each row's step. The
// copies begin before the kernel ahead has ended. Every block brings the tokens to 8 bits itself, in groups of 64 columns (Q8_0: 32)
// with a scale each: kernels of their own cost more, since nothing is read beside them. Of a normalised token the
// factor that is the same for all columns is left to the end, so that no thread waits for the sum of the squares.
//
// On an H200 issuing limits: an 8B model in Q4_K_M made 367 tokens/s with 85 instructions for a row's step, 471 with 65, and 517 with
// sixteen warps a block instead of 32, which left processors without rows. Slower there: room for a block of the next
// kernel beside one (402), which more than 64 registers a thread keep away; no faster: a ring half as deep again, or twice.
#pragma once
#include "few.h"

#define ONES 0x01010101
DEVICE float max_or_nan(float a, float b) { float r; asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }

// BlockStep is how a step of a row lies in the ring: its blocks, behind them the scales that are
// stored apart, in whole words, the first of which may have one of the step before. A lane
// multiplies one chunk of 16 columns (Q8_0) or two, SECOND columns from each other.
template <int TYPE> struct BlockStep {
  static constexpr int COLS = TYPE == T_Q8_0 ? 512 : 1024, SECOND = TYPE == T_Q4_K ? 32 : 64;
  static constexpr int BYTES = TYPE == T_Q8_0 ? 512 : TYPE == T_Q4_K ? 4 * 144 : 4 * 208;
  static constexpr int SCALES = TYPE == T_Q8_0 ? 16 : TYPE == T_Q6_K ? 4 : 0;
  static constexpr int ROW = BYTES + (SCALES ? (2 * SCALES + 4 + 15) / 16 * 16 : 0), SLOT = 2 * ROW;
};

// Tokens is how they lie in shared memory, in 8 bits: of each step the chunks that lanes multiply first, the ones that
// they multiply second, and for each lane the scale that its chunks have in common, of Q4_K also
// their sums, in the halves of a word.
template <int TYPE> struct Tokens {
  static constexpr int CHUNKS = BlockStep<TYPE>::COLS / 512, PART = CHUNKS * 512, SCALE = TYPE == T_Q4_K ? 8 : 4, STEP = PART + 32 * SCALE;
  u8 *at;
  int bytes; // of a token

  // store is called by all lanes: four neighbouring columns and the four SECOND (of Q8_0: four) further, of item n of a
  // step; eight lanes (of Q8_0: four) have what shares a scale.
  METHOD void store(int t, int n, float4 v, float4 w) const {
    constexpr int LANES = TYPE == T_Q8_0 ? 4 : 8;
    auto most = [](float4 v) INLINE { return max_or_nan(max_or_nan(abs_(v.x), abs_(v.y)), max_or_nan(abs_(v.z), abs_(v.w))); };
    float top = max_or_nan(most(v), most(w));
    UNROLL for (int m = 1; m < LANES; m <<= 1) top = max_or_nan(top, shfl_xor(top, m));
    float f = top > 1e-30f ? 127 * rcp_(top) : 0;
    auto byte = [&](float v) INLINE { return bits<u32>(v * f + 12582912.0f); }; // rounded by its bits
    auto four = [&](float4 v) INLINE { return prmt(prmt(byte(v.x), byte(v.y), 0x0040), prmt(byte(v.z), byte(v.w), 0x0040), 0x5410); };
    u32 p = four(v), q = four(w);
    u8 *step = at + t * bytes + n / (PART / 8) * STEP;
    n %= PART / 8;
    int lane = TYPE == T_Q8_0 ? n / 2 : n / 4;
    if (TYPE == T_Q8_0) *(uint2 *)(step + n * 8) = {p, q};
    else *(u32 *)(step + n * 4) = p, *(u32 *)(step + 512 + n * 4) = q;
    float d = top * (1.0f / 127);
    if (TYPE == T_Q4_K) {
      int sums = dp4a(ONES, (int)p, 0) + (dp4a(ONES, (int)q, 0) << 16);
      sums += shfl_xor(sums, 1), sums += shfl_xor(sums, 2);
      u32 lo = (u32)sums & 0xffff, hi = ((u32)sums + 0x8000u) & 0xffff0000u; // a lower half below zero has borrowed
      if (n % 4 == 0) *(uint2 *)(step + PART + lane * 8) = {bits<u32>(d), lo | hi};
    } else if (n % (TYPE == T_Q8_0 ? 2 : 4) == 0) *(float *)(step + PART + lane * 4) = d;
  }
  // column is where item n of a token begins: lanes' chunks in their order.
  static METHOD int column(int n) {
    int lane = n / 4 % 32, at = n % 4 * 4;
    if (TYPE == T_Q8_0) return n * 8;
    if (TYPE == T_Q4_K) return n / 128 * 1024 + lane / 2 * 64 + lane % 2 * 16 + at;
    return n / 128 * 1024 + lane / 4 * 128 + lane / 2 % 2 * 32 + lane % 2 * 16 + at;
  }
};

// Parts is what a lane has of a row's step: one chunk of weights or two in bytes, and their scales; of Q4_K least: its minima in two bytes.
struct Parts {
  uint4 w[2];
  int scale[2];
  u32 least;
  float d, m; // the block's
};
DEVICE uint4 nibbles(uint4 v, int shift) {
  return {v.x >> shift & 0x0f0f0f0fu, v.y >> shift & 0x0f0f0f0fu, v.z >> shift & 0x0f0f0f0fu, v.w >> shift & 0x0f0f0f0fu};
}
// six is four times six bits less 32, of four weights: their lower four lie from bit 2 on, the upper two above.
DEVICE u32 six(u32 lower, u32 upper) { return (((lower & 0x3f3f3f3fu) | (upper & 0xc0c0c0c0u)) & 0xfcfcfcfcu) ^ 0x80808080u; }

// parts gives a lane's. skip: of the scales that lie apart, how many are not the step's.
template <int TYPE> DEVICE Parts parts(const u8 *slot, int skip, int lane) {
  Parts p;
  const u16 *apart = (const u16 *)(slot + BlockStep<TYPE>::BYTES) + skip;
  int l = lane % 8, block = lane / 8;
  if constexpr (TYPE == T_Q8_0) {
    p.w[0] = load4(slot + lane * 16), p.d = f16_f(apart[lane / 2]);
  } else if constexpr (TYPE == T_Q4_K) {
    const u8 *b = slot + block * 144;
    uint4 head = load4(b), w = load4(b + 16 + l * 16);
    int s = l / 2 % 2 * 16; // scale_q4_k for two parts at once
    u32 y = head.y >> s, z = head.z >> s, v = head.w >> s;
    u32 scales = l < 4 ? y & 0x3f3fu : (v & 0x0f0fu) | (y >> 2 & 0x3030u);
    p.least = l < 4 ? z & 0x3f3fu : (v >> 4 & 0x0f0fu) | (z >> 2 & 0x3030u);
    p.w[0] = nibbles(w, 0), p.w[1] = nibbles(w, 4);
    p.scale[0] = (int)(scales & 255), p.scale[1] = (int)(scales >> 8);
    p.d = f16_lo(head.x), p.m = f16_hi(head.x);
  } else {
    const u8 *b = slot + block * 208;
    uint4 lo = load4(b + l * 16), hi = load4(b + 128 + l / 4 * 32 + l % 2 * 16);
    const s8 *scales = (const s8 *)b + 192 + l / 4 * 8 + l / 2 % 2 * 2 + l % 2; // of part l / 2 % 2, and two further
    int s = l & 2 ? 0 : 2;
    hi = {hi.x << s, hi.y << s, hi.z << s, hi.w << s};
    p.w[0] = {six(lo.x << 2, hi.x << 4), six(lo.y << 2, hi.y << 4), six(lo.z << 2, hi.z << 4), six(lo.w << 2, hi.w << 4)};
    p.w[1] = {six(lo.x >> 2, hi.x), six(lo.y >> 2, hi.y), six(lo.z >> 2, hi.z), six(lo.w >> 2, hi.w)};
    p.scale[0] = scales[0], p.scale[1] = scales[4];
    p.d = f16_f(apart[block]) * 0.25f;
  }
  return p;
}

DEVICE int dot16(uint4 w, uint4 x) { return dp4a((int)w.x, (int)x.x, dp4a((int)w.y, (int)x.y, dp4a((int)w.z, (int)x.z, dp4a((int)w.w, (int)x.w, 0)))); }
// dot2 adds the products of two halves with signs and two bytes without to c.
DEVICE int dot2(u32 halves, u32 bytes, int c) { int r; asm("dp2a.lo.s32.u32 %0, %1, %2, %3;" : "=r"(r) : "r"(halves), "r"(bytes), "r"(c)); return r; }
// What is below 2^22 becomes a number by its bits, added to these: conversions are slower.
enum { NUMBER = 0x4b400000 };
DEVICE float number(int v) { return bits<float>(v) - 12582912.0f; }

// times is the product of a lane's weights with what it has of a token's step.
template <int TYPE> DEVICE float times(const Parts &p, const u8 *x, int lane) {
  uint4 q = load4(x + lane * 16);
  if constexpr (TYPE == T_Q8_0) return p.d * *(const float *)(x + 512 + lane * 4) * (float)dot16(p.w[0], q);
  uint4 r = load4(x + 512 + lane * 16);
  if constexpr (TYPE == T_Q4_K) { // at most 2 * 63 * 16 * 15 * 127
    uint2 d = *(const uint2 *)(x + 1024 + lane * 8);
    float v = number(p.scale[0] * dot16(p.w[0], q) + (p.scale[1] * dot16(p.w[1], r) + NUMBER)), m = number(dot2(d.y, p.least, NUMBER));
    return bits<float>(d.x) * (p.d * v - p.m * m);
  }
  return p.d * *(const float *)(x + 1024 + lane * 4) * (float)(p.scale[0] * dot16(p.w[0], q) + p.scale[1] * dot16(p.w[1], r));
}

enum { GEMV_WARPS = 16, GEMV_THREADS = 32 * GEMV_WARPS }; // at most

// T is for how many tokens the kernel is.
template <int T, int TYPE> struct Gemv {
  typedef BlockStep<TYPE> Step;
  static constexpr int STAGES = TYPE == T_Q6_K ? 3 : 4; // one is multiplied: about 54 KB are on their way

  // take brings the tokens, times the norm's weights; squares: what the lane has of their sums. N items
  // are on their way at once: more would make the code long, which has to be read, too.
  template <bool NORM> static METHOD void take(const FewArgs &a, const Tokens<TYPE> &to, float *squares) {
    constexpr int N = NORM || T > 2 ? 1 : 2, FURTHER = TYPE == T_Q8_0 ? 4 : Step::SECOND;
    auto get = [&](int t, int c) INLINE {
      if (c >= a.cols) return float4{0, 0, 0, 0};
      if (NORM) return *(const float4 *)((const float *)a.x + (u64)t * a.ldx + c);
      uint2 h = *(const uint2 *)((const u16 *)a.x + (u64)t * a.ldx + c);
      return float4{bits<float>(h.x), bits<float>(h.y), 0, 0};
    };
    auto value = [&](float4 v, float4 w) INLINE {
      if (NORM) return float4{v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w};
      u32 lo = bits<u32>(v.x), hi = bits<u32>(v.y);
      return float4{bf16_lo(lo), bf16_hi(lo), bf16_lo(hi), bf16_hi(hi)};
    };
    auto square = [](float4 v) INLINE { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; };
    int items = (a.cols + Step::COLS - 1) / Step::COLS * (Step::COLS / 8);
    ROLLED for (int from = tid; from < items; from += N * ntid) {
      float4 v[T][N][2], w[N][2];
      UNROLL for (int i = 0; i < N; i++) UNROLL for (int j = 0; j < 2; j++) {
        int c = to.column(from + i * ntid) + j * FURTHER;
        w[i][j] = NORM && c < a.cols ? *(const float4 *)(a.norm + c) : float4{0, 0, 0, 0};
        UNROLL for (int t = 0; t < T; t++) v[t][i][j] = get(t, c);
      }
      UNROLL for (int i = 0; i < N; i++) if (from + i * ntid < items) UNROLL for (int t = 0; t < T; t++) {
        if (NORM) squares[t] += square(v[t][i][0]) + square(v[t][i][1]);
        to.store(t, from + i * ntid, value(v[t][i][0], w[i][0]), value(v[t][i][1], w[i][1]));
      }
    }
  }

  // bring has the block's tokens in 8 bits and gives what is left of the norm of a lane's: token lane % 16 * T / 16.
  static METHOD float bring(const FewArgs &a, const Tokens<TYPE> &to, int warp, int lane) {
    SHARED float part[T][GEMV_WARPS];
    float squares[T], all = 0;
    UNROLL for (int t = 0; t < T; t++) squares[t] = 0;
    if (a.norm) take<true>(a, to, squares);
    else take<false>(a, to, squares);
    if (a.norm) UNROLL for (int t = 0; t < T; t++) {
      float sum = warp_sum(squares[t]);
      if (lane == 0) part[t][warp] = sum;
    }
    sync();
    if (!a.norm) return 1;
    UNROLL for (int t = 0; t < T; t++) {
      float sum = warp_sum(lane < ntid / 32 ? part[t][lane] : 0);
      if (t == lane % 16 * T / 16) all = sum;
    }
    return rsqrt_(all / (float)a.cols + a.eps);
  }

  // Pair is two rows that a warp takes together: neighbours, or of a gate those of both matrices.
  struct Pair {
    int which, row, rows; // rows: 1 where the matrix ends
    METHOD Pair(const FewArgs &a, const Out *out, int unit) {
      which = 0;
      if (!a.gate) while (which + 1 < a.n && unit >= out[which].tiles) which++;
      row = a.gate ? unit : 2 * (unit - (which ? out[which - 1].tiles : 0));
      rows = a.gate || row + 1 < out[which].rows ? 2 : 1;
    }
  };

  // Source is where what a warp copies lies.
  struct Source {
    static constexpr int COLS = TYPE == T_Q8_0 ? 32 : 256, BYTES = TYPE == T_Q8_0 ? 32 : TYPE == T_Q4_K ? 144 : 208;
    const u8 *blocks, *scales; // a lane's
    s64 second;                // from the first row's blocks to the second's
    int unit, steps;           // steps of the unit that are still to be copied

    METHOD void seek(const FewArgs &a, const Out *out, int lane) {
      steps = (a.cols + Step::COLS - 1) / Step::COLS;
      if (unit >= a.units) return;
      Pair p(a, out, unit);
      const Out &o = out[p.which], &q = out[a.gate ? 1 : p.which];
      int n = a.cols / COLS;
      u64 row = (u64)p.row * n, row2 = row + (a.gate || p.rows == 1 ? 0 : n);
      blocks = (const u8 *)o.w + row * BYTES + lane * 16;
      second = (const u8 *)q.w + row2 * BYTES - ((const u8 *)o.w + row * BYTES);
      // Half of the lanes have words of the first row, half those of the second.
      if (Step::SCALES) scales = (const u8 *)((lane < 16 ? (u64)o.scale + row * 2 : (u64)q.scale + row2 * 2) & ~3ull) + lane % 16 * 4;
    }
    // copy brings a step of both rows to the ring; what lies beyond them, and all that is asked for when they
    // are at an end, becomes zeros.
    METHOD void copy(const FewArgs &a, const Out *out, u32 slot, int lane) {
      if (steps == 0) {
        unit += gx * (ntid / 32);
        seek(a, out, lane);
      }
      int n = --steps ? Step::COLS / COLS : (a.cols - 1) % Step::COLS / COLS + 1;
      if (unit >= a.units) n = 0;
      u32 to = slot + lane * 16;
      copy16(to, blocks, lane * 16 < n * BYTES);
      copy16(to + Step::ROW, blocks + second, lane * 16 < n * BYTES);
      if (Step::BYTES > 512 && lane < Step::BYTES / 16 - 32) {
        copy16(to + 512, blocks + 512, 512 + lane * 16 < n * BYTES);
        copy16(to + Step::ROW + 512, blocks + second + 512, 512 + lane * 16 < n * BYTES);
      }
      blocks += Step::BYTES;
      if (!Step::SCALES) return;
      if (lane % 16 <= Step::SCALES / 2) copy_few<4>(slot + Step::BYTES + lane / 16 * Step::ROW + lane % 16 * 4, scales, n && lane % 16 <= n / 2);
      scales += 2 * Step::SCALES;
    }
  };

  // gather adds over the warp what each lane has of 2 * T sums: sum lane * T / 16 comes to a lane.
  static METHOD float gather(const float *sum, int lane) {
    auto either = [&](float a, float b, int m) INLINE { return (lane & m ? b : a) + shfl_xor(lane & m ? a : b, m); };
    float v = either(sum[0], sum[T], 16);
    if constexpr (T == 2) v = either(v, either(sum[1], sum[3], 16), 8);
    if constexpr (T == 4) {
      float u = either(sum[1], sum[5], 16);
      v = either(either(v, either(sum[2], sum[6], 16), 8), either(u, either(sum[3], sum[7], 16), 8), 4);
    }
    UNROLL for (int m = 8 / T; m; m >>= 1) v += shfl_xor(v, m);
    return v;
  }

  // End is where a pair's sums go: a lane has a row and a token.
  struct End {
    int which, row, token;
    bool mine;

    METHOD End(const FewArgs &a, const Out *out, int unit, int lane, int tokens) {
      Pair p(a, out, unit);
      bool second = lane >= 16;
      token = lane % 16 * T / 16;
      which = p.which + (a.gate && second), row = p.row + (!a.gate && second);
      mine = lane % (16 / T) == 0 && token < tokens && second < p.rows;
    }
    // look reads what is added, while the pair is multiplied.
    METHOD void look(const FewArgs &a, const Out *out, float *bias, float *residual) const {
      const float *b = out[which].bias;
      *bias = mine && b ? b[row] : 0;
      *residual = mine && a.residual ? a.residual[(u64)token * a.ldr + row] : 0;
    }
    METHOD void put(const FewArgs &a, const Out *out, float v, float residual, int lane) const {
      if (a.gate) {
        float up = shfl_xor(v, 16);
        if (lane >= 16) return;
        v = gated(a.gate, v, up);
      }
      if (!mine) return;
      const Out &o = out[which];
      u64 at = (u64)token * o.ldd + row;
      if (o.type == F32) ((float *)o.dst)[at] = v;
      else ((u16 *)o.dst)[at] = to_bf16(v);
      if (a.residual) a.residual[(u64)token * a.ldr + row] = residual + v;
    }
  };

  static METHOD void run(const FewArgs &a) {
    int warp = tid / 32, lane = tid % 32, warps = ntid / 32;
    u32 ring = shared_at(dynamic) + warp * STAGES * Step::SLOT;
    const u8 *mine = dynamic + warp * STAGES * Step::SLOT;
    Tokens<TYPE> x;
    x.at = dynamic + warps * STAGES * Step::SLOT, x.bytes = (a.cols + Step::COLS - 1) / Step::COLS * x.STEP;
    // Here, since what is indexed by more than constants among the arguments is copied to local memory.
    SHARED Out out[GROUP];
    let_next();
    if (tid == 0) UNROLL for (int i = 0; i < GROUP; i++) out[i] = a.out[i];
    sync();

    Source source;
    source.unit = bx * warps + warp, source.blocks = source.scales = (const u8 *)out[0].w, source.second = 0;
    source.seek(a, out, lane);
    ROLLED for (int i = 0; i < STAGES - 1; i++) {
      source.copy(a, out, ring + i * Step::SLOT, lane);
      copy_commit();
    }
    wait_ahead();
    int tokens = *a.tokens;
    float factor = bring(a, x, warp, lane);

    int slot = 0, free = (STAGES - 1) * Step::SLOT; // what is multiplied, and what is filled anew
    ROLLED for (int unit = bx * warps + warp; unit < a.units; unit += gx * warps) {
      float bias, residual, sum[2 * T];
      End(a, out, unit, lane, tokens).look(a, out, &bias, &residual);
      UNROLL for (int i = 0; i < 2 * T; i++) sum[i] = 0;
      Pair p(a, out, unit);
      int n = a.cols / Source::COLS, skip = p.row * n & 1, skip2 = a.gate ? skip : (p.row + p.rows - 1) * n & 1;
      ROLLED for (int at = 0; at < x.bytes; at += x.STEP) {
        copy_wait<STAGES - 2>();
        sync_warp(); // all have copied what follows, and read what is filled next
        source.copy(a, out, ring + free, lane);
        copy_commit();
        UNROLL for (int r = 0; r < 2; r++) {
          Parts w = parts<TYPE>(mine + slot + r * Step::ROW, r ? skip2 : skip, lane);
          UNROLL for (int t = 0; t < T; t++) sum[r * T + t] += times<TYPE>(w, x.at + t * x.bytes + at, lane);
        }
        free = slot;
        slot = slot + Step::SLOT == STAGES * Step::SLOT ? 0 : slot + Step::SLOT;
      }
      float v = gather(sum, lane) * factor + bias;
      End(a, out, unit, lane, tokens).put(a, out, v, residual, lane);
    }
    copy_wait<0>();
  }
};

#define GEMV(t)                                                                                     \
  GLOBAL BOUNDS(GEMV_THREADS, 1) gemv_q8_0_##t(CONSTANT_ARG FewArgs a) { Gemv<t, T_Q8_0>::run(a); } \
  GLOBAL BOUNDS(GEMV_THREADS, 1) gemv_q4_k_##t(CONSTANT_ARG FewArgs a) { Gemv<t, T_Q4_K>::run(a); } \
  GLOBAL BOUNDS(GEMV_THREADS, 1) gemv_q6_k_##t(CONSTANT_ARG FewArgs a) { Gemv<t, T_Q6_K>::run(a); }
GEMV(1)
GEMV(2)
GEMV(4)
