"""Puts smaller copies of a model before the quality gate, and keeps operators in fp32 until they pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.data.examples import TaskData, gold_labels, labels_of
from harness.errors import HarnessError
from harness.export.operators import PARTS, operators_by_part
from harness.measure.as_module import OnnxModule
from harness.measure.gate import ALLOWED_DROP, Verdict, judge_copy
from harness.measure.scores import Item, tally
from harness.measure.significance import interval
from harness.train.finetuning.encoding import EncodedExamples, encode_examples
from harness.train.finetuning.finetune import predict_labels

Writer = Callable[[Sequence[str]], Path]
"""Writes a copy, with some operators left in fp32; gives its path."""

BATCH_SIZE = 8


@dataclass(frozen=True)
class Gated:
    """A copy and what the gate said of it.

    Attributes:
        verdict: the last; of the copy that is kept.
        kept_parts: parts of the model that had to stay in fp32 (``harness.export.operators.PARTS``).
        tried: the drop with each set of parts that was tried, in order.
    """

    verdict: Verdict
    kept_parts: tuple[str, ...]
    tried: tuple[tuple[tuple[str, ...], float], ...]

    def record(self) -> dict[str, Any]:
        """Gives it as plain data."""
        return asdict(self)


def fit_labels(data: TaskData, config: Any) -> TaskData:
    """Gives the task with its labels in the order of a model's config.

    Raises:
        HarnessError: the data bears a label that the model does not know.
    """
    known = tuple(str(config.id2label[place]) for place in range(config.num_labels))
    used = {label for part in (data.dev, data.test) for one in part for label in labels_of(one)}
    if strange := sorted(used - set(known)):
        raise HarnessError(
            f"{data.task.name}: wanted data with the model's labels ({', '.join(known)}); got "
            f"'{strange[0]}'; name the data that the model learnt from"
        )
    return replace(data, labels=known)


class Gate:
    """Scores copies of one model on the dev part of its task, beside its own fp32 file.

    What holds: the test part decides nothing; it is read by :meth:`scores` alone.
    """

    def __init__(
        self,
        original: Path,
        data: TaskData,
        tokenizer: Any,
        *,
        max_length: int,
        allowed: float = ALLOWED_DROP,
        threads: int = 1,
    ) -> None:
        self.data, self.allowed, self.threads = data, allowed, threads
        typed = "token_type_ids" in OnnxModule(original).taken
        self.parts = {
            name: encode_examples(getattr(data, name), data, tokenizer, max_length, typed=typed)
            for name in ("dev", "test")
        }
        self.gold = {name: gold_labels(data, name) for name in self.parts}
        self.operators = operators_by_part(original)
        self.said = self._labels(original, self.parts["dev"])

    def _labels(self, path: Path, encoded: EncodedExamples) -> Sequence[Item]:
        return predict_labels(OnnxModule(path, threads=self.threads), encoded, self.data, BATCH_SIZE)

    def verdict(self, path: Path) -> Verdict:
        """Judges one copy."""
        copy = self._labels(path, self.parts["dev"])
        metric = self.data.task.metrics[0]
        return judge_copy(metric, self.gold["dev"], self.said, copy, part="dev", allowed=self.allowed)

    def scores(self, path: Path) -> dict[str, Any]:
        """Scores a file on the test part, by every metric, with bootstrap intervals over its items."""
        labels = self._labels(path, self.parts["test"])
        found = {}
        for metric in self.data.task.metrics:
            bounds = interval([tally(metric, self.gold["test"], labels)])
            found[metric] = {"value": bounds.value, "low": bounds.low, "high": bounds.high}
        return found

    def pass_through(self, write: Writer) -> Gated:
        """Writes a copy and, as long as it fails, again with one part more in fp32.

        What holds: a copy that fails whatever is kept is written whole again, marked failed.
        """
        verdict = self.verdict(write(()))
        tried: list[tuple[tuple[str, ...], float]] = [((), verdict.drop)]
        if verdict.passed:
            return Gated(verdict, (), tuple(tried))
        kept: tuple[str, ...] = ()
        for part in (part for part in PARTS[:-1] if part in self.operators):
            kept = (*kept, part)
            better = self.verdict(write([name for one in kept for name in self.operators[one]]))
            tried.append((kept, better.drop))
            if better.passed:
                return Gated(better, kept, tuple(tried))
        write(())
        return Gated(verdict, (), tuple(tried))
