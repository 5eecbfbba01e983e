"""Check smaller copies of a model with the quality gate, and keep operators in fp32 until they pass."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.data.examples import TaskData, gold_labels
from harness.errors import HarnessError
from harness.export.operators import PARTS, group_operators
from harness.measure.as_module import OnnxModule
from harness.measure.gate import ALLOWED_DROP, GateVerdict, compare_copy
from harness.measure.scores import Item, score, tally
from harness.measure.significance import interval
from harness.train.finetuning.encoding import EncodedExamples, encode_examples
from harness.train.finetuning.prediction import predict_labels

Writer = Callable[[Sequence[str]], Path]
"""Write a copy with some operators left in fp32, and returns its path."""

BATCH_SIZE = 8


@dataclass(frozen=True)
class GateResult:
    """A copy's way through the gate.

    Attributes:
        verdict: of the copy that is kept.
        kept_parts: parts of the model that had to stay in fp32 (``harness.export.operators.PARTS``).
        tried: the drop with each set of parts that was tried, in order.
    """

    verdict: GateVerdict
    kept_parts: tuple[str, ...]
    tried: tuple[tuple[tuple[str, ...], float], ...]

    def record(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class FileScores:
    """A file's scores on the test part.

    Attributes:
        scores: by metric: value, low and high.
        label_agreement: share of the labels (of words, or of texts) that are those of the fp32 file.
    """

    scores: Mapping[str, Any]
    label_agreement: float


def fit_labels(data: TaskData, config: Any) -> TaskData:
    """Return the task with its labels in the order of a model's config; both are in NFC, as data is read.

    Raises:
        HarnessError: the data has a label that the model does not know.
    """
    known = tuple(
        unicodedata.normalize("NFC", str(config.id2label[place]).strip())
        for place in range(config.num_labels)
    )
    used = {label for part in (data.dev, data.test) for example in part for label in example.labels}
    if strange := sorted(used - set(known)):
        raise HarnessError(
            f"{data.task.name}: expected data with the model's labels ({', '.join(known)}); got "
            f"'{strange[0]}'; name the data that the model was fine-tuned on"
        )
    return replace(data, labels=known)


class QualityGate:
    """Scores copies of one model on the dev part of its task, and compares them with its own fp32 file.

    Invariants: the test part decides nothing; only :meth:`score_file` reads it.
    """

    def __init__(
        self,
        fp32: Path,
        data: TaskData,
        tokenizer: Any,
        *,
        max_length: int,
        allowed: float = ALLOWED_DROP,
        threads: int = 1,
    ) -> None:
        self.data, self.allowed, self.threads = data, allowed, threads
        typed = "token_type_ids" in OnnxModule(fp32).inputs
        self.parts = {
            name: encode_examples(getattr(data, name), data, tokenizer, max_length, typed=typed)
            for name in ("dev", "test")
        }
        self.gold = {name: gold_labels(data, name) for name in self.parts}
        self.operators = group_operators(fp32)
        self.fp32 = fp32
        self.fp32_labels = self._predict(fp32, self.parts["dev"])

    def _predict(self, path: Path, encoded: EncodedExamples) -> Sequence[Item]:
        return predict_labels(OnnxModule(path, threads=self.threads), encoded, self.data, BATCH_SIZE)

    def check_copy(self, path: Path) -> GateVerdict:
        """Compare one copy with the fp32 file on the dev part."""
        labels = self._predict(path, self.parts["dev"])
        metric = self.data.task.metrics[0]
        return compare_copy(
            metric, self.gold["dev"], self.fp32_labels, labels, part="dev", allowed=self.allowed
        )

    @cached_property
    def _fp32_test_labels(self) -> Sequence[Item]:
        return self._predict(self.fp32, self.parts["test"])

    def score_file(self, path: Path) -> FileScores:
        """Score a file on the test part, by every metric, with bootstrap intervals over its items."""
        labels = self._fp32_test_labels if path == self.fp32 else self._predict(path, self.parts["test"])
        scores = {}
        for metric in self.data.task.metrics:
            bounds = interval([tally(metric, self.gold["test"], labels)])
            scores[metric] = {"value": bounds.value, "low": bounds.low, "high": bounds.high}
        return FileScores(scores, score("accuracy", self._fp32_test_labels, labels))

    def quantize_until_passing(self, write: Writer) -> GateResult:
        """Write a copy and, as long as it fails, write it again with one more part in fp32.

        Invariants: a copy that fails whatever is kept is written whole again, marked failed.
        """
        whole = self.check_copy(write(()))
        tried: list[tuple[tuple[str, ...], float]] = [((), whole.drop)]
        if whole.passed:
            return GateResult(whole, (), tuple(tried))
        kept: tuple[str, ...] = ()
        for part in (part for part in PARTS[:-1] if part in self.operators):
            kept = (*kept, part)
            verdict = self.check_copy(write([name for part in kept for name in self.operators[part]]))
            tried.append((kept, verdict.drop))
            if verdict.passed:
                return GateResult(verdict, kept, tuple(tried))
        write(())
        return GateResult(whole, (), tuple(tried))
