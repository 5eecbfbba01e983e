"""Every kind of step is complete: its schema, its resolved form, and the stage that runs it."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import pytest

from harness.config import steps
from harness.config.amounts import TextSettings, TrainingSettings
from harness.config.shape import KNOWN_TEACHERS
from harness.config.steps import KINDS
from harness.config.steps.base import ResolvedStep, TaughtStep
from harness.config.steps.narrow import ResolvedNarrow
from harness.config.steps.prune import ResolvedPrune
from harness.config.steps.shorten import ResolvedShorten
from harness.config.steps.trim import ResolvedTrim
from harness.config.steps.tune import ResolvedTune
from harness.stages.io.facts import TrainedStepFacts
from harness.stages.table import KINDS as STAGES

TEXT = TextSettings(
    tokens=600, batch_tokens=96, mask_fraction=0.2, sequence_length=24, precision="fp32", seed=1
)


def find_resolved(kind):
    """Return the resolved form in the module of a kind."""
    module = import_module(f"harness.config.steps.{kind}")
    return getattr(module, f"Resolved{kind.capitalize()}")


def test_table_has_every_module():
    modules = {module.name for module in iter_modules(steps.__path__)}
    assert set(KINDS) == modules - {"base"}


@pytest.mark.parametrize("kind", KINDS)
def test_kind_has_a_resolved_form(kind):
    resolved = find_resolved(kind)
    assert issubclass(resolved, ResolvedStep)
    assert resolved.kind == KINDS[kind].kind == kind
    assert resolved.describe is not ResolvedStep.describe, f"{resolved.__name__} lacks describe()"


@pytest.mark.parametrize("kind", KINDS)
def test_teacher_is_a_field_of_taught_steps(kind):
    schema = KINDS[kind]
    assert schema.needs_teacher == issubclass(schema, TaughtStep) == ("teacher" in schema.model_fields)
    assert find_resolved(kind).model_fields["teacher"].is_required() == schema.needs_teacher


@pytest.mark.parametrize("kind", [name for name, schema in KINDS.items() if schema.makes_encoder])
def test_stage_of_a_kind_agrees_with_its_schema(kind):
    assert kind in STAGES, f"harness/stages/table.py lacks a row for the step '{kind}'"
    row, schema = STAGES[kind], KINDS[kind]
    assert ("teacher" in row.reads) == schema.needs_teacher
    assert issubclass(row.facts, TrainedStepFacts) == schema.trains


def test_only_tune_has_no_stage():
    assert [name for name in KINDS if name not in STAGES] == ["tune"]


@pytest.mark.parametrize(
    ("step", "config"),
    [
        (ResolvedTrim(vocabulary=40), {"vocabulary": 40}),
        (ResolvedShorten(layers=(0, 2)), {"layers": [0, 2]}),
        (
            ResolvedShorten(layers=(), number=2, text=TEXT),
            {
                "layers": [], "number": 2, "tokens": 600, "batch_tokens": 96, "mask_fraction": 0.2,
                "sequence_length": 24, "precision": "fp32", "seed": 1,
            },
        ),
        (
            ResolvedPrune(ffn=8, score="taylor", rounds=1, text=TEXT),
            {
                "ffn": 8, "score": "taylor", "rounds": 1, "tokens": 600, "batch_tokens": 96,
                "mask_fraction": 0.2, "sequence_length": 24, "precision": "fp32", "seed": 1,
            },
        ),
        (
            ResolvedNarrow(
                hidden=8, heads=2, basis="first", heads_mode="narrowed", within="first", refit=False
            ),
            {"hidden": 8, "heads": 2, "basis": "first", "heads_mode": "narrowed"},
        ),
        (
            ResolvedTune(
                teacher="adapt", loss={"labels": 1, "class_mse": 1}, method="sft", density=0.1,
                kept_layers=(0, 2),
            ),
            {"loss": {"labels": 1.0, "class_mse": 1.0}, "kept_layers": [0, 2]},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, ResolvedStep) else "",
)  # fmt: skip
def test_config_is_flat_without_defaults(step, config):
    assert step.to_config() == config


def test_change_of_shape_is_limited_to_its_part():
    shape = KNOWN_TEACHERS["mbert"].shape
    trimmed = ResolvedTrim(vocabulary=40).change_shape(shape)
    assert trimmed == shape.model_copy(update={"vocabulary": 40})
    chosen = ResolvedShorten(layers=(), number=4, text=TEXT).change_shape(shape)
    assert chosen == shape.model_copy(update={"layers": 4})
    training = TrainingSettings(
        tokens=600, learning_rate=1e-3, batch_tokens=96, mask_fraction=0.2, warmup_fraction=0,
        sequence_length=24, precision="fp32", seed=1,
    )  # fmt: skip
    adapted = find_resolved("adapt")(training=training)
    assert adapted.change_shape(shape) == shape
