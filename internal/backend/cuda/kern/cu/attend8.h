// Attention of a generated token, or a few, over a cache of E4M3 with heads of 128.
//
// Half of f16's bytes come in the same time, so that what is done to each of them
// counts: a lane copies what it will multiply itself, in an order that both products
// allow (which of a head's elements are multiplied together, and where a result's element
// lies, is free), and makes f16 of it in registers. So warps wait for nobody, and nothing is
// moved within shared memory.
#pragma once
#include "attend.h"

DEVICE uint4 shared_load(u32 at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
  return v;
}
DEVICE bool any_lane(bool v) { return __nvvm_vote_any_sync(0xffffffffu, v); }

// E4M3 in each half's upper byte to f16, of 2^-8 of the value.
DEVICE u32 e4m3_upper(u32 v) { return (v & 0x80008000u) | ((v & 0x7f007f00u) >> 1); }

// Few8 is a warp's 16 queries of a KV head (a head of a row each) on their way over positions,
// 32 at a time. A lane has rows g = lane/4 and g+8, and of four lanes it is number t:
// Of a key (positions g, g+8, ...) it multiplies elements 64c + 16t + [0, 16) for c of 0 and 1;
// of values (positions 2t, 2t+1, 2t+8, 2t+9, ...) it has elements [16g, 16g+16).
struct Few8 {
  static constexpr int DIM = 128, PART = 136; // floats of a row where warps meet: no two of them in one bank
  static constexpr u32 TILE = 16 * 512, RING = 2 * TILE; // bytes of a warp: 16 times 16 of each lane
  u32 q[8][4];
  float o[16][4], m[2], l[2]; // element 16n + d of a row is o[d], column n of its product
  u32 k, v, mine; // what a lane copies of a cell, from the cell's begin; where its copies lie

  METHOD void begin(const AttendArgs &a, int row0, int n, int kv, int per, int lane) {
    int g = lane / 4, t = lane % 4;
    UNROLL for (int h = 0; h < 2; h++) {
      int i = g + 8 * h;
      bool there = i < n * per;
      const u16 *from = (const u16 *)a.q.at + (u64)(row0 + (there ? i / per : 0)) * a.q.ld + (kv * per + (there ? i % per : 0)) * DIM + 16 * t;
      UNROLL for (int c = 0; c < 2; c++) UNROLL for (int half = 0; half < 2; half++) {
        uint4 x = there ? load4(from + 64 * c + 8 * half) : uint4{0, 0, 0, 0};
        int k = 4 * c + 2 * half; // bytes 0 and 2 of a key's word are a pair, 1 and 3
        q[k][h] = prmt(x.x, x.y, 0x5410), q[k][h + 2] = prmt(x.x, x.y, 0x7632);
        q[k + 1][h] = prmt(x.z, x.w, 0x5410), q[k + 1][h + 2] = prmt(x.z, x.w, 0x7632);
      }
      m[h] = -INF, l[h] = 0;
    }
    UNROLL for (int d = 0; d < 16; d++) UNROLL for (int i = 0; i < 4; i++) o[d][i] = 0;
  }
  METHOD void places(int kv, u32 at, int lane) {
    k = kv * DIM + lane % 4 * 16;
    v = kv * DIM + lane / 4 * 16;
    mine = at + lane * 16;
  }

  // fetch starts the copies of 32 positions; lane i knows the cell of the i-th. Beyond the last
  // position that is any: what it has multiplies nothing.
  METHOD void fetch(const Cache &c, int at, int stage, int lane) const {
    int g = lane / 4, t = lane % 4;
    u32 to = mine + stage * TILE, cell = (u32)c.heads * DIM;
    UNROLL for (int j = 0; j < 4; j++) {
      const u8 *from = (const u8 *)c.k + (u64)(u32)__nvvm_shfl_sync_idx_i32(0xffffffffu, at, 8 * j + g, 31) * cell + k;
      UNROLL for (int i = 0; i < 2; i++) copy16(to + (2 * j + i) * 512, from + 64 * i, true);
    }
    UNROLL for (int j = 0; j < 8; j++) {
      int pos = j / 4 * 16 + 2 * t + j % 2 + j / 2 % 2 * 8;
      copy16(to + (8 + j) * 512, (const u8 *)c.v + (u64)(u32)__nvvm_shfl_sync_idx_i32(0xffffffffu, at, pos, 31) * cell + v, true);
    }
  }

