// Drawing tokens from rows of logits: what package sample does, with the same result
// for the same logits. Log weights and weights are computed by the same IEEE
// operations in float64, none of them fused, and weights are whole numbers of units
// (2^-34), so that their sums are exact in whatever order they are made.
#pragma once
#include "ops.h"

DEVICE double mul(double a, double b) { double r; asm("mul.rn.f64 %0, %1, %2;" : "=d"(r) : "d"(a), "d"(b)); return r; }
DEVICE double add(double a, double b) { double r; asm("add.rn.f64 %0, %1, %2;" : "=d"(r) : "d"(a), "d"(b)); return r; }
DEVICE double sub(double a, double b) { double r; asm("sub.rn.f64 %0, %1, %2;" : "=d"(r) : "d"(a), "d"(b)); return r; }
DEVICE double quotient(double a, double b) { double r; asm("div.rn.f64 %0, %1, %2;" : "=d"(r) : "d"(a), "d"(b)); return r; }
DEVICE s64 nearest(double x) { s64 r; asm("cvt.rni.s64.f64 %0, %1;" : "=l"(r) : "d"(x)); return r; }
DEVICE s64 below(double x) { s64 r; asm("cvt.rmi.s64.f64 %0, %1;" : "=l"(r) : "d"(x)); return r; }
DEVICE s64 beyond(double x) { s64 r; asm("cvt.rpi.s64.f64 %0, %1;" : "=l"(r) : "d"(x)); return r; }

// The table and the steps of exact.Exp: 2^(i/64), ln2/64.
static __attribute__((device)) const double exp_table[64] = {
    0x1.0000000000000p0, 0x1.02c9a3e778061p0, 0x1.059b0d3158574p0, 0x1.0874518759bc8p0,
    0x1.0b5586cf9890fp0, 0x1.0e3ec32d3d1a2p0, 0x1.11301d0125b51p0, 0x1.1429aaea92de0p0,
    0x1.172b83c7d517bp0, 0x1.1a35beb6fcb75p0, 0x1.1d4873168b9aap0, 0x1.2063b88628cd6p0,
    0x1.2387a6e756238p0, 0x1.26b4565e27cddp0, 0x1.29e9df51fdee1p0, 0x1.2d285a6e4030bp0,
    0x1.306fe0a31b715p0, 0x1.33c08b26416ffp0, 0x1.371a7373aa9cbp0, 0x1.3a7db34e59ff7p0,
    0x1.3dea64c123422p0, 0x1.4160a21f72e2ap0, 0x1.44e086061892dp0, 0x1.486a2b5c13cd0p0,
    0x1.4bfdad5362a27p0, 0x1.4f9b2769d2ca7p0, 0x1.5342b569d4f82p0, 0x1.56f4736b527dap0,
    0x1.5ab07dd485429p0, 0x1.5e76f15ad2148p0, 0x1.6247eb03a5585p0, 0x1.6623882552225p0,
    0x1.6a09e667f3bcdp0, 0x1.6dfb23c651a2fp0, 0x1.71f75e8ec5f74p0, 0x1.75feb564267c9p0,
    0x1.7a11473eb0187p0, 0x1.7e2f336cf4e62p0, 0x1.82589994cce13p0, 0x1.868d99b4492edp0,
    0x1.8ace5422aa0dbp0, 0x1.8f1ae99157736p0, 0x1.93737b0cdc5e5p0, 0x1.97d829fde4e50p0,
    0x1.9c49182a3f090p0, 0x1.a0c667b5de565p0, 0x1.a5503b23e255dp0, 0x1.a9e6b5579fdbfp0,
    0x1.ae89f995ad3adp0, 0x1.b33a2b84f15fbp0, 0x1.b7f76f2fb5e47p0, 0x1.bcc1e904bc1d2p0,
    0x1.c199bdd85529cp0, 0x1.c67f12e57d14bp0, 0x1.cb720dcef9069p0, 0x1.d072d4a07897cp0,
    0x1.d5818dcfba487p0, 0x1.da9e603db3285p0, 0x1.dfc97337b9b5fp0, 0x1.e502ee78b3ff6p0,
    0x1.ea4afa2a490dap0, 0x1.efa1bee615a27p0, 0x1.f50765b6e4540p0, 0x1.fa7c1819e90d8p0,
};

