// Attention over the pages of the KV cache.
//
// attend_any takes every case: any head size up to 256, draft trees, sinks, soft
// caps, keys and values in f16 or f32. attend_turn, attend_few (decode.h), attend_one (one.h) and
// attend_many are for heads of 64 and 128 without trees and soft caps: the first three for a generated
// token or a few, with the positions shared out over warps and blocks; the last for prompts.
#pragma once
#include "ops.h"

struct AttendArgs {
  Act q, dst; // q: f16, or f32 with a cache of f32
  Cache cache;
  const int *meta;
  const float *sinks; // [heads], or nil
  int heads;
  float scale, softcap;
  int beside; // attend_wide and attend_few run side by side: see beside.go
  // attend_turn, attend_few and attend_one: where the parts of a row meet.
  float *work;
  u32 *counts;
};

DEVICE int first_seen(int pos, int window) { return window == 0 || pos < window ? 0 : pos - window + 1; }

template <class T> DEVICE float kv_get(const void *p, u64 i) {
  if constexpr (sizeof(T) == 4) return ((const float *)p)[i];
  else return f16_f(((const u16 *)p)[i]);
}

// E4M3's value, by its bits.
DEVICE float e4m3_f(u8 v) { return f16_f((u16)((v & 0x80) << 8 | (v & 0x7f) << 7)) * E4M3_SCALE; }

// kept_get is an element of the cache, whatever its type; KEPT is not F16 and not F32.
template <class T, bool KEPT> DEVICE float kept_get(const Cache &c, bool value, u64 i) {
  const void *p = value ? c.v : c.k;
  if constexpr (!KEPT) return kv_get<T>(p, i);
  if (c.type == BF16) return bf16_f(((const u16 *)p)[i]);
  if (c.type == KEPT_E4M3) return e4m3_f(((const u8 *)p)[i]);
  return (float)((const s8 *)p)[i] * f16_f((value ? c.vs : c.ks)[i / 32]);
}

template <class T, bool KEPT> DEVICE void attend_any_of(const AttendArgs &a) {
  int row = bx, head = by, warp = tid / 32, lane = tid % 32;
  const Cache &c = a.cache;
  int pos = field(a.meta, POS)[row], seq = field(a.meta, SEQ)[row], kv = head / (a.heads / c.heads);
  // A row of a chain has -1 here; a tree's sees what is stored, its path, itself.
  int from = field(a.meta, TREE_START)[row];
  const int *path = field(a.meta, TREE) + from;
  int stored = from < 0 ? pos + 1 : field(a.meta, STORED)[seq];
  float q[8], o[8];
  UNROLL for (int j = 0; j < 8; j++) {
    int d = lane + 32 * j;
    q[j] = d < c.dim ? kv_get<T>(a.q.at, (u64)row * a.q.ld + head * c.dim + d) : 0;
    o[j] = 0;
  }
  float m = -INF, l = 0;
  for (int p = first_seen(pos, c.window) + warp; p <= pos; p += 4) {
    int cell;
    if (p < stored) cell = cell_of(a.meta, c, seq, p);
    else {
      int r = p == pos ? row : path[p - stored];
      cell = group_field(a.meta, c.group, CELL)[r];
    }
    u64 at = ((u64)cell * c.heads + kv) * c.dim;
    float s = 0;
    UNROLL for (int j = 0; j < 8; j++) if (lane + 32 * j < c.dim) s += q[j] * kept_get<T, KEPT>(c, false, at + lane + 32 * j);
    s = warp_sum(s) * a.scale;
    if (a.softcap > 0) s = a.softcap * tanh_(s * rcp_(a.softcap));
    float top = fmax_(m, s), old = exp_(m - top), e = exp_(s - top);
    l = l * old + e;
    m = top;
    UNROLL for (int j = 0; j < 8; j++) if (lane + 32 * j < c.dim) o[j] = o[j] * old + e * kept_get<T, KEPT>(c, true, at + lane + 32 * j);
  }
  SHARED float ms[4], ls[4], os[4][256];
  if (lane == 0) ms[warp] = m, ls[warp] = l;
  UNROLL for (int j = 0; j < 8; j++) os[warp][lane + 32 * j] = o[j];
  sync();
  float top = a.sinks ? a.sinks[head] : -INF, sum = 0;
  UNROLL for (int w = 0; w < 4; w++) top = fmax_(top, ms[w]);
  if (a.sinks) sum = exp_(a.sinks[head] - top);
  UNROLL for (int w = 0; w < 4; w++) sum += ls[w] * exp_(ms[w] - top);
  for (int d = tid; d < c.dim; d += 128) {
    float v = 0;
    UNROLL for (int w = 0; w < 4; w++) v += os[w][d] * exp_(ms[w] - top);
    act_put(a.dst, row, head * c.dim + d, v / sum);
  }
}
GLOBAL BOUNDS(128, 4) attend_any(CONSTANT_ARG AttendArgs a) {
  let_next();
  wait_ahead();
  if (bx >= a.meta[ROWS]) return;
  if (a.cache.type == F32) attend_any_of<float, false>(a);
  else if (a.cache.type == F16) attend_any_of<u16, false>(a);
  else attend_any_of<u16, true>(a);
}

