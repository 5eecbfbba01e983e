"""Scores over lists of labels. Pure functions: no model, no file.

An item is one test example: a label, or the sequence of its words' labels. Each metric is a function of
counts summed over items, so a bootstrap over items is one matrix product.

Shapes: **N** items, **K** counts of an item, **C** classes, **R** resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError, unknown
from harness.measure.interval import Interval, percentile_interval
from harness.measure.spans import Span, find_seqeval_spans, find_spans

Item = str | Sequence[str]
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """The counts that each item adds to a metric, and how their sums become the metric.

    Attributes:
        counts_NK: the counts.
        finish: maps sums of shape (..., K) to scores of shape (...).
    """

    counts_NK: Counts
    finish: Callable[[Counts], Counts]

    @property
    def value(self) -> float:
        """The score over all items."""
        return float(self.finish(self.counts_NK.sum(axis=0)))

    def interval(self, *, resamples: int = 1000, seed: int = 0) -> Interval:
        """Return the score with its 95 % bootstrap interval over items."""
        num_items = len(self.counts_NK)
        drawn_RN = np.random.default_rng(seed).multinomial(num_items, [1 / num_items] * num_items, resamples)
        return percentile_interval(self.value, self.finish(drawn_RN @ self.counts_NK))


def _labels(item: Item) -> tuple[str, ...]:
    return (item,) if isinstance(item, str) else tuple(item)


def _divide(above: Counts, below: Counts) -> Counts:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _accuracy(gold: Sequence[tuple[str, ...]], predicted: Sequence[tuple[str, ...]]) -> Tally:
    counts = [(sum(map(str.__eq__, g, p)), len(g)) for g, p in zip(gold, predicted, strict=True)]
    return Tally(np.asarray(counts, float), lambda sums: _divide(sums[..., 0], sums[..., 1]))


def _finish_macro_f1(sums: Counts) -> Counts:
    hit, predicted, gold = np.split(sums, 3, axis=-1)
    present = (predicted + gold) > 0
    f1 = np.divide(2 * hit, predicted + gold, out=np.zeros_like(hit), where=present)
    return _divide(f1.sum(axis=-1), present.sum(axis=-1).astype(float))


def _macro_f1(
    gold: Sequence[tuple[str, ...]], predicted: Sequence[tuple[str, ...]], labels: Sequence[str] = ()
) -> Tally:
    """Tally macro-F1 over the classes that occur in the truth or the prediction, as scikit-learn does.

    ``labels`` have columns too, so that tallies of several predictions can be added; a class that occurs in
    neither does not affect the score.
    """
    names = sorted({*labels, *(label for item in (*gold, *predicted) for label in item)})
    classes = {name: c for c, name in enumerate(names)}
    counts_N3C = np.zeros((len(gold), 3, len(classes)))
    for n, (true_labels, labels_N) in enumerate(zip(gold, predicted, strict=True)):
        for t, s in zip(true_labels, labels_N, strict=True):
            counts_N3C[n, 0, classes[t]] += t == s
            counts_N3C[n, 1, classes[s]] += 1
            counts_N3C[n, 2, classes[t]] += 1
    return Tally(counts_N3C.reshape(len(gold), -1), _finish_macro_f1)


def _span_f1(
    gold: Sequence[tuple[str, ...]],
    predicted: Sequence[tuple[str, ...]],
    read: Callable[[Sequence[str]], set[Span]] = find_spans,
) -> Tally:
    """Tally micro-F1 over whole spans: a span is correct when type, start and end all agree."""
    counts = []
    for g, p in zip(gold, predicted, strict=True):
        true_spans, predicted_spans = read(g), read(p)
        counts.append((len(true_spans & predicted_spans), len(predicted_spans) + len(true_spans)))
    return Tally(np.asarray(counts, float), lambda sums: _divide(2 * sums[..., 0], sums[..., 1]))


def _seqeval_f1(gold: Sequence[tuple[str, ...]], predicted: Sequence[tuple[str, ...]]) -> Tally:
    """Tally the F1 that seqeval computes of UPOS tags: wrong, and printed for comparison only."""
    return _span_f1(gold, predicted, find_seqeval_spans)


METRICS: dict[str, Callable[[Sequence[tuple[str, ...]], Sequence[tuple[str, ...]]], Tally]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "span_f1": _span_f1,
    "seqeval_f1": _seqeval_f1,
}


def tally(metric: str, gold: Sequence[Item], predicted: Sequence[Item], labels: Sequence[str] = ()) -> Tally:
    """Tally one metric over items.

    Args:
        metric: one of ``METRICS``; ``accuracy`` and ``macro_f1`` are over words where items are sentences.
        gold: the true labels.
        predicted: the predicted labels; as many items, each of the same length.
        labels: labels that tallies of other predictions on the same items may have.

    Raises:
        HarnessError: no item, or truth and prediction of different lengths.
        UsageError: no such metric.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    truth, answers = [_labels(item) for item in gold], [_labels(item) for item in predicted]
    if not truth or [len(one) for one in truth] != [len(one) for one in answers]:
        raise HarnessError(
            f"scores: expected a label for each of {len(truth)} items (one at least); got {len(answers)} "
            f"predictions or other lengths; predict exactly the items scored"
        )
    return _macro_f1(truth, answers, labels) if metric == "macro_f1" else METRICS[metric](truth, answers)


def tally_all(metric: str, gold: Sequence[Item], predictions: Sequence[Sequence[Item]]) -> list[Tally]:
    """Tally several predictions of the same items, so that their counts have the same columns."""
    labels = sorted({label for predicted in predictions for item in predicted for label in _labels(item)})
    return [tally(metric, gold, predicted, labels) for predicted in predictions]


def score(metric: str, gold: Sequence[Item], predicted: Sequence[Item]) -> float:
    """Return one metric, from 0 to 1; arguments and errors as of :func:`tally`."""
    return tally(metric, gold, predicted).value


def find_most_frequent(train: Iterable[Item]) -> str:
    """Return the most frequent training label (over words in sentences); ties go to the first by name."""
    counted = Counter(label for item in train for label in _labels(item))
    if not counted:
        raise HarnessError(
            "scores: expected training labels for the majority baseline; got none; check the training split"
        )
    return min(counted, key=lambda label: (-counted[label], label))


def predict_most_frequent(train: Iterable[Item], test: Sequence[Item]) -> list[Item]:
    """Predict the most frequent training label for every test item: the baseline of every report."""
    label = find_most_frequent(train)
    return [label if isinstance(item, str) else [label] * len(item) for item in test]
