"""The losses and layers of distillation: compiled where the extension is installed, else pure PyTorch."""

from __future__ import annotations

from harness.ops.distillation_loss import DistillationLoss, distillation_loss
from harness.ops.extension import explanation, implementation
from harness.ops.hidden_state_loss import hidden_state_loss
from harness.ops.linear_cross_entropy import linear_cross_entropy
from harness.ops.linear_distillation_loss import linear_distillation_loss
from harness.ops.linear_gelu_linear import linear_gelu_linear
from harness.ops.linear_mse_logits_loss import TeacherGram, linear_mse_logits_loss, teacher_gram
from harness.ops.prune_linear_pair import prune_linear_pair

__all__ = [
    "DistillationLoss",
    "TeacherGram",
    "distillation_loss",
    "explanation",
    "hidden_state_loss",
    "implementation",
    "linear_cross_entropy",
    "linear_distillation_loss",
    "linear_gelu_linear",
    "linear_mse_logits_loss",
    "prune_linear_pair",
    "teacher_gram",
]