// Tile is 16 queries (a head of a row each) of one KV head on their way over the
// positions, held by one warp. A thread has two of the rows, lane/4 and 8 more.
template <int DIM> struct Tile {
  u32 q[DIM / 16][4];
  float o[DIM / 8][4], m[2], l[2]; // m is in powers of two

  // load reads query rows from shared memory: [16, DIM] f16, swizzled.
  METHOD void load(u32 at, int lane) {
    UNROLL for (int k = 0; k < DIM / 16; k++) ldmatrix4(q[k], at + swizzle(lane % 16, 2 * k + lane / 16));
    UNROLL for (int d = 0; d < DIM / 8; d++) UNROLL for (int i = 0; i < 4; i++) o[d][i] = 0;
    m[0] = m[1] = -INF;
    l[0] = l[1] = 0;
  }
  static METHOD u32 swizzle(int row, int chunk) {
    return row * (DIM * 2) + ((chunk ^ (row & 7)) << 4);
  }
};

// step takes the tile over N positions (a multiple of 16) whose keys and values lie
// in shared memory; the first is at position begin. Row i sees [lo[i], hi[i]].
template <int DIM, int N> DEVICE void step(Tile<DIM> &t, u32 ks, u32 vs, int begin, const int *lo, const int *hi, float scale, bool whole, int lane) {
  float s[N / 8][4];
  UNROLL for (int n = 0; n < N / 8; n++) UNROLL for (int i = 0; i < 4; i++) s[n][i] = 0;
  UNROLL for (int k = 0; k < DIM / 16; k++) UNROLL for (int n = 0; n < N / 16; n++) {
    u32 b[4];
    ldmatrix4(b, ks + Tile<DIM>::swizzle(n * 16 + lane % 8 + (lane / 16) * 8, 2 * k + (lane / 8) % 2));
    mma_f16(s[2 * n], t.q[k], b);
    mma_f16(s[2 * n + 1], t.q[k], b + 2);
  }
  UNROLL for (int n = 0; n < N / 8; n++) UNROLL for (int i = 0; i < 4; i++) {
    int p = begin + n * 8 + (lane % 4) * 2 + i % 2;
    s[n][i] *= scale;
    if (!whole && (p < lo[i / 2] || p > hi[i / 2])) s[n][i] = -INF;
  }
  UNROLL for (int h = 0; h < 2; h++) {
    float top = t.m[h];
    UNROLL for (int n = 0; n < N / 8; n++) top = fmax_(top, fmax_(s[n][2 * h], s[n][2 * h + 1]));
    top = fmax_(top, shfl_xor(top, 1));
    top = fmax_(top, shfl_xor(top, 2));
    float safe = top == -INF ? 0 : top; // a row that sees nothing yet
    float old = exp2_(t.m[h] - safe), sum = 0;
    UNROLL for (int n = 0; n < N / 8; n++) UNROLL for (int i = 0; i < 2; i++) {
      float e = exp2_(s[n][2 * h + i] - safe);
      s[n][2 * h + i] = e;
      sum += e;
    }
    t.l[h] = t.l[h] * old + sum; // of this thread's positions
    t.m[h] = top;
    UNROLL for (int d = 0; d < DIM / 8; d++) t.o[d][2 * h] *= old, t.o[d][2 * h + 1] *= old;
  }
  UNROLL for (int n = 0; n < N / 16; n++) {
    u32 p[4] = {f16x2(s[2 * n][0], s[2 * n][1]), f16x2(s[2 * n][2], s[2 * n][3]), f16x2(s[2 * n + 1][0], s[2 * n + 1][1]), f16x2(s[2 * n + 1][2], s[2 * n + 1][3])};
    UNROLL for (int d = 0; d < DIM / 16; d++) {
      u32 b[4];
      ldmatrix4t(b, vs + Tile<DIM>::swizzle(n * 16 + lane % 16, 2 * d + lane / 16));
      mma_f16(t.o[2 * d], p, b);
      mma_f16(t.o[2 * d + 1], p, b + 2);
    }
  }
}

