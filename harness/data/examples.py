"""The examples of a task in one language, and deterministic smaller versions of them."""

from __future__ import annotations

import random
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

from harness.errors import HarnessError
from harness.tasks import Task

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class TokenExample:
    """A sentence with one label a word.

    Attributes:
        words: the words.
        labels: as many labels.
        written: the sentence as running text, where the source has it.
    """

    words: tuple[str, ...]
    labels: tuple[str, ...]
    written: str | None = None

    @property
    def text(self) -> str:
        """The sentence as written, or else its words with spaces between."""
        return self.written if self.written is not None else " ".join(self.words)

    @property
    def texts(self) -> tuple[str, ...]:
        """The sentence alone."""
        return (self.text,)


@dataclass(frozen=True)
class TextExample:
    """A text with one label.

    Attributes:
        text: the text; of a pair the first, as a premise.
        label: of the text, or of the relation between the two texts of a pair.
        second: the second text of a pair, as a hypothesis.
    """

    text: str
    label: str
    second: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The label alone."""
        return (self.label,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The text, or both texts of a pair."""
        return (self.text,) if self.second is None else (self.text, self.second)


Example: TypeAlias = TokenExample | TextExample


@dataclass(frozen=True)
class TaskData:
    """A task in one language; every label of the three parts is in ``labels``, which is sorted.

    Attributes:
        task: its row in the table.
        language: its code.
        labels: the label set.
        train: examples to learn from; likewise dev and test.
        notes: where the reader departed from the file, one line for each kind; for manifest and report.
        provenance: data set, commit, digests of files; for the manifest.
    """

    task: Task
    language: str
    labels: tuple[str, ...]
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict, hash=False)

    def scored_texts(self) -> set[str]:
        """Return the texts of dev and test, which no training corpus may contain."""
        return {text for example in (*self.dev, *self.test) for text in example.texts}


def count_leakage(data: TaskData) -> dict[str, int]:
    """Count the dev items whose text is in train, and the test items whose text is in train or dev.

    A model may know the answers to these by heart; they are counted, not dropped, since published scores are
    over the same parts. Case and the width of spaces are ignored.
    """
    train, dev, test = ([_key(one) for one in part] for part in (data.train, data.dev, data.test))
    trained, seen = set(train), {*train, *dev}
    return {"dev": sum(text in trained for text in dev), "test": sum(text in seen for text in test)}


def count_repeats(data: TaskData, part: str) -> tuple[int, int]:
    """Count the duplicates and the contradictions of a part.

    A duplicate is an item whose text an earlier item of the part has; a contradiction is an item whose text
    has another label elsewhere in the part. Case and the width of spaces are ignored.
    """
    examples: tuple[Example, ...] = getattr(data, part)
    labels: defaultdict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for example in examples:
        labels[_key(example)].add(example.labels)
    return len(examples) - len(labels), sum(len(labels[_key(example)]) > 1 for example in examples)


def _key(example: Example) -> tuple[str, ...]:
    return tuple(" ".join(text.split()).casefold() for text in example.texts)


@dataclass(frozen=True)
class Absent:
    """A source without this task in this language; legal, and printed as an empty cell."""

    task: Task
    language: str
    reason: str


def transfer(source: TaskData, target: TaskData) -> TaskData:
    """Return a task to be learned in one language and tested in another, without labels of the latter.

    Args:
        source: whose train and dev parts, and labels, are taken.
        target: whose test part is taken.

    Raises:
        HarnessError: the test part has a label that the training part does not have.
    """
    used = {label for example in target.test for label in example.labels}
    if strange := sorted(used - set(source.labels)):
        raise HarnessError(
            f"{target.task.name}: expected in '{target.language}' only labels of the training part in "
            f"'{source.language}' ({', '.join(source.labels)}); got '{strange[0]}'; take another "
            "task_language, or other tasks (--tasks)"
        )
    return replace(
        target,
        labels=source.labels,
        train=source.train,
        dev=source.dev,
        notes=(f"train and dev are those of '{source.language}'", *source.notes, *target.notes),
        provenance={**source.provenance, **target.provenance, "learned_in": source.language},
    )


