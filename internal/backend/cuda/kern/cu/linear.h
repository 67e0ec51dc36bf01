// What the products of weights and activations have in common.
#pragma once
#include "dev.h"

// How an activation is stored.
enum { F32 = 0, BF16 = 1, F16 = 2 };

// Out is one matrix of a group, and where its product goes.
struct Out {
  const void *w;      // [rows, ld of the type]
  const float *scale; // [rows], of E4M3; of GGUF's blocks the f16 scales that are stored apart; or nil
  const float *bias;  // [rows], or nil
  void *dst;          // [tokens, ldd] of f32 or bf16
  int rows, ldd;
  int type;  // of dst
  int tiles; // of this and the ones before
};

enum { GROUP = 3 };

// put stores a product.
template <class T> DEVICE void put(const Out &o, int token, int row, float v) {
  if (o.bias) v += o.bias[row];
  T *at = (T *)o.dst + (u64)token * o.ldd + row;
  if constexpr (sizeof(T) == 4) *at = v;
  else *at = to_bf16(v);
}