// fetch_rows starts a warp's copies of 16 positions' keys and values. Positions from
// end on are zeros; those of [skip, end) are not written.
enum { KEYS = 1, VALUES = 2 };
template <int DIM, int WHAT = KEYS | VALUES> DEVICE void fetch_rows(const AttendArgs &a, u32 ks, u32 vs, int seq, int kv, int begin, int end, int lane, int skip = 0x7fffffff) {
  const Cache &c = a.cache;
  int p = begin + lane % 16, cell = p < imin(end, skip) ? cell_of(a.meta, c, seq, p) : -1;
  constexpr int CHUNKS = DIM / 8, PER = 32 / CHUNKS; // rows at a time
  UNROLL for (int j = 0; j < 16 / PER; j++) {
    int r = j * PER + lane / CHUNKS, chunk = lane % CHUNKS;
    int from = __nvvm_shfl_sync_idx_i32(0xffffffffu, cell, r, 31);
    bool there = from >= 0;
    if (begin + r >= skip && begin + r < end) continue;
    u64 at = ((u64)(there ? from : 0) * c.heads + kv) * DIM + chunk * 8;
    if (WHAT & KEYS) copy16(ks + Tile<DIM>::swizzle(r, chunk), (const u16 *)c.k + at, there);
    if (WHAT & VALUES) copy16(vs + Tile<DIM>::swizzle(r, chunk), (const u16 *)c.v + at, there);
  }
}

