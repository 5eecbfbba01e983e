// What every kernel asks of its arguments, and the parts of torch's stable ABI they are written on. The Python functions
// check first and say more; these hold for whoever calls torch.ops.harness directly.
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

inline std::string shape_of(const Tensor& tensor) {
  std::string text;
  for (int64_t i = 0; i < tensor.dim(); ++i) text += (i ? "×" : "") + std::to_string(tensor.size(i));
  return text.empty() ? "no dimensions" : text;
}

#define HARNESS_CHECK(condition, op, argument, wanted, got) \
  STD_TORCH_CHECK(condition, op, ": ", argument, ": wanted ", wanted, "; got ", got)

inline void check_same(const char* op, const char* argument, const Tensor& tensor, const Tensor& like) {
  HARNESS_CHECK(tensor.scalar_type() == like.scalar_type(), op, argument, "one dtype for all", "two dtypes");
  HARNESS_CHECK(tensor.device() == like.device(), op, argument, "one device for all", "two devices");
  HARNESS_CHECK(
      tensor.sizes().size() == like.sizes().size() && shape_of(tensor) == shape_of(like), op, argument, shape_of(like),
      shape_of(tensor));
}

inline void check_rows(
    const char* op, const char* argument, const Tensor& tensor, ScalarType dtype, int64_t rows, const Tensor& like) {
  HARNESS_CHECK(tensor.scalar_type() == dtype, op, argument, "another dtype", "a tensor of the wrong one");
  HARNESS_CHECK(tensor.device() == like.device(), op, argument, "one device for all", "two devices");
  HARNESS_CHECK(
      tensor.dim() == 1 && tensor.size(0) == rows, op, argument, std::to_string(rows) + " rows", shape_of(tensor));
}

// Gives the tensor itself where its rows lie in one piece each, a contiguous copy of it elsewhere.
inline Tensor with_whole_rows(const Tensor& tensor) {
  return tensor.stride(1) == 1 || tensor.size(1) <= 1 ? tensor : torch::stable::contiguous(tensor);
}

// The dtype sums are taken in.
inline ScalarType sum_type(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

}  // namespace harness