// exact_exp is exact.Exp for x in [-708, 0].
DEVICE double exact_exp(double x) {
  double t = add(mul(x, 0x1.71547652b82fep+6), 0x1.8p52);
  s64 n = (s64)(bits<u64>(t) << 13) >> 13;
  double f = sub(t, 0x1.8p52);
  double r = sub(sub(x, mul(f, 0x1.62e42fefp-7)), mul(f, 0x1.473de6af278edp-40));
  double r2 = mul(r, r);
  double inner = add(add(0.5, mul(r, 1. / 6)), mul(r2, add(1. / 24, mul(r, 1. / 120))));
  double p = add(r, mul(r2, inner));
  double v = exp_table[n & 63];
  v = add(v, mul(v, p));
  return mul(v, bits<double>((u64)((n >> 6) + 1023) << 52));
}

// AT_ONCE is how many logits a thread has on their way: of 64 registers, which so many threads have, four of them
// take what some cards' assemblers spill. 512 threads with eight take half as long again (H200).
enum { DRAW_THREADS = 1024, AT_ONCE = SM >= 90 ? 4 : 2, X_BINS = 201, X_COPIES = 4 };
#define UNITS 0x1p34
#define LOWEST_X -25.0
#define MAX_FLOAT bits<float>(0x7f7fffffu)

struct DrawView;

// DrawRow says how a row is drawn from: backend.SampleRow. Its lists are entries of
// three ints: a token, what is to be done, and room for the logit as it was.
struct DrawRow {
  double scale, top_p, min_p, u;
  double repetition, frequency, presence;
  int row, slot, greedy, top_k;
  int vocab, top;
  int bias, biases, ban, bans, seen, seens; // where, and how many
  int mask, mask_words;                     // of 32 tokens; where -1: none

  METHOD bool changes() const { return biases + bans + seens > 0; }
  METHOD bool partial(int cols) const { return mask >= 0 || vocab != cols; }
  METHOD DrawView view(const float *x, const int *lists) const;
};
DEVICE void atomic_add32(u32 *shared, u32 v) { asm volatile("red.shared.add.u32 [%0], %1;" ::"r"(shared_at(shared)), "r"(v) : "memory"); }
DEVICE void global_add64(u64 *p, u64 v) { asm volatile("red.global.add.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory"); }

// Weighed is what draw_weigh finds of a row: for each bin of log weights the weights and
// the tokens, and the weights of 32 parts.
struct Weighed {
  u64 bins[X_BINS], counts[X_BINS], parts[32], pad[2];
};
// DrawHead is what comes of it. peak and total are of the row as the model gave it.
struct DrawHead {
  int id;
  float logit, peak;
  int tops;
  double total;
};
struct DrawTop {
  float logit;
  int id;
};
enum { MAX_TOP = 20 };

struct DrawArgs {
  const DrawRow *rows;
  int *lists;
  float *logits;
  const int *best;
  int *slots;
  DrawHead *heads;
  DrawTop *tops;    // [rows, MAX_TOP]
  Weighed *weighed; // [rows]; zeros before
  int cols, pad;
};

// order makes floats' order that of numbers; NaNs are not asked about.
DEVICE u32 order(float v) {
  u32 b = v == 0 ? 0 : bits<u32>(v);
  return b >> 31 ? ~b : b | 0x80000000u;
}
DEVICE float unorder(u32 k) { return bits<float>(k >> 31 ? k & 0x7fffffffu : ~k); }