// Kept brings 16 positions of a cache of BF16, E4M3 or bytes with scales to where
// fetch_rows brings f16: first as they lie, into the tile's own place, then, once they are
// there, each lane turns what it copied into f16. Values beyond f16's greatest become that.
template <int DIM> struct Kept {
  static constexpr int CHUNKS = DIM / 16, PER = 32 / CHUNKS, N = 16 / PER; // of 16 bytes, of a row; rows at a time; times

  template <int WHAT> static METHOD void fetch(const AttendArgs &a, u32 ks, u32 vs, int seq, int kv, int begin, int end, int lane) {
    const Cache &c = a.cache;
    int p = begin + lane % 16, cell = p < end ? cell_of(a.meta, c, seq, p) : -1;
    if (c.type == BF16) {
      UNROLL for (int j = 0; j < 2 * N; j++) {
        int r = j * (PER / 2) + lane / (2 * CHUNKS), chunk = lane % (2 * CHUNKS), from = __nvvm_shfl_sync_idx_i32(0xffffffffu, cell, r, 31);
        u64 at = ((u64)imax(from, 0) * c.heads + kv) * DIM + chunk * 8;
        if (WHAT & KEYS) copy16(ks + Tile<DIM>::swizzle(r, chunk), (const u16 *)c.k + at, from >= 0);
        if (WHAT & VALUES) copy16(vs + Tile<DIM>::swizzle(r, chunk), (const u16 *)c.v + at, from >= 0);
      }
      return;
    }
    UNROLL for (int j = 0; j < N; j++) {
      int r = j * PER + lane / CHUNKS, chunk = lane % CHUNKS, from = __nvvm_shfl_sync_idx_i32(0xffffffffu, cell, r, 31);
      u64 at = ((u64)imax(from, 0) * c.heads + kv) * DIM + chunk * 16;
      if (WHAT & KEYS) copy16(ks + r * DIM + chunk * 16, (const u8 *)c.k + at, from >= 0);
      if (WHAT & VALUES) copy16(vs + r * DIM + chunk * 16, (const u8 *)c.v + at, from >= 0);
    }
    if (c.type != KEPT_Q8 || lane >= 16) return;
    constexpr int SCALES = DIM / 32;
    u64 at = ((u64)imax(cell, 0) * c.heads + kv) * SCALES;
    if (WHAT & KEYS) copy_few<2 * SCALES>(ks + (16 * DIM + lane * 2 * SCALES), c.ks + at, cell >= 0);
    if (WHAT & VALUES) copy_few<2 * SCALES>(vs + (16 * DIM + lane * 2 * SCALES), c.vs + at, cell >= 0);
  }

  // turn makes f16 of the tile at a place, which all lanes have waited for.
  static METHOD void turn(int type, u8 *tile, int lane) {
    if (type == BF16) {
      UNROLL for (int j = 0; j < 2 * N; j++) {
        uint4 *at = (uint4 *)(tile + Tile<DIM>::swizzle(j * (PER / 2) + lane / (2 * CHUNKS), lane % (2 * CHUNKS)));
        uint4 v = *at;
        auto two = [](u32 h) INLINE { return f16x2(within(bf16_lo(h)), within(bf16_hi(h))); };
        *at = {two(v.x), two(v.y), two(v.z), two(v.w)};
      }
      sync_warp();
      return;
    }
    uint4 raw[N];
    u32 scale[N];
    UNROLL for (int j = 0; j < N; j++) {
      int r = j * PER + lane / CHUNKS, chunk = lane % CHUNKS;
      raw[j] = load4(tile + r * DIM + chunk * 16);
      scale[j] = 0x5c00; // 256: of E4M3's bits
      if (type == KEPT_Q8) scale[j] = *(const u16 *)(tile + 16 * DIM + (r * (DIM / 32) + chunk / 2) * 2);
      scale[j] |= scale[j] << 16;
    }
    sync_warp();
    UNROLL for (int j = 0; j < N; j++) {
      int r = j * PER + lane / CHUNKS, chunk = lane % CHUNKS;
      auto lo = [&](u32 v) INLINE { return mul_halves(type == KEPT_Q8 ? s8_lo(v) : e4m3_lo(v), scale[j]); };
      auto hi = [&](u32 v) INLINE { return mul_halves(type == KEPT_Q8 ? s8_hi(v) : e4m3_hi(v), scale[j]); };
      uint4 v = raw[j];
      *(uint4 *)(tile + Tile<DIM>::swizzle(r, 2 * chunk)) = {lo(v.x), hi(v.x), lo(v.y), hi(v.y)};
      *(uint4 *)(tile + Tile<DIM>::swizzle(r, 2 * chunk + 1)) = {lo(v.z), hi(v.z), lo(v.w), hi(v.w)};
    }
    sync_warp();
  }
  static METHOD float within(float v) { return fmax_(fmin_(v, 65504.0f), -65504.0f); }
};

