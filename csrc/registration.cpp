// The schemas of every op. CPU and CUDA kernels are registered beside their code; fake kernels and autograd in
// harness/ops/registration.py.
//
// Shapes: N rows, V vocabulary, D hidden, F FFN width.
#include <torch/csrc/stable/library.h>

#include <string>

#include "cpu/kernels.h"

namespace {
int64_t schema_version() { return 3; }  // equals SCHEMA_VERSION in harness/ops/extension.py

std::string instruction_set() { return harness::instruction_set(); }
}  // namespace

STABLE_TORCH_LIBRARY(harness, library) {
  library.def("schema_version() -> int");
  library.def("instruction_set() -> str");

  // Each row's divergence and cross-entropy (N), and statistics (N×6) for the backward pass.
  library.def(
      "distillation_loss(Tensor student_logits, Tensor teacher_logits, Tensor? target, Tensor? soft_mask, "
      "float temperature, str divergence, int ignore_index, bool inplace_backward) -> (Tensor, Tensor, Tensor)");
  // dL/d(student_logits) from dL/d(divergence) and dL/d(cross-entropy) of each row.
  library.def(
      "distillation_loss_backward(Tensor soft_slope, Tensor hard_slope, Tensor student_logits, Tensor teacher_logits, "
      "Tensor? target, Tensor? soft_mask, Tensor statistics, float temperature, str divergence, int ignore_index) "
      "-> Tensor");
  // The same, written over student_logits.
  library.def(
      "distillation_loss_backward_(Tensor soft_slope, Tensor hard_slope, Tensor(a!) student_logits, "
      "Tensor teacher_logits, Tensor? target, Tensor? soft_mask, Tensor statistics, float temperature, "
      "str divergence, int ignore_index) -> ()");
  // Each row's divergence and cross-entropy; writes slopes[0]·d(divergence) + slopes[1]·d(cross-entropy) over
  // student_logits. Forward KL.
  library.def(
      "distillation_loss_forward_backward_(Tensor(a!) student_logits, Tensor teacher_logits, Tensor? target, "
      "Tensor? soft_mask, Tensor slopes, float temperature, int ignore_index) -> (Tensor, Tensor)");

  // The loss over all layers (each N×D) and, if asked, its gradient by every student.
  library.def(
      "hidden_state_loss(Tensor[] students, Tensor[] teachers, Tensor? mask, str kind, float[] weights, "
      "bool needs_slopes) -> (Tensor, Tensor[])");

  // h = gelu(pre), N×F.
  library.def("gelu(Tensor pre) -> Tensor");
  // Turns slope = dL/dh into dL/dpre; gives h and dL/d(bias); adds |sum over tokens of h·dL/dh| to importance.
  library.def("gelu_backward_(Tensor(a!) slope, Tensor pre, Tensor(b!)? importance) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(harness, CompositeExplicitAutograd, library) {
  library.impl("schema_version", TORCH_BOX(&schema_version));
  library.impl("instruction_set", TORCH_BOX(&instruction_set));
}
