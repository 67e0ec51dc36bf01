// Operations that are bound by memory: look-ups, norms, residuals, gates, rotation
// with the write into the KV cache. Each computes in float32.
#pragma once
#include "linear.h"

// A step's metadata is one block of ints: what is where stands at its head, so
// that one copy of what a step uses brings it all, and the addresses that a
// recorded step reads never change.
enum { ROWS = 0, WANTS, SEQS, TOKEN, POS, SEQ, WANT, STORED, TREE_START, TREE, SLOT, FEW, FEW_COUNT, MANY, MANY_COUNT, GROUPS = 16 };
enum { CELL = 0, FIRST, TABLE, PAGES, GROUP_INTS }; // of each KV group, from GROUPS
DEVICE const int *field(const int *meta, int what) { return meta + meta[what]; }
DEVICE const int *group_field(const int *meta, int group, int what) { return meta + meta[GROUPS + group * GROUP_INTS + what]; }

// Act is an activation as an operation finds it.
struct Act {
  void *at;
  int ld, type;
};

DEVICE float act_get(const Act &a, int row, int col) {
  u64 i = (u64)row * a.ld + col;
  if (a.type == F32) return ((const float *)a.at)[i];
  u16 h = ((const u16 *)a.at)[i];
  return a.type == BF16 ? bf16_f(h) : f16_f(h);
}
// Four neighbours; col and ld are multiples of 4.
DEVICE float4 act_get4(const Act &a, int row, int col) {
  u64 i = (u64)row * a.ld + col;
  if (a.type == F32) return *(const float4 *)((const float *)a.at + i);
  uint2 h = *(const uint2 *)((const u16 *)a.at + i);
  if (a.type == BF16) return {bf16_lo(h.x), bf16_hi(h.x), bf16_lo(h.y), bf16_hi(h.y)};
  return {f16_lo(h.x), f16_hi(h.x), f16_lo(h.y), f16_hi(h.y)};
}
DEVICE void act_put4(const Act &a, int row, int col, float4 v) {
  u64 i = (u64)row * a.ld + col;
  if (a.type == F32) *(float4 *)((float *)a.at + i) = v;
  else *(uint2 *)((u16 *)a.at + i) = {bf16x2(v.x, v.y), bf16x2(v.z, v.w)};
}
DEVICE void act_put(const Act &a, int row, int col, float v) {
  u64 i = (u64)row * a.ld + col;
  if (a.type == F32) ((float *)a.at)[i] = v;
  else ((u16 *)a.at)[i] = to_bf16(v);
}

#define ntid ((int)__nvvm_read_ptx_sreg_ntid_x())

// block_sum adds over a block of at most 1024 threads.
DEVICE float block_sum(float v) {
  SHARED float part[32];
  v = warp_sum(v);
  if (tid % 32 == 0) part[tid / 32] = v;
  sync();
  v = tid % 32 < ntid / 32 ? part[tid % 32] : 0;
  v = warp_sum(v);
  sync();
  return v;
}

struct NormArgs {
  Act dst, x, delta;
  const float *w;
  const int *count; // rows
  int cols, add;
  float eps;
};

