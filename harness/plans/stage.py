"""How a plan makes a stage out of a kind, a config and inputs, or out of a step and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.steps.base import ResolvedStep
from harness.pipeline.plan import Stage
from harness.stages.table import KINDS

HELD_OUT_LENGTH = 128
"""Tokens of the sequences on which the held-out loss of every step's model is measured."""
RUNTIME_ONLY_SETTINGS = ("activation_checkpointing",)
"""Settings that change how much memory a training takes and no byte of what it writes."""


def make_stage(
    id: str,  # noqa: A002
    kind: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str | Path],
    step: object = None,
    *,
    alone: bool = False,
) -> Stage:
    """Return a stage of its kind's present version; settings that no output depends on are its means."""
    means = {name: config[name] for name in RUNTIME_ONLY_SETTINGS if name in config}
    return Stage(
        id=id,
        kind=kind,
        version=KINDS[kind].version,
        config={name: value for name, value in config.items() if name not in means},
        inputs=inputs,
        means=means,
        step=step,
        alone=alone,
    )


def make_step_stage(
    id: str,  # noqa: A002
    step: ResolvedStep,
    inputs: Mapping[str, str | Path],
) -> Stage:
    """Return the stage of a step; the step travels to the stage as it is."""
    return make_stage(id, step.kind, {**step.to_config(), "held_out_length": HELD_OUT_LENGTH}, inputs, step)
