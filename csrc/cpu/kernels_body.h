// Every inner loop, compiled once for each instruction set: the including file sets HARNESS_ISA, HARNESS_VECTOR_BYTES and
// the compiler's target before it, after the standard headers below.

namespace harness::HARNESS_ISA {
namespace {
#include "cpu/vector.h"

#include "cpu/distillation_loss_row.h"
#include "cpu/hidden_state_loss_row.h"
#include "cpu/linear_gelu_linear_row.h"
}  // namespace

template <typename T, typename A>
Kernels<T, A> table() {
  return {&distillation_row<T, A>,    &distillation_row_backward<T, A>, &hidden_row<T, A>,
          &hidden_row_slope<T, A>, &gelu_row<T, A>,                  &gelu_row_backward<T, A>};
}

template Kernels<float, float> table<float, float>();
template Kernels<bfloat16, float> table<bfloat16, float>();
template Kernels<double, double> table<double, double>();
}  // namespace harness::HARNESS_ISA
