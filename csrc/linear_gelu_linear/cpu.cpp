// The work between the two products of an FFN on the CPU; the products are the library's.
//
// Shapes: N tokens, F FFN width.
#include "linear_gelu_linear/arguments.h"

#include <algorithm>
#include <vector>

#include "cpu/dispatch.h"

namespace harness::linear_gelu_linear {

#define HARNESS_ROW "linear_gelu_linear/row.h"
#include "cpu/each_instruction_set.h"

namespace {

constexpr int64_t kRowsPerBlock = 32;
constexpr int64_t kMaxBlocks = 64;

Tensor gelu(Tensor pre) {
  check_pre(pre);
  const Tensor pre_NF = torch::stable::contiguous(pre);
  Tensor h = torch::stable::new_empty(pre, {pre.size(0), pre.size(1)});
  with_types(kOp, "pre", pre, [&]<typename T, typename A>() {
    const int64_t width = pre.size(1);
    const T* from = elements<T>(pre_NF);
    T* to = writable<T>(h);
    torch::stable::parallel_for(0, pre.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) HARNESS_LOOP(gelu_row<T, A>)(from + n * width, to + n * width, width);
    });
  });
  return h;
}

// Adds the sums of the blocks in order, so that the result does not depend on the number of threads.
template <typename A>
void add_blocks(const std::vector<A>& sums, int64_t blocks, int64_t width, A* bias_F, A* importance_F) {
  for (int64_t f = 0; f < width; ++f) {
    double bias = 0, score = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      bias += sums[2 * b * width + f];
      score += sums[(2 * b + 1) * width + f];
    }
    bias_F[f] = A(bias);
    if (importance_F) importance_F[f] += A(std::abs(score));
  }
}

// Turns grad = dL/dh into dL/dpre in place; returns h and dL/db; importance += |sum over tokens of h · dL/dh|.
std::tuple<Tensor, Tensor> gelu_backward(Tensor grad, Tensor pre, Optional importance) {
  check_backward(grad, pre, importance);
  const int64_t rows = pre.size(0), width = pre.size(1);
  Tensor h = torch::stable::new_empty(pre, {rows, width});
  Tensor bias = torch::stable::new_empty(pre, {width}, sum_type(pre));
  with_types(kOp, "pre", pre, [&]<typename T, typename A>() {
    const int64_t per_block = std::max(kRowsPerBlock, (rows + kMaxBlocks - 1) / kMaxBlocks);
    const int64_t blocks = (rows + per_block - 1) / per_block;
    std::vector<A> sums(2 * blocks * width, A(0));
    const T* pre_NF = elements<T>(pre);
    T* grad_NF = writable<T>(grad);
    T* h_NF = writable<T>(h);
    torch::stable::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        A* block = sums.data() + 2 * b * width;
        for (int64_t n = b * per_block; n < std::min(rows, (b + 1) * per_block); ++n) {
          HARNESS_LOOP(gelu_row_backward<T, A>)(
              pre_NF + n * width, grad_NF + n * width, h_NF + n * width, block, block + width, width);
        }
      }
    });
    add_blocks(sums, blocks, width, writable<A>(bias), importance ? writable<A>(*importance) : nullptr);
  });
  return {h, bias};
}

}  // namespace
}  // namespace harness::linear_gelu_linear

STABLE_TORCH_LIBRARY_IMPL(harness, CPU, library) {
  library.impl("gelu", TORCH_BOX(&harness::linear_gelu_linear::gelu));
  library.impl("gelu_backward_", TORCH_BOX(&harness::linear_gelu_linear::gelu_backward));
}
