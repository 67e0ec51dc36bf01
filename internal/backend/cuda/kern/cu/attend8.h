// Attention of a generated token, or a few, over a cache of E4M3 with heads of 128.
//
// Half of f16's bytes come in the same time, so that what is done to each of them
// counts. A warp copies what it multiplies itself, eight lanes a line of memory (less asks more
// of the L2 cache than it gives), and makes f16 of it in registers, in an order that both
// products allow: which of a head's elements are multiplied together, and where a result's
// element lies, is free. So warps wait for nobody, and nothing is moved within shared memory.
// Keys and values are the products' 16 rows and queries their 8 columns: a KV head has few
// queries, and sixteen warps a processor, each with few registers, hide what each waits for.
#pragma once
#include "attend.h"

DEVICE uint4 shared_load(u32 at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
  return v;
}
DEVICE bool any_lane(bool v) { return __nvvm_vote_any_sync(0xffffffffu, v); }
DEVICE int thread_again() { int r; asm volatile("mov.u32 %0, %%tid.x;" : "=r"(r)); return r; }
// transposed turns an 8x8 matrix of halves that lies over the lanes as products take it.
DEVICE u32 transposed(u32 v) {
#if SM >= 89
  u32 r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(v));
  return r;
#else // needs a newer PTX
  int lane = tid % 32, from = lane % 4 * 8 + lane / 8;
  u32 x = __nvvm_shfl_sync_idx_i32(0xffffffffu, (int)v, from, 31), y = __nvvm_shfl_sync_idx_i32(0xffffffffu, (int)v, from + 4, 31);
  return prmt(x, y, lane / 4 % 2 ? 0x7632 : 0x5410);
#endif
}

// Pairs are bytes of E4M3 as the products take them, f16 times EIGHT: on Hopper
// neighbours, made the values themselves by one instruction for two; else a word's bytes 0
// and 2, and 1 and 3, by moving bits, which makes 2^-8 of the value.
#if SM >= 90
#define EIGHT 1.0f
DEVICE void pairs(u32 *even, u32 *odd, u32 w) { *even = half_lo(w), *odd = half_hi(w); }
DEVICE void query_pairs(u32 *q, u32 x, u32 y) { q[0] = x, q[1] = y; }
// across makes pairs of bytes d and d+1 of two words.
DEVICE void across(u32 *b0, u32 *b1, u32 v, u32 w, int d) {
  u32 x = prmt(v, w, 0x5140 + d * 0x1111);
  *b0 = half_lo(x), *b1 = half_hi(x);
}
#else
#define EIGHT E4M3_SCALE
// E4M3 in each half's upper byte to f16.
DEVICE u32 e4m3_upper(u32 v) { return (v & 0x80008000u) | ((v & 0x7f007f00u) >> 1); }
DEVICE void pairs(u32 *even, u32 *odd, u32 w) { *even = e4m3_upper(w << 8), *odd = e4m3_upper(w); }
DEVICE void query_pairs(u32 *q, u32 x, u32 y) { q[0] = prmt(x, y, 0x5410), q[1] = prmt(x, y, 0x7632); }
DEVICE void across(u32 *b0, u32 *b1, u32 v, u32 w, int d) {
  *b0 = e4m3_upper(prmt(v, w, 0x4000 + d * 0x1010)), *b1 = e4m3_upper(prmt(v, w, 0x5010 + d * 0x1010));
}
#endif

// Span8 is a block's span, and its positions in units of 32. What the block has are eight of the
// span's queries of a KV head (a head of a row each) and a part of the units.
struct Span8 {
  int row0, n, seq, pos0, per, kv, first, rows; // first: of its queries; rows: how many
  int begin, end, seen, units, share, used;

  METHOD Span8(const AttendArgs &a) {
    const int *list = field(a.meta, FEW) + 2 * by;
    row0 = list[0], n = list[1], seq = field(a.meta, SEQ)[row0], pos0 = field(a.meta, POS)[row0];
    per = a.heads / a.cache.heads, kv = bx % a.cache.heads, first = bx / a.cache.heads * 8, rows = imin(n * per - first, 8);
    end = pos0 + n, seen = first_seen(pos0, a.cache.window), begin = seen & ~31;
    units = (end - begin + 31) / 32, share = imax((units + gz - 1) / gz, 8), used = (units + share - 1) / share;
  }
  METHOD int row(int i) const { return row0 + (first + i) / per; }
  METHOD int head(int of, int i) const { return of * per + (first + i) % per; }
};