def gold_labels(data: TaskData, part: str) -> list[str | Sequence[str]]:
    """Return the gold labels of ``train``, ``dev`` or ``test``: one a text, or a list of one a word."""
    examples = getattr(data, part)
    if data.task.kind == "sequence":
        return [example.labels[0] for example in examples]
    return [list(example.labels) for example in examples]


def assemble(
    task: Task,
    language: str,
    parts: Mapping[str, Sequence[Example]],
    places: Mapping[str, str],
    *,
    notes: Sequence[str] = (),
    provenance: Mapping[str, str] = MappingProxyType({}),
) -> TaskData:
    """Return the task with its label set, which comes from the standard or else from the training part.

    Invariants: words and texts are in NFC, as the corpus is that a vocabulary is chosen from.

    Args:
        task: the row of the table.
        language: its code.
        parts: examples of train, dev and test.
        places: where each part was read, for messages.
        notes: where the reader departed from the file.
        provenance: where the parts came from.

    Raises:
        HarnessError: a part has no example, or a label that is not in the training part.
    """
    used = {split: {label for one in parts[split] for label in one.labels} for split in SPLITS}
    labels = task.labels or tuple(sorted(used["train"]))
    for split in SPLITS:
        if not parts[split]:
            raise HarnessError(f"{places[split]}: expected at least one example; got none; fill it")
        if strange := sorted(used[split] - set(labels)):
            raise HarnessError(
                f"{places[split]}: expected only labels of the training part ({', '.join(labels)}); "
                f"got '{strange[0]}'; relabel or remove its examples"
            )
    train, dev, test = (tuple(map(compose, parts[split])) for split in SPLITS)
    return TaskData(task, language, labels, train, dev, test, tuple(notes), provenance)


def compose(example: Example) -> Example:
    """Return the example with its words or texts in NFC."""
    if isinstance(example, TokenExample):
        return replace(example, words=tuple(map(_nfc, example.words)), written=_nfc_or_none(example.written))
    return replace(example, text=_nfc(example.text), second=_nfc_or_none(example.second))


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _nfc_or_none(text: str | None) -> str | None:
    return None if text is None else _nfc(text)


def limit(
    data: TaskData,
    train: int | None = None,
    dev: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Return the task with at most so many examples of each part, in their order; None keeps all.

    Invariants: the choice depends on the part and the seed alone; for token tasks the examples of a smaller
    limit are among those of a larger one; sequence tasks keep the shares of their labels to within one
    example; the label set stays.
    """
    return replace(
        data,
        train=limit_part(data.train, train, "train", seed),
        dev=limit_part(data.dev, dev, "dev", seed),
        test=limit_part(data.test, test, "test", seed),
    )


def limit_part(examples: tuple[Example, ...], size: int | None, part: str, seed: int) -> tuple[Example, ...]:
    """Return at most ``size`` examples of one part, as ``limit`` chooses them."""
    if size is None or size >= len(examples):
        return examples
    if size < 1:
        raise HarnessError(f"limit: expected at least one example a part; got {size}; raise the limit")
    strata: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        strata[example.label if isinstance(example, TextExample) else ""].append(index)
    shuffle = random.Random(f"{seed}/{part}")
    chosen: list[int] = []
    for label, quota in _quotas({label: len(strata[label]) for label in sorted(strata)}, size).items():
        shuffle.shuffle(strata[label])
        chosen += strata[label][:quota]
    return tuple(examples[index] for index in sorted(chosen))


def _quotas(counts: dict[str, int], size: int) -> dict[str, int]:
    """Divide ``size`` by largest remainder; the quotas add up to it exactly."""
    total = sum(counts.values())
    quotas = {label: size * count // total for label, count in counts.items()}
    by_remainder = sorted(counts, key=lambda label: (-(size * counts[label] % total), label))
    for label in by_remainder[: size - sum(quotas.values())]:
        quotas[label] += 1
    return quotas
