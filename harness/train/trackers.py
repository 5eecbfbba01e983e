"""The trackers of experiments that follow a training, through transformers' own callbacks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.errors import UsageError, unknown

if TYPE_CHECKING:
    from transformers import TrainerCallback

TRACKERS: Mapping[str, str] = MappingProxyType(
    {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb", "trackio": "trackio"}
)
"""Tracker → its package, which the user installs."""
_FOLDER = "tensorboard"


def check_trackers(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names, each once, after checking that each tracker is known and installed.

    Raises:
        UsageError: it is not.
    """
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
        if not is_installed(TRACKERS[name]):
            package = TRACKERS[name]
            raise UsageError(
                f"--track {name}: expected the package {package}; it is not installed; pip install {package}"
            )
    return chosen


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def make_trackers(names: Iterable[str], stage: Path) -> list[TrainerCallback]:
    """Return the callbacks that follow the training of a stage; TensorBoard's files lie next to the stage.

    Args:
        names: of trackers that `check_trackers` accepts.
        stage: the folder in which the stage is written.
    """
    if not names:
        return []
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK  # noqa: PLC0415  loads torch

    callbacks = [INTEGRATION_TO_CALLBACK[name]() for name in names]
    for callback in callbacks:
        if getattr(callback, "logging_dir", "") is None:  # else TENSORBOARD_LOGGING_DIR names it
            callback.logging_dir = str(
                stage.parent / _FOLDER / stage.name.lstrip(".").removeprefix("partial-")
            )
    return callbacks