// Few8 is a warp's eight queries on their way over positions, 32 at a time. Lane
// 4g + t multiplies, of the keys of positions g, g+8, g+16 and g+24, elements 64c + 16t + [0, 16)
// for c of 0 and 1, and of the values of positions 2t, 2t+1, 2t+8, 2t+9 and 16 more
// elements [16g, 16g+16).
struct Few8 {
  static constexpr int DIM = 128, PART = 136; // floats of a row where warps meet: no two of them in one bank
  static constexpr u32 TILE = 32 * DIM, RING = 3 * TILE; // bytes of 32 keys or values
  u32 q[8][2];
  float o[8][4], m[2], l[2]; // of queries 2t and 2t+1; o[i] is elements 16g + 2i and 16g + 2i + 1 of both

  METHOD void begin(const AttendArgs &a, const Span8 &p, int kv, int lane) {
    int g = lane / 4, t = lane % 4;
    const u16 *from = (const u16 *)a.q.at + (u64)p.row(g) * a.q.ld + p.head(kv, g) * DIM + 16 * t;
    UNROLL for (int k = 0; k < 8; k += 2) {
      uint4 x = g < p.rows ? load4(from + k / 4 * 64 + k % 4 * 4) : uint4{0, 0, 0, 0};
      query_pairs(q[k], x.x, x.y);
      query_pairs(q[k + 1], x.z, x.w);
    }
    UNROLL for (int h = 0; h < 2; h++) m[h] = -INF, l[h] = 0;
    UNROLL for (int d = 0; d < 8; d++) UNROLL for (int i = 0; i < 4; i++) o[d][i] = 0;
  }

  // place is where 16 bytes of a position's 128 lie: such that neither the keys' nor the
  // values' order has lanes meet in one bank.
  static METHOD u32 place(int pos, int chunk) { return pos * DIM + ((chunk ^ ((pos ^ pos >> 2) & 1) << 2 ^ (pos & 2)) << 4); }

  // fetch starts the copies of a head's keys or values of 32 positions; lane i knows the
  // cell of the i-th.
  static METHOD void fetch(const Cache &c, const void *all, u32 from, int cell, u32 to, int lane) {
    asm volatile("" : "+r"(from)); // so that no address stays in registers meanwhile
    u32 step = (u32)c.heads * DIM;
    UNROLL for (int j = 0; j < 8; j++) {
      const u8 *src = (const u8 *)all + from + (u64)(u32)__nvvm_shfl_sync_idx_i32(0xffffffffu, cell, 4 * j + lane / 8, 31) * step;
      copy16(to + place(4 * j + lane / 8, lane % 8), src, true);
    }
  }

