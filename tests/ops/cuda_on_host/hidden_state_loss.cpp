// Random cases of the loss between hidden states: one or two layers, with and without a mask and a gradient.
#include "hidden_state_loss/rows.cuh"

#include "fuzz.h"

namespace {

using namespace fuzz;

constexpr double kEpsilon = 1e-12;

template <typename T>
struct States {
  Rows<T> student, teacher, gradient;
  double weight;

  States(Random& random, int64_t count, int64_t width)
      : student(random, count, width),
        teacher(random, count, width),
        gradient(count, width, width, random.between(0, 9)),
        weight(random.uniform()) {
    for (int64_t n = 0; n < count; ++n) {
      const double scale = random.chance(0.1) ? 0 : random.choice<double>({0.1, 1.0, 30.0});
      for (int64_t d = 0; d < width; ++d) {
        student.row(n)[d] = narrow<T>(scale * random.normal());
        teacher.row(n)[d] = narrow<T>(random.normal());
      }
    }
  }
};

// Checks one row's gradient; returns its distance and adds the size of its error.
template <typename T>
Wide check_row(Comparison& comparison, States<T>& layer, int64_t n, bool cosine, Wide share, bool with_gradient, Wide& size) {
  const int64_t width = layer.student.width;
  const T *s = layer.student.row(n), *t = layer.teacher.row(n), *g = layer.gradient.row(n);
  Wide dot = 0, student = kEpsilon, teacher = kEpsilon, squares = 0;
  for (int64_t d = 0; d < width; ++d) {
    dot += wide(s[d]) * wide(t[d]);
    student += wide(s[d]) * wide(s[d]);
    teacher += wide(t[d]) * wide(t[d]);
    squares += (wide(s[d]) - wide(t[d])) * (wide(s[d]) - wide(t[d]));
  }
  const Wide length = std::sqrt(student) * std::sqrt(teacher);
  const Wide by_student = cosine ? dot / (student * length) : Wide(2) / width;
  const Wide by_teacher = cosine ? -1 / length : Wide(-2) / width;
  for (int64_t d = 0; with_gradient && d < width; ++d) {
    Wide expected = share * (by_student * wide(s[d]) + by_teacher * wide(t[d]));
    if (std::isinf(wide(narrow<T>(expected)))) expected = wide(narrow<T>(expected));  // too large for T
    const Wide terms = share * ((cosine ? 1 / student : by_student) * std::fabs(wide(s[d])) + std::fabs(by_teacher * wide(t[d])));
    const Wide allowed = sum_error<T> * terms + 1.01 * rounding<T> * std::fabs(expected) + smallest<T> + 1e-30;
    comparison.check("the gradient", n, d, wide(g[d]), expected, allowed);
  }
  size += share * (cosine ? 2 : squares / width);
  return share * (cosine ? 1 - dot / length : squares / width);
}

template <typename T>
double hidden(Random& random) {
  using A = harness::cuda::sum_t<T>;
  const int64_t count = random.between(1, 40), width = random.size(1100);
  const bool cosine = random.chance(0.5), with_gradient = random.chance(0.8), with_mask = random.chance(0.5);
  std::unique_ptr<bool[]> mask(new bool[count]);
  for (int64_t n = 0; n < count; ++n) mask[n] = !with_mask || random.chance(0.6);
  const int64_t kept = std::count(mask.get(), mask.get() + count, true);
  std::vector<States<T>> layers;
  for (int64_t l = random.between(1, 3); l > 0; --l) layers.emplace_back(random, count, random.chance(0.5) ? width : random.size(600));
  A loss = -1, inverse_count = -1;
  std::vector<A> sums(layers.size() * count, A(-1));
  harness::cuda::launch_count(with_mask ? mask.get() : nullptr, count, &inverse_count, nullptr);
  harness::cuda::LayersArguments<T> all{
      {}, count, with_mask ? mask.get() : nullptr, cosine, A(kEpsilon), &inverse_count, sums.data()};
  for (size_t l = 0; l < layers.size(); ++l) {
    States<T>& layer = layers[l];
    T* gradient = with_gradient ? layer.gradient.data() : nullptr;
    all.layers[l] = {layer.student.data(),  layer.teacher.data(),  gradient,       layer.student.stride,
                     layer.teacher.stride, layer.student.width, A(layer.weight)};
  }
  harness::cuda::launch_layers(all, static_cast<int>(layers.size()), nullptr);
  harness::cuda::launch_sum(sums.data(), int64_t(sums.size()), &loss, nullptr);
  Comparison comparison;
  Wide expected = 0, size = 1e-30;
  for (States<T>& layer : layers) {
    layer.student.check_gaps("the student");
    layer.gradient.check_gaps("the gradient");
    for (int64_t n = 0; n < count; ++n) {
      if (mask[n]) {
        expected += check_row(comparison, layer, n, cosine, Wide(A(layer.weight)) / kept, with_gradient, size);
      } else {
        for (int64_t d = 0; with_gradient && d < layer.student.width; ++d) comparison.check("the gradient", n, d, wide(layer.gradient.row(n)[d]), 0, 1e-30);
      }
    }
  }
  comparison.check("the loss", 0, 0, loss, expected, sum_error<T> * size);
  return comparison.largest();
}

FUZZ("hidden_state_loss", hidden)

}  // namespace