// fetch_queries starts copies of query rows [first, first+16) of a span; a row is a
// head of a token. Rows beyond the span are zeros.
template <int DIM> DEVICE void fetch_queries(const AttendArgs &a, u32 at, int row0, int n, int kv, int first, int per, int lane) {
  constexpr int CHUNKS = DIM / 8, PER = 32 / CHUNKS;
  UNROLL for (int j = 0; j < 16 / PER; j++) {
    int r = j * PER + lane / CHUNKS, chunk = lane % CHUNKS, i = first + r;
    bool there = i < n * per;
    int row = row0 + (there ? i / per : 0), head = kv * per + (there ? i % per : 0);
    copy16(at + Tile<DIM>::swizzle(r, chunk), (const u16 *)a.q.at + (u64)row * a.q.ld + head * DIM + chunk * 8, there);
  }
}

// put_rows stores a tile's results, divided by l.
template <int DIM> DEVICE void put_rows(const AttendArgs &a, const Tile<DIM> &t, const float *l, int row0, int n, int kv, int first, int per, int lane) {
  UNROLL for (int h = 0; h < 2; h++) {
    int i = first + lane / 4 + 8 * h;
    if (i >= n * per) continue;
    float f = 1 / l[h];
    u16 *out = (u16 *)a.dst.at + (u64)(row0 + i / per) * a.dst.ld + (kv * per + i % per) * DIM + (lane % 4) * 2;
    UNROLL for (int d = 0; d < DIM / 8; d++) *(u32 *)(out + d * 8) = bf16x2(t.o[d][2 * h] * f, t.o[d][2 * h + 1] * f);
  }
}

DEVICE u8 *shared_place(u32 at) { return dynamic + (at - shared_at(dynamic)); }

// turn_span does what rope_write does for a span, as far as it concerns a KV head and
// positions [from, to): queries go to shared memory, keys and values to the cache, and
// to shared memory as well where place says so. A warp's first query is on its way
// while it turns keys and values.
template <int DIM, class F> DEVICE void turn_span(const RopeArgs &r, Angle angle, int cell, u8 *q, int row0, int n, int pos0, int kv, int per, int from, int to, int warp, int lane, F place) {
  int at = 0; // the row that angle and cell are of
  auto go = [&](int i) INLINE {
    if (i == at) return;
    at = i;
    angle.of(r, pos0 + i, lane);
    cell = group_field(r.meta, r.cache.group, CELL)[row0 + i];
  };
  Head query;
  auto load = [&](int i) INLINE { query.load(r, row0 + i / per, kv * per + i % per, 0, lane); };
  if (warp < n * per) load(warp);
  for (int i = 3 - warp; i < 2 * n; i += 4) {
    int pos = pos0 + i / 2, kind = 1 + i % 2;
    if (pos < from || pos >= to) continue;
    go(i / 2);
    u16 *out = (u16 *)(kind == 1 ? r.cache.k : r.cache.v) + ((u64)cell * r.cache.heads + kv) * DIM;
    u8 *tile = place(pos, kind == 2);
    turn_head(r, angle, row0 + i / 2, kv, kind, lane, [&](int d, float v) INLINE {
      out[d] = to_f16(v);
      if (tile) *(u16 *)(tile + Tile<DIM>::swizzle(pos % 16, d / 8) + d % 8 * 2) = to_f16(v);
    });
  }
  for (int i = warp; i < n * per; i += 4) {
    if (i != warp) load(i);
    go(i / per);
    query.turn(r, angle, 0, lane, [&](int d, float v) INLINE { *(u16 *)(q + Tile<DIM>::swizzle(i, d / 8) + d % 8 * 2) = to_f16(v); });
  }
}

