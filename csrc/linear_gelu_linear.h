// What the CPU and the CUDA kernels between an FFN's products share: the checks of their arguments.
//
// Shapes: N tokens, F FFN width.
#pragma once

#include "checks.h"

namespace harness::ffn {

constexpr const char* kOp = "linear_gelu_linear";

inline void check_pre(const Tensor& pre) {
  HARNESS_CHECK(pre.dim() == 2, kOp, "pre", "2 dimensions", shape_of(pre));
}

inline void check_backward(const Tensor& slope, const Tensor& pre, const Optional& importance) {
  HARNESS_CHECK(slope.dim() == 2 && slope.is_contiguous(), kOp, "slope", "a contiguous N×F", shape_of(slope));
  check_same(kOp, "pre", pre, slope);
  HARNESS_CHECK(pre.is_contiguous(), kOp, "pre", "a contiguous tensor", "other strides");
  if (!importance) return;
  check_rows(kOp, "importance", *importance, sum_type(pre), pre.size(1), pre);
  HARNESS_CHECK(importance->is_contiguous(), kOp, "importance", "a contiguous tensor", "other strides");
}

}  // namespace harness::ffn
