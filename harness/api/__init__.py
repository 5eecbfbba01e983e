"""The functions for Python: what the commands do, as calls.

::

    from harness import api

    teacher = api.load("intfloat/multilingual-e5-small")
    text = api.read_text("mt.txt")
    small = api.shorten(api.trim(teacher, text, tokens=20_000), layers=6)

Each function takes all that it uses as arguments and returns a new object; none keeps anything. The commands
are built on these functions, so that both write the same bytes.
"""

from __future__ import annotations

from harness.api.compression import (
    Model,
    load,
    narrow,
    prune,
    read_text,
    retokenize,
    shorten,
    trim,
)
from harness.api.deployment import LabelledSpan, LabelledWord, Prediction, export, predict
from harness.api.options import ScaleOptions
from harness.api.pair_scores import PairScore, score_pairs
from harness.api.running import FinishedRun, reproduce
from harness.api.scoring import Scorecard, score
from harness.api.student_shapes import ShapeChoice, choose_shapes
from harness.api.training import distill, fit_head
from harness.api.vocabulary_sizes import VocabularyChoice, compare_vocabularies

__all__ = [
    "FinishedRun",
    "LabelledSpan",
    "LabelledWord",
    "Model",
    "PairScore",
    "Prediction",
    "ScaleOptions",
    "Scorecard",
    "ShapeChoice",
    "VocabularyChoice",
    "choose_shapes",
    "compare_vocabularies",
    "distill",
    "export",
    "fit_head",
    "load",
    "narrow",
    "predict",
    "prune",
    "read_text",
    "reproduce",
    "retokenize",
    "score",
    "score_pairs",
    "shorten",
    "trim",
]
