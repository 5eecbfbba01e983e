"""Refuse two loaded models that the losses of a step cannot compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from harness.config.losses import LossSettings, LossStep, check_compatible
from harness.errors import HarnessError


class ModelSizes(NamedTuple):
    """The numbers of a loaded model by which losses compare, see `harness.config.losses.Sizes`."""

    layers: int
    hidden: int
    heads: int
    vocabulary: int


def refuse_incompatible(
    step: LossStep, names: Iterable[str], settings: LossSettings, student: Any, teacher: Any
) -> None:
    """Refuse a student and a teacher that one of the losses cannot compare.

    Raises:
        HarnessError: names the loss, both sizes and what to do.
    """
    reason = check_compatible(names, settings, _measure(student), _measure(teacher))
    if reason is not None:
        raise HarnessError(f"{step}: {reason}")


def _measure(model: Any) -> ModelSizes:
    config = model.config
    return ModelSizes(
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        len(model.get_input_embeddings().weight),
    )