  // step goes over the 32 positions from p on. key gives where a lane's part c of the
  // key j*8 + g lies, value that of its i-th value of the 16 from 16n on, sees what row i sees of
  // the positions, where that is not the whole.
  template <class K, class V, class F> METHOD void step(K key, V value, int p, float scale, bool whole, bool both, int lane, F sees) {
    float s[4][4];
    UNROLL for (int j = 0; j < 4; j++) {
      UNROLL for (int i = 0; i < 4; i++) s[j][i] = 0;
      UNROLL for (int c = 0; c < 2; c++) {
        uint4 x = shared_load(key(j, c));
        u32 w[4] = {x.x, x.y, x.z, x.w};
        UNROLL for (int i = 0; i < 4; i++) {
          u32 b[2] = {e4m3_upper(w[i] << 8), e4m3_upper(w[i])};
          mma_f16(s[j], q[4 * c + i], b);
        }
      }
    }
    if (!whole) {
      UNROLL for (int h = 0; h < 2; h++) {
        int lo, hi;
        sees(lane / 4 + 8 * h, &lo, &hi);
        UNROLL for (int j = 0; j < 4; j++) UNROLL for (int i = 0; i < 2; i++) {
          int pos = p + 8 * j + lane % 4 * 2 + i;
          if (pos < lo || pos > hi) s[j][2 * h + i] = -INF;
        }
      }
    }
    UNROLL for (int h = 0; h < 2; h++) {
      if (h == 1 && !both) {
        UNROLL for (int j = 0; j < 4; j++) s[j][2] = s[j][3] = 0;
        continue;
      }
      float top = -INF;
      UNROLL for (int j = 0; j < 4; j++) top = fmax_(top, fmax_(s[j][2 * h], s[j][2 * h + 1]));
      top = fmax_(top, shfl_xor(top, 1));
      top = fmax_(top, shfl_xor(top, 2));
      top = fmax_(m[h], top * scale);
      float safe = top == -INF ? 0 : top, sum = 0; // a row that sees nothing yet
      if (any_lane(top != m[h])) {
        float old = exp2_(m[h] - safe);
        l[h] *= old;
        m[h] = top;
        UNROLL for (int d = 0; d < 16; d++) o[d][2 * h] *= old, o[d][2 * h + 1] *= old;
      }
      UNROLL for (int j = 0; j < 4; j++) UNROLL for (int i = 0; i < 2; i++) {
        float e = exp2_(s[j][2 * h + i] * scale - safe);
        s[j][2 * h + i] = e;
        sum += e;
      }
      l[h] += sum; // of this thread's positions
    }
    UNROLL for (int n = 0; n < 2; n++) {
      u32 w[4][4]; // of positions 2t, 2t+1, 2t+8, 2t+9
      UNROLL for (int i = 0; i < 4; i++) {
        uint4 x = shared_load(value(n, i));
        w[i][0] = x.x, w[i][1] = x.y, w[i][2] = x.z, w[i][3] = x.w;
      }
      u32 e[4] = {f16x2(s[2 * n][0], s[2 * n][1]), f16x2(s[2 * n][2], s[2 * n][3]), f16x2(s[2 * n + 1][0], s[2 * n + 1][1]), f16x2(s[2 * n + 1][2], s[2 * n + 1][3])};
      UNROLL for (int d = 0; d < 16; d++) {
        u32 pick = 0x4000 + d % 4 * 0x1010; // byte d of both, where e4m3_upper wants them
        u32 b[2] = {e4m3_upper(prmt(w[0][d / 4], w[1][d / 4], pick)), e4m3_upper(prmt(w[2][d / 4], w[3][d / 4], pick))};
        mma_f16(o[d], e, b);
      }
    }
  }

  // leave puts a warp's sums where the block's meet: [16, PART], 16 maxima, 16 lengths.
  METHOD void leave(float *to, int rows, int lane) {
    UNROLL for (int h = 0; h < 2; h++) {
      l[h] += shfl_xor(l[h], 1);
      l[h] += shfl_xor(l[h], 2);
      int r = lane / 4 + 8 * h;
      if (r >= rows) continue;
      UNROLL for (int d = 0; d < 16; d++) UNROLL for (int i = 0; i < 2; i++) to[r * PART + d * 8 + lane % 4 * 2 + i] = o[d][2 * h + i] * E4M3_SCALE;
      if (lane % 4 == 0) to[16 * PART + r] = m[h], to[16 * PART + 16 + r] = l[h];
    }
  }
};

// Span8 is a block's span, and its positions in units of 32.
struct Span8 {
  int row0, n, seq, pos0, per, begin, end, seen, units, share, used;

  METHOD Span8(const AttendArgs &a) {
    const int *list = field(a.meta, FEW) + 2 * by;
    row0 = list[0], n = list[1], seq = field(a.meta, SEQ)[row0], pos0 = field(a.meta, POS)[row0], per = a.heads / a.cache.heads;
    begin = first_seen(pos0, a.cache.window) & ~31, end = pos0 + n, seen = first_seen(end - 1, a.cache.window);
    units = (end - begin + 31) / 32, share = imax((units + gz - 1) / gz, 8), used = (units + share - 1) / share;
  }
};

