// What the CPU and the CUDA kernels of the distillation loss share: their arguments and the checks of them.
//
// Shapes: N rows, V vocabulary.
#pragma once

#include "checks.h"
#include "rows.h"

namespace harness::distillation {

constexpr const char* kOp = "distillation_loss";
constexpr int64_t kStatistics = 6;

// The arguments all passes share.
struct Rows {
  Tensor student, teacher;
  Optional target, soft_mask;
  double temperature;
  Divergence divergence;
  int64_t ignore_index;

  int64_t count() const { return student.size(0); }
  int64_t vocabulary() const { return student.size(1); }
};

inline Divergence divergence_of(const std::string& name) {
  HARNESS_CHECK(
      name == "forward_kl" || name == "reverse_kl", kOp, "divergence", "'forward_kl' or 'reverse_kl'", "'" + name + "'");
  return name == "forward_kl" ? Divergence::forward : Divergence::reverse;
}

inline Optional contiguous(const Optional& tensor) {
  return tensor ? Optional(torch::stable::contiguous(*tensor)) : Optional();
}

inline Rows checked(
    const Tensor& student, const Tensor& teacher, const Optional& target, const Optional& soft_mask,
    double temperature, const std::string& divergence, int64_t ignore_index) {
  HARNESS_CHECK(student.dim() == 2, kOp, "student_logits", "2 dimensions", shape_of(student));
  check_same(kOp, "teacher_logits", teacher, student);
  HARNESS_CHECK(temperature > 0, kOp, "temperature", "a number greater than 0", temperature);
  if (target) check_rows(kOp, "target", *target, ScalarType::Long, student.size(0), student);
  if (soft_mask) check_rows(kOp, "soft_mask", *soft_mask, ScalarType::Bool, student.size(0), student);
  return {with_whole_rows(student), with_whole_rows(teacher), contiguous(target), contiguous(soft_mask),
          temperature, divergence_of(divergence), ignore_index};
}

// Refuses a tensor the gradient cannot be written over: one whose rows are not whole, or overlap.
inline void check_writable(const Tensor& student) {
  const bool whole = student.size(1) <= 1 || student.stride(1) == 1;
  const bool apart = student.size(0) <= 1 || student.stride(0) >= student.size(1);
  HARNESS_CHECK(
      whole && apart, kOp, "student_logits", "rows in one piece each, as the gradient is written over them",
      "other strides");
}

inline void check_slopes(const Rows& rows, const Tensor& soft_N, const Tensor& hard_N, const Tensor& statistics_N6) {
  const ScalarType type = sum_type(rows.student);
  check_rows(kOp, "soft_slope", soft_N, type, rows.count(), rows.student);
  check_rows(kOp, "hard_slope", hard_N, type, rows.count(), rows.student);
  HARNESS_CHECK(
      statistics_N6.dim() == 2 && statistics_N6.size(0) == rows.count() && statistics_N6.size(1) == kStatistics &&
          statistics_N6.scalar_type() == type && statistics_N6.is_contiguous(),
      kOp, "statistics", "those of the forward pass", shape_of(statistics_N6));
}

// What the forward pass writes: two numbers a row, and the statistics.
struct RowResults {
  Tensor soft_N, hard_N, statistics_N6;

  explicit RowResults(const Tensor& student)
      : soft_N(torch::stable::new_zeros(student, {student.size(0)}, sum_type(student))),
        hard_N(torch::stable::new_zeros(student, {student.size(0)}, sum_type(student))),
        statistics_N6(torch::stable::new_zeros(student, {student.size(0), kStatistics}, sum_type(student))) {}
};

}  // namespace harness::distillation
