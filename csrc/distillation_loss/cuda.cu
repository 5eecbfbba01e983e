// The distillation loss on the GPU: from tensors to the kernels. A label outside the vocabulary makes the row NaN; the Python
// function refuses it where it may read values.
//
// Shapes: N rows, V vocabulary.
#include "cuda/dispatch.cuh"
#include "distillation_loss/arguments.h"
#include "distillation_loss/rows.cuh"

namespace harness::distillation_loss {
namespace {

using cuda::elements;
using cuda::Pass;
using cuda::writable;

template <typename T>
cuda::RowArguments<T> row_arguments(const Rows& rows) {
  cuda::RowArguments<T> all{};
  all.student = elements<T>(rows.student);
  all.teacher = elements<T>(rows.teacher);
  all.student_stride = rows.student.stride(0);
  all.teacher_stride = rows.teacher.stride(0);
  all.vocabulary = rows.vocabulary();
  all.target_N = rows.target ? elements<int64_t>(*rows.target) : nullptr;
  all.soft_mask_N = rows.soft_mask ? elements<bool>(*rows.soft_mask) : nullptr;
  all.ignore_index = rows.ignore_index;
  all.divergence = rows.divergence;
  all.temperature = cuda::sum_t<T>(rows.temperature);
  return all;
}

template <typename T>
void set_results(cuda::RowArguments<T>& all, const RowResults& results) {
  using A = cuda::sum_t<T>;
  all.soft_N = writable<A>(results.soft_N);
  all.hard_N = writable<A>(results.hard_N);
  all.statistics_N = reinterpret_cast<RowStatistics<A>*>(writable<A>(results.statistics_N6));
}

std::tuple<Tensor, Tensor, Tensor> forward(
    const Tensor& student, const Tensor& teacher, const Optional& target, const Optional& soft_mask,
    double temperature, const std::string& divergence, int64_t ignore_index, bool /*inplace_backward*/) {
  const Rows rows = check_rows(student, teacher, target, soft_mask, temperature, divergence, ignore_index);
  const cuda::Guard guard(student.get_device());
  const RowResults results(student);
  cuda::with_type(kOp, "student_logits", student, [&]<typename T>() {
    cuda::RowArguments<T> all = row_arguments<T>(rows);
    set_results(all, results);
    cuda::check_launch(kOp, cuda::launch(Pass::forward, all, rows.count(), cuda::current_stream(student)));
  });
  return {results.soft_N, results.hard_N, results.statistics_N6};
}

void write_gradient(
    const Rows& rows, const Tensor& grad_soft, const Tensor& grad_hard, const Tensor& statistics_N6,
    const Tensor& grad_NV) {
  check_gradients(rows, grad_soft, grad_hard, statistics_N6);
  const Tensor soft_N = torch::stable::contiguous(grad_soft), hard_N = torch::stable::contiguous(grad_hard);
  const cuda::Guard guard(rows.student.get_device());
  cuda::with_type(kOp, "student_logits", rows.student, [&]<typename T>() {
    using A = cuda::sum_t<T>;
    cuda::RowArguments<T> all = row_arguments<T>(rows);
    all.statistics_N = const_cast<RowStatistics<A>*>(
        reinterpret_cast<const RowStatistics<A>*>(elements<A>(statistics_N6)));  // the backward kernel only reads it
    all.grad_soft = elements<A>(soft_N);
    all.grad_hard = elements<A>(hard_N);
    all.grad_stride = 1;
    all.gradient = writable<T>(grad_NV);
    all.gradient_stride = grad_NV.stride(0);
    cuda::check_launch(kOp, cuda::launch(Pass::backward, all, rows.count(), cuda::current_stream(rows.student)));
  });
}

Tensor backward(
    const Tensor& grad_soft, const Tensor& grad_hard, const Tensor& student, const Tensor& teacher,
    const Optional& target, const Optional& soft_mask, const Tensor& statistics, double temperature,
    const std::string& divergence, int64_t ignore_index) {
  const Rows rows = check_rows(student, teacher, target, soft_mask, temperature, divergence, ignore_index);
  Tensor grad = torch::stable::new_empty(student, {rows.count(), rows.vocabulary()});
  write_gradient(rows, grad_soft, grad_hard, statistics, grad);
  return grad;
}

void backward_inplace(
    const Tensor& grad_soft, const Tensor& grad_hard, Tensor student, const Tensor& teacher, const Optional& target,
    const Optional& soft_mask, const Tensor& statistics, double temperature, const std::string& divergence,
    int64_t ignore_index) {
  check_writable(student);
  const Rows rows = check_rows(student, teacher, target, soft_mask, temperature, divergence, ignore_index);
  write_gradient(rows, grad_soft, grad_hard, statistics, student);
}

std::tuple<Tensor, Tensor> forward_backward(
    Tensor student, const Tensor& teacher, const Optional& target, const Optional& soft_mask, const Tensor& row_weights,
    double temperature, int64_t ignore_index) {
  check_writable(student);
  const Rows rows = check_rows(student, teacher, target, soft_mask, temperature, "forward_kl", ignore_index);
  check_vector(kOp, "row_weights", row_weights, sum_type(student), 2, student);
  const Tensor row_weights_2 = torch::stable::contiguous(row_weights);
  const cuda::Guard guard(student.get_device());
  const RowResults results(student);
  cuda::with_type(kOp, "student_logits", student, [&]<typename T>() {
    using A = cuda::sum_t<T>;
    cuda::RowArguments<T> all = row_arguments<T>(rows);
    set_results(all, results);
    all.grad_soft = elements<A>(row_weights_2);
    all.grad_hard = elements<A>(row_weights_2) + 1;
    all.grad_stride = 0;
    all.gradient = writable<T>(student);
    all.gradient_stride = student.stride(0);
    cuda::check_launch(kOp, cuda::launch(Pass::both, all, rows.count(), cuda::current_stream(student)));
  });
  return {results.soft_N, results.hard_N};
}

}  // namespace
}  // namespace harness::distillation_loss

STABLE_TORCH_LIBRARY_IMPL(harness, CUDA, library) {
  library.impl("distillation_loss", TORCH_BOX(&harness::distillation_loss::forward));
  library.impl("distillation_loss_backward", TORCH_BOX(&harness::distillation_loss::backward));
  library.impl("distillation_loss_backward_", TORCH_BOX(&harness::distillation_loss::backward_inplace));
  library.impl("distillation_loss_forward_backward_", TORCH_BOX(&harness::distillation_loss::forward_backward));
}