// attend_few8_128: block (kv head, span, part of the positions) as attend_few, a warp taking
// every fourth 32 positions.
GLOBAL BOUNDS(128, 2) attend_few8_128(CONSTANT_ARG AttendArgs a) {
  constexpr int DIM = Few8::DIM, WARP = 16 * Few8::PART + 32, PART = 16 * DIM + 32;
  int warp = tid / 32, lane = tid % 32;
  const Cache &c = a.cache;
  let_next();
  if (by >= a.meta[FEW_COUNT]) {
    wait_ahead();
    return;
  }
  u32 base = aligned_shared();
  Few8 t;
  {
    Span8 p(a);
    if (bz >= p.used) return; // others wait: their end means that all before have ended
    int begin = p.begin + bz * p.share * 32, units = imin(p.units - bz * p.share, p.share);
    const int *pages = group_field(a.meta, c.group, PAGES) + group_field(a.meta, c.group, TABLE)[p.seq] - group_field(a.meta, c.group, FIRST)[p.seq];
    auto look = [&](int b) INLINE {
      int pos = begin + b * 32 + lane;
      return b < units && pos < p.end ? pages[pos / c.page] * c.page + pos % c.page : 0;
    };
    t.places(bx, base + warp * Few8::RING, lane);
    int cell0 = look(warp), cell1 = look(warp + 4);
    wait_ahead();
    UNROLL for (int i = 0; i < 2; i++) {
      if (warp + 4 * i < units) t.fetch(c, i ? cell1 : cell0, i, lane);
      copy_commit();
    }
    t.begin(a, p.row0, p.n, bx, p.per, lane);
    int next = look(warp + 8);
    bool both = p.n * p.per > 8;
    for (int b = warp; b < units; b += 4) {
      copy_wait<1>();
      int first = begin + b * 32;
      bool whole = first >= p.seen && first + 31 <= p.pos0;
      u32 from = t.mine + b / 4 % 2 * Few8::TILE;
      auto key = [&](int j, int c) INLINE { return from + (2 * j + c) * 512; };
      auto value = [&](int n, int i) INLINE { return from + (8 + 4 * n + i) * 512; };
      t.step(key, value, first, a.scale * (LOG2E * E4M3_SCALE), whole, both, lane, [&](int row, int *lo, int *hi) INLINE {
        *hi = imin(p.pos0 + row / (a.heads / c.heads), p.end - 1);
        *lo = first_seen(*hi, c.window);
      });
      if (b + 8 < units) t.fetch(c, next, b / 4 % 2, lane);
      copy_commit();
      next = look(b + 12);
    }
  }
  copy_wait<0>();
  sync();
  // What the loop had no use for is read again, so that it holds no registers meanwhile.
  Span8 p(a);
  int rows = p.n * p.per, used = p.used, slot = by * gx + bx;
  float *parts = (float *)shared_place(base), *shared_work = a.work + (u64)slot * gz * PART;
  t.leave(parts + warp * WARP, rows, lane);
  sync();
  // join adds up what parts have: of a row where its element i lies, where its maximum and its length.
  auto join = [&](const float *from, int parts_n, int stride, int row, int tail, bool within, bool last) INLINE {
    for (int i = tid; i < rows * DIM; i += 128) {
      int r = i / DIM, d = i % DIM, at = r * row + (within ? d % 16 * 8 + d / 16 : d), head = bx * p.per + r % p.per;
      float top = -INF, sum = 0, len = 0;
      for (int j = 0; j < parts_n; j++) top = fmax_(top, from[j * stride + tail + r]);
      float safe = last && a.sinks ? fmax_(top, a.sinks[head] * LOG2E) : top == -INF ? 0 : top;
      for (int j = 0; j < parts_n; j++) {
        float f = exp2_(from[j * stride + tail + r] - safe);
        sum += from[j * stride + at] * f;
        len += from[j * stride + tail + 16 + r] * f;
      }
      if (last) {
        if (a.sinks) len += exp2_(a.sinks[head] * LOG2E - safe);
        ((u16 *)a.dst.at)[(u64)(p.row0 + r / p.per) * a.dst.ld + head * DIM + d] = to_bf16(sum / len);
      } else {
        float *out = shared_work + (u64)bz * PART;
        out[i] = sum;
        if (d == 0) out[16 * DIM + r] = top, out[16 * DIM + 16 + r] = len;
      }
    }
  };
  join(parts, 4, WARP, Few8::PART, 16 * Few8::PART, true, used == 1);
  if (used == 1) return;
  SHARED u32 before;
  fence();
  sync();
  if (tid == 0) before = atomic_add(a.counts + slot, 1);
  sync();
  if (before != (u32)used - 1) return;
  fence();
  join(shared_work, used, PART, DIM, 16 * DIM, false, true);
  if (tid == 0) a.counts[slot] = 0;
}
