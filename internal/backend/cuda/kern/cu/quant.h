// Quantised weights: E4M3 with a scale a row, and GGUF's Q8_0, Q4_K and Q6_K.
//
// For up to four tokens GGUF's blocks are multiplied as they lie, in integers (gemv.h); for more, in f16 (blocks.h); for
// many, all are decoded to bf16 first, and multiplied as that. Q8_0 and Q6_K are stored with their scales
// apart, so that what is read in 16 bytes lies at a multiple of 16.
#pragma once
#include "ops.h"

enum { T_F32 = 0, T_F16 = 1, T_Q8_0 = 8, T_Q4_K = 12, T_Q6_K = 14, T_BF16 = 30, T_E4M3 = 100 };

// Matrix is a weight on the device.
struct Matrix {
  const void *at, *scales; // scales: f32 a row (E4M3), f16 a block (Q8_0, Q6_K)
  int rows, cols, ld, type; // ld: elements of a row as stored (bf16, E4M3)
};

// Where a raw block's parts go: a thread a block.
struct RepackArgs {
  const u8 *from;
  u8 *to;
  u16 *scales;
  s64 blocks;
  int type;
};
GLOBAL BOUNDS(256, 4) repack(CONSTANT_ARG RepackArgs a) {
  s64 b = (s64)bx * 256 + tid;
  if (b >= a.blocks) return;
  int bytes = a.type == T_Q8_0 ? 32 : 208;
  const u16 *from = (const u16 *)(a.from + b * (bytes + 2));
  u16 *to = (u16 *)(a.to + b * bytes);
  int skip = a.type == T_Q8_0 ? 1 : 0; // where the scale is: before, or behind
  for (int i = 0; i < bytes / 2; i++) to[i] = from[i + skip];
  a.scales[b] = a.type == T_Q8_0 ? from[0] : from[104];
}

// Plain numbers to bf16 rows padded with zeros.
struct ConvertArgs {
  const void *from;
  u16 *to;
  s64 rows;
  int cols, ld, type;
};
GLOBAL BOUNDS(256, 4) convert(CONSTANT_ARG ConvertArgs a) {
  s64 i = (s64)bx * 256 + tid;
  if (i >= a.rows * a.ld) return;
  s64 r = i / a.ld;
  int c = (int)(i % a.ld);
  u16 v = 0;
  if (c < a.cols) {
    s64 at = r * a.cols + c;
    v = a.type == T_F32 ? to_bf16(((const float *)a.from)[at]) : a.type == T_F16 ? to_bf16(f16_f(((const u16 *)a.from)[at])) : ((const u16 *)a.from)[at];
  }
  a.to[i] = v;
}

DEVICE float greatest(u32 two) { return fmax_(bits<float>(two << 16 & 0x7fffffffu), bits<float>(two & 0x7fff0000u)); }

// row_scale is what the threads' greatest becomes 448 by; its inverse is the row's scale.
template <int THREADS> DEVICE float row_scale(float top, float *scale) {
  SHARED float part[THREADS / 32];
  top = warp_max(top);
  if (tid % 32 == 0) part[tid / 32] = top;
  sync();
  UNROLL for (int i = 0; i < THREADS / 32; i++) top = fmax_(top, part[i]);
  if (tid == 0) *scale = top / 448.0f;
  return top > 0 ? 448.0f / top : 0;
}

