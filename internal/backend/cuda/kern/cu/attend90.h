// Attention of prompts on Hopper, for heads of 128 in f16 or E4M3: warps that bring
// keys and values into shared memory, and two warpgroups that multiply from there
// (wgmma), 64 queries each.
//
// A block takes one job after the other: a tile of attend_many and a KV head. Its 128
// queries meet 128 positions a step. Queries, keys and values are tiles of [128, 128]
// f16 in two halves of 64 columns, whose rows of 128 bytes are swizzled as wgmma
// reads them. A step's keys and the values of the step before are multiplied one behind
// the other without a wait between them, and the warpgroups take turns at that: one
// makes weights of its scores while the products of the other run.
//
// (That a warpgroup's own values run while it makes weights is what the order below asks
// for; the assembler waits for both first. Kept from that, it was slower on an H200, and so
// was the tensor copy engine instead of warps that copy.)
#pragma once
#include "attend.h"
#include "hopper.h"

// E4M3 to f16 by the instruction that does it.
DEVICE uint2 e4m3_to_f16(u32 four) {
  uint2 r;
  asm("{ .reg .b16 l, h; mov.b32 {l, h}, %2; cvt.rn.f16x2.e4m3x2 %0, l; cvt.rn.f16x2.e4m3x2 %1, h; }" : "=r"(r.x), "=r"(r.y) : "r"(four));
  return r;
}
DEVICE void store_shared(u32 at, uint2 a, uint2 b) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(a.x), "r"(a.y), "r"(b.x), "r"(b.y) : "memory");
}
DEVICE uint4 load_shared(u32 at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
  return v;
}
enum { WIDE_HALF = 128 * 128 }; // bytes of 64 columns of a tile
template <int N> DEVICE void pin(float *v) { UNROLL for (int i = 0; i < N; i++) asm volatile("" : "+f"(v[i])::"memory"); }
template <int N> DEVICE void pin(u32 *v) { UNROLL for (int i = 0; i < N; i++) asm volatile("" : "+r"(v[i])::"memory"); }