// attend_turn: block (kv head, span, part of the positions), four warps that each
// take blocks of 16 positions in turn. A span has at most 16 queries a KV head. The
// queries, and the span's own keys and values, are yet to be turned.
template <int DIM> DEVICE void turn(const AttendArgs &a, const RopeArgs &r) {
  constexpr int STAGES = SM >= 90 ? 2 : 3, ROWSET = 16 * DIM * 2; // bytes of 16 keys
  int kv = bx, span = by, warp = tid / 32, lane = tid % 32;
  let_next();
  // The step's metadata is copied before its first kernel begins.
  if (span >= a.meta[FEW_COUNT]) {
    wait_ahead();
    return;
  }
  const int *list = field(a.meta, FEW) + 2 * span;
  int row0 = list[0], n = list[1], seq = field(a.meta, SEQ)[row0], pos0 = field(a.meta, POS)[row0];
  int per = a.heads / a.cache.heads;
  u32 base = aligned_shared(), mine = base + ROWSET + warp * STAGES * 2 * ROWSET;
  int lo[2], hi[2];
  UNROLL for (int h = 0; h < 2; h++) {
    int i = lane / 4 + 8 * h;
    hi[h] = pos0 + imin(i / per, n - 1);
    lo[h] = first_seen(hi[h], a.cache.window);
  }
  int begin = first_seen(pos0, a.cache.window) & ~15, end = pos0 + n;
  // Parts of less than 256 positions would cost more to join than they save.
  int blocks = (end - begin + 15) / 16, share = imax((blocks + gz - 1) / gz, 16), used = (blocks + share - 1) / share;
  int b0 = bz * share, b1 = imin(blocks, b0 + share);
  if (bz >= used) return; // others wait: their end means that all before have ended
  auto fetch = [&](int b, int stage, int skip = 0x7fffffff) INLINE {
    u32 at = mine + stage * 2 * ROWSET;
    if (b < b1) fetch_rows<DIM>(a, at, at + ROWSET, seq, kv, begin + b * 16, end, lane, skip);
    copy_commit();
  };
  // Positions of before are read while the kernel ahead still runs; of the span's own
  // those that would be among them are put beside them.
  constexpr int AHEAD = 8; // blocks
  fetch(b0 + warp, 0, pos0);
  fetch(b0 + warp + 4, 1, pos0);
  for (int i = warp; i < 16; i += 4) { // rows that no query takes
    if (i >= n * per) for (int d = lane; d < DIM; d += 32) *(u16 *)(shared_place(base) + i * DIM * 2 + d * 2) = 0;
  }
  Angle angle;
  angle.of(r, pos0, lane);
  int cell = group_field(r.meta, r.cache.group, CELL)[row0];
  wait_ahead();
  turn_span<DIM>(r, angle, cell, shared_place(base), row0, n, pos0, kv, per, begin + b0 * 16, begin + b1 * 16, warp, lane, [&](int pos, bool value) INLINE {
    int b = (pos - begin) / 16 - b0;
    return b < AHEAD ? shared_place(base + ROWSET + (b % 4 * STAGES + b / 4) * 2 * ROWSET + (value ? ROWSET : 0)) : nullptr;
  });
  if (b1 - b0 > AHEAD) fence(); // read again, from the cache
  sync();
  Tile<DIM> t;
  t.load(base, lane);
  int stage = 0;
  for (int b = b0 + warp; b < b1; b += 4) {
    if (STAGES == 3) fetch(b + 8, stage == 0 ? 2 : stage - 1);
    copy_wait<STAGES - 1>();
    sync_warp();
    u32 at = mine + stage * 2 * ROWSET;
    int p = begin + b * 16;
    bool whole = p >= first_seen(end - 1, a.cache.window) && p + 15 <= pos0;
    step<DIM, 16>(t, at, at + ROWSET, p, lo, hi, a.scale * LOG2E, whole, lane);
    sync_warp();
    if (STAGES == 2) fetch(b + 8, stage);
    stage = stage == STAGES - 1 ? 0 : stage + 1;
  }
  copy_wait<0>();
  UNROLL for (int h = 0; h < 2; h++) {
    t.l[h] += shfl_xor(t.l[h], 1);
    t.l[h] += shfl_xor(t.l[h], 2);
  }
  // The warps meet in shared memory, the blocks in the workspace; a part is
  // [16, DIM] sums, 16 maxima, 16 lengths. Eights of a row's sums change places by the
  // row's number, so that rows of a warp lie in different banks.
  constexpr int PART = 16 * DIM + 32;
  float *parts = (float *)shared_place(base);
  int rows = imin(16, n * per), slot = span * gx + kv;
  auto eight = [](int r, int d) INLINE { return r * DIM + (d ^ (r & 7) << 3); };
  sync();
  float *to = parts + warp * PART;
  UNROLL for (int h = 0; h < 2; h++) {
    int r = lane / 4 + 8 * h;
    if (r >= rows) continue;
    UNROLL for (int d = 0; d < DIM / 8; d++) *(float2 *)(to + eight(r, d * 8 + (lane % 4) * 2)) = {t.o[d][2 * h], t.o[d][2 * h + 1]};
    if (lane % 4 == 0) to[16 * DIM + r] = t.m[h], to[16 * DIM + 16 + r] = t.l[h];
  }
  sync();
  float *shared_work = a.work + (u64)slot * gz * PART;
  auto join = [&](const float *from, int parts_n, bool last) INLINE {
    for (int i = tid * 4; i < rows * DIM; i += 512) {
      int r = i / DIM, at = eight(r, i % DIM);
      float top = -INF, len = 0;
      float4 sum = {0, 0, 0, 0};
      for (int p = 0; p < parts_n; p++) top = fmax_(top, from[p * PART + 16 * DIM + r]);
      float safe = last && a.sinks ? fmax_(top, a.sinks[kv * per + r % per] * LOG2E) : top == -INF ? 0 : top;
      for (int p = 0; p < parts_n; p++) {
        float f = exp2_(from[p * PART + 16 * DIM + r] - safe);
        float4 v = *(const float4 *)(from + p * PART + at);
        sum.x += v.x * f, sum.y += v.y * f, sum.z += v.z * f, sum.w += v.w * f;
        len += from[p * PART + 16 * DIM + 16 + r] * f;
      }
      if (last) {
        if (a.sinks) len += exp2_(a.sinks[kv * per + r % per] * LOG2E - safe);
        uint2 out = {bf16x2(sum.x / len, sum.y / len), bf16x2(sum.z / len, sum.w / len)};
        *(uint2 *)((u16 *)a.dst.at + (u64)(row0 + r / per) * a.dst.ld + (kv * per + r % per) * DIM + i % DIM) = out;
      } else {
        float *out = shared_work + (u64)bz * PART;
        *(float4 *)(out + at) = sum;
        if (i % DIM == 0) out[16 * DIM + r] = top, out[16 * DIM + 16 + r] = len;
      }
    }
  };
  if (used == 1) {
    join(parts, 4, true);
    return;
  }
  join(parts, 4, false);
  SHARED u32 before;
  fence();
  sync();
  if (tid == 0) before = atomic_add(a.counts + slot, 1);
  sync();
  if (before != (u32)used - 1) return;
  fence();
  join(shared_work, used, true);
  if (tid == 0) a.counts[slot] = 0;
}

