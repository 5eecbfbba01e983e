// Runs each inner loop of the CPU kernels once, so that callgrind can count what it executes. Only the baseline set, which
// any machine and any valgrind runs: the loops' text is the same for all sets.
#include "cpu/kernels_headers.h"

#define HARNESS_ISA baseline
#define HARNESS_VECTOR_BYTES 16
#include "cpu/kernels_body.h"

#include <cstdio>
#include <vector>

namespace {
constexpr int64_t kWidth = 4099;  // odd: the rest after the last whole vector counts too

// Each loop is in a function of its own, not inlined, so that callgrind reports it by name.
#define COUNTED extern "C" __attribute__((noinline)) void

using Row = std::vector<float>;
const auto loops = harness::baseline::table<float, float>();
Row student(kWidth), teacher(kWidth), result(kWidth), bias(kWidth), score(kWidth);
const harness::RowTerms<float> terms{harness::Divergence::forward, 3, 2.0f, 0.5f, 0.5f};
harness::RowStatistics<float> statistics;
}  // namespace

COUNTED counted_distillation_row() {
  loops.distillation_row(student.data(), teacher.data(), kWidth, terms, statistics);
}
COUNTED counted_distillation_row_backward() {
  loops.distillation_row_backward(student.data(), teacher.data(), result.data(), kWidth, terms, statistics, false);
}
COUNTED counted_hidden_row() {
  double products[3];
  loops.hidden_row(student.data(), teacher.data(), kWidth, true, products);
}
COUNTED counted_hidden_row_slope() {
  loops.hidden_row_slope(student.data(), teacher.data(), result.data(), kWidth, 0.5f, 0.25f, false);
}
COUNTED counted_gelu_row() { loops.gelu_row(student.data(), result.data(), kWidth); }
COUNTED counted_gelu_row_backward() {
  loops.gelu_row_backward(student.data(), teacher.data(), result.data(), bias.data(), score.data(), kWidth);
}

int main() {
  for (int64_t v = 0; v < kWidth; ++v) {
    student[v] = 0.001f * static_cast<float>(v % 997) - 0.5f;
    teacher[v] = 0.002f * static_cast<float>(v % 499) - 0.5f;
  }
  counted_distillation_row();
  counted_distillation_row_backward();
  counted_hidden_row();
  counted_hidden_row_slope();
  counted_gelu_row();
  counted_gelu_row_backward();
  std::printf("%g\n", static_cast<double>(result[7]));
  return 0;
}
