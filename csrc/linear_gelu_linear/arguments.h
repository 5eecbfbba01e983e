// The checks of the arguments between an FFN's two products, for the CPU and the CUDA kernels.
//
// Shapes: N tokens, F FFN width.
#pragma once

#include "common/checks.h"

namespace harness::linear_gelu_linear {

constexpr const char* kOp = "linear_gelu_linear";

inline void check_pre(const Tensor& pre) {
  HARNESS_CHECK(pre.dim() == 2, kOp, "pre", "2 dimensions", shape_text(pre));
}

inline void check_backward(const Tensor& grad, const Tensor& pre, const Optional& importance) {
  HARNESS_CHECK(grad.dim() == 2 && grad.is_contiguous(), kOp, "grad", "a contiguous N×F", shape_text(grad));
  check_like(kOp, "pre", pre, grad);
  HARNESS_CHECK(pre.is_contiguous(), kOp, "pre", "a contiguous tensor", "other strides");
  if (!importance) return;
  check_vector(kOp, "importance", *importance, sum_type(pre), pre.size(1), pre);
  HARNESS_CHECK(importance->is_contiguous(), kOp, "importance", "a contiguous tensor", "other strides");
}

}  // namespace harness::linear_gelu_linear
