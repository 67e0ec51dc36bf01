// Attention of one new token a sequence over a cache in F16, with the rotation of its query,
// its key and its value. The kernel ahead is the product that makes these, and memory stands
// still from its end until attention has ended: so what can be done before is, and what is left is
// short code, since each instruction of it is read and run once.
#pragma once
#include "decode.h"

// Turned is what a lane has of a head that is on its way to be turned: pairs lane, lane + 32, ...
template <int DIM> struct Turned {
  static constexpr int PAIRS = DIM / 64;
  float x[PAIRS], y[PAIRS];

  static METHOD int first(const RopeArgs &r, int pair) { return r.interleaved ? 2 * pair : pair; }
  static METHOD int second(const RopeArgs &r, int pair) { return r.interleaved ? 2 * pair + 1 : pair + DIM / 2; }

  METHOD void load(const RopeArgs &r, const Act &from, int row, int head, int lane) {
    const float *at = (const float *)from.at + (u64)row * from.ld + head * DIM;
    UNROLL for (int j = 0; j < PAIRS; j++) x[j] = at[first(r, lane + 32 * j)], y[j] = at[second(r, lane + 32 * j)];
  }
  METHOD void norm(const RopeArgs &r, const float *w, int lane) {
    if (!w) return;
    float sum = 0;
    UNROLL for (int j = 0; j < PAIRS; j++) sum += x[j] * x[j] + y[j] * y[j];
    float f = rsqrt_(warp_sum(sum) / DIM + r.eps);
    UNROLL for (int j = 0; j < PAIRS; j++) x[j] *= f * w[first(r, lane + 32 * j)], y[j] *= f * w[second(r, lane + 32 * j)];
  }
  METHOD void turn(const float *c, const float *s) {
    UNROLL for (int j = 0; j < PAIRS; j++) {
      float u = x[j], v = y[j];
      x[j] = u * c[j] - v * s[j], y[j] = u * s[j] + v * c[j];
    }
  }
  METHOD void put(const RopeArgs &r, u16 *to, int lane) const {
    UNROLL for (int j = 0; j < PAIRS; j++) to[first(r, lane + 32 * j)] = to_f16(x[j]), to[second(r, lane + 32 * j)] = to_f16(y[j]);
  }
};