DEVICE u64 shfl_xor64(u64 v, int m) {
  u32 lo = shfl_xor((int)(u32)v, m), hi = shfl_xor((int)(u32)(v >> 32), m);
  return lo | (u64)hi << 32;
}
DEVICE u64 shfl_up64(u64 v, int d) {
  u32 lo = __nvvm_shfl_sync_up_i32(0xffffffffu, (int)(u32)v, d, 0), hi = __nvvm_shfl_sync_up_i32(0xffffffffu, (int)(u32)(v >> 32), d, 0);
  return lo | (u64)hi << 32;
}
DEVICE u64 warp_sum64(u64 v) {
  UNROLL for (int m = 16; m; m >>= 1) v += shfl_xor64(v, m);
  return v;
}
// warp_scan is the sum up to and with this lane's.
DEVICE u64 warp_scan(u64 v, int lane) {
  UNROLL for (int d = 1; d < 32; d <<= 1) {
    u64 o = shfl_up64(v, d);
    if (lane >= d) v += o;
  }
  return v;
}
DEVICE u32 ballot(bool p) { return __nvvm_vote_ballot_sync(0xffffffffu, p); }
DEVICE void atomic_add64(u64 *shared, u64 v) { asm volatile("red.shared.add.u64 [%0], %1;" ::"r"(shared_at(shared)), "l"(v) : "memory"); }

// DrawView is a row as all passes see it.
struct DrawView {
  const float *x;
  const u32 *mask; // nil: all may be drawn
  int n, mask_words;
  double peak, scale, min_p;

  METHOD float get(int i) const {
    if (i >= n || (mask && (i / 32 >= mask_words || !(mask[i / 32] >> (i % 32) & 1)))) return -INF;
    float v = x[i];
    return v > MAX_FLOAT ? MAX_FLOAT : v;
  }
  METHOD double log_weight(float v) const { return mul(sub((double)v, peak), scale); }
  METHOD u64 weight_at(double lx) const { return lx >= LOWEST_X ? (u64)nearest(mul(exact_exp(lx), UNITS)) : 0; }
  // weight is in units; 0 for what is not drawn.
  METHOD u64 weight(float v) const {
    u64 w = weight_at(log_weight(v));
    return mul((double)(s64)w, 1 / UNITS) >= min_p ? w : 0;
  }
  // bin is the higher, the less probable; X_BINS: as good as impossible.
  METHOD int bin(float v) const {
    double lx = log_weight(v);
    return lx >= LOWEST_X ? (int)(lx * -8) : X_BINS;
  }
};

// DrawSpace is the block's shared memory.
struct DrawSpace {
  DrawView v;
  u64 bins[DRAW_THREADS];
  u64 parts[32];
  u64 best[32];
  u64 above, all, need;
  u32 key, last;
  int hit;
  float raw;
  DrawHead head;
};

METHOD DrawView DrawRow::view(const float *x, const int *lists) const {
  return {x, mask >= 0 ? (const u32 *)lists + mask : nullptr, vocab, mask_words, 0, scale, min_p};
}

// Cut is where the tokens that may be drawn end: those above key, and the first
// ties of those at it.
struct Cut {
  u32 key, ties;
};

// block_best finds the best token that is worse than one of key and id; -1: none.
// Results are packed so that the greatest is the best: key, then ~id.
DEVICE u64 block_best(DrawSpace &s, u64 under) {
  const DrawView &v = s.v;
  u64 best = 0;
  for (int i = tid; i < v.n; i += AT_ONCE * DRAW_THREADS) {
    float f[AT_ONCE];
    UNROLL for (int j = 0; j < AT_ONCE; j++) f[j] = v.get(i + j * DRAW_THREADS);
    UNROLL for (int j = 0; j < AT_ONCE; j++) {
      if (!(f[j] > -INF)) continue;
      u64 p = (u64)order(f[j]) << 32 | (u32)~(i + j * DRAW_THREADS);
      if (p > best && p < under) best = p;
    }
  }
  UNROLL for (int m = 16; m; m >>= 1) {
    u64 o = shfl_xor64(best, m);
    if (o > best) best = o;
  }
  sync();
  if (tid % 32 == 0) s.best[tid / 32] = best;
  sync();
  best = s.best[tid % 32];
  UNROLL for (int m = 16; m; m >>= 1) {
    u64 o = shfl_xor64(best, m);
    if (o > best) best = o;
  }
  return best;
}
DEVICE int id_of(u64 best) { return best ? (int)~(u32)best : -1; }
DEVICE float logit_of(u64 best) { return unorder((u32)(best >> 32)); }

