// The schema of the loss between hidden states. Its fake kernel and autograd are in harness/ops/hidden_state_loss.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(harness, library) {
  // Returns the loss over all layers (each N×D) and, if needs_gradients, its gradient by each student.
  library.def(
      "hidden_state_loss(Tensor[] students, Tensor[] teachers, Tensor? mask, str kind, float[] weights, "
      "bool needs_gradients) -> (Tensor, Tensor[])");
}
