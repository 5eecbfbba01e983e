"""The stages that export models and time the exports. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config.scale import Scale
from harness.pipeline.plan import Stage
from harness.plans.stage import make_stage


def plan_export(role: str, model_id: str, task: str, scale: Scale) -> Stage:
    """Return the stage that exports a model fine-tuned on a task."""
    config = {
        "task": task,
        "lengths": list(scale.latency.lengths),
        "candidates": list(scale.export.candidates),
        "quantize": scale.export.quantize,
        "parity_tolerance": scale.export.parity_tolerance,
        "seconds": scale.latency.seconds,
        "seed": scale.seed,
    }
    return make_stage(f"export.{task}.{role}", "export", config, {"model": f"score.{task}.{model_id}"})


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
    return make_stage("latency", "latency", config, inputs)
