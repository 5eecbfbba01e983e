"""The papers' own numbers, each with the place where it was read.

Only numbers that were read at the source are listed. Shares are 0 to 1. Where the source does not state the
task or the language of a number, neither does the entry.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published number, or a range.

    Attributes:
        recipe: the recipe that follows the paper.
        paper: authors, year and identifier.
        place: version and table or section, or file and commit of the authors' code.
        row: the row or variable.
        quantity: ``compression`` (share of parameters removed), ``drop`` (share of the teacher's score lost)
            or ``score``.
        low: the number, or the lower end of a range.
        high: the upper end; the same as ``low`` for a single number.
        language: code; None where the source names none or means all.
        task: task; None where the source names none or means all.
        note: a caveat for comparisons.
    """

    recipe: str
    paper: str
    place: str
    row: str
    quantity: str
    low: float
    high: float
    language: str | None = None
    task: str | None = None
    note: str = ""


_PAPER = "Gurgurov et al. 2025, arXiv:2505.16956"
_V1, _V2 = "v1, abstract", "v2, abstract (also ACL Anthology 2025.ijcnlp-srw.5)"
_VOCABULARY = "authors' code, src/utils/plot_vocab.py at 6efb176"
_ADAPTER = "authors' code, src/utils/plot_r.py at b9c3694"
_FOUR = "over four tasks and three languages"
_NO_TASK = "F1; the file names neither task nor teacher"
_NO_LANGUAGE = "F1 with adapters of reduction 16; the file names no language"


def _range(place: str, row: str, quantity: str, low: float, high: float) -> Published:
    return Published("gurgurov2025", _PAPER, place, row, quantity, low, high, note=_FOUR)


def _vocabulary(language: str, *by_size: float) -> tuple[Published, ...]:
    def row(size: str, f1: float) -> Published:
        name = f"f1_scores_{language}, {size}"
        return Published(
            "gurgurov2025", _PAPER, _VOCABULARY, name, "score", f1, f1, language=language, note=_NO_TASK
        )

    return tuple(map(row, ("original vocabulary", "40k", "20k", "15k", "10k", "5k"), by_size))


def _adapter(teacher: str, *by_hidden: float) -> tuple[Published, ...]:
    def row(hidden: str, f1: float) -> Published:
        name = f"{teacher}, {hidden}, R=16"
        return Published(
            "gurgurov2025", _PAPER, _ADAPTER, name, "score", f1, f1, task="topic", note=_NO_LANGUAGE
        )

    return tuple(map(row, ("Original", "Hidden-564", "Hidden-456", "Hidden-312"), by_hidden))


PUBLISHED: tuple[Published, ...] = (
    _range(_V2, "largest compression", "compression", 0.92, 0.92),
    _range(_V2, "moderate compression", "drop", 0.02, 0.10),
    _range(_V2, "largest compression", "drop", 0.08, 0.13),
    _range(_V1, "largest compression", "drop", 0.02, 0.10),
    *_adapter("mBERT", 0.8491, 0.8151, 0.7784, 0.7147),
    *_adapter("XLM-R", 0.8496, 0.8218, 0.7587, 0.6555),
    *_vocabulary("mt", 0.7147, 0.7127, 0.6919, 0.7113, 0.6969, 0.6550),
    *_vocabulary("sk", 0.8199, 0.8229, 0.8177, 0.8189, 0.8048, 0.7524),
    *_vocabulary("sw", 0.7825, 0.7820, 0.7643, 0.7670, 0.7594, 0.7486),
)


def list_published(recipe: str, language: str) -> tuple[Published, ...]:
    """Return the numbers of a recipe's paper about a language, or about no language in particular."""
    name = recipe.partition("@")[0]
    return tuple(one for one in PUBLISHED if one.recipe == name and one.language in {None, language})
