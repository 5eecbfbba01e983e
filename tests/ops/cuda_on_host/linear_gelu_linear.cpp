// Random cases of the GELU and of its backward pass.
#include "linear_gelu_linear/rows.cuh"

#include "fuzz.h"

namespace {

using namespace fuzz;

Wide normal_integral(Wide x) { return std::erfc(-x / std::sqrt(Wide(2))) / 2; }
Wide normal_density(Wide x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(Wide(-1))); }

// The error of an element of T: its rounding, and that of the sums' dtype next to 1 + |x|.
template <typename T>
Wide allowed_error(Wide expected, Wide size) {
  return 1.01 * rounding<T> * std::fabs(expected) + sum_error<T> * size / 4 + smallest<T> + 1e-30;
}

template <typename T>
Rows<T> draw(Random& random, int64_t rows, int64_t width, double scale, bool aligned = false) {
  Rows<T> drawn(rows, width, width, aligned ? 0 : random.between(0, 9));
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t f = 0; f < width; ++f) drawn.row(n)[f] = narrow<T>(scale * random.normal());
  }
  return drawn;
}

template <typename T>
double gelu(Random& random) {
  const int64_t count = random.size(9001);
  Rows<T> pre = draw<T>(random, 1, count, random.choice({1.0, 4.0, 30.0})), h = draw<T>(random, 1, count, 1);
  harness::cuda::launch_gelu(pre.data(), h.data(), count, nullptr);
  pre.check_gaps("the input");
  h.check_gaps("the output");
  Comparison comparison;
  for (int64_t i = 0; i < count; ++i) {
    const Wide x = wide(pre.row(0)[i]), expected = x * normal_integral(x);
    comparison.check("the output", 0, i, wide(h.row(0)[i]), expected, allowed_error<T>(expected, std::min<Wide>(std::fabs(x), 2) + 1e-6));
  }
  return comparison.largest();
}

template <typename T>
double gelu_backward(Random& random) {
  using A = harness::cuda::sum_t<T>;
  const bool aligned = random.chance(0.5);
  const int64_t rows = random.size(200), width = aligned ? 8 * random.size(80) : random.size(300);
  Rows<T> pre = draw<T>(random, rows, width, 2, aligned), incoming = draw<T>(random, rows, width, 1, aligned);
  Rows<T> grad = incoming.copy(), h = draw<T>(random, rows, width, 1, aligned);
  const bool scored = random.chance(0.7);
  std::vector<A> partial(2 * harness::cuda::gelu_blocks(rows) * width), bias(width), importance(width, A(0.5));
  harness::cuda::launch_gelu_backward(
      pre.data(), grad.data(), h.data(), partial.data(), bias.data(), scored ? importance.data() : nullptr, rows, width, nullptr);
  grad.check_gaps("the gradient");
  h.check_gaps("the output");
  Comparison comparison;
  for (int64_t f = 0; f < width; ++f) {
    Wide bias_sum = 0, score = 0, size = 1e-20;
    for (int64_t n = 0; n < rows; ++n) {
      const Wide x = wide(pre.row(n)[f]), upstream = wide(incoming.row(n)[f]);
      const Wide activation = x * normal_integral(x), by_pre = upstream * (normal_integral(x) + x * normal_density(x));
      comparison.check("the output", n, f, wide(h.row(n)[f]), activation, allowed_error<T>(activation, std::min<Wide>(std::fabs(x), 2) + 1e-6));
      comparison.check("the gradient", n, f, wide(grad.row(n)[f]), by_pre, allowed_error<T>(by_pre, std::fabs(upstream)));
      bias_sum += by_pre;
      score += activation * upstream;
      size += std::fabs(upstream) * (1 + std::fabs(x));
    }
    comparison.check("the bias's gradient", 0, f, bias[f], bias_sum, sum_error<T> * size);
    comparison.check("the importance", 0, f, importance[f], 0.5 + (scored ? std::fabs(score) : 0), sum_error<T> * (size + 1));
  }
  return comparison.largest();
}

FUZZ("gelu", gelu)
FUZZ("gelu_backward", gelu_backward)

}  // namespace
