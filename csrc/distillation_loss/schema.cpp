// The schemas of the distillation loss. Their fake kernels and autograd are in harness/ops/distillation_loss.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(harness, library) {
  // Returns each row's divergence and cross-entropy (N), and statistics (N×6) for the backward pass.
  library.def(
      "distillation_loss(Tensor student_logits, Tensor teacher_logits, Tensor? target, Tensor? soft_mask, "
      "float temperature, str divergence, int ignore_index, bool inplace_backward) -> (Tensor, Tensor, Tensor)");

  // Returns dL/d(student_logits) from dL/d(divergence) and dL/d(cross-entropy) of each row.
  library.def(
      "distillation_loss_backward(Tensor grad_soft, Tensor grad_hard, Tensor student_logits, Tensor teacher_logits, "
      "Tensor? target, Tensor? soft_mask, Tensor statistics, float temperature, str divergence, int ignore_index) "
      "-> Tensor");

  // Writes dL/d(student_logits) over student_logits.
  library.def(
      "distillation_loss_backward_(Tensor grad_soft, Tensor grad_hard, Tensor(a!) student_logits, "
      "Tensor teacher_logits, Tensor? target, Tensor? soft_mask, Tensor statistics, float temperature, "
      "str divergence, int ignore_index) -> ()");

  // Returns each row's divergence (forward KL) and cross-entropy; writes row_weights[0]·d(divergence) +
  // row_weights[1]·d(cross-entropy) over student_logits.
  library.def(
      "distillation_loss_forward_backward_(Tensor(a!) student_logits, Tensor teacher_logits, Tensor? target, "
      "Tensor? soft_mask, Tensor row_weights, float temperature, int ignore_index) -> (Tensor, Tensor)");
}
