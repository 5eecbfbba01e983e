// Runs each inner loop of the CPU kernels once, so that callgrind can count what it executes. Only the baseline set, which
// any machine and any valgrind runs: the loops' text is the same for all sets.
#include <cstdio>
#include <vector>

#include "cpu/instruction_set.h"
#include "distillation_loss/terms.h"

#define HARNESS_VECTOR_BYTES 16
namespace harness {
namespace {
#include "cpu/vector.h"

#include "distillation_loss/row.h"
#include "hidden_state_loss/row.h"
#include "linear_gelu_linear/row.h"
}  // namespace
}  // namespace harness

namespace {
constexpr int64_t kWidth = 4099;  // odd: the rest after the last whole vector counts too

// Hides from the compiler which function is called: otherwise it drops calls whose results are not read.
template <typename Function>
Function* opaque(Function* function) {
  asm volatile("" : "+r"(function));
  return function;
}

// Each loop is in a function of its own, not inlined, so that callgrind reports it by name.
#define COUNTED extern "C" __attribute__((noinline)) void

using Row = std::vector<float>;
Row student(kWidth), teacher(kWidth), result(kWidth), bias(kWidth), score(kWidth);
const harness::RowTerms<float> terms{harness::Divergence::forward, 3, 2.0f, 0.5f, 0.5f};
harness::RowStatistics<float> statistics;
}  // namespace

COUNTED counted_distillation_row() {
  opaque(harness::distillation_row<float, float>)(student.data(), teacher.data(), kWidth, terms, statistics);
}
COUNTED counted_distillation_row_backward() {
  opaque(harness::distillation_row_backward<float, float>)(student.data(), teacher.data(), result.data(), kWidth, terms, statistics, false);
}
COUNTED counted_hidden_row() {
  double products[3];
  opaque(harness::hidden_row<float, float>)(student.data(), teacher.data(), kWidth, true, products);
}
COUNTED counted_hidden_row_slope() {
  opaque(harness::hidden_row_gradient<float, float>)(student.data(), teacher.data(), result.data(), kWidth, 0.5f, 0.25f, false);
}
COUNTED counted_gelu_row() { opaque(harness::gelu_row<float, float>)(student.data(), result.data(), kWidth); }
COUNTED counted_gelu_row_backward() {
  opaque(harness::gelu_row_backward<float, float>)(student.data(), teacher.data(), result.data(), bias.data(), score.data(), kWidth);
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
