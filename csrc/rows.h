// What the inner loops of CPU and GPU are told about a row of the distillation loss, and what they leave of it. No torch
// headers: the GPU's inner loops know raw pointers alone.
#pragma once

#include <cstdint>

namespace harness {

enum class Divergence : int { none, forward, reverse };

// What the forward pass of one row of the distillation loss leaves for its backward pass. With s and t the logits of
// student and teacher: e = exp((s - max) / temperature), z = sum of e.
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

// Which terms a row has, and how much each counts (backward only).
template <typename A>
struct RowTerms {
  Divergence divergence;
  int64_t target;  // -1: no hard term
  A temperature;
  A soft_slope;  // dL/d(row's divergence)
  A hard_slope;  // dL/d(row's cross-entropy)
};

}  // namespace harness
