// The inner loops of the CPU kernels: raw pointers only, one set of them for each instruction set, chosen once.
//
// Shapes: V vocabulary, D hidden, F FFN width.
#pragma once

#include <cstdint>

#include "rows.h"

namespace harness {

struct bfloat16 {
  uint16_t bits;
};

template <typename T, typename A>
struct Kernels {
  // Gives one row's losses and statistics.
  RowLoss<A> (*distillation_row)(const T* s_V, const T* t_V, int64_t V, const RowTerms<A>&, RowStatistics<A>&);
  // Writes the row's gradient by s; grad_V may be s_V. `streamed`: past the caches, for a result not read soon.
  void (*distillation_row_backward)(
      const T* s_V, const T* t_V, T* grad_V, int64_t V, const RowTerms<A>&, const RowStatistics<A>&, bool streamed);
  // Gives the inner products s·t, s·s and t·t, or in `products[0]` the sum of (s - t)².
  void (*hidden_row)(const T* s_D, const T* t_D, int64_t D, bool cosine, double products[3]);
  // Writes by_student · s + by_teacher · t.
  void (*hidden_row_slope)(
      const T* s_D, const T* t_D, T* slope_D, int64_t D, A by_student, A by_teacher, bool streamed);
  // Writes h = gelu(pre).
  void (*gelu_row)(const T* pre_F, T* h_F, int64_t F);
  // Writes h = gelu(pre), turns slope = dL/dh into dL/dpre, and adds dL/dpre and h·dL/dh to two sums over rows.
  void (*gelu_row_backward)(const T* pre_F, T* slope_F, T* h_F, A* bias_F, A* score_F, int64_t F);
};

// The inner loops for this machine.
template <typename T, typename A>
const Kernels<T, A>& kernels();

// "avx512", "avx2" or "baseline".
const char* instruction_set();

}  // namespace harness
