// The loss between hidden states on the GPU: from tensors to the kernels, one launch per layer.
//
// Shapes: N rows, D hidden.
#include "cuda/dispatch.cuh"
#include "hidden_state_loss/arguments.h"
#include "hidden_state_loss/rows.cuh"

namespace harness::hidden_state_loss {
namespace {

using cuda::elements;
using cuda::writable;

template <typename T>
cuda::LayerArguments<T> layer_arguments(const Layers& layers, size_t l, const Tensor& inverse_count, const Tensor& sums_N) {
  using A = cuda::sum_t<T>;
  const Tensor& s = layers.students[l];
  const Tensor& t = layers.teachers[l];
  return {elements<T>(s),
          elements<T>(t),
          s.stride(0),
          t.stride(0),
          s.size(0),
          s.size(1),
          layers.mask ? elements<bool>(*layers.mask) : nullptr,
          layers.cosine,
          A(layers.weights[l]),
          A(kEpsilon),
          elements<A>(inverse_count),
          writable<A>(sums_N),
          nullptr};
}

std::tuple<Tensor, std::vector<Tensor>> forward(
    std::vector<Tensor> students, std::vector<Tensor> teachers, Optional mask, std::string kind,
    std::vector<double> weights, bool needs_gradients) {
  const Layers layers = check_arguments(students, teachers, mask, kind, weights);
  const Tensor& first = layers.students[0];
  const cuda::Guard guard(first.get_device());
  const ScalarType type = sum_type(first);
  Tensor loss = torch::stable::new_zeros(first, {}, type);
  const Tensor inverse_count = torch::stable::new_zeros(first, {}, type);
  const Tensor sums_N = torch::stable::new_zeros(first, {layers.rows()}, type);
  std::vector<Tensor> gradients;
  cuda::with_type(kOp, "students", first, [&]<typename T>() {
    using A = cuda::sum_t<T>;
    const cudaStream_t stream = cuda::current_stream(first);
    const bool* kept = layers.mask ? elements<bool>(*layers.mask) : nullptr;
    cuda::check_launch(kOp, cuda::launch_count(kept, layers.rows(), writable<A>(inverse_count), stream));
    for (size_t l = 0; l < layers.students.size(); ++l) {
      const Tensor& s = layers.students[l];
      cuda::LayerArguments<T> all = layer_arguments<T>(layers, l, inverse_count, sums_N);
      if (needs_gradients) {
        gradients.push_back(torch::stable::new_empty(s, {s.size(0), s.size(1)}));
        all.grad_ND = writable<T>(gradients.back());
      }
      cuda::check_launch(kOp, cuda::launch_layer(all, stream));
    }
    cuda::check_launch(kOp, cuda::launch_sum(elements<A>(sums_N), layers.rows(), writable<A>(loss), stream));
  });
  return {loss, gradients};
}

}  // namespace
}  // namespace harness::hidden_state_loss

STABLE_TORCH_LIBRARY_IMPL(harness, CUDA, library) {
  library.impl("hidden_state_loss", TORCH_BOX(&harness::hidden_state_loss::forward));
}