struct TurnArgs {
  AttendArgs attend;
  RopeArgs rope;
};
GLOBAL BOUNDS(128, 2) attend_turn_64(CONSTANT_ARG TurnArgs a) { turn<64>(a.attend, a.rope); }
GLOBAL BOUNDS(128, 2) attend_turn_128(CONSTANT_ARG TurnArgs a) { turn<128>(a.attend, a.rope); }

// MANY_STAGES is how many tiles are in shared memory: cards of Ada have less of it.
#if SM >= 90
enum { MANY_STAGES = 3 };
#else
enum { MANY_STAGES = 2 };
#endif

// attend_many: block (tile, kv head) of 128 queries, 16 a warp; the warps share tiles
// of 64 positions, four fetching keys and four values. A span is [row0, rows, first
// query]. Tiles are taken from the last, which sees most, so that what ends the
// kernel is short.
template <int DIM, bool KEPT = false> DEVICE void many(const AttendArgs &a) {
  constexpr int STAGES = MANY_STAGES, ROWSET = 16 * DIM * 2, STAGE = 8 * ROWSET;
  int kv = by, warp = tid / 32, lane = tid % 32;
  let_next();
  wait_ahead();
  int tile = a.meta[MANY_COUNT] - 1 - bx;
  if (tile < 0) return;
  const int *list = field(a.meta, MANY) + 3 * tile;
  int row0 = list[0], n = list[1], first = list[2] + warp * 16;
  int seq = field(a.meta, SEQ)[row0], pos0 = field(a.meta, POS)[row0], per = a.heads / a.cache.heads;
  u32 base = aligned_shared();
  int lo[2], hi[2];
  UNROLL for (int h = 0; h < 2; h++) {
    int i = first + lane / 4 + 8 * h;
    hi[h] = i < n * per ? pos0 + i / per : -1; // rows beyond the span see nothing
    lo[h] = first_seen(hi[h] < 0 ? 0 : hi[h], a.cache.window);
  }
  int firstPos = pos0 + list[2] / per, end = pos0 + imin(n - 1, (list[2] + 127) / per) + 1;
  int begin = first_seen(firstPos, a.cache.window) & ~15;
  fetch_queries<DIM>(a, base + warp * ROWSET, row0, n, kv, first, per, lane);
  copy_commit();
  u32 tiles = base + 8 * ROWSET;
  auto fetch = [&](int p, int stage) INLINE {
    u32 at = tiles + stage * STAGE + warp * ROWSET; // keys, then values
    p += warp % 4 * 16;
    if (KEPT && warp < 4) Kept<DIM>::template fetch<KEYS>(a, at, 0, seq, kv, p, end, lane);
    else if (KEPT) Kept<DIM>::template fetch<VALUES>(a, 0, at, seq, kv, p, end, lane);
    else if (warp < 4) fetch_rows<DIM, KEYS>(a, at, 0, seq, kv, p, end, lane);
    else fetch_rows<DIM, VALUES>(a, 0, at, seq, kv, p, end, lane);
    copy_commit();
  };
  UNROLL for (int i = 0; i < STAGES - 1; i++) fetch(begin + 64 * i, i);
  copy_wait<STAGES - 1>();
  sync_warp();
  Tile<DIM> t;
  t.load(base + warp * ROWSET, lane);
  int stage = 0;
  for (int p = begin; p < end; p += 64) {
    copy_wait<STAGES - 2>();
    if (KEPT) {
      sync_warp();
      Kept<DIM>::turn(a.cache.type, shared_place(tiles + stage * STAGE + warp * ROWSET), lane);
    }
    sync(); // the tile is there, and nobody reads the one before any more
    fetch(p + 64 * (STAGES - 1), stage == 0 ? STAGES - 1 : stage - 1);
    u32 at = tiles + stage * STAGE;
    bool whole = p + 63 <= firstPos && p >= first_seen(end - 1, a.cache.window) && first + 15 < n * per;
    step<DIM, 64>(t, at, at + 4 * ROWSET, p, lo, hi, a.scale * LOG2E, whole, lane);
    stage = stage == STAGES - 1 ? 0 : stage + 1;
  }
  copy_wait<0>();
  UNROLL for (int h = 0; h < 2; h++) {
    t.l[h] += shfl_xor(t.l[h], 1);
    t.l[h] += shfl_xor(t.l[h], 2);
    int i = first + lane / 4 + 8 * h;
    if (a.sinks && i < n * per) t.l[h] += exp2_(fmin_(a.sinks[kv * per + i % per] * LOG2E - t.m[h], 120)); // more leaves nothing of the rest
  }
  put_rows<DIM>(a, t, t.l, row0, n, kv, first, per, lane);
}
GLOBAL BOUNDS(256, 1) attend_kept_many_64(CONSTANT_ARG AttendArgs a) { many<64, true>(a); }
GLOBAL BOUNDS(256, 1) attend_kept_many_128(CONSTANT_ARG AttendArgs a) { many<128, true>(a); }
GLOBAL BOUNDS(256, 1) attend_many_64(CONSTANT_ARG AttendArgs a) { many<64>(a); }
GLOBAL BOUNDS(256, 1) attend_many_128(CONSTANT_ARG AttendArgs a) { many<128>(a); }
