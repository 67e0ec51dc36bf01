// wgmma instructions by their width, for weights in E4M3 and bf16 alike.
#pragma once
#include "dev.h"

// Operands: the first N, and that many sums at d.
#define NUMBERS_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define NUMBERS_16 NUMBERS_8 \
  ",%8,%9,%10,%11,%12,%13,%14,%15"
#define NUMBERS_32 NUMBERS_16 \
  ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define NUMBERS_64 NUMBERS_32 \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define NUMBERS_128 NUMBERS_64 \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79" \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95" \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
  ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SIXTEEN(d, i) FOUR(d, i), FOUR(d, i + 4), FOUR(d, i + 8), FOUR(d, i + 12)
#define SUMS_8(d) FOUR(d, 0), FOUR(d, 4)
#define SUMS_16(d) SIXTEEN(d, 0)
#define SUMS_32(d) SUMS_16(d), SIXTEEN(d, 16)
#define SUMS_64(d) SUMS_32(d), SIXTEEN(d, 32), SIXTEEN(d, 48)
#define SUMS_128(d) SUMS_64(d), SIXTEEN(d, 64), SIXTEEN(d, 80), SIXTEEN(d, 96), SIXTEEN(d, 112)

// WGMMA is one that takes both operands from shared memory: a 64 rows, b columns; with add
// the product is added to d, else it replaces it. Types of 16 bits say how their operands lie.
#define WGMMA(name, n, A, B, ADD, shape, lie)                                             \
  DEVICE void name(float *d, u64 a, u64 b, int add) {                                     \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, " ADD ", 0; wgmma.mma_async.sync.aligned." \
        shape " {" NUMBERS_##n "}, " A ", " B ", p, 1, 1" lie "; }"                         \
        : SUMS_##n(d) : "l"(a), "l"(b), "r"(add));                                        \
  }
WGMMA(wgmma_bf16_16, 8, "%8", "%9", "%10", "m64n16k16.f32.bf16.bf16", ", 0, 0")
WGMMA(wgmma_e4m3_16, 8, "%8", "%9", "%10", "m64n16k32.f32.e4m3.e4m3", "")
WGMMA(wgmma_bf16_32, 16, "%16", "%17", "%18", "m64n32k16.f32.bf16.bf16", ", 0, 0")
WGMMA(wgmma_e4m3_32, 16, "%16", "%17", "%18", "m64n32k32.f32.e4m3.e4m3", "")
WGMMA(wgmma_bf16_64, 32, "%32", "%33", "%34", "m64n64k16.f32.bf16.bf16", ", 0, 0")
WGMMA(wgmma_e4m3_64, 32, "%32", "%33", "%34", "m64n64k32.f32.e4m3.e4m3", "")
WGMMA(wgmma_bf16_128, 64, "%64", "%65", "%66", "m64n128k16.f32.bf16.bf16", ", 0, 0")
WGMMA(wgmma_e4m3_128, 64, "%64", "%65", "%66", "m64n128k32.f32.e4m3.e4m3", "")
WGMMA(wgmma_bf16_256, 128, "%128", "%129", "%130", "m64n256k16.f32.bf16.bf16", ", 0, 0")
WGMMA(wgmma_e4m3_256, 128, "%128", "%129", "%130", "m64n256k32.f32.e4m3.e4m3", "")
// 64 queries by 128 positions in f16, both from shared memory.
WGMMA(wgmma_f16_128, 64, "%64", "%65", "%66", "m64n128k16.f32.f16.f16", ", 0, 0")
#undef WGMMA

// 64 rows of f16 from registers by 128 columns whose neighbours lie side by side.
DEVICE void wgmma_f16_128t(float *d, const u32 *a, u64 b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" NUMBERS_64 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
      : SUMS_64(d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
