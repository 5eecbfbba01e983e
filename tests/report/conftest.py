"""The results of a run, with every cell filled."""

from __future__ import annotations

import hashlib

import pytest

from harness.report.exported import ExportResult, PrecisionResult
from harness.report.results import Declared, ModelResult, Results, Run, make_score
from harness.report.texts import HeldOut, Leakage
from harness.report.training import TrainingRecord, thin_curve
from harness.report.values import Estimate, IntervalValue, SpeedRatio

TASKS = {"pos": "accuracy", "ner": "span_f1", "topic": "macro_f1", "sentiment": "macro_f1"}
MODELS = [
    ("teacher", "Teacher", "teacher", None, 6_900_000, 0.88),
    ("shorten", "6 layers", "student", "distill", 4_300_000, 0.86),
    ("trim", "Student", "student", "trim", 700_000, 0.82),
    ("random", "Student's shape from random weights", "baseline", None, 700_000, 0.61),
    ("majority", "Most frequent label", "baseline", None, None, 0.2),
]


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def model(name: str, title: str, role: str, step: str | None, size: int | None) -> ModelResult:
    if size is None:
        return ModelResult(id=name, name=title, role=role, key=key(name))
    return ModelResult(
        id=name, name=title, role=role, step=step, key=key(name), size_bytes=4 * size,
        shape={"family": "bert", "layers": 6, "hidden": 78, "heads": 6, "ffn": 512, "vocabulary": 4000},
        parameters={"embeddings": size // 2, "layers": size - size // 2},
    )  # fmt: skip


def scores():
    for name, _, _, _, _, level in MODELS:
        for place, (task, metric) in enumerate(TASKS.items()):
            values = [level - 0.02 * place, level - 0.02 * place + 0.01]
            yield make_score(
                name, task, metric, values, seeds=(1, 2), n_test=200, keys=[key(f"{name}{task}")],
                interval=IntervalValue(low=values[0] - 0.03, high=values[1] + 0.03),
            )  # fmt: skip


def exports():
    for name, whole_ms in (("teacher", 12.0), ("trim", 2.0)):
        for precision in ("fp32", "int8"):
            part = 1 if precision == "fp32" else 0.6
            value = 12.0 / (whole_ms * part)
            ratio = SpeedRatio(value=value, interval=IntervalValue(low=0.97 * value, high=1.03 * value))
            yield ExportResult(
                model=name, task="pos", precision=precision, graph="legacy", reason="it was faster",
                size_bytes=int(27_000_000 * part * whole_ms / 12), max_abs_delta=4e-7, argmax_agreement=0.98,
                label_agreement=None if name == "teacher" else 0.997,
                p50_ms=whole_ms * part, p90_ms=1.2 * whole_ms * part, threads=1, length=128, batch_size=1,
                key=key(f"{name}onnx"),
                ratio=None if (name, precision) == ("teacher", "fp32") else ratio,
            )  # fmt: skip


def copies():
    for precision, lost, passed, kept in (
        ("fp16", 0.0, True, ()),
        ("int8", 0.001, True, ("head",)),
        ("q4", 0.2, False, ()),
    ):
        yield PrecisionResult(
            model="trim", task="pos", precision=precision, size_bytes=700_000, metric="accuracy",
            num_items=60, original=0.82, score=0.82 - lost, allowed=0.005, passed=passed, kept_parts=kept,
            drop=Estimate(value=lost, low=lost - 0.01, high=lost + 0.01), key=key("precisions"),
        )  # fmt: skip


@pytest.fixture
def results() -> Results:
    weightless = ("shape", "parameters", "size_bytes")
    gone = [{"cell": f"model/majority/{field}", "reason": "it has no weights"} for field in weightless]
    return Results(
        run=Run(
            language="mt", language_name="Maltese", recipe="gurgurov2025", scale="mini",
            recipe_source="Gurgurov et al. 2025, arXiv:2505.16956", teacher="BERT, 12 layers",
            data="built-in",
        ),
        environment={
            "cpu": "A | B", "isa": ["avx2"], "gpu": None, "dirty": False, "versions": {"torch": "2.13.0"},
        },
        declared=Declared(
            tasks=TASKS, scored=[one[0] for one in MODELS], exported=["teacher", "trim"],
            exported_tasks=["pos"], precisions=["fp32", "int8"], trained=["distill"],
        ),
        models=[model(*row[:5]) for row in MODELS],
        scores=list(scores()),
        exports=list(exports()), copies=tuple(copies()),
        training=[
            TrainingRecord(
                step="distill", tokens=1_000_000, tokens_per_s=21_000.5, wall_s=75.2, loss_final=2.5,
                peak_memory_bytes=900_000_000, loss_held_out=2.75, key=key("distill"),
                curve=thin_curve([(10 * step, 9 - step / 20) for step in range(1, 131)]),
            ),
        ],
        held_out=[
            HeldOut(model=one, loss=2.5, loss_per_byte=0.625, key=key(one)) for one in ("teacher", "trim")
        ],
        leakage=[Leakage(task="topic", dev=0, n_dev=99, test=3, n_test=204, key=key("tasks"))],
        absent=gone,
    )  # fmt: skip