  // score multiplies with the keys at a place: s[j] is of positions 16j + g and 16j + g + 8.
  METHOD void score(float (*s)[4], u32 at, int lane) const {
    int g = lane / 4, t = lane % 4;
    UNROLL for (int j = 0; j < 2; j++) UNROLL for (int i = 0; i < 4; i++) s[j][i] = 0;
    UNROLL for (int c = 0; c < 2; c++) {
      u32 v[2][4], w[2][4];
      UNROLL for (int j = 0; j < 2; j++) {
        uint4 x = shared_load(at + place(16 * j + g, 4 * c + t)), y = shared_load(at + place(16 * j + 8 + g, 4 * c + t));
        v[j][0] = x.x, v[j][1] = x.y, v[j][2] = x.z, v[j][3] = x.w;
        w[j][0] = y.x, w[j][1] = y.y, w[j][2] = y.z, w[j][3] = y.w;
      }
      UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 2; j++) { // two sums, so that one need not wait for the other
        u32 k[4];
        pairs(k, k + 2, v[j][i]);
        pairs(k + 1, k + 3, w[j][i]);
        mma_f16(s[j], k, q[4 * c + i]);
      }
    }
  }

  // weigh makes of scores what values are multiplied with. The maximum follows when
  // it is passed by a factor of 2^8, which f16 can hold.
  METHOD void weigh(float (*s)[4], u32 (*e)[2], float scale) {
    float top[2];
    UNROLL for (int h = 0; h < 2; h++) {
      top[h] = fmax_(fmax_(s[0][h], s[0][h + 2]), fmax_(s[1][h], s[1][h + 2])) * scale;
    }
    if (any_lane(top[0] > m[0] + 8 || top[1] > m[1] + 8)) {
      UNROLL for (int h = 0; h < 2; h++) {
        UNROLL for (int x = 4; x < 32; x *= 2) top[h] = fmax_(top[h], shfl_xor(top[h], x));
        float now = fmax_(m[h], top[h]), old = now == -INF ? 0 : exp2_(m[h] - now);
        m[h] = now, l[h] *= old;
        UNROLL for (int d = 0; d < 8; d++) o[d][h] *= old, o[d][h + 2] *= old;
      }
    }
    float safe[2] = {m[0] == -INF ? 0 : m[0], m[1] == -INF ? 0 : m[1]}; // a row that sees nothing yet
    UNROLL for (int j = 0; j < 2; j++) {
      UNROLL for (int i = 0; i < 4; i++) {
        s[j][i] = exp2_(s[j][i] * scale - safe[i % 2]);
        l[i % 2] += s[j][i]; // of this lane's positions
      }
      UNROLL for (int i = 0; i < 2; i++) e[j][i] = transposed(f16x2(s[j][2 * i], s[j][2 * i + 1]));
    }
  }

  // add multiplies with the values at a place.
  METHOD void add(const u32 (*e)[2], u32 at, int lane) {
    UNROLL for (int j = 0; j < 2; j++) {
      u32 w[4][4]; // of positions 2t, 2t+1, 2t+8, 2t+9
      UNROLL for (int i = 0; i < 4; i++) {
        uint4 x = shared_load(at + place(16 * j + lane % 4 * 2 + i % 2 + i / 2 * 8, lane / 4));
        w[i][0] = x.x, w[i][1] = x.y, w[i][2] = x.z, w[i][3] = x.w;
      }
      UNROLL for (int d = 0; d < 8; d++) {
        u32 v[4];
        UNROLL for (int i = 0; i < 2; i++) across(v + 2 * i, v + 2 * i + 1, w[2 * i][d / 2], w[2 * i + 1][d / 2], d % 2 * 2);
        mma_f16(o[d], v, e[j]);
      }
    }
  }

  METHOD void lengths() {
    UNROLL for (int h = 0; h < 2; h++) UNROLL for (int x = 4; x < 32; x *= 2) l[h] += shfl_xor(l[h], x);
  }

  // store is the end of a warp that saw all of its queries' positions.
  METHOD void store(const AttendArgs &a, const Span8 &p, int kv, int lane) {
    lengths();
    UNROLL for (int h = 0; h < 2; h++) {
      int r = lane % 4 * 2 + h, head = p.head(kv, r);
      if (r >= p.rows) continue;
      float f = EIGHT;
      if (a.sinks) {
        float sink = a.sinks[head] * LOG2E, top = fmax_(m[h], sink), old = exp2_(m[h] - top);
        l[h] = l[h] * old + exp2_(sink - top), f *= old;
      }
      f = f / l[h];
      u32 w[8];
      UNROLL for (int i = 0; i < 8; i++) w[i] = bf16x2(o[i][h] * f, o[i][h + 2] * f);
      u16 *to = (u16 *)a.dst.at + (u64)p.row(r) * a.dst.ld + head * DIM + lane / 4 * 16;
      *(uint4 *)to = {w[0], w[1], w[2], w[3]};
      *(uint4 *)(to + 8) = {w[4], w[5], w[6], w[7]};
    }
  }

  // leave puts a warp's sums where the block's meet: [8, PART], 8 maxima, 8 lengths. Element
  // 16g + 2i + b of a row lies at 16i + 2g + b.
  METHOD void leave(float *to, int rows, int lane) {
    int g = lane / 4, t = lane % 4;
    lengths();
    UNROLL for (int h = 0; h < 2; h++) {
      int r = 2 * t + h;
      if (r >= rows) continue;
      UNROLL for (int i = 0; i < 8; i++) UNROLL for (int b = 0; b < 2; b++) to[r * PART + 16 * i + 2 * g + b] = o[i][2 * b + h] * EIGHT;
      if (g == 0) to[8 * PART + r] = m[h], to[8 * PART + 8 + r] = l[h];
    }
  }
};