// Lines are what a lane brings of ROWS rows of 128 elements. Of each 32 rows a lane knows
// where one lies: a line of a head among those of all heads, or -1 for zeros.
template <bool E4M3, int ROWS> struct Lines {
  const u8 *from;
  u32 stride, to;
  int first; // row

  METHOD Lines(const u8 *all, int heads, int head, int lane) {
    constexpr int SIZE = E4M3 ? 128 : 256;
    int chunk; // of 16 bytes
    // Of E4M3 a load takes four rows; of eight lanes four take half of a row and four of
    // the next, so that what they store goes to all banks.
    if (E4M3) first = lane % 8 / 4 + lane / 16 * 2, chunk = lane % 4 + lane / 8 % 2 * 4;
    else first = lane / 16, chunk = lane % 16;
    from = all + head * SIZE + chunk * 16;
    stride = heads * SIZE;
    int put = E4M3 ? 2 * chunk : chunk;
    to = put / 8 * WIDE_HALF + first * 128 + ((put % 8 ^ first) << 4);
  }
  // sum is not kept in a register from one use to the next.
  static METHOD u32 sum(u32 a, u32 b) { u32 r; asm volatile("add.u32 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
  METHOD const u8 *at(int line, int more, bool *there) const {
    int row = (int)sum((u32)first, more);
    int l = __nvvm_shfl_sync_idx_i32(0xffffffffu, line, row, 31);
    *there = l >= 0;
    return from + (u64)(u32)imax(l, 0) * stride;
  }
  METHOD void copy(u32 tile, const int *line) const {
    u32 put[4];
    UNROLL for (int k = 0; k < 4; k++) put[k] = sum(tile, to ^ k << 5);
    UNROLL for (int k = 0; k < ROWS / 2; k++) {
      bool there;
      const u8 *p = at(line[k / 16], k % 16 * 2, &there);
      copy16(put[k % 4] + k * 256, p, there);
    }
  }
  // drop starts copies of E4M3 as it lies: each lane's own, one after the other.
  METHOD void drop(u32 room, const int *line) const {
    UNROLL for (int k = 0; k < ROWS / 4; k++) {
      bool there;
      const u8 *p = at(line[k / 8], k % 8 * 4, &there);
      copy16(room + k * 512, p, there);
    }
  }
  // turn makes f16 of what was dropped, four loads at a time.
  METHOD void turn(u32 tile, u32 room) const {
    u32 put[2] = {sum(tile, to), sum(tile, to ^ 64)};
    UNROLL for (int k = 0; k < ROWS / 4; k += 4) {
      uint4 v[4];
      UNROLL for (int j = 0; j < 4; j++) v[j] = load_shared(room + (k + j) * 512);
      UNROLL for (int j = 0; j < 4; j++) {
        u32 at = put[j % 2] + (k + j) * 512;
        store_shared(at, e4m3_to_f16(v[j].x), e4m3_to_f16(v[j].y));
        store_shared(at ^ 16, e4m3_to_f16(v[j].z), e4m3_to_f16(v[j].w));
      }
    }
  }
};

// Slot is one in a ring of tiles.
template <int STAGES> struct Slot {
  int stage = 0;
  u32 phase = 0;
  METHOD void next() {
    if (++stage == STAGES) stage = 0, phase ^= 1;
  }
};

// WideJob is what the warps that multiply need to know of a tile.
struct WideJob {
  int row0, n, first, pos0, begin, end;
};

template <bool E4M3> struct WideAttend {
  static constexpr int STAGES = E4M3 ? 2 : 3;      // of keys, of values
  static constexpr int WARPS = 2, ROWS = 64; // that bring keys, and as many values; rows each
  static constexpr u32 HALF = WIDE_HALF, TILE = 2 * HALF;

  u32 q, keys, values, raw;       // tiles; raw: two each of keys and values in E4M3, half as large
  u32 full[2], empty[2], q_empty; // barriers: of keys, of values
  WideJob *jobs;                  // two, in turn

  METHOD WideAttend() {
    q = aligned_shared(), keys = q + TILE, values = keys + STAGES * TILE, raw = values + STAGES * TILE;
    full[0] = raw + (E4M3 ? 2 * TILE : 0), full[1] = full[0] + 32, empty[0] = full[1] + 32, empty[1] = empty[0] + 32, q_empty = empty[1] + 32;
    jobs = (WideJob *)shared_place(q_empty + 16);
    if (tid == 0) {
      UNROLL for (int side = 0; side < 2; side++) UNROLL for (int s = 0; s < STAGES; s++) {
        barrier_init(full[side] + 8 * s, WARPS);
        barrier_init(empty[side] + 8 * s, 8);
      }
      barrier_init(q_empty, 8);
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    sync();
  }
  // Jobs are taken from those that see most, dealt out to and fro.
  static METHOD int job_of(int round) { return round * gx + (round % 2 ? gx - 1 - bx : bx); }
  static METHOD int all_jobs(const AttendArgs &a) { return a.meta[MANY_COUNT] * a.cache.heads; }

  static METHOD WideJob find(const AttendArgs &a, int job, int per) {
    const int *list = field(a.meta, MANY) + 3 * (a.meta[MANY_COUNT] - 1 - job / a.cache.heads);
    WideJob j = {list[0], list[1], list[2], field(a.meta, POS)[list[0]], 0, 0};
    j.begin = first_seen(j.pos0 + j.first / per, a.cache.window);
    j.end = j.pos0 + imin(j.n - 1, (j.first + 127) / per) + 1;
    return j;
  }

  // bring fills one side's tiles, each warp ROWS of them.
  template <bool VALUES> METHOD void bring(const AttendArgs &a) const {
    const Cache &c = a.cache;
    int lane = tid % 32, warp = tid / 32 % WARPS, all = all_jobs(a), per = a.heads / c.heads;
    u32 tiles = (VALUES ? values : keys) + warp * ROWS * 128, room = raw + (VALUES ? TILE : 0) + warp * ROWS * 128 + lane * 16;
    Slot<STAGES> ring;
    bool again = false; // the ring has been filled once
    u32 other = 0;      // of the two rooms
    auto here = [&](int stage) INLINE { // a tile is there
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      sync_warp();
      if (lane == 0) barrier_arrive(full[VALUES] + 8 * stage);
    };
    for (int round = 0, job; (job = job_of(round)) < all; round++) {
      WideJob j = find(a, job, per);
      int kv = job % c.heads, seq = field(a.meta, SEQ)[j.row0], begin = j.begin, end = j.end, last = 0;
      const int *pages = group_field(a.meta, c.group, PAGES) + group_field(a.meta, c.group, TABLE)[seq] - group_field(a.meta, c.group, FIRST)[seq];
      Lines<E4M3, ROWS> lines((const u8 *)(VALUES ? c.v : c.k), c.heads, kv, lane);
      int cell[ROWS / 32];
      auto look = [&](int p) INLINE {
        p += warp * ROWS + lane;
        UNROLL for (int k = 0; k < ROWS / 32; k++, p += 32) cell[k] = p < end ? pages[p / c.page] * c.page + p % c.page : -1;
      };
      look(begin);
      if (!VALUES) queries(a, round, kv, per, warp, lane);
      if constexpr (E4M3) {
        lines.drop(room + other, cell);
        copy_commit();
        look(begin + 128);
        if (begin + 128 < end) lines.drop(room + (other ^ HALF), cell);
        copy_commit();
        look(begin + 256);
      }
      for (int p = begin; p < end; p += 128) {
        u32 tile = tiles + ring.stage * TILE;
        if constexpr (E4M3) copy_wait<1>();
        if (again) barrier_wait(empty[VALUES] + 8 * ring.stage, ring.phase ^ 1);
        if constexpr (E4M3) {
          lines.turn(tile, room + other);
          here(ring.stage);
          if (p + 256 < end) lines.drop(room + other, cell);
          copy_commit();
          look(p + 384);
          other ^= HALF;
        } else {
          lines.copy(tile, cell);
          copy_commit();
          look(p + 128);
          if (p > begin) {
            copy_wait<1>();
            here(last);
          }
          last = ring.stage;
        }
        ring.next();
        again = again || ring.stage == 0;
      }
      if constexpr (!E4M3) {
        copy_wait<0>();
        here(last);
      }
    }
  }
  // queries says what the job is, which takes no registers until then, and starts a
  // warp's copies of its rows: a row is a head of a token; those beyond the span are zeros.
  METHOD void queries(const AttendArgs &a, int round, int kv, int per, int warp, int lane) const {
    if (round > 0) barrier_wait(q_empty, (round - 1) & 1);
    WideJob j = find(a, job_of(round), per);
    if (warp == 0 && lane == 0) jobs[round % 2] = j;
    int line[ROWS / 32], i = j.first + warp * ROWS + lane;
    UNROLL for (int k = 0; k < ROWS / 32; k++, i += 32) line[k] = i < j.n * per ? (j.row0 + i / per) * (a.q.ld / 128) + kv * per + i % per : -1;
    Lines<false, ROWS>((const u8 *)a.q.at, 1, 0, lane).copy(q + warp * ROWS * 128, line);
  }

  // Of a warpgroup's 64 rows a thread has two, and of those 32 columns.
  METHOD void multiply(const AttendArgs &a) const {
    int group = tid / 128 - 1, lane = tid % 32, all = all_jobs(a), per = a.heads / a.cache.heads;
    Slot<STAGES> ring;
    auto await = [&](u32 at, const Slot<STAGES> &r) INLINE { barrier_wait(at + 8 * r.stage, r.phase); };
    float s[64], o[64];
    u32 p[32];
    UNROLL for (int i = 0; i < 64; i++) s[i] = 0;
    u64 dq = describe(q + group * 64 * 128), dk = describe(keys);
    // The values' columns are neighbours: halves are HALF apart, eight rows a kilobyte.
    u64 dv = describe(values) + ((u64)(HALF / 16 - 1) << 16);
    float scale = a.scale * LOG2E;
    auto arrive = [&](u32 at) INLINE { if (lane == 0) barrier_arrive(at); };
    auto score = [&](int stage) INLINE {
      asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
      UNROLL for (int k = 0; k < 8; k++) {
        u64 at = k / 4 * (HALF / 16) + k % 4 * 2;
        wgmma_f16_128(s, dq + at, dk + stage * (TILE / 16) + at, k > 0);
      }
      asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    };
    auto gather = [&](int stage) INLINE { // values by their weights
      asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
      UNROLL for (int k = 0; k < 8; k++) wgmma_f16_128t(o, p + 4 * k, dv + stage * (TILE / 16) + k * 128);
      asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    };
    auto weights = [&]() INLINE {
      UNROLL for (int i = 0; i < 32; i++) p[i] = f16x2(s[2 * i], s[2 * i + 1]);
    };
    // A turn is barrier 2 for the first warpgroup, 3 for the second.
    if (group == 1) asm volatile("bar.arrive 2, 256;" ::: "memory");
    for (int round = 0, job; (job = job_of(round)) < all; round++) {
      await(full[0], ring);
      score(ring.stage);
      WideJob j = jobs[round % 2];
      int first = j.first + group * 64 + tid / 32 % 4 * 16 + lane / 4;
      int lo[2], hi[2]; // in a step's columns of this thread
      UNROLL for (int h = 0; h < 2; h++) {
        int i = first + 8 * h, pos = i < j.n * per ? j.pos0 + i / per : -1;
        hi[h] = pos - j.begin - lane % 4 * 2;
        lo[h] = first_seen(imax(pos, 0), a.cache.window) - j.begin - lane % 4 * 2;
      }
      float m[2] = {-INF, -INF}, l[2] = {0, 0};
      UNROLL for (int i = 0; i < 64; i++) o[i] = 0;
      int steps = (j.end - j.begin + 127) / 128, firstPos = j.pos0 + j.first / per, low = first_seen(j.end - 1, a.cache.window);
      // soft turns scores into weights that are to be divided by l, and says by what those
      // of before are multiplied.
      auto soft = [&](int at, float *factor) INLINE {
        int pos = j.begin + at;
        if (pos + 127 > firstPos || pos < low) {
          UNROLL for (int i = 0; i < 64; i++) {
            int col = i / 4 * 8 + i % 2 + at, h = i / 2 % 2;
            if (col > hi[h] || col < lo[h]) s[i] = -INF;
          }
        }
        UNROLL for (int h = 0; h < 2; h++) {
          float top[4];
          UNROLL for (int i = 0; i < 4; i++) top[i] = fmax_(s[8 * i + 2 * h], s[8 * i + 2 * h + 1]);
          UNROLL for (int i = 0; i < 16; i++) if (i % 2 || i >= 8) top[i / 2 % 4] = fmax_(top[i / 2 % 4], fmax_(s[4 * i + 2 * h], s[4 * i + 2 * h + 1]));
          float best = fmax_(fmax_(top[0], top[1]), fmax_(top[2], top[3]));
          best = fmax_(best, shfl_xor(best, 1));
          best = fmax_(best, shfl_xor(best, 2));
          best = fmax_(m[h], best * scale);
          float safe = best == -INF ? 0 : best; // a row that sees nothing yet
          factor[h] = exp2_(m[h] - safe);
          m[h] = best;
          float sum[4] = {0, 0, 0, 0};
          UNROLL for (int i = 0; i < 32; i++) {
            float &v = s[i / 2 * 4 + 2 * h + i % 2];
            v = exp2_(__builtin_fmaf(v, scale, -safe));
            sum[i % 4] += v;
          }
          l[h] = l[h] * factor[h] + ((sum[0] + sum[1]) + (sum[2] + sum[3]));
        }
      };
      float factor[2];
      asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
      pin<64>(s);
      arrive(empty[0] + 8 * ring.stage);
      if (steps == 1) arrive(q_empty);
      soft(0, factor);
      weights();
      for (int k = 1; k < steps; k++) {
        Slot<STAGES> before = ring;
        ring.next();
        await(full[0], ring);
        asm volatile("bar.sync %0, 256;" ::"r"(2 + group) : "memory");
        score(ring.stage);
        await(full[1], before);
        gather(before.stage);
        asm volatile("bar.arrive %0, 256;" ::"r"(3 - group) : "memory");
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
        pin<64>(s);
        arrive(empty[0] + 8 * ring.stage);
        if (k == steps - 1) arrive(q_empty);
        soft(k * 128, factor);
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        pin<64>(o);
        pin<32>(p);
        arrive(empty[1] + 8 * before.stage);
        UNROLL for (int i = 0; i < 64; i++) o[i] *= factor[i / 2 % 2];
        weights();
      }
      await(full[1], ring);
      gather(ring.stage);
      asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
      pin<64>(o);
      pin<32>(p);
      arrive(empty[1] + 8 * ring.stage);
      ring.next();
      put(a, j, o, m, l, first, job % a.cache.heads, per, lane);
    }
  }
  // put stores a thread's part of two rows. Four lanes have each two of eight columns:
  // they change that for all eight of every fourth.
  static METHOD void put(const AttendArgs &a, const WideJob &j, const float *o, const float *m, float *l, int first, int kv, int per, int lane) {
    UNROLL for (int h = 0; h < 2; h++) {
      l[h] += shfl_xor(l[h], 1);
      l[h] += shfl_xor(l[h], 2);
      int i = first + 8 * h;
      bool there = i < j.n * per;
      if (a.sinks && there) l[h] += exp2_(fmin_(a.sinks[kv * per + i % per] * LOG2E - m[h], 120)); // more leaves nothing of the rest
      float f = 1 / l[h];
      u16 *out = (u16 *)a.dst.at + (u64)(j.row0 + i / per) * a.dst.ld + (kv * per + i % per) * 128 + lane % 4 * 8;
      UNROLL for (int g = 0; g < 4; g++) {
        u32 w[4];
        UNROLL for (int k = 0; k < 4; k++) w[k] = bf16x2(o[16 * g + 4 * k + 2 * h] * f, o[16 * g + 4 * k + 2 * h + 1] * f);
        UNROLL for (int b = 1; b < 3; b++) UNROLL for (int k = 0; k < 4; k++) {
          if (k & b) continue;
          bool odd = lane & b;
          u32 even = w[k], other = w[k + b], got = (u32)shfl_xor((int)(odd ? even : other), b);
          w[k] = odd ? got : even;
          w[k + b] = odd ? other : got;
        }
        if (there) *(uint4 *)(out + g * 32) = {w[0], w[1], w[2], w[3]};
      }
    }
  }

  static METHOD void run(const AttendArgs &a) {
    WideAttend w;
    if (a.beside) { // the next does not wait, so it begins when all before have ended
      wait_ahead();
      let_next();
    } else {
      let_next();
      wait_ahead();
    }
    if (tid < 128) {
      asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(72));
      if (tid / 32 < WARPS) w.template bring<false>(a);
      else w.template bring<true>(a);
    } else {
      asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(216));
      w.multiply(a);
    }
  }
};
GLOBAL BOUNDS(384, 1) attend_wide_128(CONSTANT_ARG AttendArgs a) { WideAttend<false>::run(a); }
GLOBAL BOUNDS(384, 1) attend_wide8_128(CONSTANT_ARG AttendArgs a) { WideAttend<true>::run(a); }
