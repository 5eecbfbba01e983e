"""The losses and layers of distillation: compiled where the extension is, in pure PyTorch elsewhere."""

from __future__ import annotations

from harness.ops.distillation import DistillationLoss, distillation_loss, linear_distillation_loss
from harness.ops.extension import explanation, implementation
from harness.ops.ffn import linear_gelu_linear, prune_linear_pair
from harness.ops.hidden import hidden_state_loss
from harness.ops.linear_cross_entropy import linear_cross_entropy
from harness.ops.logit_mse import linear_mse_logits_loss, teacher_gram

__all__ = [
    "DistillationLoss",
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
