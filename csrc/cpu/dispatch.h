// From a tensor's dtype to the element and sum types of the inner loops.
#pragma once

#include <cstring>

#include "common/checks.h"
#include "cpu/instruction_set.h"

namespace harness {

constexpr int64_t kStreamedBytes = 8 << 20;  // results larger than this bypass the caches

// Calls body.template operator()<element, sum>().
template <typename Body>
void with_types(const char* op, const char* argument, const Tensor& tensor, const Body& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return body.template operator()<float, float>();
    case ScalarType::BFloat16: return body.template operator()<bfloat16, float>();
    case ScalarType::Double: return body.template operator()<double, double>();
    default: HARNESS_CHECK(false, op, argument, "float32, bfloat16 or float64", "another dtype");
  }
}

template <typename T>
const T* elements(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
T* writable(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Writes zeros; does not touch the pointer of an empty row, which may be null.
template <typename T>
void fill_zeros(T* row, int64_t count) {
  if (count > 0) std::memset(static_cast<void*>(row), 0, count * sizeof(T));
}

}  // namespace harness
