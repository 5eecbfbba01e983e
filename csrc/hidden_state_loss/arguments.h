// The arguments of the loss between hidden states and their checks, for the CPU and the CUDA kernels.
//
// Shapes: N rows, D hidden.
#pragma once

#include <vector>

#include "common/checks.h"

namespace harness::hidden_state_loss {

constexpr const char* kOp = "hidden_state_loss";
constexpr double kEpsilon = 1e-12;  // added to each squared length, as torch's cosine_embedding_loss does

inline void check_layers(const std::vector<Tensor>& students, const std::vector<Tensor>& teachers) {
  HARNESS_CHECK(!students.empty(), kOp, "students", "one layer or more", "none");
  HARNESS_CHECK(
      students.size() == teachers.size(), kOp, "teachers", std::to_string(students.size()) + " layers",
      teachers.size());
  for (size_t l = 0; l < students.size(); ++l) {
    HARNESS_CHECK(students[l].dim() == 2, kOp, "students", "2 dimensions", shape_text(students[l]));
    HARNESS_CHECK(
        students[l].size(0) == students[0].size(0), kOp, "students", "the same number of rows in every layer",
        shape_text(students[l]));
    check_like(kOp, "teachers", teachers[l], students[l]);
    HARNESS_CHECK(
        students[l].scalar_type() == students[0].scalar_type(), kOp, "students", "one dtype for all", "two dtypes");
    HARNESS_CHECK(students[l].device() == students[0].device(), kOp, "students", "one device for all", "two devices");
  }
}

// The arguments, checked.
struct Layers {
  std::vector<Tensor> students, teachers;
  Optional mask;
  bool cosine;
  std::vector<double> weights;

  int64_t rows() const { return students[0].size(0); }
};

inline Layers check_arguments(
    const std::vector<Tensor>& students, const std::vector<Tensor>& teachers, const Optional& mask,
    const std::string& kind, const std::vector<double>& weights) {
  check_layers(students, teachers);
  HARNESS_CHECK(kind == "cosine" || kind == "mse", kOp, "kind", "'cosine' or 'mse'", "'" + kind + "'");
  HARNESS_CHECK(weights.size() == students.size(), kOp, "weights", "one weight for each layer", weights.size());
  if (mask) check_vector(kOp, "mask", *mask, ScalarType::Bool, students[0].size(0), students[0]);
  Layers layers{{}, {}, contiguous(mask), kind == "cosine", weights};
  for (const Tensor& student : students) layers.students.push_back(with_contiguous_rows(student));
  for (const Tensor& teacher : teachers) layers.teachers.push_back(with_contiguous_rows(teacher));
  return layers;
}

}  // namespace harness::hidden_state_loss
