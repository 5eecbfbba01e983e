"""Ask an encoder one text after another, or all at once, and count its right answers.

The two scenarios are MLPerf Inference's (Reddi et al. 2020): *single stream*, measured by the 90th percentile
of a query's latency, and *offline*, measured by queries a second. A speed counts only where its accuracy
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

from benchmarks.regression.models import LONGEST, load_classifier, read_topics
from harness.measure.onnx_evaluation import open_session
from harness.models.loading.checkpoint import load_checkpoint
from harness.precisions import PRECISIONS
from harness.train.finetuning.encoding import encode_examples, pad_rows

RUNTIMES = {"torch": None, "onnx": PRECISIONS["fp32"].file, "onnx int8": PRECISIONS["int8"].file}
Batch = Mapping[str, NDArray[np.int64]]
Answer = Callable[[Batch], NDArray[np.float32]]


@dataclass(frozen=True)
class Query:
    """A text as ids, and the number of its label."""

    ids: tuple[int, ...]
    label: int


def make_batch(queries: Sequence[Query], pad_id: int) -> dict[str, NDArray[np.int64]]:
    """Return the padded inputs of some queries, B × L each."""
    rows = [{"input_ids": list(one.ids), "labels": one.label} for one in queries]
    batch = {name: tensor.numpy() for name, tensor in pad_rows(rows, pad_id).items() if name != "labels"}
    return {**batch, "token_type_ids": np.zeros_like(batch["input_ids"])}


class SingleStream:
    """A step that answers the next query, alone.

    Args:
        answer: return the logits of a batch, B × C.
        queries: the queries, asked in turn without end.
        pad_id: id of the padding token.
    """

    def __init__(self, answer: Answer, queries: Sequence[Query], pad_id: int) -> None:
        self.answer = answer
        self.batches = [(number, make_batch([query], pad_id)) for number, query in enumerate(queries)]
        self.labels = [query.label for query in queries]
        self.predictions: dict[int, int] = {}
        self.next = cycle(self.batches)

    def __call__(self) -> None:
        """Answer one query."""
        number, batch = next(self.next)
        self.predictions[number] = int(self.answer(batch)[0].argmax())

    def accuracy(self) -> float | None:
        """Return the share of right answers; None until every query was asked."""
        if len(self.predictions) < len(self.labels):
            return None
        return float(np.mean([self.predictions[number] == label for number, label in enumerate(self.labels)]))


class SingleTexts:
    """A step that answers the same few queries one after another, from a short one to a long one.

    Revisions are compared by the fastest of some calls, so each call must do the same work.

    Args:
        answer: see `SingleStream`.
        queries: queries to choose from, by length.
        pad_id: id of the padding token.
        num_queries: number of queries in a call.
    """

    def __init__(self, answer: Answer, queries: Sequence[Query], pad_id: int, num_queries: int = 8) -> None:
        ordered = sorted(queries, key=lambda query: len(query.ids))
        places = np.linspace(0, len(ordered) - 1, num_queries).round().astype(int)
        self.answer = answer
        self.batches = [make_batch([ordered[place]], pad_id) for place in places]

    def __call__(self) -> None:
        """Answer the queries, each alone."""
        for batch in self.batches:
            self.answer(batch)


class Offline:
    """A step that answers all queries, shortest first, in batches.

    Args:
        answer: see `SingleStream`.
        queries: all queries.
        pad_id: id of the padding token.
        batch_size: number of queries answered at once.
    """

    def __init__(self, answer: Answer, queries: Sequence[Query], pad_id: int, batch_size: int = 16) -> None:
        ordered = iter(sorted(queries, key=lambda query: len(query.ids)))
        self.answer = answer
        self.parts: list[tuple[list[int], Batch]] = []
        while part := list(islice(ordered, batch_size)):
            self.parts.append(([query.label for query in part], make_batch(part, pad_id)))
        self.num_queries = len(queries)
        self.right: int | None = None

    def __call__(self) -> None:
        """Answer all queries."""
        answers = [(labels, self.answer(batch).argmax(axis=1)) for labels, batch in self.parts]
        self.right = sum(int((best_B == labels).sum()) for labels, best_B in answers)

    def accuracy(self) -> float | None:
        """Return the share of right answers; None until the queries were asked."""
        return None if self.right is None else self.right / self.num_queries


def open_encoder(folder: Path, runtime: str, threads: int = 1) -> Answer:
    """Return a function that answers a batch by a torch model (on the process's threads) or by its ONNX file.

    Args:
        folder: folder of the teacher or the student.
        runtime: one of `RUNTIMES`.
        threads: threads of the ONNX session.
    """
    file = RUNTIMES[runtime]
    if file is None:
        return _torch_answer(load_classifier(folder, read_topics()))
    session = open_session(folder / "onnx" / file, threads=threads)
    names = [one.name for one in session.get_inputs()]
    return lambda batch: np.asarray(session.run(None, {name: batch[name] for name in names})[0])


def _torch_answer(model: Any) -> Answer:
    def answer(batch: Batch) -> NDArray[np.float32]:
        with torch.inference_mode():
            given = {name: torch.from_numpy(value) for name, value in batch.items()}
            return np.asarray(model(**given).logits)

    return answer


def read_queries(folder: Path) -> tuple[list[Query], int]:
    """Return the task's test texts as ids of the folder's tokenizer, and its padding id."""
    data, tokenizer = read_topics(), load_checkpoint(folder).tokenizer
    encoded = encode_examples(data.test, data, tokenizer, LONGEST)
    return [Query(tuple(row["input_ids"]), row["labels"]) for row in encoded.rows], encoded.pad_id


def single_texts(folder: Path, runtime: str, threads: int = 1) -> SingleTexts:
    """Return a step that answers texts of all lengths, each alone; it compares revisions."""
    return SingleTexts(open_encoder(folder, runtime, threads), *read_queries(folder))


def single_stream(folder: Path, runtime: str, threads: int = 1) -> SingleStream:
    """Return the step of the scenario *single stream*."""
    return SingleStream(open_encoder(folder, runtime, threads), *read_queries(folder))


def offline(folder: Path, runtime: str, threads: int = 1) -> Offline:
    """Return the step of the scenario *offline*."""
    return Offline(open_encoder(folder, runtime, threads), *read_queries(folder))
