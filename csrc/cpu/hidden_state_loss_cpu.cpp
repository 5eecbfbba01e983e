// The loss between hidden states on the CPU: each row's distance and, while it is in the caches, its gradient.
//
// Shapes: N rows, D hidden.
#include "hidden_state_loss.h"

#include "cpu/dispatch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace harness::hidden {
namespace {

constexpr int64_t kRowsPerTask = 16;
constexpr int64_t kStreamedBytes = 8 << 20;  // results larger than this go past the caches

// What a row's gradient is made of: by_student · s + by_teacher · t.
struct RowFactors {
  double by_student, by_teacher;
};

// Gives a row's distance and its gradient's factors.
double distance(const double products[3], int64_t width, bool cosine, RowFactors& factors) {
  if (!cosine) {
    factors = {2.0 / width, -2.0 / width};
    return products[0] / width;
  }
  const double student = products[1] + kEpsilon, teacher = products[2] + kEpsilon;
  const double length = std::sqrt(student * teacher);
  factors = {products[0] / (student * length), -1 / length};
  return 1 - products[0] / length;
}

// One layer: adds the weighted distances to each row's own sum, so that their total does not depend on the number of
// threads, and writes the gradient where there is room for it.
template <typename T, typename A>
void run_layer(const Tensor& s, const Tensor& t, const bool* mask_N, bool cosine, double weight, double* sums_N, T* slope_ND) {
  const int64_t width = s.size(1);
  const bool streamed = s.size(0) * width * int64_t(sizeof(T)) > kStreamedBytes;
  torch::stable::parallel_for(0, s.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      T* slope_D = slope_ND ? slope_ND + n * width : nullptr;
      if (mask_N && !mask_N[n]) {
        if (slope_D) std::memset(static_cast<void*>(slope_D), 0, width * sizeof(T));
        continue;
      }
      const T* s_D = elements<T>(s) + n * s.stride(0);
      const T* t_D = elements<T>(t) + n * t.stride(0);
      double products[3];
      RowFactors row;
      kernels<T, A>().hidden_row(s_D, t_D, width, cosine, products);
      sums_N[n] += weight * distance(products, width, cosine, row);
      if (slope_D) {
        kernels<T, A>().hidden_row_slope(
            s_D, t_D, slope_D, width, A(weight * row.by_student), A(weight * row.by_teacher), streamed);
      }
    }
  });
}

// Gives the loss, and its gradient by every student if asked.
std::tuple<Tensor, std::vector<Tensor>> forward(
    std::vector<Tensor> students, std::vector<Tensor> teachers, Optional mask, std::string kind,
    std::vector<double> weights, bool needs_slopes) {
  const Layers layers = checked(students, teachers, mask, kind, weights);
  const Tensor& first = layers.students[0];
  const bool* kept = layers.mask ? elements<bool>(*layers.mask) : nullptr;
  const int64_t count = kept ? std::count(kept, kept + layers.rows(), true) : layers.rows();
  Tensor loss = torch::stable::new_zeros(first, {}, sum_type(first));
  std::vector<Tensor> slopes;
  with_types(kOp, "students", first, [&]<typename T, typename A>() {
    std::vector<double> sums_N(layers.rows(), 0.0);
    for (size_t l = 0; l < layers.students.size(); ++l) {
      const Tensor& s = layers.students[l];
      if (needs_slopes) slopes.push_back(torch::stable::new_empty(s, {s.size(0), s.size(1)}));
      run_layer<T, A>(
          s, layers.teachers[l], kept, layers.cosine, layers.weights[l] / std::max<int64_t>(count, 1), sums_N.data(),
          needs_slopes ? writable<T>(slopes.back()) : nullptr);
    }
    double sum = 0;
    for (double one : sums_N) sum += one;
    *writable<A>(loss) = A(sum);
  });
  return {loss, slopes};
}

}  // namespace
}  // namespace harness::hidden

STABLE_TORCH_LIBRARY_IMPL(harness, CPU, library) {
  library.impl("hidden_state_loss", TORCH_BOX(&harness::hidden::forward));
}
