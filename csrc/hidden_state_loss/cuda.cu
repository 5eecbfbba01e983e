// The loss between hidden states on the GPU: from tensors to the kernels, one launch for all layers.
//
// Shapes: N rows, D hidden.
#include <algorithm>

#include "cuda/dispatch.cuh"
#include "hidden_state_loss/arguments.h"
#include "hidden_state_loss/rows.cuh"

namespace harness::hidden_state_loss {
namespace {

using cuda::elements;
using cuda::writable;

template <typename T>
cuda::Layer<T> layer_arguments(const Layers& layers, size_t l, std::vector<Tensor>* gradients) {
  const Tensor& s = layers.students[l];
  const Tensor& t = layers.teachers[l];
  if (gradients) gradients->push_back(torch::stable::new_empty(s, {s.size(0), s.size(1)}));
  return {elements<T>(s), elements<T>(t), gradients ? writable<T>(gradients->back()) : nullptr,
          s.stride(0),    t.stride(0),    s.size(1),
          cuda::sum_t<T>(layers.weights[l])};
}

std::tuple<Tensor, std::vector<Tensor>> forward(
    std::vector<Tensor> students, std::vector<Tensor> teachers, Optional mask, std::string kind,
    std::vector<double> weights, bool needs_gradients) {
  const Layers layers = check_arguments(students, teachers, mask, kind, weights);
  const Tensor& first = layers.students[0];
  const cuda::Guard guard(first.get_device());
  const ScalarType type = sum_type(first);
  const int64_t rows = layers.rows(), count = static_cast<int64_t>(layers.students.size());
  Tensor loss = torch::stable::new_empty(first, {}, type);
  const Tensor inverse_count = torch::stable::new_empty(first, {}, type);
  const Tensor sums_LN = torch::stable::new_empty(first, {count, rows}, type);
  std::vector<Tensor> gradients;
  cuda::with_type(kOp, "students", first, [&]<typename T>() {
    using A = cuda::sum_t<T>;
    const cudaStream_t stream = cuda::current_stream(first);
    const bool* kept = layers.mask ? elements<bool>(*layers.mask) : nullptr;
    cuda::check_launch(kOp, cuda::launch_count(kept, rows, writable<A>(inverse_count), stream));
    for (int64_t begin = 0; begin < count; begin += cuda::kMaxLayers) {
      const int num_layers = static_cast<int>(std::min<int64_t>(cuda::kMaxLayers, count - begin));
      cuda::LayersArguments<T> all{
          {}, rows, kept, layers.cosine, A(kEpsilon), elements<A>(inverse_count), writable<A>(sums_LN) + begin * rows};
      for (int l = 0; l < num_layers; ++l) {
        all.layers[l] = layer_arguments<T>(layers, begin + l, needs_gradients ? &gradients : nullptr);
      }
      cuda::check_launch(kOp, cuda::launch_layers(all, num_layers, stream));
    }
    cuda::check_launch(kOp, cuda::launch_sum(elements<A>(sums_LN), count * rows, writable<A>(loss), stream));
  });
  return {loss, gradients};
}

}  // namespace
}  // namespace harness::hidden_state_loss

STABLE_TORCH_LIBRARY_IMPL(harness, CUDA, library) {
  library.impl("hidden_state_loss", TORCH_BOX(&harness::hidden_state_loss::forward));
}
