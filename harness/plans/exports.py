"""The stages that export models and time the exports. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.config.scale import Scale
from harness.pipeline.plan import Stage
from harness.plans.stage import make_stage
from harness.tasks import TASKS

UNTUNED = ("encoder", "mlm")
"""The tasks of a student's own heads, which a run exports where it scores none."""
_ORIGINS = {"folder": "a data folder", "builtin": "the built-in language", "hub": "the hub's data set"}
"""What a model card calls the source of the scored items."""


def plan_export(role: str, model: str, task: str, scale: Scale) -> Stage:
    """Return the stage that exports the model of an earlier stage for a task."""
    config = {
        "task": task,
        "lengths": list(scale.latency.lengths),
        "candidates": list(scale.export.candidates),
        "quantize": scale.export.quantize,
        "parity_tolerance": scale.export.parity_tolerance,
        "seconds": scale.latency.seconds,
        "seed": scale.seed,
    }
    times_graphs = len(scale.export.candidates) > 1  # it keeps the fastest
    return make_stage(f"export.{task}.{role}", "export", config, {"model": model}, alone=times_graphs)


def plan_precisions(role: str, tasks: Sequence[str], scale: Scale) -> Stage:
    """Return the stage that writes a model's exports in the scale's further precisions."""
    config = {
        "tasks": list(tasks),
        "precisions": list(scale.export.precisions),
        "max_length": scale.sequence_length,
    }
    inputs = {f"{role}.{task}": f"export.{task}.{role}" for task in tasks}
    return make_stage("precisions", "precisions", config, inputs | {"tasks": "tasks", "corpus": "corpus"})


def plan_latency(roles: Sequence[str], tasks: Sequence[str], scale: Scale) -> Stage:
    """Return the stage that times the exports against each other; the scale's seconds are for two models."""
    config = {"tasks": list(tasks), "seed": scale.seed, **scale.latency.model_dump(mode="json")}
    if len(roles) > 2:
        config["seconds"] *= len(roles) / 2
    inputs = {f"{role}.{task}": f"export.{task}.{role}" for task in tasks for role in roles}
    return make_stage("latency", "latency", config, inputs, alone=True)


def plan_package(
    role: str, model: str, task: str, scale: Scale, *, language: str, name: str
) -> tuple[Stage, Stage]:
    """Return the stages that check a model's ONNX files of a task, and that time and describe them.

    Args:
        role: of the model.
        model: the stage that was exported.
        task: of its head; the files of a labelled task are scored.
        scale: for the length of the rows and the time that each file is timed.
        language: code.
        name: of the run.
    """
    shared = {"task": task, "max_length": scale.sequence_length, "seed": scale.seed}
    inputs: dict[str, str | Path] = {"model": model, "exported": f"export.{task}.{role}"}
    if task in TASKS:
        inputs |= {"tasks": "tasks"} | ({"precisions": "precisions"} if scale.export.precisions else {})
    quality = make_stage(f"quality.{task}", "quality", shared, inputs)
    config = {
        **shared,
        "name": f"{language}-{name}-{task}".replace("@", "-"),
        "language": language,
        "data": _ORIGINS[scale.tasks.source],
        "seconds": scale.latency.seconds / 2,  # the scale's seconds are for two files
    }
    timed = inputs | {"quality": quality.id}
    return quality, make_stage(f"package.{task}", "package", config, timed, alone=True)
