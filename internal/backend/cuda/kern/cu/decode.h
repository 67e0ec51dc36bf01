// Attention of a generated token, or a few, over the cache: heads of 64 and of 128, in F16, BF16,
// E4M3 or bytes with scales.
//
// It takes no longer than memory needs, so what is done to each byte counts. A warp copies what
// it multiplies itself, eight lanes a line of memory (less asks more of the L2 cache than it
// gives), and makes of it in registers what is multiplied, in an order that both
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
DEVICE uint2 shared_load2(u32 at) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at) : "memory");
  return v;
}
DEVICE u32 shared_half(u32 at) {
  u16 v;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(at) : "memory");
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

// Pairs are bytes as the products take them, in f16: neighbours, times a scale in both halves; of
// E4M3 before Hopper a word's bytes 0 and 2, and 1 and 3, by moving bits, which makes 2^-8
// of the value. On Hopper one instruction makes the values of two.
template <int TYPE> DEVICE void query_pairs(u32 *q, u32 x, u32 y) {
  if (TYPE == KEPT_E4M3 && SM < 90) q[0] = prmt(x, y, 0x5410), q[1] = prmt(x, y, 0x7632);
  else q[0] = x, q[1] = y;
}
// E4M3 in each half's upper byte to f16.
DEVICE u32 e4m3_upper(u32 v) { return (v & 0x80008000u) | ((v & 0x7f007f00u) >> 1); }
template <int TYPE> DEVICE void pairs(u32 *even, u32 *odd, u32 w, u32 scale) {
  if constexpr (TYPE == KEPT_Q8) *even = mul_halves(s8_lo(w), scale), *odd = mul_halves(s8_hi(w), scale);
  else
#if SM >= 90
    *even = half_lo(w), *odd = half_hi(w);
#else
    *even = e4m3_upper(w << 8), *odd = e4m3_upper(w);
#endif
}
// across makes pairs of bytes d and d+1 of two words.
template <int TYPE> DEVICE void across(u32 *b0, u32 *b1, u32 v, u32 w, int d, u32 scales) {
  if (TYPE == KEPT_E4M3 && SM < 90) *b0 = e4m3_upper(prmt(v, w, 0x4000 + d * 0x1010)), *b1 = e4m3_upper(prmt(v, w, 0x5010 + d * 0x1010));
  else pairs<TYPE>(b0, b1, prmt(v, w, 0x5140 + d * 0x1111), scales);
}

// Span is a block's span, and its positions in units of so many. What the block has are so many of
// the span's queries of a KV head (a head of a row each) and a part of the units.
template <int UNIT, int QUERIES> struct Span {
  int row0, n, seq, pos0, per, kv, first, rows; // first: of its queries; rows: how many
  int begin, end, seen, units, share, used;

  METHOD Span(const AttendArgs &a) {
    const int *list = field(a.meta, FEW) + 2 * by;
    row0 = list[0], n = list[1], seq = field(a.meta, SEQ)[row0], pos0 = field(a.meta, POS)[row0];
    per = a.heads / a.cache.heads, kv = bx % a.cache.heads, first = bx / a.cache.heads * QUERIES, rows = imin(n * per - first, QUERIES);
    end = pos0 + n, seen = first_seen(pos0, a.cache.window), begin = seen & ~(UNIT - 1);
    units = (end - begin + UNIT - 1) / UNIT, share = imax((units + gz - 1) / gz, 8), used = (units + share - 1) / share;
  }
  METHOD int row(int i) const { return row0 + (first + i) / per; }
  METHOD int head(int of, int i) const { return of * per + (first + i) % per; }
};