// row_e4m3 makes a row of E4M3 with a scale, in a block of THREADS: get gives the 8
// elements of column c in bf16 and is called twice where a row is longer than
// KEEP * THREADS * 8. The row's greatest becomes 448.
template <int THREADS, int KEEP, class F> DEVICE void row_e4m3(u8 *to, float *scale, int ld, F get) {
  uint4 keep[KEEP];
  float top = 0;
  auto look = [&](uint4 v) INLINE { top = fmax_(fmax_(top, greatest(v.x)), fmax_(greatest(v.y), fmax_(greatest(v.z), greatest(v.w)))); };
  UNROLL for (int i = 0; i < KEEP; i++) {
    int c = (i * THREADS + tid) * 8;
    if (c >= ld) continue;
    keep[i] = get(c);
    look(keep[i]);
  }
  for (int c = (KEEP * THREADS + tid) * 8; c < ld; c += THREADS * 8) look(get(c));
  float f = row_scale<THREADS>(top, scale);
  auto give = [&](int c, uint4 v) INLINE {
    u32 lo = e4m3x2(bf16_lo(v.x) * f, bf16_hi(v.x) * f) | e4m3x2(bf16_lo(v.y) * f, bf16_hi(v.y) * f) << 16;
    u32 hi = e4m3x2(bf16_lo(v.z) * f, bf16_hi(v.z) * f) | e4m3x2(bf16_lo(v.w) * f, bf16_hi(v.w) * f) << 16;
    *(u64 *)(to + c) = lo | (u64)hi << 32;
  };
  UNROLL for (int i = 0; i < KEEP; i++) {
    int c = (i * THREADS + tid) * 8;
    if (c < ld) give(c, keep[i]);
  }
  for (int c = (KEEP * THREADS + tid) * 8; c < ld; c += THREADS * 8) give(c, get(c));
}

// bf16 rows to E4M3: a block a row.
struct E4M3Args {
  const u16 *from;
  u8 *to;
  float *scales;
  const int *count;
  int ld, pad; // of both; a multiple of 64
};
GLOBAL BOUNDS(256, 4) to_e4m3_rows(CONSTANT_ARG E4M3Args a) {
  let_next();
  wait_ahead();
  int row = bx;
  if (row >= *a.count) return;
  row_e4m3<256, 2>(a.to + (u64)row * a.ld, a.scales + row, a.ld, [&](int c) INLINE { return load4(a.from + (u64)row * a.ld + c); });
}

DEVICE uint4 bf16x8(const float *v) { return {bf16x2(v[0], v[1]), bf16x2(v[2], v[3]), bf16x2(v[4], v[5]), bf16x2(v[6], v[7])}; }
// Eight neighbours; ld is a multiple of 8, or of 4 with nothing beyond cols.
DEVICE void act_get8(const Act &a, int row, int c, int cols, float *v) {
  if (c + 8 <= cols && a.type == BF16) {
    uint4 h = load4((const u16 *)a.at + (u64)row * a.ld + c);
    v[0] = bf16_lo(h.x), v[1] = bf16_hi(h.x), v[2] = bf16_lo(h.y), v[3] = bf16_hi(h.y);
    v[4] = bf16_lo(h.z), v[5] = bf16_hi(h.z), v[6] = bf16_lo(h.w), v[7] = bf16_hi(h.w);
    return;
  }
  UNROLL for (int i = 0; i < 8; i += 4) {
    float4 f = {0, 0, 0, 0};
    if (c + i < cols) f = act_get4(a, row, c + i);
    v[i] = f.x, v[i + 1] = f.y, v[i + 2] = f.z, v[i + 3] = f.w;
  }
}

// pairwise, and norm, whose results only products in E4M3 read: their bf16 is
// rounded to E4M3 where it arises, with the bits that to_e4m3_rows would give.
struct GateE4M3Args {
  PairArgs pair; // dst is not written
  u8 *to;
  float *scales;
  int ld, pad;
};
template <int THREADS, int KEEP> DEVICE void gate_row(const GateE4M3Args &a, int row) {
  row_e4m3<THREADS, KEEP>(a.to + (u64)row * a.ld, a.scales + row, a.ld, [&](int c) INLINE {
    float x[8], y[8];
    act_get8(a.pair.x, row, c, a.pair.cols, x);
    act_get8(a.pair.y, row, c, a.pair.cols, y);
    UNROLL for (int i = 0; i < 8; i++) x[i] = gated(a.pair.what, x[i], y[i]);
    return bf16x8(x);
  });
}
GLOBAL BOUNDS(256, 4) gate_e4m3(CONSTANT_ARG GateE4M3Args a) {
  let_next();
  wait_ahead();
  if (bx < *a.pair.count) gate_row<256, 7>(a, bx);
}