// attend_one: block (KV head, sequence, part of the positions), a warp taking every fourth unit of
// 32 of the positions of before. What the token sees of itself is added where the warps meet.
template <int DIM> DEVICE void attend_one(const AttendArgs &a, const RopeArgs &r) {
  using L = Layout<F16, DIM, 32>;
  using Eight = ::Eight<F16, DIM, 32>;
  using Turned = ::Turned<DIM>;
  constexpr int UNIT = 32, QUERIES = 8, WARP = QUERIES * (Eight::PART + 2), PART = QUERIES * (DIM + 2), QUERY = DIM + 32; // u16s of a query: rows in other banks
  int warp = tid / 32, lane = tid % 32, kv = bx;
  const Cache &c = a.cache;
  let_next();
  if (by >= a.meta[FEW_COUNT]) {
    wait_ahead();
    return;
  }
  int row = by, seq = field(a.meta, SEQ)[row], pos = field(a.meta, POS)[row], per = a.heads / c.heads;
  int lo = first_seen(pos, c.window), begin = lo & ~(UNIT - 1), units = lo < pos ? (pos - begin + UNIT - 1) / UNIT : 0;
  int share = imax((units + gz - 1) / gz, 8), used = imax((units + share - 1) / share, 1);
  if (bz >= used) return; // others wait: their end means that all before have ended
  bool own = bz == used - 1;
  u32 base = aligned_shared(), keys = base + warp * 2 * L::TILE, values = keys + L::TILE;
  u16 *queries = (u16 *)shared_place(base + 8 * L::TILE);
  SHARED u32 mine[2][DIM / 2]; // key and value
  SHARED float scores[QUERIES];
  int at = begin + (bz * share + warp) * UNIT, stop = begin + imin(units, (bz + 1) * share) * UNIT;
  // Positions that are not seen are others that are: what is there is a number.
  auto find = [&](int at) INLINE { return at < stop ? cell_of(a.meta, c, seq, imax(imin(at + lane, pos - 1), lo)) : 0; };
  auto fetch = [&](bool value, int at, int cell) INLINE {
    if (at < stop) L::fetch(c, value, kv * L::ROW + lane % L::CHUNKS * 16, cell, value ? values : keys, lane);
    copy_commit();
  };
  int cell = find(at);
  fetch(false, at, cell);
  fetch(true, at, cell);
  float cs[Turned::PAIRS], sn[Turned::PAIRS];
  UNROLL for (int j = 0; j < Turned::PAIRS; j++) {
    cs[j] = 1, sn[j] = 0;
    if (!r.turns) continue;
    double t = (double)pos * r.turns[lane + 32 * j]; // as Angle
    float angle = (float)(t - rint_(t)) * 6.283185307179586f;
    cs[j] = cos_(angle) * r.scale, sn[j] = sin_(angle) * r.scale;
  }
  u64 kept = ((u64)group_field(a.meta, c.group, CELL)[row] * c.heads + kv) * DIM;
  wait_ahead();
  int heads = per + (own ? 2 : 0);
  for (int i = warp; i < heads; i += 8) {
    Turned h[2];
    UNROLL for (int n = 0; n < 2; n++) {
      int j = i + 4 * n;
      if (j < heads) h[n].load(r, j < per ? r.q : j == per ? r.k : r.v, row, j < per ? kv * per + j : kv, lane);
    }
    UNROLL for (int n = 0; n < 2; n++) {
      int j = i + 4 * n;
      if (j >= heads) break;
      if (j <= per) h[n].norm(r, j < per ? r.qnorm : r.knorm, lane), h[n].turn(cs, sn);
      h[n].put(r, j < per ? queries + j * QUERY : (u16 *)mine[j - per], lane);
      if (j >= per) h[n].put(r, (u16 *)(j == per ? c.k : c.v) + kept, lane);
    }
  }
  sync();
  Decode<F16, DIM, 1, 32> t;
  t.of[0].begin(queries + lane / 4 * QUERY, lane / 4 < per, lane);
  float scale = a.scale * LOG2E;
  for (; at < stop; at += 4 * UNIT) {
    float s[1][L::SETS][4];
    u32 e[1][1][L::SETS][2];
    int next = at + 4 * UNIT;
    cell = find(next);
    copy_wait<1>();
    sync_warp();
    t.score(s, keys, lane);
    sync_warp();
    fetch(false, next, cell);
    if (at < lo || at + UNIT > pos) UNROLL for (int j = 0; j < L::SETS; j++) UNROLL for (int i = 0; i < 4; i++) {
      int p = at + 16 * j + lane / 4 + 8 * (i / 2);
      if (p < lo || p >= pos) s[0][j][i] = -INF;
    }
    t.of[0].weigh(s[0], e[0], scale);
    copy_wait<1>();
    sync_warp();
    t.add(e, values, lane);
    sync_warp();
    fetch(true, next, cell);
  }
  if (own) for (int h = warp; h < per; h += 4) {
    float sum = 0;
    UNROLL for (int i = 0; i < DIM / 64; i++) {
      u32 q = ((const u32 *)(queries + h * QUERY))[lane + 32 * i], k = mine[0][lane + 32 * i];
      sum += f16_lo(q) * f16_lo(k) + f16_hi(q) * f16_hi(k);
    }
    sum = warp_sum(sum);
    if (lane == 0) scores[h] = sum * scale;
  }
  copy_wait<0>();
  sync();
  float *parts = (float *)shared_place(base);
  int slot = by * gx + kv;
  float *shared_work = a.work + (u64)slot * gz * PART;
  t.of[0].leave(parts + warp * WARP, 0, per, QUERIES, lane);
  sync();
  // join adds up what parts have, as in attend_few, and what the token sees of itself.
  auto join = [&](const float *from, int n, int stride, int row_floats, int tail, bool self, bool last) INLINE {
    for (int i = tid; i < per * (DIM / 2); i += 128) {
      int h = i / (DIM / 2), d = i % (DIM / 2), at = h * row_floats + Eight::left(d), head = kv * per + h;
      float top = self ? scores[h] : -INF, x = 0, y = 0, len = 0;
      for (int j = 0; j < n; j++) top = fmax_(top, from[j * stride + tail + h]);
      float safe = last && a.sinks ? fmax_(top, a.sinks[head] * LOG2E) : top == -INF ? 0 : top;
      if (self) {
        u32 v = mine[1][d];
        len = exp2_(scores[h] - safe), x = f16_lo(v) * len, y = f16_hi(v) * len;
      }
      for (int j = 0; j < n; j++) {
        float f = exp2_(from[j * stride + tail + h] - safe);
        x += from[j * stride + at] * f, y += from[j * stride + at + 1] * f;
        len += from[j * stride + tail + QUERIES + h] * f;
      }
      if (last) {
        if (a.sinks) len += exp2_(a.sinks[head] * LOG2E - safe);
        *(u32 *)((u16 *)a.dst.at + (u64)row * a.dst.ld + head * DIM + 2 * d) = bf16x2(x / len, y / len);
      } else {
        float *out = shared_work + (u64)bz * PART;
        out[at - h * row_floats + h * DIM] = x, out[at - h * row_floats + h * DIM + 1] = y;
        if (d == 0) out[QUERIES * DIM + h] = top, out[QUERIES * DIM + QUERIES + h] = len;
      }
    }
  };
  join(parts, 4, WARP, Eight::PART, QUERIES * Eight::PART, own, used == 1);
  if (used == 1) return;
  SHARED u32 before;
  fence();
  sync();
  if (tid == 0) before = atomic_add(a.counts + slot, 1);
  sync();
  if (before != (u32)used - 1) return;
  fence();
  join(shared_work, used, PART, DIM, QUERIES * DIM, false, true);
  if (tid == 0) a.counts[slot] = 0;
}
GLOBAL BOUNDS(128, 3) attend_one_64(CONSTANT_ARG TurnArgs a) { attend_one<64>(a.attend, a.rope); }
GLOBAL BOUNDS(128, 3) attend_one_128(CONSTANT_ARG TurnArgs a) { attend_one<128>(a.attend, a.rope); }
