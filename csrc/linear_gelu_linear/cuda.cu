// The work between the two products of an FFN on the GPU: from tensors to the kernels.
//
// Shapes: N tokens, F FFN width.
#include "cuda/dispatch.cuh"
#include "linear_gelu_linear/arguments.h"
#include "linear_gelu_linear/rows.cuh"

namespace harness::linear_gelu_linear {
namespace {

using cuda::elements;
using cuda::writable;

Tensor gelu(Tensor pre) {
  check_pre(pre);
  const cuda::Guard guard(pre.get_device());
  const Tensor pre_NF = torch::stable::contiguous(pre);
  Tensor h = torch::stable::new_empty(pre, {pre.size(0), pre.size(1)});
  cuda::with_type(kOp, "pre", pre, [&]<typename T>() {
    cuda::check_launch(
        kOp, cuda::launch_gelu(elements<T>(pre_NF), writable<T>(h), pre.size(0) * pre.size(1), cuda::current_stream(pre)));
  });
  return h;
}

std::tuple<Tensor, Tensor> gelu_backward(Tensor grad, Tensor pre, Optional importance) {
  check_backward(grad, pre, importance);
  const cuda::Guard guard(pre.get_device());
  const int64_t rows = pre.size(0), width = pre.size(1);
  Tensor h = torch::stable::new_empty(pre, {rows, width});
  Tensor bias = torch::stable::new_empty(pre, {width}, sum_type(pre));
  const Tensor partial = torch::stable::new_empty(pre, {2 * cuda::gelu_blocks(rows), width}, sum_type(pre));
  cuda::with_type(kOp, "pre", pre, [&]<typename T>() {
    using A = cuda::sum_t<T>;
    cuda::check_launch(
        kOp, cuda::launch_gelu_backward(
                 elements<T>(pre), writable<T>(grad), writable<T>(h), writable<A>(partial), writable<A>(bias),
                 importance ? writable<A>(*importance) : nullptr, rows, width, cuda::current_stream(pre)));
  });
  return {h, bias};
}

}  // namespace
}  // namespace harness::linear_gelu_linear

STABLE_TORCH_LIBRARY_IMPL(harness, CUDA, library) {
  library.impl("gelu", TORCH_BOX(&harness::linear_gelu_linear::gelu));
  library.impl("gelu_backward_", TORCH_BOX(&harness::linear_gelu_linear::gelu_backward));
}