// Layout is how a unit of 16 or 32 positions' keys or values of a head lies in shared memory.
template <int TYPE, int DIM, int POSITIONS = 0> struct Layout {
  static constexpr bool HALVES = TYPE == F16 || TYPE == BF16;
  static constexpr int ROW = HALVES ? 2 * DIM : DIM, CHUNKS = ROW / 16, UNIT = POSITIONS ? POSITIONS : ROW == 256 ? 16 : 32, SETS = UNIT / 16, STEPS = DIM / 16;
  static constexpr int SCALES = TYPE == KEPT_Q8 ? DIM / 32 : 0; // of a position
  static constexpr u32 TILE = UNIT * (ROW + 2 * SCALES), RING = 3 * TILE; // bytes of a unit
  // Queries are f16, and weights have their precision. Two numbers in bf16 add up to as much: what
  // is kept in bf16 is multiplied with both.
  static constexpr int LIMBS = TYPE == BF16 ? 2 : 1;
  static constexpr float TIMES = TYPE == KEPT_E4M3 && SM < 90 ? E4M3_SCALE : 1; // what a result lacks

  // place is where 16 bytes of a position lie: such that neither the keys' nor the
  // values' order has lanes meet in one bank.
  static METHOD u32 place(int pos, int chunk) {
    if (HALVES) return pos * ROW + ((chunk ^ (pos & 1) << 2 ^ (pos >> 1 & 3)) << 4);
    return (pos * ROW & ~127) + ((chunk ^ ((pos ^ pos >> 2) & 1) << 2 ^ (pos & 2)) << 4);
  }
  // scale is that of 32 elements of a position, in f16.
  static METHOD u32 scale(u32 at, int pos, int block) { return shared_half(at + UNIT * ROW + (pos * SCALES + block) * 2); }

  // fetch starts the copies of a head's keys or values of a unit; lane i knows the
  // cell of the i-th.
  static METHOD void fetch(const Cache &c, bool value, u32 from, int cell, u32 to, int lane) {
    asm volatile("" : "+r"(from)); // so that no address stays in registers meanwhile
    const u8 *all = (const u8 *)(value ? c.v : c.k);
    u32 step = (u32)c.heads * ROW;
    constexpr int PER = 32 / CHUNKS; // positions at a time
    UNROLL for (int j = 0; j < UNIT / PER; j++) {
      const u8 *src = all + from + (u64)(u32)__nvvm_shfl_sync_idx_i32(0xffffffffu, cell, PER * j + lane / CHUNKS, 31) * step;
      copy16(to + place(PER * j + lane / CHUNKS, lane % CHUNKS), src, true);
    }
    if constexpr (SCALES > 0) {
      const u16 *src = (value ? c.vs : c.ks) + ((u64)(u32)cell * c.heads + from / ROW) * SCALES;
      copy_few<2 * SCALES>(to + UNIT * ROW + lane * 2 * SCALES, src, true);
    }
  }

  static METHOD void load(u32 *to, u32 at) {
    uint4 x = shared_load(at);
    to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
  }
  // load_values loads what lanes of a g multiply of bytes: an eighth of a head.
  static METHOD void load_values(u32 *to, u32 at, int pos, int g) {
    if constexpr (DIM == 64) {
      uint2 x = shared_load2(at + place(pos, g / 2) + g % 2 * 8);
      to[0] = x.x, to[1] = x.y;
    } else load(to, at + place(pos, g));
  }
};

