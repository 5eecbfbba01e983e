// What the CPU and the CUDA kernels of the loss between hidden states share: their arguments and the checks of them.
//
// Shapes: N rows, D hidden.
#pragma once

#include "checks.h"

#include <vector>

namespace harness::hidden {

constexpr const char* kOp = "hidden_state_loss";
constexpr double kEpsilon = 1e-12;  // added to each squared length, as torch's cosine_embedding_loss does

inline void check_layers(const std::vector<Tensor>& students, const std::vector<Tensor>& teachers) {
  HARNESS_CHECK(!students.empty(), kOp, "students", "one layer or more", "none");
  HARNESS_CHECK(
      students.size() == teachers.size(), kOp, "teachers", std::to_string(students.size()) + " layers",
      teachers.size());
  for (size_t l = 0; l < students.size(); ++l) {
    HARNESS_CHECK(students[l].dim() == 2, kOp, "students", "2 dimensions", shape_of(students[l]));
    HARNESS_CHECK(
        students[l].size(0) == students[0].size(0), kOp, "students", "as many rows in every layer",
        shape_of(students[l]));
    check_same(kOp, "teachers", teachers[l], students[l]);
    HARNESS_CHECK(
        students[l].scalar_type() == students[0].scalar_type(), kOp, "students", "one dtype for all", "two dtypes");
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

inline Layers checked(
    const std::vector<Tensor>& students, const std::vector<Tensor>& teachers, const Optional& mask,
    const std::string& kind, const std::vector<double>& weights) {
  check_layers(students, teachers);
  HARNESS_CHECK(kind == "cosine" || kind == "mse", kOp, "kind", "'cosine' or 'mse'", "'" + kind + "'");
  HARNESS_CHECK(weights.size() == students.size(), kOp, "weights", "one for each layer", weights.size());
  if (mask) check_rows(kOp, "mask", *mask, ScalarType::Bool, students[0].size(0), students[0]);
  Layers layers{{}, {}, mask ? Optional(torch::stable::contiguous(*mask)) : Optional(), kind == "cosine", weights};
  for (const Tensor& one : students) layers.students.push_back(with_whole_rows(one));
  for (const Tensor& one : teachers) layers.teachers.push_back(with_whole_rows(one));
  return layers;
}

}  // namespace harness::hidden
