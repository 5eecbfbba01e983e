"""An encoder that is asked: one text after another, or all at once; with what it got right.

The two scenarios are MLPerf Inference's (Reddi et al. 2020): *single stream*, told by the 90th percentile of
a query's latency, and *offline*, told by queries a second. A speed counts only where the same run's accuracy
is 99 % of the reference's, as there. Tokenising is not timed.

Shapes: **B** batch, **L** length, **C** classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.regression.models import LONGEST, topics, tuned
from harness.measure.onnx_evaluation import open_session
from harness.models.loading.checkpoint import load_checkpoint
from harness.precisions import PRECISIONS
from harness.train.finetuning.encoding import encode, pad

RUNTIMES = {"torch": None, "onnx": PRECISIONS["fp32"].file, "onnx int8": PRECISIONS["int8"].file}
Batch = Mapping[str, NDArray[np.int64]]
Answer = Callable[[Batch], NDArray[np.float32]]


@dataclass(frozen=True)
class Query:
    """A text as ids, and the number of its label."""

    ids: tuple[int, ...]
    label: int


def batch_of(queries: Sequence[Query], pad_id: int) -> dict[str, NDArray[np.int64]]:
    """Gives the padded inputs of some queries, B × L each."""
    rows = [{"input_ids": list(one.ids), "labels": one.label} for one in queries]
    batch = {name: tensor.numpy() for name, tensor in pad(rows, pad_id).items() if name != "labels"}
    return {**batch, "token_type_ids": np.zeros_like(batch["input_ids"])}


class SingleStream:
    """A step that answers the next query, alone.

    Args:
        answer: gives the logits of a batch, B × C.
        queries: asked in turn, for ever.
        pad_id: of the padding token.
    """

    def __init__(self, answer: Answer, queries: Sequence[Query], pad_id: int) -> None:
        self.answer = answer
        self.asked = [(number, batch_of([query], pad_id)) for number, query in enumerate(queries)]
        self.labels = [query.label for query in queries]
        self.said: dict[int, int] = {}
        self.next = cycle(self.asked)

    def __call__(self) -> None:
        """Answers one query."""
        number, batch = next(self.next)
        self.said[number] = int(self.answer(batch)[0].argmax())

    def accuracy(self) -> float | None:
        """Gives the share of right answers; None until every query was asked."""
        if len(self.said) < len(self.labels):
            return None
        return float(np.mean([self.said[number] == label for number, label in enumerate(self.labels)]))


class Spread:
    """A step that answers the same few queries one after another, from a short one to a long one.

    Revisions are compared by the fastest of some calls: each must do the same work.

    Args:
        answer: see `SingleStream`.
        queries: what the few are taken from.
        pad_id: of the padding token.
        num_queries: how many a call answers.
    """

    def __init__(self, answer: Answer, queries: Sequence[Query], pad_id: int, num_queries: int = 8) -> None:
        ordered = sorted(queries, key=lambda query: len(query.ids))
        places = np.linspace(0, len(ordered) - 1, num_queries).round().astype(int)
        self.answer = answer
        self.asked = [batch_of([ordered[place]], pad_id) for place in places]

    def __call__(self) -> None:
        """Answers them, each alone."""
        for batch in self.asked:
            self.answer(batch)


class Offline:
    """A step that answers all queries, shortest first, in batches.

    Args:
        answer: see `SingleStream`.
        queries: all of them.
        pad_id: of the padding token.
        batch_size: queries answered at once.
    """

    def __init__(self, answer: Answer, queries: Sequence[Query], pad_id: int, batch_size: int = 16) -> None:
        ordered = iter(sorted(queries, key=lambda query: len(query.ids)))
        self.answer = answer
        self.parts: list[tuple[list[int], Batch]] = []
        while part := list(islice(ordered, batch_size)):
            self.parts.append(([query.label for query in part], batch_of(part, pad_id)))
        self.num_queries = len(queries)
        self.right: int | None = None

    def __call__(self) -> None:
        """Answers them all."""
        said = [(labels, self.answer(batch).argmax(axis=1)) for labels, batch in self.parts]
        self.right = sum(int((best_B == labels).sum()) for labels, best_B in said)

    def accuracy(self) -> float | None:
        """Gives the share of right answers; None until they were asked."""
        return None if self.right is None else self.right / self.num_queries


def answerer(folder: Path, runtime: str, threads: int = 1) -> Answer:
    """Gives what answers: a torch model (on the process's own threads) or a session of its ONNX file.

    Args:
        folder: of one of the specimens.
        runtime: one of `RUNTIMES`.
        threads: of the session.
    """
    file = RUNTIMES[runtime]
    if file is None:
        return _torch_answer(tuned(folder, topics()))
    session = open_session(folder / "onnx" / file, threads=threads)
    wanted = [one.name for one in session.get_inputs()]
    return lambda batch: np.asarray(session.run(None, {name: batch[name] for name in wanted})[0])


def _torch_answer(model: Any) -> Answer:
    def answer(batch: Batch) -> NDArray[np.float32]:
        with torch.inference_mode():
            given = {name: torch.from_numpy(value) for name, value in batch.items()}
            return np.asarray(model(**given).logits)

    return answer


def queries_of(folder: Path) -> tuple[list[Query], int]:
    """Gives the task's test texts as the encoder of a folder reads them, and its padding id."""
    data, tokenizer = topics(), load_checkpoint(folder).tokenizer
    encoded = encode(data.test, data, tokenizer, LONGEST)
    return [Query(tuple(row["input_ids"]), row["labels"]) for row in encoded.rows], encoded.pad_id


def single_texts(folder: Path, runtime: str, threads: int = 1) -> Spread:
    """Gives a step that answers texts of all lengths, each alone, for revisions to be compared by."""
    return Spread(answerer(folder, runtime, threads), *queries_of(folder))


def single_stream(folder: Path, runtime: str, threads: int = 1) -> SingleStream:
    """Gives the step of the first scenario."""
    return SingleStream(answerer(folder, runtime, threads), *queries_of(folder))


def offline(folder: Path, runtime: str, threads: int = 1) -> Offline:
    """Gives the step of the second."""
    return Offline(answerer(folder, runtime, threads), *queries_of(folder))