struct NormE4M3Args {
  NormArgs norm; // dst is not written
  u8 *to;
  float *scales;
  int ld, pad;
};
GLOBAL BOUNDS(256, 4) norm_e4m3(CONSTANT_ARG NormE4M3Args a) {
  let_next();
  wait_ahead();
  int row = bx;
  const NormArgs &n = a.norm;
  if (row >= *n.count) return;
  float f = row_norm(n, row);
  row_e4m3<256, 2>(a.to + (u64)row * a.ld, a.scales + row, a.ld, [&](int c) INLINE {
    float v[8], w[8];
    act_get8(n.x, row, c, n.cols, v);
    act_get8({(void *)n.w, 0, F32}, 0, c, n.cols, w);
    UNROLL for (int i = 0; i < 8; i++) v[i] = v[i] * f * w[i];
    return bf16x8(v);
  });
}

// norm_e4m3_4096 is norm_e4m3 of rows of at most 4096: they stay in registers. The sum is
// made in row_norm's order.
GLOBAL BOUNDS(256, 5) norm_e4m3_4096(CONSTANT_ARG NormE4M3Args a) {
  let_next();
  wait_ahead();
  constexpr int N = 4;
  const NormArgs &n = a.norm;
  int row = bx;
  if (row >= *n.count) return;
  float4 v[N], d[N];
  float sum = 0, top = 0;
  UNROLL for (int i = 0; i < N; i++) {
    int c = (i * 256 + tid) * 4;
    v[i] = c < n.cols ? act_get4(n.x, row, c) : float4{0, 0, 0, 0};
    d[i] = n.add && c < n.cols ? act_get4(n.delta, row, c) : float4{0, 0, 0, 0};
  }
  UNROLL for (int i = 0; i < N; i++) {
    int c = (i * 256 + tid) * 4;
    if (n.add) v[i] = {v[i].x + d[i].x, v[i].y + d[i].y, v[i].z + d[i].z, v[i].w + d[i].w};
    sum += v[i].x * v[i].x + v[i].y * v[i].y + v[i].z * v[i].z + v[i].w * v[i].w;
    if (!n.add || c >= n.cols) continue;
    act_put4(n.x, row, c, v[i]);
    if (n.x.type != F32) v[i] = act_get4(n.x, row, c);
  }
  float f = rsqrt_(block_sum(sum) / (float)n.cols + n.eps);
  uint2 half[N];
  UNROLL for (int i = 0; i < N; i++) {
    int c = (i * 256 + tid) * 4;
    float4 w = c < n.cols ? *(const float4 *)(n.w + c) : float4{0, 0, 0, 0};
    half[i] = {bf16x2(v[i].x * f * w.x, v[i].y * f * w.y), bf16x2(v[i].z * f * w.z, v[i].w * f * w.w)};
    top = fmax_(top, fmax_(greatest(half[i].x), greatest(half[i].y)));
  }
  float g = row_scale<256>(top, a.scales + row);
  UNROLL for (int i = 0; i < N; i++) {
    int c = (i * 256 + tid) * 4;
    if (c < a.ld) *(u32 *)(a.to + (u64)row * a.ld + c) = e4m3x2(bf16_lo(half[i].x) * g, bf16_hi(half[i].x) * g) | e4m3x2(bf16_lo(half[i].y) * g, bf16_hi(half[i].y) * g) << 16;
  }
}

