// The arguments of the distillation loss and their checks, for the CPU and the CUDA kernels.
//
// Shapes: N rows, V vocabulary.
#pragma once

#include "common/checks.h"
#include "distillation_loss/terms.h"

namespace harness::distillation_loss {

constexpr const char* kOp = "distillation_loss";
constexpr int64_t kStatistics = 6;

// The arguments of every pass.
struct Rows {
  Tensor student, teacher;
  Optional target, soft_mask;
  double temperature;
  Divergence divergence;
  int64_t ignore_index;

  int64_t count() const { return student.size(0); }
  int64_t vocabulary() const { return student.size(1); }
};

inline Divergence parse_divergence(const std::string& name) {
  HARNESS_CHECK(
      name == "forward_kl" || name == "reverse_kl", kOp, "divergence", "'forward_kl' or 'reverse_kl'", "'" + name + "'");
  return name == "forward_kl" ? Divergence::forward : Divergence::reverse;
}

inline Rows check_rows(
    const Tensor& student, const Tensor& teacher, const Optional& target, const Optional& soft_mask,
    double temperature, const std::string& divergence, int64_t ignore_index) {
  HARNESS_CHECK(student.dim() == 2, kOp, "student_logits", "2 dimensions", shape_text(student));
  check_like(kOp, "teacher_logits", teacher, student);
  HARNESS_CHECK(temperature > 0, kOp, "temperature", "a number greater than 0", temperature);
  if (target) check_vector(kOp, "target", *target, ScalarType::Long, student.size(0), student);
  if (soft_mask) check_vector(kOp, "soft_mask", *soft_mask, ScalarType::Bool, student.size(0), student);
  return {with_contiguous_rows(student), with_contiguous_rows(teacher), contiguous(target), contiguous(soft_mask),
          temperature, parse_divergence(divergence), ignore_index};
}

// Checks that the gradient can be written over the tensor: its rows are contiguous and do not overlap.
inline void check_writable(const Tensor& student) {
  const bool contiguous_rows = student.size(1) <= 1 || student.stride(1) == 1;
  const bool separate = student.size(0) <= 1 || student.stride(0) >= student.size(1);
  HARNESS_CHECK(
      contiguous_rows && separate, kOp, "student_logits", "contiguous rows that do not overlap, as the gradient is written over them",
      "other strides");
}

inline void check_gradients(const Rows& rows, const Tensor& soft_N, const Tensor& hard_N, const Tensor& statistics_N6) {
  const ScalarType type = sum_type(rows.student);
  check_vector(kOp, "grad_soft", soft_N, type, rows.count(), rows.student);
  check_vector(kOp, "grad_hard", hard_N, type, rows.count(), rows.student);
  HARNESS_CHECK(
      statistics_N6.dim() == 2 && statistics_N6.size(0) == rows.count() && statistics_N6.size(1) == kStatistics &&
          statistics_N6.scalar_type() == type && statistics_N6.is_contiguous(),
      kOp, "statistics", "the statistics of the forward pass", shape_text(statistics_N6));
}

// The results of the forward pass: two numbers and the statistics of each row.
struct RowResults {
  Tensor soft_N, hard_N, statistics_N6;

  explicit RowResults(const Tensor& student)
      : soft_N(torch::stable::new_zeros(student, {student.size(0)}, sum_type(student))),
        hard_N(torch::stable::new_zeros(student, {student.size(0)}, sum_type(student))),
        statistics_N6(torch::stable::new_zeros(student, {student.size(0), kStatistics}, sum_type(student))) {}
};

}  // namespace harness::distillation_loss
