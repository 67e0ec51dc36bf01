// What CUDA's own headers would give: types, thread indexes and the PTX
// instructions that the kernels use. The kernels are compiled by plain clang,
// which has none of those headers and does not check inline PTX; ptxas does.
#pragma once

#define GLOBAL extern "C" __attribute__((global)) void
#define DEVICE static __attribute__((device)) __inline__ __attribute__((always_inline))
#define INLINE __attribute__((always_inline))
#define METHOD __attribute__((device)) __inline__ __attribute__((always_inline))
#define SHARED __attribute__((shared))
#define BOUNDS(threads, blocks) __attribute__((launch_bounds(threads, blocks)))
#define CONSTANT_ARG const __attribute__((grid_constant))
#define UNROLL _Pragma("unroll")
// Loops that stay loops: code has to be read, too.
#define ROLLED _Pragma("nounroll")

typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

struct alignas(8) uint2 { u32 x, y; };
struct alignas(16) uint4 { u32 x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(64) TensorMap { u64 opaque[16]; };

#define tid ((int)__nvvm_read_ptx_sreg_tid_x())
#define bx ((int)__nvvm_read_ptx_sreg_ctaid_x())
#define by ((int)__nvvm_read_ptx_sreg_ctaid_y())
#define bz ((int)__nvvm_read_ptx_sreg_ctaid_z())
#define gx ((int)__nvvm_read_ptx_sreg_nctaid_x())
#define gy ((int)__nvvm_read_ptx_sreg_nctaid_y())
#define gz ((int)__nvvm_read_ptx_sreg_nctaid_z())

DEVICE int imin(int a, int b) { return a < b ? a : b; }
DEVICE int imax(int a, int b) { return a > b ? a : b; }

DEVICE void sync() { __syncthreads(); }
DEVICE void sync_256() { asm volatile("bar.sync 1, 256;" ::: "memory"); }
DEVICE void sync_warp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

// A kernel may begin before the one ahead has ended. Each says first that the next
// may begin as well (let_next), does what needs nothing of the one ahead, and
// waits until that has ended (wait_ahead) before it reads, writes or leaves. So an end
// means that all before have ended. Without the launch attribute it is nothing.
DEVICE void wait_ahead() {
#if SM >= 90
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
DEVICE void let_next() {
#if SM >= 90
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

template <class T, class F> DEVICE T bits(F v) { return __builtin_bit_cast(T, v); }

DEVICE float shfl_xor(float v, int m) { return __nvvm_shfl_sync_bfly_f32(0xffffffffu, v, m, 31); }
DEVICE int shfl_xor(int v, int m) { return __nvvm_shfl_sync_bfly_i32(0xffffffffu, v, m, 31); }
DEVICE float warp_sum(float v) {
  UNROLL for (int m = 16; m; m >>= 1) v += shfl_xor(v, m);
  return v;
}
DEVICE float warp_max(float v) {
  UNROLL for (int m = 16; m; m >>= 1) { float o = shfl_xor(v, m); v = v > o ? v : o; }
  return v;
}

DEVICE float fmax_(float a, float b) { float r; asm("max.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
DEVICE float fmin_(float a, float b) { float r; asm("min.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
DEVICE float exp2_(float x) { float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
DEVICE float rsqrt_(float x) { float r; asm("rsqrt.approx.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
DEVICE float rcp_(float x) { float r; asm("rcp.approx.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
DEVICE float sin_(float x) { float r; asm("sin.approx.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
DEVICE float cos_(float x) { float r; asm("cos.approx.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
DEVICE double rint_(double x) { double r; asm("cvt.rni.f64.f64 %0, %1;" : "=d"(r) : "d"(x)); return r; }
#define LOG2E 1.4426950408889634f
#define INF bits<float>(0x7f800000u)
DEVICE float exp_(float x) { return exp2_(x * LOG2E); }
// tanh by exp, not tanh.approx, which is off by 5e-4.
DEVICE float tanh_(float x) {
  float a = x < 0 ? -x : x;
  float e = exp_(-2 * a);
  float t = a < 0.02f ? a - a * a * a * (1.0f / 3) : (1 - e) * rcp_(1 + e);
  return x < 0 ? -t : t;
}

// bf16 and f16, two in a register: the lower half is the first.
DEVICE float bf16_lo(u32 v) { return bits<float>(v << 16); }
DEVICE float bf16_hi(u32 v) { return bits<float>(v & 0xffff0000u); }
DEVICE float bf16_f(u16 v) { return bits<float>((u32)v << 16); }
DEVICE u32 bf16x2(float lo, float hi) { u32 r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo)); return r; }
DEVICE u16 to_bf16(float v) { u16 r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
DEVICE u32 f16x2(float lo, float hi) { u32 r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo)); return r; }
DEVICE u16 to_f16(float v) { u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
DEVICE float f16_f(u16 v) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v)); return r; }
DEVICE float f16_lo(u32 v) { return f16_f((u16)v); }
DEVICE float f16_hi(u32 v) { return f16_f((u16)(v >> 16)); }

// E4M3 to f16 by moving bits, on every target alike. The result is 2^-8 of the
// value: the formats' biases differ by 8. NaN (0x7f) becomes 480/256.
#define E4M3_SCALE 256.0f
DEVICE u32 prmt(u32 a, u32 b, u32 s) { u32 r; asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(s)); return r; }
DEVICE u32 e4m3_halves(u32 two) { return (two & 0x80008000u) | ((two & 0x7f007f00u) >> 1); }
DEVICE u32 e4m3_lo(u32 four) { return e4m3_halves(prmt(four, 0, 0x1404)); } // bytes 0, 1
DEVICE u32 e4m3_hi(u32 four) { return e4m3_halves(prmt(four, 0, 0x3424)); } // bytes 2, 3
DEVICE u32 mul_halves(u32 a, u32 b) { u32 r; asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
DEVICE u32 sub_halves(u32 a, u32 b) { u32 r; asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
// Bytes with a sign to f16: 1024 and 128 more, by their bits, less as much.
DEVICE u32 s8_lo(u32 four) { return sub_halves(prmt(four ^ 0x80808080u, 0x64646464u, 0x4140), 0x64806480u); }
DEVICE u32 s8_hi(u32 four) { return sub_halves(prmt(four ^ 0x80808080u, 0x64646464u, 0x4342), 0x64806480u); }
// To E4M3, to nearest even, clamped to 448.
DEVICE u8 to_e4m3(float v) {
  u32 b = bits<u32>(v), sign = (b >> 24) & 0x80;
  float a = bits<float>(b & 0x7fffffffu);
  if (!(a < 448.0f)) return (u8)(sign | 0x7e);
  if (a < 0.015625f) { // subnormal: multiples of 2^-9
    int n;
    asm("cvt.rni.s32.f32 %0, %1;" : "=r"(n) : "f"(a * 512.0f));
    return (u8)(sign | (u32)n);
  }
  u32 m = bits<u32>(a);
  m += 0x7ffffu + ((m >> 20) & 1);
  return (u8)(sign | ((m >> 20) - (120u << 3)));
}

DEVICE u32 e4m3x2(float lo, float hi) {
#if SM >= 90
  u16 r;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(r) : "f"(hi), "f"(lo));
  return r;
#else
  return to_e4m3(lo) | (u32)to_e4m3(hi) << 8;
#endif
}

// Bytes 0, 1 and 2, 3 as f16, the values themselves: one instruction on Hopper. NaN stays NaN.
#if SM >= 90
DEVICE u32 half_lo(u32 four) { u32 r; asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rn.f16x2.e4m3x2 %0, l; }" : "=r"(r) : "r"(four)); return r; }
DEVICE u32 half_hi(u32 four) { u32 r; asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rn.f16x2.e4m3x2 %0, h; }" : "=r"(r) : "r"(four)); return r; }
#endif

DEVICE int dp4a(int a, int b, int c) { int r; asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c)); return r; }

// Weights are read once a step: they must not push out what is read again.
DEVICE uint4 load_once(const void *p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
DEVICE uint4 load4(const void *p) { return *(const uint4 *)p; }

DEVICE u32 shared_at(const void *p) { return (u32)(u64)(__attribute__((address_space(3))) const void *)p; }

DEVICE void copy16(u32 dst, const void *src, bool there) {
  int n = there ? 16 : 0; // the rest is zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(n) : "memory");
}
template <int BYTES> DEVICE void copy_few(u32 dst, const void *src, bool there) {
  int n = there ? BYTES : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(dst), "l"(src), "n"(BYTES), "r"(n) : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

DEVICE void ldmatrix4(u32 *r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
DEVICE void ldmatrix4t(u32 *r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
DEVICE void mma_bf16(float *c, const u32 *a, const u32 *b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void mma_f16(float *c, const u32 *a, const u32 *b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE void fence() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }
DEVICE u32 atomic_add(u32 *p, u32 v) { u32 r; asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(r) : "l"(p), "r"(v) : "memory"); return r; }

extern SHARED __attribute__((aligned(16))) u8 dynamic[];

// aligned_shared is where tiles may begin: the launch gives a kilobyte more than
// they take, since linkers do not keep to an alignment that dynamic asks for.
DEVICE u32 aligned_shared() { return (shared_at(dynamic) + 1023) & ~1023u; }