// Eight are eight queries on their way over positions. Lane 4g + t has of query g the elements that
// it multiplies with keys, of queries 2t and 2t+1 the elements of values: of bytes the g-th
// eighth of a head, of halves the g-th of each eight.
template <int TYPE, int DIM, int POSITIONS = 0> struct Eight {
  using L = Layout<TYPE, DIM, POSITIONS>;
  static constexpr int STEPS = L::STEPS, SETS = L::SETS, LIMBS = L::LIMBS;
  static constexpr int PART = DIM + (L::HALVES ? 4 : 8); // floats of a row where warps meet: few of them in one bank
  u32 q[LIMBS][STEPS][2];
  float o[STEPS][4], m[2], l[2]; // o[i] is two elements of both queries

  static METHOD int element(int i, int b, int g) { return L::HALVES ? 16 * i + 8 * b + g : g * STEPS * 2 + 2 * i + b; }

  static METHOD void limbs(u32 *to, float x, float y) {
    to[0] = LIMBS == 2 ? bf16x2(x, y) : f16x2(x, y);
    if (LIMBS == 2) to[1] = bf16x2(x - bf16_lo(to[0]), y - bf16_hi(to[0]));
  }

  template <class S> METHOD void begin(const AttendArgs &a, const S &p, int kv, int first, int lane) {
    int r = first + lane / 4;
    begin((const u16 *)a.q.at + (u64)p.row(r) * a.q.ld + p.head(kv, r) * DIM, r < p.rows, lane);
  }
  // begin with the lane's query, if it is there.
  METHOD void begin(const u16 *from, bool there, int lane) {
    constexpr int LOADS = L::HALVES ? 1 : 2; // of 8 elements, a chunk
    from += 8 * LOADS * (lane % 4);
    UNROLL for (int k = 0; k < STEPS; k += 2) {
      uint4 x = there ? load4(from + k / (2 * LOADS) * 32 * LOADS + k / 2 % LOADS * 8) : uint4{0, 0, 0, 0};
      if constexpr (TYPE == BF16) {
        u32 w[4] = {x.x, x.y, x.z, x.w};
        UNROLL for (int i = 0; i < 4; i++) {
          u32 x[LIMBS];
          limbs(x, f16_lo(w[i]), f16_hi(w[i]));
          UNROLL for (int n = 0; n < LIMBS; n++) q[n][k + i / 2][i % 2] = x[n];
        }
      } else {
        query_pairs<TYPE>(q[0][k], x.x, x.y);
        query_pairs<TYPE>(q[0][k + 1], x.z, x.w);
      }
    }
    UNROLL for (int h = 0; h < 2; h++) m[h] = -INF, l[h] = 0;
    UNROLL for (int d = 0; d < STEPS; d++) UNROLL for (int i = 0; i < 4; i++) o[d][i] = 0;
  }

  static METHOD void multiply(float *to, const u32 *k, const u32 *q) {
    if (TYPE == BF16) mma_bf16(to, k, q);
    else mma_f16(to, k, q);
  }

  // weigh makes of scores what values are multiplied with. The maximum follows when
  // it is passed by a factor of 2^8, which f16 can hold.
  METHOD void weigh(float (*s)[4], u32 (*e)[SETS][2], float scale) {
    float top[2];
    UNROLL for (int h = 0; h < 2; h++) {
      top[h] = fmax_(s[0][h], s[0][h + 2]);
      UNROLL for (int j = 1; j < SETS; j++) top[h] = fmax_(top[h], fmax_(s[j][h], s[j][h + 2]));
      top[h] *= scale;
    }
    if (any_lane(top[0] > m[0] + 8 || top[1] > m[1] + 8)) {
      UNROLL for (int h = 0; h < 2; h++) {
        UNROLL for (int x = 4; x < 32; x *= 2) top[h] = fmax_(top[h], shfl_xor(top[h], x));
        float now = fmax_(m[h], top[h]), old = now == -INF ? 0 : exp2_(m[h] - now);
        m[h] = now, l[h] *= old;
        UNROLL for (int d = 0; d < STEPS; d++) o[d][h] *= old, o[d][h + 2] *= old;
      }
    }
    float safe[2] = {m[0] == -INF ? 0 : m[0], m[1] == -INF ? 0 : m[1]}; // a row that sees nothing yet
    UNROLL for (int j = 0; j < SETS; j++) {
      UNROLL for (int i = 0; i < 4; i++) {
        s[j][i] = exp2_(s[j][i] * scale - safe[i % 2]);
        l[i % 2] += s[j][i]; // of this lane's positions
      }
      UNROLL for (int i = 0; i < 2; i++) {
        u32 x[LIMBS];
        limbs(x, s[j][2 * i], s[j][2 * i + 1]);
        UNROLL for (int n = 0; n < LIMBS; n++) e[n][j][i] = transposed(x[n]);
      }
    }
  }

  METHOD void lengths() {
    UNROLL for (int h = 0; h < 2; h++) UNROLL for (int x = 4; x < 32; x *= 2) l[h] += shfl_xor(l[h], x);
  }

  // store is the end of a warp that saw all of its queries' positions.
  template <class S> METHOD void store(const AttendArgs &a, const S &p, int kv, int first, int lane) {
    int g = lane / 4, t = lane % 4;
    float f[2];
    lengths();
    UNROLL for (int h = 0; h < 2; h++) {
      f[h] = L::TIMES;
      if (a.sinks) {
        float sink = a.sinks[p.head(kv, first + 2 * t + h)] * LOG2E, top = fmax_(m[h], sink), old = exp2_(m[h] - top);
        l[h] = l[h] * old + exp2_(sink - top), f[h] *= old;
      }
      f[h] = f[h] / l[h];
    }
    auto to = [&](int r) INLINE { return (u16 *)a.dst.at + (u64)p.row(r) * a.dst.ld + p.head(kv, r) * DIM; };
    if constexpr (L::HALVES) {
      u16 *at = to(first + g) + 2 * t;
      UNROLL for (int i = 0; i < 2 * STEPS; i++) { // element 8i + g of two queries, then two elements of query g
        u32 w = transposed(bf16x2(o[i / 2][i % 2 * 2] * f[0], o[i / 2][i % 2 * 2 + 1] * f[1]));
        if (first + g < p.rows) *(u32 *)(at + 8 * i) = w;
      }
    } else UNROLL for (int h = 0; h < 2; h++) {
      int r = first + 2 * t + h;
      if (r >= p.rows) continue;
      u32 w[STEPS];
      UNROLL for (int i = 0; i < STEPS; i++) w[i] = bf16x2(o[i][h] * f[h], o[i][h + 2] * f[h]);
      UNROLL for (int i = 0; i < STEPS; i += 4) *(uint4 *)(to(r) + element(i, 0, g)) = {w[i], w[i + 1], w[i + 2], w[i + 3]};
    }
  }

  // leave puts a warp's sums where the block's meet: rows of PART, then maxima and
  // lengths of so many. Of bytes element gK + 2i + b of a row, K an eighth of it, lies at 16i + 2g + b.
  METHOD void leave(float *to, int first, int rows, int queries, int lane) {
    int g = lane / 4, t = lane % 4;
    lengths();
    UNROLL for (int h = 0; h < 2; h++) {
      int r = first + 2 * t + h;
      if (r >= rows) continue;
      UNROLL for (int i = 0; i < STEPS; i++) UNROLL for (int b = 0; b < 2; b++) to[r * PART + (L::HALVES ? element(i, b, g) : 16 * i + 2 * g + b)] = o[i][2 * b + h] * L::TIMES;
      if (g == 0) to[queries * PART + r] = m[h], to[queries * PART + queries + r] = l[h];
    }
  }
  // left is where elements 2d and 2d+1 of a row lie.
  static METHOD int left(int d) { return L::HALVES ? 2 * d : d % STEPS * 16 + d / STEPS * 2; }
};