// find_bin looks for the first bin at which the sum over bins reaches need, with a
// bin a thread. It reports false if all is less. s.hit and s.above: which, and the sum before.
DEVICE bool find_bin(DrawSpace &s, u64 mine, u64 need) {
  int warp = tid / 32, lane = tid % 32;
  u64 sum = warp_scan(mine, lane);
  sync();
  if (lane == 31) s.parts[warp] = sum;
  sync();
  u64 before = warp_scan(s.parts[lane], lane);
  u32 lo = __nvvm_shfl_sync_idx_i32(0xffffffffu, (int)(u32)before, 31, 31), hi = __nvvm_shfl_sync_idx_i32(0xffffffffu, (int)(u32)(before >> 32), 31, 31);
  u64 all = lo | (u64)hi << 32;
  if (warp > 0) {
    lo = __nvvm_shfl_sync_idx_i32(0xffffffffu, (int)(u32)before, warp - 1, 31), hi = __nvvm_shfl_sync_idx_i32(0xffffffffu, (int)(u32)(before >> 32), warp - 1, 31);
    sum += lo | (u64)hi << 32;
  }
  if (sum >= need && sum - mine < need) s.hit = tid, s.above = sum - mine;
  if (tid == 0) s.all = all;
  sync();
  return s.all >= need;
}

// edge is the least order whose bin is at most b.
DEVICE u32 edge(const DrawView &v, int b) {
  u32 lo = order(-MAX_FLOAT), hi = order((float)v.peak);
  while (lo < hi) {
    u32 mid = lo + (hi - lo) / 2;
    if (v.bin(unorder(mid)) <= b) hi = mid;
    else lo = mid + 1;
  }
  return lo;
}

// cut_at finds where the sum of what tokens count reaches need, from the best on: a
// token counts 1, or its weight if weighted. Only those above from are looked at. With share,
// need is that part of all, extra included, which is not looked at. known, if not nil, is
// what the bins of log weights have. It reports false, and need in s.need, if all is less.
DEVICE bool cut_at(DrawSpace &s, const u64 *known, bool weighted, u64 need, double share, u64 extra, u32 from, Cut &out) {
  const DrawView &v = s.v;
  // By bins of log weights first: over them tokens are spread the best.
  u64 mine = 0;
  if (known) {
    if (tid < X_BINS) mine = known[tid];
  } else {
    s.bins[tid] = 0;
    sync();
    for (int i = tid; i < v.n; i += AT_ONCE * DRAW_THREADS) {
      float f[AT_ONCE];
      UNROLL for (int j = 0; j < AT_ONCE; j++) f[j] = v.get(i + j * DRAW_THREADS);
      UNROLL for (int j = 0; j < AT_ONCE; j++) {
        if (!(f[j] > -INF) || order(f[j]) <= from) continue;
        int b = v.bin(f[j]);
        u64 c = b >= X_BINS ? 0 : weighted ? v.weight(f[j]) : 1;
        if (c) atomic_add64(&s.bins[b * X_COPIES + tid % X_COPIES], c);
      }
    }
    sync();
    if (tid < X_BINS) UNROLL for (int j = 0; j < X_COPIES; j++) mine += s.bins[tid * X_COPIES + j];
  }
  if (share > 0) { // all is known only now
    find_bin(s, mine, 1);
    u64 all = s.all + extra;
    s64 n = beyond(mul(mul(share, mul((double)(s64)all, 1 / UNITS)), UNITS));
    need = n < 1 ? 1 : (u64)n;
  }
  if (tid == 0) s.need = need;
  if (!find_bin(s, mine, need)) return false;
  u64 above = s.above;
  if (tid == 0) s.key = edge(v, s.hit);
  if (tid == 32) s.last = s.hit == 0 ? order((float)v.peak) : edge(v, s.hit - 1) - 1;
  sync();
  u32 lo = s.key, hi = s.last;
  if (lo <= from) lo = from + 1;
  // Then by their order, until one is left.
  while (lo < hi) {
    int shift = 22 - __builtin_clz(hi - lo);
    if (shift < 0) shift = 0;
    sync();
    s.bins[tid] = 0;
    sync();
    for (int i = tid; i < v.n; i += AT_ONCE * DRAW_THREADS) {
      float f[AT_ONCE];
      UNROLL for (int j = 0; j < AT_ONCE; j++) f[j] = v.get(i + j * DRAW_THREADS);
      UNROLL for (int j = 0; j < AT_ONCE; j++) {
        u32 k = order(f[j]);
        if (!(f[j] > -INF) || k < lo || k > hi) continue;
        u64 c = weighted ? v.weight(f[j]) : 1;
        if (c) atomic_add64(&s.bins[(hi - k) >> shift], c);
      }
    }
    sync();
    find_bin(s, s.bins[tid], s.need - above);
    above += s.above;
    hi -= (u32)s.hit << shift;
    u32 least = (1u << shift) - 1;
    if (hi - lo > least) lo = hi - least;
  }
  u64 each = weighted ? v.weight(unorder(hi)) : 1;
  out.key = hi;
  out.ties = (u32)((s.need - above + each - 1) / each);
  return true;
}

