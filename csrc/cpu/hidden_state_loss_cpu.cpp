// The loss between hidden states on the CPU: every layer's rows in one pass.
//
// Shapes: L layers, N rows, D hidden.
#include "cpu/dispatch.h"

#include <cmath>
#include <vector>

namespace harness {
namespace {

constexpr const char* kOp = "hidden_state_loss";
constexpr double kEpsilon = 1e-12;  // added to each squared length, as torch's cosine_embedding_loss does
constexpr int64_t kRowsPerTask = 16;

// What a row's gradient is made of: by_student · s + by_teacher · t. Both are zero for a row left out.
template <typename A>
struct RowFactors {
  A by_student, by_teacher;
};

void check_layers(const std::vector<Tensor>& students, const std::vector<Tensor>& teachers) {
  HARNESS_CHECK(!students.empty(), kOp, "students", "one layer or more", "none");
  HARNESS_CHECK(
      students.size() == teachers.size(), kOp, "teachers", std::to_string(students.size()) + " layers",
      teachers.size());
  for (size_t l = 0; l < students.size(); ++l) {
    HARNESS_CHECK(students[l].dim() == 2, kOp, "students", "2 dimensions", shape_of(students[l]));
    HARNESS_CHECK(
        students[l].size(0) == students[0].size(0), kOp, "students", "as many rows in every layer",
        shape_of(students[l]));
    check_same(kOp, "teachers", teachers[l], students[l]);
    HARNESS_CHECK(
        students[l].scalar_type() == students[0].scalar_type(), kOp, "students", "one dtype for all", "two dtypes");
  }
}

// Gives a row's distance; `factors` becomes its gradient's for a slope of one.
template <typename A>
double distance(const double products[3], int64_t width, bool cosine, RowFactors<A>& factors) {
  if (!cosine) {
    factors = {A(2.0 / width), A(-2.0 / width)};
    return products[0] / width;
  }
  const double student = products[1] + kEpsilon, teacher = products[2] + kEpsilon;
  const double length = std::sqrt(student * teacher);
  factors = {A(products[0] / (student * length)), A(-1 / length)};
  return 1 - products[0] / length;
}

// Sums the weighted distances of one layer's kept rows into each row's own place, so that their sum does not depend on
// the number of threads.
template <typename T, typename A>
void layer_distances(
    const Tensor& student_ND, const Tensor& teacher_ND, const bool* mask_N, bool cosine, double weight,
    RowFactors<A>* factors_N, double* distances_N) {
  const Tensor s = with_whole_rows(student_ND), t = with_whole_rows(teacher_ND);
  const int64_t width = s.size(1);
  torch::stable::parallel_for(0, s.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      factors_N[n] = {A(0), A(0)};
      if (mask_N && !mask_N[n]) continue;
      double products[3];
      kernels<T, A>().hidden_row(
          elements<T>(s) + n * s.stride(0), elements<T>(t) + n * t.stride(0), width, cosine, products);
      distances_N[n] += weight * distance(products, width, cosine, factors_N[n]);
      factors_N[n].by_student *= A(weight);
      factors_N[n].by_teacher *= A(weight);
    }
  });
}

// Gives the loss, and L×N×2 factors for the backward pass.
std::tuple<Tensor, Tensor> forward(
    std::vector<Tensor> students, std::vector<Tensor> teachers, Optional mask, std::string kind,
    std::vector<double> weights) {
  check_layers(students, teachers);
  HARNESS_CHECK(kind == "cosine" || kind == "mse", kOp, "kind", "'cosine' or 'mse'", "'" + kind + "'");
  HARNESS_CHECK(weights.size() == students.size(), kOp, "weights", "one for each layer", weights.size());
  const Tensor& first = students[0];
  const int64_t rows = first.size(0);
  if (mask) check_rows(kOp, "mask", *mask, ScalarType::Bool, rows, first);
  const Optional mask_N = mask ? Optional(torch::stable::contiguous(*mask)) : Optional();
  const bool* kept = mask_N ? elements<bool>(*mask_N) : nullptr;
  int64_t count = rows;
  if (kept) count = std::count(kept, kept + rows, true);
  Tensor loss = torch::stable::new_zeros(first, {}, sum_type(first));
  Tensor factors = torch::stable::new_empty(first, {int64_t(students.size()), rows, 2}, sum_type(first));
  with_types(kOp, "students", first, [&]<typename T, typename A>() {
    std::vector<double> distances_N(rows, 0.0);
    auto* factors_LN = reinterpret_cast<RowFactors<A>*>(writable<A>(factors));
    for (size_t l = 0; l < students.size(); ++l) {
      layer_distances<T, A>(
          students[l], teachers[l], kept, kind == "cosine", weights[l] / std::max<int64_t>(count, 1),
          factors_LN + l * rows, distances_N.data());
    }
    double sum = 0;
    for (double one : distances_N) sum += one;
    *writable<A>(loss) = A(sum);
  });
  return {loss, factors};
}

std::vector<Tensor> backward(Tensor slope, std::vector<Tensor> students, std::vector<Tensor> teachers, Tensor factors) {
  check_layers(students, teachers);
  const int64_t rows = students[0].size(0);
  HARNESS_CHECK(
      factors.dim() == 3 && factors.size(0) == int64_t(students.size()) && factors.size(1) == rows &&
          factors.size(2) == 2 && factors.scalar_type() == sum_type(students[0]) && factors.is_contiguous(),
      kOp, "factors", "those of the forward pass", shape_of(factors));
  HARNESS_CHECK(
      slope.dim() == 0 && slope.scalar_type() == sum_type(students[0]), kOp, "slope", "one number", shape_of(slope));
  std::vector<Tensor> grads;
  with_types(kOp, "students", students[0], [&]<typename T, typename A>() {
    const A scale = *elements<A>(slope);
    const auto* factors_LN = reinterpret_cast<const RowFactors<A>*>(elements<A>(factors));
    for (size_t l = 0; l < students.size(); ++l) {
      const Tensor s = with_whole_rows(students[l]), t = with_whole_rows(teachers[l]);
      const int64_t width = s.size(1);
      Tensor grad = torch::stable::new_empty(s, {rows, width});
      T* grad_ND = writable<T>(grad);
      torch::stable::parallel_for(0, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
          const RowFactors<A> row = factors_LN[l * rows + n];
          T* grad_D = grad_ND + n * width;
          if (row.by_student == A(0) && row.by_teacher == A(0)) {
            std::memset(static_cast<void*>(grad_D), 0, width * sizeof(T));
          } else {
            kernels<T, A>().hidden_row_backward(
                elements<T>(s) + n * s.stride(0), elements<T>(t) + n * t.stride(0), grad_D, width,
                scale * row.by_student, scale * row.by_teacher);
          }
        }
      });
      grads.push_back(grad);
    }
  });
  return grads;
}

}  // namespace
}  // namespace harness

STABLE_TORCH_LIBRARY_IMPL(harness, CPU, library) {
  library.impl("hidden_state_loss", TORCH_BOX(&harness::forward));
  library.impl("hidden_state_loss_backward", TORCH_BOX(&harness::backward));
}
