// Products of GGUF's blocks, as they lie, with 5 to 128 tokens.
//
// A lane reads its part of two rows of 256 columns straight into registers, as soon as it has used those before, and
// makes f16 of it in the order that mma.sync takes: which of a row's columns are multiplied
// together is free, so the tokens are brought into that order instead, once, by to_blocks. Weights
// are the left operand, 16 rows a warp, tokens the columns, as many as there are: what is
// done to a weight is done once for all of them.
//
// What is multiplied is exact where it can be: of Q4_K and Q6_K the block's whole numbers times their
// part's (of Q6_K up to 2048, and to eleven bits beyond), with the block's own scale put to the sum of 128 columns. Q4_K's minima are a product of their own, with the
// tokens' sums of 32 columns. Tokens in bf16 become f16 as they are, since each has its greatest below
// 1024 by a power of two: only what is less than 2^-26 of that is rounded.
#pragma once
#include "decode.h"
#include "gemm.h"
#include "quant.h"

// How to_blocks lays tokens out: 256 columns of a token are 32 chunks of 16 bytes, chunk 4j + t having
// what lane t of four multiplies in steps 2j and 2j + 1, and one of eight sums of 32 columns.
enum { CHUNKS = 33, RECORD = 16 * CHUNKS, SHARED_RECORD = 576 }; // bytes; 576: so that two tokens' chunks lie in all banks

struct ToBlocksArgs {
  const u16 *from; // [tokens, ldx] bf16
  u8 *to;          // [columns / 256, rows, RECORD]
  float *scales;   // [rows]: what a product is multiplied with
  const int *count;
  int k, ldx, rows, type;
};

// first_of and second_of are where a chunk's two fours of neighbouring columns begin.
DEVICE int first_of(int type, int j, int t) {
  if (type == T_Q8_0) return j / 2 * 64 + t * 16 + j % 2 * 8;
  if (type == T_Q4_K) return (j / 4 * 4 + t) / 2 * 64 + t % 2 * 16 + j % 4 * 4;
  return j / 4 * 128 + j % 2 * 64 + t * 8 + j / 2 % 2 * 4;
}
DEVICE int second_of(int type) { return type == T_Q8_0 ? 4 : 32; }

GLOBAL BOUNDS(256, 4) to_blocks(CONSTANT_ARG ToBlocksArgs a) {
  let_next();
  wait_ahead();
  int row = bx;
  if (row >= *a.count) return;
  const u16 *x = a.from + (u64)row * a.ldx;
  float top = 0;
  for (int c = tid * 8; c < a.k; c += 4 * 2048) { // all of the row: of few rows several blocks have parts
    uint4 v[4];
    UNROLL for (int i = 0; i < 4; i++) v[i] = c + i * 2048 < a.k ? load4(x + c + i * 2048) : uint4{0, 0, 0, 0};
    UNROLL for (int i = 0; i < 4; i++) top = fmax_(fmax_(top, greatest(v[i].x)), fmax_(greatest(v[i].y), fmax_(greatest(v[i].z), greatest(v[i].w))));
  }
  SHARED float part[8];
  top = warp_max(top);
  if (tid % 32 == 0) part[tid / 32] = top;
  sync();
  UNROLL for (int i = 0; i < 8; i++) top = fmax_(top, part[i]);
  // The power of two that brings the greatest to 512 and more.
  int e = imin(imax((int)(bits<u32>(top) >> 23), 10), 254);
  float f = bits<float>((u32)(263 - e) << 23);
  if (tid == 0 && by == 0) a.scales[row] = bits<float>((u32)(e - 9) << 23);
  int blocks = (a.k + 255) / 256, thread = by * 256 + tid, threads = gy * 256;
  auto to = [&](int block) INLINE { return a.to + ((u64)block * a.rows + row) * RECORD; };
  for (int i = thread; i < blocks * 32; i += threads) {
    int j = i % 32 / 4, c = i / 32 * 256 + first_of(a.type, j, i % 4), d = c + second_of(a.type);
    uint2 u = {0, 0}, v = {0, 0};
    if (c < a.k) u = *(const uint2 *)(x + c);
    if (d < a.k) v = *(const uint2 *)(x + d);
    float p[8] = {bf16_lo(u.x), bf16_hi(u.x), bf16_lo(u.y), bf16_hi(u.y), bf16_lo(v.x), bf16_hi(v.x), bf16_lo(v.y), bf16_hi(v.y)};
    UNROLL for (int n = 0; n < 8; n++) p[n] *= f;
    bool across = a.type == T_Q4_K; // bytes 0 and 2 are multiplied together, and 1 and 3
    uint4 w = {across ? f16x2(p[0], p[2]) : f16x2(p[0], p[1]), across ? f16x2(p[1], p[3]) : f16x2(p[2], p[3]),
               across ? f16x2(p[4], p[6]) : f16x2(p[4], p[5]), across ? f16x2(p[5], p[7]) : f16x2(p[6], p[7])};
    *(uint4 *)(to(i / 32) + i % 32 * 16) = w;
  }
  if (a.type != T_Q4_K) return;
  for (int i = thread; i < blocks * 8; i += threads) {
    float sum = 0;
    UNROLL for (int n = 0; n < 4; n++) {
      uint4 v = load4(x + i * 32 + n * 8);
      sum += ((bf16_lo(v.x) + bf16_hi(v.x)) + (bf16_lo(v.y) + bf16_hi(v.y))) + ((bf16_lo(v.z) + bf16_hi(v.z)) + (bf16_lo(v.w) + bf16_hi(v.w)));
    }
    ((u16 *)(to(i / 8) + 512))[i % 8] = to_f16(sum * f);
  }
}

