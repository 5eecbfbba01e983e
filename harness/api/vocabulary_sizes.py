"""Show how many tokens a language needs: what trimming to different numbers does to its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.api.compression import load
from harness.config.steps.trim import Rule
from harness.data import corpus
from harness.data.folder import read_corpus, read_part_texts
from harness.data.leakage import read_scored_texts
from harness.tasks import TASKS

if TYPE_CHECKING:
    from harness.models.tokenizers.sizes import VocabularySize

_USUAL_NUMBERS = (4096, 8192, 16384, 32768)
_USUAL_COVERAGES = (0.99, 0.999)
_USUAL_DOCUMENT_FRACTIONS = (0.0005,)
_UNITS: Mapping[Rule, str] = {
    "coverage": "of the text",
    "document_fraction": "of the documents",
    "line_fraction": "of the lines",
    "probability": "of the text each",
}
_HELD_OUT_FRACTION, _SEED = 0.02, 1
HELD_OUT = "held-out text"
"""The name of the part of the corpus of which no token is counted."""


@dataclass(frozen=True)
class VocabularyChoice:
    """A number of tokens to keep or to learn, and the model that has them.

    Attributes:
        size: the number, the rule that chose it, and how texts are tokenised with it.
        parameters: of the model with these tokens.
    """

    size: VocabularySize
    parameters: int


def compare_vocabularies(
    source: str | Path,
    languages: Sequence[str],
    data: str | Path,
    *,
    tokens: Sequence[int] = (),
    coverages: Sequence[float] = (),
    document_fractions: Sequence[float] = (),
    line_fractions: Sequence[float] = (),
    probabilities: Sequence[float] = (),
    learned: Sequence[int] = (),
    task_text: bool = False,
) -> list[VocabularyChoice]:
    """Trim a model's tokenizer to several sizes, and tokenise held-out text and the tasks' test parts.

    A vocabulary learned from the text may be compared with them. The first choice is the whole vocabulary.
    Without numbers and fractions usual ones are taken.

    Args:
        source: the model: a folder, or a hub id.
        languages: whose text is counted; several as if each had as much.
        data: a data folder with their text.
        tokens: numbers of tokens to keep, the most frequent.
        coverages: shares of the text's tokens that the kept ones make up.
        document_fractions: keep tokens in at least such a share of a language's documents.
        line_fractions: keep tokens in at least such a share of a language's lines.
        probabilities: keep tokens that are at least such a share of a language's tokens.
        learned: numbers of tokens to learn from the text, as the step ``retokenize`` does.
        task_text: count the tasks' training parts, too, which are part of the text with ``task_text``.

    Raises:
        UsageError: the folder has no text of a language.
        HarnessError: the model or the text cannot be read, or a number or share does not fit.
    """
    root = Path(data)
    model = load(source)
    from harness.models.tokenizers import sizes  # noqa: PLC0415  loads torch
    from harness.models.tokenizers.counted_text import CountedText  # noqa: PLC0415

    shares: dict[Rule, Sequence[float]] = {
        "coverage": coverages,
        "document_fraction": document_fractions,
        "line_fraction": line_fractions,
        "probability": probabilities,
    }
    if not (tokens or learned or any(shares.values())):
        tokens = [number for number in _USUAL_NUMBERS if number < model.shape.vocabulary]
        shares |= {"coverage": _USUAL_COVERAGES, "document_fraction": _USUAL_DOCUMENT_FRACTIONS}
    excluded = read_scored_texts(root)
    splits = [
        corpus.prepare(read_corpus(root, one), _HELD_OUT_FRACTION, _SEED, excluded) for one in languages
    ]
    counted_text = [split.train for split in splits]
    if task_text:
        labelled = (_read_task_texts(root, [one], "train").values() for one in languages)
        counted_text = [
            [*documents, *([text] for texts in by_task for text in texts)]
            for documents, by_task in zip(counted_text, labelled, strict=True)
        ]
    counted = CountedText(model.tokenizer, [partial(iter, documents) for documents in counted_text])
    held_out = [line for split in splits for document in split.held_out for line in document]
    choices = {
        "all": np.arange(model.shape.vocabulary),
        **{f"{one:,} tokens": counted.choose_number(one) for one in tokens},
        **{
            f"{100 * one:g} % {_UNITS[rule]}": counted.choose(rule, one)
            for rule, stated in shares.items()
            for one in stated
        },
        **{
            f"{one:,} learned tokens": sizes.learn_by_number(model.tokenizer, counted_text, one)
            for one in learned
        },
    }
    texts = {HELD_OUT: held_out, **_read_task_texts(root, languages, "test")}
    return [
        VocabularyChoice(size, model.shape.model_copy(update={"vocabulary": size.num_tokens}).num_parameters)
        for size in sizes.measure_sizes(model.tokenizer, choices, texts)
    ]


def _read_task_texts(root: Path, languages: Sequence[str], part: str) -> Mapping[str, Sequence[str]]:
    """Return the texts of a part of each task that the folder has in one of the languages."""
    texts: dict[str, list[str]] = {}
    for name, task in TASKS.items():
        for language in languages:
            if (root / name / language / f"{part}{task.format.ending}").is_file():
                texts.setdefault(name, []).extend(sorted(read_part_texts(root, name, language, part)))
    return texts
