"""The baselines that scores are compared with, as one table.

A scale asks for a baseline by its ``name``; ``random`` means two models. Titles are part of stage keys:
every report is made again when one changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TRIMMED = "trimmed"
"""The name of the baseline that is the teacher with the language's tokens alone."""
TRIMMED_TITLE = "teacher, trimmed only"
"""Its title, and that of a recipe's own model which is the same."""


@dataclass(frozen=True)
class Baseline:
    """A row of the table.

    Attributes:
        id: of the model in plans and results.
        name: by which a scale asks for it.
        title: in the tables of a run or a study.
        kind: of the stage that scores it.
        made_by: kind of the stage that makes its model; None where it has no model.
        title_of_first: its title where the first of several saved models is the teacher; None where it
            needs more than that model.
        of_recipe: whether it needs the student or the trimming of one recipe; a study has several.
        default: whether a scale has it unless it names its baselines.
    """

    id: str
    name: str
    title: str
    kind: str
    made_by: str | None = None
    title_of_first: str | None = None
    of_recipe: bool = False
    default: bool = True


BASELINES = (
    Baseline(
        "random-teacher",
        "random",
        "teacher's shape, random weights",
        "score",
        made_by="random",
        title_of_first="the first model's shape, random weights",
    ),
    Baseline(
        "random-student",
        "random",
        "student's shape, random weights",
        "score",
        made_by="random",
        of_recipe=True,
    ),
    Baseline(
        "static",
        "static",
        "static embeddings from the teacher, and a linear model",
        "linear",
        made_by="static",
        title_of_first="static embeddings from the first model, and a linear model",
    ),
    Baseline(
        "tfidf",
        "tfidf",
        "TF-IDF and a linear model",
        "linear",
        title_of_first="TF-IDF and a linear model",
    ),
    Baseline("majority", "majority", "most frequent label", "majority", title_of_first="most frequent label"),
    Baseline(
        "trimmed-teacher",
        TRIMMED,
        TRIMMED_TITLE,
        "score",
        made_by="trim",
        of_recipe=True,
        default=False,
    ),
)


def _names(rows: Iterable[Baseline]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.name for row in rows))


BASELINE_NAMES = _names(BASELINES)
DEFAULT_BASELINES = _names(row for row in BASELINES if row.default)


def select_baselines(names: Iterable[str]) -> list[Baseline]:
    """Return the rows that these names ask for, in the order of the names."""
    return [row for name in names for row in BASELINES if row.name == name]


def list_scorecard_baselines() -> Mapping[str, Baseline]:
    """Return the baselines by name that need nothing but tasks and the first of several saved models."""
    return {row.name: row for row in BASELINES if row.title_of_first is not None}