// scale_q4_k is the scale and the minimum of a block's part of 32.
DEVICE void scale_q4_k(const u8 *b, int sub, float *scale, float *min) {
  uint4 v = load4(b);
  int at = sub % 4 * 8;
  u32 sc = v.y >> at & 63, mn = v.z >> at & 63;
  if (sub >= 4) sc = (v.w >> at & 15) | (v.y >> (at + 6) & 3) << 4, mn = (v.w >> (at + 4) & 15) | (v.z >> (at + 6) & 3) << 4;
  *scale = f16_lo(v.x) * (float)sc;
  *min = f16_hi(v.x) * (float)mn;
}

// Elements c and c+1 (c even) of a row.
DEVICE void decode2(const Matrix &m, s64 row, int c, float *lo, float *hi) {
  if (m.type == T_BF16) {
    u32 v = *(const u32 *)((const u16 *)m.at + row * m.ld + c);
    *lo = bf16_lo(v), *hi = bf16_hi(v);
  } else if (m.type == T_E4M3) {
    u32 v = e4m3_lo(*(const u16 *)((const u8 *)m.at + row * m.ld + c));
    float s = ((const float *)m.scales)[row] * E4M3_SCALE;
    *lo = f16_lo(v) * s, *hi = f16_hi(v) * s;
  } else if (m.type == T_Q8_0) {
    s64 b = row * (m.cols / 32) + c / 32;
    float d = f16_f(((const u16 *)m.scales)[b]);
    const s8 *q = (const s8 *)m.at + b * 32 + c % 32;
    *lo = d * q[0], *hi = d * q[1];
  } else if (m.type == T_Q4_K) {
    const u8 *b = (const u8 *)m.at + (row * (m.cols / 256) + c / 256) * 144;
    int e = c % 256, sub = e / 32;
    float sc, mn;
    scale_q4_k(b, sub, &sc, &mn);
    const u8 *q = b + 16 + (sub / 2) * 32 + e % 32;
    int s = sub % 2 * 4;
    *lo = sc * (q[0] >> s & 15) - mn, *hi = sc * (q[1] >> s & 15) - mn;
  } else {
    s64 b = row * (m.cols / 256) + c / 256;
    const u8 *at = (const u8 *)m.at + b * 208;
    float d = f16_f(((const u16 *)m.scales)[b]);
    int e = c % 256, n = e / 128, r = e % 128, l = r % 32, g = r / 32;
    const u8 *ql = at + n * 64 + (g & 1) * 32 + l, *qh = at + 128 + n * 32 + l;
    int sc = ((const s8 *)at)[192 + n * 8 + g * 2 + l / 16];
    int a0 = (ql[0] >> (g / 2 * 4) & 15) | (qh[0] >> (2 * g) & 3) << 4, a1 = (ql[1] >> (g / 2 * 4) & 15) | (qh[1] >> (2 * g) & 3) << 4;
    *lo = d * sc * (a0 - 32), *hi = d * sc * (a1 - 32);
  }
}