// Walk8 is where a lane's positions lie: of each unit one. Registers are few, so that what the
// launch's arguments say is worked out again.
struct Walk8 {
  u32 pages; // where they stand in the metadata, less those before a sequence's first
  int last;
  u32 rows; // how many positions fewer than the last the first row sees, and the lane's queries: a byte each

  METHOD Walk8(const AttendArgs &a, const Span8 &p, int lane) {
    int group = a.cache.group;
    pages = (u32)a.meta[GROUPS + group * GROUP_INTS + PAGES] + group_field(a.meta, group, TABLE)[p.seq] - group_field(a.meta, group, FIRST)[p.seq];
    last = p.end - 1, rows = p.n - 1;
    UNROLL for (int h = 0; h < 2; h++) rows |= (u32)imax(p.n - 1 - (p.row(lane % 4 * 2 + h) - p.row0), 0) << (8 + 8 * h);
  }
  METHOD int high(int which) const { return last - (rows >> 8 * which & 255); }
  METHOD int low(const AttendArgs &a, int which) const { return first_seen(high(which), a.cache.window); }
  // find starts to look a position up: its page and its place there. Positions that nobody
  // sees are the next that somebody does: what is there is a number.
  METHOD void find(const AttendArgs &a, int pos, int *at, int *rest) const {
    pos = imin(imax(pos, low(a, 0)), last);
    int page = a.cache.page;
    float share;
    asm volatile("rcp.approx.f32 %0, %1;" : "=f"(share) : "f"((float)page));
    int n = (int)((float)pos * share), left = pos - n * page;
    if (left < 0) n--, left += page;
    if (left >= page) n++, left -= page;
    *at = a.meta[pages + (u32)n], *rest = left;
  }
};

// Short spans are better left to a warp a head, if there are enough of them to keep all
// processors busy: to begin and to end a block costs as much as to read 200 positions.
enum { FEW8_SHORT = 32, FEW8_MANY = 2048 }; // units of 32 positions; heads of all spans
DEVICE bool short8(const AttendArgs &a, const Span8 &p) {
  return p.units <= FEW8_SHORT && a.cache.heads % 4 == 0 && a.meta[FEW_COUNT] * a.cache.heads >= FEW8_MANY;
}