// part_of is how many tokens of n, a multiple of 32, each of 32 parts has.
DEVICE int part_of(int n) { return ((n + 31) / 32 + 31) / 32 * 32; }

// locate draws: it inverts the cumulative distribution at u, in the order of ids.
// Each warp sums a part of what is left; the part that is hit is what is left then.
// known, if not nil, is the first sums.
DEVICE int locate(DrawSpace &s, const u64 *known, Cut cut, double u) {
  const DrawView &v = s.v;
  int warp = tid / 32, lane = tid % 32, begin = 0, end = v.n;
  u64 goal = 0;
  u32 tied = 0;
  bool ranked = cut.ties < (u32)v.n;
  for (bool first = true;; first = false) {
    int each = part_of(end - begin);
    int from = begin + warp * each, to = imin(end, from + each);
    u32 rank = tied;
    if (ranked) { // ties before this warp's part
      u32 n = 0;
      for (int i = from + lane; i < to; i += 32) {
        float f = v.get(i);
        n += f > -INF && order(f) == cut.key;
      }
      UNROLL for (int m = 16; m; m >>= 1) n += (u32)shfl_xor((int)n, m);
      sync();
      if (lane == 0) s.best[warp] = n;
      sync();
      for (int w = 0; w < warp; w++) rank += (u32)s.best[w];
    }
    u32 start = rank;
    u64 mine = 0;
    bool have = first && known;
    for (int i0 = from; i0 < to && !have; i0 += 32 * AT_ONCE) {
      float f[AT_ONCE];
      UNROLL for (int j = 0; j < AT_ONCE; j++) f[j] = i0 + 32 * j < to ? v.get(i0 + 32 * j + lane) : -INF;
      UNROLL for (int j = 0; j < AT_ONCE; j++) {
        u32 k = order(f[j]);
        bool there = f[j] > -INF, tie = ranked && there && k == cut.key;
        u32 ties = ballot(tie);
        u32 at = rank + __builtin_popcount(ties & ((1u << lane) - 1));
        rank += __builtin_popcount(ties);
        if (there && (k > cut.key || (k == cut.key && (!tie || at < cut.ties)))) mine += v.weight(f[j]);
      }
    }
    u64 sum = have ? known[warp] : warp_sum64(mine);
    sync();
    if (lane == 0) s.parts[warp] = sum;
    sync();
    if (first) {
      u64 all = 0;
      for (int w = 0; w < 32; w++) all += s.parts[w];
      goal = (u64)below(mul(mul(u, mul((double)(s64)all, 1 / UNITS)), UNITS));
      if (goal >= all) goal = all - 1;
    }
    int hit = 0;
    while (hit < 31 && s.parts[hit] <= goal) goal -= s.parts[hit++];
    if (each == 32 && !have) { // a token a lane
      if (warp == hit) {
        u64 upto = warp_scan(mine, lane);
        if (upto > goal && upto - mine <= goal) s.hit = from + lane;
      }
      sync();
      return s.hit;
    }
    if (warp == hit && lane == 0) s.above = start;
    sync();
    tied = (u32)s.above;
    begin += hit * each;
    end = imin(end, begin + each);
  }
}