// Two of four bytes to f16: 1024 more, by their bits, less that and what they have too much.
DEVICE u32 half_pair(u32 four, u32 which, u32 less) { return sub_halves(prmt(four, 0x64646464u, which), less); }
DEVICE u32 fma_halves(u32 a, u32 b, u32 c) { u32 r; asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c)); return r; }
// twice has byte i of four as f16 in both halves.
DEVICE u32 twice(u32 four, int i, u32 less) { return half_pair(four, 0x4040u + i * 0x0101u, less); }
DEVICE uint2 load_once2(const void *p) {
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
  return v;
}
DEVICE u16 load_once1(const void *p) {
  u16 v;
  asm volatile("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(p));
  return v;
}
DEVICE u32 shared_word(u32 at) {
  u32 v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
  return v;
}
DEVICE void mma_f16_8(float *c, const u32 *a, u32 b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(b));
}

// Rows are what a lane has of two rows, g and g + 8 of a warp's sixteen. head and half start to
// load what 256 columns have in common, and their halves; use makes of the first what is multiplied, and put a
// half's left operands: of eight steps, two rows' columns 2t, 2t+1 and 2t+8, 2t+9. at is where a
// row begins, in 16 bytes.
template <int TYPE> struct Rows;

template <> struct Rows<T_Q4_K> {
  static constexpr bool SCALED = true, MINIMA = true;
  static constexpr int BYTES = 144; // of 256 columns
  const u8 *all;
  u32 at[2];
  int t;
  uint4 header[2], four[2][2]; // of a half
  u32 scale[2][4], minimum[2]; // scale: of a row's parts of 32 that the lane has
  float whole[2], least[2];

  METHOD void begin(const Out &o, const int *r, int k, int of_four) {
    all = (const u8 *)o.w, t = of_four;
    UNROLL for (int n = 0; n < 2; n++) at[n] = (u32)r[n] * (u32)(k / 256 * (BYTES / 16));
  }
  METHOD const u8 *place(int n, int block) const { return all + ((u64)at[n] << 4) + block * BYTES; }
  METHOD void head(int block) {
    UNROLL for (int n = 0; n < 2; n++) header[n] = load_once(place(n, block));
  }
  METHOD void half(int h, int block) {
    UNROLL for (int n = 0; n < 2; n++) four[h][n] = load_once(place(n, block) + 16 + (h * 4 + t) * 16);
  }
  METHOD void use() {
    UNROLL for (int n = 0; n < 2; n++) {
      uint4 v = header[n];
      whole[n] = f16_lo(v.x), least[n] = f16_hi(v.x);
      u32 s = v.y & 0x3f3f3f3fu, s4 = (v.w & 0x0f0f0f0fu) | (v.y >> 2 & 0x30303030u);
      u32 m = t < 2 ? v.z & 0x3f3f3f3fu : (v.w >> 4 & 0x0f0f0f0fu) | (v.z >> 2 & 0x30303030u);
      UNROLL for (int i = 0; i < 2; i++) scale[n][i] = twice(s, t / 2 * 2 + i, 0x64006400u), scale[n][2 + i] = twice(s4, t / 2 * 2 + i, 0x64006400u);
      minimum[n] = half_pair(m, t % 2 ? 0x4342u : 0x4140u, 0x64006400u);
    }
  }
  // The upper fours are 16 times as much, and have a sixteenth of the scale. What is 1024 too much goes
  // in the same instruction: the result has ten bits.
  METHOD void put(int h, u32 (*a)[4]) const {
    UNROLL for (int n = 0; n < 2; n++) {
      u32 w[4] = {four[h][n].x, four[h][n].y, four[h][n].z, four[h][n].w};
      u32 lo = scale[n][2 * h], hi = mul_halves(scale[n][2 * h + 1], 0x2c002c00u), lo_less = mul_halves(lo, 0xe400e400u), hi_less = mul_halves(hi, 0xe400e400u);
      UNROLL for (int i = 0; i < 4; i++) {
        u32 v = w[i], u = v >> 8;
        a[2 * i][n] = fma_halves((v & 0x000f000fu) | 0x64006400u, lo, lo_less), a[2 * i][2 + n] = fma_halves((u & 0x000f000fu) | 0x64006400u, lo, lo_less);
        a[2 * i + 1][n] = fma_halves((v & 0x00f000f0u) | 0x64006400u, hi, hi_less), a[2 * i + 1][2 + n] = fma_halves((u & 0x00f000f0u) | 0x64006400u, hi, hi_less);
      }
    }
  }
};