// Decode is what a warp has: eight queries or sixteen, and keys and values as they multiply them.
template <int TYPE, int DIM, int EIGHTS, int POSITIONS = 0> struct Decode {
  using L = Layout<TYPE, DIM, POSITIONS>;
  using Eight = ::Eight<TYPE, DIM, POSITIONS>;
  Eight of[EIGHTS];

  // score multiplies with the keys at a place: s[n][j] is of positions 16j + g and 16j + g + 8. Of
  // each position a lane multiplies the 16-byte chunks t, 4+t, ...
  METHOD void score(float (*s)[L::SETS][4], u32 at, int lane) const {
    int g = lane / 4, t = lane % 4;
    constexpr int SUMS = L::HALVES ? 2 : 1, WORDS = L::HALVES ? 2 : 4; // sums of a set, so that none waits long for itself; steps a chunk
    float sum[SUMS][EIGHTS][L::SETS][4];
    UNROLL for (int i = 0; i < SUMS * EIGHTS * L::SETS * 4; i++) (&sum[0][0][0][0])[i] = 0;
    UNROLL for (int c = 0; c < L::CHUNKS / 4; c++) {
      u32 v[L::SETS][4], w[L::SETS][4], vs[L::SETS], ws[L::SETS];
      UNROLL for (int j = 0; j < L::SETS; j++) {
        int x = 16 * j + g, y = x + 8;
        L::load(v[j], at + L::place(x, 4 * c + t));
        L::load(w[j], at + L::place(y, 4 * c + t));
        vs[j] = ws[j] = 0;
        if constexpr (L::SCALES > 0) vs[j] = L::scale(at, x, 2 * c + t / 2) * 0x10001, ws[j] = L::scale(at, y, 2 * c + t / 2) * 0x10001;
      }
      UNROLL for (int i = 0; i < WORDS; i++) UNROLL for (int j = 0; j < L::SETS; j++) {
        u32 k[4];
        if constexpr (L::HALVES) k[0] = v[j][2 * i], k[1] = w[j][2 * i], k[2] = v[j][2 * i + 1], k[3] = w[j][2 * i + 1];
        else pairs<TYPE>(k, k + 2, v[j][i], vs[j]), pairs<TYPE>(k + 1, k + 3, w[j][i], ws[j]);
        UNROLL for (int n = 0; n < EIGHTS; n++) UNROLL for (int b = 0; b < L::LIMBS; b++) {
          Eight::multiply(sum[(L::LIMBS > 1 ? b : i) % SUMS][n][j], k, of[n].q[b][WORDS * c + i]);
        }
      }
    }
    UNROLL for (int n = 0; n < EIGHTS; n++) UNROLL for (int j = 0; j < L::SETS; j++) UNROLL for (int i = 0; i < 4; i++) {
      s[n][j][i] = sum[0][n][j][i];
      if (SUMS > 1) s[n][j][i] += sum[SUMS - 1][n][j][i];
    }
  }

  // add multiplies with the values at a place, lanes of a t those of positions 2t, 2t+1, 2t+8 and 2t+9.
  METHOD void add(const u32 (*e)[L::LIMBS][L::SETS][2], u32 at, int lane) {
    UNROLL for (int j = 0; j < L::SETS; j++) {
      u32 w[4][DIM / 32], scales[2] = {0, 0};
      if constexpr (!L::HALVES) {
        int g = lane / 4, pos = 16 * j + lane % 4 * 2;
        UNROLL for (int i = 0; i < 4; i++) L::load_values(w[i], at, pos + i % 2 + i / 2 * 8, g);
        if constexpr (L::SCALES > 0) UNROLL for (int i = 0; i < 2; i++) {
          int block = g * L::SCALES / 8;
          scales[i] = L::scale(at, pos + 8 * i, block) | L::scale(at, pos + 8 * i + 1, block) << 16;
        }
      }
      UNROLL for (int d = 0; d < L::STEPS; d++) {
        u32 v[4];
        if constexpr (L::HALVES) ldmatrix4t(v, at + L::place(16 * j + lane % 8 + lane / 16 * 8, 2 * d + lane / 8 % 2));
        else UNROLL for (int i = 0; i < 2; i++) across<TYPE>(v + 2 * i, v + 2 * i + 1, w[2 * i][d / 2], w[2 * i + 1][d / 2], d % 2 * 2, scales[i]);
        UNROLL for (int n = 0; n < EIGHTS; n++) UNROLL for (int b = 0; b < L::LIMBS; b++) Eight::multiply(of[n].o[d], v, e[n][b][j]);
      }
    }
  }
};