// attend_few8_128: block (KV head and eight queries, span, part of the positions), a warp
// taking every fourth 32 positions. Of short spans a block has four KV heads.
enum { FEW8_BLOCKS = SM >= 90 ? 4 : 3 }; // a processor
GLOBAL BOUNDS(128, FEW8_BLOCKS) attend_few8_128(CONSTANT_ARG AttendArgs a) {
  constexpr int DIM = Few8::DIM, WARP = 8 * Few8::PART + 16, PART = 8 * DIM + 16;
  int warp = tid / 32, lane = tid % 32;
  const Cache &c = a.cache;
  let_next();
  if (by >= a.meta[FEW_COUNT]) {
    wait_ahead();
    return;
  }
  u32 base = aligned_shared();
  Few8 t;
  int step;
  {
    Span8 p(a);
    bool whole = short8(a, p);
    if (bz >= p.used || p.rows <= 0 || (whole && (p.kv % 4 || bz > 0))) return; // others wait: their end means that all before have ended
    int kv = p.kv + (whole ? warp : 0);
    step = whole ? 32 : 4 * 32;
    // pos is the first position of the unit at hand; the block's end at stop.
    int pos = p.begin + (whole ? 0 : bz * p.share + warp) * 32, stop = p.begin + (whole ? p.units : imin(p.units, (bz + 1) * p.share)) * 32;
    Walk8 walk(a, p, lane);
    // Of units to come: the next but one has been looked up, the one after that is being.
    int at[2], rest[2], cell[2];
    UNROLL for (int i = 0; i < 2; i++) walk.find(a, pos + step * i + lane, at + i, rest + i);
    UNROLL for (int i = 0; i < 2; i++) cell[i] = at[i] * c.page + rest[i];
    walk.find(a, pos + 2 * step + lane, at, rest);
    wait_ahead();
    u32 from = kv * DIM + lane % 8 * 16; // what the lane copies of a cell
    u32 mine = base + warp * Few8::RING, ring[3] = {mine, mine + Few8::TILE, mine + 2 * Few8::TILE};
    if (pos < stop) {
      Few8::fetch(c, c.k, from, cell[0], ring[0], lane);
      copy_commit();
      Few8::fetch(c, c.v, from, cell[0], ring[1], lane);
      copy_commit();
    }
    if (pos + step < stop) Few8::fetch(c, c.k, from, cell[1], ring[2], lane);
    copy_commit();
    t.begin(a, p, kv, lane);
    float scale = a.scale * (LOG2E * EIGHT);
    for (; pos < stop; pos += step) {
      float s[2][4];
      u32 e[2][2];
      copy_wait<2>();
      sync_warp();
      t.score(s, ring[0], lane);
      sync_warp(); // all have read it
      if (pos + step < stop) Few8::fetch(c, c.v, from, cell[1], ring[0], lane);
      copy_commit();
      if (pos < first_seen(walk.last, c.window) || pos + 31 > walk.high(0)) {
        UNROLL for (int h = 0; h < 2; h++) {
          int lo = walk.low(a, 1 + h), hi = walk.high(1 + h);
          UNROLL for (int j = 0; j < 2; j++) UNROLL for (int i = 0; i < 2; i++) {
            int n = pos + 16 * j + lane / 4 + 8 * i;
            if (n < lo || n > hi) s[j][2 * i + h] = -INF;
          }
        }
      }
      t.weigh(s, e, scale);
      copy_wait<2>();
      sync_warp();
      t.add(e, ring[1], lane);
      cell[1] = at[0] * c.page + rest[0];
      sync_warp();
      if (pos + 2 * step < stop) Few8::fetch(c, c.k, from, cell[1], ring[1], lane);
      copy_commit();
      walk.find(a, pos + 3 * step + lane, at, rest);
      u32 used = ring[0];
      ring[0] = ring[2], ring[2] = ring[1], ring[1] = used;
    }
  }
  // What the loop had no use for is read again, so that it holds no registers meanwhile.
  Span8 p(a);
  int thread = thread_again();
  warp = thread / 32, lane = thread % 32;
  if (step == 32) {
    t.store(a, p, p.kv + warp, lane);
    return;
  }
  copy_wait<0>();
  sync();
  int rows = p.rows, used = p.used, slot = by * gx + bx;
  float *parts = (float *)shared_place(base), *shared_work = a.work + (u64)slot * gz * PART;
  t.leave(parts + warp * WARP, rows, lane);
  sync();
  // join adds up what parts have: of a row where its elements lie, where its maximum and its length.
  auto join = [&](const float *from, int parts_n, int stride, int row, int tail, bool last) INLINE {
    for (int i = thread; i < rows * (DIM / 2); i += 128) {
      int r = i / (DIM / 2), d = i % (DIM / 2), at = r * row + d % 8 * 16 + d / 8 * 2, head = p.head(p.kv, r);
      float top = -INF, x = 0, y = 0, len = 0;
      for (int j = 0; j < parts_n; j++) top = fmax_(top, from[j * stride + tail + r]);
      float safe = last && a.sinks ? fmax_(top, a.sinks[head] * LOG2E) : top == -INF ? 0 : top;
      for (int j = 0; j < parts_n; j++) {
        float f = exp2_(from[j * stride + tail + r] - safe);
        x += from[j * stride + at] * f, y += from[j * stride + at + 1] * f;
        len += from[j * stride + tail + 8 + r] * f;
      }
      if (last) {
        if (a.sinks) len += exp2_(a.sinks[head] * LOG2E - safe);
        *(u32 *)((u16 *)a.dst.at + (u64)p.row(r) * a.dst.ld + head * DIM + 2 * d) = bf16x2(x / len, y / len);
      } else {
        float *out = shared_work + (u64)bz * PART;
        out[at - r * row + r * DIM] = x, out[at - r * row + r * DIM + 1] = y;
        if (d == 0) out[8 * DIM + r] = top, out[8 * DIM + 8 + r] = len;
      }
    }
  };
  join(parts, 4, WARP, Few8::PART, 8 * Few8::PART, used == 1);
  if (used == 1) return;
  SHARED u32 before;
  fence();
  sync();
  if (thread == 0) before = atomic_add(a.counts + slot, 1);
  sync();
  if (before != (u32)used - 1) return;
  fence();
  join(shared_work, used, PART, DIM, 8 * DIM, true);
  if (thread == 0) a.counts[slot] = 0;
}