template <> struct Rows<T_Q6_K> {
  static constexpr bool SCALED = true, MINIMA = false;
  static constexpr int BYTES = 208;
  const u8 *all;
  const u16 *scales;
  u32 at[2]; // in the scales, too: 1 / 13 of it
  int t;
  uint2 low[2][2][2], high[2][2], parts[2][2]; // of a half, a row: 16 columns' lower four bits, 32 columns' upper two; scales of 16
  u16 next[2];
  float whole[2];

  METHOD void begin(const Out &o, const int *r, int k, int of_four) {
    all = (const u8 *)o.w, scales = (const u16 *)o.scale, t = of_four;
    UNROLL for (int n = 0; n < 2; n++) at[n] = (u32)r[n] * (u32)(k / 256);
  }
  METHOD const u8 *place(int n, int block) const { return all + (u64)(at[n] + (u32)block) * BYTES; }
  METHOD void head(int block) {
    UNROLL for (int n = 0; n < 2; n++) next[n] = load_once1(scales + at[n] + block);
  }
  METHOD void half(int h, int block) {
    UNROLL for (int n = 0; n < 2; n++) {
      const u8 *from = place(n, block);
      low[h][n][0] = load_once2(from + h * 64 + t * 8), low[h][n][1] = load_once2(from + h * 64 + 32 + t * 8);
      high[h][n] = load_once2(from + 128 + h * 32 + t * 8), parts[h][n] = load_once2(from + 192 + h * 8);
    }
  }
  METHOD void use() {
    UNROLL for (int n = 0; n < 2; n++) whole[n] = f16_f(next[n]);
  }
  METHOD void put(int h, u32 (*a)[4]) const {
    UNROLL for (int n = 0; n < 2; n++) {
      u32 p[2] = {parts[h][n].x ^ 0x80808080u, parts[h][n].y ^ 0x80808080u};
      UNROLL for (int i = 0; i < 4; i++) {
        u32 s = twice(p[i / 2], i % 2 * 2 + t / 2, 0x64806480u);
        UNROLL for (int w = 0; w < 2; w++) {
          u32 l = w ? low[h][n][i % 2].y : low[h][n][i % 2].x, u = w ? high[h][n].y : high[h][n].x;
          u32 v = (l >> (i / 2 * 4) & 0x0f0f0f0fu) | ((i < 2 ? u << (4 - 2 * i) : u >> (2 * i - 4)) & 0x30303030u);
          a[4 * w + i][n] = mul_halves(half_pair(v, 0x4140u, 0x64206420u), s), a[4 * w + i][2 + n] = mul_halves(half_pair(v, 0x4342u, 0x64206420u), s);
        }
      }
    }
  }
};

