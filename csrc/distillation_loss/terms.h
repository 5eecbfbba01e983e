// The parameters and results of one row of the distillation loss, for the inner loops of CPU and GPU. No torch headers: the
// GPU's inner loops use raw pointers only.
#pragma once

#include <cstdint>

namespace harness {

enum class Divergence : int { none, forward, reverse };

// The numbers that the forward pass of a row keeps for its backward pass. With s and t the logits of student and teacher,
// z_s = sum exp((s - max) / temperature), and z_t likewise.
template <typename A>
struct RowStatistics {
  A student_max;      // max of s
  A teacher_max;      // max of t
  A student_inverse;  // 1 / sum exp((s - max) / temperature)
  A teacher_inverse;  // 1 / sum exp((t - max) / temperature)
  A hard_inverse;     // 1 / sum exp(s - max)
  A offset;           // reverse divergence: log z_t - log z_s - loss of the row
};

template <typename A>
struct RowLoss {
  A soft;  // divergence, without temperature squared
  A hard;  // cross-entropy
};

// The terms that a row has, and the incoming gradients (backward only).
template <typename A>
struct RowTerms {
  Divergence divergence;
  int64_t target;  // -1: no hard term
  A temperature;
  A grad_soft;  // dL/d(row's divergence)
  A grad_hard;  // dL/d(row's cross-entropy)
};

}  // namespace harness
