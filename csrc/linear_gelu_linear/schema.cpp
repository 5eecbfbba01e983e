// The schemas of the work between the two products of an FFN. Their fake kernels are in harness/ops/linear_gelu_linear.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(harness, library) {
  // Returns h = gelu(pre), N×F.
  library.def("gelu(Tensor pre) -> Tensor");

  // Turns grad = dL/dh into dL/dpre; returns h and dL/d(bias); adds |sum over tokens of h·dL/dh| to importance.
  library.def("gelu_backward_(Tensor(a!) grad, Tensor pre, Tensor(b!)? importance) -> (Tensor, Tensor)");
}