template <> struct Rows<T_Q8_0> {
  static constexpr bool SCALED = false, MINIMA = false;
  const u8 *all;
  const u16 *scales;
  u32 at[2]; // in the scales; 32 bytes each
  int t, parts;
  uint4 bytes[2][2][2]; // of a half, a row
  u16 scale[2][2][2];

  METHOD void begin(const Out &o, const int *r, int k, int of_four) {
    all = (const u8 *)o.w, scales = (const u16 *)o.scale, t = of_four, parts = k / 32;
    UNROLL for (int n = 0; n < 2; n++) at[n] = (u32)r[n] * (u32)parts;
  }
  METHOD void head(int) {}
  METHOD void use() {}
  // A row may end within 256 columns: beyond lie its last numbers once more, which meet tokens' zeros.
  METHOD void half(int h, int block) {
    UNROLL for (int n = 0; n < 2; n++) UNROLL for (int i = 0; i < 2; i++) {
      int part = imin(block * 8 + (2 * h + i) * 2 + t / 2, parts - 1);
      bytes[h][n][i] = load_once(all + ((u64)(at[n] + part) << 5) + t % 2 * 16), scale[h][n][i] = load_once1(scales + at[n] + part);
    }
  }
  METHOD void put(int h, u32 (*a)[4]) const {
    UNROLL for (int n = 0; n < 2; n++) UNROLL for (int i = 0; i < 2; i++) {
      u32 w[4] = {bytes[h][n][i].x, bytes[h][n][i].y, bytes[h][n][i].z, bytes[h][n][i].w}, s = scale[h][n][i] * 0x10001u;
      UNROLL for (int j = 0; j < 4; j++) a[4 * i + j][n] = mul_halves(s8_lo(w[j]), s), a[4 * i + j][2 + n] = mul_halves(s8_hi(w[j]), s);
    }
  }
};

struct BlocksArgs {
  Out out[GROUP];      // scale: the f16 scales that are stored apart
  const u8 *x;         // of to_blocks
  const float *xscale; // [rows]
  const int *tokens;
  float *work; // as GemmArgs
  u32 *counts;
  int n, k, rows, pad; // rows: of x
};

