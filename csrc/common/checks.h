// The checks that every kernel makes of its arguments, and the parts of torch's stable ABI that they use. The Python
// functions check first and say more; these hold for callers of torch.ops.harness.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <string>

namespace harness {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Optional = std::optional<Tensor>;

inline std::string shape_text(const Tensor& tensor) {
  std::string text;
  for (int64_t i = 0; i < tensor.dim(); ++i) text += (i ? "×" : "") + std::to_string(tensor.size(i));
  return text.empty() ? "no dimensions" : text;
}

#define HARNESS_CHECK(condition, op, argument, expected, got) \
  STD_TORCH_CHECK(condition, op, ": ", argument, ": expected ", expected, "; got ", got)

// Checks for the shape, dtype and device of another tensor.
inline void check_like(const char* op, const char* argument, const Tensor& tensor, const Tensor& like) {
  HARNESS_CHECK(tensor.scalar_type() == like.scalar_type(), op, argument, "one dtype for all", "two dtypes");
  HARNESS_CHECK(tensor.device() == like.device(), op, argument, "one device for all", "two devices");
  HARNESS_CHECK(
      tensor.sizes().size() == like.sizes().size() && shape_text(tensor) == shape_text(like), op, argument,
      shape_text(like), shape_text(tensor));
}

// Checks for one dimension of that many elements, that dtype, and the device of another tensor.
inline void check_vector(
    const char* op, const char* argument, const Tensor& tensor, ScalarType dtype, int64_t count, const Tensor& like) {
  HARNESS_CHECK(tensor.scalar_type() == dtype, op, argument, "another dtype", "a tensor of the wrong dtype");
  HARNESS_CHECK(tensor.device() == like.device(), op, argument, "one device for all", "two devices");
  HARNESS_CHECK(
      tensor.dim() == 1 && tensor.size(0) == count, op, argument, std::to_string(count) + " rows", shape_text(tensor));
}

// Returns the tensor itself if each of its rows is contiguous, else a contiguous copy.
inline Tensor with_contiguous_rows(const Tensor& tensor) {
  return tensor.stride(1) == 1 || tensor.size(1) <= 1 ? tensor : torch::stable::contiguous(tensor);
}

inline Optional contiguous(const Optional& tensor) {
  return tensor ? Optional(torch::stable::contiguous(*tensor)) : Optional();
}

// The dtype of sums over a tensor.
inline ScalarType sum_type(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

}  // namespace harness