// Places is where a lane's positions lie: of each unit one. Registers are few, so that what the
// launch's arguments say is worked out again.
struct Places {
  u32 pages; // where they stand in the metadata, less those before a sequence's first
  int last;
  u32 rows; // how many positions fewer than the last the first row sees, and the lane's queries: four bits each

  template <class S> METHOD Places(const AttendArgs &a, const S &p, int eights, int lane) {
    int group = a.cache.group;
    pages = (u32)a.meta[GROUPS + group * GROUP_INTS + PAGES] + group_field(a.meta, group, TABLE)[p.seq] - group_field(a.meta, group, FIRST)[p.seq];
    last = p.end - 1, rows = p.n - 1;
    UNROLL for (int i = 0; i < 2 * eights; i++) rows |= (u32)imax(p.n - 1 - (p.row(i / 2 * 8 + lane % 4 * 2 + i % 2) - p.row0), 0) << (4 + 4 * i);
  }
  METHOD int high(int which) const { return last - (rows >> 4 * which & 15); }
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
// Rows of 64 bytes are best read with their neighbours', whatever the length.
enum { FEW_SHORT = 32, FEW_SHORT_64 = 128, FEW_MANY = 2048 }; // units; heads of all spans
template <int ROW, class S> DEVICE bool short_span(const AttendArgs &a, const S &p) {
  return p.units <= (ROW == 64 ? FEW_SHORT_64 : FEW_SHORT) && a.cache.heads % 4 == 0 && a.meta[FEW_COUNT] * a.cache.heads >= FEW_MANY;
}

// attend_few: block (KV head and eight or sixteen queries, span, part of the positions), a warp
// taking every fourth unit. Of short spans a block has four KV heads, a warp each.
template <int TYPE, int DIM, int EIGHTS> DEVICE void attend_few(const AttendArgs &a) {
  using L = Layout<TYPE, DIM>;
  using Eight = ::Eight<TYPE, DIM>;
  constexpr int UNIT = L::UNIT, QUERIES = 8 * EIGHTS, WARP = QUERIES * (Eight::PART + 2), PART = QUERIES * (DIM + 2);
  using Span = ::Span<UNIT, QUERIES>;
  int warp = tid / 32, lane = tid % 32;
  const Cache &c = a.cache;
  let_next();
  if (by >= a.meta[FEW_COUNT]) {
    if (!a.beside) wait_ahead();
    return;
  }
  u32 base = aligned_shared();
  Decode<TYPE, DIM, EIGHTS> t;
  int step;
  {
    Span p(a);
    bool whole = short_span<L::ROW>(a, p);
    if (bz >= p.used || p.rows <= 0 || (whole && (p.kv % 4 || bz > 0))) return; // others wait: their end means that all before have ended
    int kv = p.kv + (whole ? warp : 0);
    step = whole ? UNIT : 4 * UNIT;
    // pos is the first position of the unit at hand; the block's end at stop.
    int pos = p.begin + (whole ? 0 : bz * p.share + warp) * UNIT, stop = p.begin + (whole ? p.units : imin(p.units, (bz + 1) * p.share)) * UNIT;
    Places places(a, p, EIGHTS, lane);
    int place = lane % UNIT;
    // Of units to come: the next but one has been looked up, the one after that is being.
    int at[2], rest[2], cell[2];
    UNROLL for (int i = 0; i < 2; i++) places.find(a, pos + step * i + place, at + i, rest + i);
    UNROLL for (int i = 0; i < 2; i++) cell[i] = at[i] * c.page + rest[i];
    places.find(a, pos + 2 * step + place, at, rest);
    if (!a.beside) wait_ahead();
    u32 from = kv * L::ROW + lane % L::CHUNKS * 16; // what the lane copies of a cell
    u32 mine = base + warp * L::RING, ring[3] = {mine, mine + L::TILE, mine + 2 * L::TILE};
    if (pos < stop) {
      L::fetch(c, false, from, cell[0], ring[0], lane);
      copy_commit();
      L::fetch(c, true, from, cell[0], ring[1], lane);
      copy_commit();
    }
    if (pos + step < stop) L::fetch(c, false, from, cell[1], ring[2], lane);
    copy_commit();
    UNROLL for (int n = 0; n < EIGHTS; n++) t.of[n].begin(a, p, kv, 8 * n, lane);
    float scale = a.scale * (LOG2E * L::TIMES);
    for (; pos < stop; pos += step) {
      float s[EIGHTS][L::SETS][4];
      u32 e[EIGHTS][L::LIMBS][L::SETS][2];
      copy_wait<2>();
      sync_warp();
      t.score(s, ring[0], lane);
      sync_warp(); // all have read it
      if (pos + step < stop) L::fetch(c, true, from, cell[1], ring[0], lane);
      copy_commit();
      if (pos < first_seen(places.last, c.window) || pos + UNIT - 1 > places.high(0)) {
        UNROLL for (int r = 0; r < 2 * EIGHTS; r++) {
          int lo = places.low(a, 1 + r), hi = places.high(1 + r);
          UNROLL for (int j = 0; j < L::SETS; j++) UNROLL for (int i = 0; i < 2; i++) {
            int at = pos + 16 * j + lane / 4 + 8 * i;
            if (at < lo || at > hi) s[r / 2][j][2 * i + r % 2] = -INF;
          }
        }
      }
      UNROLL for (int n = 0; n < EIGHTS; n++) t.of[n].weigh(s[n], e[n], scale);
      copy_wait<2>();
      sync_warp();
      t.add(e, ring[1], lane);
      cell[1] = at[0] * c.page + rest[0];
      sync_warp();
      if (pos + 2 * step < stop) L::fetch(c, false, from, cell[1], ring[1], lane);
      copy_commit();
      places.find(a, pos + 3 * step + place, at, rest);
      u32 used = ring[0];
      ring[0] = ring[2], ring[2] = ring[1], ring[1] = used;
    }
  }
  // What the loop had no use for is read again, so that it holds no registers meanwhile.
  Span p(a);
  int thread = thread_again();
  warp = thread / 32, lane = thread % 32;
  if (step == UNIT) {
    UNROLL for (int n = 0; n < EIGHTS; n++) t.of[n].store(a, p, p.kv + warp, 8 * n, lane);
    return;
  }
  copy_wait<0>();
  sync();
  int rows = p.rows, used = p.used, slot = by * gx + bx;
  float *parts = (float *)shared_place(base), *shared_work = a.work + (u64)slot * gz * PART;
  UNROLL for (int n = 0; n < EIGHTS; n++) t.of[n].leave(parts + warp * WARP, 8 * n, rows, QUERIES, lane);
  sync();
  // join adds up what parts have: of a row where its elements lie, where its maximum and its length.
  auto join = [&](const float *from, int parts_n, int stride, int row, int tail, bool last) INLINE {
    for (int i = thread; i < rows * (DIM / 2); i += 128) {
      int r = i / (DIM / 2), d = i % (DIM / 2), at = r * row + Eight::left(d), head = p.head(p.kv, r);
      float top = -INF, x = 0, y = 0, len = 0;
      for (int j = 0; j < parts_n; j++) top = fmax_(top, from[j * stride + tail + r]);
      float safe = last && a.sinks ? fmax_(top, a.sinks[head] * LOG2E) : top == -INF ? 0 : top;
      for (int j = 0; j < parts_n; j++) {
        float f = exp2_(from[j * stride + tail + r] - safe);
        x += from[j * stride + at] * f, y += from[j * stride + at + 1] * f;
        len += from[j * stride + tail + QUERIES + r] * f;
      }
      if (last) {
        if (a.sinks) len += exp2_(a.sinks[head] * LOG2E - safe);
        *(u32 *)((u16 *)a.dst.at + (u64)p.row(r) * a.dst.ld + head * DIM + 2 * d) = bf16x2(x / len, y / len);
      } else {
        float *out = shared_work + (u64)bz * PART;
        out[at - r * row + r * DIM] = x, out[at - r * row + r * DIM + 1] = y;
        if (d == 0) out[QUERIES * DIM + r] = top, out[QUERIES * DIM + QUERIES + r] = len;
      }
    }
  };
  join(parts, 4, WARP, Eight::PART, QUERIES * Eight::PART, used == 1);
  if (used == 1) return;
  SHARED u32 before;
  fence();
  sync();
  if (thread == 0) before = atomic_add(a.counts + slot, 1);
  sync();
  if (before != (u32)used - 1) return;
  fence();
  join(shared_work, used, PART, DIM, QUERIES * DIM, true);
  if (thread == 0) a.counts[slot] = 0;
}
// last_waits has the block that begins last wait for the kernel beside this one, so that an
// end still means that all before have ended.
DEVICE void last_waits(const AttendArgs &a) {
  if (a.beside && bx == gx - 1 && by == gy - 1 && bz == gz - 1) wait_ahead();
}

// FEW_BLOCKS share a processor. Two blocks of eight queries read what is kept twice, from the L2 cache
// once: of halves that would take longer than memory does, so there are kernels for sixteen.
enum { FEW_BLOCKS = SM >= 90 ? 4 : 3 };
#define FEW_KERNEL(prefix, name, type, dim, eights, blocks)                            \
  GLOBAL BOUNDS(128, blocks) prefix##_##name##_##dim(CONSTANT_ARG AttendArgs a) { \
    attend_few<type, dim, eights>(a);                                                  \
    last_waits(a);                                                                     \
  }
FEW_KERNEL(attend_few, f16, F16, 64, 1, FEW_BLOCKS)
FEW_KERNEL(attend_few, f16, F16, 128, 1, FEW_BLOCKS)
FEW_KERNEL(attend_few, bf16, BF16, 64, 1, FEW_BLOCKS)
FEW_KERNEL(attend_few, bf16, BF16, 128, 1, FEW_BLOCKS)
FEW_KERNEL(attend_few, e4m3, KEPT_E4M3, 64, 1, FEW_BLOCKS)
FEW_KERNEL(attend_few, e4m3, KEPT_E4M3, 128, 1, FEW_BLOCKS)
FEW_KERNEL(attend_few, q8, KEPT_Q8, 64, 1, FEW_BLOCKS)
FEW_KERNEL(attend_few, q8, KEPT_Q8, 128, 1, FEW_BLOCKS)
FEW_KERNEL(attend_few16, f16, F16, 64, 2, FEW_BLOCKS - 1)
FEW_KERNEL(attend_few16, f16, F16, 128, 2, FEW_BLOCKS - 1)
FEW_KERNEL(attend_few16, bf16, BF16, 64, 2, FEW_BLOCKS - 1)
FEW_KERNEL(attend_few16, bf16, BF16, 128, 2, 2)