// A block multiplies 128 rows with 8 * NT tokens over a part of the columns. Tokens go through shared memory, 256
// columns at a time or more.
template <int TYPE, int NT> DEVICE void blocks(const BlocksArgs &a) {
  constexpr int TOKENS = 8 * NT, TOGETHER = NT < 4 ? 4 / NT : 1, STAGES = NT < 8 ? 3 : 2;
  constexpr u32 STAGE = TOGETHER * TOKENS * SHARED_RECORD;
  int warp = tid / 32, lane = tid % 32, g = lane / 4, t = lane % 4;
  int tile = by, which = tile_of(a.out, a.n, &tile);
  const Out &o = a.out[which];
  int row0 = tile * 128 + warp * 16, token0 = bx * TOKENS, r[2] = {imin(row0 + g, o.rows - 1), imin(row0 + g + 8, o.rows - 1)};
  let_next();
  int all = (a.k + 255) / 256, per = (all + gz - 1) / gz, first = bz * per, last = imin(all, first + per);
  Rows<TYPE> rows;
  rows.begin(o, r, a.k, t);
  if (first < last) { // weights are nobody's result
    rows.head(first);
    UNROLL for (int h = 0; h < 2; h++) rows.half(h, first);
  }
  wait_ahead();
  int tokens = *a.tokens;
  if (token0 >= tokens) return;
  u32 base = aligned_shared();
  auto fetch = [&](int stage) INLINE {
    u32 to = base + stage % STAGES * STAGE;
    UNROLL for (int n = 0; n < TOGETHER; n++) {
      int block = first + stage * TOGETHER + n;
      if (block < last) for (int i = tid; i < TOKENS * CHUNKS; i += 256) {
        int token = i / CHUNKS, chunk = i % CHUNKS;
        bool there = token0 + token < tokens;
        copy16(to + (n * TOKENS + token) * SHARED_RECORD + chunk * 16, a.x + ((u64)block * a.rows + (there ? token0 + token : 0)) * RECORD + chunk * 16, there);
      }
    }
    copy_commit();
  };
  float sum[NT * 4];
  UNROLL for (int i = 0; i < NT * 4; i++) sum[i] = 0;
  UNROLL for (int s = 0; s < STAGES - 1; s++) fetch(s);
  for (int block = first; block < last; block++) {
    int at = block - first, stage = at / TOGETHER;
    if (at % TOGETHER == 0) {
      copy_wait<STAGES - 2>();
      sync();
      fetch(stage + STAGES - 1);
    }
    u32 x = base + stage % STAGES * STAGE + (at % TOGETHER * TOKENS + g) * SHARED_RECORD + t * 16;
    rows.use();
    if (block + 1 < last) rows.head(block + 1);
    UNROLL for (int h = 0; h < 2; h++) {
      u32 left[8][4];
      rows.put(h, left);
      if (block + 1 < last) rows.half(h, block + 1);
      UNROLL for (int n = 0; n < NT; n++) {
        float part[4] = {}, other[4] = {}; // of few tokens a product would wait for the one before
        float *to = Rows<TYPE>::SCALED ? part : sum + n * 4;
        UNROLL for (int j = 0; j < 4; j++) {
          uint4 v = shared_load(x + n * 8 * SHARED_RECORD + (h * 4 + j) * 64);
          u32 right[4] = {v.x, v.y, v.z, v.w};
          mma_f16(to, left[2 * j], right), mma_f16(NT <= 2 ? other : to, left[2 * j + 1], right + 2);
        }
        if (NT <= 2) UNROLL for (int i = 0; i < 4; i++) to[i] += other[i];
        if constexpr (Rows<TYPE>::SCALED) UNROLL for (int i = 0; i < 4; i++) sum[n * 4 + i] += rows.whole[i / 2] * part[i];
      }
    }
    if constexpr (Rows<TYPE>::MINIMA) UNROLL for (int n = 0; n < NT; n++) {
      float part[4] = {};
      mma_f16_8(part, rows.minimum, shared_word(x - t * 12 + n * 8 * SHARED_RECORD + 512));
      UNROLL for (int i = 0; i < 4; i++) sum[n * 4 + i] -= rows.least[i / 2] * part[i];
    }
  }
  copy_wait<0>();
  if (!last_part<NT * 4>(sum, a.work, a.counts, by * gx + bx, tid)) return;
  auto store = [&](auto kind) INLINE {
    UNROLL for (int n = 0; n < NT; n++) UNROLL for (int i = 0; i < 4; i++) {
      int row = row0 + g + i / 2 * 8, token = token0 + n * 8 + t * 2 + i % 2;
      if (row < o.rows && token < tokens) put<decltype(kind)>(o, token, row, sum[n * 4 + i] * a.xscale[token]);
    }
  };
  if (o.type == F32) store(float());
  else store(u16());
}

// of_32 is how many blocks of the kernel for 32 tokens a processor has registers for.
#define BLOCKS_OF(name, type, of_32)                                                               \
  GLOBAL BOUNDS(256, 2) blocks_##name##_8(CONSTANT_ARG BlocksArgs a) { blocks<type, 1>(a); }       \
  GLOBAL BOUNDS(256, 2) blocks_##name##_16(CONSTANT_ARG BlocksArgs a) { blocks<type, 2>(a); }      \
  GLOBAL BOUNDS(256, of_32) blocks_##name##_32(CONSTANT_ARG BlocksArgs a) { blocks<type, 4>(a); }  \
  GLOBAL BOUNDS(256, 1) blocks_##name##_64(CONSTANT_ARG BlocksArgs a) { blocks<type, 8>(a); }
BLOCKS_OF(q8_0, T_Q8_0, 2)
BLOCKS_OF(q4_k, T_Q4_K, 2)
BLOCKS_OF(q6_k, T_Q6_K, 1)