// row_norm is the factor that normalises a row. With add, x += delta first, and x
// keeps it.
DEVICE float row_norm(const NormArgs &a, int row) {
  float sum = 0;
  for (int c = tid * 4; c < a.cols; c += ntid * 4) {
    float4 v = act_get4(a.x, row, c);
    if (a.add) {
      float4 d = act_get4(a.delta, row, c);
      v = {v.x + d.x, v.y + d.y, v.z + d.z, v.w + d.w};
      act_put4(a.x, row, c, v);
    }
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  return rsqrt_(block_sum(sum) / (float)a.cols + a.eps);
}

// A block a row.
GLOBAL BOUNDS(256, 4) norm(CONSTANT_ARG NormArgs a) {
  let_next();
  wait_ahead();
  int row = bx;
  if (row >= *a.count) return;
  float f = row_norm(a, row);
  for (int c = tid * 4; c < a.cols; c += ntid * 4) {
    float4 v = act_get4(a.x, row, c), w = *(const float4 *)(a.w + c);
    act_put4(a.dst, row, c, {v.x * f * w.x, v.y * f * w.y, v.z * f * w.z, v.w * f * w.w});
  }
}

struct PairArgs {
  Act dst, x, y;
  const int *count;
  int cols, what;
};
enum { ADD = 0, GATE_SILU, GATE_GELU, COPY };
DEVICE float gated(int what, float x, float y) {
  if (what == GATE_SILU) return x * rcp_(1 + exp_(-x)) * y;
  return 0.5f * x * (1 + tanh_(0.7978845608028654f * (x + 0.044715f * x * x * x))) * y;
}

// dst = x + y, or act(x) * y, or x. A block a row.
GLOBAL BOUNDS(256, 4) pairwise(CONSTANT_ARG PairArgs a) {
  let_next();
  wait_ahead();
  int row = bx;
  if (row >= *a.count) return;
  for (int c = (by * 256 + tid) * 4; c < a.cols; c += (int)__nvvm_read_ptx_sreg_nctaid_y() * 1024) {
    float4 x = act_get4(a.x, row, c), y = act_get4(a.y, row, c);
    float v[4] = {x.x, x.y, x.z, x.w}, u[4] = {y.x, y.y, y.z, y.w};
    if (a.what != COPY) {
      UNROLL for (int i = 0; i < 4; i++) v[i] = a.what == ADD ? v[i] + u[i] : gated(a.what, v[i], u[i]);
    }
    act_put4(a.dst, row, c, {v[0], v[1], v[2], v[3]});
  }
}

struct GatherArgs {
  Act dst, x;
  const int *meta;
  int cols;
};
GLOBAL BOUNDS(256, 4) gather(CONSTANT_ARG GatherArgs a) {
  let_next();
  wait_ahead();
  if (bx >= a.meta[WANTS]) return;
  int row = field(a.meta, WANT)[bx];
  for (int c = tid * 4; c < a.cols; c += 1024) act_put4(a.dst, bx, c, act_get4(a.x, row, c));
}

// The logits' factor and soft cap, where a model has one.
struct CapArgs {
  float *x;
  const int *count;
  int cols;
  float factor, softcap;
};
GLOBAL BOUNDS(256, 4) cap(CONSTANT_ARG CapArgs a) {
  let_next();
  wait_ahead();
  if (by >= *a.count) return;
  for (int c = bx * 256 + tid; c < a.cols; c += gx * 256) {
    float v = a.x[(u64)by * a.cols + c] * a.factor;
    a.x[(u64)by * a.cols + c] = a.softcap > 0 ? a.softcap * tanh_(v * rcp_(a.softcap)) : v;
  }
}

// A layer's keys and values: [cells, heads*dim]. Besides F16, F32 and BF16 (linear.h)
// they are E4M3, or bytes with a scale for 32 of a head.
enum { KEPT_E4M3 = 3, KEPT_Q8 = 4 };
struct Cache {
  void *k, *v;
  u16 *ks, *vs; // of KEPT_Q8: f16 [cells, heads*dim/32]
  int heads, dim, type;
  int group, page, window;
};

DEVICE int cell_of(const int *meta, const Cache &c, int seq, int pos) {
  int first = group_field(meta, c.group, FIRST)[seq], table = group_field(meta, c.group, TABLE)[seq];
  return group_field(meta, c.group, PAGES)[table + pos / c.page - first] * c.page + pos % c.page;
}

struct RopeArgs {
  Act q, k, v, qout;    // qout: q's rotated heads, f16 or f32 as the cache's keys
  Cache cache;
  const double *turns;  // [dim/2]: turns a position; nil: nothing rotates
  const float *qnorm, *knorm;
  const int *meta;
  int heads, rotated, interleaved; // rotated: elements of a head
  float scale, eps;
};

// Angle is how a position turns what a lane has of a head: pairs lane, lane+32, ...
struct Angle {
  float c[4], s[4];

  METHOD void of(const RopeArgs &a, int pos, int lane) {
    UNROLL for (int j = 0; j < 4; j++) {
      int p = lane + 32 * j;
      c[j] = 1, s[j] = 0;
      if (!a.turns || p >= a.rotated / 2) continue;
      double t = (double)pos * a.turns[p]; // in turns, so that the whole ones drop out exactly
      float angle = (float)(t - rint_(t)) * 6.283185307179586f;
      c[j] = cos_(angle) * a.scale, s[j] = sin_(angle) * a.scale;
    }
  }
};

// Head is a head of a row in a warp. kind is 0 for queries, 1 for keys, 2 for values,
// which stay as they are.
struct Head {
  float x[4], y[4]; // up to 256 elements
  int ix[4], iy[4];

  METHOD void load(const RopeArgs &a, int row, int head, int kind, int lane) {
    int dim = a.cache.dim;
    const Act &from = kind == 0 ? a.q : kind == 1 ? a.k : a.v;
    UNROLL for (int j = 0; j < 4; j++) {
      int p = lane + 32 * j, half = a.rotated / 2;
      if (p >= dim / 2) continue;
      if (p >= half) ix[j] = 2 * p, iy[j] = 2 * p + 1;
      else if (a.interleaved) ix[j] = 2 * p, iy[j] = 2 * p + 1;
      else ix[j] = p, iy[j] = p + half;
      x[j] = act_get(from, row, head * dim + ix[j]);
      y[j] = act_get(from, row, head * dim + iy[j]);
    }
  }

  // turn normalises and rotates it and gives its elements to put.
  template <class F> METHOD void turn(const RopeArgs &a, const Angle &angle, int kind, int lane, F put) {
    int dim = a.cache.dim;
    const float *w = kind == 0 ? a.qnorm : kind == 1 ? a.knorm : nullptr;
    if (w) {
      float sum = 0;
      UNROLL for (int j = 0; j < 4; j++) if (lane + 32 * j < dim / 2) sum += x[j] * x[j] + y[j] * y[j];
      float f = rsqrt_(warp_sum(sum) / (float)dim + a.eps);
      UNROLL for (int j = 0; j < 4; j++) {
        if (lane + 32 * j >= dim / 2) continue;
        x[j] *= f * w[ix[j]];
        y[j] *= f * w[iy[j]];
      }
    }
    if (a.turns && kind < 2) {
      UNROLL for (int j = 0; j < 4; j++) {
        if (lane + 32 * j >= a.rotated / 2) continue;
        float u = x[j], v = y[j];
        x[j] = u * angle.c[j] - v * angle.s[j];
        y[j] = u * angle.s[j] + v * angle.c[j];
      }
    }
    sync_warp(); // put may write where q was
    UNROLL for (int j = 0; j < 4; j++) {
      if (lane + 32 * j >= dim / 2) continue;
      put(ix[j], x[j]);
      put(iy[j], y[j]);
    }
  }
};
template <class F> DEVICE void turn_head(const RopeArgs &a, const Angle &angle, int row, int head, int kind, int lane, F put) {
  Head h;
  h.load(a, row, head, kind, lane);
  h.turn(a, angle, kind, lane, put);
}

// keep_head stores what a warp has in shared memory as a head of the cache.
DEVICE void keep_head(const Cache &c, bool value, u64 head, const float *from, int lane) {
  u8 *to = (u8 *)(value ? c.v : c.k);
  for (int i = lane; i < c.dim; i += 32) {
    u64 at = head * c.dim + i;
    float v = from[i];
    if (c.type == F32) ((float *)to)[at] = v;
    else if (c.type == F16) ((u16 *)to)[at] = to_f16(v);
    else if (c.type == BF16) ((u16 *)to)[at] = to_bf16(v);
    else if (c.type == KEPT_E4M3) to[at] = to_e4m3(v);
    else { // heads are whole blocks of 32
      float top = warp_max(bits<float>(bits<u32>(v) & 0x7fffffffu));
      u16 scale = to_f16(top * (1.0f / 127));
      float d = f16_f(scale);
      int q;
      asm("cvt.rni.s32.f32 %0, %1;" : "=r"(q) : "f"(d > 0 ? v / d : 0.0f));
      to[at] = (u8)imax(-127, imin(127, q));
      if (lane == 0) (value ? c.vs : c.ks)[at / 32] = scale;
    }
  }
}

// A warp a head of a row: queries, then keys, then values.
GLOBAL BOUNDS(256, 4) rope_write(CONSTANT_ARG RopeArgs a) {
  let_next();
  wait_ahead();
  int row = bx, head = by * 8 + tid / 32, lane = tid % 32;
  if (row >= a.meta[ROWS] || head >= a.heads + 2 * a.cache.heads) return;
  int kind = head < a.heads ? 0 : head < a.heads + a.cache.heads ? 1 : 2;
  head -= kind == 0 ? 0 : kind == 1 ? a.heads : a.heads + a.cache.heads;
  int dim = a.cache.dim, cell = group_field(a.meta, a.cache.group, CELL)[row];
  SHARED float heads[8][256];
  float *mine = heads[tid / 32];
  u64 at = (u64)row * a.qout.ld + head * dim;
  Angle angle;
  angle.of(a, field(a.meta, POS)[row], lane);
  turn_head(a, angle, row, head, kind, lane, [&](int i, float v) INLINE {
    if (kind) mine[i] = v;
    else if (a.cache.type == F32) ((float *)a.qout.at)[at + i] = v;
    else ((u16 *)a.qout.at)[at + i] = to_f16(v);
  });
  sync_warp();
  if (kind) keep_head(a.cache, kind == 2, (u64)cell * a.cache.heads + head, mine, lane);
}

// rope_rows is rope_write for rows whose heads only turn, in all of their elements,
// without norms: a block a row, which works its angles out once. The cache has no scales and is
// not F32; heads are of a multiple of 8.
GLOBAL BOUNDS(256, 4) rope_rows(CONSTANT_ARG RopeArgs a) {
  let_next();
  wait_ahead();
  int row = bx;
  if (row >= a.meta[ROWS]) return;
  SHARED float cs[128], sn[128];
  int dim = a.cache.dim, half = dim / 2, pos = field(a.meta, POS)[row];
  for (int p = tid; p < half; p += 256) {
    double t = (double)pos * a.turns[p];
    float angle = (float)(t - rint_(t)) * 6.283185307179586f;
    cs[p] = cos_(angle) * a.scale, sn[p] = sin_(angle) * a.scale;
  }
  u64 cell = (u64)group_field(a.meta, a.cache.group, CELL)[row] * a.cache.heads;
  sync();
  int quads = half / 4, heads = a.heads + 2 * a.cache.heads;
  for (int i = tid; i < heads * quads; i += 256) { // four pairs
    int head = i / quads, p = i % quads * 4, kind = head < a.heads ? 0 : head < a.heads + a.cache.heads ? 1 : 2;
    head -= kind == 0 ? 0 : kind == 1 ? a.heads : a.heads + a.cache.heads;
    const Act &from = kind == 0 ? a.q : kind == 1 ? a.k : a.v;
    int i0 = a.interleaved ? 2 * p : p, i1 = a.interleaved ? 2 * p + 4 : p + half; // of four neighbours each
    float4 x = act_get4(from, row, head * dim + i0), y = act_get4(from, row, head * dim + i1);
    float u[4] = {x.x, x.y, x.z, x.w}, v[4] = {y.x, y.y, y.z, y.w};
    auto turn = [&](float &first, float &second, int j) INLINE {
      float w = first;
      first = w * cs[p + j] - second * sn[p + j];
      second = w * sn[p + j] + second * cs[p + j];
    };
    if (kind < 2 && a.interleaved) turn(u[0], u[1], 0), turn(u[2], u[3], 1), turn(v[0], v[1], 2), turn(v[2], v[3], 3);
    else if (kind < 2) UNROLL for (int j = 0; j < 4; j++) turn(u[j], v[j], j);
    u64 at = kind == 0 ? (u64)row * a.qout.ld + head * dim : (cell + head) * dim;
    u8 *to = (u8 *)(kind == 0 ? a.qout.at : kind == 1 ? a.cache.k : a.cache.v);
    auto put = [&](u64 at, const float *w) INLINE {
      if (kind && a.cache.type == KEPT_E4M3) *(u32 *)(to + at) = to_e4m3(w[0]) | to_e4m3(w[1]) << 8 | to_e4m3(w[2]) << 16 | (u32)to_e4m3(w[3]) << 24;
      else if (kind && a.cache.type == BF16) *(uint2 *)((u16 *)to + at) = {bf16x2(w[0], w[1]), bf16x2(w[2], w[3])};
      else *(uint2 *)((u16 *)to + at) = {f16x2(w[0], w[1]), f16x2(w[2], w[3])};
    };
    put(at + i0, u);
    put(at + i1, v);
  }
}

// Copies of cells, in order within a layer. copies is [n, 2]: from, to.
struct CopyArgs {
  const u64 *layers; // [layers, 2]: where keys and values are
  const int *copies;
  int n, bytes; // of a cell's keys
};
// The next kernel begins when this has ended: see embed.
GLOBAL BOUNDS(256, 4) copy_cells(CONSTANT_ARG CopyArgs a) {
  wait_ahead();
  u8 *at = (u8 *)a.layers[bx * 2 + by];
  for (int i = 0; i < a.n; i++) {
    const u8 *from = at + (u64)a.copies[2 * i] * a.bytes;
    u8 *to = at + (u64)a.copies[2 * i + 1] * a.bytes;
    for (int b = tid * 4; b < a.bytes; b += 1024) *(u32 *)(to + b) = *(const u32 *)(from + b);
    sync();
  }
}

// The highest logit of each row, the lowest id among equals; -1 where none is
// above -Inf. A block a row.
struct PickArgs {
  const float *x;
  int *best;
  const int *count;
  int cols, pad;
};
// A block a row; the first of equals.
GLOBAL BOUNDS(1024, 1) pick(CONSTANT_ARG PickArgs a) {
  let_next();
  wait_ahead();
  if (bx >= *a.count) return;
  const float *x = a.x + (u64)bx * a.cols;
  float top = -INF;
  int at = -1, c = tid;
  auto look = [&](float v, int i) INLINE {
    if (v > top) top = v, at = i;
  };
  if (a.cols % 4 == 0) { // many loads on their way at once
    c = tid * 4;
    for (; c + 3 * 4096 < a.cols; c += 4 * 4096) {
      float4 v[4];
      UNROLL for (int i = 0; i < 4; i++) v[i] = *(const float4 *)(x + c + i * 4096);
      UNROLL for (int i = 0; i < 4; i++) look(v[i].x, c + i * 4096), look(v[i].y, c + i * 4096 + 1), look(v[i].z, c + i * 4096 + 2), look(v[i].w, c + i * 4096 + 3);
    }
    for (; c < a.cols; c += 4096) {
      float4 v = *(const float4 *)(x + c);
      look(v.x, c), look(v.y, c + 1), look(v.z, c + 2), look(v.w, c + 3);
    }
  } else for (; c < a.cols; c += 1024) look(x[c], c);
  SHARED float tops[32];
  SHARED int ats[32];
  UNROLL for (int m = 16; m; m >>= 1) {
    float v = shfl_xor(top, m);
    int i = shfl_xor(at, m);
    if (v > top || (v == top && (u32)i < (u32)at)) top = v, at = i; // -1 is the greatest
  }
  if (tid % 32 == 0) tops[tid / 32] = top, ats[tid / 32] = at;
  sync();
  if (tid >= 32) return;
  top = tops[tid], at = ats[tid];
  UNROLL for (int m = 16; m; m >>= 1) {
    float v = shfl_xor(top, m);
    int i = shfl_xor(at, m);
    if (v > top || (v == top && (u32)i < (u32)at)) top = v, at = i;
  }
  if (tid == 0) a.best[bx] = at;
}