// Eight elements of a row from c, a multiple of 8, in bf16: GGUF's blocks by words.
DEVICE uint4 decode8(const Matrix &m, s64 row, int c) {
  float v[8];
  auto bytes = [&](uint2 q, float scale, float less) INLINE {
    UNROLL for (int i = 0; i < 8; i++) v[i] = scale * (float)((i < 4 ? q.x : q.y) >> (i % 4 * 8) & 255) - less;
  };
  if (m.type == T_Q4_K) {
    const u8 *b = (const u8 *)m.at + (row * (m.cols / 256) + c / 256) * 144;
    int sub = c % 256 / 32, s = sub % 2 * 4;
    float sc, mn;
    scale_q4_k(b, sub, &sc, &mn);
    uint2 q = *(const uint2 *)(b + 16 + sub / 2 * 32 + c % 32);
    bytes({q.x >> s & 0x0f0f0f0fu, q.y >> s & 0x0f0f0f0fu}, sc, mn);
  } else if (m.type == T_Q6_K) {
    s64 b = row * (m.cols / 256) + c / 256;
    const u8 *at = (const u8 *)m.at + b * 208;
    int n = c % 256 / 128, g = c % 128 / 32, l = c % 32, s = g / 2 * 4;
    uint2 lo = *(const uint2 *)(at + n * 64 + g % 2 * 32 + l), hi = *(const uint2 *)(at + 128 + n * 32 + l);
    float sc = f16_f(((const u16 *)m.scales)[b]) * (float)((const s8 *)at)[192 + n * 8 + g * 2 + l / 16];
    bytes({(lo.x >> s & 0x0f0f0f0fu) | (hi.x >> 2 * g & 0x03030303u) << 4, (lo.y >> s & 0x0f0f0f0fu) | (hi.y >> 2 * g & 0x03030303u) << 4}, sc, 32 * sc);
  } else if (m.type == T_Q8_0) {
    s64 b = row * (m.cols / 32) + c / 32;
    uint2 q = *(const uint2 *)((const u8 *)m.at + b * 32 + c % 32);
    float sc = f16_f(((const u16 *)m.scales)[b]);
    bytes({q.x ^ 0x80808080u, q.y ^ 0x80808080u}, sc, 128 * sc);
  } else UNROLL for (int i = 0; i < 8; i += 2) decode2(m, row, c + i, v + i, v + i + 1);
  return {bf16x2(v[0], v[1]), bf16x2(v[2], v[3]), bf16x2(v[4], v[5]), bf16x2(v[6], v[7])};
}

// A weight to bf16 [rows, ld], ld a multiple of 64, padded with zeros.
struct DecodeArgs {
  Matrix m;
  u16 *to;
  int ld;
};
GLOBAL BOUNDS(256, 4) decode(CONSTANT_ARG DecodeArgs a) {
  let_next();
  wait_ahead();
  for (s64 row = bx; row < a.m.rows; row += gx)
    for (int c = tid * 8; c < a.ld; c += 2048) {
      uint4 v = {0, 0, 0, 0};
      if (c < a.m.cols) v = decode8(a.m, row, c);
      *(uint4 *)(a.to + row * a.ld + c) = v;
    }
}

struct EmbedArgs {
  Matrix m;
  float *dst;
  const int *meta, *slots; // slots: tokens on the device
  int ld;
  float scale;
};
// Whatever begins after this one finds that all before it have ended, copies of
// cells among them: attention may read older positions without waiting.
GLOBAL BOUNDS(256, 4) embed(CONSTANT_ARG EmbedArgs a) {
  wait_ahead();
  let_next();
  int row = bx;
  if (row >= a.meta[ROWS]) return;
  int slot = field(a.meta, SLOT)[row], token = slot > 0 ? a.slots[slot - 1] : field(a.meta, TOKEN)[row];
  for (int c = tid * 2; c < a.m.cols; c += 512) {
    float lo, hi;
    decode2(a.m, token, c, &lo, &hi);
    a.dst[(u64)row * a.ld + c] = lo * a.scale;
    a.dst[(u64)row * a.ld + c + 1] = hi * a.scale;
  }
}

// Random weights: numbers near 1/sqrt(cols) in size, for measuring.
struct RandomArgs {
  void *to;
  float *scales;
  s64 n; // bytes / 4
  u32 seed;
  int kind; // T_BF16 or T_E4M3
  float size;
};
GLOBAL BOUNDS(256, 4) random_fill(CONSTANT_ARG RandomArgs a) {
  for (s64 i = (s64)bx * 256 + tid; i < a.n; i += (s64)gx * 256) {
    u32 x = (u32)i * 2654435761u ^ a.seed;
    x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
    if (a.kind == T_BF16) ((u32 *)a.to)[i] = bf16x2(((float)(x & 0xffff) / 32768 - 1) * a.size, ((float)(x >> 16) / 32768 - 1) * a.size);
    else ((u32 *)a.to)[i] = x & 0xf7f7f7f7u; // exponents below 15: no NaN
  }
}
