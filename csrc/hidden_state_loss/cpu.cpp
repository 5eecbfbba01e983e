// The loss between hidden states on the CPU: each row's distance and, while the row is in the caches, its gradient.
//
// Shapes: N rows, D hidden.
#include "hidden_state_loss/arguments.h"

#include <algorithm>

#include "cpu/dispatch.h"

namespace harness::hidden_state_loss {

#define HARNESS_ROW "hidden_state_loss/row.h"
#include "cpu/each_instruction_set.h"

namespace {

constexpr int64_t kRowsPerTask = 16;

// The factors of a row's gradient: by_student · s + by_teacher · t.
struct RowFactors {
  double by_student, by_teacher;
};

// Returns a row's distance, and sets the factors of its gradient.
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

// Runs one layer: adds the weighted distance to each row's own sum, so that the total does not depend on the number of
// threads, and writes the gradient if grad_ND is not null.
template <typename T, typename A>
void run_layer(const Tensor& s, const Tensor& t, const bool* mask_N, bool cosine, double weight, double* sums_N, T* grad_ND) {
  const int64_t width = s.size(1);
  const bool streamed = s.size(0) * width * int64_t(sizeof(T)) > kStreamedBytes;
  torch::stable::parallel_for(0, s.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      T* grad_D = grad_ND ? grad_ND + n * width : nullptr;
      if (mask_N && !mask_N[n]) {
        if (grad_D) fill_zeros(grad_D, width);
        continue;
      }
      const T* s_D = elements<T>(s) + n * s.stride(0);
      const T* t_D = elements<T>(t) + n * t.stride(0);
      double products[3];
      RowFactors row;
      HARNESS_LOOP(hidden_row<T, A>)(s_D, t_D, width, cosine, products);
      sums_N[n] += weight * distance(products, width, cosine, row);
      if (grad_D) {
        HARNESS_LOOP(hidden_row_gradient<T, A>)(
            s_D, t_D, grad_D, width, A(weight * row.by_student), A(weight * row.by_teacher), streamed);
      }
    }
  });
}

// Returns the loss and, if needed, its gradient by each student.
std::tuple<Tensor, std::vector<Tensor>> forward(
    std::vector<Tensor> students, std::vector<Tensor> teachers, Optional mask, std::string kind,
    std::vector<double> weights, bool needs_gradients) {
  const Layers layers = check_arguments(students, teachers, mask, kind, weights);
  const Tensor& first = layers.students[0];
  const bool* kept = layers.mask ? elements<bool>(*layers.mask) : nullptr;
  const int64_t count = kept ? std::count(kept, kept + layers.rows(), true) : layers.rows();
  Tensor loss = torch::stable::new_zeros(first, {}, sum_type(first));
  std::vector<Tensor> gradients;
  with_types(kOp, "students", first, [&]<typename T, typename A>() {
    std::vector<double> sums_N(layers.rows(), 0.0);
    for (size_t l = 0; l < layers.students.size(); ++l) {
      const Tensor& s = layers.students[l];
      if (needs_gradients) gradients.push_back(torch::stable::new_empty(s, {s.size(0), s.size(1)}));
      run_layer<T, A>(
          s, layers.teachers[l], kept, layers.cosine, layers.weights[l] / std::max<int64_t>(count, 1), sums_N.data(),
          needs_gradients ? writable<T>(gradients.back()) : nullptr);
    }
    double sum = 0;
    for (double row : sums_N) sum += row;
    *writable<A>(loss) = A(sum);
  });
  return {loss, gradients};
}

}  // namespace
}  // namespace harness::hidden_state_loss

STABLE_TORCH_LIBRARY_IMPL(harness, CPU, library) {
  library.impl("hidden_state_loss", TORCH_BOX(&harness::hidden_state_loss::forward));
}