// adjust does what single tokens' logits are changed by, and keeps them as they were.
DEVICE void adjust(const DrawRow &r, float *x, int *lists) {
  int n = r.biases + r.bans + r.seens;
  auto entry = [&](int i) INLINE {
    return lists + (i < r.biases ? r.bias + 3 * i : i < r.biases + r.bans ? r.ban + 3 * (i - r.biases) : r.seen + 3 * (i - r.biases - r.bans));
  };
  for (int i = tid; i < n; i += DRAW_THREADS) {
    int *e = entry(i);
    if (e[0] >= 0 && e[0] < r.vocab) e[2] = bits<int>(x[e[0]]);
  }
  sync();
  for (int i = tid; i < r.biases; i += DRAW_THREADS) {
    int *e = entry(i);
    if (e[0] >= 0 && e[0] < r.vocab) x[e[0]] += bits<float>(e[1]);
  }
  sync();
  for (int i = tid; i < r.bans; i += DRAW_THREADS) {
    int *e = entry(r.biases + i);
    if (e[0] >= 0 && e[0] < r.vocab) x[e[0]] = -INF;
  }
  sync();
  for (int i = tid; i < r.seens; i += DRAW_THREADS) {
    int *e = entry(r.biases + r.bans + i);
    if (e[0] < 0 || e[0] >= r.vocab) continue;
    int count = e[1] >> 1;
    double v = (double)x[e[0]];
    if (e[1] & 1 || count > 0) v = v > 0 ? quotient(v, r.repetition) : mul(v, r.repetition);
    if (count > 0) v = sub(sub(v, mul(r.frequency, (double)count)), r.presence);
    x[e[0]] = (float)v;
  }
  sync();
}

// told is what log probabilities are made of, from the row as the model gave it.
DEVICE void told(DrawSpace &s, const DrawRow &r, const float *x, DrawTop *tops) {
  DrawView &v = s.v;
  if (tid == 0) v = {x, nullptr, r.vocab, 0, 0, 1, 0};
  sync();
  u64 best = block_best(s, ~0ull);
  if (!best) return;
  if (tid == 0) s.head.peak = logit_of(best), v.peak = (double)logit_of(best);
  sync();
  double sum = 0;
  for (int i = tid; i < v.n; i += DRAW_THREADS) {
    double lx = v.log_weight(v.get(i));
    if (lx >= -700) sum = add(sum, exact_exp(lx));
  }
  UNROLL for (int m = 16; m; m >>= 1) sum = add(sum, bits<double>(shfl_xor64(bits<u64>(sum), m)));
  sync();
  if (tid % 32 == 0) s.parts[tid / 32] = bits<u64>(sum);
  sync();
  sum = 0;
  for (int w = 0; w < 32; w++) sum = add(sum, bits<double>(s.parts[w]));
  if (tid == 0) s.head.total = sum;
  for (int n = 0; n < r.top && best; best = block_best(s, best)) {
    if (tid == 0) tops[n] = {logit_of(best), id_of(best)}, s.head.tops = n + 1;
    n++;
  }
}

