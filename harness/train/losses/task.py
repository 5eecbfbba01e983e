"""Losses of a task's logits: against the gold labels, or against a teacher fine-tuned on the task.

Shapes: **N** texts or labelled words, **C** classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from harness.train.losses.inputs import LossInputs, loss_function


@loss_function
def labels(inputs: LossInputs) -> Tensor:
    """Compute the mean of −log p(gold label) over texts or labelled words."""
    logits_NC, _ = inputs.classes
    return functional.cross_entropy(logits_NC, inputs.labels_N)


@loss_function
def class_kl(inputs: LossInputs) -> Tensor:
    """Compute τ² · KL(teacher ‖ student) of softmax(logits / τ), mean over texts or labelled words.

    Source: Hinton et al. 2015; Sun et al. 2019 take the mean over classes too.
    """
    temperature = inputs.settings.temperature
    assert temperature is not None
    student_NC, teacher_NC = inputs.classes
    divergence = functional.kl_div(
        functional.log_softmax(student_NC / temperature, -1),
        functional.log_softmax(teacher_NC / temperature, -1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


@loss_function
def class_mse(inputs: LossInputs) -> Tensor:
    """Compute the mean of (student − teacher)² over texts or labelled words, and classes.

    Source: Kim et al. 2021.
    """
    return functional.mse_loss(*inputs.classes)
