"""The kinds of stages, in the order in which a run goes through them: one row a kind, one module a row.

A stage is the function ``run(context)`` of the module with its kind's name. It reads the folders of earlier
stages and files from outside, writes into its own folder, and returns its facts, which its manifest keeps for
the report. Stages never import each other: they communicate through files. `harness.plans` chains them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel

from harness.pipeline.manifest import Manifest
from harness.stages.io.export_facts import (
    ExportFacts,
    LatencyFacts,
    PackageFacts,
    PrecisionsFacts,
    QualityFacts,
)
from harness.stages.io.facts import (
    CompareFacts,
    CorporaFacts,
    FetchFacts,
    FinetuningFacts,
    LinearFacts,
    PretrainFacts,
    PruneFacts,
    ReportFacts,
    RetokenizeFacts,
    ScoringFacts,
    ShortenFacts,
    SizeFacts,
    StepFacts,
    TasksFacts,
    TrainedStepFacts,
    TrimFacts,
)

F = TypeVar("F", bound=BaseModel)

_MODEL = ("model/*",)
_STEP = ("model", "corpus")
_SCORES = ("scores.json", "predictions.json.gz")


@dataclass(frozen=True)
class Kind:
    """One kind of stage.

    Attributes:
        name: of the kind and of its module.
        version: part of every key; raise it when the code changes the written files or the facts, so that old
            results are made again.
        reads: the roles that its inputs may have, as globs. ``data:…`` is a file or folder of a data folder.
        writes: the files that it may write, as globs.
        facts: the type that ``run(context)`` returns.
        summary: what it does, in one line.
        trains: whether it trains a model: all processes of a group run such a stage together.
    """

    name: str
    version: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    facts: type[BaseModel]
    summary: str
    trains: bool = False


_KINDS = (
    # Data
    Kind("tasks", 4, ("data:*/*",), ("*.json",), TasksFacts, "Read the labelled tasks of the language."),
    Kind(
        "corpus", 2, ("data:*/*", "tasks"), ("*train.txt", "*held_out.txt"), CorporaFacts,
        "Read, clean and split text; drop every line that the dev or test part of a task contains.",
    ),
    # Teacher
    Kind(
        "pretrain", 2, ("corpora",), _MODEL, PretrainFacts,
        "Train a multilingual encoder from random weights.", trains=True,
    ),
    Kind("fetch", 1, ("folder",), _MODEL, FetchFacts, "Take a teacher from the hub or from a folder."),
    Kind(
        "head", 1, _STEP, _MODEL, TrainedStepFacts,
        "Fit a masked-language head to a teacher that has none, with the encoder frozen.", trains=True,
    ),
    # Steps of a recipe: each changes the model's shape or trains it, never both
    Kind(
        "adapt", 2, _STEP, _MODEL, TrainedStepFacts, "Continue pre-training on the language's own text.",
        trains=True,
    ),
    Kind("shorten", 1, _STEP, _MODEL, ShortenFacts, "Drop layers."),
    Kind("blank", 1, _STEP, _MODEL, StepFacts, "Replace the model by random weights in a smaller shape."),
    Kind(
        "distill", 2, (*_STEP, "teacher"), _MODEL, TrainedStepFacts,
        "Train the student to imitate an earlier model of the run.", trains=True,
    ),
    Kind("prune", 2, _STEP, _MODEL, PruneFacts, "Drop the least important FFN neurons."),
    Kind("narrow", 2, _STEP, _MODEL, StepFacts, "Reduce the width of the hidden states."),
    Kind(
        "trim", 2, (*_STEP, "corpora"), (*_MODEL, "certificate.json"), TrimFacts,
        "Keep the tokens that the language uses.",
    ),
    Kind(
        "retokenize", 1, _STEP, _MODEL, RetokenizeFacts,
        "Learn a vocabulary from the language's text in place of the teacher's.",
    ),
    # Evaluation
    Kind(
        "random", 1, ("model",), _MODEL, SizeFacts,
        "Initialise a baseline of the same shape with random weights.",
    ),
    Kind(
        "static", 1, ("model",), ("static.safetensors", "*.json"), SizeFacts,
        "Distil a static embedding for each token: a baseline without context.",
    ),
    Kind(
        "score", 9, ("model", "tasks", "teacher", "corpus"), (*_SCORES, "model*/*"), FinetuningFacts,
        "Fine-tune a model on a task with several seeds, and score the test part.", trains=True,
    ),
    Kind(
        "linear", 4, ("tasks", "static"), _SCORES, LinearFacts,
        "Score a linear model, on TF-IDF or on static embeddings.",
    ),
    Kind("majority", 4, ("tasks",), _SCORES, ScoringFacts, "Score the most frequent label."),
    Kind(
        "compare", 3, ("score.*.*",), ("comparisons.json",), CompareFacts,
        "Compare the scored models: better, worse, or no significant difference.",
    ),
    Kind(
        "export", 3, ("model",), ("onnx/*",), ExportFacts,
        "Export the fine-tuned model to ONNX, checked against torch, and quantise a copy to int8.",
    ),
    Kind(
        "precisions", 3, ("student.*", "tasks", "corpus"), ("*/model_*.onnx",), PrecisionsFacts,
        "Write the final student's exports in other precisions, each checked by the quality gate.",
    ),
    Kind(
        "quality", 1, ("model", "exported", "precisions", "tasks"), (), QualityFacts,
        "Compare the final student's ONNX files of a task with torch, and score them on the test part.",
    ),
    Kind(
        "latency", 1, ("*.*",), ("latency.json",), LatencyFacts,
        "Time the exports against each other in interleaved rounds.",
    ),
    Kind(
        "package", 3, ("model", "exported", "precisions", "tasks", "quality"),
        ("export.json", "README.md", "predict.py"), PackageFacts,
        "Time the final student's ONNX files of a task, and write their record and card.",
    ),
    Kind(
        "report", 11, ("*",), ("results.json", "report.md", "report.html", "*.svg"), ReportFacts,
        "Collect the numbers of a run in one report.",
    ),
    Kind(
        "leaderboard", 6, ("*",), ("results.json", "leaderboard.md", "leaderboard.html", "*.svg"),
        ReportFacts,
        "Collect the numbers of several recipes, or of one recipe's variants.",
    ),
)  # fmt: skip

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _KINDS})


def read_facts(manifest: Manifest, expected: type[F]) -> F:
    """Return the facts of a finished stage as the type of its kind, which must be of the expected type."""
    facts = KINDS[manifest.kind].facts.model_validate(manifest.facts)
    if not isinstance(facts, expected):
        raise TypeError(
            f"{manifest.stage}: expected {expected.__name__}; got {type(facts).__name__}, the facts of the "
            f"kind '{manifest.kind}'"
        )
    return facts
