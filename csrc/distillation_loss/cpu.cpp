// The distillation loss on the CPU: one row at a time, the rows spread over torch's threads.
//
// Shapes: N rows, V vocabulary.
#include "cpu/dispatch.h"
#include "distillation_loss/arguments.h"

namespace harness::distillation_loss {

#define HARNESS_ROW "distillation_loss/row.h"
#include "cpu/each_instruction_set.h"

namespace {

void check_target(const Rows& rows) {
  if (!rows.target) return;
  const int64_t* labels = elements<int64_t>(*rows.target);
  for (int64_t n = 0; n < rows.count(); ++n) {
    HARNESS_CHECK(
        labels[n] == rows.ignore_index || (labels[n] >= 0 && labels[n] < rows.vocabulary()), kOp, "target",
        "indices from 0 to " + std::to_string(rows.vocabulary() - 1) + " or " + std::to_string(rows.ignore_index),
        labels[n]);
  }
}

template <typename A>
RowTerms<A> make_terms(const Rows& rows, int64_t n) {
  RowTerms<A> terms{rows.divergence, -1, A(rows.temperature), A(0), A(0)};
  if (rows.soft_mask && !elements<bool>(*rows.soft_mask)[n]) terms.divergence = Divergence::none;
  if (rows.target && elements<int64_t>(*rows.target)[n] != rows.ignore_index) {
    terms.target = elements<int64_t>(*rows.target)[n];
  }
  return terms;
}

template <typename A>
bool has_terms(const RowTerms<A>& terms) {
  return terms.divergence != Divergence::none || terms.target >= 0;
}

// Drops a term whose gradient is zero, so that a NaN it would read cannot reach the gradient.
template <typename A>
void set_gradients(RowTerms<A>& terms, A soft, A hard) {
  terms.grad_soft = soft;
  terms.grad_hard = hard;
  if (soft == A(0)) terms.divergence = Divergence::none;
  if (hard == A(0)) terms.target = -1;
}

template <typename T, typename A>
void write_row(
    const Rows& rows, int64_t n, const RowTerms<A>& terms, const RowStatistics<A>& statistics, T* grad_V,
    bool streamed) {
  const T* s_V = elements<T>(rows.student) + n * rows.student.stride(0);
  const T* t_V = elements<T>(rows.teacher) + n * rows.teacher.stride(0);
  if (has_terms(terms)) {
    HARNESS_LOOP(distillation_row_backward<T, A>)(s_V, t_V, grad_V, rows.vocabulary(), terms, statistics, streamed);
  } else {
    fill_zeros(grad_V, rows.vocabulary());
  }
}

template <typename T, typename A>
RowLoss<A> row_loss(const Rows& rows, int64_t n, const RowTerms<A>& terms, RowStatistics<A>& statistics) {
  if (!has_terms(terms)) return {};
  const T* s_V = elements<T>(rows.student) + n * rows.student.stride(0);
  const T* t_V = elements<T>(rows.teacher) + n * rows.teacher.stride(0);
  return HARNESS_LOOP(distillation_row<T, A>)(s_V, t_V, rows.vocabulary(), terms, statistics);
}

std::tuple<Tensor, Tensor, Tensor> forward(
    const Tensor& student, const Tensor& teacher, const Optional& target, const Optional& soft_mask,
    double temperature, const std::string& divergence, int64_t ignore_index, bool /*inplace_backward*/) {
  const Rows rows = check_rows(student, teacher, target, soft_mask, temperature, divergence, ignore_index);
  check_target(rows);
  const RowResults results(student);
  with_types(kOp, "student_logits", student, [&]<typename T, typename A>() {
    A* soft = writable<A>(results.soft_N);
    A* hard = writable<A>(results.hard_N);
    auto* statistics = reinterpret_cast<RowStatistics<A>*>(writable<A>(results.statistics_N6));
    torch::stable::parallel_for(0, rows.count(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const RowLoss<A> loss = row_loss<T, A>(rows, n, make_terms<A>(rows, n), statistics[n]);
        soft[n] = loss.soft;
        hard[n] = loss.hard;
      }
    });
  });
  return {results.soft_N, results.hard_N, results.statistics_N6};
}

void write_gradient(
    const Rows& rows, const Tensor& grad_soft, const Tensor& grad_hard, const Tensor& statistics_N6,
    const Tensor& grad_NV) {
  check_gradients(rows, grad_soft, grad_hard, statistics_N6);
  check_target(rows);
  const Tensor soft_N = torch::stable::contiguous(grad_soft), hard_N = torch::stable::contiguous(grad_hard);
  with_types(kOp, "student_logits", rows.student, [&]<typename T, typename A>() {
    const auto* statistics = reinterpret_cast<const RowStatistics<A>*>(elements<A>(statistics_N6));
    T* grad = writable<T>(grad_NV);
    const bool streamed = grad != elements<T>(rows.student) &&
                          rows.count() * rows.vocabulary() * int64_t(sizeof(T)) > kStreamedBytes;
    torch::stable::parallel_for(0, rows.count(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        RowTerms<A> terms = make_terms<A>(rows, n);
        set_gradients(terms, elements<A>(soft_N)[n], elements<A>(hard_N)[n]);
        write_row<T, A>(rows, n, terms, statistics[n], grad + n * grad_NV.stride(0), streamed);
      }
    });
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

// Runs both passes of each row while it is in the caches; the gradient replaces the student's logits.
std::tuple<Tensor, Tensor> forward_backward(
    Tensor student, const Tensor& teacher, const Optional& target, const Optional& soft_mask, const Tensor& row_weights,
    double temperature, int64_t ignore_index) {
  check_writable(student);
  const Rows rows = check_rows(student, teacher, target, soft_mask, temperature, "forward_kl", ignore_index);
  check_target(rows);
  check_vector(kOp, "row_weights", row_weights, sum_type(student), 2, student);
  const Tensor row_weights_2 = torch::stable::contiguous(row_weights);
  const RowResults results(student);
  with_types(kOp, "student_logits", student, [&]<typename T, typename A>() {
    torch::stable::parallel_for(0, rows.count(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        RowTerms<A> terms = make_terms<A>(rows, n);
        RowStatistics<A> statistics{};
        const RowLoss<A> loss = row_loss<T, A>(rows, n, terms, statistics);
        writable<A>(results.soft_N)[n] = loss.soft;
        writable<A>(results.hard_N)[n] = loss.hard;
        set_gradients(terms, elements<A>(row_weights_2)[0], elements<A>(row_weights_2)[1]);
        write_row<T, A>(rows, n, terms, statistics, writable<T>(student) + n * student.stride(0), false);
      }
    });
  });
  return {results.soft_N, results.hard_N};
}

}  // namespace
}  // namespace harness::distillation_loss

STABLE_TORCH_LIBRARY_IMPL(harness, CPU, library) {
  library.impl("distillation_loss", TORCH_BOX(&harness::distillation_loss::forward));
  library.impl("distillation_loss_backward", TORCH_BOX(&harness::distillation_loss::backward));
  library.impl("distillation_loss_backward_", TORCH_BOX(&harness::distillation_loss::backward_inplace));
  library.impl("distillation_loss_forward_backward_", TORCH_BOX(&harness::distillation_loss::forward_backward));
}
