// From tensors to raw pointers, the device and its stream, on torch's stable ABI.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include "common/checks.h"
#include "cuda/elements.cuh"

// In libtorch_cuda; weak, so that the library loads with a torch without CUDA, which never calls it.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device, void** stream);

namespace harness::cuda {

inline cudaStream_t current_stream(const Tensor& tensor) {
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr, "ops: expected a torch built with CUDA; got a CPU build");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device(), &stream));
  return static_cast<cudaStream_t>(stream);
}

inline void check_launch(const char* op, cudaError_t error) {
  STD_TORCH_CHECK(error == cudaSuccess, op, ": launch: expected success; got ", cudaGetErrorString(error));
}

using Guard = torch::stable::accelerator::DeviceGuard;

// Calls body.template operator()<element>().
template <typename Body>
void with_type(const char* op, const char* argument, const Tensor& tensor, const Body& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return body.template operator()<float>();
    case ScalarType::BFloat16: return body.template operator()<__nv_bfloat16>();
    case ScalarType::Half: return body.template operator()<__half>();
    case ScalarType::Double: return body.template operator()<double>();
    default: HARNESS_CHECK(false, op, argument, "float32, bfloat16, float16 or float64", "another dtype");
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

}  // namespace harness::cuda