// draw_weigh does for whole rows what takes arithmetic, by many blocks: block (part, row).
GLOBAL BOUNDS(256, 4) draw_weigh(CONSTANT_ARG DrawArgs a) {
  SHARED u64 bins[X_BINS * 2];
  SHARED u32 counts[X_BINS];
  SHARED u64 sums[8];
  let_next();
  wait_ahead();
  const DrawRow &r = a.rows[by];
  if (r.greedy || r.changes() || r.partial(a.cols) || a.best[r.row] < 0) return;
  const float *x = a.logits + (u64)r.row * a.cols;
  DrawView v = r.view(x, a.lists);
  v.peak = (double)v.get(a.best[r.row]);
  Weighed &w = a.weighed[by];
  bool cuts = r.top_k > 0 || r.top_p < 1;
  int each = part_of(v.n), from = bx * each, to = imin(v.n, from + each);
  for (int i = tid; i < X_BINS * 2; i += 256) bins[i] = 0;
  for (int i = tid; i < X_BINS; i += 256) counts[i] = 0;
  sync();
  u64 sum = 0;
  for (int i = from + tid; i < to; i += 1024) {
    float f[4];
    UNROLL for (int j = 0; j < 4; j++) f[j] = i + 256 * j < to ? v.get(i + 256 * j) : -INF;
    UNROLL for (int j = 0; j < 4; j++) {
      int b = v.bin(f[j]);
      if (!(f[j] > -INF) || b >= X_BINS) continue;
      u64 c = v.weight(f[j]);
      sum += c;
      if (!cuts) continue;
      atomic_add32(&counts[b], 1);
      if (c) atomic_add64(&bins[2 * b + tid % 2], c);
    }
  }
  sum = warp_sum64(sum);
  if (tid % 32 == 0) sums[tid / 32] = sum;
  sync();
  if (tid == 0) {
    for (int i = 1; i < 8; i++) sum += sums[i];
    w.parts[bx] = sum;
  }
  for (int b = tid; cuts && b < X_BINS; b += 256) {
    if (counts[b]) global_add64(&w.counts[b], counts[b]);
    u64 c = bins[2 * b] + bins[2 * b + 1];
    if (c) global_add64(&w.bins[b], c);
  }
}

// A block a row.
GLOBAL BOUNDS(1024, 1) draw(CONSTANT_ARG DrawArgs a) {
  SHARED DrawSpace s;
  let_next();
  wait_ahead();
  const DrawRow &r = a.rows[bx];
  float *x = a.logits + (u64)r.row * a.cols;
  if (tid == 0) s.head = {-1, 0, -INF, 0, 0};
  if (r.top >= 0) told(s, r, x, a.tops + (u64)bx * MAX_TOP);
  bool changed = r.changes();
  if (changed) adjust(r, x, a.lists);
  if (tid == 0) s.v = r.view(x, a.lists);
  sync();
  int id;
  float peak = -INF;
  if (changed || r.partial(a.cols)) {
    u64 best = block_best(s, ~0ull);
    id = id_of(best);
    if (best) peak = logit_of(best);
  } else {
    id = a.best[r.row];
    if (id >= 0) peak = s.v.get(id);
  }
  if (id >= 0 && !r.greedy) {
    sync();
    if (tid == 0) s.v.peak = (double)peak;
    sync();
    const Weighed *w = changed || r.partial(a.cols) ? nullptr : a.weighed + bx;
    Cut cut = {0, ~0u};
    if (r.top_k > 0 && r.top_k < r.vocab && !cut_at(s, w ? w->counts : nullptr, false, r.top_k, 0, 0, 0, cut)) cut = {0, ~0u};
    if (r.top_p < 1) {
      u64 each = cut.key ? s.v.weight(unorder(cut.key)) : 0;
      Cut nucleus;
      if (cut_at(s, w && !cut.key ? w->bins : nullptr, true, 0, r.top_p > 0 ? r.top_p : 1e-300, cut.key ? each * cut.ties : 0, cut.key, nucleus)) cut = nucleus;
      else if (each) cut.ties = (u32)((s.need - s.all + each - 1) / each);
    }
    id = locate(s, w && !cut.key ? w->parts : nullptr, cut, r.u);
  }
  if (tid == 0) s.raw = id < 0 ? 0 : s.v.x[id];
  sync();
  int n = r.top >= 0 ? r.biases + r.bans + r.seens : 0;
  for (int i = tid; i < n; i += DRAW_THREADS) {
    const int *e = a.lists + (i < r.biases ? r.bias + 3 * i : i < r.biases + r.bans ? r.ban + 3 * (i - r.biases) : r.seen + 3 * (i - r.biases - r.bans));
    if (e[0] == id) s.raw = bits<float>(e[2]); // all that are have the same
  }
  sync();
  if (tid != 0) return;
  s.head.id = id, s.head.logit = s.raw;
  a.heads[bx] = s.head;
  if (r.slot >= 0) a.slots[r.slot] = imax(id, 0);
}
